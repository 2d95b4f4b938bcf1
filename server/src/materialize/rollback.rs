//! A run is undone; see `undo`.

use std::sync::Arc;

use asof_core::definition::{BoundView, Definitions};
use asof_core::name::ProjectName;
use asof_core::online::{GenerationState, OnlineStore, ViewAddress, ViewSlot, ViewState};
use asof_core::registry::{NewRun, RegistryStore, Run, RunEnd, RunKind, RunState};
use asof_core::time::Timestamp;

use super::progress::Mark;
use super::run::Busy;
use super::undo::{HeldBack, Undo, Way, numbers};
use super::{Inner, MaterializeError, Materializer};
use crate::background::Threads;

/// A run that was undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolledBack {
    /// The run that undid it, in the ledger.
    pub run: u64,
    /// The view.
    pub view: String,
    /// The instant up to which the view is complete again; `None` where nothing is served any more.
    pub as_of: Option<Timestamp>,
}

impl<S: OnlineStore + 'static, R: RegistryStore> Materializer<S, R> {
    /// Undoes the last run of a view, by its number in the ledger, and enters that in the ledger.
    ///
    /// # Errors
    ///
    /// A run that is not the last completed one of its view, or whose view is being materialized; what the store and the
    /// registry fail with.
    pub async fn roll_back(
        &self,
        definitions: &Definitions,
        run: u64,
    ) -> Result<RolledBack, MaterializeError> {
        self.inner.roll_back(definitions, run, &Threads::here()).await
    }
}

impl<S: OnlineStore + 'static, R: RegistryStore> Inner<S, R> {
    pub(super) async fn roll_back(
        &self,
        definitions: &Definitions,
        run: u64,
        threads: &Threads,
    ) -> Result<RolledBack, MaterializeError> {
        let undone = self.registry.run(&self.project, run).await?;
        let undone = undone.ok_or(MaterializeError::NoRun(run))?;
        let unserved = unserved(&undone)?;
        let bound = definitions.bound_view(&undone.subject).ok_or_else(|| {
            let reason = format!("view {} is defined no more", undone.subject);
            MaterializeError::NotUndone { run, reason }
        })?;
        let _busy = Busy::enter(&self.busy, &undone.subject)?;
        // What cannot be undone enters nothing in the ledger.
        let (store, project, of) = (Arc::clone(&self.store), self.project.clone(), bound.clone());
        let decided = threads.write(move || decide(&*store, &project, &of, (run, unserved)));
        decided.await?;
        let entry = NewRun {
            kind: RunKind::Rollback,
            subject: undone.subject.clone(),
            started_at: self.clock.now(),
            pid: std::process::id(),
            as_of: undone.as_of,
        };
        let entered = self.registry.start_run(&self.project, entry).await?;
        let result = self.undo(bound, (run, unserved), threads).await;
        let state = match &result {
            Ok(_) => RunState::Done,
            Err(error) => RunState::Failed {
                error: error.to_string().lines().next().unwrap_or_default().to_owned(),
            },
        };
        let end = RunEnd {
            finished_at: self.clock.now(),
            state,
            rows_read: 0,
            rows_written: 0,
            rows_skipped: 0,
        };
        let ended = self.registry.end_run(&self.project, entered, end).await;
        let as_of = result?;
        ended?;
        Ok(RolledBack {
            run: entered,
            view: undone.subject,
            as_of,
        })
    }

    /// Undoes a run; returns the instant up to which its view is complete again.
    async fn undo(
        &self,
        bound: BoundView,
        run: (u64, Option<&'static str>),
        threads: &Threads,
    ) -> Result<Option<Timestamp>, MaterializeError> {
        // What is pushed changes what is known of the generations.
        let _paused = self.intake.pause(&bound.source).await?;
        let (store, project) = (Arc::clone(&self.store), self.project.clone());
        threads.write(move || undo(&*store, &project, &bound, run)).await
    }
}

/// Why a run would serve nothing, by the ledger. The store knows better: one that was killed may have come to its end there.
fn unserved(run: &Run) -> Result<Option<&'static str>, MaterializeError> {
    match (run.kind, &run.state) {
        (RunKind::Materialize, RunState::Done) => Ok(None),
        (RunKind::Materialize, RunState::Running) => Ok(Some("it did not come to its end")),
        (RunKind::Materialize, RunState::Failed { .. }) => Ok(Some("it failed, and nothing of it is served")),
        _ => Err(MaterializeError::NotUndone {
            run: run.id,
            reason: "only runs that materialized a view can be".into(),
        }),
    }
}

/// What is written to undo a run.
struct Decided {
    slot: ViewSlot,
    step: Step,
    /// The instant up to which the view is complete then.
    as_of: Option<Timestamp>,
}

