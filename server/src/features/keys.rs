//! The caller's key columns, checked: present, of the key's types, of one length, not too long.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, Int32Array, Int64Array, new_null_array};
use asof_core::data_type::{DataType, KeyType};
use asof_core::key::{KeyColumns, MAX_KEY_BYTES};
use asof_core::service::{CallerColumn, ReadPlan, did_you_mean, nearest};
use asof_proto::convert::Received;

use super::MAX_POSITIONS;
use crate::error::ServerError;

/// How many missing columns one error names.
const MAX_MISSING: usize = 20;

/// Key columns in the order of a plan's caller columns, all of one length.
#[derive(Debug)]
pub struct Keys {
    columns: Vec<ArrayRef>,
    rows: usize,
}

/// A column as a caller gave it: its name, and values of whatever kind the transport has.
#[derive(Debug)]
pub struct Given<T> {
    /// Its name.
    pub name: String,
    /// Its values.
    pub values: T,
    /// How many there are.
    pub length: usize,
}

impl Keys {
    /// Matches columns to those that `plan` needs, and converts each with `convert`, which is given the
    /// column's type and its field path.
    ///
    /// # Errors
    ///
    /// A column that is missing, unknown or given twice; columns of different lengths, without positions, or
    /// of more than [`MAX_POSITIONS`]; what `convert` refuses; a key of more than [`MAX_KEY_BYTES`].
    pub fn collect<T>(
        plan: &ReadPlan,
        given: Vec<Given<T>>,
        convert: impl Fn(&KeyType, T, &str) -> Result<ArrayRef, ServerError>,
    ) -> Result<Self, ServerError> {
        let wanted = &plan.caller_columns;
        let mut places: Vec<Option<T>> = wanted.iter().map(|_| None).collect();
        let mut rows = None;
        for column in given {
            let Some(at) = wanted.iter().position(|wanted| wanted.name == column.name) else {
                return Err(unknown(&column.name, wanted));
            };
            let path = path(&column.name);
            check_length(&path, column.length, &mut rows)?;
            match places.get_mut(at) {
                Some(place @ None) => *place = Some(column.values),
                _ => return Err(ServerError::argument(path, "is given twice")),
            }
        }
        let mut columns = Vec::with_capacity(wanted.len());
        let mut absent = Vec::new();
        for (wanted, place) in wanted.iter().zip(places) {
            match place {
                Some(values) => columns.push((wanted, values)),
                None => absent.push(wanted),
            }
        }
        if !absent.is_empty() {
            return Err(missing(plan, &absent));
        }
        let columns = columns.into_iter().map(|(wanted, values)| {
            let path = path(&wanted.name);
            let array = convert(&wanted.key_type, values, &path)?;
            check_sizes(&array, &path)?;
            Ok(array)
        });
        Ok(Self {
            columns: columns.collect::<Result<_, ServerError>>()?,
            rows: rows.unwrap_or(0),
        })
    }

    /// The columns, in the order of the plan's caller columns.
    pub fn columns(&self) -> &[ArrayRef] {
        &self.columns
    }

    /// How many positions there are.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The keys made of these of the caller's columns.
    ///
    /// # Errors
    ///
    /// None for columns that a read of the plan names.
    pub fn of(&self, plan: &ReadPlan, names: &[String]) -> Result<KeyColumns, ServerError> {
        let mut types = Vec::with_capacity(names.len());
        let mut arrays = Vec::with_capacity(names.len());
        for name in names {
            let mut columns = plan.caller_columns.iter().zip(&self.columns);
            if let Some((column, array)) = columns.find(|(column, _)| column.name == *name) {
                types.push(column.key_type.clone());
                arrays.push(array.clone());
            }
        }
        Ok(KeyColumns::try_new(&types, &arrays)?)
    }
}

/// The field path of a key column; a long name is cut.
fn path(name: &str) -> String {
    format!("keys[{:?}]", cut(name))
}

fn cut(name: &str) -> String {
    name.chars().take(64).collect()
}

fn check_length(path: &str, length: usize, rows: &mut Option<usize>) -> Result<(), ServerError> {
    if length == 0 {
        return Err(ServerError::argument(
            path,
            "has no values: give one for each entity",
        ));
    }
    if length > MAX_POSITIONS {
        let problem = format!("has {length} values, one request takes at most {MAX_POSITIONS}: send several");
        return Err(ServerError::argument(path, problem));
    }
    match rows {
        Some(rows) if *rows != length => {
            let problem = format!("has {length} values where the columns before it have {rows}");
            Err(ServerError::argument(path, problem))
        }
        _ => {
            *rows = Some(length);
            Ok(())
        }
    }
}

fn unknown(name: &str, wanted: &[CallerColumn]) -> ServerError {
    let names: Vec<String> = wanted.iter().map(|column| format!("{:?}", column.name)).collect();
    let near = nearest(name, wanted.iter().map(|column| &column.name));
    ServerError::argument(
        path(name),
        format!(
            "is not a key column here; expected {}{}",
            names.join(", "),
            did_you_mean(&near)
        ),
    )
}

