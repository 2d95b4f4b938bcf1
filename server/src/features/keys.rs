//! The caller's columns, keys and others, checked: present, of their types, of one length, not too long.

use std::fmt;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, Int32Type, Int64Type};
use arrow_array::{
    Array, ArrayRef, Float32Array, Float64Array, Int32Array, Int64Array, ListArray, new_null_array,
};
use arrow_cast::cast;
use arrow_schema::{ArrowError, DataType as ArrowType};
use asof_core::data_type::DataType;
use asof_core::key::{KeyColumns, MAX_KEY_BYTES};
use asof_core::service::{Input, ReadPlan, did_you_mean, nearest};
use asof_proto::convert::Received;

use super::MAX_POSITIONS;
use crate::error::ServerError;

/// How many missing columns one error names.
const MAX_MISSING: usize = 20;

/// The caller's columns in the order of a plan, all of one length.
#[derive(Debug)]
pub struct Keys {
    columns: Vec<ArrayRef>,
    request: Vec<ArrayRef>,
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

/// A column that a plan needs of the caller.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Its name.
    pub name: &'a str,
    /// The type of its values.
    pub data_type: &'a DataType,
    /// Whether it is a key, else a request column.
    pub is_key: bool,
}

impl fmt::Display for Wanted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_key {
            true => write!(f, "the key is {}", self.data_type),
            false => write!(f, "the column is {}", self.data_type),
        }
    }
}

impl Wanted<'_> {
    /// Those of a plan: its key columns, and then its request columns.
    fn of(plan: &ReadPlan) -> Vec<Wanted<'_>> {
        let keys = plan.caller_columns.iter().map(|key| Wanted {
            name: &key.name,
            data_type: key.key_type.data_type(),
            is_key: true,
        });
        let request = plan.request_columns.iter().map(|column| Wanted {
            name: &column.name,
            data_type: &column.data_type,
            is_key: false,
        });
        keys.chain(request).collect()
    }

    /// Its field path; a long name is cut.
    fn path(&self) -> String {
        match self.is_key {
            true => path("keys", self.name),
            false => path("request", self.name),
        }
    }
}

