//! A run, from its entry in the ledger to the instant that it moves.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use asof_core::cancel::Cancellation;
use asof_core::definition::{BoundView, Location};
use asof_core::name::ProjectName;
use asof_core::online::intake::SourceAddress;
use asof_core::online::{Counts, Generation, OnlineStore, Survey, ViewSlot};
use asof_core::registry::{NewRun, RegistryStore, RunEnd, RunKind, RunState};
use asof_core::time::Timestamp;
use asof_offline::{RowReader, Snapshot};

use super::loader::Target;
use super::progress::Mark;
use super::reading::Reading;
use super::tally::Held;
use super::undefined::drop_undefined;
use super::work::{Task, Work};
use super::{Ended, Inner, MaterializeError, Materialized, OnRows, Request};
use crate::background::Threads;
use crate::error::job_code;

impl<S: OnlineStore + 'static, R: RegistryStore> Inner<S, R> {
    /// Enters a run for each view in the ledger, unless one of them is being materialized.
    pub(super) async fn start(&self, request: Request<'_>) -> Result<Vec<Started<'_>>, MaterializeError> {
        let busy = request.views.iter().map(|view| Busy::enter(&self.busy, view));
        let busy = busy.collect::<Result<Vec<_>, _>>()?;
        let mut started: Vec<Started<'_>> = Vec::new();
        for busy in busy {
            let run = NewRun {
                kind: RunKind::Materialize,
                subject: busy.view.clone(),
                started_at: self.clock.now(),
                pid: std::process::id(),
                as_of: Some(request.as_of),
            };
            match self.registry.start_run(&self.project, run).await {
                Ok(run) => started.push(Started { run, busy }),
                Err(error) => {
                    for Started { run, busy } in started {
                        let not_begun = MaterializeError::NotBegun(error.to_string());
                        self.end(run, &busy.view, Err(not_begun)).await;
                    }
                    return Err(error.into());
                }
            }
        }
        Ok(started)
    }

    /// Makes the runs that were started.
    ///
    /// The views of an entity stand side by side, so that a count of one reads the rows of all, and so does the
    /// removal of what a new generation took over from. Views are therefore counted and cleared together: each
    /// time, one more than were completed before, up to [`TOGETHER`].
    pub(super) async fn run(
        &self,
        started: Vec<Started<'_>>,
        request: Request<'_>,
        on_rows: Option<OnRows>,
        threads: &Threads,
    ) -> Vec<Ended> {
        let _counting = self.intake.runs().await;
        self.drop_undefined(request, threads).await;
        let (mut ended, mut written, mut completed) = (Vec::new(), Vec::new(), 0);
        for Started { run, busy } in started {
            let view = busy.view.clone();
            match self.write(busy, request, on_rows.clone(), threads).await {
                Ok(view) => written.push((run, view)),
                Err(error) => ended.push(self.end(run, &view, Err(error)).await),
            }
            if written.len() > completed.min(TOGETHER - 1) {
                completed += written.len();
                self.complete_all(std::mem::take(&mut written), &mut ended, threads)
                    .await;
            }
        }
        self.complete_all(written, &mut ended, threads).await;
        ended.sort_by_key(|ended| ended.run);
        ended
    }

    async fn end(&self, run: u64, view: &str, result: Result<Materialized, MaterializeError>) -> Ended {
        let state = match &result {
            Ok(_) => RunState::Done,
            Err(error) => {
                self.failures.note(run, job_code(&error.into()));
                let text = error.to_string();
                RunState::Failed {
                    error: text.lines().next().unwrap_or_default().to_owned(),
                }
            }
        };
        let [rows_read, rows_written, rows_skipped] = match &result {
            Ok(done) => [done.rows_read, done.rows_written, done.rows_skipped],
            Err(_) => [0; 3],
        };
        let end = RunEnd {
            finished_at: self.clock.now(),
            state,
            rows_read,
            rows_written,
            rows_skipped,
        };
        let entered = self.registry.end_run(&self.project, run, end).await;
        Ended {
            run,
            view: view.to_owned(),
            result: result.and_then(|done| Ok(entered.map(|()| done)?)),
        }
    }

    /// Removes the rows of views that are defined no more. A failure of that is in the way of no run.
    async fn drop_undefined(&self, request: Request<'_>, threads: &Threads) {
        let (store, project) = (Arc::clone(&self.store), self.project.clone());
        let definitions = request.definitions.clone();
        let dropped =
            threads.scan(move || Ok::<_, MaterializeError>(drop_undefined(&*store, &project, &definitions)?));
        if let Err(error) = dropped.await {
            tracing::warn!(%error, "views that are defined no more could not be removed; it will be tried again");
        }
    }

    /// Writes what is new of a view.
    async fn write<'a>(
        &self,
        busy: Busy<'a>,
        request: Request<'_>,
        on_rows: Option<OnRows>,
        threads: &Threads,
    ) -> Result<Written<'a>, MaterializeError> {
        let view = busy.view.as_str();
        let Request {
            definitions,
            as_of,
            full,
            redo,
            ..
        } = request;
        let bound = definitions
            .bound_view(view)
            .ok_or_else(|| MaterializeError::unknown(view, definitions))?;
        let bound = Arc::new(bound);
        // Until the generation has begun: what is pushed before is in the snapshot, what is pushed after has
        // greater seqs, and comes to the generation, too.
        let is_managed = matches!(bound.source.location, Location::Managed { .. });
        let held = match is_managed {
            true => Some(self.intake.hold(&bound.source, self.clock.now()).await?),
            false => None,
        };
        let pushed = self.store.accepted(&self.pushed_to(&bound))?;
        let snapshot = Arc::new(self.engine.snapshot(&bound).await?);
        let reader = Arc::new(RowReader::bind(&bound, &snapshot)?);
        let begin = Begin {
            store: Arc::clone(&self.store),
            project: self.project.clone(),
            bound: Arc::clone(&bound),
            snapshot: Arc::clone(&snapshot),
            pushed,
            as_of,
            full,
            redo,
        };
        let (mut work, is_done) = threads.write(move || begin.run()).await?;
        drop(held);
        let done = if is_done {
            Materialized::default()
        } else {
            let reading = Reading {
                engine: self.engine.clone(),
                store: Arc::clone(&self.store),
                threads: threads.clone(),
                limits: self.limits,
                bound: Arc::clone(&bound),
                snapshot: Arc::clone(&snapshot),
                reader,
                target: Target {
                    slot: work.slot,
                    generation: work.target,
                    as_of,
                    has_tiles: work.state.shape.tiles.is_some(),
                    reclaimed: work.state.reclaimed,
                },
                state: work.state.clone(),
                start: work.before.as_ref().map(|(mark, _)| mark.clone()),
                folded: std::mem::take(&mut work.folded),
                on_rows,
            };
            let (done, tally) = threads.read(reading.run()).await?;
            work.tally = tally;
            let (store, slot) = (Arc::clone(&self.store), work.slot);
            let numbers = [work.state.generation, work.target];
            let due = move || {
                numbers
                    .into_iter()
                    .try_for_each(|number| store.apply_due(slot, number, as_of).map(drop))
                    .map_err(MaterializeError::from)
            };
            threads.write(due).await?;
            done
        };
        Ok(Written {
            busy,
            bound,
            snapshot,
            work,
            as_of,
            is_done,
            done,
        })
    }

    /// Counts what views hold, in one pass, and completes them; then removes what they gave up, in another.
    async fn complete_all(
        &self,
        written: Vec<(u64, Written<'_>)>,
        ended: &mut Vec<Ended>,
        threads: &Threads,
    ) {
        let mut before = Vec::new();
        for (_, view) in &written {
            before.push(self.store.accepted(&self.pushed_to(&view.bound)));
        }
        let generations = written.iter().map(|(_, view)| view.work.survey());
        let counts = self.count(generations.collect(), threads).await;
        for (((run, view), before), counts) in written.into_iter().zip(before).zip(counts) {
            let name = view.bound.view.name.to_string();
            let result = match (before, counts) {
                (Ok(before), Ok(counts)) => self.complete(run, view, counts, before, threads).await,
                (Err(error), _) => Err(error.into()),
                (_, Err(error)) => Err(error),
            };
            ended.push(self.end(run, &name, result).await);
        }
        let store = Arc::clone(&self.store);
        let removed = threads.scan(move || Ok::<_, MaterializeError>(store.remove_given_up()?));
        if let Err(error) = removed.await {
            tracing::warn!(%error, "rows that nobody reads any more could not be removed; it will be tried again");
        }
    }

    /// Counts what each generation holds; what is in the way of counting all is found by counting each alone.
    async fn count(
        &self,
        generations: Vec<Survey>,
        threads: &Threads,
    ) -> Vec<Result<Counts, MaterializeError>> {
        let survey = |generations: Vec<_>| {
            let store = Arc::clone(&self.store);
            threads.scan(move || {
                Ok::<_, MaterializeError>(store.survey(&generations, &Cancellation::default())?)
            })
        };
        if generations.is_empty() {
            return Vec::new();
        }
        if let Ok(counts) = survey(generations.clone()).await {
            return counts.into_iter().map(Ok).collect();
        }
        let mut counts = Vec::new();
        for generation in generations {
            let counted = survey(vec![generation]).await;
            counts.push(counted.map(|counts| counts.first().copied().unwrap_or_default()));
        }
        counts
    }

    /// Compares what was counted with what there must be, moves the mark and the instant, in one write, and shows the layer
    /// or lets a new generation take over. `before` rows had been pushed to the source when the count began.
    async fn complete(
        &self,
        run: u64,
        written: Written<'_>,
        counts: Counts,
        before: u64,
        threads: &Threads,
    ) -> Result<Materialized, MaterializeError> {
        let Written {
            busy: _busy,
            bound,
            snapshot,
            work,
            as_of,
            is_done,
            done,
        } = written;
        let done = Materialized {
            counts,
            held_back: work.held_back(),
            ..done
        };
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
        // By the lower of both: neither an instant ahead of the clock nor a clock ahead of the run's instant
        // gives anything up.
        let known = as_of.min(self.clock.now());
        let paused = self.intake.pause(&bound.source).await?;
        let (store, slot, generation) = (Arc::clone(&self.store), work.slot, work.state.generation);
        let folded = threads
            .write(move || work.end(&*store, run, mark, as_of, known))
            .await?;
        drop(paused);
        self.fold(slot, generation, folded, threads).await;
        Ok(done)
    }

    /// Makes the layers of runs that cannot be undone any more a generation's own. A failure of that is in the way of
    /// nothing: reads find the layers, and the next run tries again.
    async fn fold(&self, slot: ViewSlot, generation: Generation, layers: Vec<Generation>, threads: &Threads) {
        let store = Arc::clone(&self.store);
        let fold = move || {
            let mut layers = layers.into_iter();
            layers.try_for_each(|layer| store.fold(slot, generation, layer))?;
            Ok::<_, MaterializeError>(())
        };
        if let Err(error) = threads.write(fold).await {
            tracing::warn!(%error, "the rows of a run could not be made their generation's own; it will be tried again");
        }
    }

    fn pushed_to(&self, bound: &BoundView) -> SourceAddress {
        SourceAddress {
            project: self.project.clone(),
            source: bound.source.name.clone(),
        }
    }
}

