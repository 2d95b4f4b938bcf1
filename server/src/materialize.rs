//! Materialization: the rows of a view's source into the online store, up to an instant.
//!
//! A run from (what was accepted so far, t0) to (what is there now, t1) takes the rows that are new and
//! merges those that fell due after t0, so that late rows arrive and nothing is skipped. Rows that happen or
//! become known after t1 are stored as pending. All of it goes into the generation that serves, as
//! long as what is there only grew; otherwise everything is read into a new generation, which takes over
//! at once when it is whole.
//!
//! A run may be killed anywhere: what it wrote is overtaken by the same or newer rows of the next run, and
//! the instant up to which a generation is complete moves only with the last write of a run. The first one
//! says what is coming, so that no later run goes back behind what a run that was cut short has written.
//!
//! Rows are gathered into chunks, sorted, and written beside the reading of the next ones: large chunks by
//! a load, which also says how far it has come, so that the next run goes on behind it.

mod chunk;
mod error;
mod loader;
mod progress;
mod resume;
mod tally;
mod work;

pub use error::MaterializeError;
pub(crate) use progress::{NEVER, nothing_materialized};

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};

use asof_core::definition::{BoundView, Definitions, Location};
use asof_core::name::ProjectName;
use asof_core::online::intake::SourceAddress;
use asof_core::online::{Counts, OnlineStore};
use asof_core::registry::{NewRun, RegistryStore, RunEnd, RunKind, RunState};
use asof_core::status::reclaimable_before;
use asof_core::time::{Clock, Timestamp};
use asof_offline::{Engine, RowReader, Scan, Snapshot, SourceRows};
use async_trait::async_trait;

use crate::error::JobError;
use crate::intake::Intake;
use crate::jobs::{Jobs, Materialization, ViewRun};
use chunk::Chunk;
use loader::{Loader, Target};
use progress::Mark;
use resume::Loading;
use tally::{Expected, Held, Tally};
use work::Work;

/// Moves rows from sources to the online store.
pub struct Materializer<S, R> {
    inner: Arc<Inner<S, R>>,
}

impl<S, R> Clone for Materializer<S, R> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

struct Inner<S, R> {
    engine: Engine,
    store: Arc<S>,
    intake: Intake<S>,
    registry: Arc<R>,
    project: ProjectName,
    clock: Arc<dyn Clock>,
    limits: Limits,
    /// The views that are being materialized: one run at a time for each.
    busy: Mutex<HashSet<String>>,
}

/// How rows are gathered before they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory that the rows of a chunk take; there are up to two at a time.
    pub chunk_bytes: usize,
    /// From how many rows on a chunk is loaded at once, and not written row by row.
    pub load_rows: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            chunk_bytes: 256 << 20,
            load_rows: 16_384,
        }
    }
}

/// One view to materialize.
#[derive(Debug, Clone, Copy)]
pub struct ViewRequest<'a> {
    /// The definitions in force.
    pub definitions: &'a Definitions,
    /// The view.
    pub view: &'a str,
    /// As of which instant.
    pub as_of: Timestamp,
    /// Whether to read everything into a new generation.
    pub full: bool,
}

/// What a run did to a view.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Materialized {
    /// Rows read from the source.
    pub rows_read: u64,
    /// Rows taken over: all that are new, also those that a newer row of their key overtakes.
    pub rows_written: u64,
    /// Rows skipped because their key or event time is null.
    pub rows_skipped: u64,
    /// Keys and pending rows that the generation holds, counted by reading all of it.
    pub counts: Counts,
}

/// Who is told how many rows of a view have been read.
pub type OnRows<'a> = &'a (dyn Fn(&str, u64) + Send + Sync);

