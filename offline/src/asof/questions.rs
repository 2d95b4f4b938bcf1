//! The spine's questions about one entity key, grouped by key and sorted by time.

use std::collections::HashMap;
use std::ops::Range;

use asof_core::time::Timestamp;

/// The distinct (key, time) pairs of a spine, those of one key side by side in order of time.
#[derive(Debug, Default)]
pub struct Questions {
    /// Key bytes to group.
    groups: HashMap<Box<[u8]>, usize>,
    /// Per group, its range in `times`.
    ranges: Vec<Range<usize>>,
    times: Vec<Timestamp>,
    /// Per spine row its question, or `None` where the row asks nothing (a null key).
    rows: Vec<Option<usize>>,
    bytes: usize,
}

/// Collects the rows of a spine.
#[derive(Debug, Default)]
pub struct QuestionsBuilder {
    groups: HashMap<Box<[u8]>, usize>,
    rows: Vec<Option<(usize, Timestamp)>>,
    key_bytes: usize,
}

impl QuestionsBuilder {
    /// Adds the next spine row; `None` where its key is null.
    pub fn push(&mut self, key: Option<&[u8]>, at: Timestamp) {
        let row = key.map(|key| {
            let group = match self.groups.get(key) {
                Some(group) => *group,
                None => {
                    let group = self.groups.len();
                    self.groups.insert(key.into(), group);
                    self.key_bytes += key.len();
                    group
                }
            };
            (group, at)
        });
        self.rows.push(row);
    }

    /// Roughly how many bytes this holds.
    pub fn bytes(&self) -> usize {
        self.rows.capacity() * size_of::<Option<(usize, Timestamp)>>()
            + group_bytes(self.groups.len(), self.key_bytes)
    }

    /// Sorts the rows into questions.
    pub fn finish(self) -> Questions {
        let mut sorted: Vec<(usize, Timestamp)> = self.rows.iter().copied().flatten().collect();
        sorted.sort_unstable();
        sorted.dedup();
        let mut ranges = vec![0..0; self.groups.len()];
        for (place, (group, _)) in sorted.iter().enumerate() {
            if let Some(range) = ranges.get_mut(*group) {
                if range.start == range.end {
                    range.start = place;
                }
                range.end = place + 1;
            }
        }
        let rows = self
            .rows
            .iter()
            .map(|row| row.and_then(|row| sorted.binary_search(&row).ok()))
            .collect();
        let times: Vec<Timestamp> = sorted.into_iter().map(|(_, at)| at).collect();
        let bytes = group_bytes(self.groups.len(), self.key_bytes)
            + times.len() * size_of::<Timestamp>()
            + self.rows.len() * size_of::<Option<usize>>();
        Questions {
            groups: self.groups,
            ranges,
            times,
            rows,
            bytes,
        }
    }
}

fn group_bytes(groups: usize, key_bytes: usize) -> usize {
    key_bytes + groups * (size_of::<(Box<[u8]>, usize)>() + size_of::<Range<usize>>() + 16)
}

impl Questions {
    /// How many distinct questions there are.
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Roughly how many bytes this holds.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The question of a spine row, `None` where its key is null.
    pub fn of_row(&self, row: usize) -> Option<usize> {
        self.rows.get(row).copied().flatten()
    }

    /// The instant of a question.
    pub fn time(&self, question: usize) -> Timestamp {
        self.times.get(question).copied().unwrap_or(Timestamp::MIN)
    }

    /// The first question about `key` at or after `from`.
    pub fn first_from(&self, key: &[u8], from: Timestamp) -> Option<usize> {
        let range = self.ranges.get(*self.groups.get(key)?)?.clone();
        let times = self.times.get(range.clone())?;
        let first = range.start + times.partition_point(|at| *at < from);
        (first < range.end).then_some(first)
    }

    /// The ranges of questions of one key each.
    pub fn ranges(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.ranges.iter().cloned()
    }
}
