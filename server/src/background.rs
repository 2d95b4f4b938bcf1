//! Threads for the parts of a job, each of the priority that what it holds allows: reads have the processors first,
//! and no read or push waits for a thread that does not get one.

use std::future::Future;
use std::io;
use std::sync::{Mutex, PoisonError};

use thread_priority::ThreadPriority;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::task::AbortOnDropHandle;

/// Where the parts of a job run.
#[derive(Debug, Clone)]
pub(crate) struct Threads {
    normal: Handle,
    low: Handle,
    idle: Handle,
}

impl Threads {
    /// All parts where this is called, for who has nothing to give way to.
    pub(crate) fn here() -> Self {
        let here = Handle::current();
        Self {
            normal: here.clone(),
            low: here.clone(),
            idle: here,
        }
    }

    /// Where what holds nothing runs that anybody else waits for.
    pub(crate) fn idle(&self) -> &Handle {
        &self.idle
    }

    /// What is short and holds a lock that reads or pushes wait for: writes to the store.
    pub(crate) async fn write<T, E>(
        &self,
        write: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<CutShort> + Send + 'static,
    {
        blocking(&self.normal, write).await
    }

    /// What is long and holds such locks for moments: passes over rows of the store.
    pub(crate) async fn scan<T, E>(
        &self,
        scan: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<CutShort> + Send + 'static,
    {
        blocking(&self.low, scan).await
    }

    /// What holds nothing that anybody else waits for: making ready what is to be written.
    pub(crate) async fn prepare<T, E>(
        &self,
        prepare: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<CutShort> + Send + 'static,
    {
        blocking(&self.idle, prepare).await
    }

    /// The same, of a task with all that it starts in its turn: reading files. It ends when this future is dropped.
    pub(crate) async fn read<T, E>(
        &self,
        read: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<CutShort> + Send + 'static,
    {
        let task = AbortOnDropHandle::new(self.idle.spawn(read));
        task.await.map_err(|error| E::from(CutShort(error.to_string())))?
    }
}

/// A part of a job that ended without a result.
#[derive(Debug)]
pub(crate) struct CutShort(pub(crate) String);

async fn blocking<T, E>(on: &Handle, run: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<CutShort> + Send + 'static,
{
    let ended = on.spawn_blocking(run).await;
    ended.map_err(|error| E::from(CutShort(error.to_string())))?
}

/// The threads of low priority, started with the first job.
#[derive(Default)]
pub(crate) struct Background {
    started: Mutex<Option<Started>>,
    /// Whether there are none, as jobs give way to nobody.
    is_none: bool,
}

struct Started {
    low: Runtime,
    idle: Runtime,
}

impl Background {
    /// None: jobs are what the process is there for.
    pub(crate) fn none() -> Self {
        Self {
            started: Mutex::default(),
            is_none: true,
        }
    }

    /// Those for a job of this runtime.
    pub(crate) fn threads(&self) -> io::Result<Threads> {
        if self.is_none {
            return Ok(Threads::here());
        }
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        let started = match &mut *started {
            Some(started) => started,
            none => none.insert(Started {
                low: start("asof-low", give_way)?,
                idle: start("asof-idle", be_idle)?,
            }),
        };
        Ok(Threads {
            normal: Handle::current(),
            low: started.low.handle().clone(),
            idle: started.idle.handle().clone(),
        })
    }
}

fn start(name: &str, lower: fn() -> Result<(), String>) -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .thread_name(name)
        .on_thread_start(move || {
            if let Err(error) = lower() {
                tracing::warn!(error, "jobs run with the priority of reads");
            }
        })
        .enable_all()
        .build()
}

/// Lets this thread and those that it starts have a tenth of what a read has, where both want the processors. Less
/// would starve who holds what a push waits for.
fn give_way() -> Result<(), String> {
    // On Linux, a niceness of 10.
    const LOW: u8 = 22;
    let low = ThreadPriority::Crossplatform(LOW.try_into()?);
    thread_priority::set_current_thread_priority(low).map_err(|error| error.to_string())
}

/// Lets this thread and those that it starts have the processors when nobody else wants them. On Linux, a thread
/// that is merely nice would keep them for some milliseconds after a read has come.
fn be_idle() -> Result<(), String> {
    #[cfg(target_os = "linux")]
    let idle = thread_priority::set_thread_priority_and_policy(
        thread_priority::thread_native_id(),
        ThreadPriority::Min,
        thread_priority::ThreadSchedulePolicy::Normal(thread_priority::NormalThreadSchedulePolicy::Idle),
    );
    #[cfg(not(target_os = "linux"))]
    let idle = thread_priority::set_current_thread_priority(ThreadPriority::Min);
    idle.map_err(|error| error.to_string())
}

impl Drop for Background {
    fn drop(&mut self) {
        // Jobs that are under way end with the process, which may be on a thread that must not wait.
        if let Some(started) = self
            .started
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        {
            started.low.shutdown_background();
            started.idle.shutdown_background();
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use thread_priority::{NormalThreadSchedulePolicy, ThreadSchedulePolicy, thread_schedule_policy};

    use super::*;

    impl From<CutShort> for String {
        fn from(ended: CutShort) -> Self {
            ended.0
        }
    }

    /// The niceness of this thread, as Linux tells it, and whether it is an idle one.
    fn priority() -> Result<(i32, bool), String> {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").map_err(|error| error.to_string())?;
        let (_, fields) = stat.rsplit_once(')').ok_or("no name")?;
        let nice = fields
            .split_whitespace()
            .nth(16)
            .and_then(|nice| nice.parse().ok());
        let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
        Ok((nice.ok_or("no niceness")?, thread_schedule_policy() == Ok(idle)))
    }

    #[tokio::test]
    async fn each_part_has_the_priority_that_what_it_holds_allows() {
        let background = Background::default();
        let threads = background.threads().unwrap();
        assert_eq!(threads.write(priority).await, Ok((0, false)));
        assert_eq!(threads.scan(priority).await, Ok((10, false)));
        assert_eq!(threads.prepare(priority).await.map(|(_, idle)| idle), Ok(true));
        let read = threads.read(async {
            let blocking = tokio::task::spawn_blocking(priority);
            let own = std::thread::spawn(priority);
            let all = [priority(), blocking.await.unwrap(), own.join().unwrap()];
            all.into_iter()
                .map(|priority| priority.map(|(_, idle)| idle))
                .collect::<Result<Vec<_>, String>>()
        });
        assert_eq!(read.await, Ok(vec![true; 3]));
        let threads = Background::none().threads().unwrap();
        assert_eq!(threads.scan(priority).await, Ok((0, false)));
        assert_eq!(threads.prepare(priority).await, Ok((0, false)));
    }
}
