//! Keys that are words and lie close together, as numbers that are given out one after the other do: a table by
//! the distance from the least of them, which needs no hashing.

use super::NONE;

/// Words lie close together where their span has at most so many words for each key, and a few more.
const SPREAD: u64 = 4;
const FEW: u64 = 1 << 10;

/// Groups of words that lie close together.
#[derive(Debug)]
pub(super) struct Close {
    least: u64,
    /// By the distance from the least word; [`NONE`] for words that are no key.
    groups: Vec<u32>,
    len: u32,
}

impl Close {
    /// A table for the words of so many rows, where its size is in proportion to their number.
    pub(super) fn around(words: impl Iterator<Item = u64>, rows: usize) -> Option<Self> {
        let widen = |bounds: Option<(u64, u64)>, word: u64| match bounds {
            None => Some((word, word)),
            Some((least, greatest)) => Some((least.min(word), greatest.max(word))),
        };
        let (least, greatest) = words.fold(None, widen)?;
        let span = greatest - least;
        if span > rows as u64 * SPREAD + FEW {
            return None;
        }
        Some(Self {
            least,
            groups: vec![NONE; usize::try_from(span).ok()? + 1],
            len: 0,
        })
    }

    /// Whether it has keys enough for its size: else a hash table of them is smaller, and so faster.
    pub(super) fn is_dense(&self) -> bool {
        self.groups.len() as u64 <= u64::from(self.len) * SPREAD + FEW
    }

    /// How many keys there are.
    pub(super) fn len(&self) -> u32 {
        self.len
    }

    /// How many bytes this holds.
    pub(super) fn bytes(&self) -> usize {
        self.groups.len() * size_of::<u32>()
    }

    /// The group of a word of those it was made for, a new one where it has none.
    pub(super) fn insert(&mut self, word: u64) -> u32 {
        let distance = word.wrapping_sub(self.least);
        let slot = usize::try_from(distance)
            .ok()
            .and_then(|at| self.groups.get_mut(at));
        let Some(group) = slot else { return NONE };
        if *group == NONE {
            *group = self.len;
            self.len += 1;
        }
        *group
    }

    /// The group of a word, [`NONE`] where it is no key.
    pub(super) fn find(&self, word: u64) -> u32 {
        let distance = word.wrapping_sub(self.least);
        let group = usize::try_from(distance).ok().and_then(|at| self.groups.get(at));
        group.copied().unwrap_or(NONE)
    }

    /// All words with their groups.
    pub(super) fn words(&self) -> impl Iterator<Item = (u64, u32)> + '_ {
        let distances = (0..).zip(&self.groups);
        distances
            .filter(|(_, group)| **group != NONE)
            .map(|(distance, group)| (self.least.wrapping_add(distance), *group))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_word_is_a_key_too() {
        let keys = [u64::MAX, u64::MAX - 3];
        let mut close = Close::around(keys.into_iter(), 2).unwrap();
        assert_eq!(keys.map(|key| close.insert(key)), [0, 1]);
        assert_eq!(
            close.words().collect::<Vec<_>>(),
            [(u64::MAX - 3, 1), (u64::MAX, 0)]
        );
        assert_eq!(close.find(0), NONE);
    }
}
