//! A project in a directory of its own, with a source of files and a managed table, beside a model that
//! knows every row that was accepted.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use asof_core::definition::Definitions;
use asof_core::key::KeyValue;
use asof_core::name::ProjectName;
use asof_core::online::OnlineStore;
use asof_core::order::file_seq;
use asof_core::reference::{HistoryRow, Rules, as_of};
use asof_core::registry::{RegistryStore, Run};
use asof_core::status::{Status, Verdict};
use asof_core::time::Timestamp;
use asof_offline::{CompactRequest, Engine, EngineOptions, IngestRequest, PushInput};
use asof_registry::{Authored, AuthoredFile, MemoryRegistry, ProjectConfig, apply, plan};
use asof_server::error::ServerError;
use asof_server::features::keys::{Given, Keys};
use asof_server::features::{Answer, FeatureReader, Selection};
use asof_server::intake::{Intake, IntakeLimits, Push, PushAnswer};
use asof_server::materialize::{Limits, MaterializeError, Materialized, Materializer, Request};
use asof_server::registry_watch::RegistryWatch;
use parquet::arrow::ArrowWriter;

use crate::harness::HandClock;

pub(crate) type Values = (Option<f64>, Option<i64>, Option<String>);
pub(crate) type Key = (Option<String>, Option<i64>);

/// A row as a file has it.
#[derive(Debug, Clone)]
pub(crate) struct FileRow {
    pub(crate) key: Key,
    pub(crate) event: Option<i64>,
    pub(crate) created: Option<i64>,
    pub(crate) deleted: bool,
    pub(crate) values: Values,
}

/// What is asked of one view at one key: the values with their statuses, and the winner's event time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Told {
    pub(crate) statuses: [Status; 3],
    pub(crate) values: Values,
    pub(crate) event_time: Option<i64>,
}

/// Chunks of some batches of three rows, of which those with rows of several keys are loaded.
pub(crate) const LIMITS: Limits = Limits {
    chunk_bytes: 600,
    load_rows: 3,
};

pub(crate) const VIEWS: [&str; 2] = ["of_files", "of_table"];

/// The definitions, with further lines for the features of both views.
pub(crate) fn definitions(ttls: [Option<i64>; 2], features: &str) -> String {
    let ttl = |ttl: Option<i64>| ttl.map_or(String::new(), |ttl| format!("ttl = \"{ttl}us\""));
    let [of_files, of_table] = ttls.map(ttl);
    format!(
        r#"
[[entity]]
name = "leg"
keys = {{ tail = "string", number = "int64" }}

[[source]]
name = "files"
path = "data"
event_time = "event"
created_time = "created"
deleted = "gone"

[[source]]
name = "table"
schema = {{ tail = "string", number = "int64", event = "timestamp", created = "timestamp", gone = "bool", x = "float64", n = "int64", s = "string" }}
event_time = "event"
created_time = "created"
deleted = "gone"

[[view]]
name = "of_files"
entity = "leg"
source = "files"
{of_files}
[view.features]
{features}

[[view]]
name = "of_table"
entity = "leg"
source = "table"
{of_table}
[view.features]
{features}
"#
    )
}

/// The three features.
pub(crate) const ALL: &str = "x = \"float64\"\nn = \"int64\"\ns = \"string\"\n";

pub(crate) struct Project<S> {
    pub(crate) name: ProjectName,
    pub(crate) directory: tempfile::TempDir,
    pub(crate) engine: Engine,
    pub(crate) store: Arc<S>,
    pub(crate) registry: Arc<MemoryRegistry>,
    pub(crate) clock: Arc<HandClock>,
    pub(crate) intake: Intake<S>,
    pub(crate) materializer: Materializer<S, MemoryRegistry>,
    pub(crate) definitions: Arc<Definitions>,
    pub(crate) ttls: [Option<i64>; 2],
    /// The files of the first source, by name.
    pub(crate) files: BTreeMap<String, Vec<FileRow>>,
    /// The rows of the second, as they were accepted.
    pub(crate) table: Vec<FileRow>,
}

