//! Instants at which rule 2 leaves an event out that a window covers.

use asof_core::aggregate::Events;
use asof_core::order::RowOrder;
use asof_core::time::Timestamp;

/// Per instant, which ascend, whether an event is left out that lies behind `after` it.
pub(super) fn held_back(
    events: &impl Events,
    instants: &[Timestamp],
    after: impl Fn(Timestamp) -> Option<Timestamp>,
) -> Vec<bool> {
    let late = events.orders().iter();
    let mut late = late
        .filter(|order| order.created_time > order.event_time)
        .peekable();
    // Events that have happened and were not known when last seen, the newest last: what is known stays known, and of
    // the others the newest lies behind a tail if any does.
    let mut unknown: Vec<&RowOrder> = Vec::new();
    let left_out = instants.iter().map(|at| {
        while let Some(order) = late.next_if(|order| order.event_time <= *at) {
            unknown.push(order);
        }
        while unknown.pop_if(|order| order.created_time <= *at).is_some() {}
        unknown
            .last()
            .is_some_and(|newest| after(*at).is_none_or(|after| newest.event_time > after))
    });
    left_out.collect()
}
