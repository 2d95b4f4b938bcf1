//! The reads of a plan, each joined to the spine.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};

use asof_core::definition::{BoundView, View, ViewKind};
use asof_core::key::KeyColumns;
use asof_core::service::{CallerColumn, ViewRead};

use super::{ExtractRequest, Phase};
use crate::asof::{Contest, Outcome, Questions, QuestionsBuilder};
use crate::engine::Engine;
use crate::error::{OfflineError, Result};
use crate::rows::RowReader;
use crate::scan::Scan;
use crate::snapshot::Snapshot;
use crate::spine::Spine;
use crate::summary::ViewSummary;

/// The answers for all rows of a spine, read by read.
pub(super) struct Joined {
    /// Rows of the spine.
    pub(super) rows: usize,
    pub(super) outcomes: Vec<Outcome>,
    pub(super) views: Vec<ViewSummary>,
    /// The snapshots that were read, by source.
    pub(super) snapshots: BTreeMap<String, Arc<Snapshot>>,
}

pub(super) async fn join(engine: &Engine, request: &ExtractRequest<'_>, spine: &Spine) -> Result<Joined> {
    let mut memory = Memory::new(engine);
    // What is wrong with a definition is found before anything is read.
    let mut snapshots = BTreeMap::new();
    let mut readers = Vec::new();
    for read in &request.plan.reads {
        let bound = narrowed(read);
        let snapshot = pinned(engine, &bound, &mut snapshots).await?;
        let reader = Arc::new(RowReader::bind(&bound, &snapshot)?);
        readers.push((read, snapshot, reader));
    }
    let (rows, questions) = ask(request, spine, &mut memory)?;
    let mut joined = Joined {
        rows,
        outcomes: Vec::new(),
        views: Vec::new(),
        snapshots,
    };
    for (read, snapshot, reader) in readers {
        let questions = questions
            .get(&read.key_columns)
            .ok_or_else(|| OfflineError::Internal("a read has no questions".into()))?;
        let (outcome, summary) = answer(
            engine,
            request,
            read,
            &snapshot,
            &reader,
            Arc::clone(questions),
            &mut memory,
        )
        .await?;
        joined.outcomes.push(outcome);
        joined.views.push(summary);
    }
    Ok(joined)
}

/// The view with only the features that are asked for: no other column is read.
fn narrowed(read: &ViewRead) -> BoundView {
    let view = View {
        kind: ViewKind::Features(read.features.clone()),
        ..read.bound.view.clone()
    };
    BoundView {
        view,
        ..read.bound.clone()
    }
}

/// Pins each source once, so that all views of it see the same rows.
async fn pinned(
    engine: &Engine,
    bound: &BoundView,
    snapshots: &mut BTreeMap<String, Arc<Snapshot>>,
) -> Result<Arc<Snapshot>> {
    let first = snapshots.get(bound.source.name.as_str());
    if let Some(first) = first.filter(|first| !first.is_typed_by_view()) {
        return Ok(Arc::clone(first));
    }
    let fresh = engine.snapshot(bound).await?;
    let first = snapshots
        .entry(bound.source.name.to_string())
        .or_insert_with(|| Arc::new(fresh.clone()));
    if first.files != fresh.files || first.version != fresh.version {
        return Err(OfflineError::Data(format!(
            "source {} was changed while the extract began: run it again when its writer is done",
            bound.source.name
        )));
    }
    Ok(if first.schema == fresh.schema {
        Arc::clone(first)
    } else {
        Arc::new(fresh)
    })
}

type Asked = BTreeMap<Vec<String>, Arc<Questions>>;

