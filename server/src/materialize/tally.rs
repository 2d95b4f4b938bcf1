//! What a run wrote, and what its generation must therefore be counted to hold at the end.
//!
//! A generation that is built anew holds what the run wrote, exactly. One that goes on also holds what it
//! held before: at least its keys, and at most those and its pending rows, each of which may have become
//! the row of another key.

use std::collections::HashSet;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::RangeInclusive;

use asof_core::key::EntityKey;
use asof_core::online::Counts;
use asof_core::order::RowOrder;
use serde::{Deserialize, Serialize};

/// So many different keys, and pending rows, are told apart by hashes of 16 bytes; of more than these only
/// bounds are known, so that a run takes the same memory however much it writes.
const TOLD_APART: usize = 900_000;

/// The rows that a run wrote.
#[derive(Debug, Default)]
pub(super) struct Tally {
    keys: Distinct,
    /// How many keys were noted with a row that may be gone already, as it expired long ago.
    may_be_gone: u64,
    pending: Distinct,
}

impl Tally {
    /// Nothing yet, after runs that were cut short and wrote this many keys and pending rows.
    pub(super) fn after((keys, pending): (Bounds, Bounds)) -> Self {
        let after = |earlier| Distinct {
            earlier,
            ..Distinct::default()
        };
        Self {
            keys: after(keys),
            may_be_gone: 0,
            pending: after(pending),
        }
    }

    pub(super) fn note_key(&mut self, key: &[u8], may_be_gone: bool) {
        self.keys.note(&key);
        self.may_be_gone += u64::from(may_be_gone);
    }

    /// Says that so many different keys were noted one after the other.
    pub(super) fn were_different(&mut self, keys: u64) {
        self.keys.earlier.least = self.keys.earlier.least.max(keys);
    }

    /// How many of the keys there are at least.
    fn least_keys(&self) -> u64 {
        self.keys.least().saturating_sub(self.may_be_gone)
    }

    pub(super) fn note_pending(&mut self, key: &EntityKey, order: RowOrder) {
        self.pending.note(&(key, order));
    }

    /// How many keys and how many pending rows were written.
    pub(super) fn bounds(&self) -> (Bounds, Bounds) {
        let keys = Bounds {
            least: self.least_keys(),
            ..self.keys.bounds()
        };
        (keys, self.pending.bounds())
    }

    /// What a generation with these rows and no others holds.
    pub(super) fn alone(&self) -> Expected {
        Expected {
            keys: self.least_keys()..=self.keys.most(),
            pending: self.pending.least()..=self.pending.most(),
        }
    }

    /// What a generation with these rows holds that held `before`, where that is known, and of which rows may
    /// be gone since.
    pub(super) fn beside(&self, before: Option<Held>, reclaims: bool) -> Expected {
        let Some(before) = before else {
            return Expected {
                keys: self.least_keys()..=u64::MAX,
                pending: self.pending.least()..=u64::MAX,
            };
        };
        let most_pending = before.pending.saturating_add(self.pending.most());
        let most_keys = before.keys.saturating_add(self.keys.most());
        let kept = if reclaims { 0 } else { before.keys };
        Expected {
            keys: self.least_keys().max(kept)..=most_keys.saturating_add(most_pending),
            pending: self.pending.least()..=most_pending,
        }
    }
}

/// What a generation was counted to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) keys: u64,
    pub(super) pending: u64,
}

impl From<Counts> for Held {
    fn from(counts: Counts) -> Self {
        Self {
            keys: counts.keys,
            pending: counts.pending,
        }
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys and {} pending rows", self.keys, self.pending)
    }
}

/// What a generation must be counted to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expected {
    keys: RangeInclusive<u64>,
    pending: RangeInclusive<u64>,
}

impl Expected {
    /// What it held before, and nothing else; rows of it may be gone since, and pending ones may have been merged, each of
    /// them as the row of a further key.
    pub(super) fn unchanged(held: Held, reclaims: bool) -> Self {
        let kept = if reclaims { 0 } else { held.keys };
        Self {
            keys: kept..=held.keys.saturating_add(held.pending),
            pending: 0..=held.pending,
        }
    }

    /// The same, and what so many rows may have added that were pushed meanwhile.
    pub(super) fn and_up_to(self, pushed: u64) -> Self {
        let up_to = |range: RangeInclusive<u64>| *range.start()..=range.end().saturating_add(pushed);
        Self {
            keys: up_to(self.keys),
            pending: up_to(self.pending),
        }
    }

    pub(super) fn admits(&self, held: Held) -> bool {
        self.keys.contains(&held.keys) && self.pending.contains(&held.pending)
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} keys and {} pending rows",
            shown(&self.keys),
            shown(&self.pending)
        )
    }
}

fn shown(range: &RangeInclusive<u64>) -> String {
    match (range.start(), range.end()) {
        (least, most) if least == most => least.to_string(),
        (least, &u64::MAX) => format!("{least} or more"),
        (least, most) => format!("{least} to {most}"),
    }
}

