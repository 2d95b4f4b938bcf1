//! Entity keys: typed tuples, and the bytes that stand for them.
//!
//! The bytes of a key compare as the tuple does, column by column, and no key's bytes are the start
//! of another key's of the same types, so that keys can be followed by other things in a store:
//!
//! | type | bytes |
//! |---|---|
//! | bool | `00` or `01` |
//! | int32, date | 4 bytes, big-endian, sign bit flipped |
//! | int64, timestamp | 8 bytes, big-endian, sign bit flipped |
//! | decimal | 16 bytes of the unscaled value, big-endian, sign bit flipped |
//! | string, bytes | each `00` written as `00 ff`, then `00 00` |
//!
//! Keys are never joined as text: `('1', '11')` and `('11', '1')` have different bytes. A key with a
//! null in any column has no bytes: it matches nothing.

mod arrays;
mod words;

pub use arrays::to_arrays;
pub use words::Words;

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Decimal128Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef};
use arrow_buffer::NullBuffer;

use crate::data_type::{DataType, KeyType};
use crate::time::Timestamp;

/// The longest value of a string or bytes key, in bytes.
pub const MAX_KEY_BYTES: usize = 64 * 1024;

/// One value of a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyValue {
    /// `bool`
    Bool(bool),
    /// `int32`
    Int32(i32),
    /// `int64`
    Int64(i64),
    /// `string`
    String(String),
    /// `bytes`
    Bytes(Vec<u8>),
    /// `date`: days since the Unix epoch.
    Date(i32),
    /// `timestamp`
    Timestamp(Timestamp),
    /// `decimal(p,s)`: the value times 10^s.
    Decimal(i128),
}

/// The bytes of a whole key without nulls.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntityKey(Box<[u8]>);

