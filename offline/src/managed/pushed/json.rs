//! Rows as JSON objects, one a line, to columns of the declared types: exactly, or the row is refused.
//!
//! Numbers, decimals and times go through the same rules as those of CSV files. Bytes are base64. Every column of
//! the schema is there, null where a row has nothing.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use datafusion::arrow::array::{ArrayRef, BinaryArray, ListArray, MapArray, StringArray, StructArray};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::datatypes::{DataType as ArrowType, Field};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use asof_core::data_type::DataType;
use asof_core::definition::Source;

use super::Rejected;
use crate::column::text;
use crate::error::{Result, first_line};
use crate::heads::time_rules;
use crate::time_column::TimeRules;

/// The fields of a JSON object.
struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

/// What is wrong with the value at a place.
type Problem = (usize, String);

/// Reads one row a line. The times of rows stay text, which the rules of their source are for.
pub(super) fn columns(
    lines: &[&str],
    source: &Source,
    schema: &[(String, DataType)],
    rejected: &mut Rejected,
) -> Result<Vec<ArrayRef>> {
    let times = time_rules(source);
    let mut cells: Vec<Vec<Option<&RawValue>>> = vec![vec![None; lines.len()]; schema.len()];
    for (row, line) in lines.iter().enumerate() {
        match in_order(line, schema.iter().map(|(name, _)| name.as_str())) {
            Ok(values) => {
                for (column, value) in cells.iter_mut().zip(values) {
                    if let Some(cell) = column.get_mut(row) {
                        *cell = not_null(value);
                    }
                }
            }
            Err(reason) => rejected.add(row, reason)?,
        }
    }
    let columns = schema.iter().zip(&mut cells).map(|((name, declared), cells)| {
        let is_of_row = source.event_time == *name || source.created_time.as_ref() == Some(name);
        let data_type = if is_of_row { &DataType::String } else { declared };
        loop {
            match array(cells, data_type, times) {
                Ok(array) => return Ok(array),
                Err((row, reason)) => {
                    let reason = match is_of_row {
                        true => reason.replace("expected string", &format!("expected {declared}")),
                        false => reason,
                    };
                    rejected.add(row, format!("column {name:?} {reason}"))?;
                    if let Some(cell) = cells.get_mut(row) {
                        *cell = None;
                    }
                }
            }
        }
    });
    columns.collect()
}

/// The values of an object's fields in the order of their names: exactly those.
fn in_order<'a, 'n>(
    text: &'a str,
    names: impl Iterator<Item = &'n str>,
) -> std::result::Result<Vec<&'a RawValue>, String> {
    let Fields(mut fields) = serde_json::from_str(text)
        .map_err(|error| format!("is not one JSON object: {}", without_line(&error)))?;
    let mut values = Vec::new();
    for name in names {
        let place = fields.iter().position(|(known, _)| known == name);
        let place = place.ok_or_else(|| format!("has no {name:?}: write null where there is nothing"))?;
        values.push(fields.swap_remove(place).1);
    }
    match fields.first() {
        Some((unknown, _)) => {
            let unknown: String = unknown.chars().take(64).collect();
            Err(format!(
                "has {unknown:?}, which is not in the schema: declare it, or leave it out"
            ))
        }
        None => Ok(values),
    }
}

/// What a JSON error says: of one line, the number of the line is no news.
fn without_line(error: &serde_json::Error) -> String {
    first_line(&error.to_string()).replace(" at line 1 column ", " at column ")
}

fn not_null(value: &RawValue) -> Option<&RawValue> {
    Some(value).filter(|value| value.get() != "null")
}

