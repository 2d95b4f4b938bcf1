//! What keeps a server that is asked for more than it can do from keeping all of them waiting: calls that would wait for long
//! are refused at once, with a hint when to try again.
//!
//! Two things make calls wait. One is work that takes threads, or long: of it there is so much at a time, and a short queue.
//! The other is the executor itself, where small reads run as they come: how long a task waits there for its turn is measured
//! all the time, and while even the shortest wait of late was too long, calls are refused. That it is the shortest is from
//! CoDel: K. Nichols and V. Jacobson, *Controlling Queue Delay*, 2012; one long wait is a hiccup, and no queue.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::error::ServerError;

/// How much is worked on at a time, and for how long calls wait.
#[derive(Debug, Clone, Copy)]
pub struct CallLimits {
    /// Calls at once; those that only wait, such as pushes and waits for jobs, are not counted.
    pub at_once: usize,
    /// Calls that wait for one of these to end.
    pub queue: usize,
    /// How long they wait.
    pub wait: Duration,
    /// How long a task may wait for its turn before calls are refused.
    pub delay: Duration,
}

impl CallLimits {
    /// All at once, however long they wait.
    pub const NONE: Self = Self {
        at_once: Semaphore::MAX_PERMITS,
        queue: 0,
        wait: Duration::ZERO,
        delay: Duration::MAX,
    };
}

impl Default for CallLimits {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            at_once: 4 * cores,
            queue: 64 * cores,
            wait: Duration::from_millis(100),
            delay: Duration::from_millis(500),
        }
    }
}

/// How often the executor's delay is measured, and how many of these count.
const INTERVAL: Duration = Duration::from_millis(20);
const MEASURES: usize = 5;

/// Who lets calls in.
#[derive(Debug)]
pub(crate) struct Overload {
    limits: CallLimits,
    shed: Counter,
    running: Semaphore,
    waiting: Semaphore,
    /// The shortest of the last delays of the executor, in microseconds.
    delay: AtomicU64,
}

impl Overload {
    /// Counts in `shed` whom it refuses.
    pub(crate) fn new(limits: CallLimits, shed: Counter) -> Self {
        Self {
            limits,
            shed,
            running: Semaphore::new(limits.at_once),
            waiting: Semaphore::new(limits.queue),
            delay: AtomicU64::new(0),
        }
    }

    /// Works on a call when there is room for it.
    ///
    /// # Errors
    ///
    /// Those of the call, and [`ServerError::Shed`] where it would wait for too long.
    pub(crate) async fn admit<T>(
        &self,
        call: impl Future<Output = Result<T, ServerError>> + Send,
    ) -> Result<T, ServerError> {
        let _running = match self.enter().await {
            Ok(running) => running,
            Err(shed) => {
                self.shed.inc();
                return Err(shed);
            }
        };
        call.await
    }

    async fn enter(&self) -> Result<SemaphorePermit<'_>, ServerError> {
        let delay = self.delay();
        if delay > self.limits.delay {
            return Err(ServerError::Shed(format!(
                "the server is overloaded: calls wait {delay:.0?} for their turn"
            )));
        }
        if let Ok(running) = self.running.try_acquire() {
            return Ok(running);
        }
        let shed = || {
            ServerError::Shed(format!(
                "the server is overloaded: it works on {} calls, and others wait",
                self.limits.at_once
            ))
        };
        let _waiting = self.waiting.try_acquire().map_err(|_| shed())?;
        let running = tokio::time::timeout(self.limits.wait, self.running.acquire()).await;
        running.ok().and_then(Result::ok).ok_or_else(shed)
    }

    /// The shortest time that a task has waited for its turn lately.
    pub(crate) fn delay(&self) -> Duration {
        Duration::from_micros(self.delay.load(Ordering::Relaxed))
    }

    /// Calls that are worked on.
    pub(crate) fn running(&self) -> usize {
        self.limits
            .at_once
            .saturating_sub(self.running.available_permits())
    }

    /// Measures the delay of the executor for ever.
    pub(crate) async fn keep_measuring(&self) {
        let mut delays = Delays::default();
        loop {
            let begun = Instant::now();
            // A task that is new waits behind those that are there.
            let turn = tokio::spawn(async move { begun.elapsed() }).await;
            let shortest = delays.with(turn.unwrap_or_default());
            let micros = u64::try_from(shortest.as_micros()).unwrap_or(u64::MAX);
            self.delay.store(micros, Ordering::Relaxed);
            tokio::time::sleep(INTERVAL).await;
        }
    }
}