impl EntityKey {
    /// The key of bytes that [`KeyColumns::write`] or [`encode`] gave.
    pub fn from_encoded(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The bytes of a tuple, or `None` where one of its values is null.
pub fn encode(values: &[Option<KeyValue>]) -> Option<EntityKey> {
    let mut bytes = Vec::new();
    for value in values {
        match value.as_ref()? {
            KeyValue::Bool(value) => bytes.push(u8::from(*value)),
            KeyValue::Int32(value) | KeyValue::Date(value) => put_i32(&mut bytes, *value),
            KeyValue::Int64(value) => put_i64(&mut bytes, *value),
            KeyValue::Timestamp(value) => put_i64(&mut bytes, value.micros()),
            KeyValue::Decimal(value) => put_i128(&mut bytes, *value),
            KeyValue::String(value) => put_bytes(&mut bytes, value.as_bytes()),
            KeyValue::Bytes(value) => put_bytes(&mut bytes, value),
        }
    }
    Some(EntityKey(bytes.into()))
}

/// Why bytes are not a key of the given types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("these bytes are not a key of its types")]
pub struct KeyCorrupt;

/// The tuple of a key's bytes.
pub fn decode(key: &EntityKey, types: &[KeyType]) -> Result<Vec<KeyValue>, KeyCorrupt> {
    let mut rest = key.as_bytes();
    let values = types
        .iter()
        .map(|key_type| decode_one(&mut rest, key_type.data_type()))
        .collect::<Result<Vec<_>, _>>()?;
    if rest.is_empty() {
        Ok(values)
    } else {
        Err(KeyCorrupt)
    }
}

fn decode_one(rest: &mut &[u8], data_type: &DataType) -> Result<KeyValue, KeyCorrupt> {
    Ok(match data_type {
        DataType::Bool => match take::<1>(rest)? {
            [0] => KeyValue::Bool(false),
            [1] => KeyValue::Bool(true),
            _ => return Err(KeyCorrupt),
        },
        DataType::Int32 => KeyValue::Int32(unflip_i32(take(rest)?)),
        DataType::Date => KeyValue::Date(unflip_i32(take(rest)?)),
        DataType::Int64 => KeyValue::Int64(unflip_i64(take(rest)?)),
        DataType::Timestamp => KeyValue::Timestamp(Timestamp::from_micros(unflip_i64(take(rest)?))),
        DataType::Decimal { .. } => {
            KeyValue::Decimal((u128::from_be_bytes(take(rest)?) ^ (1 << 127)).cast_signed())
        }
        DataType::String => KeyValue::String(String::from_utf8(take_bytes(rest)?).map_err(|_| KeyCorrupt)?),
        DataType::Bytes => KeyValue::Bytes(take_bytes(rest)?),
        DataType::Float32
        | DataType::Float64
        | DataType::List(_)
        | DataType::Embedding(_)
        | DataType::Struct(_)
        | DataType::Map(_)
        | DataType::Json => return Err(KeyCorrupt),
    })
}

fn put_i32(bytes: &mut Vec<u8>, value: i32) {
    bytes.extend_from_slice(&(value.cast_unsigned() ^ (1 << 31)).to_be_bytes());
}

fn put_i64(bytes: &mut Vec<u8>, value: i64) {
    bytes.extend_from_slice(&(value.cast_unsigned() ^ (1 << 63)).to_be_bytes());
}

fn put_i128(bytes: &mut Vec<u8>, value: i128) {
    bytes.extend_from_slice(&(value.cast_unsigned() ^ (1 << 127)).to_be_bytes());
}

fn put_bytes(bytes: &mut Vec<u8>, value: &[u8]) {
    let mut parts = value.split(|byte| *byte == 0);
    bytes.extend_from_slice(parts.next().unwrap_or_default());
    for part in parts {
        bytes.extend_from_slice(&[0, 0xff]);
        bytes.extend_from_slice(part);
    }
    bytes.extend_from_slice(&[0, 0]);
}

fn unflip_i32(bytes: [u8; 4]) -> i32 {
    (u32::from_be_bytes(bytes) ^ (1 << 31)).cast_signed()
}

fn unflip_i64(bytes: [u8; 8]) -> i64 {
    (u64::from_be_bytes(bytes) ^ (1 << 63)).cast_signed()
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], KeyCorrupt> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or(KeyCorrupt)?;
    *rest = tail;
    Ok(*head)
}

fn take_bytes(rest: &mut &[u8]) -> Result<Vec<u8>, KeyCorrupt> {
    let mut value = Vec::new();
    loop {
        match take::<1>(rest)? {
            [0] => match take::<1>(rest)? {
                [0] => return Ok(value),
                [0xff] => value.push(0),
                _ => return Err(KeyCorrupt),
            },
            [byte] => value.push(byte),
        }
    }
}

/// Key columns as Arrow arrays, encoded row by row.
///
/// The arrays have the Arrow types of their key types (see [`DataType::to_arrow`]) and one length.
#[derive(Debug, Clone)]
pub struct KeyColumns {
    columns: Vec<KeyColumn>,
    rows: usize,
}

#[derive(Debug, Clone)]
enum KeyColumn {
    Bool(arrow_array::BooleanArray),
    Int32(arrow_array::Int32Array),
    Date(arrow_array::Date32Array),
    Int64(arrow_array::Int64Array),
    Timestamp(arrow_array::TimestampMicrosecondArray),
    Decimal(arrow_array::Decimal128Array),
    String(arrow_array::StringArray),
    Bytes(arrow_array::BinaryArray),
}

/// Why arrays cannot be encoded as keys or rows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column} has the Arrow type {found}, not {expected}")]
pub struct ColumnMismatch {
    /// Its place.
    pub column: usize,
    /// The type it should have.
    pub expected: String,
    /// The type it has.
    pub found: String,
}

impl KeyColumns {
    /// Checks that the arrays have the key types' Arrow types.
    pub fn try_new(types: &[KeyType], arrays: &[ArrayRef]) -> Result<Self, ColumnMismatch> {
        let mut columns = Vec::with_capacity(types.len());
        for (column, key_type) in types.iter().enumerate() {
            let expected = key_type.data_type().to_arrow();
            let array = arrays.get(column).filter(|array| *array.data_type() == expected);
            let encoded = array.and_then(|array| KeyColumn::of(key_type, array));
            columns.push(encoded.ok_or_else(|| {
                ColumnMismatch {
                    column,
                    expected: expected.to_string(),
                    found: arrays
                        .get(column)
                        .map_or("nothing".into(), |array| array.data_type().to_string()),
                }
            })?);
        }
        let rows = arrays.first().map_or(0, |array| array.len());
        Ok(Self { columns, rows })
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Which rows have a whole key; `None` where all have one.
    pub fn nulls(&self) -> Option<NullBuffer> {
        let mut nulls = None;
        for column in &self.columns {
            nulls = NullBuffer::union(nulls.as_ref(), column.nulls());
        }
        nulls.filter(|nulls| nulls.null_count() > 0)
    }

    /// Appends the bytes of the key in `row` and returns true; returns false, with `bytes` unchanged,
    /// where a column of it is null.
    pub fn write(&self, row: usize, bytes: &mut Vec<u8>) -> bool {
        let start = bytes.len();
        for column in &self.columns {
            if !column.write(row, bytes) {
                bytes.truncate(start);
                return false;
            }
        }
        true
    }

    /// The key in `row`, or `None` where a column of it is null.
    pub fn key(&self, row: usize) -> Option<EntityKey> {
        let mut bytes = Vec::new();
        self.write(row, &mut bytes).then(|| EntityKey(bytes.into()))
    }
}

impl KeyColumn {
    fn of(key_type: &KeyType, array: &ArrayRef) -> Option<Self> {
        Some(match key_type.data_type() {
            DataType::Bool => Self::Bool(array.as_boolean_opt()?.clone()),
            DataType::Int32 => Self::Int32(array.as_primitive_opt::<Int32Type>()?.clone()),
            DataType::Date => Self::Date(array.as_primitive_opt::<Date32Type>()?.clone()),
            DataType::Int64 => Self::Int64(array.as_primitive_opt::<Int64Type>()?.clone()),
            DataType::Timestamp => {
                Self::Timestamp(array.as_primitive_opt::<TimestampMicrosecondType>()?.clone())
            }
            DataType::Decimal { .. } => Self::Decimal(array.as_primitive_opt::<Decimal128Type>()?.clone()),
            DataType::String => Self::String(array.as_string_opt::<i32>()?.clone()),
            DataType::Bytes => Self::Bytes(array.as_binary_opt::<i32>()?.clone()),
            DataType::Float32
            | DataType::Float64
            | DataType::List(_)
            | DataType::Embedding(_)
            | DataType::Struct(_)
            | DataType::Map(_)
            | DataType::Json => return None,
        })
    }

