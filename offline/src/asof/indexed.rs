//! The join by an index of the spine in memory: sources are read once, in any order, and never sorted.

use std::sync::{Arc, Mutex};

use datafusion::arrow::array::ArrayRef;

use super::contest::{Contest, Outcome, RowAnswer, Served};
use super::fetch::Fetch;
use super::memory::Memory;
use super::pass::{Asked, Found, Pass, Seen};
use super::source::{Part, SourceFiles};
use super::values::Values;
use crate::columns::SourceColumns;
use crate::engine::Engine;
use crate::error::{OfflineError, Result};
use crate::extract::{Phase, Progress};
use crate::heads::Stand;
use crate::snapshot::Snapshot;
use crate::summary::ViewSummary;
use crate::workers::{Finds, Workers};

/// A source with the reads of it, by their numbers in the plan.
pub(crate) struct Source {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) columns: SourceColumns,
    pub(crate) reads: Vec<(usize, Asked)>,
}

/// A join that is planned: nothing but the files' footers was read.
pub(crate) struct IndexedJoin {
    engine: Engine,
    /// One pass a source.
    passes: Vec<SourcePass>,
    /// Per read of the plan.
    reads: Vec<Read>,
    as_corrected: bool,
}

#[derive(Clone)]
struct SourcePass {
    files: SourceFiles,
    pass: Arc<Pass>,
}

struct Read {
    label: String,
    asked: Asked,
    fetch: Fetch,
}

/// The answers to all spine rows about one read.
pub(crate) struct Answers {
    outcome: Outcome,
    values: Values,
}

impl Answers {
    /// What the contract says of the view for a spine row.
    pub(crate) fn answer(&self, row: usize) -> RowAnswer {
        self.outcome.answer(row)
    }

    /// The view's features for spine rows, null where nothing is served.
    pub(crate) fn columns(&self, rows: std::ops::Range<usize>) -> Result<Vec<ArrayRef>> {
        self.values.columns(rows.map(|row| self.outcome.question(row)))
    }
}

impl IndexedJoin {
    /// Plans the join; `labels` names the reads.
    pub(crate) async fn plan(
        engine: &Engine,
        sources: Vec<Source>,
        labels: Vec<String>,
        as_corrected: bool,
    ) -> Result<Self> {
        let mut passes = Vec::with_capacity(sources.len());
        let mut reads: Vec<Option<Read>> = labels.iter().map(|_| None).collect();
        for source in sources {
            let files = SourceFiles::open(engine, &source.snapshot).await?;
            for (number, asked) in &source.reads {
                if let (Some(slot), Some(label)) = (reads.get_mut(*number), labels.get(*number)) {
                    *slot = Some(Read {
                        label: label.clone(),
                        fetch: Fetch::plan(&files, &source.columns, &asked.bound, &asked.places)?,
                        asked: asked.clone(),
                    });
                }
            }
            let pass = Pass::plan(&source.columns, &source.snapshot, source.reads, as_corrected)?;
            passes.push(SourcePass {
                files,
                pass: Arc::new(pass),
            });
        }
        let reads: Option<Vec<Read>> = reads.into_iter().collect();
        Ok(Self {
            engine: engine.clone(),
            passes,
            reads: reads.ok_or_else(|| OfflineError::Internal("a read has no source".into()))?,
            as_corrected,
        })
    }

    /// Joins.
    pub(crate) async fn run(
        self,
        memory: &mut Memory,
        progress: &dyn Progress,
    ) -> Result<(Vec<Answers>, Vec<ViewSummary>)> {
        let (outcomes, views) = self.compete(memory, progress).await?;
        let mut served = Vec::with_capacity(outcomes.len());
        for outcome in &outcomes {
            served.push(outcome.served());
            memory.settle(outcome.len() * size_of::<u32>())?;
        }
        let chunks = self.fetch(&served, memory).await?;
        for source in &self.passes {
            source.files.unchanged()?;
        }
        let mut answers = Vec::with_capacity(outcomes.len());
        for (((read, outcome), served), chunks) in self.reads.iter().zip(outcomes).zip(served).zip(chunks) {
            let features = read.asked.bound.view.features().iter();
            let types = features.map(|feature| feature.data_type.to_arrow()).collect();
            let values = Values::new(types, chunks, served.of_question);
            if values.len() != served.places.len() {
                return Err(OfflineError::Data(format!(
                    "source {}: it was changed while it was read: run this again when its writer is done",
                    read.asked.bound.source.name
                )));
            }
            answers.push(Answers { outcome, values });
        }
        Ok((answers, views))
    }

