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

use crate::background::Background;
use crate::error::JobError;
use crate::intake::Intake;
use crate::jobs::{Jobs, Materialization, ViewRun};
use chunk::Chunk;
use loader::{Loader, Target};
use progress::Mark;
use resume::Loading;
use tally::{Held, Tally};
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
    /// Where runs go that are asked for over the network.
    background: Background,
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
            load_rows: 4_096,
        }
    }
}

/// Views to materialize.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The definitions in force.
    pub definitions: &'a Definitions,
    /// The views.
    pub views: &'a [String],
    /// As of which instant.
    pub as_of: Timestamp,
    /// Whether to read everything into new generations.
    pub full: bool,
}

/// One of them.
#[derive(Debug, Clone, Copy)]
struct ViewRequest<'a> {
    definitions: &'a Definitions,
    view: &'a str,
    as_of: Timestamp,
    full: bool,
}

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    /// Its number in the ledger.
    pub run: u64,
    /// The view.
    pub view: String,
    /// What it did.
    pub result: Result<Materialized, MaterializeError>,
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

/// Who is told how many rows of a view have been read, and of how many, where that is known; `None` where nobody
/// looks.
pub type OnRows<'a> = Option<&'a (dyn Fn(&str, u64, Option<u64>) + Send + Sync)>;

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
                background: Background::default(),
                busy: Mutex::new(HashSet::new()),
            }),
        }
    }

    /// Materializes views, one after the other, and enters a run for each in the ledger. One that fails is in
    /// the way of no other.
    pub async fn run(
        &self,
        request: Request<'_>,
        on_rows: OnRows<'_>,
    ) -> Result<Vec<Ended>, MaterializeError> {
        let started = self.inner.start(request).await?;
        Ok(self.inner.run(started, request, on_rows).await)
    }
}

