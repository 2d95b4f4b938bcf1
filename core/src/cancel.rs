//! Work that nobody waits for any more is not gone on with.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What long work on a thread looks at now and then. Of itself it never cancels anything.
#[derive(Debug, Clone, Default)]
pub struct Cancellation(Arc<AtomicBool>);

/// Cancels when it is dropped.
#[derive(Debug)]
pub struct CancelOnDrop(Cancellation);

impl Cancellation {
    /// One that cancels when its guard is dropped.
    pub fn on_drop() -> (Self, CancelOnDrop) {
        let cancellation = Self::default();
        (cancellation.clone(), CancelOnDrop(cancellation))
    }

    /// Whether the work is to end.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}
