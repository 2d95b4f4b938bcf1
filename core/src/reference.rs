//! The point-in-time contract as slow, obvious code.
//!
//! Every fast path is tested against this module. It holds no index and no cleverness: it looks at
//! every row of the history for every question.

use crate::duration::Duration;
use crate::key::KeyValue;
use crate::order::RowOrder;
use crate::status::{Verdict, Winner};
use crate::time::Timestamp;
use crate::window::Window;

/// One row of a source's history; `V` is whatever its features are.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryRow<V> {
    /// The entity key, a null where the column is null.
    pub keys: Vec<Option<KeyValue>>,
    /// When it was true; a row without one is skipped.
    pub event_time: Option<Timestamp>,
    /// When it became known, where the source says so.
    pub created_time: Option<Timestamp>,
    /// The order of acceptance.
    pub seq: u64,
    /// Whether it says that there is nothing any more.
    pub deleted: bool,
    /// The features.
    pub values: V,
}

/// How a question is to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// How long a row stays valid.
    pub ttl: Option<Duration>,
    /// Whether rule 2 ("as known") is off.
    pub as_corrected: bool,
}

/// The answer for one key at one instant.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer<'a, V> {
    /// What the contract says of the view.
    pub verdict: Verdict,
    /// The winning row, which is served only where the verdict is [`Verdict::Fresh`].
    pub winner: Option<&'a HistoryRow<V>>,
    /// Whether rule 2 excluded the row that would have won without it.
    pub held_back_winner: bool,
}

/// The value of a view for `keys` at `at`, by the point-in-time contract.
pub fn as_of<'a, V>(
    history: &'a [HistoryRow<V>],
    keys: &[Option<KeyValue>],
    at: Timestamp,
    rules: Rules,
) -> Answer<'a, V> {
    let greatest = |must_be_known: bool| {
        history
            .iter()
            .filter(|row| keys.iter().all(Option::is_some) && row.keys == keys)
            .filter_map(|row| Some((order_of(row)?, row)))
            .filter(|(order, _)| order.event_time <= at)
            .filter(|(order, _)| !must_be_known || order.created_time <= at)
            .max_by_key(|(order, _)| *order)
    };
    let corrected = greatest(false);
    let known = if rules.as_corrected {
        corrected
    } else {
        greatest(true)
    };
    let winner = known.map(|(order, row)| Winner {
        order,
        deleted: row.deleted,
    });
    Answer {
        verdict: Verdict::of(winner, corrected.is_some(), rules.ttl, at),
        winner: known.map(|(_, row)| row),
        held_back_winner: corrected.map(|(order, _)| order) != known.map(|(order, _)| order),
    }
}

/// The events of `keys` that a window covers at `at`, each with its place in the total order: those that happened and, unless
/// the rules say otherwise, were known by then. Rows that say "deleted" are no events.
pub fn in_window<'a, V>(
    history: &'a [HistoryRow<V>],
    keys: &[Option<KeyValue>],
    at: Timestamp,
    window: Window,
    as_corrected: bool,
) -> Vec<(RowOrder, &'a HistoryRow<V>)> {
    history
        .iter()
        .filter(|row| keys.iter().all(Option::is_some) && row.keys == keys && !row.deleted)
        .filter_map(|row| Some((order_of(row)?, row)))
        .filter(|(order, _)| window.covers(order.event_time, at))
        .filter(|(order, _)| as_corrected || order.created_time <= at)
        .collect()
}

/// The row's place in the total order, or `None` for a row that no question can find.
fn order_of<V>(row: &HistoryRow<V>) -> Option<RowOrder> {
    let event_time = row.event_time?;
    Some(RowOrder {
        event_time,
        created_time: row.created_time.unwrap_or(event_time),
        seq: row.seq,
    })
}