impl<S: OnlineStore + 'static> Project<S> {
    pub(crate) async fn new(name: &str, store: Arc<S>, ttls: [Option<i64>; 2]) -> Self {
        let name = ProjectName::parse(name).unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("data")).unwrap();
        let options = EngineOptions {
            readers: 2,
            batch_size: 3,
            ..EngineOptions::default()
        };
        let engine = Engine::open(directory.path(), &PathBuf::from("tables"), &[], options).unwrap();
        let (registry, clock) = (Arc::new(MemoryRegistry::new()), Arc::new(HandClock::default()));
        let limits = IntakeLimits::default();
        let intake = Intake::new(engine.clone(), store.clone(), name.clone(), limits);
        let materializer = Materializer::with_limits(intake.clone(), registry.clone(), clock.clone(), LIMITS);
        let mut project = Self {
            definitions: Arc::new(Definitions::empty(name.clone())),
            name,
            directory,
            engine,
            store,
            registry,
            clock,
            intake,
            materializer,
            ttls,
            files: BTreeMap::new(),
            table: Vec::new(),
        };
        project.define(&definitions(ttls, ALL)).await;
        project
    }

    /// The same sources and definitions over another store.
    pub(crate) fn over<T: OnlineStore + 'static>(&self, store: Arc<T>) -> Materializer<T, MemoryRegistry> {
        let limits = IntakeLimits::default();
        let intake = Intake::new(self.engine.clone(), store, self.name.clone(), limits);
        Materializer::with_limits(intake, self.registry.clone(), self.clock.clone(), LIMITS)
    }

    pub(crate) async fn define(&mut self, text: &str) {
        let config = ProjectConfig::new(self.directory.path(), self.name.clone());
        let file = AuthoredFile {
            path: "features/all.toml".into(),
            bytes: text.as_bytes().to_vec(),
        };
        let head = self.registry.head(&self.name).await.unwrap();
        let authored = Authored::parse(&config, &[file]).unwrap();
        let plan = plan(head.as_ref(), authored).unwrap();
        let version = apply(&*self.registry, &plan, true, Timestamp::EPOCH)
            .await
            .unwrap();
        self.definitions = version.definitions;
    }

    /// Puts a file into the first source, or another in its place.
    pub(crate) fn put_file(&mut self, name: &str, rows: &[FileRow]) {
        write_parquet(&self.directory.path().join("data").join(name), rows);
        self.files.insert(name.into(), rows.to_vec());
    }

    pub(crate) fn remove_file(&mut self, name: &str) {
        std::fs::remove_file(self.directory.path().join("data").join(name)).unwrap();
        self.files.remove(name);
    }

    /// Adds rows to the managed table.
    pub(crate) async fn ingest(&mut self, rows: &[FileRow]) {
        let file = self.directory.path().join("new.parquet");
        write_parquet(&file, rows);
        let id = format!("batch {}", self.table.len());
        let source = self
            .definitions
            .sources
            .iter()
            .find(|(name, _)| name.as_str() == "table");
        let request = IngestRequest {
            source: source.unwrap().1,
            files: &[file],
            id: Some(&id),
            at: Timestamp::EPOCH,
        };
        let done = self.engine.ingest(request).await.unwrap();
        assert_eq!((done.rows, done.repeated), (rows.len() as u64, false));
        self.table.extend_from_slice(rows);
    }

    /// Pushes rows to the managed table at an instant. Those without an event time are refused.
    pub(crate) async fn push(&mut self, rows: &[FileRow], at: i64) {
        let answer = push(&self.intake, &self.registry, &self.name, rows, at).await;
        let (kept, refused): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.event.is_some());
        assert_eq!(
            (answer.accepted, answer.rejected.len(), answer.repeated),
            (kept.len() as u64, refused.len(), false)
        );
        for rejected in answer.rejected {
            assert_eq!(rows[rejected.row].event, None);
            assert_eq!(
                rejected.reason,
                "column \"event\" is null: every row has an event time"
            );
        }
        self.table.extend(kept.into_iter().cloned());
    }

    /// Appends what was pushed to the managed table.
    pub(crate) async fn flush(&self, at: i64) {
        self.intake
            .flush(&self.definitions, &[], Timestamp::from_micros(at))
            .await
            .unwrap();
    }

    /// Rewrites the files of the managed table.
    pub(crate) async fn compact(&self) {
        let mut sources = self.definitions.sources.iter();
        let source = sources.find(|(name, _)| name.as_str() == "table");
        let request = CompactRequest {
            source: source.unwrap().1,
            keys: &[vec!["tail".into(), "number".into()]],
            file_bytes: 1 << 20,
            at: Timestamp::EPOCH,
        };
        let done = self.engine.compact(request).await.unwrap();
        assert_eq!(done.files_after, 1);
    }

    pub(crate) async fn run(
        &self,
        view: &str,
        at: i64,
        full: bool,
    ) -> Result<Materialized, MaterializeError> {
        run(&self.materializer, &self.definitions, view, at, full).await
    }

    pub(crate) async fn run_all(&self, at: i64) {
        for view in VIEWS {
            self.run(view, at, false).await.unwrap();
        }
    }

    /// The entries of the ledger, the newest first.
    pub(crate) async fn ledger(&self) -> Vec<Run> {
        self.registry.runs(&self.name, None, 1_000).await.unwrap()
    }

    /// What the contract says of a view, by the reference.
    pub(crate) fn expected(&self, view: &str, key: &Key, at: i64) -> Told {
        self.expected_of(view, key, at, |_| true)
    }

    /// The same of some of the rows, by their seqs.
    pub(crate) fn expected_of(&self, view: &str, key: &Key, at: i64, is_there: impl Fn(u64) -> bool) -> Told {
        let (mut history, ttl) = if view == VIEWS[0] {
            let files = self.files.values().enumerate();
            let rows = files.flat_map(|(file, rows)| {
                let numbered = rows.iter().enumerate();
                numbered.map(move |(at, row)| history(row, file_seq(file, at as u64).unwrap()))
            });
            (rows.collect::<Vec<_>>(), self.ttls[0])
        } else {
            let rows = self.table.iter().zip(1..);
            (rows.map(|(row, seq)| history(row, seq)).collect(), self.ttls[1])
        };
        history.retain(|row| is_there(row.seq));
        let rules = Rules {
            ttl: ttl.map(|ttl| asof_core::duration::Duration::parse(&format!("{ttl}us")).unwrap()),
            as_corrected: false,
        };
        let answer = as_of(&history, &key_values(key), Timestamp::from_micros(at), rules);
        let served = answer.winner.filter(|_| answer.verdict == Verdict::Fresh);
        let values = served.map_or((None, None, None), |row| row.values.clone());
        let status = |is_null: bool| answer.verdict.status(is_null);
        let timed = matches!(answer.verdict, Verdict::Fresh | Verdict::Expired);
        Told {
            statuses: [
                status(values.0.is_none()),
                status(values.1.is_none()),
                status(values.2.is_none()),
            ],
            values,
            event_time: answer
                .winner
                .filter(|_| timed)
                .and_then(|row| row.event_time)
                .map(Timestamp::micros),
        }
    }

    /// What a reader of `store` says of a view, at the given instant.
    pub(crate) async fn read_from<T: OnlineStore + 'static>(
        &self,
        store: &Arc<T>,
        view: &str,
        keys: &[Key],
        at: i64,
    ) -> Result<Vec<Told>, ServerError> {
        let answer = self.answer(store, &[&format!("{view}:*")], keys, at).await?;
        assert_eq!(answer.rows(), keys.len());
        Ok((0..keys.len()).map(|row| told(&answer, row)).collect())
    }

    pub(crate) async fn read(&self, view: &str, keys: &[Key], at: i64) -> Result<Vec<Told>, ServerError> {
        self.read_from(&self.store, view, keys, at).await
    }

    pub(crate) async fn answer<T: OnlineStore + 'static>(
        &self,
        store: &Arc<T>,
        features: &[&str],
        keys: &[Key],
        at: i64,
    ) -> Result<Answer, ServerError> {
        self.clock.set(at);
        let watch = RegistryWatch::open(self.registry.clone(), self.name.clone())
            .await
            .unwrap();
        let reader = FeatureReader::new(store.clone(), Arc::new(watch), self.clock.clone());
        let features = features.iter().map(ToString::to_string).collect();
        let prepared = reader.prepare(Selection::Features(features))?;
        let tails: StringArray = keys.iter().map(|(tail, _)| tail.as_deref()).collect();
        let numbers: Int64Array = keys.iter().map(|(_, number)| *number).collect();
        let given = |name: &str, values: ArrayRef| Given {
            name: name.into(),
            length: values.len(),
            values,
        };
        let given = vec![given("tail", Arc::new(tails)), given("number", Arc::new(numbers))];
        let keys = Keys::collect(&prepared.plan, given, |_, values, _| Ok(values)).unwrap();
        reader.read(prepared, keys).await
    }
}

