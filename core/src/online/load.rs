//! Rows to load at once: gathered in any order, of each key the newest, then sorted.

use ahash::RandomState;
use hashbrown::HashTable;

use super::newer_row;
use crate::order::RowOrder;
use crate::row::order_bytes;

/// Rows of one generation that are due: of each key the newest that came, in the order of the keys' first
/// rows.
#[derive(Debug, Default)]
pub struct LoadRows {
    /// Keys and rows, one after the other.
    bytes: Vec<u8>,
    places: Vec<Place>,
    /// The numbers of places, by the hashes of their keys.
    index: HashTable<u32>,
    hasher: RandomState,
    /// The key and the row that are added.
    key: Vec<u8>,
    row: Vec<u8>,
}

/// Where a key and its row are.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// The first bytes of the key as a number, by which most keys are told apart.
    prefix: u64,
    /// Where the key is, and the row.
    starts: [usize; 2],
    key_len: u32,
    row_len: u32,
}

impl LoadRows {
    /// Adds a row of an order, unless there is a newer one of its key: `write_key` appends the bytes of its
    /// key, `write_row` the stored row, which begins with the order.
    pub fn push(
        &mut self,
        order: RowOrder,
        write_key: impl FnOnce(&mut Vec<u8>),
        write_row: impl FnOnce(&mut Vec<u8>),
    ) {
        self.key.clear();
        write_key(&mut self.key);
        let hash = self.hasher.hash_one(self.key.as_slice());
        let key_of = |place: &u32| {
            self.places
                .get(*place as usize)
                .map(|place| place.key(&self.bytes))
        };
        let known = self
            .index
            .find(hash, |place| key_of(place) == Some(self.key.as_slice()));
        let known = known.and_then(|place| self.places.get_mut(*place as usize));
        let order = order.to_bytes();
        if known
            .as_ref()
            .is_some_and(|place| order_bytes(place.row(&self.bytes)) > order.as_slice())
        {
            return;
        }
        self.row.clear();
        write_row(&mut self.row);
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let Some(place) = known else {
            let start = self.bytes.len();
            let place = Place {
                prefix: prefix(&self.key),
                starts: [start, start + self.key.len()],
                key_len: length(&self.key),
                row_len: length(&self.row),
            };
            self.bytes.extend_from_slice(&self.key);
            self.bytes.extend_from_slice(&self.row);
            let number = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
            self.places.push(place);
            let (places, bytes, hasher) = (&self.places, &self.bytes, &self.hasher);
            self.index.insert_unique(hash, number, |number| {
                let place = places.get(*number as usize);
                place.map_or(0, |place| hasher.hash_one(place.key(bytes)))
            });
            return;
        };
        if newer_row(place.row(&self.bytes), &self.row) != self.row.as_slice() {
            return;
        }
        // In the place of the row before, where it is as long.
        if place.row_len == length(&self.row) {
            let [_, start] = place.starts;
            if let Some(row) = self.bytes.get_mut(start..start + self.row.len()) {
                row.copy_from_slice(&self.row);
            }
        } else {
            place.starts = [place.starts[0], self.bytes.len()];
            place.row_len = length(&self.row);
            self.bytes.extend_from_slice(&self.row);
        }
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Bytes of memory that the rows take.
    pub fn size(&self) -> usize {
        self.bytes.len() + self.places.len() * (size_of::<Place>() + 2 * size_of::<u32>())
    }

    /// Sorts the rows by key.
    pub fn sort(self) -> SortedRows {
        let Self {
            bytes, mut places, ..
        } = self;
        places.sort_unstable_by(|a, b| {
            let keys = || a.key(&bytes).cmp(b.key(&bytes));
            a.prefix.cmp(&b.prefix).then_with(keys)
        });
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
        let [start, _] = self.starts;
        bytes
            .get(start..start + self.key_len as usize)
            .unwrap_or_default()
    }

    fn row<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let [_, start] = self.starts;
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
                    row.order,
                    |bytes| bytes.extend_from_slice(row.key.as_bytes()),
                    |bytes| bytes.extend_from_slice(&row.bytes),
                );
            }
        }
        assert_eq!(gathered.len(), 6);
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

    #[test]
    fn a_newer_row_of_another_length_takes_the_place() {
        let (k, other) = (key("k"), key("other"));
        let mut gathered = LoadRows::default();
        let mut push = |key: &crate::key::EntityKey, event, tail: &[u8]| {
            let row = row(key, order(event, 0, 0), 1);
            let bytes = [row.bytes.as_slice(), tail].concat();
            gathered.push(
                row.order,
                |to| to.extend_from_slice(key.as_bytes()),
                |to| to.extend_from_slice(&bytes),
            );
            bytes
        };
        push(&k, 1, b"short");
        let alone = push(&other, 1, b"");
        push(&k, 0, b"older and longer");
        push(&k, 2, b"longer than before");
        // Of the same order the greater bytes stay, whichever came first.
        let greatest = push(&k, 2, b"the greater bytes");
        push(&k, 2, b"longer than before");
        let rows: Vec<_> = gathered.sort().iter().map(|(_, row)| row.to_vec()).collect();
        assert_eq!(rows, [greatest, alone]);
    }
}
