//! A runtime of its own for jobs, on threads of the least priority: reads have the processors first, and no read
//! waits for a thread on which a job computes.

use std::future::Future;
use std::io;
use std::sync::{Mutex, PoisonError};

use thread_priority::ThreadPriority;
#[cfg(target_os = "linux")]
use thread_priority::{NormalThreadSchedulePolicy, ThreadSchedulePolicy};
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
                tracing::warn!(?error, "jobs run with the priority of reads");
            }
        })
        .enable_all()
        .build()
}

/// Lets this thread and those that it starts have the processors when nobody else wants them. On Linux, a thread
/// that is merely nice would keep them for some milliseconds after a read has come.
fn give_way() -> Result<(), thread_priority::Error> {
    #[cfg(target_os = "linux")]
    return thread_priority::set_thread_priority_and_policy(
        thread_priority::thread_native_id(),
        ThreadPriority::Min,
        ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle),
    );
    #[cfg(not(target_os = "linux"))]
    thread_priority::set_current_thread_priority(ThreadPriority::Min)
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
    use thread_priority::thread_schedule_policy;

    use super::*;

    #[tokio::test]
    async fn jobs_and_their_threads_give_way() {
        let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
        let background = Background::default();
        let job = background.spawn(async {
            let blocking = tokio::task::spawn_blocking(|| thread_schedule_policy().unwrap());
            let own = std::thread::spawn(|| thread_schedule_policy().unwrap());
            let here = thread_schedule_policy().unwrap();
            [here, blocking.await.unwrap(), own.join().unwrap()]
        });
        assert_eq!(job.unwrap().await.unwrap(), [idle; 3]);
        assert_ne!(thread_schedule_policy().unwrap(), idle);
    }
}
