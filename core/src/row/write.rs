//! Arrow columns to the bytes of stored rows.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type,
    TimestampMicrosecondType,
};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, FixedSizeListArray, Float32Array, ListArray, MapArray,
    PrimitiveArray, StringArray, StructArray,
};

use super::{CRC_LEN, DELETED, RowSchema};
use crate::aggregate::Value;
use crate::data_type::DataType;
use crate::key::ColumnMismatch;
use crate::order::RowOrder;

/// Encodes the rows of one batch of columns.
#[derive(Debug)]
pub struct RowEncoder {
    version: u32,
    columns: Vec<Writer>,
}

impl RowEncoder {
    /// For columns of the Arrow types of `schema`, which the store knows as `version`.
    pub fn try_new(schema: &RowSchema, version: u32, arrays: &[ArrayRef]) -> Result<Self, ColumnMismatch> {
        let columns = schema
            .fields
            .iter()
            .enumerate()
            .map(|(column, field)| {
                arrays
                    .get(column)
                    .and_then(|array| Writer::of(&field.data_type, array))
                    .ok_or_else(|| ColumnMismatch {
                        column,
                        expected: field.data_type.to_arrow().to_string(),
                        found: arrays
                            .get(column)
                            .map_or("nothing".into(), |array| array.data_type().to_string()),
                    })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { version, columns })
    }

    /// Appends the bytes of one row.
    pub fn encode(&self, row: usize, order: RowOrder, deleted: bool, bytes: &mut Vec<u8>) {
        let start = bytes.len();
        bytes.extend_from_slice(&order.to_bytes());
        bytes.extend_from_slice(&self.version.to_le_bytes());
        bytes.push(if deleted { DELETED } else { 0 });
        write_body(self.columns.iter().map(|column| (column, row)), bytes);
        let crc = crc32c::crc32c(bytes.get(start..).unwrap_or_default());
        bytes.extend_from_slice(&crc.to_le_bytes());
        debug_assert!(bytes.len() > start + CRC_LEN);
    }
}

/// A bitmap of nulls, then what is not null: the same for the fields of a row or struct and for the
/// elements of a list.
fn write_body<'a>(values: impl ExactSizeIterator<Item = (&'a Writer, usize)> + Clone, bytes: &mut Vec<u8>) {
    let bitmap = bytes.len();
    bytes.resize(bitmap + values.len().div_ceil(8), 0);
    for (field, (writer, at)) in values.enumerate() {
        if writer.is_null(at) {
            if let Some(byte) = bytes.get_mut(bitmap + field / 8) {
                *byte |= 1 << (field % 8);
            }
        } else {
            writer.write(at, bytes);
        }
    }
}

/// A column whose values are written as stored rows have them.
#[derive(Debug)]
pub(crate) enum Writer {
    Bool(BooleanArray),
    Int32(PrimitiveArray<Int32Type>),
    Int64(PrimitiveArray<Int64Type>),
    Float32(PrimitiveArray<Float32Type>),
    Float64(PrimitiveArray<Float64Type>),
    Date(PrimitiveArray<Date32Type>),
    Timestamp(PrimitiveArray<TimestampMicrosecondType>),
    Decimal(PrimitiveArray<Decimal128Type>),
    String(StringArray),
    Bytes(BinaryArray),
    Embedding(FixedSizeListArray, Float32Array),
    List(ListArray, Box<Writer>),
    Struct(StructArray, Vec<Writer>),
    Map(MapArray, StringArray, Box<Writer>),
}

impl Writer {
    /// `None` where the array has not the Arrow type of `data_type`.
    pub(crate) fn of(data_type: &DataType, array: &ArrayRef) -> Option<Self> {
        if *array.data_type() != data_type.to_arrow() {
            return None;
        }
        Some(match data_type {
            DataType::Bool => Self::Bool(array.as_boolean_opt()?.clone()),
            DataType::Int32 => Self::Int32(array.as_primitive_opt()?.clone()),
            DataType::Int64 => Self::Int64(array.as_primitive_opt()?.clone()),
            DataType::Float32 => Self::Float32(array.as_primitive_opt()?.clone()),
            DataType::Float64 => Self::Float64(array.as_primitive_opt()?.clone()),
            DataType::Date => Self::Date(array.as_primitive_opt()?.clone()),
            DataType::Timestamp => Self::Timestamp(array.as_primitive_opt()?.clone()),
            DataType::Decimal { .. } => Self::Decimal(array.as_primitive_opt()?.clone()),
            DataType::String | DataType::Json => Self::String(array.as_string_opt()?.clone()),
            DataType::Bytes => Self::Bytes(array.as_binary_opt()?.clone()),
            DataType::Embedding(_) => {
                let list = array.as_fixed_size_list_opt()?;
                Self::Embedding(list.clone(), list.values().as_primitive_opt()?.clone())
            }
            DataType::List(item) => {
                let list = array.as_list_opt()?;
                Self::List(list.clone(), Box::new(Self::of(item, list.values())?))
            }
            DataType::Struct(fields) => {
                let columns = array.as_struct_opt()?;
                let writers = fields
                    .iter()
                    .zip(columns.columns())
                    .map(|((_, field), column)| Self::of(field, column))
                    .collect::<Option<_>>()?;
                Self::Struct(columns.clone(), writers)
            }
            DataType::Map(value) => {
                let map = array.as_map_opt()?;
                let values = Self::of(value, map.values())?;
                Self::Map(map.clone(), map.keys().as_string_opt()?.clone(), Box::new(values))
            }
        })
    }

