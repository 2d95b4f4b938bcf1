//! The spine's questions about one entity key, grouped by key and sorted by time.

use std::ops::Range;

use asof_core::key::KeyColumns;
use asof_core::time::Timestamp;
use datafusion::arrow::array::TimestampMicrosecondArray;

use super::index::{KeyIndex, NONE};
use crate::error::{OfflineError, Result};

/// The distinct (key, time) pairs of a spine, those of one key side by side in order of time.
#[derive(Debug)]
pub struct Questions {
    index: KeyIndex,
    /// Where the questions of each group begin, and where the last one's end.
    starts: Vec<u32>,
    times: Vec<i64>,
    /// Per spine row its question, or [`NONE`] where the row asks nothing (a null key).
    rows: Vec<u32>,
    /// The earliest and the latest time.
    span: Option<(i64, i64)>,
}

/// Collects the rows of a spine.
#[derive(Debug, Default)]
pub struct QuestionsBuilder {
    index: KeyIndex,
    groups: Vec<u32>,
    times: Vec<i64>,
}

impl QuestionsBuilder {
    /// Adds the next rows of a spine.
    pub fn push(&mut self, keys: &KeyColumns, times: &TimestampMicrosecondArray) -> Result<()> {
        self.index.insert(keys, &mut self.groups);
        self.times.extend_from_slice(times.values());
        if self.groups.len() >= NONE as usize {
            return Err(OfflineError::Memory(format!(
                "the spine has more than {NONE} rows, too many to be indexed in memory: cut the spine"
            )));
        }
        Ok(())
    }

    /// Roughly how many bytes this holds, and needs to be finished.
    pub fn bytes(&self) -> usize {
        let per_row = size_of::<u32>() * 3 + size_of::<i64>() * 2;
        self.groups.capacity() * per_row + self.index.bytes() + self.index.len() * size_of::<u32>()
    }

    /// Sorts the rows into questions.
    pub fn finish(self) -> Questions {
        let Self {
            index,
            mut groups,
            times,
        } = self;
        let (order, bounds) = by_group(&groups, index.len());
        let mut order = order;
        let mut starts = Vec::with_capacity(bounds.len());
        let mut distinct = Vec::with_capacity(times.len());
        let time = |row: u32| times.get(row as usize).copied().unwrap_or(i64::MIN);
        for group in bounds.windows(2) {
            starts.push(number(distinct.len()));
            let &[from, to] = group else { continue };
            let rows = order.get_mut(from as usize..to as usize).unwrap_or_default();
            rows.sort_unstable_by_key(|row| time(*row));
            let mut last = None;
            for row in rows {
                let at = time(*row);
                if last != Some(at) {
                    distinct.push(at);
                    last = Some(at);
                }
                // The row's group is known by now from its place: its question takes the place.
                if let Some(slot) = groups.get_mut(*row as usize) {
                    *slot = number(distinct.len() - 1);
                }
            }
        }
        starts.push(number(distinct.len()));
        distinct.shrink_to_fit();
        let span = distinct.iter().min().copied().zip(distinct.iter().max().copied());
        Questions {
            index,
            starts,
            times: distinct,
            rows: groups,
            span,
        }
    }
}

/// The rows sorted by group, and where each group begins and the last one ends.
fn by_group(groups: &[u32], count: usize) -> (Vec<u32>, Vec<u32>) {
    let mut bounds = vec![0_u32; count + 1];
    for group in groups.iter().filter(|group| **group != NONE) {
        if let Some(end) = bounds.get_mut(*group as usize + 1) {
            *end += 1;
        }
    }
    let mut sum = 0;
    for bound in &mut bounds {
        sum += *bound;
        *bound = sum;
    }
    let mut next = bounds.clone();
    let mut order = vec![0; sum as usize];
    for (row, group) in groups.iter().enumerate() {
        if let Some(next) = next.get_mut(*group as usize).filter(|_| *group != NONE) {
            if let Some(slot) = order.get_mut(*next as usize) {
                *slot = number(row);
            }
            *next += 1;
        }
    }
    (order, bounds)
}

/// There are fewer rows than [`NONE`].
fn number(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(NONE)
}

impl Questions {
    /// How many distinct questions there are.
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Roughly how many bytes this holds.
    pub fn bytes(&self) -> usize {
        self.index.bytes()
            + self.times.len() * size_of::<i64>()
            + (self.rows.capacity() + self.starts.capacity()) * size_of::<u32>()
    }

    /// How many distinct keys are asked about.
    pub fn keys(&self) -> usize {
        self.index.len()
    }

    /// The bytes of all keys that are asked about.
    pub fn key_bytes(&self) -> impl Iterator<Item = Box<[u8]>> + '_ {
        self.index.key_bytes().map(|(_, key)| key)
    }

    /// The earliest and the latest time that is asked about, `None` where nothing is.
    pub fn span(&self) -> Option<(Timestamp, Timestamp)> {
        self.span
            .map(|(first, last)| (Timestamp::from_micros(first), Timestamp::from_micros(last)))
    }

    /// The question of a spine row, `None` where its key is null.
    pub fn of_row(&self, row: usize) -> Option<usize> {
        self.rows
            .get(row)
            .filter(|question| **question != NONE)
            .map(|question| *question as usize)
    }

    /// The instant of a question.
    pub fn time(&self, question: usize) -> Timestamp {
        Timestamp::from_micros(self.times.get(question).copied().unwrap_or(i64::MIN))
    }

    /// Writes to `groups` for each key the group of questions about it, to be given to
    /// [`Questions::first_from`].
    pub fn groups(&self, keys: &KeyColumns, groups: &mut Vec<u32>) {
        self.index.find(keys, groups);
    }

    /// The first question of a group at or after `from`.
    pub fn first_from(&self, group: u32, from: Timestamp) -> Option<u32> {
        let start = *self.starts.get(group as usize)?;
        let end = *self.starts.get(group as usize + 1)?;
        let times = self.times.get(start as usize..end as usize)?;
        let first = start + number(times.partition_point(|at| *at < from.micros()));
        (first < end).then_some(first)
    }

    /// The last question of a group before `until`.
    pub fn last_before(&self, group: u32, until: Timestamp) -> Option<u32> {
        let start = *self.starts.get(group as usize)?;
        let end = *self.starts.get(group as usize + 1)?;
        let times = self.times.get(start as usize..end as usize)?;
        let before = number(times.partition_point(|at| *at < until.micros()));
        before.checked_sub(1).map(|last| start + last)
    }

    /// The ranges of questions of one key each.
    pub fn ranges(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.starts.windows(2).filter_map(|bounds| match bounds {
            [start, end] => Some(*start as usize..*end as usize),
            _ => None,
        })
    }
}
