//! The events that count for a read, put by key and answered.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef};

use asof_core::definition::Feature;
use asof_core::order::RowOrder;
use asof_core::time::Timestamp;

use super::super::memory::Memory;
use super::super::questions::Questions;
use super::Events;
use super::answers::WindowAnswers;
use crate::column::width;
use crate::error::Result;
use crate::fan_out::fan_out;
use crate::windows::{Answered, AskedKey, EventColumns, Pending, Windows};

/// Keys are answered together until they have so many events or questions.
const TOGETHER: usize = 16_384;
/// How many times that each thread does before others have their turn.
const ROUNDS: usize = 4;

/// The events that count for a read, as they came.
pub(super) struct Kept {
    windows: Arc<Windows>,
    questions: Arc<Questions>,
    chunks: Vec<Events>,
}

/// An event: its place in the order, and which row of which chunk has its inputs.
type Placed = (RowOrder, (u32, u32));

/// Keys that are answered together.
struct Job<'a> {
    /// Per key its questions, and how many events it has.
    keys: Vec<(Range<usize>, usize)>,
    events: &'a mut [Placed],
}

impl Kept {
    pub(super) fn new(windows: Arc<Windows>, questions: Arc<Questions>) -> Self {
        Self {
            windows,
            questions,
            chunks: Vec::new(),
        }
    }

    pub(super) fn windows(&self) -> &Arc<Windows> {
        &self.windows
    }

    pub(super) fn questions(&self) -> &Arc<Questions> {
        &self.questions
    }

    pub(super) fn push(&mut self, events: Events) {
        if !events.groups.is_empty() {
            self.chunks.push(events);
        }
    }

    /// Answers all questions, on several threads.
    pub(super) async fn answer(self, threads: usize, memory: &mut Memory) -> Result<WindowAnswers> {
        let Self {
            windows,
            questions,
            mut chunks,
        } = self;
        let features = windows.features();
        let widths = features
            .iter()
            .map(|feature| width(&feature.data_type.to_arrow()));
        memory.hold(
            "the features of the spine's questions",
            questions.len() * (widths.sum::<usize>() + 2),
        )?;
        let (mut events, counts) = by_group(&mut chunks, questions.keys());
        let inputs: Vec<Vec<ArrayRef>> = chunks.into_iter().map(|chunk| chunk.inputs).collect();
        let inputs: Vec<&[ArrayRef]> = inputs.iter().map(Vec::as_slice).collect();
        let mut jobs = jobs(&questions, &counts, &mut events).into_iter().peekable();
        let mut answered = Answers::default();
        while jobs.peek().is_some() {
            let round = jobs.by_ref().take(threads.max(1) * ROUNDS).collect();
            let done = fan_out(threads, round, |job: Job<'_>| {
                job.answer(&windows, &questions, &inputs)
            })?;
            for part in done {
                answered.push(part);
            }
            memory.hold("the features of the spine's questions", answered.bytes)?;
            // Lets whoever waits for an interrupt have its turn.
            tokio::task::yield_now().await;
        }
        memory.settle(answered.bytes)?;
        answered.finish(features, questions, threads)
    }
}

/// Answers of some keys after the other.
#[derive(Default)]
struct Answers {
    chunks: Vec<Vec<ArrayRef>>,
    held_back: Vec<bool>,
    corrected: Vec<bool>,
    bytes: usize,
}

impl Answers {
    fn push(&mut self, answered: Answered) {
        let features = answered
            .features
            .iter()
            .map(|array| array.get_array_memory_size());
        self.bytes += features.sum::<usize>() + 2 * answered.held_back.len();
        self.held_back.extend(answered.held_back);
        self.corrected.extend(answered.corrected);
        self.chunks.push(answered.features);
    }

    fn finish(
        self,
        features: &[Feature],
        questions: Arc<Questions>,
        threads: usize,
    ) -> Result<WindowAnswers> {
        let types = features
            .iter()
            .map(|feature| feature.data_type.to_arrow())
            .collect();
        WindowAnswers::new(
            questions,
            types,
            self.chunks,
            self.held_back,
            self.corrected,
            threads,
        )
    }
}

/// The events by the groups of their keys, and how many each group has.
fn by_group(chunks: &mut [Events], groups: usize) -> (Vec<Placed>, Vec<usize>) {
    let mut counts = vec![0_usize; groups];
    for group in chunks.iter().flat_map(|chunk| &chunk.groups) {
        if let Some(count) = counts.get_mut(*group as usize) {
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
    let mut events = vec![(nowhere, (0, 0)); end];
    for (chunk, found) in (0..).zip(chunks) {
        let (groups, orders) = (
            std::mem::take(&mut found.groups),
            std::mem::take(&mut found.orders),
        );
        for (row, (group, order)) in (0..).zip(groups.into_iter().zip(orders)) {
            let Some(next) = next.get_mut(group as usize) else {
                continue;
            };
            if let Some(slot) = events.get_mut(*next) {
                *slot = (order, (chunk, row));
            }
            *next += 1;
        }
    }
    (events, counts)
}

/// Cuts the keys into jobs, in the order of their questions.
fn jobs<'a>(questions: &Questions, counts: &[usize], mut events: &'a mut [Placed]) -> Vec<Job<'a>> {
    let mut jobs = Vec::new();
    let mut keys: Vec<(Range<usize>, usize)> = Vec::new();
    let (mut own, mut asked) = (0, 0);
    for (range, count) in questions.ranges().zip(counts) {
        own += count;
        asked += range.len();
        keys.push((range, *count));
        if own.max(asked) >= TOGETHER {
            let rest = std::mem::take(&mut events);
            let (first, rest) = rest.split_at_mut(own.min(rest.len()));
            jobs.push(Job {
                keys: std::mem::take(&mut keys),
                events: first,
            });
            (events, own, asked) = (rest, 0, 0);
        }
    }
    if !keys.is_empty() {
        jobs.push(Job { keys, events });
    }
    jobs
}

impl Job<'_> {
    fn answer(self, windows: &Windows, questions: &Questions, inputs: &[&[ArrayRef]]) -> Result<Answered> {
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
        for (order, (chunk, row)) in self.events.iter() {
            // The arrays are counted from 1.
            pending.push(*order, (*chunk as usize + 1, *row as usize));
        }
        let columns = EventColumns::of(windows.aggregates(), &pending, inputs)?;
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
