//! Answers of servers, as what was asked for.

use redis::Value;

/// Bytes; `None` where there are none. An answer of another kind is an error for the caller to name.
pub(crate) fn bytes(value: Value) -> Result<Option<Vec<u8>>, Odd> {
    match value {
        Value::Nil => Ok(None),
        Value::BulkString(bytes) => Ok(Some(bytes)),
        Value::SimpleString(text) => Ok(Some(text.into_bytes())),
        Value::Okay => Ok(Some(b"OK".to_vec())),
        _ => Err(Odd),
    }
}

/// A number, also one that is written out.
pub(crate) fn number(value: &Value) -> Result<u64, Odd> {
    match value {
        Value::Int(number) => u64::try_from(*number).map_err(|_| Odd),
        Value::Nil => Ok(0),
        Value::BulkString(digits) => {
            let digits = std::str::from_utf8(digits).map_err(|_| Odd)?;
            digits.parse().map_err(|_| Odd)
        }
        _ => Err(Odd),
    }
}

/// A list.
pub(crate) fn list(value: Value) -> Result<Vec<Value>, Odd> {
    match value {
        Value::Array(list) | Value::Set(list) => Ok(list),
        _ => Err(Odd),
    }
}

/// A field and what is in it.
pub(crate) type Pair = (Vec<u8>, Vec<u8>);

/// Pairs, such as the fields of a hash.
pub(crate) fn pairs(value: Value) -> Result<Vec<Pair>, Odd> {
    let item = |value: Option<Value>| bytes(value.ok_or(Odd)?)?.ok_or(Odd);
    match value {
        Value::Map(pairs) => pairs
            .into_iter()
            .map(|(key, value)| Ok((item(Some(key))?, item(Some(value))?)))
            .collect(),
        other => {
            let mut items = list(other)?.into_iter();
            let mut pairs = Vec::with_capacity(items.len() / 2);
            while let Some(key) = items.next() {
                pairs.push((item(Some(key))?, item(items.next())?));
            }
            Ok(pairs)
        }
    }
}

/// An answer of another kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Odd;
