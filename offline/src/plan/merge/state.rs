//! What is known of one key as the questions about it go on in time.

use std::collections::VecDeque;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, UInt64Array};
use datafusion::arrow::compute::take;
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;

use asof_core::duration::Duration;
use asof_core::status::{Verdict, Winner};
use asof_core::time::Timestamp;

use super::super::leaf::external;
use crate::error::OfflineError;

/// The features of some rows.
pub(super) struct Features {
    columns: Vec<ArrayRef>,
    /// Told to the pool, until these are dropped, where they are not those of a batch under way.
    _memory: Option<MemoryReservation>,
}

impl Features {
    /// Of a batch as it came.
    pub(super) fn of_batch(columns: &[ArrayRef]) -> Self {
        Self {
            columns: columns.to_vec(),
            _memory: None,
        }
    }

    pub(super) fn columns(&self) -> &[ArrayRef] {
        &self.columns
    }

    /// Some rows of these, as they wait.
    fn take(&self, places: &UInt64Array, memory: &MemoryReservation) -> Result<Self> {
        let columns = self.columns.iter().map(|column| take(column, places, None));
        let columns = columns.collect::<std::result::Result<Vec<_>, _>>()?;
        let values: usize = columns.iter().map(|column| column.get_array_memory_size()).sum();
        let memory = memory.new_empty();
        memory
            .try_grow(values + places.len() * size_of::<Waiting>())
            .map_err(|_| {
                external(OfflineError::Memory(
                    "the memory limit is too small to hold the rows of one key that became known later than they \
                     happened: raise the limit, or cut the source"
                        .into(),
                ))
            })?;
        Ok(Self {
            columns,
            _memory: Some(memory),
        })
    }
}

/// A row that has happened and is not known yet.
struct Waiting {
    due: Timestamp,
    standing: Standing,
}

/// A row that may win.
#[derive(Clone)]
pub(super) struct Standing {
    pub(super) winner: Winner,
    pub(super) features: Arc<Features>,
    /// Its place among those.
    pub(super) row: usize,
}

impl Standing {
    fn has_features_of(&self, other: &Self) -> bool {
        let mut pairs = self.features.columns.iter().zip(&other.features.columns);
        pairs.all(|(a, b)| a.slice(self.row, 1).to_data() == b.slice(other.row, 1).to_data())
    }
}

/// Puts a row in the place of a smaller one.
fn greatest(slot: &mut Option<Standing>, standing: &Standing) {
    let order = slot.as_ref().map(|slot| slot.winner.order);
    if order < Some(standing.winner.order) {
        *slot = Some(standing.clone());
    }
}

/// What is known of one key as the questions about it go on in time.
#[derive(Default)]
pub(super) struct KeyState {
    known: Option<Standing>,
    /// The greatest row by rule 1 alone.
    happened: Option<Standing>,
    /// Rows that have happened and are not known yet, the greatest last. A row that is known no earlier than a
    /// greater one never wins: of those here the greater is known later.
    waiting: VecDeque<Waiting>,
}

impl KeyState {
    /// Takes in a row, greater than all before it, that is due at an instant.
    pub(super) fn enter(&mut self, standing: Standing, due: Timestamp, at: Timestamp) {
        greatest(&mut self.happened, &standing);
        while self.waiting.back().is_some_and(|before| before.due >= due) {
            self.waiting.pop_back();
        }
        if due <= at {
            self.know(standing);
        } else {
            self.waiting.push_back(Waiting { due, standing });
        }
    }

    /// Copies the waiting rows of a batch out of it, so that they do not hold all of it.
    pub(super) fn copy_out(&mut self, batch: &Arc<Features>, memory: &MemoryReservation) -> Result<()> {
        let is_of = |waiting: &Waiting| Arc::ptr_eq(&waiting.standing.features, batch);
        let before = self.waiting.iter().rposition(|waiting| !is_of(waiting));
        let first = before.map_or(0, |before| before + 1);
        let places = self.waiting.range(first..);
        let places: UInt64Array = places.map(|waiting| waiting.standing.row as u64).collect();
        if places.is_empty() {
            return Ok(());
        }
        let copied = Arc::new(batch.take(&places, memory)?);
        for (row, waiting) in self.waiting.range_mut(first..).enumerate() {
            waiting.standing.features = Arc::clone(&copied);
            waiting.standing.row = row;
        }
        Ok(())
    }

    fn know(&mut self, standing: Standing) {
        greatest(&mut self.known, &standing);
    }