/// Reads the keys and times of the spine once, for every set of key columns.
fn ask(request: &ExtractRequest<'_>, spine: &Spine, memory: &mut Memory) -> Result<(usize, Asked)> {
    let mut sets: Vec<KeySet> = Vec::new();
    for read in &request.plan.reads {
        if sets.iter().all(|set| set.names != read.key_columns) {
            sets.push(KeySet::new(request, spine, &read.key_columns)?);
        }
    }
    let mut rows = 0;
    let mut scratch = Vec::new();
    for batch in spine.batches()? {
        let batch = batch.map_err(|error| spine.unreadable(&error.to_string()))?;
        let times = spine.times(&batch, rows)?;
        for set in &mut sets {
            let arrays = spine.keys(&batch, rows, &set.places, &set.columns)?;
            let types: Vec<_> = set.columns.iter().map(|column| column.key_type.clone()).collect();
            let keys = KeyColumns::try_new(&types, &arrays)
                .map_err(|error| OfflineError::Internal(error.to_string()))?;
            for (row, at) in times.iter().enumerate() {
                scratch.clear();
                let whole = keys.write(row, &mut scratch);
                set.builder.push(whole.then_some(scratch.as_slice()), *at);
            }
        }
        rows += batch.num_rows();
        memory.hold(
            "the spine's keys and times",
            sets.iter().map(|set| set.builder.bytes()).sum(),
        )?;
        request.progress.advance(&Phase::Spine, rows as u64, None);
    }
    let asked: Asked = sets
        .into_iter()
        .map(|set| (set.names, Arc::new(set.builder.finish())))
        .collect();
    memory.settle(asked.values().map(|questions| questions.bytes()).sum())?;
    Ok((rows, asked))
}

/// One set of the caller's key columns.
struct KeySet {
    names: Vec<String>,
    columns: Vec<CallerColumn>,
    places: Vec<usize>,
    builder: QuestionsBuilder,
}

impl KeySet {
    fn new(request: &ExtractRequest<'_>, spine: &Spine, names: &[String]) -> Result<Self> {
        let columns: Vec<CallerColumn> = names
            .iter()
            .filter_map(|name| {
                request
                    .plan
                    .caller_columns
                    .iter()
                    .find(|column| column.name == *name)
            })
            .cloned()
            .collect();
        let places = spine.key_places(&columns)?;
        Ok(Self {
            names: names.to_vec(),
            columns,
            places,
            builder: QuestionsBuilder::default(),
        })
    }
}

/// Lets all rows of a view's source compete for the questions.
async fn answer(
    engine: &Engine,
    request: &ExtractRequest<'_>,
    read: &ViewRead,
    snapshot: &Arc<Snapshot>,
    reader: &Arc<RowReader>,
    questions: Arc<Questions>,
    memory: &mut Memory,
) -> Result<(Outcome, ViewSummary)> {
    let types = read
        .features
        .iter()
        .map(|feature| feature.data_type.to_arrow())
        .collect();
    let mut contest = Contest::new(questions, types, request.as_corrected);
    let mut summary = ViewSummary {
        label: read.label(),
        source_rows: 0,
        skipped_rows: 0,
        repeated_rows: 0,
        held_back_winners: 0,
    };
    let phase = Phase::View(read.label());
    let what = format!("the candidate rows of view {}", read.bound.view.name);
    let mut scan = Scan::start(engine, snapshot, reader, 0..snapshot.files.len());
    while let Some(rows) = scan.next().await? {
        contest.enter(&rows)?;
        summary.source_rows += rows.heads.len() as u64;
        summary.skipped_rows += rows.skipped;
        memory.hold(&what, contest.bytes())?;
        request.progress.advance(&phase, summary.source_rows, None);
    }
    summary.repeated_rows = scan.repeated();
    let outcome = contest.finish(read.bound.view.ttl)?;
    memory.settle(outcome.bytes())?;
    Ok((outcome, summary))
}

/// The memory that a join accounts for.
struct Memory {
    reservation: MemoryReservation,
    /// What is held by what is done already.
    settled: usize,
}

impl Memory {
    fn new(engine: &Engine) -> Self {
        let reservation = MemoryConsumer::new("as-of join").register(&engine.memory_pool());
        Self {
            reservation,
            settled: 0,
        }
    }

    /// Accounts for `bytes` beside what is settled.
    fn hold(&mut self, what: &str, bytes: usize) -> Result<()> {
        self.reservation.try_resize(self.settled + bytes).map_err(|_| {
            OfflineError::Memory(format!(
                "the memory limit is too small to hold {what} ({} MiB so far): raise the limit, or cut the spine",
                (self.settled + bytes) >> 20
            ))
        })
    }

    /// Accounts for `bytes` until the end.
    fn settle(&mut self, bytes: usize) -> Result<()> {
        self.hold("what was found", bytes)?;
        self.settled += bytes;
        Ok(())
    }
}
