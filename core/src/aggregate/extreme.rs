//! The least or the greatest value.

use std::cmp::Ordering;

use super::Value;
use super::bytes::{Corrupt, put_count, take, take_byte, take_slice};

/// A value of which the least or the greatest is wanted.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Extreme {
    Bool(bool),
    Int(i64),
    Float(f64),
    Decimal(i128),
    Bytes(Box<[u8]>),
}

impl Extreme {
    pub(super) fn of(value: Value<'_>) -> Self {
        match value {
            Value::Bool(value) => Self::Bool(value),
            Value::Int(value) => Self::Int(value),
            Value::Float(value) => Self::Float(plain(value)),
            Value::Decimal(value) => Self::Decimal(value),
            Value::Bytes(value) => Self::Bytes(value.into()),
        }
    }

    pub(super) fn value(&self) -> Value<'_> {
        match self {
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(value) => Value::Int(*value),
            Self::Float(value) => Value::Float(*value),
            Self::Decimal(value) => Value::Decimal(*value),
            Self::Bytes(value) => Value::Bytes(value),
        }
    }

    pub(super) fn encode(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Bool(value) => bytes.extend_from_slice(&[0, u8::from(*value)]),
            Self::Int(value) => {
                bytes.push(1);
                bytes.extend_from_slice(&value.to_le_bytes());
            }
            Self::Float(value) => {
                bytes.push(2);
                bytes.extend_from_slice(&value.to_le_bytes());
            }
            Self::Decimal(value) => {
                bytes.push(3);
                bytes.extend_from_slice(&value.to_le_bytes());
            }
            Self::Bytes(value) => {
                bytes.push(4);
                put_count(value.len() as u64, bytes);
                bytes.extend_from_slice(value);
            }
        }
    }

    /// Reads what [`Self::encode`] wrote.
    pub(super) fn decode(rest: &mut &[u8]) -> Result<Self, Corrupt> {
        Ok(match take_byte(rest)? {
            0 => Self::Bool(match take_byte(rest)? {
                0 => false,
                1 => true,
                _ => return Err(Corrupt),
            }),
            1 => Self::Int(i64::from_le_bytes(take(rest)?)),
            2 => Self::Float(f64::from_le_bytes(take(rest)?)),
            3 => Self::Decimal(i128::from_le_bytes(take(rest)?)),
            4 => Self::Bytes(take_slice(rest)?.into()),
            _ => return Err(Corrupt),
        })
    }
}

/// The order of values of one type: of numbers with a point -0 is less than 0, and NaN greater than all.
pub(super) fn order(a: Value<'_>, b: Value<'_>) -> Ordering {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a.cmp(&b),
        (Value::Int(a), Value::Int(b)) => a.cmp(&b),
        (Value::Float(a), Value::Float(b)) => plain(a).total_cmp(&plain(b)),
        (Value::Decimal(a), Value::Decimal(b)) => a.cmp(&b),
        (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
        // Values of two types do not meet.
        _ => Ordering::Equal,
    }
}

/// A number of which there is one NaN, the greatest.
pub(super) fn plain(value: f64) -> f64 {
    if value.is_nan() { f64::NAN } else { value }
}
