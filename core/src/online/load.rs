//! Rows to load at once: gathered in any order, then sorted, of each key the newest.

use super::newer_row;

/// Rows of one generation that are due, in the order in which they came.
#[derive(Debug, Default)]
pub struct LoadRows {
    /// Keys and rows, one after the other.
    bytes: Vec<u8>,
    places: Vec<Place>,
}

/// Where a key and its row are.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// The first bytes of the key as a number, by which most keys are told apart.
    prefix: u64,
    start: usize,
    key_len: u32,
    row_len: u32,
}

impl LoadRows {
    /// Adds a row: `write_key` appends the bytes of its key, `write_row` the stored row.
    pub fn push(&mut self, write_key: impl FnOnce(&mut Vec<u8>), write_row: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        write_key(&mut self.bytes);
        let row = self.bytes.len();
        write_row(&mut self.bytes);
        let length = |from: usize, to: usize| u32::try_from(to - from).unwrap_or(u32::MAX);
        self.places.push(Place {
            prefix: prefix(self.bytes.get(start..row).unwrap_or_default()),
            start,
            key_len: length(start, row),
            row_len: length(row, self.bytes.len()),
        });
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Bytes of memory that the rows take.
    pub fn size(&self) -> usize {
        self.bytes.len() + self.places.len() * size_of::<Place>()
    }

    /// Sorts the rows by key and keeps of each key the newest.
    pub fn sort(self) -> SortedRows {
        let Self { bytes, mut places } = self;
        places.sort_unstable_by(|a, b| {
            let keys = || a.key(&bytes).cmp(b.key(&bytes));
            let newest_first = || {
                let (a, b) = (a.row(&bytes), b.row(&bytes));
                // Of two rows that are the same either may come first.
                if a == b || newer_row(a, b) == a {
                    std::cmp::Ordering::Less
                } else {
                    std::cmp::Ordering::Greater
                }
            };
            a.prefix.cmp(&b.prefix).then_with(keys).then_with(newest_first)
        });
        places.dedup_by(|later, first| later.key(&bytes) == first.key(&bytes));
        SortedRows { bytes, places }
    }
}

/// Rows of one generation that are due: one of each key, in the order of their keys' bytes.
#[derive(Debug, Default)]
pub struct SortedRows {
    bytes: Vec<u8>,
    places: Vec<Place>,
}

impl SortedRows {
    /// Each key's bytes with its stored row.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        let places = self.places.iter();
        places.map(|place| (place.key(&self.bytes), place.row(&self.bytes)))
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

impl Place {
    fn key<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let end = self.start + self.key_len as usize;
        bytes.get(self.start..end).unwrap_or_default()
    }

    fn row<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let start = self.start + self.key_len as usize;
        bytes
            .get(start..start + self.row_len as usize)
            .unwrap_or_default()
    }
}

/// The first eight bytes of a key, zeros behind a shorter one: less or equal where the key is.
fn prefix(key: &[u8]) -> u64 {
    let mut first = [0; 8];
    for (to, from) in first.iter_mut().zip(key) {
        *to = *from;
    }
    u64::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::online::conformance::{key, order, row};

    #[test]
    fn of_each_key_the_newest_stays_in_the_order_of_the_keys() {
        let keys = ["b", "a", "", "abcdefgh", "abcdefghi", "a\0", "b", "abcdefgh"];
        let mut gathered = LoadRows::default();
        for (at, name) in keys.iter().enumerate() {
            for event in [3, 9, 1] {
                let row = row(&key(name), order(event, 0, at as u64), at as i64);
                gathered.push(
                    |bytes| bytes.extend_from_slice(row.key.as_bytes()),
                    |bytes| bytes.extend_from_slice(&row.bytes),
                );
            }
        }
        assert_eq!(gathered.len(), 24);
        // Of the keys that come twice the later one has the greater seq.
        let mut expected: Vec<_> = [
            (2, ""),
            (1, "a"),
            (5, "a\0"),
            (7, "abcdefgh"),
            (4, "abcdefghi"),
            (6, "b"),
        ]
        .map(|(at, name)| {
            let row = row(&key(name), order(9, 0, at), at as i64);
            (row.key.as_bytes().to_vec(), row.bytes)
        })
        .into();
        expected.sort();
        let sorted = gathered.sort();
        let found: Vec<_> = sorted
            .iter()
            .map(|(key, row)| (key.to_vec(), row.to_vec()))
            .collect();
        assert_eq!(found, expected);
        assert_eq!((sorted.len(), sorted.is_empty()), (6, false));
        assert!(LoadRows::default().sort().is_empty());
    }
}
