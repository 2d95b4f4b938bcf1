//! The events of a part of the keys, put by key.

use std::ops::Range;

use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::arrow::compute::concat;

use asof_core::order::RowOrder;
use asof_core::time::Timestamp;

use super::super::questions::Questions;
use super::Events;
use super::parts::Parts;
use crate::error::Result;
use crate::windows::{Answered, AskedKey, EventColumns, Pending, Windows};

/// Keys are answered together until they have so many events or questions.
pub(super) const TOGETHER: usize = 16_384;

/// An event: its place in the order, and which row has its inputs.
type Placed = (RowOrder, u32);

/// The events of a part of the keys.
pub(super) struct Together {
    /// The groups of the keys.
    groups: Range<usize>,
    /// Per key how many events it has.
    counts: Vec<usize>,
    /// Those of a key side by side, in any order.
    events: Vec<Placed>,
    /// Per input its values.
    inputs: Vec<ArrayRef>,
}

/// Keys that are answered together.
pub(super) struct Job<'a> {
    /// Per key its questions, and how many events it has.
    keys: Vec<(Range<usize>, usize)>,
    events: &'a mut [Placed],
    inputs: &'a [ArrayRef],
}

impl Together {
    /// Bytes that an event takes beside its inputs, and until it is answered.
    pub(super) const EACH: usize = size_of::<Placed>() + Pending::EACH;

    /// Those of one part out of chunks.
    pub(super) fn of(parts: Parts, part: usize, chunks: &[Events]) -> Result<Self> {
        let groups = parts.groups(part);
        let own: Vec<(&Events, Range<usize>)> = chunks
            .iter()
            .map(|chunk| (chunk, chunk.of_part(part)))
            .filter(|(_, rows)| !rows.is_empty())
            .collect();
        let own_groups = || {
            own.iter()
                .flat_map(|(chunk, rows)| chunk.groups.get(rows.clone()).unwrap_or_default())
        };
        let orders = own
            .iter()
            .flat_map(|(chunk, rows)| chunk.orders.get(rows.clone()).unwrap_or_default());
        let mut counts = vec![0_usize; groups.len()];
        for group in own_groups() {
            if let Some(count) = counts.get_mut(*group as usize - groups.start) {
                *count += 1;
            }
        }
        let mut end = 0;
        let mut next: Vec<usize> = counts
            .iter()
            .map(|count| {
                end += count;
                end - count
            })
            .collect();
        let nowhere = RowOrder {
            event_time: Timestamp::MIN,
            created_time: Timestamp::MIN,
            seq: 0,
        };
        let mut events = vec![(nowhere, 0); end];
        for (row, (group, order)) in (0..).zip(own_groups().zip(orders)) {
            let Some(next) = next.get_mut(*group as usize - groups.start) else {
                continue;
            };
            if let Some(slot) = events.get_mut(*next) {
                *slot = (*order, row);
            }
            *next += 1;
        }
        let inputs = own.first().map_or(0, |(chunk, _)| chunk.inputs.len());
        let values = |input: usize| {
            let of_chunk = |(chunk, rows): &(&Events, Range<usize>)| {
                let array = chunk.inputs.get(input)?;
                Some(array.slice(rows.start, rows.len()))
            };
            let arrays: Vec<ArrayRef> = own.iter().filter_map(of_chunk).collect();
            let arrays: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
            Ok(concat(&arrays)?)
        };
        Ok(Self {
            inputs: (0..inputs).map(values).collect::<Result<_>>()?,
            groups,
            counts,
            events,
        })
    }

    /// Cuts the keys into jobs, in the order of their questions.
    pub(super) fn jobs(&mut self, questions: &Questions) -> Vec<Job<'_>> {
        let Self {
            groups,
            counts,
            events,
            inputs,
        } = self;
        let inputs = inputs.as_slice();
        let mut events = events.as_mut_slice();
        let mut jobs = Vec::new();
        let mut keys: Vec<(Range<usize>, usize)> = Vec::new();
        let (mut own, mut asked) = (0, 0);
        for (range, count) in questions.ranges(groups.clone()).zip(&*counts) {
            own += count;
            asked += range.len();
            keys.push((range, *count));
            if own.max(asked) >= TOGETHER {
                let rest = std::mem::take(&mut events);
                let (first, rest) = rest.split_at_mut(own.min(rest.len()));
                jobs.push(Job {
                    keys: std::mem::take(&mut keys),
                    events: first,
                    inputs,
                });
                (events, own, asked) = (rest, 0, 0);
            }
        }
        if !keys.is_empty() {
            jobs.push(Job { keys, events, inputs });
        }
        jobs
    }
}

impl Job<'_> {
    /// The answers to all questions about the keys.
    pub(super) fn answer(self, windows: &Windows, questions: &Questions) -> Result<Answered> {
        let mut start = 0;
        let mut ranges = Vec::with_capacity(self.keys.len());
        for (_, count) in &self.keys {
            let range = start..start + count;
            if let Some(own) = self.events.get_mut(range.clone()) {
                own.sort_unstable_by_key(|(order, _)| *order);
            }
            start = range.end;
            ranges.push(range);
        }
        let mut pending = Pending::default();
        for (order, row) in self.events.iter() {
            // The arrays are counted from 1.
            pending.push(*order, (1, *row as usize));
        }
        let columns = EventColumns::of(windows.aggregates(), pending, &[self.inputs])?;
        let asked = self.keys.first().map_or(0, |(first, _)| first.start);
        let end = self.keys.last().map_or(0, |(last, _)| last.end);
        let instants: Vec<Timestamp> = questions.times(asked..end).collect();
        let keys = self.keys.iter().zip(ranges).map(|((range, _), events)| AskedKey {
            events,
            instants: instants
                .get(range.start - asked..range.end - asked)
                .unwrap_or_default(),
        });
        windows.answer(&columns, keys)
    }
}
