//! The memory that the operators of an engine share, under a limit.
//!
//! DataFusion's `FairSpillPool` divides what there is among those who have come so far. The sorts of a join come one after
//! the other, each in a task of its own: whoever comes first takes what the others are to have, and a merge, which
//! cannot spill, finds nothing. Here those who spill are counted beforehand, and a part is not for them.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::common::{DataFusionError, Result, resources_datafusion_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};

/// What is not for those who spill is one in so many bytes: for merges, and for what waits in windows.
pub(crate) const KEPT_ONE_IN: usize = 3;

/// A limit, shared evenly by those who spill; what is left of it, by the others.
#[derive(Debug)]
pub(crate) struct SharePool {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// How many who spill there are.
    registered: usize,
    /// How many who spill there will be.
    expected: usize,
    spillable: usize,
    unspillable: usize,
}

impl SharePool {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // Numbers, each of which is right by itself.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The most that one who spills may have.
    fn share(&self, state: &State) -> usize {
        let kept = state.unspillable.max(self.limit / KEPT_ONE_IN);
        self.limit.saturating_sub(kept) / state.registered.max(state.expected).max(1)
    }

    fn change(&self, reservation: &MemoryReservation, by: impl FnOnce(usize) -> usize) {
        let mut state = self.state();
        let used = match reservation.consumer().can_spill() {
            true => &mut state.spillable,
            false => &mut state.unspillable,
        };
        *used = by(*used);
    }
}

/// So many who spill are to come, as long as this is there.
#[derive(Debug)]
pub(crate) struct Expected {
    pool: Arc<SharePool>,
    count: usize,
}

impl Expected {
    pub(crate) fn new(pool: &Arc<SharePool>, count: usize) -> Self {
        pool.state().expected += count;
        Self {
            pool: Arc::clone(pool),
            count,
        }
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.pool.state().expected -= self.count;
    }
}

impl MemoryPool for SharePool {
    fn name(&self) -> &str {
        "shares"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.state().registered += usize::from(consumer.can_spill());
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.state().registered -= usize::from(consumer.can_spill());
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.change(reservation, |used| used + additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.change(reservation, |used| used - shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let mut state = self.state();
        let free = match reservation.consumer().can_spill() {
            true => self.share(&state).saturating_sub(reservation.size()),
            false => self.limit.saturating_sub(state.spillable + state.unspillable),
        };
        if additional > free {
            return Err(too_much(reservation, additional, free));
        }
        match reservation.consumer().can_spill() {
            true => state.spillable += additional,
            false => state.unspillable += additional,
        }
        Ok(())
    }

    fn reserved(&self) -> usize {
        let state = self.state();
        state.spillable + state.unspillable
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.limit)
    }
}

impl fmt::Display for SharePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shares of {} bytes", self.limit)
    }
}

fn too_much(reservation: &MemoryReservation, additional: usize, free: usize) -> DataFusionError {
    let (name, has) = (reservation.consumer().name(), reservation.size());
    resources_datafusion_err!(
        "{name} has {has} bytes and asks for {additional} more, of which {free} are free"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn consumer(pool: &Arc<dyn MemoryPool>, spills: bool) -> MemoryReservation {
        MemoryConsumer::new("test").with_can_spill(spills).register(pool)
    }

    #[test]
    fn who_comes_first_takes_no_more_than_who_comes_last() {
        let shares = Arc::new(SharePool::new(900));
        let pool: Arc<dyn MemoryPool> = Arc::clone(&shares) as _;
        let expected = Expected::new(&shares, 3);
        let first = consumer(&pool, true);
        first.try_grow(201).unwrap_err();
        first.try_grow(200).unwrap();
        let others = [consumer(&pool, true), consumer(&pool, true)];
        for other in &others {
            other.try_grow(200).unwrap();
        }
        let merge = consumer(&pool, false);
        merge.try_grow(301).unwrap_err();
        merge.try_grow(300).unwrap();
        first.try_grow(1).unwrap_err();
        drop(others);
        first.try_grow(1).unwrap_err();
        drop(expected);
        first.try_grow(400).unwrap();
        assert_eq!(pool.reserved(), 900);
    }

    #[test]
    fn what_cannot_spill_takes_from_the_shares() {
        let pool: Arc<dyn MemoryPool> = Arc::new(SharePool::new(900));
        let (spills, merge) = (consumer(&pool, true), consumer(&pool, false));
        merge.try_grow(700).unwrap();
        let error = spills.try_grow(201).unwrap_err().to_string();
        let told = "test has 0 bytes and asks for 201 more, of which 200 are free";
        assert!(error.contains(told), "{error}");
        spills.try_grow(200).unwrap();
        merge.try_grow(1).unwrap_err();
        spills.shrink(200);
        merge.try_grow(200).unwrap();
    }
}
