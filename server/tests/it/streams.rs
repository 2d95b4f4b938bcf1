//! Streams: each message counts once, whatever brokers, stores and processes do, and what cannot be read is kept aside.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use asof_core::name::{ProjectName, SourceName};
use asof_core::online::StoreError;
use asof_core::online::memory::MemoryStore;
use asof_core::registry::{RegistryStore, Version};
use asof_core::time::Timestamp;
use asof_offline::{Engine, EngineOptions, RowReader, Scan};
use asof_proto::v1;
use asof_registry::{Authored, AuthoredFile, MemoryRegistry, ProjectConfig, apply, plan};
use asof_server::intake::{Intake, IntakeLimits};
use asof_server::streams::Brokers;
use asof_server::{Drained, Limits, Listening, ServeParts, serve};
use asof_streams::{Batch, Mark, Marks, Message, Place, StreamError, Subscription};
use bytes::Bytes;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use crate::harness::{HandClock, Starter};
use crate::json::http_to;
use crate::materialize_project::{Random, seeds};
use crate::wrapped_store::{Around, Wrapped};

const DEFINITIONS: &str = r#"
[[entity]]
name = "card"
keys = { card = "int64" }

[[entity]]
name = "lane"
keys = { lane = "string" }

[[source]]
name = "payments"
schema = { card = "int64", at = "timestamp", amount = "float64" }
stream = { nats = "env:NATS", subject = "payments" }
event_time = "at"

# What no stream fills is a table like any other: a foreign one.
[[source]]
name = "letters"
path = "tables/payments__dead"
event_time = "arrived_at"

[[view]]
name = "last"
entity = "card"
source = "payments"
owner = "ops@example.com"
[view.features]
amount = "float64"

[[view]]
name = "spent"
entity = "card"
source = "payments"
owner = "ops@example.com"
hop = "1m"
[[view.aggregate]]
function = "count"
windows = ["1d"]
[[view.aggregate]]
function = "sum"
input = "amount"
windows = ["1d"]

[[view]]
name = "dead"
entity = "lane"
source = "letters"
owner = "ops@example.com"
[view.features]
position = "int64"
row = "int64"
reason = "string"
payload_bytes = "int64"
"#;

/// 2026-01-01T00:00:00Z.
const NOW: i64 = 1_767_225_600_000_000;
const CARDS: i64 = 4;

/// A store of which calls fail at random: before they have done anything, or after.
#[derive(Debug, Default)]
struct Faulty {
    /// Of 1,000 calls.
    failing: AtomicU64,
    random: AtomicU64,
}

impl Around for Faulty {
    fn change<T>(&self, call: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        let failing = self.failing.load(Ordering::SeqCst);
        let seed = self.random.fetch_add(1, Ordering::SeqCst);
        let failed = Err(StoreError::Failed {
            place: "the store".into(),
            reason: "a wire was cut".into(),
        });
        match Random::new(seed).next() % 1_000 {
            number if number >= failing => call(),
            number if number % 2 == 0 => failed,
            _ => call().and(failed),
        }
    }
}

/// A broker in memory. It is as unkind as brokers may be: it ends subscriptions, gives lanes to somebody else and back,
/// and brings again what was read.
struct Twin {
    lanes: Mutex<BTreeMap<Arc<str>, Vec<Message>>>,
    random: Mutex<Random>,
    /// How often something goes wrong, of 1,000 times.
    failing: AtomicU64,
    arrived: Notify,
}

/// Its subscriptions.
struct Subscribed {
    twin: Arc<Twin>,
    marks: Arc<dyn Marks>,
    /// Per lane the mark that it is read behind.
    at: Mutex<BTreeMap<Arc<str>, Option<Mark>>>,
    /// The marks that lanes had at some time.
    earlier: Mutex<Vec<(Arc<str>, Option<Mark>)>>,
}

