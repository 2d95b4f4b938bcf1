//! The JSON of a request. It is read into just the shape it must have: nothing but lists nests, no name comes twice,
//! and no number passes through a float that it is not.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, ListArray, PrimitiveArray,
    StringArray, new_empty_array, new_null_array,
};
use arrow_buffer::OffsetBuffer;
use arrow_schema::{ArrowError, DataType as ArrowType};
use arrow_select::concat::concat;
use asof_core::data_type::DataType;
use asof_core::service::ReadPlan;
use asof_core::time::Timestamp;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::NaiveDate;
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::error::ServerError;
use crate::features::Selection;
use crate::features::keys::{Given, Keys, Number, Wanted, cut, embedding, float_array, integer_array};
use crate::json;

/// The days from 0001-01-01 of the common era, as chrono counts them, to 1970-01-01.
const EPOCH_FROM_CE: i32 = 719_163;

/// What a body must be.
const EXPECTED: &str =
    "expected an object such as {\"service\": \"model_v1\", \"keys\": {\"origin\": [\"JFK\"]}}";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    #[serde(default)]
    service: String,
    #[serde(default)]
    features: Vec<String>,
    #[serde(default)]
    keys: Columns,
    #[serde(default)]
    request: Columns,
}

/// Key or request columns in the order in which they came.
#[derive(Default)]
pub(crate) struct Columns(Vec<(String, Vec<Cell>)>);

/// The values of one of them.
struct Values(Vec<Cell>);

impl Columns {
    /// One position, its values given as text.
    pub(crate) fn of_text(values: impl IntoIterator<Item = (String, String)>) -> Self {
        let values = values.into_iter();
        Self(
            values
                .map(|(name, text)| (name, vec![Cell::Text(text)]))
                .collect(),
        )
    }
}

/// One value; lists are of values that are none.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Cell>),
}

/// What stands in a list.
struct Item(Cell);

/// Reads the body of a request.
///
/// # Errors
///
/// Text that is not the JSON of a request, with the path of the field, and with line and column.
pub(crate) fn parse(body: &[u8]) -> Result<(Selection, Columns), ServerError> {
    let wrong = |problem: String| ServerError::argument("body", problem);
    // A derived shape would take a list of its fields' values for the object.
    match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') => {}
        Some(b'[') => return Err(wrong(format!("is a list, {EXPECTED}"))),
        Some(b'"') => return Err(wrong(format!("is text, {EXPECTED}"))),
        Some(_) => return Err(wrong(format!("is no object, {EXPECTED}"))),
        None => return Err(wrong(format!("is empty, {EXPECTED}"))),
    }
    let body: Body = json::parse("body", body)?;
    let columns = body.keys.0.into_iter().chain(body.request.0).collect();
    Ok((Selection::of(body.service, body.features)?, Columns(columns)))
}

/// The columns that `plan` needs.
pub(crate) fn keys(plan: &ReadPlan, columns: Columns) -> Result<Keys, ServerError> {
    let given = columns.0.into_iter().map(|(name, cells)| Given {
        name,
        length: cells.len(),
        values: cells,
    });
    Keys::collect(plan, given.collect(), |wanted, cells, path| {
        array(wanted, &cells, path)
    })
}

/// A column of some type from a list of values.
pub(crate) fn column(
    name: &str,
    data_type: &DataType,
    values: &serde_json::Value,
) -> Result<ArrayRef, ServerError> {
    let wanted = Wanted {
        name,
        data_type,
        is_key: false,
    };
    let cells =
        Vec::<Cell>::deserialize(values).map_err(|error| ServerError::argument(name, error.to_string()))?;
    array(wanted, &cells, name)
}

