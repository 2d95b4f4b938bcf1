//! From entity keys to numbers: the groups of a spine.

use ahash::RandomState;
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
        let words = self.words.iter().map(move |(key, group)| (*group, word(*key)));
        let bytes = (0..self.groups).filter(|_| self.words.is_empty());
        words.chain(bytes.map(|group| (group, self.bytes.get(group).into())))
    }

    /// Roughly how many bytes this holds.
    pub fn bytes(&self) -> usize {
        // A slot of a table has a byte of its own beside the entry, and an eighth of them is kept free.
        let slot = size_of::<(u64, u32)>() + 1;
        (self.words.capacity() + self.hashes.capacity()) * slot * 8 / 7
            + self.bytes.bytes.capacity()
            + self.bytes.ends.capacity() * size_of::<usize>()
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
            let Some(word) = words.get(row) else {
                groups.push(NONE);
                continue;
            };
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
            groups.push(group.get().1);
        }
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
        match keys.words() {
            Some(words) => groups.extend((0..keys.rows()).map(|row| {
                words.get(row).map_or(NONE, |word| {
                    let hash = self.hasher.hash_one(word);
                    self.words
                        .find(hash, |(other, _)| *other == word)
                        .map_or(NONE, |(_, group)| *group)
                })
            })),
            None => self.find_bytes(keys, groups),
        }
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