impl Twin {
    fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            lanes: Mutex::default(),
            random: Mutex::new(Random::new(seed)),
            failing: AtomicU64::new(0),
            arrived: Notify::new(),
        })
    }

    fn publish(&self, lane: &str, position: u64, payload: Option<&str>) {
        let message = Message {
            position,
            payload: payload.map(|payload| Bytes::copy_from_slice(payload.as_bytes())),
            published: Some(Timestamp::from_micros(NOW)),
        };
        self.lanes
            .lock()
            .unwrap()
            .entry(lane.into())
            .or_default()
            .push(message);
        self.arrived.notify_waiters();
    }

    fn below(&self, bound: u64) -> u64 {
        self.random.lock().unwrap().next() % bound
    }

    fn goes_wrong(&self) -> bool {
        self.below(1_000) < self.failing.load(Ordering::SeqCst)
    }
}

/// How a server is given the broker.
struct TwinBrokers(Arc<Twin>);

#[tonic::async_trait]
impl Brokers for TwinBrokers {
    async fn open(&self, place: &Place, marks: Arc<dyn Marks>) -> Result<Arc<dyn Subscription>, StreamError> {
        assert_eq!(place.servers, "nats://twin");
        if self.0.goes_wrong() {
            return Err(StoreUnavailable::error());
        }
        let lanes: Vec<Arc<str>> = self.0.lanes.lock().unwrap().keys().cloned().collect();
        let at = lanes.into_iter().map(|lane| {
            let mark = marks.mark(&lane).map_err(StreamError::Unavailable)?;
            Ok((lane, mark))
        });
        Ok(Arc::new(Subscribed {
            twin: Arc::clone(&self.0),
            at: Mutex::new(at.collect::<Result<_, StreamError>>()?),
            marks,
            earlier: Mutex::default(),
        }))
    }

    fn environment(&self, name: &str) -> Option<String> {
        (name == "NATS").then(|| "nats://twin".to_owned())
    }
}

struct StoreUnavailable;

impl StoreUnavailable {
    fn error() -> StreamError {
        StreamError::Unavailable("the broker is away".into())
    }
}

#[tonic::async_trait]
impl Subscription for Subscribed {
    async fn next(&self, most: usize, _: usize) -> Result<Batch, StreamError> {
        loop {
            let arrived = self.twin.arrived.notified();
            if self.twin.goes_wrong() {
                return Err(StoreUnavailable::error());
            }
            self.go_back()?;
            if let Some(batch) = self.batch(most) {
                return Ok(batch);
            }
            arrived.await;
        }
    }

    fn kept(&self, lane: &str, mark: &Mark) {
        // What is kept is what the store has, or was overtaken since.
        let kept = self.marks.mark(lane).unwrap().unwrap();
        assert!(kept.next >= mark.next, "{kept:?} {mark:?}");
    }

    async fn pending(&self) -> Result<Vec<(Arc<str>, u64)>, StreamError> {
        let lanes = self.twin.lanes.lock().unwrap();
        let at = self.at.lock().unwrap();
        let pending = lanes.iter().map(|(lane, messages)| {
            let mark = at.get(lane).cloned().flatten();
            let waiting = messages
                .iter()
                .filter(|message| message.position >= next_of(mark.as_ref()));
            (Arc::clone(lane), waiting.count() as u64)
        });
        Ok(pending.collect())
    }
}

fn next_of(mark: Option<&Mark>) -> u64 {
    mark.map_or(0, |mark| mark.next)
}

impl Subscribed {
    /// Now and then a lane comes back from somebody else: it begins at its mark, or at one that it had long ago.
    fn go_back(&self) -> Result<(), StreamError> {
        if !self.twin.goes_wrong() {
            return Ok(());
        }
        let mut at = self.at.lock().unwrap();
        let lanes: Vec<Arc<str>> = at.keys().cloned().collect();
        let lane = &lanes[self.twin.below(lanes.len() as u64) as usize];
        let earlier = self.earlier.lock().unwrap();
        let mark = match earlier.is_empty() || self.twin.below(2) == 0 {
            true => self.marks.mark(lane).map_err(StreamError::Unavailable)?,
            false => {
                let (of, mark) = &earlier[self.twin.below(earlier.len() as u64) as usize];
                if of != lane {
                    return Ok(());
                }
                mark.clone()
            }
        };
        at.insert(Arc::clone(lane), mark);
        Ok(())
    }

