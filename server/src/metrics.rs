//! What Prometheus reads at `/metrics`.

mod process;
mod streams;

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use asof_core::online::{OnlineStore, ViewState};
use asof_core::registry::Version;
use asof_core::status::Status;
use asof_core::time::Timestamp;
use asof_registry::ProjectConfig;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tonic::Code;

use streams::StreamMetrics;

use crate::deadline::is_over;
use crate::features::Answer;
use crate::materialize::NEVER;
use crate::places::{disks, last_backup, lost_writes};
use crate::process::usage;
use crate::status::reached;

/// Those of the stages of a read, in seconds: from 10 µs to about 0.3 s by factors of two.
const STAGE_BUCKETS: [f64; 16] = [
    0.00001, 0.00002, 0.00004, 0.00008, 0.00016, 0.00032, 0.00064, 0.00128, 0.00256, 0.00512, 0.01024,
    0.02048, 0.04096, 0.08192, 0.16384, 0.32768,
];

/// Upper bounds of the latency histogram, in seconds: from 100 µs to about 3 s by factors of two.
const BUCKETS: [f64; 16] = [
    0.0001, 0.0002, 0.0004, 0.0008, 0.0016, 0.0032, 0.0064, 0.0128, 0.0256, 0.0512, 0.1024, 0.2048, 0.4096,
    0.8192, 1.6384, 3.2768,
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    method: &'static str,
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Method {
    method: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ViewStatus {
    view: String,
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct View {
    view: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Computed {
    view: String,
    feature: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Stage {
    stage: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Holds {
    holds: String,
}

type Seconds = Gauge<f64, AtomicU64>;

/// The server's metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<Call, Counter>,
    durations: Family<Method, Histogram>,
    values: Family<ViewStatus, Counter>,
    failures: Family<Computed, Counter>,
    lags: Family<View, Seconds>,
    materialized: Family<View, Seconds>,
    version: Gauge<i64>,
    connections: Gauge<i64>,
    stages: Stages,
    calls_running: Gauge<i64>,
    calls_shed: Counter,
    executor_delay: Seconds,
    disk_free: Family<Holds, Gauge>,
    last_backup: Seconds,
    lost_writes: Gauge,
    store_up: Gauge,
    streams: StreamMetrics,
}

/// How long the parts of a read take.
#[derive(Debug)]
pub(crate) struct Stages {
    /// From the message to keys.
    decode: Histogram,
    /// From keys to values.
    read: Histogram,
    /// From values to the answer.
    encode: Histogram,
}

impl Stages {
    fn register(registry: &mut Registry) -> Self {
        let stages = Family::<Stage, Histogram>::new_with_constructor(|| Histogram::new(STAGE_BUCKETS));
        registry.register(
            "read_stage_duration_seconds",
            "Time of the parts of reading features",
            stages.clone(),
        );
        let of = |stage| stages.get_or_create_owned(&Stage { stage });
        Self {
            decode: of("decode"),
            read: of("read"),
            encode: of("encode"),
        }
    }

    /// Notes a read that ends now, of which it is known when it was decoded and when it was read.
    pub(crate) fn observe(&self, started: Instant, decoded: Instant, read: Instant) {
        self.decode.observe((decoded - started).as_secs_f64());
        self.read.observe((read - decoded).as_secs_f64());
        self.encode.observe(read.elapsed().as_secs_f64());
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("asof");
        let requests = Family::<Call, Counter>::default();
        registry.register("requests", "Requests by method and gRPC code", requests.clone());
        let durations = Family::<Method, Histogram>::new_with_constructor(|| Histogram::new(BUCKETS));
        registry.register(
            "request_duration_seconds",
            "Time to answer requests",
            durations.clone(),
        );
        let values = Family::<ViewStatus, Counter>::default();
        registry.register(
            "feature_values",
            "Feature values served, by view and status",
            values.clone(),
        );
        let failures = Family::<Computed, Counter>::default();
        registry.register(
            "expression_failures",
            "Values of on-demand features that are null because something could not be computed",
            failures.clone(),
        );
        let lags = Family::<View, Seconds>::default();
        registry.register(
            "view_lag_seconds",
            "The server's clock less the instant to which the view is materialized",
            lags.clone(),
        );
        let materialized = Family::<View, Seconds>::default();
        registry.register(
            "view_materialized_timestamp_seconds",
            "The instant to which the view is materialized, since the Unix epoch",
            materialized.clone(),
        );
        let version = Gauge::default();
        registry.register(
            "registry_version",
            "The registry version in force",
            version.clone(),
        );
        let connections = Gauge::default();
        registry.register("connections", "Open connections", connections.clone());
        let stages = Stages::register(&mut registry);
        let calls_running = Gauge::default();
        registry.register(
            "calls_running",
            "Calls that are worked on, at the limit of which others wait",
            calls_running.clone(),
        );
        let calls_shed = Counter::default();
        registry.register(
            "calls_shed",
            "Calls that were refused because they would have waited for long",
            calls_shed.clone(),
        );
        let executor_delay = Seconds::default();
        registry.register(
            "executor_delay_seconds",
            "How long tasks waited for their turn lately, at the least",
            executor_delay.clone(),
        );
        let disk_free = Family::<Holds, Gauge>::default();
        registry.register(
            "disk_free_bytes",
            "What is free on the file system of what the project keeps",
            disk_free.clone(),
        );
        let last_backup = Seconds::default();
        registry.register(
            "last_backup_timestamp_seconds",
            "When the last backup was taken, since the Unix epoch; 0 where none is known of",
            last_backup.clone(),
        );
        let lost_writes = Gauge::default();
        registry.register(
            "online_lost_writes",
            "1 where the online store has lost writes that it had acknowledged, until that is accepted",
            lost_writes.clone(),
        );
        let store_up = Gauge::default();
        registry.register(
            "online_store_up",
            "1 where the online store answers",
            store_up.clone(),
        );
        let streams = StreamMetrics::register(&mut registry);
        Self {
            registry,
            requests,
            durations,
            values,
            failures,
            lags,
            materialized,
            version,
            connections,
            stages,
            calls_running,
            calls_shed,
            executor_delay,
            disk_free,
            last_backup,
            lost_writes,
            store_up,
            streams,
        }
    }

    /// Those of the parts of a read.
    pub(crate) fn stages(&self) -> &Stages {
        &self.stages
    }

    /// The counter of calls that were refused because there was too much to do.
    pub(crate) fn calls_shed(&self) -> Counter {
        self.calls_shed.clone()
    }

    /// How much there is to do.
    pub(crate) fn load(&self, running: usize, delay: Duration) {
        self.calls_running.set(i64::try_from(running).unwrap_or(i64::MAX));
        self.executor_delay.set(delay.as_secs_f64());
    }

    /// Those of streams.
    pub(crate) fn streams(&self) -> &StreamMetrics {
        &self.streams
    }

    /// Counts a call from now on until it is told how it ended, or dropped.
    pub(crate) fn start(&self, method: &'static str) -> Timing<'_> {
        Timing {
            metrics: self,
            method,
            started: Instant::now(),
            code: Code::Cancelled,
        }
    }

    /// Counts an open connection until dropped.
    pub(crate) fn connection(&self) -> OpenConnection {
        self.connections.inc();
        OpenConnection(self.connections.clone())
    }

    /// Counts the values of an answer.
    pub(crate) fn answered(&self, answer: &Answer) {
        let prepared = &answer.prepared;
        let counters = prepared.counters(|view| ValueCounters::of(&self.values, view));
        let mut counts = vec![[0; STATUSES]; counters.len()];
        for (at, column) in prepared.plan.columns.iter().enumerate() {
            let Some(counts) = counts.get_mut(column.group) else {
                continue;
            };
            for code in answer.packed.codes_of(at) {
                if let Some(count) = counts.get_mut(usize::from(*code)) {
                    *count += 1;
                }
            }
        }
        for (counters, counts) in counters.iter().zip(counts) {
            counters.add(counts);
        }
        for (computed, failed) in prepared.plan.computed.iter().zip(&answer.failed) {
            if *failed > 0 {
                let of = Computed {
                    view: computed.on_demand.to_string(),
                    feature: computed.feature.name.to_string(),
                };
                self.failures.get_or_create(&of).inc_by(*failed);
            }
        }
    }

    /// Notes the room on the disks, the last backup, and whether anything was lost.
    fn look_at_places(&self, config: &ProjectConfig) {
        for disk in disks(config) {
            for holds in disk.holds {
                let free = i64::try_from(disk.free_bytes).unwrap_or(i64::MAX);
                self.disk_free.get_or_create(&Holds { holds }).set(free);
            }
        }
        let backup = last_backup(config).map_or(0, |backup| backup.taken_at_micros);
        self.last_backup.set(seconds(backup));
        self.lost_writes.set(i64::from(lost_writes(config).is_some()));
    }

    /// The metrics as Prometheus reads them, those of the views and of the disks taken now.
    /// Where the online store does not answer, that is said, and nothing of its views.
    ///
    /// # Errors
    ///
    /// The text cannot be made.
    pub fn render<S: OnlineStore + ?Sized>(
        &self,
        store: &S,
        config: &ProjectConfig,
        version: &Version,
        now: Timestamp,
    ) -> Result<String, fmt::Error> {
        self.look_at_places(config);
        self.version
            .set(i64::try_from(version.number).unwrap_or(i64::MAX));
        self.lags.clear();
        self.materialized.clear();
        let views = reached(store);
        self.store_up.set(i64::from(views.is_ok()));
        for (address, _, state) in views.unwrap_or_default() {
            let defined = version.definitions.views.contains_key(&address.view);
            if let (Some(as_of), true) = (materialized_to(&state), defined) {
                let view = View {
                    view: address.view.to_string(),
                };
                self.lags
                    .get_or_create(&view)
                    .set(seconds(now.micros()) - seconds(as_of.micros()));
                self.materialized
                    .get_or_create(&view)
                    .set(seconds(as_of.micros()));
            }
        }
        let mut of_store = Registry::with_prefix("asof");
        for metric in store.metrics() {
            match metric.is_counter {
                true => of_store.register(metric.name, metric.help, ConstCounter::new(metric.value)),
                false => of_store.register(metric.name, metric.help, ConstGauge::new(metric.value)),
            }
        }
        let mut text = String::new();
        encode_registry(&mut text, &self.registry)?;
        encode_registry(&mut text, &of_store)?;
        if let Some(usage) = usage() {
            encode_registry(&mut text, &process::register(usage))?;
        }
        encode_eof(&mut text)?;
        Ok(text)
    }
}

/// The counters of the values of one view, by status.
#[derive(Debug)]
pub(crate) struct ValueCounters(Vec<(Status, Counter)>);

impl ValueCounters {
    fn of(values: &Family<ViewStatus, Counter>, view: &str) -> Self {
        let counter = |status: Status| {
            let labels = ViewStatus {
                view: view.to_owned(),
                status: status.as_str(),
            };
            (status, values.get_or_create(&labels).clone())
        };
        Self(Status::ALL.map(counter).into())
    }

    /// Adds how many values have each status, by its number.
    fn add(&self, counts: [u64; STATUSES]) {
        for (status, counter) in &self.0 {
            let count = counts.get(usize::from(status.code())).copied();
            if let Some(count) = count.filter(|count| *count > 0) {
                counter.inc_by(count);
            }
        }
    }
}

/// One more than the greatest number of a status.
const STATUSES: usize = Status::ALL.len() + 1;

/// The instant up to which what is served is complete; nothing where rows were pushed only.
pub(crate) fn materialized_to(state: &ViewState) -> Option<Timestamp> {
    let as_of = state.serving.as_ref().and_then(|serving| serving.as_of);
    as_of.filter(|as_of| *as_of != NEVER)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a gauge of seconds needs no microseconds"
)]
fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}

/// One call that is being answered; counted as DEADLINE_EXCEEDED where it is dropped because its time was over, and as
/// CANCELLED where it is dropped otherwise before it ended.
pub(crate) struct Timing<'a> {
    metrics: &'a Metrics,
    method: &'static str,
    started: Instant,
    code: Code,
}

impl Timing<'_> {
    pub(crate) fn ended(mut self, code: Code) {
        self.code = code;
    }
}

impl Drop for Timing<'_> {
    fn drop(&mut self) {
        let elapsed: Duration = self.started.elapsed();
        let call = Call {
            method: self.method,
            code: code_name(match self.code {
                Code::Cancelled if is_over() => Code::DeadlineExceeded,
                code => code,
            }),
        };
        self.metrics.requests.get_or_create(&call).inc();
        let method = Method { method: self.method };
        self.metrics
            .durations
            .get_or_create(&method)
            .observe(elapsed.as_secs_f64());
    }
}

/// See [`Metrics::connection`].
pub(crate) struct OpenConnection(Gauge<i64>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The name of a gRPC code, as its specification spells it.
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
