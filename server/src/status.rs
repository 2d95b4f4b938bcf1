//! How the views of a project stand, with a server or without.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use asof_core::cancel::Cancellation;
use asof_core::definition::BoundView;
use asof_core::name::ProjectName;
use asof_core::online::intake::SourceAddress;
use asof_core::online::{Counts, OnlineStore, StoreError, Survey, ViewAddress, ViewSlot, ViewState};
use asof_core::registry::Version;
use asof_core::status::fresh_from;
use asof_core::time::Timestamp;
use asof_proto::v1;
use asof_registry::ProjectConfig;

use crate::error::ServerError;
use crate::intake::LaneState;
use crate::materialize::held_back;
use crate::metrics::materialized_to;
use crate::places::{disks, last_backup, lost_writes};
use crate::streams::StreamStates;

/// How often the views are looked at again, as a generation was exchanged while they were counted.
const ATTEMPTS: usize = 5;

/// A view of the store, and how it stands there.
type Stored = (ViewAddress, ViewSlot, ViewState);

/// The views of a store that answers, which servers are asked for.
pub(crate) fn reached<S: OnlineStore + ?Sized>(store: &S) -> Result<Vec<Stored>, StoreError> {
    // Which views there are is known here, and whether the servers have them still only to them.
    if store.is_remote() {
        store.waiting_sources()?;
    }
    store.views()
}

/// Every view of a registry version as it stands in a store at `now`, its rows counted by reading all of
/// them; where that fails, without their numbers. `runs` has their newest runs.
///
/// # Errors
///
/// The store cannot be read; `cancellation`.
pub fn status<S: OnlineStore>(
    store: &S,
    config: &ProjectConfig,
    version: &Version,
    now: Timestamp,
    runs: HashMap<String, v1::Run>,
    cancellation: &Cancellation,
) -> Result<v1::GetStatusResponse, ServerError> {
    let project = &config.project;
    let mut attempt = 1;
    let views = loop {
        match views(store, project, version, now, &runs, cancellation) {
            // A generation was exchanged while its rows were counted.
            Err(StoreError::NoGeneration { .. }) if attempt < ATTEMPTS => attempt += 1,
            views => break views?,
        }
    };
    Ok(v1::GetStatusResponse {
        project: project.to_string(),
        registry_version: version.number,
        now_micros: now.micros(),
        views,
        streams: streams(store, project, version, None)?,
        disks: disks(config),
        last_backup: last_backup(config),
        lost_writes: lost_writes(config),
    })
}

/// The same as a server tells it, which may be the one that reads the streams.
///
/// # Errors
///
/// As of [`status`].
pub(crate) fn status_of_server<S: OnlineStore>(
    store: &S,
    config: &ProjectConfig,
    version: &Version,
    now: Timestamp,
    runs: HashMap<String, v1::Run>,
    states: Option<&StreamStates>,
    cancellation: &Cancellation,
) -> Result<v1::GetStatusResponse, ServerError> {
    Ok(v1::GetStatusResponse {
        streams: streams(store, &config.project, version, states)?,
        ..status(store, config, version, now, runs, cancellation)?
    })
}

/// Every source with a stream, and what was read of it.
fn streams<S: OnlineStore>(
    store: &S,
    project: &ProjectName,
    version: &Version,
    states: Option<&StreamStates>,
) -> Result<Vec<v1::StreamStatus>, ServerError> {
    let sources = version.definitions.sources.values();
    let streams = sources.filter(|source| source.stream().is_some()).map(|source| {
        let address = SourceAddress {
            project: project.clone(),
            source: source.name.clone(),
        };
        let state = states.map(|states| states.of(source.name.as_str()).unwrap_or_default());
        let mut waiting = state
            .as_ref()
            .map(|state| state.pending.clone())
            .unwrap_or_default();
        let kept = store.marks(&address)?;
        let kept = kept
            .iter()
            .map(|kept| Ok((kept.lane.as_str().into(), LaneState::parse(kept)?)));
        let mut lanes = kept.collect::<Result<BTreeMap<Arc<str>, LaneState>, ServerError>>()?;
        // Also those of which nothing was kept yet.
        for lane in waiting.keys() {
            lanes.entry(Arc::clone(lane)).or_default();
        }
        let lanes = lanes.into_iter().map(|(name, state)| {
            let pending = waiting.remove(&name);
            lane(&name, state, pending)
        });
        Ok(v1::StreamStatus {
            source: source.name.to_string(),
            reading: state.as_ref().map(|state| state.is_up),
            lanes: lanes.collect(),
            // What there was before it was opened is no problem any more.
            problem: state
                .filter(|state| !state.is_up)
                .and_then(|state| state.problem)
                .unwrap_or_default(),
        })
    });
    streams.collect()
}

