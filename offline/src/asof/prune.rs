//! What need not be decoded: parts of files in which no row can answer a question, by the bounds that the
//! files give of times and keys.
//!
//! Rows that happened after the last question, and rows of keys that nobody asks about, change nothing. Rows
//! from before the first question less the ttl do: whether there are any is what tells EXPIRED from
//! NOT_FOUND. Of those, as of all rows, the features are read only where they are served. Windows have a tail:
//! events from before the earliest one change nothing either.

use std::ops::Range;

use datafusion::arrow::array::{Array, ArrayRef};

use asof_core::data_type::KeyType;
use asof_core::key::KeyColumns;
use asof_core::time::Timestamp;

use super::pass::Asked;
use super::questions::Questions;
use super::reading::Reading;
use super::source::{Part, SourceFiles};
use crate::parquet_file::{Bounds, ParquetFile};
use crate::time_column::{TimeRules, instants, is_monotone};

/// Keys are looked up in bounds where there are so many times fewer of them than rows in the files: else
/// hardly a part would be without one.
const FEWER: u64 = 16;

/// Says which rows can answer a question.
struct Pruner<'a> {
    event_time: &'a str,
    rules: TimeRules,
    /// Rows that happened by then can answer nothing.
    after: Option<i64>,
    /// The last time that is asked about.
    last: i64,
    /// The keys that are asked about, where these can tell: for each read.
    keys: Option<Vec<Keys<'a>>>,
}

/// The keys of a read.
struct Keys<'a> {
    /// The first column of the key.
    column: &'a str,
    key_type: &'a KeyType,
    /// The bytes of all keys, ascending.
    sorted: Vec<Box<[u8]>>,
}

/// The parts of a source in which rows may answer a question of some reads; with `after` rows that happened by then
/// answer none.
pub(super) fn parts<'a>(
    files: &SourceFiles,
    reading: &Reading,
    reads: impl Iterator<Item = &'a Asked> + Clone,
    after: Option<Timestamp>,
) -> Vec<Part> {
    let all = files.parts();
    let (Some(parquet), Some(event_time)) = (files.parquet(), reading.plain_event_time()) else {
        return all;
    };
    let spans = reads.clone().filter_map(|asked| asked.questions.span());
    let Some(last) = spans.map(|(_, last)| last.micros()).max() else {
        // Nothing is asked at all; what is wrong with the rows is not looked for.
        return Vec::new();
    };
    let rows: u64 = parquet
        .iter()
        .flat_map(ParquetFile::groups)
        .map(|rows| rows.end - rows.start)
        .sum();
    let keys = reads.map(|asked| {
        let key = asked.bound.entity.keys.first()?;
        let few = (asked.questions.keys() as u64).saturating_mul(FEWER) < rows;
        few.then(|| Keys {
            column: &key.name,
            key_type: &key.key_type,
            sorted: sorted_keys(&asked.questions),
        })
    });
    let pruner = Pruner {
        event_time,
        rules: reading.rules(),
        after: after.map(Timestamp::micros),
        last,
        keys: keys.collect(),
    };
    let kept = parquet.iter().enumerate().flat_map(|(number, file)| {
        let groups = pruner.groups(file);
        groups.map(move |(group, ranges)| Part {
            file: number,
            group: Some(group),
            ranges,
        })
    });
    kept.collect()
}

fn sorted_keys(questions: &Questions) -> Vec<Box<[u8]>> {
    let mut keys: Vec<Box<[u8]>> = questions.key_bytes().collect();
    keys.sort_unstable();
    keys
}

