//! The join by an index of the spine in memory: sources are read once, in any order, and never sorted.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch};

use super::arena::Arena;
use super::contest::{Answered, Contest, Outcome, RowAnswer, Rows};
use super::fetch::Fetch;
use super::memory::Memory;
use super::metrics::JoinMetrics;
use super::pass::{Asked, Found, Pass};
use super::prune;
use super::questions::Questions;
use super::served::Served;
use super::source::Part;
use super::values::Values;
use super::windowed::{self, WindowAnswers};
use crate::error::{OfflineError, Result};
use crate::heads::Stand;
use crate::plan::{JoinRead, JoinSource, JoinSpec};
use crate::workers::{Finds, Workers};

/// The answers to all spine rows about one read.
pub(crate) enum Answers {
    /// Of a view of features: out of the winners.
    Rows(RowAnswers),
    /// Of a view of aggregates.
    Windows(WindowAnswers),
}

/// The answers to all spine rows about one view of features.
pub(crate) struct RowAnswers {
    answered: Answered,
    values: Values,
    /// The questions that would be answered otherwise without rule 2, ascending.
    corrected: Vec<u32>,
}

impl Answers {
    /// What the contract says of the view for a spine row.
    pub(crate) fn answer(&self, row: usize) -> RowAnswer {
        match self {
            Self::Rows(rows) => rows.answered.answer(row),
            Self::Windows(windows) => windows.answer(row),
        }
    }

    /// Whether the answer for a spine row would be another one without rule 2: another status or value of
    /// a feature.
    pub(crate) fn would_be_corrected(&self, row: usize) -> bool {
        match self {
            Self::Rows(rows) => rows.would_be_corrected(row),
            Self::Windows(windows) => windows.would_be_corrected(row),
        }
    }

    /// The view's features for spine rows, null where nothing is served.
    pub(crate) fn columns(&self, rows: Range<usize>) -> Result<Vec<ArrayRef>> {
        match self {
            Self::Rows(answers) => answers
                .values
                .columns(rows.map(|row| answers.answered.question(row))),
            Self::Windows(windows) => windows.columns(rows),
        }
    }
}

impl RowAnswers {
    fn would_be_corrected(&self, row: usize) -> bool {
        let question = self
            .answered
            .question(row)
            .and_then(|question| u32::try_from(question).ok());
        question.is_some_and(|question| self.corrected.binary_search(&question).is_ok())
    }
}

/// Answers the questions of all reads, given in the order of the reads.
pub(crate) async fn join_indexed(
    spec: &Arc<JoinSpec>,
    questions: Vec<Arc<Questions>>,
    memory: &mut Memory,
    metrics: &JoinMetrics,
) -> Result<Vec<Answers>> {
    let windows = windowed::answer(spec, &questions, memory, metrics).await?;
    let windows = windows
        .into_iter()
        .map(|(number, answers)| (number, Answers::Windows(answers)));
    let mut answers: Vec<(usize, Answers)> = windows.collect();
    let reads = spec.reads.iter().zip(questions).enumerate();
    let contested = reads.filter(|(_, (read, _))| read.bound.view.aggregates().is_none());
    let (numbers, reads): (Vec<usize>, Vec<(&JoinRead, Arc<Questions>)>) = contested.unzip();
    if !reads.is_empty() {
        let rows = join_rows(spec, reads, memory, metrics).await?;
        answers.extend(numbers.into_iter().zip(rows.into_iter().map(Answers::Rows)));
    }
    metrics.memory.set_max(memory.held());
    answers.sort_unstable_by_key(|(number, _)| *number);
    Ok(answers.into_iter().map(|(_, answers)| answers).collect())
}

/// Refuses sources of which a file was replaced while it was read.
fn unchanged(spec: &JoinSpec) -> Result<()> {
    spec.sources
        .iter()
        .try_for_each(|source| source.files.unchanged())
}

