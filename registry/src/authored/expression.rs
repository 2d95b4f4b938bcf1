//! The SQL of a source, as far as the registry judges it.

use super::field::Reason;

/// Takes the `sql` of a source.
pub(super) fn source_sql(text: &str) -> Result<String, Reason> {
    if text.trim().is_empty() {
        return Err((
            "the sql is empty".into(),
            "expected \"select … from source\", or no sql at all".into(),
        ));
    }
    Ok(text.to_owned())
}
