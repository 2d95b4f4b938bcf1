//! A server with a store, a registry and a clock that tests hold in their hands.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arrow_array::{ArrayRef, Float64Array, Int64Array};
use asof_core::cancel::Cancellation;
use asof_core::definition::BoundView;
use asof_core::key::{EntityKey, KeyValue, encode};
use asof_core::name::ProjectName;
use asof_core::online::memory::MemoryStore;
use asof_core::online::{GenerationState, OnlineRow, OnlineStore, StoreError, ViewAddress, row_schema};
use asof_core::order::RowOrder;
use asof_core::registry::{RegistryStore, Run, RunKind, RunState};
use asof_core::row::{RowEncoder, RowSchema};
use asof_core::time::{Clock, Timestamp};
use asof_offline::{Engine, EngineOptions};
use asof_proto::v1;
use asof_proto::v1::online_service_client::OnlineServiceClient;
use asof_registry::{MemoryRegistry, ProjectConfig};
use asof_server::error::JobError;
use asof_server::intake::{Intake, IntakeLimits};
use asof_server::jobs::{Jobs, Materialization, ViewRun};
use asof_server::materialize::RolledBack;
use asof_server::{Drained, Limits, Listening, ServeParts, serve};
use tokio::sync::oneshot;
use tonic::transport::Channel;

use crate::wrapped_store::{Around, Wrapped};

pub(crate) const DEFINITIONS: &str = r#"
[[entity]]
name = "airport"
keys = { origin = "string" }

[[entity]]
name = "leg"
keys = { tail = "string", number = "int64" }

[[source]]
name = "weather"
path = "weather.parquet"
event_time = "t"
created_time = "c"

[[source]]
name = "legs"
path = "legs.parquet"
event_time = "t"

[[view]]
name = "fleeting"
entity = "airport"
source = "weather"
ttl = "10us"
owner = "ops@example.com"
[view.features]
temp = "float64"
code = "int64"

[[view]]
name = "lasting"
entity = "airport"
source = "weather"
[view.features]
temp = "float64"
code = "int64"

[[view]]
name = "leg_facts"
entity = "leg"
source = "legs"
[view.features]
temp = "float64"
code = "int64"

[[service]]
name = "model_v1"
features = [
  "fleeting:*", "lasting:code",
  { view = "lasting", features = ["code"], keys = { origin = "dest" }, prefix = "dest" },
]

[[service]]
name = "legs_v1"
features = ["leg_facts:code"]
"#;

/// A clock that stands where a test puts it.
#[derive(Debug, Default)]
pub(crate) struct HandClock(AtomicI64);