impl<S: OnlineStore + 'static, R: RegistryStore> Inner<S, R> {
    /// Enters a run for each view in the ledger.
    async fn start(&self, request: Request<'_>) -> Result<Vec<u64>, MaterializeError> {
        let mut started = Vec::new();
        for view in request.views {
            let run = NewRun {
                kind: RunKind::Materialize,
                subject: view.clone(),
                started_at: self.clock.now(),
                pid: std::process::id(),
                as_of: Some(request.as_of),
            };
            started.push(self.registry.start_run(&self.project, run).await?);
        }
        Ok(started)
    }

    /// Makes the runs that were started.
    ///
    /// The views of an entity stand side by side, so that a count of one reads the rows of all. Views are
    /// therefore counted together: each time, one more than were completed before.
    async fn run(&self, started: Vec<u64>, request: Request<'_>, on_rows: OnRows<'_>) -> Vec<Ended> {
        let (mut ended, mut written, mut completed) = (Vec::new(), Vec::new(), 0);
        for (run, view) in started.into_iter().zip(request.views) {
            let one = ViewRequest {
                definitions: request.definitions,
                view,
                as_of: request.as_of,
                full: request.full,
            };
            match self.write(one, on_rows).await {
                Ok(view) => written.push((run, view)),
                Err(error) => ended.push(self.end(run, view, Err(error)).await),
            }
            if written.len() > completed {
                completed += written.len();
                self.complete_all(std::mem::take(&mut written), &mut ended).await;
            }
        }
        self.complete_all(written, &mut ended).await;
        ended.sort_by_key(|ended| ended.run);
        ended
    }

    async fn end(&self, run: u64, view: &str, result: Result<Materialized, MaterializeError>) -> Ended {
        let state = match &result {
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
        let entered = self.registry.end_run(&self.project, run, end).await;
        Ended {
            run,
            view: view.to_owned(),
            result: result.and_then(|done| Ok(entered.map(|()| done)?)),
        }
    }

    /// Writes what is new of a view.
    async fn write(
        &self,
        request: ViewRequest<'_>,
        on_rows: OnRows<'_>,
    ) -> Result<Written<'_>, MaterializeError> {
        let busy = Busy::enter(&self.busy, request.view)?;
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
        let done = if is_done {
            Materialized::default()
        } else {
            let done = self
                .read_all(&bound, &snapshot, &reader, &mut work, request, on_rows)
                .await?;
            store.apply_due(work.slot, work.state.generation, request.as_of)?;
            done
        };
        Ok(Written {
            _busy: busy,
            bound,
            snapshot,
            work,
            as_of: request.as_of,
            is_done,
            done,
        })
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
        let files: Vec<(usize, u64)> = files.collect();
        let total = match on_rows {
            Some(_) => self.engine.rows_left(snapshot, &files).await,
            None => None,
        };
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
                if let Some(on_rows) = on_rows {
                    on_rows(request.view, done.rows_read, total);
                }
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

    /// Counts what views hold, in one pass, and completes them.
    async fn complete_all(&self, written: Vec<(u64, Written<'_>)>, ended: &mut Vec<Ended>) {
        let mut before = Vec::new();
        for (_, view) in &written {
            before.push(self.store.accepted(&self.pushed_to(&view.bound)));
        }
        let generation = |view: &Written<'_>| (view.work.slot, view.work.state.generation);
        let generations: Vec<_> = written
            .iter()
            .map(|(_, view)| {
                let (slot, generation) = generation(view);
                (slot, generation, Timestamp::MIN)
            })
            .collect();
        let together = match generations.is_empty() {
            true => Vec::new(),
            // What is in the way of counting one is found by counting each alone.
            false => self.store.survey(&generations).unwrap_or_default(),
        };
        let mut together = together.into_iter();
        for ((run, view), before) in written.into_iter().zip(before) {
            let (slot, generation) = generation(&view);
            let counts = together
                .next()
                .map_or_else(|| self.store.count(slot, generation), Ok);
            let name = view.bound.view.name.to_string();
            let result = match (before, counts) {
                (Ok(before), Ok(counts)) => self.complete(view, counts, before).await,
                (Err(error), _) | (_, Err(error)) => Err(error.into()),
            };
            ended.push(self.end(run, &name, result).await);
        }
    }

    /// Compares what was counted with what there must be, moves the mark and the instant, in one write, and lets
    /// a new generation take over. `before` rows had been pushed to the source when the count began.
    async fn complete(
        &self,
        written: Written<'_>,
        counts: Counts,
        before: u64,
    ) -> Result<Materialized, MaterializeError> {
        let Written {
            _busy,
            bound,
            snapshot,
            work,
            as_of,
            is_done,
            done,
        } = written;
        let done = Materialized { counts, ..done };
        let expected = match is_done {
            true => work.expected_unchanged(),
            false => work.expected(),
        };
        let after = self.store.accepted(&self.pushed_to(&bound))?;
        let expected = expected.and_up_to(after.saturating_sub(work.pushed));
        let held = Held::from(counts);
        if !expected.admits(held) {
            return Err(MaterializeError::Counted {
                place: self.store.place(),
                view: bound.view.name.to_string(),
                found: held.to_string(),
                expected: expected.to_string(),
            });
        }
        if is_done {
            return Ok(done);
        }
        let mark = Mark::of(&snapshot, as_of, before).counted(held);
        let Work {
            slot,
            mut state,
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
        let now = self.store.view_state(slot)?;
        if let Some(now) = now.generation(state.generation) {
            state.schemas.clone_from(&now.schemas);
        }
        self.store
            .write(slot, state.generation, as_of, &[], Some(&state))?;
        if building {
            self.store.serve(slot, state.generation)?;
        }
        Ok(done)
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

/// A view of which all rows are written, and not counted yet.
struct Written<'a> {
    _busy: Busy<'a>,
    bound: BoundView,
    snapshot: Arc<Snapshot>,
    work: Work,
    as_of: Timestamp,
    /// Whether there was nothing to write.
    is_done: bool,
    done: Materialized,
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
        let request = Request {
            definitions: &definitions,
            views: &views,
            as_of,
            full: what.full,
        };
        let ids = inner.start(request).await?;
        let (inner, started) = (Arc::clone(&self.inner), ids.clone());
        let work = self.inner.background.spawn(async move {
            let request = Request {
                definitions: &definitions,
                views: &views,
                as_of,
                full: what.full,
            };
            let mut counted = BTreeMap::new();
            for Ended { run, view, result } in inner.run(started, request, None).await {
                match result {
                    Ok(done) => {
                        counted.insert(run, done.counts);
                    }
                    Err(error) => tracing::error!(view, run, %error, "materialization failed"),
                }
            }
            counted
        });
        let work = work.map_err(|error| JobError::Unavailable(format!("no run can be started: {error}")))?;
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