    fn batch(&self, most: usize) -> Option<Batch> {
        let lanes = self.twin.lanes.lock().unwrap();
        let mut at = self.at.lock().unwrap();
        let start = self.twin.below(lanes.len().max(1) as u64) as usize;
        let (lane, messages) =
            lanes
                .iter()
                .cycle()
                .skip(start)
                .take(lanes.len())
                .find(|(lane, messages)| {
                    let next = next_of(at.get(*lane).cloned().flatten().as_ref());
                    messages.last().is_some_and(|last| last.position >= next)
                })?;
        let before = at.get(lane).cloned().flatten();
        let next = next_of(before.as_ref());
        let count = 1 + self.twin.below(most.min(40) as u64) as usize;
        let waiting = messages.iter().filter(|message| message.position >= next);
        let messages: Vec<Message> = waiting.take(count).cloned().collect();
        let after = Mark {
            next: messages.last()?.position + 1,
            epoch: Some("the first".into()),
        };
        self.earlier
            .lock()
            .unwrap()
            .push((Arc::clone(lane), before.clone()));
        at.insert(Arc::clone(lane), Some(after.clone()));
        Some(Batch {
            lane: Arc::clone(lane),
            before,
            messages,
            after,
            lost: 0,
        })
    }
}

type Store = Wrapped<MemoryStore, Faulty>;

/// A project, its store and its broker, which outlive servers.
struct World {
    directory: tempfile::TempDir,
    engine: Engine,
    registry: Arc<MemoryRegistry>,
    store: Arc<Store>,
    twin: Arc<Twin>,
    clock: Arc<HandClock>,
}

/// A server of it.
struct Serving {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    ended: JoinHandle<Drained>,
}

fn name() -> ProjectName {
    ProjectName::parse("p").unwrap()
}

impl World {
    async fn new(definitions: &str, seed: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let tables = std::path::Path::new("tables");
        let engine = Engine::open(directory.path(), tables, &[], EngineOptions::default()).unwrap();
        let clock = Arc::new(HandClock::default());
        clock.set(NOW);
        let world = Self {
            directory,
            engine,
            registry: Arc::new(MemoryRegistry::new()),
            store: Arc::default(),
            twin: Twin::new(seed),
            clock,
        };
        world.define(definitions).await;
        world.store.around.random.store(seed << 32, Ordering::SeqCst);
        world
    }

    fn config(&self) -> ProjectConfig {
        ProjectConfig::new(self.directory.path(), name())
    }

    async fn define(&self, definitions: &str) {
        let file = AuthoredFile {
            path: "features/all.toml".into(),
            bytes: definitions.as_bytes().to_vec(),
        };
        let head = self.registry.head(&name()).await.unwrap();
        let plan = plan(head.as_ref(), Authored::parse(&self.config(), &[file]).unwrap()).unwrap();
        apply(&*self.registry, &plan, true, Timestamp::EPOCH)
            .await
            .unwrap();
    }

    async fn version(&self) -> Version {
        self.registry.head(&name()).await.unwrap().unwrap()
    }

    /// Another process.
    async fn serve(&self) -> Serving {
        let (engine, store) = (self.engine.clone(), Arc::clone(&self.store));
        let parts = ServeParts {
            config: self.config(),
            intake: Intake::new(engine, store.clone(), name(), IntakeLimits::default()),
            store,
            registry: Arc::clone(&self.registry),
            jobs: Arc::new(Starter),
            wall: self.clock.clone(),
            clock: self.clock.clone(),
            brokers: Some(Arc::new(TwinBrokers(Arc::clone(&self.twin)))),
            backups: None,
            limits: Limits::default(),
        };
        let listening = Listening::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listening.address();
        let (stop, stopped) = oneshot::channel();
        let ended = tokio::spawn(async move {
            serve(parts, listening, async { drop(stopped.await) })
                .await
                .unwrap()
        });
        Serving {
            address,
            stop: Some(stop),
            ended,
        }
    }