    fn nulls(&self) -> Option<&NullBuffer> {
        match self {
            Self::Bool(array) => array.nulls(),
            Self::Int32(array) => array.nulls(),
            Self::Date(array) => array.nulls(),
            Self::Int64(array) => array.nulls(),
            Self::Timestamp(array) => array.nulls(),
            Self::Decimal(array) => array.nulls(),
            Self::String(array) => array.nulls(),
            Self::Bytes(array) => array.nulls(),
        }
    }

    fn write(&self, row: usize, bytes: &mut Vec<u8>) -> bool {
        macro_rules! put {
            ($array:expr, $put:expr) => {{
                if $array.is_null(row) {
                    return false;
                }
                $put(bytes, $array.value(row))
            }};
        }
        match self {
            Self::Bool(array) => put!(array, |bytes: &mut Vec<u8>, value| bytes.push(u8::from(value))),
            Self::Int32(array) => put!(array, put_i32),
            Self::Date(array) => put!(array, put_i32),
            Self::Int64(array) => put!(array, put_i64),
            Self::Timestamp(array) => put!(array, put_i64),
            Self::Decimal(array) => put!(array, put_i128),
            Self::String(array) => put!(array, |bytes: &mut Vec<u8>, value: &str| put_bytes(
                bytes,
                value.as_bytes()
            )),
            Self::Bytes(array) => put!(array, put_bytes),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Int64Array, StringArray};
    use proptest::prelude::*;

    use super::*;

    fn types(texts: &[&str]) -> Vec<KeyType> {
        texts.iter().map(|text| KeyType::parse(text).unwrap()).collect()
    }

    fn value() -> impl Strategy<Value = Vec<KeyValue>> {
        (
            any::<bool>(),
            any::<i32>(),
            any::<i64>(),
            prop_oneof![Just(String::new()), "[a\0b]{0,4}", any::<String>()],
            prop::collection::vec(prop_oneof![Just(0u8), Just(255), any::<u8>()], 0..4),
            any::<i128>(),
        )
            .prop_map(|(b, i, l, s, y, d)| {
                vec![
                    KeyValue::String(s),
                    KeyValue::Bytes(y),
                    KeyValue::Bool(b),
                    KeyValue::Int32(i),
                    KeyValue::Int64(l),
                    KeyValue::Date(i),
                    KeyValue::Timestamp(Timestamp::from_micros(l)),
                    KeyValue::Decimal(d),
                ]
            })
    }

    fn encoded(values: &[KeyValue]) -> EntityKey {
        encode(&values.iter().cloned().map(Some).collect::<Vec<_>>()).unwrap()
    }

    proptest! {
        #[test]
        fn bytes_compare_as_tuples_and_round_trip(a in value(), b in value()) {
            let types = types(&[
                "string", "bytes", "bool", "int32", "int64", "date", "timestamp", "decimal(38,2)",
            ]);
            prop_assert_eq!(encoded(&a).cmp(&encoded(&b)), a.cmp(&b));
            prop_assert_eq!(decode(&encoded(&a), &types).unwrap(), a);
        }

        #[test]
        fn no_key_is_the_start_of_another(a in value(), b in value()) {
            if a != b {
                prop_assert!(!encoded(&a).as_bytes().starts_with(encoded(&b).as_bytes()));
            }
        }

        #[test]
        fn any_bytes_decode_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..32)) {
            let _ = decode(&EntityKey::from_encoded(&bytes), &types(&["string", "int64"]));
        }
    }