/// Values of one type.
fn array(
    cells: &[Option<&RawValue>],
    data_type: &DataType,
    times: TimeRules,
) -> std::result::Result<ArrayRef, Problem> {
    match data_type {
        DataType::List(item) => list(cells, item, times),
        DataType::Embedding(dimension) => {
            let length = usize::try_from(*dimension).unwrap_or(usize::MAX);
            for (row, cell) in cells.iter().enumerate() {
                let found = cell.map(items).transpose().map_err(|reason| (row, reason))?;
                if let Some(found) = found.filter(|found| found.len() != length) {
                    return Err((row, format!("has {} elements, expected {length}", found.len())));
                }
            }
            list(cells, &DataType::Float32, times)
        }
        DataType::Struct(fields) => structs(cells, fields, times),
        DataType::Map(value) => maps(cells, value, times),
        DataType::Bytes => {
            let bytes = cells.iter().enumerate().map(|(row, cell)| {
                let decoded = cell.map(|cell| {
                    STANDARD
                        .decode(string(cell)?.as_ref())
                        .map_err(|_| "is not base64".to_owned())
                });
                decoded.transpose().map_err(|reason| (row, reason))
            });
            let bytes = bytes.collect::<std::result::Result<Vec<_>, _>>()?;
            Ok(Arc::new(
                bytes.iter().map(Option::as_deref).collect::<BinaryArray>(),
            ))
        }
        scalar => {
            let texts = cells.iter().enumerate().map(|(row, cell)| {
                let text = cell.map(|cell| scalar_text(cell, scalar)).transpose();
                text.map_err(|reason| (row, reason))
            });
            let texts = texts.collect::<std::result::Result<Vec<_>, _>>()?;
            let texts: ArrayRef = Arc::new(texts.iter().map(Option::as_deref).collect::<StringArray>());
            text::parse(&texts, scalar, times).map_err(|error| {
                (
                    error.row().unwrap_or(0),
                    error.told_to(crate::column::Holder::Ingested),
                )
            })
        }
    }
}

/// The text of a value that is no list, object or bytes.
fn scalar_text<'a>(cell: &'a RawValue, data_type: &DataType) -> std::result::Result<Cow<'a, str>, String> {
    let raw = cell.get();
    let is_number = raw.starts_with(|c: char| c == '-' || c.is_ascii_digit());
    let wrong = || Err(format!("is {}, expected {data_type}", kind(raw)));
    match data_type {
        DataType::Json => Ok(Cow::Borrowed(raw)),
        DataType::Bool if matches!(raw, "true" | "false") => Ok(Cow::Borrowed(raw)),
        DataType::Int32 | DataType::Int64 | DataType::Decimal { .. } if is_number => Ok(Cow::Borrowed(raw)),
        DataType::Float32 | DataType::Float64 if is_number => match raw.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(Cow::Borrowed(raw)),
            Ok(_) | Err(_) => Err(format!("is beyond what {data_type} holds")),
        },
        DataType::String | DataType::Timestamp | DataType::Date | DataType::Decimal { .. }
            if raw.starts_with('"') =>
        {
            string(cell)
        }
        _ => wrong(),
    }
}

fn string(cell: &RawValue) -> std::result::Result<Cow<'_, str>, String> {
    serde_json::from_str::<Text<'_>>(cell.get())
        .map(|Text(text)| text)
        .map_err(|_| format!("is {}, expected text", kind(cell.get())))
}

/// What a JSON value is called.
fn kind(raw: &str) -> &'static str {
    match raw.as_bytes().first() {
        Some(b'"') => "text",
        Some(b'[') => "a list",
        Some(b'{') => "an object",
        Some(b't' | b'f') => "a bool",
        Some(b'n') => "null",
        Some(_) | None => "a number",
    }
}

fn items(cell: &RawValue) -> std::result::Result<Vec<&RawValue>, String> {
    serde_json::from_str(cell.get()).map_err(|_| format!("is {}, expected a list", kind(cell.get())))
}

fn list(
    cells: &[Option<&RawValue>],
    item: &DataType,
    times: TimeRules,
) -> std::result::Result<ArrayRef, Problem> {
    let mut flat = Flat::default();
    for (row, cell) in cells.iter().enumerate() {
        let found = cell.map(items).transpose().map_err(|reason| (row, reason))?;
        flat.push(row, found.unwrap_or_default().into_iter().map(not_null));
    }
    let values = flat.array(item, times)?;
    let field = match DataType::List(Box::new(item.clone())).to_arrow() {
        ArrowType::List(field) => field,
        _ => Arc::new(Field::new_list_field(item.to_arrow(), true)),
    };
    let list = ListArray::try_new(field, flat.offsets(), values, nulls(cells));
    list.map(|list| Arc::new(list) as ArrayRef)
        .map_err(|error| (0, error.to_string()))
}