    fn failing(&self, of_1000: u64) {
        self.twin.failing.store(of_1000, Ordering::SeqCst);
        self.store.around.failing.store(of_1000, Ordering::SeqCst);
    }

    async fn flush(&self) {
        let (engine, store) = (self.engine.clone(), Arc::clone(&self.store));
        let intake = Intake::new(engine, store, name(), IntakeLimits::default());
        let version = self.version().await;
        let source = SourceName::parse("payments").unwrap();
        let at = Timestamp::from_micros(NOW);
        intake.flush(&version.definitions, &[source], at).await.unwrap();
    }

    /// The amounts in the table of payments, in their order.
    async fn amounts(&self) -> Vec<f64> {
        let mut amounts = Vec::new();
        self.scan("last", |features| {
            amounts.extend(features[0].as_primitive::<Float64Type>().values());
        })
        .await;
        amounts
    }

    /// The dead letters: position, row and reason.
    async fn dead_letters(&self) -> Vec<(i64, Option<i64>, String)> {
        let mut letters = Vec::new();
        self.scan("dead", |features| {
            let (positions, rows) = (
                features[0].as_primitive::<Int64Type>(),
                features[1].as_primitive::<Int64Type>(),
            );
            let reasons = features[2].as_string::<i32>().iter();
            let rest = positions.iter().zip(rows).zip(reasons);
            letters.extend(
                rest.map(|((position, row), reason)| (position.unwrap(), row, reason.unwrap().to_owned())),
            );
        })
        .await;
        letters.sort();
        letters
    }

    async fn scan(&self, view: &str, mut each: impl FnMut(&[arrow_array::ArrayRef])) {
        let bound = self.version().await.definitions.bound_view(view).unwrap();
        let snapshot = Arc::new(self.engine.snapshot(&bound).await.unwrap());
        let reader = Arc::new(RowReader::bind(&bound, &snapshot).unwrap());
        let mut scan = Scan::start(&self.engine, &snapshot, &reader, 0..snapshot.files.len());
        while let Some(rows) = scan.next().await.unwrap() {
            each(&rows.features);
        }
    }
}

impl Serving {
    async fn streams(&self) -> Vec<v1::StreamStatus> {
        let endpoint = tonic::transport::Channel::from_shared(format!("http://{}", self.address)).unwrap();
        let channel = endpoint.connect().await.unwrap();
        let mut client = v1::job_service_client::JobServiceClient::new(channel);
        let status = client.get_status(v1::GetStatusRequest {}).await.unwrap();
        status.into_inner().streams
    }

