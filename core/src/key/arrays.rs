//! Keys back as columns.

use std::sync::Arc;

use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{ArrayRef, BinaryArray, BooleanArray, PrimitiveArray, StringArray};

use super::{EntityKey, KeyCorrupt, KeyValue, decode};
use crate::data_type::KeyType;

/// The columns of keys of the given types: one array a type, of its Arrow type, with a value a key.
pub fn to_arrays<'a>(
    types: &[KeyType],
    keys: impl IntoIterator<Item = &'a EntityKey>,
) -> Result<Vec<ArrayRef>, KeyCorrupt> {
    let mut columns: Vec<Vec<KeyValue>> = types.iter().map(|_| Vec::new()).collect();
    for key in keys {
        for (column, value) in columns.iter_mut().zip(decode(key, types)?) {
            column.push(value);
        }
    }
    types
        .iter()
        .zip(columns)
        .map(|(key_type, values)| to_array(key_type, &values))
        .collect()
}

fn to_array(key_type: &KeyType, values: &[KeyValue]) -> Result<ArrayRef, KeyCorrupt> {
    let array: ArrayRef = match values.first() {
        None => return Ok(arrow_array::new_empty_array(&key_type.data_type().to_arrow())),
        Some(KeyValue::Bool(_)) => Arc::new(BooleanArray::from(all(values, |value| match value {
            KeyValue::Bool(value) => Some(*value),
            _ => None,
        })?)),
        Some(KeyValue::Int32(_)) => primitive::<Int32Type>(key_type, values, |value| match value {
            KeyValue::Int32(value) => Some(*value),
            _ => None,
        })?,
        Some(KeyValue::Int64(_)) => primitive::<Int64Type>(key_type, values, |value| match value {
            KeyValue::Int64(value) => Some(*value),
            _ => None,
        })?,
        Some(KeyValue::Date(_)) => primitive::<Date32Type>(key_type, values, |value| match value {
            KeyValue::Date(value) => Some(*value),
            _ => None,
        })?,
        Some(KeyValue::Timestamp(_)) => {
            primitive::<TimestampMicrosecondType>(key_type, values, |value| match value {
                KeyValue::Timestamp(value) => Some(value.micros()),
                _ => None,
            })?
        }
        Some(KeyValue::Decimal(_)) => primitive::<Decimal128Type>(key_type, values, |value| match value {
            KeyValue::Decimal(value) => Some(*value),
            _ => None,
        })?,
        Some(KeyValue::String(_)) => Arc::new(StringArray::from(all(values, |value| match value {
            KeyValue::String(value) => Some(value.as_str()),
            _ => None,
        })?)),
        Some(KeyValue::Bytes(_)) => Arc::new(BinaryArray::from(all(values, |value| match value {
            KeyValue::Bytes(value) => Some(value.as_slice()),
            _ => None,
        })?)),
    };
    Ok(array)
}

fn primitive<T: ArrowPrimitiveType>(
    key_type: &KeyType,
    values: &[KeyValue],
    value: impl Fn(&KeyValue) -> Option<T::Native>,
) -> Result<ArrayRef, KeyCorrupt> {
    let values = all(values, value)?;
    let array = PrimitiveArray::<T>::from_iter_values(values);
    Ok(Arc::new(array.with_data_type(key_type.data_type().to_arrow())))
}

fn all<'a, T>(
    values: &'a [KeyValue],
    value: impl Fn(&'a KeyValue) -> Option<T>,
) -> Result<Vec<T>, KeyCorrupt> {
    values
        .iter()
        .map(|found| value(found).ok_or(KeyCorrupt))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{KeyColumns, encode};
    use crate::time::Timestamp;

    #[test]
    fn columns_of_keys_give_the_keys_again() {
        let types: Vec<KeyType> = [
            "string",
            "bytes",
            "bool",
            "int32",
            "int64",
            "date",
            "timestamp",
            "decimal(38,2)",
        ]
        .iter()
        .map(|text| KeyType::parse(text).unwrap())
        .collect();
        let key = |n: i32| {
            let values = [
                KeyValue::String(format!("a{n}\0")),
                KeyValue::Bytes(vec![0, u8::try_from(n).unwrap()]),
                KeyValue::Bool(n % 2 == 0),
                KeyValue::Int32(-n),
                KeyValue::Int64(i64::from(n)),
                KeyValue::Date(n),
                KeyValue::Timestamp(Timestamp::from_micros(i64::from(n))),
                KeyValue::Decimal(i128::from(n)),
            ];
            encode(&values.map(Some)).unwrap()
        };
        let keys: Vec<EntityKey> = (0..5).map(key).collect();
        let arrays = to_arrays(&types, &keys).unwrap();
        let columns = KeyColumns::try_new(&types, &arrays).unwrap();
        let again: Vec<EntityKey> = (0..5).map(|row| columns.key(row).unwrap()).collect();
        assert_eq!(again, keys);
        let none = to_arrays(&types, &[]).unwrap();
        assert!(KeyColumns::try_new(&types, &none).is_ok());
    }
}