pub(crate) async fn run<S: OnlineStore + 'static>(
    materializer: &Materializer<S, MemoryRegistry>,
    definitions: &Definitions,
    view: &str,
    at: i64,
    full: bool,
) -> Result<Materialized, MaterializeError> {
    let request = Request {
        definitions,
        views: &[view.to_owned()],
        as_of: Timestamp::from_micros(at),
        full,
        redo: false,
    };
    let mut ended = materializer.run(request, None).await?;
    ended.pop().unwrap().result
}

/// Materializes the one view of a request; gives the number of its run, too.
pub(crate) async fn run_one<S: OnlineStore + 'static>(
    materializer: &Materializer<S, MemoryRegistry>,
    request: Request<'_>,
) -> (u64, Result<Materialized, MaterializeError>) {
    let ended = materializer.run(request, None).await;
    let ended = ended.unwrap().pop().unwrap();
    (ended.run, ended.result)
}

/// Pushes rows to the managed table.
pub(crate) async fn push<S: OnlineStore + 'static>(
    intake: &Intake<S>,
    registry: &MemoryRegistry,
    project: &ProjectName,
    rows: &[FileRow],
    at: i64,
) -> PushAnswer {
    let version = registry.head(project).await.unwrap().unwrap();
    let columns = columns_of(rows).into_iter();
    let push = Push {
        source: "table".into(),
        id: None,
        rows: PushInput::Columns(columns.map(|(name, array, _)| (name.to_owned(), array)).collect()),
        digest: [0; 32],
        bytes: 1,
    };
    let at = Timestamp::from_micros(at);
    intake.push(&version, push, at).await.unwrap()
}

