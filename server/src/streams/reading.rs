//! One subscription of a stream, from its beginning to whatever ends it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use asof_core::definition::{Servers, Source};
use asof_core::online::OnlineStore;
use asof_core::registry::RegistryStore;
use asof_streams::{Batch, Mark, Marks, Place, StreamError, Subscription};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::task::AbortOnDropHandle;

use super::Brokers;
use crate::app::App;
use crate::intake::{Arrived, Intake, IntakeError, Taken};
use crate::jobs::Jobs;

/// The most messages that are taken in at once.
const MESSAGES: usize = 10_000;
/// Bytes of payloads with which no more are.
const BYTES: usize = 4 << 20;
/// How many batches are being taken in at once: while one is written the next is read.
const UNDER_WAY: usize = 3;
/// How often it is asked how many messages wait.
const ASKING: Duration = Duration::from_secs(5);
/// After so many messages in a row of which none could be taken in, the definition may be what is wrong: then few are
/// read at a time, so that it can be mended before all are dead letters.
const ALL_DEAD: u64 = 1_000;
/// How long there is between two messages then.
const SLOWED: Duration = Duration::from_millis(10);
/// How many of them come at a time.
const FEW: usize = 100;

/// Why a subscription ended.
pub(super) enum Ended {
    /// Somebody else read on.
    Moved,
    /// It failed, or what it brings cannot be taken in.
    Failed(String),
}

/// See [`Reading::run`].
pub(super) struct Reading<'a, S, R, J> {
    app: &'a App<S, R, J>,
    source: &'a Source,
    has_kept: bool,
    /// How many messages in a row could not be taken in.
    dead: u64,
    held: Arc<Held>,
}

/// What was received and is not kept yet, and how much is received at a time.
struct Held {
    most: AtomicUsize,
    messages: Mutex<BTreeMap<Arc<str>, u64>>,
}

impl Held {
    fn change(&self, lane: &Arc<str>, change: impl FnOnce(&mut u64)) {
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        change(messages.entry(Arc::clone(lane)).or_default());
    }

    fn of(&self, lane: &str) -> u64 {
        let messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        messages.get(lane).copied().unwrap_or(0)
    }
}

/// The marks of a source, as the store has them.
struct KeptMarks<S> {
    intake: Intake<S>,
    source: String,
}

/// A batch that was taken in.
struct Done {
    lane: Arc<str>,
    after: Mark,
    messages: u64,
    accepted: u64,
    dead_letters: u64,
    lost: u64,
    /// How late the last of its messages came to be readable, in microseconds.
    delay: Option<i64>,
}

type UnderWay = FuturesOrdered<BoxFuture<'static, Result<Done, IntakeError>>>;

impl<S: OnlineStore + 'static> Marks for KeptMarks<S> {
    fn mark(&self, lane: &str) -> Result<Option<Mark>, String> {
        let states = self.intake.lane_states(&self.source);
        let states = states.map_err(|error| error.to_string())?;
        let state = states.iter().find(|(known, _)| known == lane);
        Ok(state.map(|(_, state)| state.mark()))
    }
}

