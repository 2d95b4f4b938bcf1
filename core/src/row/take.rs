//! Values off the front of stored bytes.

use super::{RowCorrupt, RowSchema};
use crate::data_type::DataType;

pub(super) fn take<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8], RowCorrupt> {
    let (head, tail) = rest.split_at_checked(len).ok_or(RowCorrupt::Body)?;
    *rest = tail;
    Ok(head)
}

pub(super) fn take_len(rest: &mut &[u8]) -> Result<usize, RowCorrupt> {
    let (head, tail) = rest.split_first_chunk::<4>().ok_or(RowCorrupt::Body)?;
    *rest = tail;
    usize::try_from(u32::from_le_bytes(*head)).map_err(|_| RowCorrupt::Body)
}

pub(super) fn take_slice<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], RowCorrupt> {
    let len = take_len(rest)?;
    take(rest, len)
}

pub(super) fn take_text<'a>(rest: &mut &'a [u8]) -> Result<&'a str, RowCorrupt> {
    std::str::from_utf8(take_slice(rest)?).map_err(|_| RowCorrupt::Body)
}

pub(super) fn take_bool(rest: &mut &[u8]) -> Result<bool, RowCorrupt> {
    match take(rest, 1)? {
        [0] => Ok(false),
        [1] => Ok(true),
        _ => Err(RowCorrupt::Body),
    }
}

pub(super) fn is_null(bitmap: &[u8], at: usize) -> bool {
    bitmap.get(at / 8).is_some_and(|byte| byte & (1 << (at % 8)) != 0)
}

/// Moves `rest` past one value that is not wanted.
pub(super) fn skip(data_type: &DataType, rest: &mut &[u8]) -> Result<(), RowCorrupt> {
    match data_type {
        DataType::Bool => take(rest, 1).map(drop),
        DataType::Int32 | DataType::Float32 | DataType::Date => take(rest, 4).map(drop),
        DataType::Int64 | DataType::Float64 | DataType::Timestamp => take(rest, 8).map(drop),
        DataType::Decimal { .. } => take(rest, 16).map(drop),
        DataType::String | DataType::Bytes | DataType::Json => take_slice(rest).map(drop),
        DataType::Embedding(len) => {
            let len = usize::try_from(*len).map_err(|_| RowCorrupt::Body)?;
            take(rest, len.checked_mul(4).ok_or(RowCorrupt::Body)?).map(drop)
        }
        DataType::List(item) => {
            let len = take_len(rest)?;
            skip_body(len, item, rest)
        }
        DataType::Struct(fields) => {
            let bitmap = take(rest, fields.len().div_ceil(8))?;
            fields
                .iter()
                .enumerate()
                .filter(|(field, _)| !is_null(bitmap, *field))
                .try_for_each(|(_, (_, data_type))| skip(data_type, rest))
        }
        DataType::Map(value) => {
            let len = take_len(rest)?;
            for _ in 0..len {
                take_slice(rest)?;
            }
            skip_body(len, value, rest)
        }
    }
}

fn skip_body(len: usize, item: &DataType, rest: &mut &[u8]) -> Result<(), RowCorrupt> {
    let bitmap = take(rest, len.div_ceil(8))?;
    (0..len)
        .filter(|at| !is_null(bitmap, *at))
        .try_for_each(|_| skip(item, rest))
}

/// The stored values of a row, out of its body, one a field; `None` for a null.
///
/// # Errors
///
/// A body that is not of the schema.
pub fn fields_of<'a>(schema: &RowSchema, body: &'a [u8]) -> Result<Vec<Option<&'a [u8]>>, RowCorrupt> {
    let mut rest = body;
    let nulls = take(&mut rest, schema.fields.len().div_ceil(8))?;
    let fields = schema.fields.iter().enumerate().map(|(at, field)| {
        if is_null(nulls, at) {
            return Ok(None);
        }
        let before = rest;
        skip(&field.data_type, &mut rest)?;
        Ok(before.get(..before.len() - rest.len()))
    });
    let fields = fields.collect::<Result<_, _>>()?;
    match rest.is_empty() {
        true => Ok(fields),
        false => Err(RowCorrupt::Body),
    }
}