impl Keys {
    /// Matches columns to those that `plan` needs, and converts each with `convert`, which is given the
    /// column that is needed and its field path. Keys and request columns may stand under either name.
    ///
    /// # Errors
    ///
    /// A column that is missing, unknown or given twice; columns of different lengths, without positions, or
    /// of more than [`MAX_POSITIONS`]; what `convert` refuses; a key of more than [`MAX_KEY_BYTES`].
    pub fn collect<T>(
        plan: &ReadPlan,
        given: Vec<Given<T>>,
        convert: impl Fn(Wanted<'_>, T, &str) -> Result<ArrayRef, ServerError>,
    ) -> Result<Self, ServerError> {
        let wanted = Wanted::of(plan);
        let mut places: Vec<Option<T>> = wanted.iter().map(|_| None).collect();
        let mut rows = None;
        for column in given {
            let mut known = wanted.iter().zip(&mut places);
            let Some((known, place)) = known.find(|(wanted, _)| wanted.name == column.name) else {
                return Err(unknown(&column.name, &wanted));
            };
            let path = known.path();
            check_length(&path, column.length, &mut rows)?;
            if place.replace(column.values).is_some() {
                return Err(ServerError::argument(path, "is given twice"));
            }
        }
        let mut found = Vec::with_capacity(wanted.len());
        let mut absent = Vec::new();
        for (wanted, place) in wanted.iter().zip(places) {
            match place {
                Some(values) => found.push((*wanted, values)),
                None => absent.push(*wanted),
            }
        }
        if !absent.is_empty() {
            return Err(missing(plan, &absent));
        }
        let Some(rows) = rows else {
            return Err(ServerError::argument(
                "features",
                "need no column of the caller's, so that there is no position: ask for one that has a key, too",
            ));
        };
        let columns = found.into_iter().map(|(wanted, values)| {
            let path = wanted.path();
            let array = convert(wanted, values, &path)?;
            if wanted.is_key {
                check_sizes(&array, &path)?;
            }
            Ok(array)
        });
        let mut columns = columns.collect::<Result<Vec<_>, ServerError>>()?;
        let request = columns.split_off(plan.caller_columns.len());
        Ok(Self {
            columns,
            request,
            rows,
        })
    }

    /// The columns, in the order of the plan's caller columns.
    pub fn columns(&self) -> &[ArrayRef] {
        &self.columns
    }

    /// The request columns, in the order of the plan's.
    pub fn request(&self) -> &[ArrayRef] {
        &self.request
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

fn path(field: &str, name: &str) -> String {
    format!("{field}[{:?}]", cut(name))
}

/// A name as errors show it, as callers may give long ones.
pub(crate) fn cut(name: &str) -> String {
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

fn unknown(name: &str, wanted: &[Wanted<'_>]) -> ServerError {
    let names: Vec<String> = wanted.iter().map(|column| format!("{:?}", column.name)).collect();
    let near = nearest(name, wanted.iter().map(|column| column.name));
    let kinds = match wanted.iter().all(|column| column.is_key) {
        true => "a key column",
        false => "a key or request column",
    };
    ServerError::argument(
        path("keys", name),
        match names.is_empty() {
            true => "is not needed: these features are computed of nothing that a caller gives".to_owned(),
            false => format!(
                "is not {kinds} here; expected {}{}",
                names.join(", "),
                did_you_mean(&near)
            ),
        },
    )
}

/// All that is missing in one error, so that it is not found out one request at a time.
fn missing(plan: &ReadPlan, absent: &[Wanted<'_>]) -> ServerError {
    if let [column] = absent {
        let problem = format!("is missing: give a column of {}", needed(plan, column));
        return ServerError::argument(column.path(), problem);
    }
    let shown = absent.iter().take(MAX_MISSING);
    let mut list: Vec<String> = shown
        .map(|column| format!("{:?} of {}", cut(column.name), needed(plan, column)))
        .collect();
    if let Some(more) = absent.len().checked_sub(MAX_MISSING).filter(|more| *more > 0) {
        list.push(format!("and {more} more"));
    }
    let problem = format!("{} columns are missing: give {}", absent.len(), list.join("; "));
    let is_key = |column: &Wanted<'_>| column.is_key;
    let field = match (absent.iter().any(is_key), absent.iter().all(is_key)) {
        (_, true) => "keys",
        (true, false) => "keys, request",
        (false, _) => "request",
    };
    ServerError::argument(field, problem)
}

/// The type of a column, and what needs it.
fn needed(plan: &ReadPlan, column: &Wanted<'_>) -> String {
    let by = match column.is_key {
        true => {
            let mut reads = plan.reads.iter();
            let read = reads.find(|read| read.key_columns.iter().any(|name| name == column.name));
            read.map(|read| format!(", the key of view {}", read.label()))
        }
        false => {
            let request = plan
                .request_columns
                .iter()
                .position(|known| known.name == column.name);
            let request = request.map(Input::Request);
            let mut computed = plan.computed.iter();
            let computed =
                computed.find(|computed| request.is_some_and(|request| computed.inputs.contains(&request)));
            computed.map(|computed| {
                format!(
                    ", for on-demand feature {}:{}",
                    computed.on_demand, computed.feature.name
                )
            })
        }
    };
    format!("{}{}", column.data_type, by.unwrap_or_default())
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

/// Converts a received column to the Arrow type of a column that is needed.
///
/// # Errors
///
/// Another type; a number that is not a value of the column's type of numbers.
pub fn from_wire(wanted: Wanted<'_>, received: Received, path: &str) -> Result<ArrayRef, ServerError> {
    if received.data_type == *wanted.data_type {
        return Ok(received.array);
    }
    if received.array.null_count() == received.array.len() {
        // What holds nothing has no type that could be wrong.
        return Ok(new_null_array(&wanted.data_type.to_arrow(), received.array.len()));
    }
    let wrong_type = || {
        let problem = format!("has the type {}, {wanted}", received.data_type);
        ServerError::argument(path, problem)
    };
    let array = &received.array;
    let numbers = (0..array.len()).map(|at| match array.is_null(at) {
        true => Ok(None),
        false => number(array, at).ok_or_else(wrong_type).map(Some),
    });
    match wanted.data_type {
        DataType::Int32 | DataType::Int64 => {
            let mut integers = Vec::with_capacity(array.len());
            for (at, number) in numbers.enumerate() {
                let integer =
                    number?.map(|number| number.integer(wanted.data_type, &format!("{path}[{at}]")));
                integers.push(integer.transpose()?);
            }
            integer_array(wanted.data_type, integers, path)
        }
        DataType::List(item) => lists(wanted, item, &received, path)?.ok_or_else(wrong_type),
        DataType::Embedding(length) => {
            let list = lists(wanted, &DataType::Float32, &received, path)?.ok_or_else(wrong_type)?;
            embedding(wanted, *length, &list, path)
        }
        DataType::Float32 | DataType::Float64 => {
            let mut floats = Vec::with_capacity(array.len());
            for (at, number) in numbers.enumerate() {
                let float = number?.map(|number| number.float(wanted.data_type, &format!("{path}[{at}]")));
                floats.push(float.transpose()?);
            }
            Ok(float_array(wanted.data_type, floats))
        }
        _ => Err(wrong_type()),
    }
}

/// Received lists as lists of an item type; `None` where they are none.
fn lists(
    wanted: Wanted<'_>,
    item: &DataType,
    received: &Received,
    path: &str,
) -> Result<Option<ArrayRef>, ServerError> {
    let bug = |error: ArrowError| ServerError::Bug(error.to_string());
    let (known, list) = match &received.data_type {
        DataType::List(known) => (known.as_ref().clone(), ArrayRef::clone(&received.array)),
        DataType::Embedding(_) => {
            let as_list = DataType::List(Box::new(DataType::Float32)).to_arrow();
            (DataType::Float32, cast(&received.array, &as_list).map_err(bug)?)
        }
        _ => return Ok(None),
    };
    let list = list.as_list::<i32>();
    let wanted = Wanted {
        data_type: item,
        ..wanted
    };
    let values = Received {
        data_type: known,
        array: ArrayRef::clone(list.values()),
    };
    let values = from_wire(wanted, values, path)?;
    let ArrowType::List(field) = DataType::List(Box::new(item.clone())).to_arrow() else {
        return Err(ServerError::Bug("a list is no list".into()));
    };
    let list = ListArray::try_new(field, list.offsets().clone(), values, list.nulls().cloned());
    Ok(Some(Arc::new(list.map_err(bug)?)))
}

/// Embeddings of a length from lists of numbers.
pub(crate) fn embedding(
    wanted: Wanted<'_>,
    length: u32,
    list: &ArrayRef,
    path: &str,
) -> Result<ArrayRef, ServerError> {
    let list = list.as_list::<i32>();
    let wrong = (0..list.len()).find(|at| {
        let found = u32::try_from(list.value_length(*at));
        list.is_valid(*at) && found != Ok(length)
    });
    if let Some(at) = wrong {
        let problem = format!("has {} numbers, {wanted}", list.value_length(at));
        return Err(ServerError::argument(format!("{path}[{at}]"), problem));
    }
    cast(list, &wanted.data_type.to_arrow()).map_err(|error| ServerError::Bug(error.to_string()))
}

/// A number that a caller gave.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Number {
    Exact(i128),
    Float(f64),
}

impl Number {
    /// The value of an integer type that it is.
    pub(crate) fn integer(self, data_type: &DataType, path: &str) -> Result<i64, ServerError> {
        /// Beyond this, not every integer is a floating-point number.
        const MAX_EXACT: f64 = 9_007_199_254_740_992.0;
        let exact = match self {
            Self::Exact(integer) => integer,
            Self::Float(float) if !float.is_finite() || float.fract() != 0.0 => {
                return Err(ServerError::argument(
                    path,
                    format!("is {float}, not a value of {data_type}"),
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
        let (least, greatest) = match data_type {
            DataType::Int32 => (i128::from(i32::MIN), i128::from(i32::MAX)),
            _ => (i128::from(i64::MIN), i128::from(i64::MAX)),
        };
        i64::try_from(exact)
            .ok()
            .filter(|integer| (least..=greatest).contains(&i128::from(*integer)))
            .ok_or_else(|| ServerError::argument(path, format!("is {exact}, out of range for {data_type}")))
    }
}

impl Number {
    /// The value of a type of floating-point numbers that it is.
    fn float(self, data_type: &DataType, path: &str) -> Result<f64, ServerError> {
        let not_exactly = |found: String| {
            let problem = format!("is {found}, which is not exactly a value of {data_type}");
            ServerError::argument(path, problem)
        };
        let double = match self {
            Self::Float(float) => float,
            Self::Exact(integer) => {
                #[expect(clippy::cast_precision_loss, reason = "compared below")]
                let double = integer as f64;
                #[expect(clippy::cast_possible_truncation, reason = "saturates, and differs then")]
                if double as i128 != integer {
                    return Err(not_exactly(integer.to_string()));
                }
                double
            }
        };
        #[expect(clippy::cast_possible_truncation, reason = "compared")]
        let single = f64::from(double as f32);
        match data_type {
            DataType::Float32 if single != double && !double.is_nan() => Err(not_exactly(double.to_string())),
            _ => Ok(double),
        }
    }
}

/// The array of a type of floating-point numbers; they are rounded to it.
pub(crate) fn float_array(data_type: &DataType, floats: Vec<Option<f64>>) -> ArrayRef {
    #[expect(clippy::cast_possible_truncation, reason = "meant so")]
    let single = |float: f64| float as f32;
    match data_type {
        DataType::Float32 => {
            let floats = floats.into_iter().map(|float| float.map(single));
            Arc::new(floats.collect::<Float32Array>())
        }
        _ => Arc::new(Float64Array::from(floats)),
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

/// The array of an integer type, from values that [`Number::integer`] gave.
pub(crate) fn integer_array(
    data_type: &DataType,
    integers: Vec<Option<i64>>,
    path: &str,
) -> Result<ArrayRef, ServerError> {
    if *data_type == DataType::Int64 {
        return Ok(Arc::new(Int64Array::from(integers)));
    }
    let narrow = integers
        .into_iter()
        .map(|integer| integer.map(i32::try_from).transpose())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| ServerError::argument(path, format!("is out of range for {data_type}")))?;
    Ok(Arc::new(Int32Array::from(narrow)))
}
