//! Arrow arrays to wire columns.

use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type,
    TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef};
use asof_core::data_type::DataType;
use asof_core::key::ColumnMismatch;

use crate::v1;
use crate::v1::values::Kind;

/// The values of `array`, which has the Arrow type of `data_type`.
///
/// # Errors
///
/// The array has another type.
pub fn to_proto(data_type: &DataType, array: &ArrayRef) -> Result<v1::Values, ColumnMismatch> {
    let expected = data_type.to_arrow();
    if *array.data_type() != expected {
        return Err(mismatch(data_type, array));
    }
    values(data_type, array, std::slice::from_ref(&(0..array.len())))
}

fn mismatch(data_type: &DataType, array: &ArrayRef) -> ColumnMismatch {
    ColumnMismatch {
        column: 0,
        expected: data_type.to_arrow().to_string(),
        found: array.data_type().to_string(),
    }
}

/// The values at `runs` of `array`: the whole of a column, or the elements of the lists that are sent.
fn values(
    data_type: &DataType,
    array: &ArrayRef,
    runs: &[Range<usize>],
) -> Result<v1::Values, ColumnMismatch> {
    let wrong = || mismatch(data_type, array);
    let kind = match data_type {
        DataType::Bool => {
            let bools = array.as_boolean_opt().ok_or_else(wrong)?;
            let value = |at| bools.is_valid(at) && bools.value(at);
            Kind::Bools(v1::Bools {
                values: positions(runs).map(value).collect(),
            })
        }
        DataType::Int32 => Kind::Int32s(v1::Int32s {
            values: numbers::<Int32Type>(array, runs).ok_or_else(wrong)?,
        }),
        DataType::Int64 => Kind::Int64s(v1::Int64s {
            values: numbers::<Int64Type>(array, runs).ok_or_else(wrong)?,
        }),
        DataType::Float32 => Kind::Float32s(v1::Float32s {
            values: numbers::<Float32Type>(array, runs).ok_or_else(wrong)?,
        }),
        DataType::Float64 => Kind::Float64s(v1::Float64s {
            values: numbers::<Float64Type>(array, runs).ok_or_else(wrong)?,
        }),
        DataType::Date => Kind::Dates(v1::Int32s {
            values: numbers::<Date32Type>(array, runs).ok_or_else(wrong)?,
        }),
        DataType::Timestamp => Kind::Timestamps(v1::Int64s {
            values: numbers::<TimestampMicrosecondType>(array, runs).ok_or_else(wrong)?,
        }),
        DataType::Decimal { precision, scale } => {
            let numbers = numbers::<Decimal128Type>(array, runs).ok_or_else(wrong)?;
            Kind::Decimals(v1::Decimals {
                precision: u32::from(*precision),
                scale: u32::from(scale.unsigned_abs()),
                data: numbers.iter().flat_map(|number| number.to_le_bytes()).collect(),
            })
        }
        DataType::String => Kind::Strings(text(array, runs).ok_or_else(wrong)?),
        DataType::Json => Kind::Jsons(text(array, runs).ok_or_else(wrong)?),
        DataType::Bytes => {
            let bytes = array.as_binary_opt::<i32>().ok_or_else(wrong)?;
            Kind::Bytes(blobs(
                positions(runs).map(|at| bytes.is_valid(at).then(|| bytes.value(at))),
            ))
        }
        DataType::List(item) => {
            let list = array.as_list_opt::<i32>().ok_or_else(wrong)?;
            let (lengths, items) = elements(array, list.value_offsets(), runs);
            Kind::Lists(Box::new(v1::Lists {
                lengths,
                items: Some(Box::new(values(item, list.values(), &items)?)),
            }))
        }
        DataType::Embedding(dimension) => Kind::Embeddings(v1::Embeddings {
            dimension: *dimension,
            values: embedding(array, runs).ok_or_else(wrong)?,
        }),
        DataType::Struct(fields) => {
            let columns = array.as_struct_opt().ok_or_else(wrong)?.columns();
            let fields = fields.iter().zip(columns).map(|((name, field), column)| {
                Ok(v1::Column {
                    name: name.clone(),
                    values: Some(values(field, column, runs)?),
                })
            });
            Kind::Structs(v1::Structs {
                fields: fields.collect::<Result<_, _>>()?,
            })
        }
        DataType::Map(value) => {
            let map = array.as_map_opt().ok_or_else(wrong)?;
            let (lengths, entries) = elements(array, map.value_offsets(), runs);
            Kind::Maps(Box::new(v1::Maps {
                lengths,
                keys: Some(text(map.keys(), &entries).ok_or_else(wrong)?),
                values: Some(Box::new(values(value, map.values(), &entries)?)),
            }))
        }
    };
    Ok(v1::Values {
        length: wire_length(positions(runs).count()),
        nulls: nulls(array, runs),
        kind: Some(kind),
    })
}