/// Answers the questions of reads of views of features.
async fn join_rows(
    spec: &Arc<JoinSpec>,
    reads: Vec<(&JoinRead, Arc<Questions>)>,
    memory: &mut Memory,
    metrics: &JoinMetrics,
) -> Result<Vec<RowAnswers>> {
    let join = Join {
        spec,
        passes: passes(spec, &reads).await?,
        reads,
        metrics,
    };
    let mut served = Vec::with_capacity(join.reads.len());
    let mut answered = Vec::with_capacity(join.reads.len());
    for outcome in join.compete(memory).await? {
        memory.settle(outcome.len() * size_of::<u32>())?;
        let (answers, rows) = outcome.serve();
        answered.push(answers);
        served.push(rows);
    }
    let chunks = join.fetch(&served, memory).await?;
    unchanged(spec)?;
    let mut answers = Vec::with_capacity(answered.len());
    for ((((read, _), answered), served), chunks) in join.reads.iter().zip(answered).zip(served).zip(chunks) {
        let features = read.bound.view.features().iter();
        let types = features.map(|feature| feature.data_type.to_arrow()).collect();
        let rows = served.places.len();
        let values = Values::new(types, chunks, served.of_question, spec.engine.options.readers)?;
        if values.len() != rows {
            return Err(OfflineError::Data(format!(
                "source {}: it was changed while it was read: run this again when its writer is done",
                read.bound.source.name
            )));
        }
        let corrected = values.corrected(&served.corrections, spec.engine.options.readers)?;
        answers.push(RowAnswers {
            answered,
            values,
            corrected,
        });
    }
    Ok(answers)
}

/// A join under way.
struct Join<'a> {
    spec: &'a Arc<JoinSpec>,
    /// One pass a source, where it is read.
    passes: Vec<Option<Arc<Pass>>>,
    /// The reads, each with its questions; it is numbered by its place here.
    reads: Vec<(&'a JoinRead, Arc<Questions>)>,
    metrics: &'a JoinMetrics,
}

async fn passes(spec: &JoinSpec, reads: &[(&JoinRead, Arc<Questions>)]) -> Result<Vec<Option<Arc<Pass>>>> {
    let mut passes = Vec::with_capacity(spec.sources.len());
    for (source, JoinSource { files, columns }) in spec.sources.iter().enumerate() {
        let own = reads
            .iter()
            .enumerate()
            .filter(|(_, (read, _))| read.source == source);
        let own = own.map(|(number, (read, questions))| {
            let asked = Asked {
                bound: Arc::clone(&read.bound),
                places: read.places.clone(),
                questions: Arc::clone(questions),
            };
            (number, asked)
        });
        let own: Vec<(usize, Asked)> = own.collect();
        if own.is_empty() {
            passes.push(None);
            continue;
        }
        let pass = Pass::plan(&spec.engine, columns, &files.snapshot, own, spec.as_corrected);
        passes.push(Some(Arc::new(pass.await?)));
    }
    Ok(passes)
}