impl<S: OnlineStore + 'static, R: RegistryStore> Materializer<S, R> {
    /// For the project and the store of an intake, which whoever pushes must use, too.
    pub fn new(intake: Intake<S>, registry: Arc<R>, clock: Arc<dyn Clock>) -> Self {
        Self::with_limits(intake, registry, clock, Limits::default())
    }

    /// The same with other limits.
    pub fn with_limits(intake: Intake<S>, registry: Arc<R>, clock: Arc<dyn Clock>, limits: Limits) -> Self {
        Self {
            inner: Arc::new(Inner {
                engine: intake.engine().clone(),
                store: Arc::clone(intake.store()),
                project: intake.project().clone(),
                intake,
                registry,
                clock,
                limits,
                busy: Mutex::new(HashSet::new()),
            }),
        }
    }

    /// Materializes one view and enters the run in the ledger.
    ///
    /// Returns the ledger's entry and, where the run ended well, what it did.
    pub async fn run(
        &self,
        request: ViewRequest<'_>,
        on_rows: OnRows<'_>,
    ) -> Result<(u64, Result<Materialized, MaterializeError>), MaterializeError> {
        let id = self.inner.start(&request).await?;
        let result = self.inner.materialize(request, on_rows).await;
        self.inner.end(id, &result).await?;
        Ok((id, result))
    }
}

