//! How the views of a project stand, with a server or without.

use asof_core::definition::BoundView;
use asof_core::name::ProjectName;
use asof_core::online::{Counts, OnlineStore, ViewAddress, ViewSlot, ViewState};
use asof_core::registry::Version;
use asof_core::status::fresh_from;
use asof_core::time::Timestamp;
use asof_proto::v1;

use crate::error::ServerError;
use crate::metrics::materialized_to;

/// Every view of a registry version as it stands in a store at `now`, its rows counted by reading all of them.
///
/// # Errors
///
/// The store cannot be read.
pub fn status<S: OnlineStore>(
    store: &S,
    project: &ProjectName,
    version: &Version,
    now: Timestamp,
) -> Result<v1::GetStatusResponse, ServerError> {
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
        Some(((*slot)?, generation, fresh_from(bound.view.ttl, now)))
    };
    let asked: Vec<_> = views.iter().filter_map(serving).collect();
    // In one pass, however many views there are.
    let mut counted = store.survey(&asked)?.into_iter();
    let views = views.iter().map(|view| {
        let counts = serving(view).and_then(|_| counted.next());
        view_status(&view.0, &view.2, counts.unwrap_or_default(), now)
    });
    let views = views.collect();
    Ok(v1::GetStatusResponse {
        project: project.to_string(),
        registry_version: version.number,
        now_micros: now.micros(),
        views,
    })
}

fn view_status(bound: &BoundView, state: &ViewState, counts: Counts, now: Timestamp) -> v1::ViewStatus {
    let shape = bound.stored_shape();
    let to = materialized_to(state);
    v1::ViewStatus {
        view: bound.view.name.to_string(),
        serving_generation: state.serving.as_ref().map_or(0, |serving| serving.generation.0),
        materialized_to_micros: to.map(Timestamp::micros),
        lag_micros: to.map(|to| now.micros().saturating_sub(to.micros())),
        building_generation: state
            .building
            .as_ref()
            .map_or(0, |building| building.generation.0),
        current: state
            .serving
            .as_ref()
            .is_some_and(|serving| serving.shape.serves(&shape)),
        rows: counts.keys,
        expired_rows: counts.earlier,
        pending_rows: counts.pending,
        bytes: counts.bytes,
    }
}
