//! The spine's questions about one entity key, grouped by key and sorted by time.

use std::ops::Range;

use asof_core::key::{KeyColumns, Words};
use asof_core::time::Timestamp;
use datafusion::arrow::array::TimestampMicrosecondArray;

use super::index::{KeyIndex, NONE, null_rows};
use crate::error::{OfflineError, Result};

/// The distinct (key, time) pairs of a spine, those of one key side by side in order of time.
#[derive(Debug)]
pub struct Questions {
    index: KeyIndex,
    groups: Vec<Group>,
    times: Vec<i64>,
    /// Per spine row its question, or [`NONE`] where the row asks nothing (a null key).
    rows: Vec<u32>,
    /// The earliest and the latest time.
    span: Option<(i64, i64)>,
}

/// The questions about one key.
#[derive(Debug, Clone)]
struct Group {
    /// The time of the first.
    first_time: i64,
    questions: Range<u32>,
}

/// Collects the rows of a spine.
#[derive(Debug, Default)]
pub struct QuestionsBuilder {
    /// Of keys that are no words.
    index: KeyIndex,
    groups: Vec<u32>,
    words: WordRows,
    times: Vec<i64>,
}

/// The keys of rows, as words.
#[derive(Debug, Default)]
struct WordRows {
    /// How many bytes each key has.
    width: usize,
    words: Vec<u64>,
    /// The rows whose key is null.
    nulls: Vec<u32>,
}

impl WordRows {
    fn push(&mut self, width: usize, words: &Words) {
        let before = number(self.words.len());
        let nulls = words.nulls().into_iter().flat_map(null_rows);
        self.nulls.extend(nulls.map(|row| before + number(row)));
        self.words.extend_from_slice(words.values());
        self.width = width;
    }
}

impl QuestionsBuilder {
    /// Adds the next rows of a spine.
    pub fn push(&mut self, keys: &KeyColumns, times: &TimestampMicrosecondArray) -> Result<()> {
        match (keys.words(), keys.width()) {
            (Some(words), Some(width)) => self.words.push(width, &words),
            _ => self.index.insert(keys, &mut self.groups),
        }
        self.times.extend_from_slice(times.values());
        if self.times.len() >= NONE as usize {
            return Err(OfflineError::Memory(format!(
                "the spine has more than {NONE} rows, too many to be indexed in memory: cut the spine"
            )));
        }
        Ok(())
    }

    /// Roughly how many bytes this holds, and needs to be finished.
    pub fn bytes(&self) -> usize {
        let per_row = size_of::<u32>() + size_of::<(i64, u32)>() + size_of::<i64>() * 2;
        self.times.capacity() * per_row
            + self.words.words.capacity() * size_of::<u64>()
            + self.index.bytes()
            + self.index.len() * (size_of::<Group>() + size_of::<u32>() * 2)
    }

    /// Sorts the rows into questions.
    pub fn finish(self) -> Questions {
        let Self { words, times, .. } = self;
        let (index, mut groups) = match words.words.is_empty() {
            true => (self.index, self.groups),
            false => KeyIndex::of_words(words.width, &words.words, &words.nulls),
        };
        let (mut rows, bounds) = by_group(&groups, &times, index.len());
        drop(times);
        let mut of_keys = Vec::with_capacity(index.len());
        let mut distinct = Vec::with_capacity(rows.len());
        for group in bounds.windows(2) {
            let &[from, to] = group else { continue };
            let rows = rows.get_mut(from as usize..to as usize).unwrap_or_default();
            rows.sort_unstable();
            let start = number(distinct.len());
            let mut last = None;
            for (at, row) in &*rows {
                if last != Some(*at) {
                    distinct.push(*at);
                    last = Some(*at);
                }
                // The row's group is known by now from its place: its question takes the place.
                if let Some(slot) = groups.get_mut(*row as usize) {
                    *slot = number(distinct.len() - 1);
                }
            }
            of_keys.push(Group {
                first_time: rows.first().map_or(i64::MAX, |(at, _)| *at),
                questions: start..number(distinct.len()),
            });
        }
        distinct.shrink_to_fit();
        let span = distinct.iter().min().copied().zip(distinct.iter().max().copied());
        Questions {
            index,
            groups: of_keys,
            times: distinct,
            rows: groups,
            span,
        }
    }
}

/// The rows with their times, sorted by group, and where each group begins and the last one ends.
fn by_group(groups: &[u32], times: &[i64], count: usize) -> (Vec<(i64, u32)>, Vec<u32>) {
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
    let mut rows = vec![(0, 0); sum as usize];
    for ((row, group), at) in groups.iter().enumerate().zip(times) {
        if let Some(next) = next.get_mut(*group as usize).filter(|_| *group != NONE) {
            if let Some(slot) = rows.get_mut(*next as usize) {
                *slot = (*at, number(row));
            }
            *next += 1;
        }
    }
    (rows, bounds)
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
            + self.rows.capacity() * size_of::<u32>()
            + self.groups.capacity() * size_of::<Group>()
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
        self.first_in(self.groups.get(group as usize)?, from.micros())
    }

    fn first_in(&self, group: &Group, from: i64) -> Option<u32> {
        let Range { start, end } = group.questions;
        if from <= group.first_time {
            return Some(start);
        }
        let later = self.times.get(start as usize + 1..end as usize)?;
        let first = start + 1 + number(later.partition_point(|at| *at < from));
        (first < end).then_some(first)
    }

    /// For rows, given with their groups and event times, the first question that each can answer; rows without
    /// one are left out.
    pub fn first_of_each(&self, rows: impl Iterator<Item = (u32, u32, i64)>) -> Vec<(u32, u32)> {
        // Groups are looked up for all rows first: so memory is waited for many times at once, where row by row
        // every search would wait for its own.
        let groups: Vec<(u32, i64, Group)> = rows
            .filter_map(|(row, group, from)| Some((row, from, self.groups.get(group as usize)?.clone())))
            .collect();
        let first = |(row, from, group): (u32, i64, Group)| Some((row, self.first_in(&group, from)?));
        groups.into_iter().filter_map(first).collect()
    }

    /// The last question of a group before `until`.
    pub fn last_before(&self, group: u32, until: Timestamp) -> Option<u32> {
        let Range { start, end } = self.groups.get(group as usize)?.questions;
        let times = self.times.get(start as usize..end as usize)?;
        let before = number(times.partition_point(|at| *at < until.micros()));
        before.checked_sub(1).map(|last| start + last)
    }

    /// The instants of some questions.
    pub fn times(&self, questions: Range<usize>) -> impl Iterator<Item = Timestamp> + '_ {
        let times = self.times.get(questions).unwrap_or_default();
        times.iter().map(|at| Timestamp::from_micros(*at))
    }

    /// The ranges of questions of one key each, of some groups.
    pub fn ranges(&self, groups: Range<usize>) -> impl Iterator<Item = Range<usize>> + '_ {
        let groups = self.groups.get(groups).unwrap_or_default();
        let ranges = groups.iter().map(|group| &group.questions);
        ranges.map(|range| range.start as usize..range.end as usize)
    }
}
