//! Values of events, out of Arrow columns and out of stored rows.

use arrow_array::{Array, ArrayRef};
use arrow_buffer::NullBuffer;

use super::{Kept, State, Value};
use crate::data_type::DataType;
use crate::row::{RowCorrupt, Writer};

/// A column of values.
#[derive(Debug)]
pub struct Values {
    writer: Writer,
    /// Where some are null.
    nulls: Option<NullBuffer>,
}

impl Values {
    /// Those of an array; `None` where it has not the Arrow type of `data_type`.
    pub fn of(data_type: &DataType, array: &ArrayRef) -> Option<Self> {
        Some(Self {
            writer: Writer::of(data_type, array)?,
            nulls: array.nulls().filter(|nulls| nulls.null_count() > 0).cloned(),
        })
    }

    /// Whether an event has no value.
    #[inline]
    pub fn is_null(&self, event: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(event))
    }

    /// The value of an event, which is not null, as states take it that do not take stored ones; `None` where values of
    /// the type have no such form.
    #[inline]
    pub fn plain(&self, event: usize) -> Option<Value<'_>> {
        self.writer.value(event)
    }

    /// Appends the value of an event, which is not null, as stored rows write it.
    pub fn write(&self, event: usize, bytes: &mut Vec<u8>) {
        self.writer.write(event, bytes);
    }

    /// The value of an event, which is not null, as a state takes it; `bytes` hold it where it is written first.
    pub fn get<'a>(&'a self, state: State, event: usize, bytes: &'a mut Vec<u8>) -> Value<'a> {
        if !state.takes_stored()
            && let Some(value) = self.writer.value(event)
        {
            return value;
        }
        bytes.clear();
        self.writer.write(event, bytes);
        Value::Bytes(bytes)
    }
}

impl State {
    /// Whether it takes values as stored rows write them.
    pub fn takes_stored(self) -> bool {
        matches!(self.0, Kept::Edge(..))
    }

    /// A value as it takes it, of one as a stored row has it.
    ///
    /// # Errors
    ///
    /// Bytes that are no such value.
    pub fn value<'a>(self, data_type: &DataType, stored: &'a [u8]) -> Result<Value<'a>, RowCorrupt> {
        if self.takes_stored() {
            return Ok(Value::Bytes(stored));
        }
        Ok(match data_type {
            DataType::Bool => Value::Bool(exactly::<1>(stored)? != [0]),
            DataType::Int32 | DataType::Date => Value::Int(i32::from_le_bytes(exactly(stored)?).into()),
            DataType::Int64 | DataType::Timestamp => Value::Int(i64::from_le_bytes(exactly(stored)?)),
            DataType::Float32 => Value::Float(f32::from_le_bytes(exactly(stored)?).into()),
            DataType::Float64 => Value::Float(f64::from_le_bytes(exactly(stored)?)),
            DataType::Decimal { .. } => Value::Decimal(i128::from_le_bytes(exactly(stored)?)),
            DataType::String | DataType::Bytes | DataType::Json => {
                // Behind their length.
                Value::Bytes(stored.get(4..).ok_or(RowCorrupt::Body)?)
            }
            DataType::List(_) | DataType::Embedding(_) | DataType::Struct(_) | DataType::Map(_) => {
                Value::Bytes(stored)
            }
        })
    }
}

fn exactly<const N: usize>(stored: &[u8]) -> Result<[u8; N], RowCorrupt> {
    stored.try_into().map_err(|_| RowCorrupt::Body)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{BooleanArray, Decimal128Array, Float32Array, Int32Array, StringArray};

    use super::*;
    use crate::aggregate::{Aggregation, Function};
    use crate::order::RowOrder;
    use crate::row::{RowEncoder, RowField, RowSchema, StoredRow, fields_of};
    use crate::time::Timestamp;

    fn state(function: Function, data_type: &DataType) -> State {
        Aggregation::new(function, data_type.clone()).unwrap().state()
    }

    #[test]
    fn values_are_the_same_out_of_columns_and_out_of_stored_rows() {
        let decimal = DataType::Decimal {
            precision: 9,
            scale: 2,
        };
        let columns: [(DataType, ArrayRef, Value<'_>); 5] = [
            (
                DataType::Bool,
                Arc::new(BooleanArray::from(vec![true])),
                Value::Bool(true),
            ),
            (
                DataType::Int32,
                Arc::new(Int32Array::from(vec![-7])),
                Value::Int(-7),
            ),
            (
                DataType::Float32,
                Arc::new(Float32Array::from(vec![0.5])),
                Value::Float(0.5),
            ),
            (
                decimal.clone(),
                Arc::new(Decimal128Array::from(vec![-125]).with_data_type(decimal.to_arrow())),
                Value::Decimal(-125),
            ),
            (
                DataType::String,
                Arc::new(StringArray::from(vec!["a\0b"])),
                Value::Bytes(b"a\0b"),
            ),
        ];
        for (data_type, array, expected) in columns {
            let schema = RowSchema {
                fields: vec![RowField {
                    name: "x".into(),
                    data_type: data_type.clone(),
                }],
            };
            let order = RowOrder {
                event_time: Timestamp::EPOCH,
                created_time: Timestamp::EPOCH,
                seq: 0,
            };
            let mut row = Vec::new();
            let encoder = RowEncoder::try_new(&schema, 0, &[Arc::clone(&array)]).unwrap();
            encoder.encode(0, order, false, &mut row);
            let body = StoredRow::parse(&row).unwrap().body;
            let stored = fields_of(&schema, body).unwrap()[0].unwrap();
            let values = Values::of(&data_type, &array).unwrap();
            for (function, is_stored) in [(Function::Max, false), (Function::Last, true)] {
                let state = state(function, &data_type);
                let mut bytes = Vec::new();
                let expected = if is_stored { Value::Bytes(stored) } else { expected };
                assert_eq!(
                    values.get(state, 0, &mut bytes),
                    expected,
                    "{function} of {data_type}"
                );
                assert_eq!(
                    state.value(&data_type, stored),
                    Ok(expected),
                    "{function} of {data_type}"
                );
            }
        }
    }
}