    pub(crate) fn is_null(&self, at: usize) -> bool {
        match self {
            Self::Bool(array) => array.is_null(at),
            Self::Int32(array) => array.is_null(at),
            Self::Int64(array) => array.is_null(at),
            Self::Float32(array) => array.is_null(at),
            Self::Float64(array) => array.is_null(at),
            Self::Date(array) => array.is_null(at),
            Self::Timestamp(array) => array.is_null(at),
            Self::Decimal(array) => array.is_null(at),
            Self::String(array) => array.is_null(at),
            Self::Bytes(array) => array.is_null(at),
            Self::Embedding(array, _) => array.is_null(at),
            Self::List(array, _) => array.is_null(at),
            Self::Struct(array, _) => array.is_null(at),
            Self::Map(array, _, _) => array.is_null(at),
        }
    }

    /// A value as aggregates take it; `None` for types that have no such form.
    #[inline]
    pub(crate) fn value(&self, at: usize) -> Option<Value<'_>> {
        Some(match self {
            Self::Bool(array) => Value::Bool(array.value(at)),
            Self::Int32(array) => Value::Int(array.value(at).into()),
            Self::Date(array) => Value::Int(array.value(at).into()),
            Self::Int64(array) => Value::Int(array.value(at)),
            Self::Timestamp(array) => Value::Int(array.value(at)),
            Self::Float32(array) => Value::Float(array.value(at).into()),
            Self::Float64(array) => Value::Float(array.value(at)),
            Self::Decimal(array) => Value::Decimal(array.value(at)),
            Self::String(array) => Value::Bytes(array.value(at).as_bytes()),
            Self::Bytes(array) => Value::Bytes(array.value(at)),
            Self::Embedding(..) | Self::List(..) | Self::Struct(..) | Self::Map(..) => return None,
        })
    }

    pub(crate) fn write(&self, at: usize, bytes: &mut Vec<u8>) {
        match self {
            Self::Bool(array) => bytes.push(u8::from(array.value(at))),
            Self::Int32(array) => bytes.extend_from_slice(&array.value(at).to_le_bytes()),
            Self::Date(array) => bytes.extend_from_slice(&array.value(at).to_le_bytes()),
            Self::Float32(array) => bytes.extend_from_slice(&array.value(at).to_le_bytes()),
            Self::Int64(array) => bytes.extend_from_slice(&array.value(at).to_le_bytes()),
            Self::Timestamp(array) => bytes.extend_from_slice(&array.value(at).to_le_bytes()),
            Self::Float64(array) => bytes.extend_from_slice(&array.value(at).to_le_bytes()),
            Self::Decimal(array) => bytes.extend_from_slice(&array.value(at).to_le_bytes()),
            Self::String(array) => write_slice(array.value(at).as_bytes(), bytes),
            Self::Bytes(array) => write_slice(array.value(at), bytes),
            Self::Embedding(array, values) => {
                let start = at * usize::try_from(array.value_length()).unwrap_or(0);
                let end = start + usize::try_from(array.value_length()).unwrap_or(0);
                write_elements(values, start..end, bytes);
            }
            Self::List(array, items) => {
                let range = range_of(array.value_offsets(), at);
                write_len(range.len(), bytes);
                write_body(range.map(|item| (&**items, item)), bytes);
            }
            Self::Struct(_, fields) => write_body(fields.iter().map(|field| (field, at)), bytes),
            Self::Map(array, keys, values) => {
                let range = range_of(array.value_offsets(), at);
                write_len(range.len(), bytes);
                for key in range.clone() {
                    write_slice(keys.value(key).as_bytes(), bytes);
                }
                write_body(range.map(|item| (&**values, item)), bytes);
            }
        }
    }
}

fn write_elements<T: ArrowPrimitiveType<Native = f32>>(
    values: &PrimitiveArray<T>,
    range: std::ops::Range<usize>,
    bytes: &mut Vec<u8>,
) {
    for element in values.values().get(range).unwrap_or_default() {
        bytes.extend_from_slice(&element.to_le_bytes());
    }
}

fn range_of(offsets: &[i32], at: usize) -> std::ops::Range<usize> {
    let offset = |at: usize| {
        offsets
            .get(at)
            .and_then(|offset| usize::try_from(*offset).ok())
            .unwrap_or(0)
    };
    offset(at)..offset(at + 1)
}

fn write_len(len: usize, bytes: &mut Vec<u8>) {
    // Arrow offsets are i32, so a length fits.
    bytes.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
}

fn write_slice(value: &[u8], bytes: &mut Vec<u8>) {
    write_len(value.len(), bytes);
    bytes.extend_from_slice(value);
}
