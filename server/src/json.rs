//! JSON from callers: what is wrong with it is told with the field where it is.

use serde::de::DeserializeOwned;
use serde_path_to_error::{Path, Segment};

use crate::error::ServerError;
use crate::features::keys::cut;

/// How many characters are shown of what is wrong, which may be a text of the caller's.
const MAX_SHOWN: usize = 80;

/// What other languages write for numbers that JSON does not have, without a sign.
const NO_NUMBERS: [&str; 6] = ["NaN", "nan", "NAN", "Infinity", "inf", "Inf"];

/// Reads JSON.
///
/// # Errors
///
/// Text that is not the JSON of a `T`, with the path of the field that is wrong, and with line and column. `whole` is what
/// all of it is called.
pub(crate) fn parse<T: DeserializeOwned>(whole: &str, bytes: &[u8]) -> Result<T, ServerError> {
    serde_json::from_slice(bytes).map_err(|error| {
        // Once more, for the path: to follow it takes time, which what is right need not take.
        let found =
            serde_path_to_error::deserialize::<_, T>(&mut serde_json::Deserializer::from_slice(bytes));
        let said = error.to_string();
        let place = format!(" at line {} column {}", error.line(), error.column());
        // Some errors have no place.
        let (said, place) = match said.strip_suffix(&place) {
            Some(said) => (said, place.as_str()),
            None => (said.as_str(), ""),
        };
        let field = found.err().and_then(|error| field(error.path(), said));
        let mut problem = format!("{}{place}", shortened(said));
        if let Some(word) = no_number(bytes, &error, said) {
            problem = format!(
                "is {word}, which JSON does not have: {problem}; where a float is wanted, give it as text"
            );
        }
        ServerError::argument(field.unwrap_or_else(|| whole.to_owned()), problem)
    })
}

/// What serde says, of which the caller's own value is shown in part: it stands before what was expected.
fn shortened(said: &str) -> String {
    let (wrong, expected) = match said.rsplit_once(", expected ") {
        Some((wrong, expected)) => (wrong, Some(expected)),
        None => (said, None),
    };
    let mut text = String::new();
    for (count, char) in wrong.chars().enumerate() {
        match char {
            _ if count == MAX_SHOWN => {
                text.push('…');
                break;
            }
            control if control.is_control() => text.extend(control.escape_default()),
            char => text.push(char),
        }
    }
    if let Some(expected) = expected {
        text += &format!(", expected {expected}");
    }
    text
}

/// A path as other errors have it: `keys["origin"][0]`. None is that of all.
fn field(path: &Path, said: &str) -> Option<String> {
    let mut segments: Vec<&Segment> = path.iter().collect();
    // An unknown field is told by its name, and stands in what is known.
    if said.starts_with("unknown field") {
        segments.pop();
    }
    let mut field = String::new();
    for segment in segments {
        match segment {
            Segment::Map { key: name } | Segment::Enum { variant: name } if field.is_empty() => {
                field = cut(name).escape_debug().to_string();
            }
            Segment::Map { key: name } | Segment::Enum { variant: name } => {
                field += &format!("[{:?}]", cut(name));
            }
            Segment::Seq { index } => field += &format!("[{index}]"),
            Segment::Unknown => break,
        }
    }
    (!field.is_empty()).then_some(field)
}

/// The word that an error is at, where it stands for a number that JSON does not have.
fn no_number<'a>(bytes: &'a [u8], error: &serde_json::Error, said: &str) -> Option<&'a str> {
    if !["expected value", "expected ident", "invalid number"].contains(&said) {
        return None;
    }
    let line = bytes
        .split(|byte| *byte == b'\n')
        .nth(error.line().checked_sub(1)?)?;
    let (before, after) = line.split_at_checked(error.column().checked_sub(1)?)?;
    let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'-';
    let start = before.len() - before.iter().rev().take_while(is_part).count();
    let end = before.len() + after.iter().take_while(is_part).count();
    let word = std::str::from_utf8(line.get(start..end)?).ok()?;
    NO_NUMBERS
        .contains(&word.strip_prefix('-').unwrap_or(word))
        .then_some(word)
}
