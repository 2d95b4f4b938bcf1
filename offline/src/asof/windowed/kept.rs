//! The events that count for a read, put by key and answered.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef};

use asof_core::definition::Feature;

use super::super::memory::Memory;
use super::super::questions::Questions;
use super::Events;
use super::answers::WindowAnswers;
use super::parts::Parts;
use super::together::{Job, TOGETHER, Together};
use crate::column::width;
use crate::error::Result;
use crate::fan_out::fan_out;
use crate::windows::{Answered, Windows};

/// How many jobs each thread does before others have their turn.
const ROUNDS: usize = 8;
/// What does not fit where memory is too small.
pub(super) const EVENTS: &str = "the events of the spine's keys";

/// The events that count for a read, as they came.
pub(super) struct Kept {
    windows: Arc<Windows>,
    questions: Arc<Questions>,
    parts: Parts,
    chunks: Vec<Events>,
}

impl Kept {
    pub(super) fn new(windows: Arc<Windows>, questions: Arc<Questions>) -> Self {
        Self {
            parts: Parts::of(&questions),
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

    pub(super) fn parts(&self) -> Parts {
        self.parts
    }

    /// Keeps events; gives how many bytes that takes.
    pub(super) fn push(&mut self, events: Events) -> usize {
        if events.groups.is_empty() {
            return 0;
        }
        let bytes = events.bytes();
        self.chunks.push(events);
        bytes
    }

    /// Answers all questions, on several threads.
    pub(super) async fn answer(self, threads: usize, memory: &mut Memory) -> Result<WindowAnswers> {
        const FEATURES: &str = "the features of the spine's questions";
        let Self {
            windows,
            questions,
            parts,
            mut chunks,
        } = self;
        let features = windows.features();
        let widths = features
            .iter()
            .map(|feature| width(&feature.data_type.to_arrow()));
        memory.hold(FEATURES, questions.len() * (widths.sum::<usize>() + 2))?;
        // Several readers found these; in the order of their time most keys have their events in order.
        chunks.sort_by_cached_key(Events::first);
        let events = chunks.iter().map(|chunk| chunk.groups.len()).sum::<usize>();
        let inputs = chunks.iter().map(Events::input_bytes).sum::<usize>();
        let per_event = Together::EACH + inputs / events.max(1);
        let mut answered = Answers::default();
        for Round { parts: round, events } in rounds(parts, &chunks, &questions, threads) {
            memory.hold(EVENTS, answered.bytes + events * per_event)?;
            let mut together = fan_out(threads, round, |part| Together::of(parts, part, &chunks))?;
            let jobs = together.iter_mut().flat_map(|part| part.jobs(&questions));
            let done = fan_out(threads, jobs.collect(), |job: Job<'_>| {
                job.answer(&windows, &questions)
            })?;
            for part in done {
                answered.push(part);
            }
            memory.hold(FEATURES, answered.bytes)?;
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

/// The parts that are answered before others have their turn, and how many events they have.
#[derive(Default)]
struct Round {
    parts: Vec<usize>,
    events: usize,
}

/// Each time as many parts as give all threads enough to do.
fn rounds(parts: Parts, chunks: &[Events], questions: &Questions, threads: usize) -> Vec<Round> {
    let enough = threads.max(1) * ROUNDS * TOGETHER;
    let mut sizes = vec![0_usize; parts.count()];
    for chunk in chunks {
        for (part, size) in sizes.iter_mut().enumerate() {
            *size += chunk.of_part(part).len();
        }
    }
    let (mut rounds, mut round, mut work) = (Vec::new(), Round::default(), 0);
    for (part, events) in sizes.into_iter().enumerate() {
        let asked = questions.ranges(parts.groups(part)).map(|range| range.len());
        round.parts.push(part);
        round.events += events;
        work += events.max(asked.sum());
        // A part may be one key, which one thread answers.
        if work >= enough && round.parts.len() >= threads {
            rounds.push(std::mem::take(&mut round));
            work = 0;
        }
    }
    if !round.parts.is_empty() {
        rounds.push(round);
    }
    rounds
}