/// How many views are counted together at most: what was written and not counted is written again after a kill.
const TOGETHER: usize = 16;

/// A run that is in the ledger.
pub(super) struct Started<'a> {
    pub(super) run: u64,
    busy: Busy<'a>,
}

/// The beginning of a run.
struct Begin<S> {
    store: Arc<S>,
    project: ProjectName,
    bound: Arc<BoundView>,
    snapshot: Arc<Snapshot>,
    pushed: u64,
    as_of: Timestamp,
    full: bool,
    redo: bool,
}

impl<S: OnlineStore> Begin<S> {
    /// Decides what there is to do, and writes down what is coming, unless all is done already.
    fn run(self) -> Result<(Work, bool), MaterializeError> {
        let Self {
            store,
            project,
            bound,
            snapshot,
            pushed,
            as_of,
            full,
            redo,
        } = self;
        let task = Task {
            project: &project,
            bound: &bound,
            snapshot: &snapshot,
            pushed,
            as_of,
            full,
            redo,
        };
        let mut work = Work::plan(&*store, task)?;
        let is_done = work.is_done(&snapshot, as_of);
        if !is_done {
            work.begin(&*store, &snapshot, as_of)?;
        }
        Ok((work, is_done))
    }
}

/// A view of which all rows are written, and not counted yet.
struct Written<'a> {
    busy: Busy<'a>,
    bound: Arc<BoundView>,
    snapshot: Arc<Snapshot>,
    work: Work,
    as_of: Timestamp,
    /// Whether there was nothing to write.
    is_done: bool,
    done: Materialized,
}

/// Marks a view as being materialized, until dropped.
pub(super) struct Busy<'a> {
    views: &'a Mutex<HashSet<String>>,
    view: String,
}

impl<'a> Busy<'a> {
    pub(super) fn enter(views: &'a Mutex<HashSet<String>>, view: &str) -> Result<Self, MaterializeError> {
        let mut busy = views.lock().unwrap_or_else(PoisonError::into_inner);
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
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.view);
    }
}
