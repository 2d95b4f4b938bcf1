//! Why a text is refused, or cannot be bound or evaluated.

use std::fmt::Write as _;

/// At most this many bytes of somebody's input are repeated in a message.
const ECHO_BYTES: usize = 64;

/// What is wrong with an expression, and what to do about it.
///
/// A message repeats at most 64 bytes of each name or text it speaks of, control characters escaped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExprError {
    /// The text is beyond a limit that is checked before it is parsed.
    #[error("the SQL has {found} {what}, at most {limit} are allowed: shorten it")]
    TooLarge {
        /// What was counted: `bytes`, `tokens`, `operators`, `levels of nesting`.
        what: &'static str,
        /// How many there are, or at least how many.
        found: String,
        /// How many are allowed.
        limit: usize,
    },
    /// The text is not SQL.
    #[error("not SQL: {0}")]
    Syntax(String),
    /// It is SQL, but not of the kind that is allowed.
    #[error("{0}")]
    NotAllowed(String),
    /// A function that is not in [`functions`](crate::functions).
    #[error("there is no function `{name}`{}", did_you_mean(.nearest.as_deref()))]
    UnknownFunction {
        /// The name as written.
        name: String,
        /// The known name nearest to it.
        nearest: Option<String>,
    },
    /// A column that the schema does not have.
    #[error("there is no column `{name}`{}; there are: {known}", did_you_mean(.nearest.as_deref()))]
    UnknownColumn {
        /// The name as written.
        name: String,
        /// The known name nearest to it.
        nearest: Option<String>,
        /// The names of the schema.
        known: String,
    },
    /// Types that do not go together.
    #[error("{0}")]
    Type(String),
    /// Two output columns, or two input columns, of one name.
    #[error("two {place} columns are called `{name}`: give each a name of its own with `as`")]
    DuplicateColumn {
        /// `output` or `input`.
        place: &'static str,
        /// The name that is there twice.
        name: String,
    },
    /// The batch is not of the schema that was bound, or could not be put together.
    #[error("cannot evaluate: {0}")]
    Batch(String),
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |nearest| {
        format!(", did you mean `{}`?", clip(nearest))
    })
}

/// `text` in at most 64 bytes, control characters escaped.
pub(crate) fn clip(text: &str) -> String {
    let mut out = String::new();
    let mut fits = 0;
    for c in text.chars() {
        if c.is_control() || is_bidirectional(c) {
            let _ = write!(out, "{}", c.escape_default());
        } else {
            out.push(c);
        }
        if out.len() > ECHO_BYTES {
            out.truncate(fits);
            out.push('…');
            break;
        }
        if out.len() <= ECHO_BYTES - '…'.len_utf8() {
            fits = out.len();
        }
    }
    out
}

/// Characters that are invisible and change the order of what is shown.
fn is_bidirectional(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The names, as many as fit into a line.
pub(crate) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 20;
    let names: Vec<&str> = names.into_iter().collect();
    let mut out = names
        .iter()
        .take(SHOWN)
        .map(|name| clip(name))
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > SHOWN {
        let _ = write!(out, " and {} more", names.len() - SHOWN);
    }
    if names.is_empty() {
        out.push_str("none");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_64_bytes_are_repeated() {
        let check = |text: &str, expect: &str| assert_eq!(clip(text), expect);
        check("", "");
        check("plain", "plain");
        check(&"x".repeat(64), &"x".repeat(64));
        check(&"x".repeat(65), &format!("{}…", "x".repeat(61)));
        check(&"é".repeat(33), &format!("{}…", "é".repeat(30)));
        check("a\0\n\u{202e}b", "a\\u{0}\\n\\u{202e}b");
    }

    #[test]
    fn lists_are_short() {
        assert_eq!(list([]), "none");
        assert_eq!(list(["a", "b"]), "a, b");
        let many = vec!["c"; 23];
        assert_eq!(list(many), format!("{} and 3 more", ["c"; 20].join(", ")));
    }
}