impl Pruner<'_> {
    /// The row groups of a file that are read, with the rows to read where that is not all.
    fn groups(&self, file: &ParquetFile) -> impl Iterator<Item = (usize, Option<Vec<Range<u64>>>)> {
        let columns = self.columns().filter_map(|column| {
            let bounds = file.group_bounds(column)?;
            Some((column, self.wanted(file, column, &bounds)?))
        });
        let columns: Vec<(&str, Vec<bool>)> = columns.collect();
        let mut kept = Vec::new();
        for (group, rows) in file.groups().enumerate() {
            if rows.is_empty() || !self.allow(&columns, group) {
                continue;
            }
            let ranges = self.pages(file, group, rows.clone());
            match ranges.as_slice() {
                [] => {}
                [all] if *all == rows => kept.push((group, None)),
                _ => kept.push((group, Some(ranges))),
            }
        }
        kept.into_iter()
    }

    /// The columns whose bounds can tell.
    fn columns(&self) -> impl Iterator<Item = &str> {
        let keys = self.keys.iter().flatten().map(|keys| keys.column);
        std::iter::once(self.event_time).chain(keys)
    }

    /// Whether a part may have wanted rows: in time, and of a key of some read.
    fn allow(&self, columns: &[(&str, Vec<bool>)], part: usize) -> bool {
        let says = |name: &str| {
            let column = columns.iter().find(|(column, _)| *column == name);
            column.is_none_or(|(_, wanted)| wanted.get(part).copied().unwrap_or(true))
        };
        let of_a_key = match &self.keys {
            None => true,
            Some(keys) => keys.iter().any(|keys| says(keys.column)),
        };
        says(self.event_time) && of_a_key
    }

    /// The rows of the pages of a row group that may be wanted.
    fn pages(&self, file: &ParquetFile, group: usize, rows: Range<u64>) -> Vec<Range<u64>> {
        let bounded = |column: &str| {
            let bounds = file.page_bounds(group, column)?;
            let wanted = self.wanted(file, column, &bounds)?;
            Some(ranges(&bounds.parts, &wanted))
        };
        let in_time = bounded(self.event_time).unwrap_or_else(|| vec![rows.clone()]);
        let Some(keys) = &self.keys else {
            return in_time;
        };
        let of_keys = keys.iter().map(|keys| bounded(keys.column));
        match of_keys.collect::<Option<Vec<_>>>() {
            Some(of_keys) => intersection(&in_time, &union(of_keys)),
            None => in_time,
        }
    }

    /// Per part whether rows of it may be wanted, as far as a column can tell.
    fn wanted(&self, file: &ParquetFile, column: &str, bounds: &Bounds) -> Option<Vec<bool>> {
        if column == self.event_time {
            if !is_monotone(file.column_type(column)?, self.rules) {
                return None;
            }
            let first = instants(&bounds.mins, self.rules).ok()?;
            let last = instants(&bounds.maxes, self.rules).ok()?;
            let wanted = first.iter().zip(&last).map(|(first, last)| {
                let after = last.zip(self.after);
                first.is_none_or(|first| first <= self.last) && after.is_none_or(|(last, after)| last > after)
            });
            return Some(wanted.collect());
        }
        // Of several reads with keys in this column each may want rows.
        let keys = self.keys.iter().flatten().filter(|keys| keys.column == column);
        let each: Option<Vec<Vec<bool>>> = keys.map(|keys| keys.within(bounds)).collect();
        let mut each = each?.into_iter();
        let first = each.next()?;
        let or = |a: Vec<bool>, b: Vec<bool>| a.into_iter().zip(b).map(|(a, b)| a || b).collect();
        Some(each.fold(first, or))
    }
}

impl Keys<'_> {
    /// Per part whether one of the keys may lie in it; nothing where the column is of another type.
    fn within(&self, bounds: &Bounds) -> Option<Vec<bool>> {
        let (mins, maxes) = (self.bytes(&bounds.mins)?, self.bytes(&bounds.maxes)?);
        let within = mins.into_iter().zip(maxes).map(|(min, max)| match (min, max) {
            (Some(min), Some(max)) => {
                // A key begins with the bytes of its first column, which are no other value's beginning.
                let first = self.sorted.partition_point(|key| **key < *min);
                let key = self.sorted.get(first);
                key.is_some_and(|key| **key < *max || key.starts_with(&max))
            }
            _ => true,
        });
        Some(within.collect())
    }

    fn bytes(&self, values: &ArrayRef) -> Option<Vec<Option<Vec<u8>>>> {
        let columns =
            KeyColumns::try_new(std::slice::from_ref(self.key_type), std::slice::from_ref(values)).ok()?;
        let bytes = (0..values.len()).map(|part| {
            let mut bytes = Vec::new();
            columns.write(part, &mut bytes).then_some(bytes)
        });
        Some(bytes.collect())
    }
}

/// The rows of the wanted parts.
fn ranges(parts: &[Range<u64>], wanted: &[bool]) -> Vec<Range<u64>> {
    let kept = parts.iter().zip(wanted).filter(|(_, wanted)| **wanted);
    joined(kept.map(|(part, _)| part.clone()))
}

/// Ranges that ascend, those that touch made one.
fn joined(ranges: impl IntoIterator<Item = Range<u64>>) -> Vec<Range<u64>> {
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

fn union(mut each: Vec<Vec<Range<u64>>>) -> Vec<Range<u64>> {
    let mut all: Vec<Range<u64>> = each.drain(..).flatten().collect();
    all.sort_unstable_by_key(|range| range.start);
    joined(all)
}

fn intersection(a: &[Range<u64>], b: &[Range<u64>]) -> Vec<Range<u64>> {
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    let mut both = Vec::new();
    while let (Some(one), Some(other)) = (a.peek(), b.peek()) {
        let (start, end) = (one.start.max(other.start), one.end.min(other.end));
        if start < end {
            both.push(start..end);
        }
        if one.end <= other.end {
            a.next();
        } else {
            b.next();
        }
    }
    both
}

#[cfg(test)]
mod tests {
    use super::{intersection, joined, union};

    #[test]
    fn ranges_are_sets_of_rows() {
        assert_eq!(joined([0..2, 2..3, 5..6]), [0..3, 5..6]);
        assert_eq!(union(vec![vec![4..6, 8..9], vec![0..1, 5..8]]), [0..1, 4..9]);
        assert_eq!(intersection(&[0..4, 6..9], &[2..7, 8..20]), [2..4, 6..7, 8..9]);
        assert_eq!(intersection(&[0..4, 9..10], &[4..5, 6..7]), []);
    }
}
