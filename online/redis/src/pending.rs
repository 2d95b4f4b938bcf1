//! Lists of pending rows: for each its order (24 bytes), its length (4 bytes, big-endian) and the row.
//!
//! The order stands outside of the row, so that a row is due when its place says so, whatever has become of it.

use asof_core::order::{ORDER_LEN, RowOrder};

/// The rows of a list; `None` for bytes that are no list.
pub(crate) fn parse(mut list: &[u8]) -> Option<Vec<(RowOrder, &[u8])>> {
    let mut rows = Vec::new();
    while !list.is_empty() {
        let (order, rest) = list.split_first_chunk::<ORDER_LEN>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (row, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        rows.push((RowOrder::from_bytes(*order), row));
        list = rest;
    }
    Some(rows)
}

/// The list of some rows.
pub(crate) fn list<'a>(rows: impl IntoIterator<Item = (RowOrder, &'a [u8])>) -> Vec<u8> {
    let mut list = Vec::new();
    for (order, row) in rows {
        list.extend_from_slice(&order.to_bytes());
        list.extend_from_slice(&u32::try_from(row.len()).unwrap_or(u32::MAX).to_be_bytes());
        list.extend_from_slice(row);
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use asof_core::online::conformance::order;

    #[test]
    fn lists_are_read_as_they_were_written() {
        let rows = [(order(1, 2, 3), &b"row"[..]), (order(-1, 2, 3), b"")];
        let bytes = list(rows);
        assert_eq!(parse(&bytes).unwrap(), rows);
        assert_eq!(parse(b""), Some(vec![]));
        for end in [1, 27, 30, bytes.len() - 1] {
            assert_eq!(parse(&bytes[..end]), None);
        }
    }
}