fn array(wanted: Wanted<'_>, cells: &[Cell], path: &str) -> Result<ArrayRef, ServerError> {
    Ok(match wanted.data_type {
        DataType::Bool => Arc::new(BooleanArray::from(each(
            wanted,
            cells,
            path,
            |cell| match cell {
                Cell::Bool(value) => Ok(*value),
                Cell::Text(text) if text == "true" => Ok(true),
                Cell::Text(text) if text == "false" => Ok(false),
                Cell::Text(_) => Err(Some(format!("is neither true nor false, {wanted}"))),
                _ => Err(None),
            },
        )?)),
        DataType::Int32 | DataType::Int64 => {
            let mut integers = Vec::with_capacity(cells.len());
            for (at, cell) in cells.iter().enumerate() {
                integers.push(integer(wanted, cell, &format!("{path}[{at}]"))?);
            }
            integer_array(wanted.data_type, integers, path)?
        }
        DataType::Date => Arc::new(Date32Array::from(each(wanted, cells, path, |cell| match cell {
            Cell::Text(text) => date(text).ok_or_else(|| Some("is not a date such as \"2013-01-31\"".into())),
            _ => Err(None),
        })?)),
        DataType::Timestamp => {
            let times = each(wanted, cells, path, |cell| match cell {
                Cell::Text(text) => Timestamp::parse(text)
                    .map(Timestamp::micros)
                    .map_err(|error| Some(format!("is no time: {error}"))),
                _ => Err(None),
            })?;
            let array: PrimitiveArray<TimestampMicrosecondType> = times.into();
            Arc::new(array.with_data_type(wanted.data_type.to_arrow()))
        }
        DataType::Decimal { precision, scale } => {
            let decimals = each(wanted, cells, path, |cell| {
                let unscaled = match cell {
                    Cell::Text(text) => decimal(text, *precision, *scale),
                    Cell::Integer(integer) => decimal(&integer.to_string(), *precision, *scale),
                    _ => return Err(None),
                };
                unscaled.ok_or_else(|| Some(format!("is not exactly a value of {}", wanted.data_type)))
            })?;
            let array = Decimal128Array::from(decimals).with_precision_and_scale(*precision, *scale);
            Arc::new(array.map_err(|error| ServerError::Bug(error.to_string()))?)
        }
        DataType::String => Arc::new(StringArray::from(each(wanted, cells, path, |cell| match cell {
            Cell::Text(text) => Ok(text.as_str()),
            _ => Err(None),
        })?)),
        DataType::Bytes => {
            let bytes = each(wanted, cells, path, |cell| match cell {
                Cell::Text(text) => STANDARD.decode(text).map_err(|_| Some("is not base64".into())),
                _ => Err(None),
            })?;
            Arc::new(bytes.iter().map(Option::as_deref).collect::<BinaryArray>())
        }
        DataType::Float32 | DataType::Float64 => {
            let floats = each(wanted, cells, path, |cell| match cell {
                // What JSON writes with digits stands for the number nearest to it.
                #[expect(clippy::cast_precision_loss, reason = "rounded to the nearest")]
                Cell::Integer(integer) => in_range(wanted, *integer as f64),
                Cell::Float(float) => in_range(wanted, *float),
                Cell::Text(text) => match text.parse::<f64>() {
                    Ok(float) if float.is_finite() => in_range(wanted, float),
                    Ok(odd) if !text.contains(|c: char| c.is_ascii_digit()) => Ok(odd),
                    Ok(_) => Err(Some(format!("is out of range, {wanted}"))),
                    Err(_) => Err(Some(format!(
                        "is no number, {wanted}: give one, or \"NaN\" or \"Infinity\""
                    ))),
                },
                _ => Err(None),
            })?;
            float_array(wanted.data_type, floats)
        }
        DataType::List(item) => lists(wanted, item, cells, path)?,
        DataType::Embedding(length) => {
            let list = lists(wanted, &DataType::Float32, cells, path)?;
            embedding(wanted, *length, &list, path)?
        }
        DataType::Json => Arc::new(StringArray::from(each(wanted, cells, path, |cell| match cell {
            Cell::Text(text) => Ok(text.as_str()),
            _ => Err(Some("is no text that holds JSON".into())),
        })?)),
        DataType::Struct(_) | DataType::Map(_) if cells.iter().all(|cell| *cell == Cell::Null) => {
            new_null_array(&wanted.data_type.to_arrow(), cells.len())
        }
        DataType::Struct(_) | DataType::Map(_) => {
            let problem = format!("is {}, of which no value can be given", wanted.data_type);
            return Err(ServerError::argument(path, problem));
        }
    })
}