fn structs(
    cells: &[Option<&RawValue>],
    fields: &[(String, DataType)],
    times: TimeRules,
) -> std::result::Result<ArrayRef, Problem> {
    let mut columns: Vec<Vec<Option<&RawValue>>> = vec![vec![None; cells.len()]; fields.len()];
    for (row, cell) in cells.iter().enumerate() {
        let Some(cell) = cell else { continue };
        let names = fields.iter().map(|(name, _)| name.as_str());
        let values = in_order(cell.get(), names).map_err(|reason| (row, reason))?;
        for (column, value) in columns.iter_mut().zip(values) {
            if let Some(place) = column.get_mut(row) {
                *place = not_null(value);
            }
        }
    }
    let arrays = columns.iter().zip(fields).map(|(cells, (name, data_type))| {
        array(cells, data_type, times).map_err(|(row, reason)| (row, format!("field {name:?} {reason}")))
    });
    let arrays = arrays.collect::<std::result::Result<Vec<_>, _>>()?;
    let ArrowType::Struct(arrow) = DataType::Struct(fields.to_vec()).to_arrow() else {
        return Err((0, "is of a type that is no struct".into()));
    };
    let structs = StructArray::try_new(arrow, arrays, nulls(cells));
    structs
        .map(|structs| Arc::new(structs) as ArrayRef)
        .map_err(|error| (0, error.to_string()))
}

fn maps(
    cells: &[Option<&RawValue>],
    value: &DataType,
    times: TimeRules,
) -> std::result::Result<ArrayRef, Problem> {
    let mut flat = Flat::default();
    let mut keys: Vec<String> = Vec::new();
    for (row, cell) in cells.iter().enumerate() {
        let found = cell.map(|cell| serde_json::from_str::<Fields<'_>>(cell.get()));
        let found = found.transpose().map_err(|error| {
            (
                row,
                format!("is not an object of different keys: {}", without_line(&error)),
            )
        })?;
        let Fields(entries) = found.unwrap_or(Fields(Vec::new()));
        keys.extend(entries.iter().map(|(key, _)| key.to_string()));
        flat.push(row, entries.into_iter().map(|(_, value)| not_null(value)));
    }
    let values = flat.array(value, times)?;
    let failed = |error: datafusion::arrow::error::ArrowError| (0, error.to_string());
    let ArrowType::Map(field, sorted) = DataType::Map(Box::new(value.clone())).to_arrow() else {
        return Err((0, "is of a type that is no map".into()));
    };
    let ArrowType::Struct(entry) = field.data_type() else {
        return Err((0, "is of a type that is no map".into()));
    };
    let keys: ArrayRef = Arc::new(StringArray::from(keys));
    let entries = StructArray::try_new(entry.clone(), vec![keys, values], None).map_err(failed)?;
    let maps = MapArray::try_new(field, flat.offsets(), entries, nulls(cells), sorted).map_err(failed)?;
    Ok(Arc::new(maps))
}

/// The elements of lists, one after the other.
#[derive(Default)]
struct Flat<'a> {
    cells: Vec<Option<&'a RawValue>>,
    /// Per element its list.
    rows: Vec<usize>,
    lengths: Vec<usize>,
}

impl<'a> Flat<'a> {
    fn push(&mut self, row: usize, cells: impl Iterator<Item = Option<&'a RawValue>>) {
        let before = self.cells.len();
        self.cells.extend(cells);
        self.rows.resize(self.cells.len(), row);
        self.lengths.push(self.cells.len() - before);
    }

    fn array(&self, data_type: &DataType, times: TimeRules) -> std::result::Result<ArrayRef, Problem> {
        array(&self.cells, data_type, times).map_err(|(element, reason)| {
            let row = self.rows.get(element).copied().unwrap_or(0);
            (row, format!("has an element that {reason}"))
        })
    }

    fn offsets(&self) -> OffsetBuffer<i32> {
        OffsetBuffer::from_lengths(self.lengths.iter().copied())
    }
}

fn nulls(cells: &[Option<&RawValue>]) -> Option<NullBuffer> {
    Some(cells.iter().map(Option::is_some).collect())
}

/// Text, borrowed where nothing in it is escaped.
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> std::result::Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> std::result::Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct FieldsVisitor;
        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Fields<'de>, A::Error> {
                let mut fields: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::new();
                while let Some((Text(name), value)) = map.next_entry()? {
                    if fields.iter().any(|(known, _)| *known == name) {
                        let name: String = name.chars().take(64).collect();
                        return Err(A::Error::custom(format_args!("{name:?} is given twice")));
                    }
                    fields.push((name, value));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(FieldsVisitor)
    }
}
