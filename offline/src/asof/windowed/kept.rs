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

    pub(super) fn push(&mut self, events: Events) {
        if !events.groups.is_empty() {
            self.chunks.push(events);
        }
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
        let mut answered = Answers::default();
        for round in rounds(parts, &chunks, &questions, threads) {
            let mut together = fan_out(threads, round, |part| Together::of(parts, part, &chunks))?;
            let bytes: usize = together.iter().map(Together::bytes).sum();
            memory.hold(FEATURES, answered.bytes + bytes)?;
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

/// The parts that are answered before others have their turn: each time as many as give all threads enough to do.
fn rounds(parts: Parts, chunks: &[Events], questions: &Questions, threads: usize) -> Vec<Vec<usize>> {
    let enough = threads.max(1) * ROUNDS * TOGETHER;
    let (mut rounds, mut round, mut size) = (Vec::new(), Vec::new(), 0);
    for part in 0..parts.count() {
        let events: usize = chunks.iter().map(|chunk| chunk.of_part(part).len()).sum();
        let asked: usize = questions
            .ranges(parts.groups(part))
            .map(|range| range.len())
            .sum();
        round.push(part);
        size += events.max(asked);
        if size >= enough {
            rounds.push(std::mem::take(&mut round));
            size = 0;
        }
    }
    if !round.is_empty() {
        rounds.push(round);
    }
    rounds
}
