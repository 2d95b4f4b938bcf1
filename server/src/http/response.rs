//! The JSON of an answer; its shape is in the documentation of [`crate::http`].

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef};
use asof_core::data_type::DataType;
use asof_core::time::Timestamp;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{Duration, NaiveDate};
use serde::ser::{Error, SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};

use crate::error::ServerError;
use crate::features::Answer;

#[derive(Serialize)]
struct Body<'a> {
    service: Option<&'a str>,
    service_version: Option<u64>,
    registry_version: u64,
    as_of: String,
    rows: usize,
    columns: Vec<Column<'a>>,
    views: Vec<View<'a>>,
}

#[derive(Serialize)]
struct Column<'a> {
    name: &'a str,
    values: Values<'a>,
    statuses: Vec<&'static str>,
}

#[derive(Serialize)]
struct View<'a> {
    view: &'a str,
    prefix: Option<&'a str>,
    event_times: Vec<Option<String>>,
    materialized_to: String,
}

/// The JSON of an answer.
pub(crate) fn to_json(answer: &Answer) -> Result<Vec<u8>, ServerError> {
    let prepared = &answer.prepared;
    let plan = &prepared.plan;
    let service = Some(prepared.service()).filter(|service| !service.is_empty());
    let arrays = (0..plan.columns.len()).map(|column| answer.array(column));
    let arrays = arrays.collect::<Result<Vec<_>, _>>()?;
    let slots = prepared.layout.slots().iter().zip(&arrays);
    let columns = plan.columns.iter().zip(slots).enumerate();
    let columns = columns.map(|(at, (column, (slot, array)))| Column {
        name: &column.name,
        values: Values {
            data_type: &slot.data_type,
            array,
            start: 0,
            end: array.len(),
        },
        statuses: answer
            .statuses(at)
            .map(asof_core::status::Status::as_str)
            .collect(),
    });
    let views = plan.groups().zip(&answer.materialized_to).enumerate();
    let views = views.map(|(at, ((view, prefix), materialized_to))| View {
        view: view.as_str(),
        prefix: prefix.map(|prefix| prefix.as_str()),
        event_times: answer
            .event_times_of(at)
            .iter()
            .map(|time| time.map(|time| time.to_string()))
            .collect(),
        materialized_to: materialized_to.to_string(),
    });
    let body = Body {
        service,
        service_version: service.map(|_| prepared.service_version()),
        registry_version: prepared.version.number,
        as_of: answer.as_of.to_string(),
        rows: answer.rows(),
        columns: columns.collect(),
        views: views.collect(),
    };
    serde_json::to_vec(&body).map_err(|error| ServerError::Bug(error.to_string()))
}

/// One value of a feature as answers hold it.
pub(crate) fn value_to_json(
    data_type: &DataType,
    array: &ArrayRef,
    at: usize,
) -> Result<serde_json::Value, ServerError> {
    // Through text, as an answer goes: a float keeps the digits that it is shown with.
    let text = serde_json::to_vec(&Value { data_type, array, at });
    let value = text.and_then(|text| serde_json::from_slice(&text));
    value.map_err(|error| ServerError::Bug(error.to_string()))
}

/// Positions of a column as a list.
struct Values<'a> {
    data_type: &'a DataType,
    array: &'a ArrayRef,
    start: usize,
    end: usize,
}

impl Serialize for Values<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.end - self.start))?;
        for at in self.start..self.end {
            list.serialize_element(&Value {
                data_type: self.data_type,
                array: self.array,
                at,
            })?;
        }
        list.end()
    }
}

/// One position of a column.
struct Value<'a> {
    data_type: &'a DataType,
    array: &'a ArrayRef,
    at: usize,
}

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { data_type, array, at } = *self;
        if array.is_null(at) {
            return serializer.serialize_none();
        }
        match data_type {
            DataType::Bool => serializer.serialize_bool(array.as_boolean().value(at)),
            DataType::Int32 => serializer.serialize_i32(array.as_primitive::<Int32Type>().value(at)),
            DataType::Int64 => serializer.serialize_i64(array.as_primitive::<Int64Type>().value(at)),
            DataType::Float32 => {
                let value = array.as_primitive::<Float32Type>().value(at);
                match odd(value.into()) {
                    Some(name) => serializer.serialize_str(name),
                    None => serializer.serialize_f32(value),
                }
            }
            DataType::Float64 => float(array.as_primitive::<Float64Type>().value(at), serializer),
            DataType::String | DataType::Json => serializer.serialize_str(array.as_string::<i32>().value(at)),
            DataType::Bytes => serializer.serialize_str(&STANDARD.encode(array.as_binary::<i32>().value(at))),
            DataType::Date => {
                let days = array.as_primitive::<Date32Type>().value(at);
                match NaiveDate::default().checked_add_signed(Duration::days(days.into())) {
                    Some(date) => serializer.collect_str(&date),
                    None => Err(Error::custom(format!("day {days} is beyond the calendar"))),
                }
            }
            DataType::Timestamp => {
                let micros = array.as_primitive::<TimestampMicrosecondType>().value(at);
                serializer.collect_str(&Timestamp::from_micros(micros))
            }
            DataType::Decimal { .. } => {
                serializer.serialize_str(&array.as_primitive::<Decimal128Type>().value_as_string(at))
            }
            DataType::List(item) => {
                let list = array.as_list::<i32>();
                let (start, end) = bounds::<S>(list.value_offsets(), at)?;
                let array = list.values();
                Values {
                    data_type: item,
                    array,
                    start,
                    end,
                }
                .serialize(serializer)
            }
            DataType::Embedding(_) => {
                let list = array.as_fixed_size_list();
                let start = usize::try_from(list.value_offset(at)).map_err(Error::custom)?;
                let length = usize::try_from(list.value_length()).map_err(Error::custom)?;
                Values {
                    data_type: &DataType::Float32,
                    array: list.values(),
                    start,
                    end: start + length,
                }
                .serialize(serializer)
            }
            DataType::Struct(fields) => {
                let mut object = serializer.serialize_map(Some(fields.len()))?;
                for ((name, data_type), array) in fields.iter().zip(array.as_struct().columns()) {
                    object.serialize_entry(name, &Value { data_type, array, at })?;
                }
                object.end()
            }
            DataType::Map(value) => {
                let map = array.as_map();
                let (start, end) = bounds::<S>(map.value_offsets(), at)?;
                let keys = map.keys().as_string::<i32>();
                let mut object = serializer.serialize_map(Some(end - start))?;
                for at in start..end {
                    let value = Value {
                        data_type: value,
                        array: map.values(),
                        at,
                    };
                    object.serialize_entry(keys.value(at), &value)?;
                }
                object.end()
            }
        }
    }
}

fn float<S: Serializer>(value: f64, serializer: S) -> Result<S::Ok, S::Error> {
    match odd(value) {
        Some(name) => serializer.serialize_str(name),
        None => serializer.serialize_f64(value),
    }
}

/// The name of a number that JSON does not have.
fn odd(value: f64) -> Option<&'static str> {
    match value {
        _ if value.is_nan() => Some("NaN"),
        f64::INFINITY => Some("Infinity"),
        f64::NEG_INFINITY => Some("-Infinity"),
        _ => None,
    }
}

fn bounds<S: Serializer>(offsets: &[i32], at: usize) -> Result<(usize, usize), S::Error> {
    let offset = |at: usize| offsets.get(at).and_then(|offset| usize::try_from(*offset).ok());
    offset(at)
        .zip(offset(at + 1))
        .ok_or_else(|| Error::custom("offsets beyond the column"))
}
