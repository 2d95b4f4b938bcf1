//! Work that blocks, away from those who wait for others.

use crate::error::{OfflineError, Result};

/// Runs what blocks where it may.
pub(crate) async fn blocking<T: Send + 'static>(
    run: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(run).await;
    done.unwrap_or_else(|error| {
        Err(OfflineError::Internal(format!(
            "work on files ended early: {error}"
        )))
    })
}