    /// The answer at an instant: what the contract says, the winner where its features are served, whether
    /// rule 2 excluded another winner, and whether that one would give another answer.
    pub(super) fn answer(
        &self,
        ttl: Option<Duration>,
        at: Timestamp,
    ) -> (Verdict, Option<&Standing>, bool, bool) {
        let winner = |standing: &Option<Standing>| standing.as_ref().map(|standing| standing.winner);
        let (known, happened) = (winner(&self.known), winner(&self.happened));
        let verdict = Verdict::of(known, happened.is_some(), ttl, at);
        let held_back = known != happened;
        let corrected = held_back && {
            let then = Verdict::of(happened, happened.is_some(), ttl, at);
            let differs = || match (&self.known, &self.happened) {
                (Some(now), Some(then)) => !now.has_features_of(then),
                _ => true,
            };
            then != verdict || (then == Verdict::Fresh && differs())
        };
        (verdict, self.known.as_ref(), held_back, corrected)
    }

    /// Lets rows be known whose time has come.
    pub(super) fn advance(&mut self, at: Timestamp) {
        while let Some(waiting) = self.waiting.pop_front_if(|waiting| waiting.due <= at) {
            self.know(waiting.standing);
        }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{AsArray, Int64Array};
    use datafusion::arrow::datatypes::Int64Type;
    use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryConsumer, MemoryPool};

    use asof_core::order::RowOrder;

    use super::*;

    fn reservation(bytes: usize) -> (Arc<dyn MemoryPool>, MemoryReservation) {
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(bytes));
        let memory = MemoryConsumer::new("test").register(&pool);
        (pool, memory)
    }

    fn batch(values: std::ops::Range<i64>) -> Arc<Features> {
        Arc::new(Features::of_batch(&[Arc::new(Int64Array::from_iter_values(
            values,
        ))]))
    }

    /// Rows that happened at 0, 1, … and are known at the given instants.
    fn enter(state: &mut KeyState, batch: &Arc<Features>, dues: &[i64], first: i64) {
        for (row, due) in dues.iter().enumerate() {
            let event_time = Timestamp::from_micros(first + row as i64);
            let order = RowOrder {
                event_time,
                created_time: Timestamp::from_micros(*due),
                seq: 0,
            };
            let winner = Winner {
                order,
                deleted: false,
            };
            let features = Arc::clone(batch);
            let standing = Standing {
                winner,
                features,
                row,
            };
            state.enter(standing, Timestamp::from_micros(*due), Timestamp::from_micros(50));
        }
    }

    fn known(state: &mut KeyState, at: i64) -> Option<i64> {
        state.advance(Timestamp::from_micros(at));
        let known = state.known.as_ref()?;
        let values = known.features.columns.first()?;
        Some(values.as_primitive::<Int64Type>().value(known.row))
    }

    #[test]
    fn of_waiting_rows_those_that_cannot_win_are_dropped() {
        let mut state = KeyState::default();
        enter(&mut state, &batch(0..6), &[90, 70, 80, 80, 60, 95], 0);
        // Rows 0 to 3 are known no earlier than row 4, which is greater.
        assert_eq!(state.waiting.len(), 2);
        assert_eq!(known(&mut state, 59), None);
        assert_eq!(known(&mut state, 60), Some(4));
        assert_eq!(known(&mut state, 94), Some(4));
        assert_eq!(known(&mut state, 95), Some(5));
    }

    #[test]
    fn rows_that_wait_are_told_to_the_pool_until_they_go() {
        let (pool, memory) = reservation(1 << 20);
        let mut state = KeyState::default();
        let (first, second) = (batch(0..3), batch(3..1_000));
        enter(&mut state, &first, &[60, 61, 62], 0);
        state.copy_out(&first, &memory).unwrap();
        let one = pool.reserved();
        assert!(one > 3 * 8, "{one}");
        let dues: Vec<i64> = (70..1_067).collect();
        enter(&mut state, &second, &dues, 3);
        state.copy_out(&second, &memory).unwrap();
        state.copy_out(&second, &memory).unwrap();
        assert!(pool.reserved() > one + 997 * 8);
        drop((first, second));
        assert_eq!(known(&mut state, 61), Some(1));
        assert_eq!(known(&mut state, 1_000), Some(933));
        drop(state);
        assert_eq!(pool.reserved(), 0);

        let (_, memory) = reservation(1 << 10);
        let mut state = KeyState::default();
        let batch = batch(0..1_000);
        enter(&mut state, &batch, &dues, 0);
        let refused = state.copy_out(&batch, &memory).unwrap_err();
        assert!(
            OfflineError::planned(&refused)
                .to_string()
                .starts_with("the memory limit is too small to hold the rows of one key")
        );
    }
}