    #[test]
    fn columns_give_the_same_bytes_as_tuples() {
        let arrays: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec![Some("1"), Some("11"), Some(""), None])),
            Arc::new(Int64Array::from(vec![11, 1, 0, 7])),
        ];
        let columns = KeyColumns::try_new(&types(&["string", "int64"]), &arrays).unwrap();
        let tuple = |text: &str, number| {
            encode(&[Some(KeyValue::String(text.into())), Some(KeyValue::Int64(number))])
        };
        assert_eq!(columns.key(0), tuple("1", 11));
        assert_eq!(columns.key(1), tuple("11", 1));
        assert_eq!(columns.key(2), tuple("", 0));
        assert_eq!(columns.key(3), None);
        assert_ne!(columns.key(0), columns.key(1));
    }

    #[test]
    fn composite_text_keys_do_not_run_together() {
        let pair =
            |a: &str, b: &str| encode(&[Some(KeyValue::String(a.into())), Some(KeyValue::String(b.into()))]);
        assert_ne!(pair("1", "11"), pair("11", "1"));
        assert_ne!(pair("a\0", "b"), pair("a", "\0b"));
    }

    #[test]
    fn wrong_array_types_are_refused() {
        let arrays: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(vec![1]))];
        let error = KeyColumns::try_new(&types(&["string"]), &arrays).unwrap_err();
        assert_eq!(error.to_string(), "column 0 has the Arrow type Int64, not Utf8");
    }
}