enum Step {
    /// The generation that serves, with another state.
    Write(GenerationState),
    /// The generation that serves from then on is the one that was kept.
    Exchange(Vec<GenerationState>),
}

fn undo<S: OnlineStore>(
    store: &S,
    project: &ProjectName,
    bound: &BoundView,
    run: (u64, Option<&'static str>),
) -> Result<Option<Timestamp>, MaterializeError> {
    let Decided { slot, step, as_of } = decide(store, project, bound, run)?;
    match step {
        Step::Write(state) => store.write(slot, state.generation, Timestamp::MIN, &[], Some(&state))?,
        Step::Exchange(states) => store.exchange(slot, &states)?,
    }
    Ok(as_of)
}

/// How a run can be undone, as things stand.
fn decide<S: OnlineStore>(
    store: &S,
    project: &ProjectName,
    bound: &BoundView,
    (run, unserved): (u64, Option<&'static str>),
) -> Result<Decided, MaterializeError> {
    let refused = |reason: String| MaterializeError::NotUndone { run, reason };
    let slot = store.open_view(&ViewAddress::of(project, bound))?;
    let state = store.view_state(slot)?;
    if super::held_back(&state).contains(&run) {
        return Err(refused("it was rolled back already".into()));
    }
    let ViewState { serving, kept, .. } = state;
    let view = &bound.view.name;
    let gone = || {
        refused(format!(
            "it is not the last run of view {view}, or the view serves nothing"
        ))
    };
    let serving = serving.ok_or_else(gone)?;
    let mark = Mark::parse(&serving.progress)?;
    let way = match mark.undo() {
        Some(Undo { run: last, way }) if *last == run => way.clone(),
        _ if unserved.is_some() => return Err(refused(unserved.unwrap_or_default().into())),
        Some(Undo { run: last, .. }) if *last < run => {
            return Err(refused(format!(
                "it changed nothing of view {view}, run {last} was the last that did"
            )));
        }
        Some(Undo { run: last, .. }) => {
            return Err(refused(format!(
                "run {last} of view {view} was completed after it, and only the last one can be"
            )));
        }
        None => return Err(gone()),
    };
    let (step, as_of) = match way {
        Way::Layers {
            layers,
            as_of,
            held,
            pushed,
        } => {
            let mut state = serving;
            let hidden: Vec<_> = numbers(&layers).collect();
            for layer in &mut state.layers {
                layer.is_shown &= !hidden.contains(&layer.generation);
            }
            state.as_of = as_of.map(Timestamp::from_micros);
            let held_back = with_run(&mark, HeldBack { run, layers });
            let mark = mark.holding(Way::held(held), pushed);
            state.progress = mark.with_runs(None, held_back).to_bytes();
            let as_of = state.as_of;
            (Step::Write(state), as_of)
        }
        Way::Nothing => (Step::Exchange(Vec::new()), None),
        Way::Kept => {
            let answers = |kept: &GenerationState| {
                let is_fresh = |at| kept.has_fresh(bound.view.ttl, at);
                kept.shape.takes(&bound.stored_shape()) && kept.as_of.is_some_and(is_fresh)
            };
            let mut kept = kept.filter(answers).ok_or_else(|| {
                refused(format!(
                    "view {view} was defined otherwise before, and what it had is not there or not all of it: apply what was \
                     defined then, and materialize with --full"
                ))
            })?;
            let before = Mark::parse(&kept.progress)?;
            let is_held = |held: &HeldBack| held.run == run && held.is_kept();
            if before.held_back().iter().any(is_held) {
                // It was brought back by a run that did not come to its end: its own mark is further by then.
                let (step, as_of) = (Step::Exchange(Vec::new()), kept.as_of);
                return Ok(Decided { slot, step, as_of });
            }
            // What a run wrote that did not come to its end is nobody's any more.
            let held: Vec<u32> = before
                .held_back()
                .iter()
                .flat_map(|held| held.layers.clone())
                .collect();
            kept.layers
                .retain(|layer| layer.is_shown || held.contains(&layer.generation.0));
            let run = HeldBack {
                run,
                layers: Vec::new(),
            };
            let held_back = with_run(&before, run);
            let mark = mark
                .holding(before.held(), before.pushed())
                .reaching(before.reached());
            let state = GenerationState {
                progress: mark.with_runs(None, held_back).to_bytes(),
                ..kept
            };
            let as_of = state.as_of;
            (Step::Exchange(vec![state]), as_of)
        }
    };
    Ok(Decided { slot, step, as_of })
}

/// What a mark holds back, with one more run.
fn with_run(mark: &Mark, run: HeldBack) -> Vec<HeldBack> {
    let mut held_back = mark.held_back().to_vec();
    held_back.push(run);
    held_back
}