    /// Waits until so many messages were read, and more would be.
    async fn has_read(&self, messages: u64) -> v1::StreamStatus {
        for _ in 0..2_000 {
            let stream = self.streams().await.remove(0);
            let read: u64 = stream.lanes.iter().map(|lane| lane.messages).sum();
            assert!(read <= messages, "{read} of {messages}");
            if read == messages && stream.reading == Some(true) {
                return stream;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{messages} messages were not read: {:?}", self.streams().await);
    }

    /// Per card what a column of the view of windows has.
    async fn spent(&self, feature: &str) -> Vec<f64> {
        let cards: Vec<i64> = (0..CARDS).collect();
        let body = format!(r#"{{"features": ["spent:{feature}"], "keys": {{"card": {cards:?}}}}}"#);
        let (code, answer) = http_to(self.address, "POST", "/v1/get-features", &body).await;
        assert_eq!(code, 200, "{answer}");
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        let values = answer["columns"][0]["values"].as_array().unwrap().iter();
        values.map(|value| value.as_f64().unwrap_or(0.0)).collect()
    }

    async fn stop(mut self) {
        drop(self.stop.take());
        self.ended.await.unwrap();
    }

    /// Ends without a word, wherever it is.
    async fn crash(self) {
        self.ended.abort();
        let _ = self.ended.await;
    }
}

/// A payment of its own amount: its second and its card follow from that.
fn payment(number: u64) -> String {
    let at = Timestamp::from_micros(NOW - 3_600_000_000 + (number as i64 % 3_000) * 1_000_000);
    let card = number as i64 % CARDS;
    format!(r#"{{"card": {card}, "at": "{at}", "amount": {number}.0}}"#)
}

/// What nobody can take in, and what is said of it.
fn poison(kind: u64) -> (Option<String>, &'static str) {
    let good = payment(1);
    let (payload, reason) = match kind % 6 {
        0 => return (None, "has no payload"),
        1 => (String::new(), "holds no row"),
        2 => ("{\"card\": ".into(), "is not one JSON object: "),
        3 => (
            good.replace("card", "cart"),
            "has no \"card\": write null where there is nothing",
        ),
        4 => (
            good.replace("1.0", "\"much\""),
            "column \"amount\" is text, expected float64",
        ),
        _ => (good.replace("2025", "2027"), "column \"at\" is "),
    };
    (Some(payload), reason)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_fails_each_message_counts_once() {
    for seed in seeds(12) {
        let world = World::new(DEFINITIONS, seed).await;
        let mut random = Random::new(seed);
        let lanes = 1 + random.next() % 3;
        let (mut good, mut dead) = (BTreeSet::from([0]), Vec::new());
        let mut published = 1;
        world.twin.publish("twin/0", 0, Some(&payment(0)));
        world.failing(60);
        for round in 0..4 {
            for lane in 0..lanes {
                for _ in 0..random.next() % 120 {
                    // There are gaps, and lanes share positions.
                    let position = published * 2 + random.next() % 2;
                    let lane = format!("twin/{lane}");
                    if random.next().is_multiple_of(7) {
                        let (payload, reason) = poison(random.next());
                        world.twin.publish(&lane, position, payload.as_deref());
                        dead.push((position as i64, reason));
                    } else {
                        world.twin.publish(&lane, position, Some(&payment(published)));
                        good.insert(published);
                    }
                    published += 1;
                }
            }
            let serving = world.serve().await;
            tokio::time::sleep(Duration::from_millis(30 + random.next() % 200)).await;
            // Of the servers that end one is told so.
            match round {
                2 => serving.stop().await,
                _ => serving.crash().await,
            }
        }
        world.failing(0);
        let serving = world.serve().await;
        let status = serving.has_read(published).await;
        let counted: u64 = status.lanes.iter().map(|lane| lane.dead_letters).sum();
        assert_eq!(counted, dead.len() as u64, "seed {seed}");
        assert_eq!(status.problem, "");
        let mut expected = vec![(0.0, 0.0); CARDS as usize];
        for number in &good {
            let (count, sum) = &mut expected[*number as usize % CARDS as usize];
            *count += 1.0;
            *sum += *number as f64;
        }
        let served = serving
            .spent("count_1d")
            .await
            .into_iter()
            .zip(serving.spent("amount_sum_1d").await);
        assert_eq!(served.collect::<Vec<_>>(), expected, "seed {seed}");
        serving.stop().await;
        world.flush().await;
        let mut amounts = world.amounts().await;
        amounts.sort_by(f64::total_cmp);
        let expected: Vec<f64> = good.iter().map(|number| *number as f64).collect();
        assert_eq!(amounts, expected, "seed {seed}");
        let letters = world.dead_letters().await;
        dead.sort();
        assert_eq!(letters.len(), dead.len(), "seed {seed}");
        for ((position, _, told), (at, reason)) in letters.iter().zip(&dead) {
            assert_eq!(position, at, "seed {seed}");
            assert!(told.starts_with(reason), "{told} {reason}");
        }
    }
}
