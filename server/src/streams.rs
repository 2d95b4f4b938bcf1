//! Streams that fill sources, read beside the calls for as long as the server runs.
//!
//! Each source with a stream has a task, which goes on for ever: what goes wrong is told, and tried again. What is read
//! goes the way of pushes, and moves the marks of the stream in the same write, so that nothing depends on when a task
//! ends or how often one is started.

mod reading;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use asof_core::definition::Source;
use asof_core::name::SourceName;
use asof_core::online::OnlineStore;
use asof_core::registry::RegistryStore;
use asof_streams::{Marks, Place, StreamError, Subscription};
use async_trait::async_trait;
use tokio_util::task::AbortOnDropHandle;

use crate::app::App;
use crate::jobs::Jobs;

/// How long it is waited before a stream is opened again, at first.
const SOON: Duration = Duration::from_millis(100);
/// The same, at most.
const LATE: Duration = Duration::from_secs(30);

/// What opens streams.
#[async_trait]
pub trait Brokers: Send + Sync {
    /// Begins to read a stream; see [`asof_streams::open`].
    async fn open(&self, place: &Place, marks: Arc<dyn Marks>) -> Result<Arc<dyn Subscription>, StreamError>;

    /// A variable of the environment, by its name.
    fn environment(&self, name: &str) -> Option<String>;
}

/// The brokers that there are, and a variable of the environment, by its name.
pub fn brokers(environment: fn(&str) -> Option<String>) -> Arc<dyn Brokers> {
    Arc::new(RealBrokers { environment })
}

struct RealBrokers {
    environment: fn(&str) -> Option<String>,
}

#[async_trait]
impl Brokers for RealBrokers {
    async fn open(&self, place: &Place, marks: Arc<dyn Marks>) -> Result<Arc<dyn Subscription>, StreamError> {
        asof_streams::open(place, marks).await
    }

    fn environment(&self, name: &str) -> Option<String> {
        (self.environment)(name)
    }
}

/// How streams are being read: what a status says that the store does not know.
#[derive(Debug, Default)]
pub(crate) struct StreamStates {
    by_source: Mutex<BTreeMap<SourceName, StreamState>>,
}

/// How one is.
#[derive(Debug, Clone, Default)]
pub(crate) struct StreamState {
    /// Whether messages come, as far as there are any.
    pub(crate) is_up: bool,
    /// Why not.
    pub(crate) problem: Option<String>,
    /// Per lane how many messages wait to be read.
    pub(crate) pending: BTreeMap<Arc<str>, u64>,
}

impl StreamStates {
    pub(crate) fn of(&self, source: &str) -> Option<StreamState> {
        self.lock().get(source).cloned()
    }

    fn begin(&self, source: &SourceName) {
        self.lock().insert(source.clone(), StreamState::default());
    }

    /// Changes what is known of a source, as long as its stream is being read.
    fn change(&self, source: &SourceName, change: impl FnOnce(&mut StreamState)) {
        if let Some(state) = self.lock().get_mut(source) {
            change(state);
        }
    }

    fn forget(&self, source: &SourceName) {
        self.lock().remove(source);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SourceName, StreamState>> {
        self.by_source.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A source that is being filled, as it is defined.
struct Running {
    source: Source,
    /// Ends with this.
    _task: AbortOnDropHandle<()>,
}

/// Reads the streams of the sources that are defined, whichever these are, until it is dropped.
pub(crate) async fn keep_reading<S, R, J>(app: &Arc<App<S, R, J>>, brokers: &Arc<dyn Brokers>)
where
    S: OnlineStore + 'static,
    R: RegistryStore + 'static,
    J: Jobs,
{
    let mut running: BTreeMap<SourceName, Running> = BTreeMap::new();
    loop {
        let version = app.watch.current();
        let sources = &version.definitions.sources;
        running.retain(|name, running| {
            let stays = sources.get(name) == Some(&running.source);
            if !stays {
                app.streams.forget(name);
                app.metrics.streams().forget(name.as_str());
            }
            stays
        });
        for (name, source) in sources {
            if source.stream().is_some() && !running.contains_key(name) {
                app.streams.begin(name);
                let task = keep_filling(Arc::clone(app), Arc::clone(brokers), source.clone());
                let started = Running {
                    source: source.clone(),
                    _task: AbortOnDropHandle::new(tokio::spawn(task)),
                };
                running.insert(name.clone(), started);
            }
        }
        app.watch.moved_from(version.number).await;
    }
}

/// Fills a source from its stream, for ever.
async fn keep_filling<S, R, J>(app: Arc<App<S, R, J>>, brokers: Arc<dyn Brokers>, source: Source)
where
    S: OnlineStore + 'static,
    R: RegistryStore + 'static,
    J: Jobs,
{
    let name = source.name.clone();
    let (mut wait, mut dead) = (SOON, 0);
    loop {
        let began = Instant::now();
        let mut reading = reading::Reading::new(&app, &source, dead);
        let ended = reading.run(&*brokers).await;
        dead = reading.dead();
        if reading.has_kept() || began.elapsed() > LATE {
            wait = SOON;
        }
        let reading::Ended::Failed(problem) = ended else {
            // Somebody else read on: the marks say from where.
            tokio::time::sleep(SOON).await;
            continue;
        };
        app.metrics.streams().set_up(name.as_str(), false);
        let mut is_new = false;
        app.streams.change(&name, |state| {
            is_new = state.problem.as_deref() != Some(problem.as_str());
            state.is_up = false;
            state.problem = Some(problem.clone());
        });
        // Once a problem, not once an attempt.
        if is_new {
            tracing::error!(source = %name, problem, "a stream is not read; it will be tried again");
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LATE);
    }
}