fn positions(runs: &[Range<usize>]) -> impl Iterator<Item = usize> + '_ {
    runs.iter().cloned().flatten()
}

/// Arrow arrays of 32-bit offsets are no longer than this can say.
fn wire_length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

fn nulls(array: &ArrayRef, runs: &[Range<usize>]) -> Vec<u8> {
    if array.null_count() == 0 {
        return Vec::new();
    }
    bitmap(positions(runs).map(|at| array.is_null(at)))
}

/// Bits as `nulls` and `absent` have them: the first as the lowest of the first byte, and nothing where none is
/// set.
pub fn bitmap(bits: impl Iterator<Item = bool>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (at, bit) in bits.enumerate() {
        if at % 8 == 0 {
            bytes.push(0);
        }
        if let Some(byte) = bytes.last_mut() {
            *byte |= u8::from(bit) << (at % 8);
        }
    }
    if bytes.iter().all(|byte| *byte == 0) {
        bytes.clear();
    }
    bytes
}

fn numbers<T: ArrowPrimitiveType>(array: &ArrayRef, runs: &[Range<usize>]) -> Option<Vec<T::Native>> {
    let numbers = array.as_primitive_opt::<T>()?;
    let value = |at| {
        if numbers.is_valid(at) {
            numbers.value(at)
        } else {
            T::Native::default()
        }
    };
    Some(positions(runs).map(value).collect())
}

fn text(array: &ArrayRef, runs: &[Range<usize>]) -> Option<v1::Blobs> {
    let text = array.as_string_opt::<i32>()?;
    let value = |at| text.is_valid(at).then(|| text.value(at).as_bytes());
    Some(blobs(positions(runs).map(value)))
}

fn blobs<'a>(parts: impl Iterator<Item = Option<&'a [u8]>>) -> v1::Blobs {
    let mut blobs = v1::Blobs::default();
    for part in parts.map(Option::unwrap_or_default) {
        blobs.lengths.push(wire_length(part.len()));
        blobs.data.extend_from_slice(part);
    }
    blobs
}

fn embedding(array: &ArrayRef, runs: &[Range<usize>]) -> Option<Vec<f32>> {
    let list = array.as_fixed_size_list_opt()?;
    let elements = list.values().as_primitive_opt::<Float32Type>()?.values();
    let dimension = usize::try_from(list.value_length()).ok()?;
    let mut values = Vec::new();
    for at in positions(runs) {
        if list.is_null(at) {
            values.resize(values.len() + dimension, 0.0);
        } else {
            let start = usize::try_from(list.value_offset(at)).ok()?;
            values.extend_from_slice(elements.get(start..start + dimension)?);
        }
    }
    Some(values)
}

/// The lengths of the lists at `runs`, and where their elements are.
fn elements(array: &ArrayRef, offsets: &[i32], runs: &[Range<usize>]) -> (Vec<u32>, Vec<Range<usize>>) {
    let offset = |at: usize| {
        let offset = offsets.get(at).and_then(|offset| usize::try_from(*offset).ok());
        offset.unwrap_or(0)
    };
    let mut lengths = Vec::new();
    let mut found: Vec<Range<usize>> = Vec::new();
    for at in positions(runs) {
        let range = if array.is_null(at) {
            0..0
        } else {
            offset(at)..offset(at + 1)
        };
        lengths.push(wire_length(range.len()));
        match found.last_mut() {
            _ if range.is_empty() => {}
            Some(last) if last.end == range.start => last.end = range.end,
            _ => found.push(range),
        }
    }
    (lengths, found)
}
