//! What a join holds in memory, told to the engine's pool.

use std::sync::Arc;

use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};

use crate::error::{OfflineError, Result};

/// The memory that a join accounts for.
pub(crate) struct Memory {
    reservation: MemoryReservation,
    /// What is held by what is done already.
    settled: usize,
}

impl Memory {
    pub(crate) fn new(pool: &Arc<dyn MemoryPool>) -> Self {
        let reservation = MemoryConsumer::new("as-of join").register(pool);
        Self {
            reservation,
            settled: 0,
        }
    }

    /// Accounts for `bytes` beside what is settled.
    pub(crate) fn hold(&mut self, what: &str, bytes: usize) -> Result<()> {
        self.reservation.try_resize(self.settled + bytes).map_err(|_| {
            OfflineError::Memory(format!(
                "the memory limit is too small to hold {what} ({} MiB so far): raise the limit, or cut the spine",
                (self.settled + bytes) >> 20
            ))
        })
    }

    /// What is accounted for.
    pub(crate) fn held(&self) -> usize {
        self.reservation.size()
    }

    /// Accounts for `bytes` until the end.
    pub(crate) fn settle(&mut self, bytes: usize) -> Result<()> {
        self.hold("what was found", bytes)?;
        self.settled += bytes;
        Ok(())
    }

    /// Accounts no more for `bytes` that were settled.
    pub(crate) fn release(&mut self, bytes: usize) {
        self.settled = self.settled.saturating_sub(bytes);
        self.reservation.resize(self.settled);
    }
}