impl<'a, S, R, J> Reading<'a, S, R, J>
where
    S: OnlineStore + 'static,
    R: RegistryStore + 'static,
    J: Jobs,
{
    /// The messages before, of which so many in a row could not be taken in, are behind it.
    pub(super) fn new(app: &'a App<S, R, J>, source: &'a Source, dead: u64) -> Self {
        let held = Held {
            most: AtomicUsize::new(most(dead)),
            messages: Mutex::default(),
        };
        Self {
            app,
            source,
            has_kept: false,
            dead,
            held: Arc::new(held),
        }
    }

    /// How many messages in a row could not be taken in by now.
    pub(super) fn dead(&self) -> u64 {
        self.dead
    }

    /// Whether anything was taken in.
    pub(super) fn has_kept(&self) -> bool {
        self.has_kept
    }

    /// Opens the stream, and takes in what comes until something ends it.
    pub(super) async fn run(&mut self, brokers: &dyn Brokers) -> Ended {
        let opened = match self.place(brokers) {
            Ok(place) => brokers.open(&place, self.marks()).await,
            Err(error) => Err(error),
        };
        let subscription = match opened {
            Ok(subscription) => subscription,
            Err(error) => return Ended::Failed(error.to_string()),
        };
        self.app.metrics.streams().set_up(self.source.name.as_str(), true);
        self.app.streams.change(&self.source.name, |state| {
            state.is_up = true;
        });
        self.take_in(&subscription).await
    }

    fn place(&self, brokers: &dyn Brokers) -> Result<Place, StreamError> {
        let refused = |what: String| StreamError::Refused(what);
        let stream = self.source.stream();
        let stream = stream.ok_or_else(|| refused("the source has no stream".into()))?;
        let servers = match &stream.servers {
            Servers::At(servers) => servers.clone(),
            Servers::Environment(variable) => brokers.environment(variable).ok_or_else(|| {
                refused(format!(
                    "the environment variable {variable:?} of the server is not set"
                ))
            })?,
        };
        Ok(Place {
            broker: stream.broker.clone(),
            servers,
            start: stream.start,
        })
    }

    fn marks(&self) -> Arc<dyn Marks> {
        Arc::new(KeptMarks {
            intake: self.app.intake.clone(),
            source: self.source.name.to_string(),
        })
    }

    async fn take_in(&mut self, subscription: &Arc<dyn Subscription>) -> Ended {
        let (batches, mut arrived) = mpsc::channel(1);
        let receiving = receive(Arc::clone(subscription), Arc::clone(&self.held), batches);
        let _receiving = AbortOnDropHandle::new(tokio::spawn(receiving));
        let mut under_way: UnderWay = FuturesOrdered::new();
        let mut asking = interval(ASKING);
        asking.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut broken = None;
        loop {
            tokio::select! {
                biased;
                Some(done) = under_way.next() => match done {
                    Ok(done) => self.keep(done, &**subscription).await,
                    Err(IntakeError::Moved) => return Ended::Moved,
                    Err(error) => return Ended::Failed(error.to_string()),
                },
                batch = arrived.recv(), if broken.is_none() && under_way.len() < UNDER_WAY => match batch {
                    Some(Ok(batch)) => match self.begin(batch).await {
                        Ok(begun) => under_way.extend(begun),
                        Err(error) => broken = Some(error.to_string()),
                    },
                    Some(Err(error)) => broken = Some(error.to_string()),
                    None => broken = Some("the stream ended".to_owned()),
                },
                _ = asking.tick() => self.ask(subscription),
            }
            // What was begun is taken in before it is told that no more comes.
            if let Some(problem) = broken.take_if(|_| under_way.is_empty()) {
                return Ended::Failed(problem);
            }
        }
    }

    /// Reads a batch, and has it taken in.
    async fn begin(
        &self,
        batch: Batch,
    ) -> Result<Vec<BoxFuture<'static, Result<Done, IntakeError>>>, IntakeError> {
        let app = self.app;
        let lane = Arc::clone(&batch.lane);
        let arrived = Arrived {
            source: self.source.name.to_string(),
            batch,
        };
        let version = app.watch.current();
        let read = app
            .intake
            .read_messages(&version, arrived, app.wall.now())
            .await?;
        let begun = read.into_iter().filter_map(|read| {
            let taken = app.intake.take_in(read)?;
            let Taken {
                answer,
                after,
                messages,
                dead_letters,
                lost,
                published,
            } = taken;
            let (lane, wall) = (Arc::clone(&lane), Arc::clone(&app.wall));
            let done = async move {
                let answer = answer.await?;
                let delay = published.map(|at| wall.now().micros() - at.micros());
                Ok(Done {
                    lane,
                    after,
                    messages,
                    accepted: answer.accepted,
                    dead_letters,
                    lost,
                    delay,
                })
            };
            Some(Box::pin(done) as BoxFuture<'static, _>)
        });
        Ok(begun.collect())
    }

    async fn keep(&mut self, done: Done, subscription: &dyn Subscription) {
        self.has_kept = true;
        self.held
            .change(&done.lane, |held| *held = held.saturating_sub(done.messages));
        self.app
            .streams
            .change(&self.source.name, |state| state.problem = None);
        subscription.kept(&done.lane, &done.after);
        self.app
            .metrics
            .streams()
            .lost(self.source.name.as_str(), &done.lane, done.lost);
        self.app.metrics.streams().taken_in(
            self.source.name.as_str(),
            &done.lane,
            done.messages,
            done.dead_letters,
            done.delay,
        );
        self.dead = match (done.accepted, done.dead_letters) {
            (0, 1..) => self.dead + done.messages,
            (0, 0) => self.dead,
            _ => 0,
        };
        self.held.most.store(most(self.dead), Ordering::Relaxed);
        if self.dead > ALL_DEAD {
            tokio::time::sleep(SLOWED * u32::try_from(done.messages).unwrap_or(u32::MAX)).await;
        }
    }

    /// Asks how many messages wait, beside what goes on.
    fn ask(&self, subscription: &Arc<dyn Subscription>) {
        let (subscription, streams) = (Arc::clone(subscription), Arc::clone(&self.app.streams));
        let (metrics, source) = (Arc::clone(&self.app.metrics), self.source.name.clone());
        let held = Arc::clone(&self.held);
        tokio::spawn(async move {
            // What is wrong with the broker is told by what receives.
            let Ok(pending) = subscription.pending().await else {
                return;
            };
            // What was received and is not kept waits as well.
            let waiting = pending.into_iter().map(|(lane, messages)| {
                let messages = messages + held.of(&lane);
                (lane, messages)
            });
            streams.change(&source, |state| {
                state.pending = waiting.collect();
                for (lane, messages) in &state.pending {
                    metrics.streams().pending(source.as_str(), lane, *messages);
                }
            });
        });
    }
}

/// How many messages are received at a time after so many in a row that could not be taken in.
const fn most(dead: u64) -> usize {
    if dead > ALL_DEAD { FEW } else { MESSAGES }
}

/// Receives messages while there is room for them.
async fn receive(
    subscription: Arc<dyn Subscription>,
    held: Arc<Held>,
    batches: mpsc::Sender<Result<Batch, StreamError>>,
) {
    loop {
        let most = held.most.load(Ordering::Relaxed);
        let batch = subscription.next(most, BYTES).await;
        if let Ok(batch) = &batch {
            held.change(&batch.lane, |held| *held += batch.messages.len() as u64);
        }
        let is_last = batch.is_err();
        if batches.send(batch).await.is_err() || is_last {
            return;
        }
    }
}