/// The last delays of the executor, none at first.
#[derive(Debug, Default)]
struct Delays([Duration; MEASURES]);

impl Delays {
    /// The shortest of the last ones, with one more.
    fn with(&mut self, delay: Duration) -> Duration {
        self.0.rotate_left(1);
        if let Some(last) = self.0.last_mut() {
            *last = delay;
        }
        self.0.iter().min().copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn limits() -> CallLimits {
        CallLimits {
            at_once: 2,
            queue: 1,
            wait: Duration::from_millis(100),
            delay: Duration::from_millis(50),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn calls_wait_for_a_moment_and_not_in_a_crowd() {
        let overload = Arc::new(Overload::new(limits(), Counter::default()));
        let first = overload.enter().await.unwrap();
        let second = overload.enter().await.unwrap();
        assert_eq!(overload.running(), 2);
        let waits = tokio::spawn({
            let overload = Arc::clone(&overload);
            async move { overload.enter().await.map(drop) }
        });
        tokio::time::sleep(Duration::from_millis(10)).await;
        // One waits, so that this one does not.
        let begun = tokio::time::Instant::now();
        assert!(matches!(overload.enter().await, Err(ServerError::Shed(_))));
        assert_eq!(begun.elapsed(), Duration::ZERO);
        drop(first);
        waits.await.unwrap().unwrap();
        let third = overload.enter().await.unwrap();
        let begun = tokio::time::Instant::now();
        assert!(matches!(overload.enter().await, Err(ServerError::Shed(_))));
        assert_eq!(begun.elapsed(), Duration::from_millis(100));
        drop((second, third));
        drop(overload.enter().await.unwrap());
    }

    #[test]
    fn what_counts_is_the_shortest_of_the_last_delays() {
        let mut delays = Delays::default();
        let told = [0, 700, 0, 700, 650, 700, 690, 800, 720, 3, 900].map(|millis| {
            let shortest = delays.with(Duration::from_millis(millis));
            shortest.as_millis()
        });
        // One long wait is a hiccup; five in a row are a queue, as long as the shortest of them.
        assert_eq!(told, [0, 0, 0, 0, 0, 0, 0, 650, 650, 3, 3]);
    }

    #[tokio::test]
    async fn an_executor_that_is_late_sheds() {
        let overload = Arc::new(Overload::new(limits(), Counter::default()));
        let measured = tokio::spawn({
            let overload = Arc::clone(&overload);
            async move { overload.keep_measuring().await }
        });
        // Eight tasks hold up the one thread of this executor in turn.
        let busy = |times: usize| async move {
            let hold_up = move || async move {
                for _ in 0..times {
                    std::thread::sleep(Duration::from_millis(20));
                    tokio::task::yield_now().await;
                }
            };
            let all: Vec<_> = (0..8).map(|_| tokio::spawn(hold_up())).collect();
            for task in all {
                task.await.unwrap();
            }
        };
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(overload.enter().await.is_ok());
        busy(10).await;
        let Err(ServerError::Shed(told)) = overload.enter().await else {
            panic!("{:?}", overload.delay());
        };
        assert!(
            told.starts_with("the server is overloaded: calls wait "),
            "{told}"
        );
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(overload.enter().await.is_ok());
        measured.abort();
    }
}
