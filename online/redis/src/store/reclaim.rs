//! The room of rows that expired long ago, given back as they are counted.

use asof_core::online::{Generation, Survey};
use asof_core::row::StoredRow;
use asof_core::time::Timestamp;

use super::State;
use crate::names::{Name, RowField, TileField};
use crate::reply::Pair;
use crate::scripts::Script;
use crate::servers::Request;

/// The instant before which rows of a generation that serves, and of its layers, may go.
fn reclaimed(state: &State, survey: &Survey) -> Option<Timestamp> {
    let view = state.catalogue.view(survey.slot).ok()?;
    let serving = view.state.serving.as_ref();
    serving
        .filter(|serving| serving.generation == survey.generation)?
        .reclaimed
}

/// What removes a row that may go: never one that says "deleted", without which an older row that comes late would be
/// seen.
pub(super) fn expired(
    state: &State,
    survey: &Survey,
    number: Generation,
    name: &Name,
    row: Option<&[u8]>,
) -> Option<Request> {
    let (before, row) = (reclaimed(state, survey)?, row?);
    let parsed = StoredRow::parse(row).ok()?;
    let may_go = parsed.order.event_time < before && !parsed.deleted;
    may_go.then(|| {
        Request::script(Script::Expire, &[name])
            .arg(&RowField::Row.of(survey.slot.view, number))
            .arg(row)
    })
}

/// What removes chunks that no window needs any more.
pub(super) fn past(state: &State, survey: &Survey, name: &Name, fields: &[Pair]) -> Option<Request> {
    let from = reclaimed(state, survey)?;
    let layout = state.layout(survey.slot.view, survey.generation)?;
    let is_past = |field: &&[u8]| TileField::parse(field).is_some_and(|chunk| layout.is_past(chunk, from));
    let past: Vec<&[u8]> = fields
        .iter()
        .map(|(field, _)| field.as_slice())
        .filter(is_past)
        .collect();
    (!past.is_empty()).then(|| Request::script(Script::Past, &[name]).args(past))
}