fn told(answer: &Answer, row: usize) -> Told {
    let column = |at: usize| {
        let (status, values) = (answer.statuses(at).nth(row), answer.array(at).unwrap());
        let is_valid = values.is_valid(row);
        (status.unwrap(), values, is_valid)
    };
    let (x, n, s) = (column(0), column(1), column(2));
    Told {
        statuses: [x.0, n.0, s.0],
        values: (
            x.2.then(|| x.1.as_primitive::<Float64Type>().value(row)),
            n.2.then(|| n.1.as_primitive::<Int64Type>().value(row)),
            s.2.then(|| s.1.as_string::<i32>().value(row).to_owned()),
        ),
        event_time: answer.event_times_of(0)[row].map(Timestamp::micros),
    }
}

pub(crate) fn key_values(key: &Key) -> Vec<Option<KeyValue>> {
    vec![key.0.clone().map(KeyValue::String), key.1.map(KeyValue::Int64)]
}

pub(crate) fn history(row: &FileRow, seq: u64) -> HistoryRow<Values> {
    HistoryRow {
        keys: key_values(&row.key),
        event_time: row.event.map(Timestamp::from_micros),
        created_time: row.created.map(Timestamp::from_micros),
        seq,
        deleted: row.deleted,
        values: row.values.clone(),
    }
}

fn times(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
}

fn columns_of(rows: &[FileRow]) -> Vec<(&'static str, ArrayRef, bool)> {
    vec![
        (
            "tail",
            Arc::new(
                rows.iter()
                    .map(|row| row.key.0.as_deref())
                    .collect::<StringArray>(),
            ),
            true,
        ),
        (
            "number",
            Arc::new(rows.iter().map(|row| row.key.1).collect::<Int64Array>()),
            true,
        ),
        ("event", times(rows.iter().map(|row| row.event)), true),
        ("created", times(rows.iter().map(|row| row.created)), true),
        (
            "gone",
            Arc::new(rows.iter().map(|row| Some(row.deleted)).collect::<BooleanArray>()),
            true,
        ),
        (
            "x",
            Arc::new(rows.iter().map(|row| row.values.0).collect::<Float64Array>()),
            true,
        ),
        (
            "n",
            Arc::new(rows.iter().map(|row| row.values.1).collect::<Int64Array>()),
            true,
        ),
        (
            "s",
            Arc::new(
                rows.iter()
                    .map(|row| row.values.2.as_deref())
                    .collect::<StringArray>(),
            ),
            true,
        ),
    ]
}