impl<S: OnlineStore + 'static, R: RegistryStore> Inner<S, R> {
    async fn start(&self, request: &ViewRequest<'_>) -> Result<u64, MaterializeError> {
        let run = NewRun {
            kind: RunKind::Materialize,
            subject: request.view.to_owned(),
            started_at: self.clock.now(),
            pid: std::process::id(),
            as_of: Some(request.as_of),
        };
        Ok(self.registry.start_run(&self.project, run).await?)
    }

    async fn end(
        &self,
        id: u64,
        result: &Result<Materialized, MaterializeError>,
    ) -> Result<(), MaterializeError> {
        let state = match result {
            Ok(_) => RunState::Done,
            Err(error) => {
                let text = error.to_string();
                RunState::Failed {
                    error: text.lines().next().unwrap_or_default().to_owned(),
                }
            }
        };
        let done = result.as_ref().ok().copied().unwrap_or_default();
        let end = RunEnd {
            finished_at: self.clock.now(),
            state,
            rows_read: done.rows_read,
            rows_written: done.rows_written,
            rows_skipped: done.rows_skipped,
        };
        Ok(self.registry.end_run(&self.project, id, end).await?)
    }

    async fn materialize(
        &self,
        request: ViewRequest<'_>,
        on_rows: OnRows<'_>,
    ) -> Result<Materialized, MaterializeError> {
        let _busy = Busy::enter(&self.busy, request.view)?;
        let bound = request
            .definitions
            .bound_view(request.view)
            .ok_or_else(|| MaterializeError::unknown(request.view, request.definitions))?;
        let Inner { store, project, .. } = self;
        // Until the generation has begun: what is pushed before is in the snapshot, what is pushed after has
        // greater seqs, and comes to the generation, too.
        let is_managed = matches!(bound.source.location, Location::Managed { .. });
        let held = match is_managed {
            true => Some(self.intake.hold(&bound.source, self.clock.now()).await?),
            false => None,
        };
        let pushed = store.accepted(&self.pushed_to(&bound))?;
        let snapshot = Arc::new(self.engine.snapshot(&bound).await?);
        let reader = Arc::new(RowReader::bind(&bound, &snapshot)?);
        let mut work = Work::plan(&**store, project, &bound, &snapshot, pushed, request)?;
        let is_done = work.is_done(&snapshot, request.as_of);
        if !is_done {
            work.begin(&**store, &snapshot, request.as_of)?;
        }
        drop(held);
        if is_done {
            let (counts, _) = self.counted(&bound, &work, work.expected_unchanged())?;
            return Ok(Materialized {
                counts,
                ..Materialized::default()
            });
        }
        let done = self
            .read_all(&bound, &snapshot, &reader, &mut work, request, on_rows)
            .await?;
        let counts = self.complete(&bound, &snapshot, &mut work, request).await?;
        Ok(Materialized { counts, ..done })
    }

    async fn read_all(
        &self,
        bound: &BoundView,
        snapshot: &Arc<Snapshot>,
        reader: &Arc<RowReader>,
        work: &mut Work,
        request: ViewRequest<'_>,
        on_rows: OnRows<'_>,
    ) -> Result<Materialized, MaterializeError> {
        let slot = work.slot;
        let record = self.store.loaded(slot, work.state.generation)?;
        let start = work.before.as_ref().map(|(mark, _)| mark);
        let mut loading = Loading::resume(record.as_deref(), start, chunk::version(&work.state), snapshot);
        let target = Target {
            slot,
            generation: work.state.generation,
            as_of: request.as_of,
            reclaimed: work.state.reclaimed,
        };
        let tally = Tally::after(loading.earlier());
        let mut loader = Loader::new(Arc::clone(&self.store), target, self.limits, tally);
        let files = loading.left(work.settled(snapshot));
        let mut scan = Scan::start_behind(&self.engine, snapshot, reader, files);
        let mut chunk = Chunk::new(bound, &work.state);
        let done = async {
            let mut done = Materialized::default();
            while let Some(rows) = scan.next().await? {
                done.rows_read += rows.heads.len() as u64;
                done.rows_skipped += rows.skipped;
                let wanted = new_rows(&rows, start);
                done.rows_written += chunk.add(&rows, wanted, request.as_of)?;
                loading.note(&rows);
                if chunk.is_full(self.limits.chunk_bytes) {
                    loader.write(chunk.take(), loading.clone()).await?;
                }
                on_rows(request.view, done.rows_read);
                // Lets whoever waits for an interrupt have its turn.
                tokio::task::yield_now().await;
            }
            loader.write(chunk.take(), loading.clone()).await?;
            Ok::<_, MaterializeError>(done)
        }
        .await;
        // Where the reading failed, too: nothing goes on writing after the run has ended.
        let tally = loader.written().await;
        let done = done?;
        work.tally = tally?;
        Ok(done)
    }

    /// Counts what is there, moves the mark and the instant, in one write, and lets a new generation take
    /// over.
    async fn complete(
        &self,
        bound: &BoundView,
        snapshot: &Snapshot,
        work: &mut Work,
        request: ViewRequest<'_>,
    ) -> Result<Counts, MaterializeError> {
        let as_of = request.as_of;
        self.store.apply_due(work.slot, work.state.generation, as_of)?;
        let (counts, pushed) = self.counted(bound, work, work.expected())?;
        let mark = Mark::of(snapshot, as_of, pushed).counted(counts.into());
        let Work {
            slot,
            state,
            building,
            ttl,
            ..
        } = work;
        state.as_of = Some(as_of);
        // By the lower of both: neither an instant ahead of the clock nor a clock ahead of the run's instant
        // gives anything up.
        let known = as_of.min(self.clock.now());
        let reclaimed = ttl.map(|ttl| reclaimable_before(ttl, known));
        state.reclaimed = state.reclaimed.max(reclaimed);
        state.progress = mark.to_bytes();
        // Rows may have been pushed meanwhile under a schema that came later.
        let _paused = self.intake.pause(&bound.source).await?;
        let now = self.store.view_state(*slot)?;
        if let Some(now) = now.generation(state.generation) {
            state.schemas.clone_from(&now.schemas);
        }
        self.store
            .write(*slot, state.generation, as_of, &[], Some(state))?;
        if *building {
            self.store.serve(*slot, state.generation)?;
        }
        Ok(counts)
    }

    /// Counts what the generation holds, by reading all of it, and compares that with what it must hold. Also gives
    /// how many rows had been pushed to the source when the count began.
    fn counted(
        &self,
        bound: &BoundView,
        work: &Work,
        expected: Expected,
    ) -> Result<(Counts, u64), MaterializeError> {
        let address = self.pushed_to(bound);
        let before = self.store.accepted(&address)?;
        let counts = self.store.count(work.slot, work.state.generation)?;
        let after = self.store.accepted(&address)?;
        let expected = expected.and_up_to(after.saturating_sub(work.pushed));
        let held = Held::from(counts);
        if expected.admits(held) {
            return Ok((counts, before));
        }
        Err(MaterializeError::Counted {
            place: self.store.place(),
            view: bound.view.name.to_string(),
            found: held.to_string(),
            expected: expected.to_string(),
        })
    }

    fn pushed_to(&self, bound: &BoundView) -> SourceAddress {
        SourceAddress {
            project: self.project.clone(),
            source: bound.source.name.clone(),
        }
    }
}