impl HandClock {
    pub(crate) fn set(&self, micros: i64) {
        self.0.store(micros, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

/// The memory store, counting reads, and damaged or slow for keys that say so.
pub(crate) type Store = Wrapped<MemoryStore, Reads>;

/// The reads of a store.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    /// How many keys were looked at.
    pub(crate) count: AtomicU64,
    /// Whether a count of rows waits until nobody waits for it.
    pub(crate) counts_wait: AtomicBool,
    /// How many counts began.
    pub(crate) counts_begun: AtomicU64,
    /// How many counts that waited were cancelled.
    pub(crate) counts_cancelled: AtomicU64,
}

impl Around for Reads {
    fn before_survey(&self, _: usize, cancellation: &Cancellation) {
        self.counts_begun.fetch_add(1, Ordering::SeqCst);
        let end = Instant::now() + Duration::from_secs(60);
        while self.counts_wait.load(Ordering::SeqCst) && Instant::now() < end {
            if cancellation.is_cancelled() {
                self.counts_cancelled.fetch_add(1, Ordering::SeqCst);
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn before_read(&self, key: &EntityKey) -> Result<(), StoreError> {
        self.count.fetch_add(1, Ordering::SeqCst);
        if *key == text_key("damaged") {
            return Err(StoreError::Damaged {
                place: "000017.sst".into(),
                reason: "block checksum mismatch".into(),
            });
        }
        if *key == text_key("slow") {
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

/// Says that it has started what it was asked for.
pub(crate) struct Starter;

#[tonic::async_trait]
impl Jobs for Starter {
    async fn roll_back(&self, run: u64) -> Result<RolledBack, JobError> {
        Err(JobError::Unknown(format!("there is no run {run}")))
    }

    async fn materialize(&self, what: Materialization) -> Result<Vec<ViewRun>, JobError> {
        if what.views.iter().any(|view| view == "busy") {
            return Err(JobError::Busy(
                "view \"busy\" is being materialized by process 7".into(),
            ));
        }
        let run = |(at, view): (usize, &String)| Run {
            id: at as u64 + 1,
            kind: RunKind::Materialize,
            subject: view.clone(),
            started_at: Timestamp::EPOCH,
            finished_at: None,
            pid: 7,
            state: RunState::Running,
            as_of: what.as_of,
            rows_read: 0,
            rows_written: 0,
            rows_skipped: 0,
        };
        let runs = what.views.iter().enumerate().map(run);
        Ok(runs.map(|run| ViewRun { run, ended: None }).collect())
    }

    fn code_of(&self, _: u64) -> Option<tonic::Code> {
        None
    }
}

/// One row of a view with the features `temp` and `code`.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) key: EntityKey,
    pub(crate) order: RowOrder,
    pub(crate) deleted: bool,
    pub(crate) temp: Option<f64>,
    pub(crate) code: Option<i64>,
}

pub(crate) fn text_key(text: &str) -> EntityKey {
    encode(&[Some(KeyValue::String(text.into()))]).unwrap()
}

pub(crate) fn row(key: &str, event: i64, code: i64) -> Row {
    Row {
        key: text_key(key),
        order: RowOrder {
            event_time: Timestamp::from_micros(event),
            created_time: Timestamp::from_micros(event),
            seq: 0,
        },
        deleted: false,
        temp: Some(0.5),
        code: Some(code),
    }
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) store: Arc<Store>,
    pub(crate) registry: MemoryRegistry,
    pub(crate) clock: Arc<HandClock>,
    stop: Option<oneshot::Sender<()>>,
    ended: tokio::task::JoinHandle<Drained>,
    /// Where managed tables are, and files of sources.
    pub(crate) tables: tempfile::TempDir,
}

pub(crate) fn project() -> ProjectName {
    ProjectName::parse("flights").unwrap()
}

pub(crate) fn files(text: &str) -> Vec<v1::DefinitionFile> {
    vec![v1::DefinitionFile {
        path: "features/all.toml".into(),
        content: text.as_bytes().to_vec(),
    }]
}

impl Server {
    /// A server without definitions.
    pub(crate) async fn empty(limits: Limits) -> Self {
        let (store, clock, registry) = (
            Arc::new(Store::default()),
            Arc::new(HandClock::default()),
            MemoryRegistry::new(),
        );
        let tables = tempfile::tempdir().unwrap();
        let engine = Engine::open(
            tables.path(),
            std::path::Path::new("tables"),
            &[],
            EngineOptions::default(),
        );
        let parts = ServeParts {
            config: ProjectConfig::new(tables.path(), project()),
            intake: Intake::new(engine.unwrap(), store.clone(), project(), IntakeLimits::default()),
            store: store.clone(),
            registry: Arc::new(registry.clone()),
            jobs: Arc::new(Starter),
            wall: clock.clone(),
            clock: clock.clone(),
            brokers: None,
            backups: None,
            limits,
        };
        let listening = Listening::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listening.address();
        let (stop, stopped) = oneshot::channel();
        let ended = tokio::spawn(async move {
            serve(parts, listening, async { drop(stopped.await) })
                .await
                .unwrap()
        });
        Self {
            address,
            store,
            registry,
            clock,
            stop: Some(stop),
            ended,
            tables,
        }
    }

    /// A server with [`DEFINITIONS`], and nothing stored.
    pub(crate) async fn start() -> Self {
        let server = Self::empty(Limits::default()).await;
        server.apply(DEFINITIONS, 0).await;
        server
    }

    pub(crate) async fn apply(&self, text: &str, expected_version: u64) {
        let request = v1::ApplyRequest {
            files: files(text),
            expected_version,
            allow_breaking: true,
        };
        let channel = self.channel().await;
        let mut client = v1::registry_service_client::RegistryServiceClient::new(channel);
        client.apply(request).await.unwrap();
    }

    pub(crate) async fn channel(&self) -> Channel {
        let endpoint = Channel::from_shared(format!("http://{}", self.address)).unwrap();
        endpoint.connect().await.unwrap()
    }

    pub(crate) async fn online(&self) -> OnlineServiceClient<Channel> {
        OnlineServiceClient::new(self.channel().await)
    }

    pub(crate) async fn bound(&self, view: &str) -> BoundView {
        let version = self.registry.head(&project()).await.unwrap().unwrap();
        version.definitions.bound_view(view).unwrap()
    }

    /// Builds a generation of `view` as of `as_of` and, where `serve`, lets it serve.
    pub(crate) async fn load(&self, view: &str, as_of: i64, rows: &[Row], serve: bool) {
        let bound = self.bound(view).await;
        let slot = self
            .store
            .open_view(&ViewAddress::of(&project(), &bound))
            .unwrap();
        let schema = row_schema(&bound);
        let generation = self
            .store
            .begin_generation(slot, bound.stored_shape(), schema.clone())
            .unwrap();
        let state = GenerationState {
            as_of: Some(Timestamp::from_micros(as_of)),
            ..GenerationState::begun(generation, bound.stored_shape(), schema.clone())
        };
        let rows = stored(&schema, rows);
        let now = Timestamp::from_micros(as_of);
        self.store
            .write(slot, generation, now, &rows, Some(&state))
            .unwrap();
        if serve {
            self.store.serve(slot, generation).unwrap();
        }
    }

    /// Asks the server to stop, and waits until it has.
    pub(crate) async fn stop(mut self) -> Drained {
        drop(self.stop.take());
        self.ended.await.unwrap()
    }
}

fn stored(schema: &RowSchema, rows: &[Row]) -> Vec<OnlineRow> {
    let arrays: Vec<ArrayRef> = schema
        .fields
        .iter()
        .map(|field| -> ArrayRef {
            match field.name.as_str() {
                "temp" => Arc::new(rows.iter().map(|row| row.temp).collect::<Float64Array>()),
                _ => Arc::new(rows.iter().map(|row| row.code).collect::<Int64Array>()),
            }
        })
        .collect();
    let encoder = RowEncoder::try_new(schema, 0, &arrays).unwrap();
    let encode = |(at, row): (usize, &Row)| {
        let mut bytes = Vec::new();
        encoder.encode(at, row.order, row.deleted, &mut bytes);
        OnlineRow {
            key: row.key.clone(),
            order: row.order,
            bytes,
        }
    };
    rows.iter().enumerate().map(encode).collect()
}

/// A column of text, where `None` is null.
pub(crate) fn text_column(name: &str, values: &[Option<&str>]) -> v1::Column {
    let array: ArrayRef = Arc::new(values.iter().copied().collect::<arrow_array::StringArray>());
    column(name, "string", &array)
}

pub(crate) fn column(name: &str, data_type: &str, array: &ArrayRef) -> v1::Column {
    let data_type = asof_core::data_type::DataType::parse(data_type).unwrap();
    v1::Column {
        name: name.into(),
        values: Some(asof_proto::convert::to_proto(&data_type, array).unwrap()),
    }
}

pub(crate) fn of_features(features: &[&str], keys: Vec<v1::Column>) -> v1::GetFeaturesRequest {
    v1::GetFeaturesRequest {
        service: String::new(),
        features: features.iter().map(ToString::to_string).collect(),
        keys,
        request: Vec::new(),
    }
}

pub(crate) fn of_service(service: &str, keys: Vec<v1::Column>) -> v1::GetFeaturesRequest {
    v1::GetFeaturesRequest {
        service: service.into(),
        features: Vec::new(),
        keys,
        request: Vec::new(),
    }
}

/// The numbers of a feature's statuses.
pub(crate) fn codes(feature: &asof_proto::convert::Feature) -> Vec<u8> {
    feature.statuses.iter().map(|status| status.code()).collect()
}
