//! Until when a call may wait.

use std::time::{Duration, Instant};

/// An instant of the clock that never jumps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    pub(crate) fn after(duration: Duration) -> Self {
        Self(Instant::now() + duration)
    }

    /// The earlier of it and so long from now.
    pub(crate) fn within(self, duration: Duration) -> Self {
        Self(self.0.min(Instant::now() + duration))
    }

    pub(crate) fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    pub(crate) fn has_passed(self) -> bool {
        self.left().is_zero()
    }

    /// What is left as a time-out of a socket, which may not be nothing.
    pub(crate) fn timeout(self) -> Duration {
        self.left().max(Duration::from_millis(1))
    }
}