/// All that is missing in one error, so that it is not found out one request at a time.
fn missing(plan: &ReadPlan, absent: &[&CallerColumn]) -> ServerError {
    if let [column] = absent {
        let problem = format!("is missing: give a column of {}", needed(plan, column));
        return ServerError::argument(path(&column.name), problem);
    }
    let shown = absent.iter().take(MAX_MISSING);
    let mut list: Vec<String> = shown
        .map(|column| format!("{:?} of {}", cut(&column.name), needed(plan, column)))
        .collect();
    if let Some(more) = absent.len().checked_sub(MAX_MISSING).filter(|more| *more > 0) {
        list.push(format!("and {more} more"));
    }
    let problem = format!("{} columns are missing: give {}", absent.len(), list.join("; "));
    ServerError::argument("keys", problem)
}

/// The type of a column, and the view that needs it.
fn needed(plan: &ReadPlan, column: &CallerColumn) -> String {
    let read = plan
        .reads
        .iter()
        .find(|read| read.key_columns.contains(&column.name));
    let view = read.map_or_else(String::new, |read| format!(", the key of view {}", read.label()));
    format!("{}{view}", column.key_type)
}

fn check_sizes(array: &ArrayRef, path: &str) -> Result<(), ServerError> {
    let length_at = |at: usize| {
        array
            .as_string_opt::<i32>()
            .map(|text| text.value_length(at))
            .or_else(|| array.as_binary_opt::<i32>().map(|bytes| bytes.value_length(at)))
            .and_then(|length| usize::try_from(length).ok())
            .unwrap_or(0)
    };
    match (0..array.len()).find(|at| length_at(*at) > MAX_KEY_BYTES) {
        None => Ok(()),
        Some(at) => Err(ServerError::argument(
            format!("{path}[{at}]"),
            format!("has {} bytes, a key has at most {MAX_KEY_BYTES}", length_at(at)),
        )),
    }
}

/// Converts a received column to the Arrow type of a key.
///
/// # Errors
///
/// Another type; a number that is not a value of the key's integer type.
pub fn from_wire(key_type: &KeyType, received: Received, path: &str) -> Result<ArrayRef, ServerError> {
    let wanted = key_type.data_type();
    if received.data_type == *wanted {
        return Ok(received.array);
    }
    if received.array.null_count() == received.array.len() {
        // What holds nothing has no type that could be wrong.
        return Ok(new_null_array(&wanted.to_arrow(), received.array.len()));
    }
    let wrong_type = || {
        let problem = format!("has the type {}, the key is {key_type}", received.data_type);
        ServerError::argument(path, problem)
    };
    if !matches!(wanted, DataType::Int32 | DataType::Int64) {
        return Err(wrong_type());
    }
    let array = &received.array;
    let mut integers = Vec::with_capacity(array.len());
    for at in 0..array.len() {
        let number = if array.is_null(at) {
            None
        } else {
            Some(number(array, at).ok_or_else(wrong_type)?)
        };
        integers.push(
            number
                .map(|number| number.integer(key_type, &format!("{path}[{at}]")))
                .transpose()?,
        );
    }
    integer_array(key_type, integers, path)
}

/// A number that a caller gave for an integer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Number {
    Exact(i128),
    Float(f64),
}

impl Number {
    /// The value of the key's integer type that it is.
    pub(crate) fn integer(self, key_type: &KeyType, path: &str) -> Result<i64, ServerError> {
        /// Beyond this, not every integer is a floating-point number.
        const MAX_EXACT: f64 = 9_007_199_254_740_992.0;
        let exact = match self {
            Self::Exact(integer) => integer,
            Self::Float(float) if !float.is_finite() || float.fract() != 0.0 => {
                return Err(ServerError::argument(
                    path,
                    format!("is {float}, not a value of {key_type}"),
                ));
            }
            Self::Float(float) if float.abs() > MAX_EXACT => {
                let problem =
                    "is a floating-point number beyond 2^53, which may not be exact: give an integer";
                return Err(ServerError::argument(path, problem));
            }
            #[expect(clippy::cast_possible_truncation, reason = "whole, and within 2^53")]
            Self::Float(float) => float as i128,
        };
        let (least, greatest) = match key_type.data_type() {
            DataType::Int32 => (i128::from(i32::MIN), i128::from(i32::MAX)),
            _ => (i128::from(i64::MIN), i128::from(i64::MAX)),
        };
        i64::try_from(exact)
            .ok()
            .filter(|integer| (least..=greatest).contains(&i128::from(*integer)))
            .ok_or_else(|| ServerError::argument(path, format!("is {exact}, out of range for {key_type}")))
    }
}

fn number(array: &ArrayRef, at: usize) -> Option<Number> {
    if let Some(array) = array.as_primitive_opt::<Int32Type>() {
        return Some(Number::Exact(array.value(at).into()));
    }
    if let Some(array) = array.as_primitive_opt::<Int64Type>() {
        return Some(Number::Exact(array.value(at).into()));
    }
    if let Some(array) = array.as_primitive_opt::<Float32Type>() {
        return Some(Number::Float(array.value(at).into()));
    }
    let array = array.as_primitive_opt::<Float64Type>()?;
    Some(Number::Float(array.value(at)))
}

/// The array of an integer key, from values that [`Number::integer`] gave.
pub(crate) fn integer_array(
    key_type: &KeyType,
    integers: Vec<Option<i64>>,
    path: &str,
) -> Result<ArrayRef, ServerError> {
    if *key_type.data_type() == DataType::Int64 {
        return Ok(Arc::new(Int64Array::from(integers)));
    }
    let narrow = integers
        .into_iter()
        .map(|integer| integer.map(i32::try_from).transpose())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| ServerError::argument(path, format!("is out of range for {key_type}")))?;
    Ok(Arc::new(Int32Array::from(narrow)))
}
