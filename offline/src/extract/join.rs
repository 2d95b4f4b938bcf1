//! The reads of a plan, each joined to the spine.

use std::collections::BTreeMap;
use std::sync::Arc;

use asof_core::definition::{BoundView, View, ViewKind};
use asof_core::key::KeyColumns;
use asof_core::service::{CallerColumn, ViewRead};

use super::{ExtractRequest, Phase};
use crate::asof::{Answers, Asked, IndexedJoin, Memory, Questions, QuestionsBuilder, Source};
use crate::columns::SourceColumns;
use crate::engine::Engine;
use crate::error::{OfflineError, Result};
use crate::places::ViewPlaces;
use crate::snapshot::Snapshot;
use crate::spine::Spine;
use crate::summary::ViewSummary;

/// The answers for all rows of a spine, read by read.
pub(super) struct Joined {
    /// Rows of the spine.
    pub(super) rows: usize,
    pub(super) answers: Vec<Answers>,
    pub(super) views: Vec<ViewSummary>,
    /// The snapshots that were read, by source.
    pub(super) snapshots: BTreeMap<String, Arc<Snapshot>>,
}

pub(super) async fn join(engine: &Engine, request: &ExtractRequest<'_>, spine: &Spine) -> Result<Joined> {
    let mut memory = Memory::new(engine);
    // What is wrong with a definition is found before anything is read.
    let mut snapshots = BTreeMap::new();
    let mut reads = Vec::new();
    for read in &request.plan.reads {
        let bound = Arc::new(narrowed(read));
        let snapshot = pinned(engine, &bound, &mut snapshots).await?;
        let columns = SourceColumns::bind(&bound.source, &snapshot)?;
        let places = ViewPlaces::find(&bound, &snapshot, &columns.schema())?;
        reads.push((bound, places, columns, snapshot));
    }
    let (rows, questions) = ask(request, spine, &mut memory)?;
    let mut sources: Vec<Source> = Vec::new();
    for ((number, read), (bound, places, columns, snapshot)) in
        request.plan.reads.iter().enumerate().zip(reads)
    {
        let questions = questions
            .get(&read.key_columns)
            .ok_or_else(|| OfflineError::Internal("a read has no questions".into()))?;
        let asked = Asked {
            bound,
            places,
            questions: Arc::clone(questions),
        };
        match sources
            .iter_mut()
            .find(|source| Arc::ptr_eq(&source.snapshot, &snapshot))
        {
            Some(source) => source.reads.push((number, asked)),
            None => sources.push(Source {
                snapshot,
                columns,
                reads: vec![(number, asked)],
            }),
        }
    }
    let labels: Vec<String> = request.plan.reads.iter().map(ViewRead::label).collect();
    let join = IndexedJoin::plan(engine, sources, labels, request.as_corrected).await?;
    let (answers, views) = join.run(&mut memory, request.progress).await?;
    Ok(Joined {
        rows,
        answers,
        views,
        snapshots,
    })
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

type Questioned = BTreeMap<Vec<String>, Arc<Questions>>;

/// Reads the keys and times of the spine once, for every set of key columns.
fn ask(request: &ExtractRequest<'_>, spine: &Spine, memory: &mut Memory) -> Result<(usize, Questioned)> {
    let mut sets: Vec<KeySet> = Vec::new();
    for read in &request.plan.reads {
        if sets.iter().all(|set| set.names != read.key_columns) {
            sets.push(KeySet::new(request, spine, &read.key_columns)?);
        }
    }
    let mut rows = 0;
    for batch in spine.batches()? {
        let batch = batch.map_err(|error| spine.unreadable(&error.to_string()))?;
        let times = spine.times(&batch, rows)?;
        for set in &mut sets {
            let arrays = spine.keys(&batch, rows, &set.places, &set.columns)?;
            let types: Vec<_> = set.columns.iter().map(|column| column.key_type.clone()).collect();
            let keys = KeyColumns::try_new(&types, &arrays)
                .map_err(|error| OfflineError::Internal(error.to_string()))?;
            set.builder.push(&keys, &times)?;
        }
        rows += batch.num_rows();
        memory.hold(
            "the spine's keys and times",
            sets.iter().map(|set| set.builder.bytes()).sum(),
        )?;
        request.progress.advance(&Phase::Spine, rows as u64, None);
    }
    let asked: Questioned = sets
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