/// A number that JSON writes with digits, unless it is beyond those of the type.
fn in_range(wanted: Wanted<'_>, float: f64) -> Result<f64, Option<String>> {
    let most = match wanted.data_type {
        DataType::Float32 => f64::from(f32::MAX),
        _ => f64::MAX,
    };
    match float.abs() <= most {
        true => Ok(float),
        false => Err(Some(format!("is out of range, {wanted}"))),
    }
}

/// Lists of an item type, each from a list of cells, or from text with the JSON of one.
fn lists(wanted: Wanted<'_>, item: &DataType, cells: &[Cell], path: &str) -> Result<ArrayRef, ServerError> {
    let lists = each(wanted, cells, path, |cell| match cell {
        Cell::List(items) => Ok(items.clone()),
        Cell::Text(text) => match serde_json::from_str(text) {
            Ok(Cell::List(items)) => Ok(items),
            _ => Err(Some(format!("is no list such as \"[1, 2]\", {wanted}"))),
        },
        _ => Err(None),
    })?;
    let of_item = Wanted {
        data_type: item,
        ..wanted
    };
    let mut values = vec![new_empty_array(&item.to_arrow())];
    for (at, list) in lists.iter().enumerate() {
        let items = list.as_deref().unwrap_or_default();
        values.push(array(of_item, items, &format!("{path}[{at}]"))?);
    }
    let bug = |error: ArrowError| ServerError::Bug(error.to_string());
    let parts: Vec<&dyn Array> = values.iter().map(AsRef::as_ref).collect();
    let values = concat(&parts).map_err(bug)?;
    let ArrowType::List(field) = DataType::List(Box::new(item.clone())).to_arrow() else {
        return Err(ServerError::Bug("a list is no list".into()));
    };
    let offsets = OffsetBuffer::from_lengths(lists.iter().map(|list| list.as_ref().map_or(0, Vec::len)));
    let nulls = lists.iter().map(Option::is_some).collect();
    let list = ListArray::try_new(field, offsets, values, Some(nulls)).map_err(bug)?;
    Ok(Arc::new(list))
}

/// Converts each value that is not null. `convert` says what is wrong with a value, or nothing where its
/// kind alone is wrong.
fn each<'a, T>(
    wanted: Wanted<'_>,
    cells: &'a [Cell],
    path: &str,
    convert: impl Fn(&'a Cell) -> Result<T, Option<String>>,
) -> Result<Vec<Option<T>>, ServerError> {
    let mut values = Vec::with_capacity(cells.len());
    for (at, cell) in cells.iter().enumerate() {
        if *cell == Cell::Null {
            values.push(None);
            continue;
        }
        let value = convert(cell).map_err(|problem| {
            let problem = problem.unwrap_or_else(|| format!("is {}, {wanted}", cell.kind()));
            ServerError::argument(format!("{path}[{at}]"), problem)
        })?;
        values.push(Some(value));
    }
    Ok(values)
}

fn integer(wanted: Wanted<'_>, cell: &Cell, path: &str) -> Result<Option<i64>, ServerError> {
    let wrong = || ServerError::argument(path, format!("is {}, {wanted}", cell.kind()));
    let number = match cell {
        Cell::Null => return Ok(None),
        Cell::Integer(integer) => Number::Exact(*integer),
        Cell::Float(float) => Number::Float(*float),
        Cell::Text(text) => Number::Exact(
            text.parse()
                .map_err(|_| ServerError::argument(path, format!("is no whole number, {wanted}")))?,
        ),
        Cell::Bool(_) | Cell::List(_) => return Err(wrong()),
    };
    number.integer(wanted.data_type, path).map(Some)
}