/// How many different things there were, at least and at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Bounds {
    least: u64,
    most: u64,
}

impl Bounds {
    /// At most so many more.
    pub(super) fn and_up_to(self, more: Self) -> Self {
        Self {
            least: self.least,
            most: self.most.saturating_add(more.most),
        }
    }

    /// The same, or fewer.
    pub(super) fn or_none(self) -> Self {
        Self { least: 0, ..self }
    }
}

/// How many different things there were.
#[derive(Debug, Default)]
struct Distinct {
    /// Of runs before, which may have had the same things; at least as many as were once seen together.
    earlier: Bounds,
    hashes: HashSet<u128>,
    /// How many came after the first [`TOLD_APART`] that were not among them, each counted as it came.
    further: u64,
}

impl Distinct {
    fn note(&mut self, thing: &impl Hash) {
        let half = |salt: u8| {
            let mut hasher = DefaultHasher::new();
            (salt, thing).hash(&mut hasher);
            u128::from(hasher.finish())
        };
        let hash = half(0) << 64 | half(1);
        if self.hashes.len() < TOLD_APART {
            self.hashes.insert(hash);
        } else if !self.hashes.contains(&hash) {
            self.further += 1;
        }
    }

    fn least(&self) -> u64 {
        let here = self.hashes.len() as u64 + u64::from(self.further > 0);
        here.max(self.earlier.least)
    }

    fn most(&self) -> u64 {
        (self.hashes.len() as u64 + self.further).saturating_add(self.earlier.most)
    }

    fn bounds(&self) -> Bounds {
        Bounds {
            least: self.least(),
            most: self.most(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(keys: &[u64], pending: &[u64]) -> Tally {
        let mut tally = Tally::default();
        keys.iter().for_each(|key| tally.keys.note(key));
        pending.iter().for_each(|row| tally.pending.note(row));
        tally
    }

    fn held(keys: u64, pending: u64) -> Held {
        Held { keys, pending }
    }

    #[test]
    fn a_generation_built_anew_holds_each_key_once() {
        let expected = tally(&[1, 2, 1, 3], &[7, 7]).alone();
        assert_eq!(expected.to_string(), "3 keys and 1 pending rows");
        assert!(expected.admits(held(3, 1)));
        for other in [held(2, 1), held(4, 1), held(3, 0), held(3, 2)] {
            assert!(!expected.admits(other), "{other}");
        }
    }

    #[test]
    fn one_that_goes_on_keeps_its_keys_and_gains_no_more_than_there_are() {
        // Two keys of three may have been there; two pending rows may each be the row of a further key now.
        let expected = tally(&[1, 2, 3], &[9]).beside(Some(held(2, 1)), false);
        assert_eq!(expected.to_string(), "3 to 7 keys and 1 to 2 pending rows");
        assert_eq!(
            tally(&[1], &[]).beside(Some(held(4, 0)), false).to_string(),
            "4 to 5 keys and 0 pending rows"
        );
        assert_eq!(
            tally(&[1], &[]).beside(None, false).to_string(),
            "1 or more keys and 0 or more pending rows"
        );
    }

    #[test]
    fn what_may_be_gone_is_not_missed() {
        let mut tally = tally(&[1, 2], &[]);
        tally.note_key(b"3", true);
        assert_eq!(tally.alone().to_string(), "2 to 3 keys and 0 pending rows");
        assert_eq!(
            tally.beside(Some(held(9, 0)), true).to_string(),
            "2 to 12 keys and 0 pending rows"
        );
        assert!(Expected::unchanged(held(9, 1), true).admits(held(0, 1)));
        assert!(Expected::unchanged(held(9, 1), false).admits(held(10, 0)));
        assert!(!Expected::unchanged(held(9, 1), true).admits(held(11, 0)));
        assert!(!Expected::unchanged(held(9, 1), true).admits(held(9, 2)));
        assert!(!Expected::unchanged(held(9, 1), false).admits(held(8, 1)));
    }

    #[test]
    fn of_more_than_are_told_apart_bounds_are_known() {
        let mut distinct = Distinct {
            hashes: (0..TOLD_APART as u128).collect(),
            ..Distinct::default()
        };
        ["a", "b", "a"].iter().for_each(|thing| distinct.note(thing));
        let known = TOLD_APART as u64;
        assert_eq!((distinct.least(), distinct.most()), (known + 1, known + 3));
    }

    #[test]
    fn what_a_run_before_wrote_may_be_the_same_or_not() {
        let earlier = tally(&[1, 2], &[7]).bounds();
        let mut resumed = Tally::after(earlier);
        for key in [2, 3, 4] {
            resumed.keys.note(&key);
        }
        assert_eq!(
            resumed.alone().to_string(),
            "3 to 5 keys and 1 pending rows",
            "at least the greater number"
        );
    }
}