fn lane(name: &str, state: LaneState, pending: Option<u64>) -> v1::StreamLane {
    v1::StreamLane {
        lane: name.to_owned(),
        next: state.mark().next,
        messages: state.messages,
        dead_letters: state.dead_letters,
        lost: state.lost,
        pending,
        last_dead_letter: state.last.map(|last| v1::DeadLetter {
            position: last.position,
            at_micros: last.at_micros,
            reason: last.reason,
        }),
    }
}

fn views<S: OnlineStore>(
    store: &S,
    project: &ProjectName,
    version: &Version,
    now: Timestamp,
    runs: &HashMap<String, v1::Run>,
    cancellation: &Cancellation,
) -> Result<Vec<v1::ViewStatus>, StoreError> {
    let states = store.views()?;
    let mut views = Vec::new();
    for name in version.definitions.views.keys() {
        let Some(bound) = version.definitions.bound_view(name.as_str()) else {
            continue;
        };
        let address = ViewAddress::of(project, &bound);
        let state = states.iter().find(|(other, _, _)| *other == address);
        let (slot, state) = match state {
            Some((_, slot, state)) => (Some(*slot), state.clone()),
            None => (None, ViewState::default()),
        };
        views.push((bound, slot, state));
    }
    let serving = |(bound, slot, state): &(BoundView, Option<ViewSlot>, ViewState)| {
        let generation = state.serving.as_ref()?.generation;
        Some(Survey {
            slot: (*slot)?,
            generation,
            at: now,
            from: fresh_from(bound.view.ttl, now),
            layer: None,
        })
    };
    let asked: Vec<_> = views.iter().filter_map(serving).collect();
    // In one pass, however many views there are.
    let mut counted = counts(store, &asked, cancellation)?.into_iter();
    let views = views.iter().map(|view| {
        let counts = match serving(view) {
            None => Ok(Counts::default()),
            Some(_) => counted.next().unwrap_or_else(|| Err("not counted".into())),
        };
        let last_run = runs.get(view.0.view.name.as_str()).cloned();
        view_status(&view.0, &view.2, counts, now, last_run)
    });
    Ok(views.collect())
}

/// The counts of what is asked for, or why one cannot be had.
fn counts<S: OnlineStore>(
    store: &S,
    asked: &[Survey],
    cancellation: &Cancellation,
) -> Result<Vec<Result<Counts, String>>, StoreError> {
    let error = match store.survey(asked, cancellation) {
        Ok(counts) => return Ok(counts.into_iter().map(Ok).collect()),
        Err(error @ (StoreError::NoGeneration { .. } | StoreError::Cancelled)) => return Err(error),
        Err(error) => error,
    };
    tracing::warn!(%error, "rows of views could not be counted");
    // What is damaged may be of one of them.
    let StoreError::Damaged { .. } = error else {
        return Ok(vec![Err(error.to_string()); asked.len()]);
    };
    let each = asked.iter().map(
        |one| match store.survey(std::slice::from_ref(one), cancellation) {
            Ok(counts) => Ok(Ok(counts.first().copied().unwrap_or_default())),
            Err(error @ (StoreError::NoGeneration { .. } | StoreError::Cancelled)) => Err(error),
            Err(error) => Ok(Err(error.to_string())),
        },
    );
    each.collect()
}

fn view_status(
    bound: &BoundView,
    state: &ViewState,
    counts: Result<Counts, String>,
    now: Timestamp,
    last_run: Option<v1::Run>,
) -> v1::ViewStatus {
    let shape = bound.stored_shape();
    let to = materialized_to(state);
    let (counts, problem) = match counts {
        Ok(counts) => (Some(counts), String::new()),
        Err(problem) => (None, problem),
    };
    v1::ViewStatus {
        view: bound.view.name.to_string(),
        serving_generation: state.serving.as_ref().map_or(0, |serving| serving.generation.0),
        materialized_to_micros: to.map(Timestamp::micros),
        lag_micros: to.map(|to| now.micros().saturating_sub(to.micros())),
        building_generation: state
            .building
            .as_ref()
            .map_or(0, |building| building.generation.0),
        held_back_runs: held_back(state),
        current: state
            .serving
            .as_ref()
            .is_some_and(|serving| serving.shape.takes(&shape)),
        rows: counts.map(|counts| counts.keys),
        expired_rows: counts.map(|counts| counts.earlier),
        pending_rows: counts.map(|counts| counts.pending),
        bytes: counts.map(|counts| counts.bytes),
        last_run,
        problem,
    }
}