    /// Lets the rows of all sources compete.
    async fn compete(
        &self,
        memory: &mut Memory,
        progress: &dyn Progress,
    ) -> Result<(Vec<Outcome>, Vec<ViewSummary>)> {
        let mut contests = Vec::with_capacity(self.reads.len());
        let mut views = Vec::with_capacity(self.reads.len());
        for read in &self.reads {
            let questions = &read.asked.questions;
            let what = format!("the answers for view {}", read.asked.bound.view.name);
            memory.hold(&what, Contest::most_bytes(questions.len(), self.as_corrected))?;
            memory.settle(Contest::most_bytes(questions.len(), self.as_corrected))?;
            contests.push(Contest::new(Arc::clone(questions)));
            views.push(ViewSummary {
                label: read.label.clone(),
                source_rows: 0,
                skipped_rows: 0,
                repeated_rows: 0,
                held_back_winners: 0,
            });
        }
        let mut finds = self.find();
        while let Some(found) = finds.next().await? {
            let (Some(contest), Some(view)) = (contests.get_mut(found.read), views.get_mut(found.read))
            else {
                continue;
            };
            contest.enter(&found.candidates);
            view.source_rows += found.rows;
            view.skipped_rows += found.skipped;
            view.repeated_rows += found.repeated;
            progress.advance(&Phase::View(view.label.clone()), view.source_rows, None);
        }
        let outcomes = contests.into_iter().zip(&self.reads);
        let outcomes = outcomes.map(|(contest, read)| contest.finish(read.asked.bound.view.ttl));
        Ok((outcomes.collect(), views))
    }

    /// Reads the keys and times of all sources, several parts at once.
    fn find(&self) -> Workers<Found> {
        let mut jobs: Vec<(SourcePass, Vec<Part>)> = Vec::new();
        for source in &self.passes {
            let parts = source.files.parts();
            if source.pass.needs_order() {
                jobs.push((source.clone(), parts));
            } else {
                jobs.extend(parts.into_iter().map(|part| (source.clone(), vec![part])));
            }
        }
        let options = self.engine.options;
        Workers::start(options.readers, jobs, move |(source, parts), finds| async move {
            let seen = Arc::new(Mutex::new(Seen::new()));
            for part in parts {
                let (pass, seen) = (Arc::clone(&source.pass), Arc::clone(&seen));
                let (number, place) = (part.file, source.files.place(part.file));
                let map = move |batch: &_, rows: &_| {
                    let stand = Stand {
                        place: &place,
                        file: number,
                        rows,
                    };
                    let panicked = |_| OfflineError::Internal("a reader panicked".into());
                    pass.find(batch, stand, &mut *seen.lock().map_err(panicked)?)
                };
                let columns = source.pass.columns();
                source
                    .files
                    .read(part, columns, options.batch_size, finds.clone(), map)
                    .await?;
            }
            Ok(())
        })
    }

    /// Reads the features of the rows that are served; gives them per read, in the order of the rows.
    async fn fetch(&self, served: &[Served], memory: &mut Memory) -> Result<Vec<Vec<Vec<ArrayRef>>>> {
        let mut jobs = Vec::new();
        let mut chunks: Vec<Vec<Vec<Vec<ArrayRef>>>> = Vec::new();
        for (number, (read, served)) in self.reads.iter().zip(served).enumerate() {
            let parts = read.fetch.parts(&served.places);
            chunks.push(vec![Vec::new(); parts.len()]);
            let fetch = &read.fetch;
            jobs.extend(
                parts
                    .into_iter()
                    .enumerate()
                    .map(|(place, part)| (number, place, fetch.clone(), part)),
            );
        }
        let run = |(number, place, fetch, part): (usize, usize, Fetch, Part), finds: Finds<_>| async move {
            fetch.read(part, finds, move |chunk| (number, place, chunk)).await
        };
        let mut fetched = Workers::start(self.engine.options.readers, jobs, run);
        let mut bytes = 0;
        while let Some((number, place, chunk)) = fetched.next().await? {
            bytes += chunk
                .iter()
                .map(|array| array.get_array_memory_size())
                .sum::<usize>();
            memory.hold("the features of the rows that are served", bytes)?;
            if let Some(slot) = chunks.get_mut(number).and_then(|chunks| chunks.get_mut(place)) {
                slot.push(chunk);
            }
        }
        memory.settle(bytes)?;
        Ok(chunks
            .into_iter()
            .map(|parts| parts.into_iter().flatten().collect())
            .collect())
    }
}
