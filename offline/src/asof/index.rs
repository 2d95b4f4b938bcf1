//! From entity keys to numbers: the groups of a spine.

mod close;

use self::close::Close;
use ahash::RandomState;
use datafusion::arrow::buffer::NullBuffer;
use hashbrown::HashTable;

use asof_core::key::{KeyColumns, Words};

/// Stands for no group, and for no question.
pub const NONE: u32 = u32::MAX;

/// The distinct keys of a spine, each with its number in the order in which they first came.
#[derive(Debug, Default)]
pub struct KeyIndex {
    hasher: RandomState,
    /// Keys of at most eight bytes stand in the table themselves.
    words: HashTable<(u64, u32)>,
    /// The same where they lie close together.
    close: Option<Close>,
    /// Of others the table has the hash.
    hashes: HashTable<(u64, u32)>,
    bytes: KeyBytes,
    /// How many bytes a key has whose keys are words.
    width: usize,
    groups: u32,
}

/// Keys one behind the other.
#[derive(Debug, Default)]
struct KeyBytes {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl KeyBytes {
    fn get(&self, group: u32) -> &[u8] {
        let group = group as usize;
        let start = match group.checked_sub(1) {
            Some(before) => self.ends.get(before).copied().unwrap_or(0),
            None => 0,
        };
        let end = self.ends.get(group).copied().unwrap_or(start);
        self.bytes.get(start..end).unwrap_or_default()
    }

    fn push(&mut self, key: &[u8]) {
        self.bytes.extend_from_slice(key);
        self.ends.push(self.bytes.len());
    }
}

/// The rows that are null.
pub(super) fn null_rows(nulls: &NullBuffer) -> Vec<usize> {
    (!nulls.inner()).set_indices().collect()
}

impl KeyIndex {
    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.groups as usize
    }

    /// All keys with their groups.
    pub fn key_bytes(&self) -> impl Iterator<Item = (u32, Box<[u8]>)> + '_ {
        let word = |word: u64| {
            let bytes = word.to_be_bytes();
            bytes.get(8 - self.width.min(8)..).unwrap_or_default().into()
        };
        let close = self.close.iter().flat_map(Close::words);
        let words = self.words.iter().copied().chain(close);
        let bytes = (0..self.groups).filter(|_| self.width == 0);
        words
            .map(move |(key, group)| (group, word(key)))
            .chain(bytes.map(|group| (group, self.bytes.get(group).into())))
    }

    /// Roughly how many bytes this holds.
    pub fn bytes(&self) -> usize {
        // A slot of a table has a byte of its own beside the entry, and an eighth of them is kept free.
        let slot = size_of::<(u64, u32)>() + 1;
        let close = self.close.as_ref().map_or(0, Close::bytes);
        (self.words.capacity() + self.hashes.capacity()) * slot * 8 / 7
            + close
            + self.bytes.bytes.capacity()
            + self.bytes.ends.capacity() * size_of::<usize>()
    }

    /// The keys of rows given as words of `width` bytes each, and the group of each row; `nulls` are the rows
    /// whose key is null, ascending.
    pub fn of_words(width: usize, words: &[u64], nulls: &[u32]) -> (Self, Vec<u32>) {
        let mut index = Self {
            width,
            ..Self::default()
        };
        let is_key = |row: &u32| nulls.is_empty() || nulls.binary_search(row).is_err();
        let keys = || {
            (0_u32..)
                .zip(words)
                .filter(|(row, _)| is_key(row))
                .map(|(row, word)| (row, *word))
        };
        let mut groups = vec![NONE; words.len()];
        let mut give = |row: u32, group: u32| {
            if let Some(slot) = groups.get_mut(row as usize) {
                *slot = group;
            }
        };
        match Close::around(keys().map(|(_, word)| word), words.len()) {
            None => keys().for_each(|(row, word)| give(row, index.insert_word(word))),
            Some(mut close) => {
                for (row, word) in keys() {
                    give(row, close.insert(word));
                }
                index.groups = close.len();
                match close.is_dense() {
                    true => index.close = Some(close),
                    false => {
                        let entries = close.words();
                        let hasher = &index.hasher;
                        for entry in entries {
                            let hash = hasher.hash_one(entry.0);
                            index
                                .words
                                .insert_unique(hash, entry, |(word, _)| hasher.hash_one(word));
                        }
                    }
                }
            }
        }
        (index, groups)
    }

    /// Appends to `groups` the group of each row, made where its key is new; [`NONE`] where the key is null.
    pub fn insert(&mut self, keys: &KeyColumns, groups: &mut Vec<u32>) {
        match keys.words() {
            Some(words) => {
                self.width = keys.width().unwrap_or(0);
                self.insert_words(&words, keys.rows(), groups);
            }
            None => self.insert_bytes(keys, groups),
        }
    }

    fn insert_words(&mut self, words: &Words, rows: usize, groups: &mut Vec<u32>) {
        for row in 0..rows {
            let group = words.get(row).map_or(NONE, |word| self.insert_word(word));
            groups.push(group);
        }
    }

    fn insert_word(&mut self, word: u64) -> u32 {
        let hasher = &self.hasher;
        let entry = self.words.entry(
            hasher.hash_one(word),
            |(other, _)| *other == word,
            |(other, _)| hasher.hash_one(other),
        );
        let group = entry.or_insert_with(|| {
            self.groups += 1;
            (word, self.groups - 1)
        });
        group.get().1
    }

    fn insert_bytes(&mut self, keys: &KeyColumns, groups: &mut Vec<u32>) {
        let mut key = Vec::new();
        for row in 0..keys.rows() {
            key.clear();
            if !keys.write(row, &mut key) {
                groups.push(NONE);
                continue;
            }
            let hash = self.hasher.hash_one(key.as_slice());
            let bytes = &mut self.bytes;
            let known = self
                .hashes
                .find(hash, |(other, group)| *other == hash && bytes.get(*group) == key);
            let group = match known {
                Some((_, group)) => *group,
                None => {
                    bytes.push(&key);
                    self.hashes
                        .insert_unique(hash, (hash, self.groups), |(hash, _)| *hash);
                    self.groups += 1;
                    self.groups - 1
                }
            };
            groups.push(group);
        }
    }

    /// Writes the group of each row to `groups`, [`NONE`] where the key is null or not among those inserted.
    pub fn find(&self, keys: &KeyColumns, groups: &mut Vec<u32>) {
        groups.clear();
        let Some(words) = keys.words() else {
            return self.find_bytes(keys, groups);
        };
        match &self.close {
            Some(close) => groups.extend(words.values().iter().map(|word| close.find(*word))),
            None => groups.extend(words.values().iter().map(|word| self.find_word(*word))),
        }
        for row in words.nulls().into_iter().flat_map(null_rows) {
            if let Some(group) = groups.get_mut(row) {
                *group = NONE;
            }
        }
    }

    fn find_word(&self, word: u64) -> u32 {
        let hash = self.hasher.hash_one(word);
        let found = self.words.find(hash, |(other, _)| *other == word);
        found.map_or(NONE, |(_, group)| *group)
    }

    fn find_bytes(&self, keys: &KeyColumns, groups: &mut Vec<u32>) {
        let mut key = Vec::new();
        for row in 0..keys.rows() {
            key.clear();
            let group = if keys.write(row, &mut key) {
                let hash = self.hasher.hash_one(key.as_slice());
                self.hashes
                    .find(hash, |(other, group)| {
                        *other == hash && self.bytes.get(*group) == key
                    })
                    .map_or(NONE, |(_, group)| *group)
            } else {
                NONE
            };
            groups.push(group);
        }
    }
}