impl Join<'_> {
    /// Lets the rows of all sources compete.
    async fn compete(&self, memory: &mut Memory) -> Result<Vec<Outcome>> {
        let timer = self.metrics.compete.timer();
        let arena = Arc::new(self.arena(memory)?);
        let mut finds = self.find(&arena);
        while let Some(found) = finds.next().await? {
            let Some((read, _)) = self.reads.get(found.read) else {
                continue;
            };
            self.metrics.candidates.add(found.candidates);
            read.counts.add(found.rows, found.skipped, found.repeated);
            self.spec.told();
        }
        let outcomes = arena.finish().into_iter().zip(&self.reads);
        let outcomes = outcomes
            .map(|(contest, (read, _))| contest.finish(read.bound.view.ttl))
            .collect();
        timer.done();
        Ok(outcomes)
    }

    /// As many tables of contests as readers have use for, or as memory allows.
    fn arena(&self, memory: &mut Memory) -> Result<Arena> {
        let readers = self.spec.engine.options.readers;
        let rows = |read: &JoinRead| {
            let pass = self.passes.get(read.source).and_then(Option::as_ref);
            pass.map_or(Rows::Any, |pass| pass.rows())
        };
        let asked = self.reads.iter();
        let asked: Vec<(&Arc<Questions>, Rows)> =
            asked.map(|(read, questions)| (questions, rows(read))).collect();
        let bytes = |(questions, rows): &(&Arc<Questions>, Rows)| {
            Contest::most_bytes(questions.len(), *rows, self.spec.as_corrected)
        };
        let table: usize = asked.iter().map(bytes).sum();
        let what = "the answers to the spine's questions";
        let many = Arena::tables(readers);
        let tables = if memory.hold(what, table * many).is_ok() {
            many
        } else {
            1
        };
        memory.hold(what, table * tables)?;
        memory.settle(table * tables)?;
        let open = |(questions, rows): &(&Arc<Questions>, Rows)| Contest::new(Arc::clone(questions), *rows);
        Ok(Arena::new(tables, || asked.iter().map(open).collect()))
    }

    /// Reads the keys and times of all sources, several parts at once, and lets their rows compete.
    fn find(&self, arena: &Arc<Arena>) -> Workers<Found> {
        let mut jobs = Vec::new();
        for (source, pass) in self.spec.sources.iter().zip(&self.passes) {
            let Some(pass) = pass else { continue };
            let job = |part: Part| {
                let place = source.files.place(part.file);
                (place, (source.files.clone(), Arc::clone(pass), part))
            };
            let all = source.files.parts();
            let parts = prune::parts(&source.files, pass.reading(), pass.asked(), None);
            self.metrics.row_groups.add(all.len());
            self.metrics.row_groups_pruned.add(all.len() - parts.len());
            let unread = source.files.rows(&all) - source.files.rows(&parts);
            for number in pass.numbers() {
                if let Some((read, _)) = self.reads.get(number) {
                    read.counts.leave(unread);
                }
            }
            jobs.extend(parts.into_iter().map(job));
        }
        let options = self.spec.engine.options;
        // Where files follow each other in time, as they mostly do, the last rows win: those before them need
        // only be looked at.
        jobs.reverse();
        let (rows_read, arena) = (self.metrics.rows_read.clone(), Arc::clone(arena));
        Workers::start(options.readers, jobs, move |(files, pass, part), finds| {
            let (rows_read, arena) = (rows_read.clone(), Arc::clone(&arena));
            async move {
                let (number, place) = (part.file, files.place(part.file));
                let columns = pass.reading().columns().to_vec();
                let map = move |batch: &RecordBatch, rows: &_| {
                    let stand = Stand {
                        place: &place,
                        file: number,
                        rows,
                    };
                    rows_read.add(batch.num_rows());
                    arena.with(|contests| pass.find(batch, stand, contests))
                };
                files.read(part, &columns, options.batch_size, finds, map).await
            }
        })
    }

    /// Reads the features of the rows that are served; gives them per read, in the order of the rows.
    async fn fetch(&self, served: &[Served], memory: &mut Memory) -> Result<Vec<Vec<Vec<ArrayRef>>>> {
        let timer = self.metrics.fetch.timer();
        let mut jobs = Vec::new();
        let mut chunks: Vec<Vec<Vec<Vec<ArrayRef>>>> = Vec::new();
        for (number, ((read, _), served)) in self.reads.iter().zip(served).enumerate() {
            let lost = || OfflineError::Internal("a read has no source".into());
            let source = self.spec.sources.get(read.source).ok_or_else(lost)?;
            let fetch = Fetch::plan(&source.files, &source.columns, &read.places)?;
            let parts = fetch.parts(&served.places);
            self.metrics.rows_served.add(served.places.len());
            chunks.push(vec![Vec::new(); parts.len()]);
            let parts = parts.into_iter().enumerate();
            jobs.extend(parts.map(|(place, part)| {
                let file = source.files.place(part.file);
                (file, (number, place, fetch.clone(), part))
            }));
        }
        let run = |(number, place, fetch, part): (usize, usize, Fetch, Part), finds: Finds<_>| async move {
            fetch.read(part, finds, move |chunk| (number, place, chunk)).await
        };
        let mut fetched = Workers::start(self.spec.engine.options.readers, jobs, run);
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
        timer.done();
        let in_order = |parts: Vec<Vec<Vec<ArrayRef>>>| parts.into_iter().flatten().collect();
        Ok(chunks.into_iter().map(in_order).collect())
    }
}
