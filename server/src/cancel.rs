//! Blocking work that ends with who waits for it.

use asof_core::cancel::Cancellation;
use tokio::task::JoinError;

/// Runs on a thread for blocking work, which is told when this future is dropped.
///
/// # Errors
///
/// The work panicked, or the process ends.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce(&Cancellation) -> T + Send + 'static,
) -> Result<T, JoinError> {
    let (cancellation, _guard) = Cancellation::on_drop();
    tokio::task::spawn_blocking(move || work(&cancellation)).await
}
