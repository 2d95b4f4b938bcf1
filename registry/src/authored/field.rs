//! The fields that definitions share: names, types, durations, columns, notes.

use asof_core::data_type::{DataType, KeyType, TypeError};
use asof_core::definition::Notes;
use asof_core::duration::Duration;
use asof_core::name::NameError;

use crate::document::{Table, Text};
use crate::problem::{Problem, Problems, shown};

/// What a parser says of a text that it cannot read: what is wrong, and what was expected.
pub(super) type Reason = (String, String);

const TYPES: &str = "the types are bool, int32, int64, float32, float64, string, bytes, date, timestamp, \
     decimal(p,s), list<T>, embedding(n), struct<name: T, …>, map<string,T>, json";
const TYPE_WORDS: [&str; 15] = [
    "bool",
    "int32",
    "int64",
    "float32",
    "float64",
    "string",
    "bytes",
    "date",
    "timestamp",
    "decimal",
    "list",
    "embedding",
    "struct",
    "map",
    "json",
];

/// A parser of names for [`Text::parse`].
pub(super) fn name<T>(
    kind: &'static str,
    parse: fn(&str) -> Result<T, NameError>,
) -> impl Fn(&str) -> Result<T, Reason> {
    move |text| {
        parse(text).map_err(|error| {
            (
                format!("{} is not a valid {kind} name", shown(text)),
                error.to_string(),
            )
        })
    }
}

/// Parses a type.
pub(super) fn data_type(text: &str) -> Result<DataType, Reason> {
    DataType::parse(text).map_err(|error| type_reason(text, error))
}

/// Parses the type of a key column.
pub(super) fn key_type(text: &str) -> Result<KeyType, Reason> {
    KeyType::parse(text).map_err(|error| type_reason(text, error))
}

fn type_reason(text: &str, error: TypeError) -> Reason {
    match error {
        TypeError::Unknown(word) => {
            let help = match asof_core::service::nearest(&word, TYPE_WORDS) {
                Some(near) if near != word => format!("did you mean {near:?}? {TYPES}"),
                _ => TYPES.to_owned(),
            };
            (format!("unknown type {}", shown(&word)), help)
        }
        TypeError::NotAKey(_) => (
            format!("{} cannot be a key", shown(text)),
            "keys are bool, int32, int64, string, bytes, date, timestamp or decimal(p,s)".into(),
        ),
        other => (format!("{} is not a type", shown(text)), other.to_string()),
    }
}

/// Parses a duration.
pub(super) fn duration(text: &str) -> Result<Duration, Reason> {
    Duration::parse(text).map_err(|error| (format!("{} is not a duration", shown(text)), error.to_string()))
}

/// Takes the name of a column: any text but an empty one.
pub(super) fn column(text: &str) -> Result<String, Reason> {
    if text.is_empty() {
        return Err((
            "the name of a column is empty".into(),
            "expected the name of a column".into(),
        ));
    }
    Ok(text.to_owned())
}

/// A column that may be given.
pub(super) fn optional_column(table: &Table<'_>, problems: &mut Problems, key: &str) -> Option<String> {
    table.string(problems, key)?.parse(problems, column)
}

/// A name that must be given, with its text and place.
pub(super) fn required_name<'a, T>(
    table: &Table<'a>,
    problems: &mut Problems,
    key: &str,
    kind: &'static str,
    parse: fn(&str) -> Result<T, NameError>,
) -> Option<(T, Text<'a>)> {
    let text = table.required(problems, key, &format!("{key} = \"a_name\""))?;
    let parsed = text.parse(problems, name(kind, parse))?;
    Some((parsed, text))
}

/// `description`, `owner` and `tags`.
pub(super) fn notes(table: &Table<'_>, problems: &mut Problems) -> Notes {
    let mut notes = Notes {
        description: owned(table, problems, "description"),
        owner: owned(table, problems, "owner"),
        ..Notes::default()
    };
    let label = format!("\"tags\" of {}", table.label());
    let Some(tags) = table.table(problems, "tags", label) else {
        return notes;
    };
    for (tag, value) in tags.entries() {
        if tag.text.is_empty() {
            problems.push(Problem::new(tag.place, "a tag has no name", "expected a name"));
        } else if let Some(text) = value.string(problems, &format!("tag {}", shown(tag.text))) {
            notes.tags.insert(tag.text.to_owned(), text.text.to_owned());
        }
    }
    notes
}

/// A text that may be given.
pub(super) fn owned(table: &Table<'_>, problems: &mut Problems, key: &str) -> Option<String> {
    table.string(problems, key).map(|text| text.text.to_owned())
}
