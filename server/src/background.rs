//! A runtime of its own for jobs, on threads of low priority: reads have the processors first, and no read
//! waits for a thread on which a job computes.

use std::future::Future;
use std::io;
use std::sync::{Mutex, PoisonError};

use thread_priority::ThreadPriority;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// Started with the first job.
#[derive(Default)]
pub(crate) struct Background(Mutex<Option<Runtime>>);

impl Background {
    /// Runs a job to its end, however long whoever started it stays.
    pub(crate) fn spawn<F>(&self, job: F) -> io::Result<JoinHandle<F::Output>>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let mut runtime = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if runtime.is_none() {
            *runtime = Some(start()?);
        }
        let spawned = runtime.as_ref().map(|runtime| runtime.spawn(job));
        spawned.ok_or_else(|| io::ErrorKind::Other.into())
    }
}

fn start() -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .thread_name("asof-jobs")
        .on_thread_start(|| {
            if let Err(error) = give_way() {
                tracing::warn!(error, "jobs run with the priority of reads");
            }
        })
        .enable_all()
        .build()
}

/// Lets this thread and those that it starts have a tenth of what a read has, where both want the processors. Less
/// would starve a job that holds what a push waits for.
fn give_way() -> Result<(), String> {
    // On Linux, a niceness of 10.
    const LOW: u8 = 22;
    let low = ThreadPriority::Crossplatform(LOW.try_into()?);
    thread_priority::set_current_thread_priority(low).map_err(|error| error.to_string())
}

impl Drop for Background {
    fn drop(&mut self) {
        // Jobs that are under way end with the process, which may be on a thread that must not wait.
        if let Some(runtime) = self.0.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// The niceness of this thread, as Linux tells it.
    fn niceness() -> Option<i32> {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").ok()?;
        let (_, fields) = stat.rsplit_once(')')?;
        fields.split_whitespace().nth(16)?.parse().ok()
    }

    #[tokio::test]
    async fn jobs_and_their_threads_give_way() {
        let background = Background::default();
        let job = background.spawn(async {
            let blocking = tokio::task::spawn_blocking(niceness);
            let own = std::thread::spawn(niceness);
            let here = niceness();
            [here, blocking.await.unwrap(), own.join().unwrap()]
        });
        assert_eq!(job.unwrap().await.unwrap(), [Some(10); 3]);
        assert_eq!(niceness(), Some(0));
    }
}