/// The rows of a batch that the generation does not have, as far as its mark says.
fn new_rows<'a>(rows: &'a SourceRows, mark: Option<&'a Mark>) -> impl Iterator<Item = usize> + 'a {
    rows.heads.iter().enumerate().filter_map(move |(place, head)| {
        let has = mark.is_some_and(|mark| mark.has(rows.file, head.order));
        (!has).then_some(place)
    })
}

/// Marks a view as being materialized, until dropped.
struct Busy<'a> {
    views: &'a Mutex<HashSet<String>>,
    view: String,
}

impl<'a> Busy<'a> {
    fn enter(views: &'a Mutex<HashSet<String>>, view: &str) -> Result<Self, MaterializeError> {
        let mut busy = views.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if busy.insert(view.to_owned()) {
            return Ok(Self {
                views,
                view: view.to_owned(),
            });
        }
        Err(MaterializeError::Busy {
            view: view.to_owned(),
        })
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.views
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .remove(&self.view);
    }
}

#[async_trait]
impl<S: OnlineStore + 'static, R: RegistryStore + 'static> Jobs for Materializer<S, R> {
    async fn materialize(&self, what: Materialization) -> Result<Vec<ViewRun>, JobError> {
        let unavailable =
            |error: asof_core::registry::RegistryError| JobError::Unavailable(error.to_string());
        let inner = &self.inner;
        let head = inner.registry.head(&inner.project).await.map_err(unavailable)?;
        let definitions = head
            .map(|version| version.definitions)
            .ok_or_else(|| JobError::from(MaterializeError::Nothing))?;
        let views = views(&definitions, &what.views)?;
        let as_of = what.as_of.unwrap_or_else(|| inner.clock.now());
        let mut started = Vec::new();
        for view in views {
            let request = ViewRequest {
                definitions: &definitions,
                view: &view,
                as_of,
                full: what.full,
            };
            let id = inner.start(&request).await?;
            started.push((id, view));
        }
        let ids: Vec<u64> = started.iter().map(|(id, _)| *id).collect();
        let inner = Arc::clone(&self.inner);
        let work = tokio::spawn(async move {
            let mut counted = BTreeMap::new();
            for (id, view) in started {
                let request = ViewRequest {
                    definitions: &definitions,
                    view: &view,
                    as_of,
                    full: what.full,
                };
                let result = inner.materialize(request, &|_, _| {}).await;
                match &result {
                    Ok(done) => {
                        counted.insert(id, done.counts);
                    }
                    Err(error) => tracing::error!(view, run = id, %error, "materialization failed"),
                }
                if let Err(error) = inner.end(id, &result).await {
                    tracing::error!(view, run = id, %error, "the end of a run could not be entered in the ledger");
                }
            }
            counted
        });
        let counted = match what.wait {
            true => work
                .await
                .map_err(|error| JobError::Unavailable(format!("the run was cut short: {error}")))?,
            false => BTreeMap::new(),
        };
        let limit = u32::try_from(ids.len()).unwrap_or(u32::MAX).saturating_add(100);
        let runs = self
            .inner
            .registry
            .runs(&self.inner.project, None, limit)
            .await
            .map_err(unavailable)?;
        let runs = runs.into_iter().filter(|run| ids.contains(&run.id));
        let mut runs: Vec<ViewRun> = runs
            .map(|run| ViewRun {
                counts: counted.get(&run.id).copied(),
                run,
            })
            .collect();
        runs.sort_by_key(|view| view.run.id);
        Ok(runs)
    }
}

/// The views to materialize: those named, or all.
pub fn views(definitions: &Definitions, named: &[String]) -> Result<Vec<String>, MaterializeError> {
    if definitions.views.is_empty() {
        return Err(MaterializeError::Nothing);
    }
    if named.is_empty() {
        return Ok(definitions.views.keys().map(ToString::to_string).collect());
    }
    let mut views: Vec<String> = Vec::new();
    for view in named {
        if !definitions.views.contains_key(view.as_str()) {
            return Err(MaterializeError::unknown(view, definitions));
        }
        if !views.contains(view) {
            views.push(view.clone());
        }
    }
    Ok(views)
}