fn write_parquet(path: &std::path::Path, rows: &[FileRow]) {
    let columns = columns_of(rows);
    write_batch(path, &RecordBatch::try_from_iter_with_nullable(columns).unwrap());
}

pub(crate) fn write_batch(path: &std::path::Path, batch: &RecordBatch) {
    // Written beside and renamed, so that a file in its place is another file with another time.
    let beside = path.with_extension("tmp");
    let file = std::fs::File::create(&beside).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    std::fs::rename(beside, path).unwrap();
}

/// Writes a spine with these keys at one instant.
pub(crate) fn write_spine(path: &std::path::Path, keys: &[Key], at: i64) {
    let columns: Vec<(&str, ArrayRef, bool)> = vec![
        (
            "tail",
            Arc::new(keys.iter().map(|key| key.0.as_deref()).collect::<StringArray>()),
            true,
        ),
        (
            "number",
            Arc::new(keys.iter().map(|key| key.1).collect::<Int64Array>()),
            true,
        ),
        ("event_timestamp", times(keys.iter().map(|_| Some(at))), true),
    ];
    write_batch(path, &RecordBatch::try_from_iter_with_nullable(columns).unwrap());
}

/// Numbers that repeat from a seed (SplitMix64).
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of `0..bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn small(&mut self, bound: u64) -> i64 {
        i64::try_from(self.below(bound)).unwrap()
    }

    /// Rows of few keys at few instants around `now`, so that ties and late rows abound; the first has an event
    /// time, without any of which a source is refused.
    pub(crate) fn rows(&mut self, count: u64, now: i64) -> Vec<FileRow> {
        let mut rows: Vec<FileRow> = (0..count).map(|_| self.row(now)).collect();
        if let Some(first) = rows.first_mut() {
            first.event.get_or_insert(now);
        }
        rows
    }

    fn row(&mut self, now: i64) -> FileRow {
        let event = now - 12 + self.small(20);
        let created = match self.below(4) {
            0 => None,
            1 => Some(event - self.small(3)),
            _ => Some(event + self.small(15)),
        };
        let tails = if self.one_in(9) { 5 } else { 4 };
        let tail = [Some("1"), Some("11"), Some(""), Some("a"), None][self.below(tails) as usize];
        FileRow {
            key: (
                tail.map(Into::into),
                (!self.one_in(30)).then(|| [1, 11, -1][self.below(3) as usize]),
            ),
            event: (!self.one_in(30)).then_some(event),
            created,
            deleted: self.one_in(8),
            values: (
                (!self.one_in(5)).then(|| self.small(1_000) as f64 / 8.0),
                (!self.one_in(5)).then(|| self.small(1_000_000)),
                (!self.one_in(5)).then(|| format!("v{}", self.below(1_000))),
            ),
        }
    }
}

/// Every key that rows may have, keys that none has, and null keys.
pub(crate) fn keys() -> Vec<Key> {
    let tails = [Some("1"), Some("11"), Some(""), Some("a"), Some("absent"), None];
    let numbers = [Some(1), Some(11), Some(-1), Some(0), None];
    let pairs = tails
        .iter()
        .flat_map(|tail| numbers.iter().map(move |number| (tail, number)));
    pairs
        .map(|(tail, number)| (tail.map(Into::into), *number))
        .collect()
}

/// How many cases to try: `ASOF_CASES` per cent of `usual`.
pub(crate) fn cases(usual: u64) -> u64 {
    let percent = std::env::var("ASOF_CASES").map_or(100, |text| text.parse().unwrap());
    (usual * percent / 100).max(1)
}

/// The seeds of a test: one where `ASOF_SEED` gives it, to run a failing case again.
pub(crate) fn seeds(usual: u64) -> Vec<u64> {
    match std::env::var("ASOF_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..cases(usual)).collect(),
    }
}

/// A store in a directory of its own.
pub(crate) fn rocks() -> (tempfile::TempDir, Arc<asof_online::RocksStore>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("online");
    let store = asof_online::RocksStore::open(&path, &asof_online::RocksOptions::default()).unwrap();
    (directory, Arc::new(store))
}
