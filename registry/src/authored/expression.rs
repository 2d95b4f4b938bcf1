//! The SQL of a source, as far as the registry judges it: what it is, and which functions it calls.
//! Whether its columns exist is known only where rows are.

use asof_expr::SourceSql;

use super::field::Reason;

/// Takes the `sql` of a source.
pub(super) fn source_sql(text: &str) -> Result<String, Reason> {
    match SourceSql::parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err((format!("the sql cannot be used: {error}"), String::new())),
    }
}
