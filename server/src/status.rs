//! How the views of a project stand, with a server or without.

use asof_core::definition::BoundView;
use asof_core::name::ProjectName;
use asof_core::online::{OnlineStore, ViewAddress, ViewState};
use asof_core::registry::Version;
use asof_core::time::Timestamp;
use asof_proto::v1;

use crate::error::ServerError;
use crate::metrics::materialized_to;

/// Every view of a registry version as it stands in a store at `now`.
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
        let state = state.map(|(_, _, state)| state.clone()).unwrap_or_default();
        views.push(view_status(&bound, &state, now));
    }
    Ok(v1::GetStatusResponse {
        project: project.to_string(),
        registry_version: version.number,
        now_micros: now.micros(),
        views,
    })
}

fn view_status(bound: &BoundView, state: &ViewState, now: Timestamp) -> v1::ViewStatus {
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
    }
}
