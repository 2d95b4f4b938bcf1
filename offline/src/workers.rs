//! Readers of files, several at once, whose finds come together in one place.

use std::collections::VecDeque;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::error::{OfflineError, Result};

/// How many finds may wait for the consumer.
const WAITING: usize = 8;

/// Where a job sends what it finds.
pub(crate) type Finds<T> = mpsc::Sender<Result<T>>;

/// Jobs under way; dropped, they end.
pub(crate) struct Workers<T> {
    finds: mpsc::Receiver<Result<T>>,
    /// Ends the workers when this is dropped.
    _workers: JoinSet<()>,
}

impl<T: Send + 'static> Workers<T> {
    /// Starts to do `jobs`, each with the name of the file that it reads, in their order, up to `at_once` at
    /// once. A job ends early, with no error, where nobody listens any more.
    pub(crate) fn start<J, F, Fut>(at_once: usize, jobs: Vec<(String, J)>, run: F) -> Self
    where
        J: Send + 'static,
        F: Fn(J, Finds<T>) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = Result<()>> + Send,
    {
        let (sender, finds) = mpsc::channel(WAITING);
        let at_once = at_once.clamp(1, jobs.len().max(1));
        let queue = Arc::new(Mutex::new(VecDeque::from(jobs)));
        let mut workers = JoinSet::new();
        for _ in 0..at_once {
            let (queue, sender, run) = (Arc::clone(&queue), sender.clone(), run.clone());
            workers.spawn(async move {
                let next = || queue.lock().ok().and_then(|mut jobs| jobs.pop_front());
                while let Some((file, job)) = next() {
                    // A worker that is just gone would look like the end of its finds.
                    let done = AssertUnwindSafe(run(job, sender.clone())).catch_unwind().await;
                    if let Err(error) = done.unwrap_or_else(|_| Err(OfflineError::undecodable(&file))) {
                        let _ = sender.send(Err(error)).await;
                        return;
                    }
                }
            });
        }
        Self {
            finds,
            _workers: workers,
        }
    }

    /// The next find, `None` when all jobs are done.
    pub(crate) async fn next(&mut self) -> Result<Option<T>> {
        self.finds.recv().await.transpose()
    }
}