fn date(text: &str) -> Option<i32> {
    use chrono::Datelike;
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    date.num_days_from_ce().checked_sub(EPOCH_FROM_CE)
}

/// The value of `text` times 10^scale, exactly.
fn decimal(text: &str, precision: u8, scale: i8) -> Option<i128> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let scale = usize::try_from(scale).ok()?;
    let fraction = if fraction.len() > scale {
        fraction.trim_end_matches('0')
    } else {
        fraction
    };
    let digits = format!("{whole}{fraction:0<scale$}");
    let is_number = !whole.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number || fraction.len() > scale || digits.trim_start_matches('0').len() > usize::from(precision) {
        return None;
    }
    let unscaled: i128 = digits.parse().ok()?;
    Some(if unsigned.len() == text.len() {
        unscaled
    } else {
        -unscaled
    })
}

impl Cell {
    fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "true or false",
            Self::Integer(_) | Self::Float(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
        }
    }
}

impl<'de> Deserialize<'de> for Cell {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CellVisitor { may_be_list: true })
    }
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_any(CellVisitor { may_be_list: false })
            .map(Self)
    }
}

struct CellVisitor {
    may_be_list: bool,
}

impl<'de> Visitor<'de> for CellVisitor {
    type Value = Cell;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.may_be_list {
            true => "a value: text, a number, true, false, null, or a list of such",
            false => "a value: text, a number, true, false or null",
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Cell, A::Error> {
        if !self.may_be_list {
            return Err(de::Error::invalid_type(de::Unexpected::Seq, &self));
        }
        let mut list = Vec::new();
        while let Some(Item(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Cell::List(list))
    }

    fn visit_unit<E>(self) -> Result<Cell, E> {
        Ok(Cell::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Cell, E> {
        Ok(Cell::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Cell, E> {
        Ok(Cell::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Cell, E> {
        Ok(Cell::Integer(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Cell, E> {
        Ok(Cell::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Cell, E> {
        Ok(Cell::Text(value.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Columns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ColumnsVisitor;
        impl<'de> Visitor<'de> for ColumnsVisitor {
            type Value = Columns;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of columns, each a list of values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Columns, A::Error> {
                let mut columns = Vec::new();
                let mut seen = HashSet::new();
                while let Some(name) = map.next_key::<String>()? {
                    if !seen.insert(name.clone()) {
                        return Err(de::Error::custom(format!("duplicate column {:?}", cut(&name))));
                    }
                    let Values(cells) = map.next_value()?;
                    columns.push((name, cells));
                }
                Ok(Columns(columns))
            }
        }
        deserializer.deserialize_map(ColumnsVisitor)
    }
}

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ValuesVisitor;
        impl<'de> Visitor<'de> for ValuesVisitor {
            type Value = Values;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list with a value for each row")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Values, A::Error> {
                let mut cells = Vec::new();
                while let Some(cell) = items.next_element()? {
                    cells.push(cell);
                }
                Ok(Values(cells))
            }
        }
        deserializer.deserialize_seq(ValuesVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact_or_refused() {
        let check = |text: &str, expect: Option<i128>| assert_eq!(decimal(text, 5, 2), expect, "{text:?}");
        check("12.5", Some(1250));
        check("-0.01", Some(-1));
        check("7", Some(700));
        check("007.500", Some(750));
        check("999.99", Some(99_999));
        check("1000", None);
        check("0.001", None);
        check("1e2", None);
        check("", None);
        check(".5", None);
        check("+1", None);
        check("--1", None);
    }

    #[test]
    fn dates_count_from_the_epoch() {
        assert_eq!(date("1970-01-01"), Some(0));
        assert_eq!(date("2013-01-01"), Some(15_706));
        assert_eq!(date("1969-12-31"), Some(-1));
        assert_eq!(date("2013-02-30"), None);
    }
}
