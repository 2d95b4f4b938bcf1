//! Pushed rows: accepted exactly as is said, once, served at once, and in the table in the end.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use asof_core::definition::{Definitions, Location};
use asof_core::name::{ProjectName, SourceName};
use asof_core::online::intake::{Entry, Intake as LogIntake, SourceAddress};
use asof_core::online::memory::MemoryStore;
use asof_core::online::{IntakeLog, OnlineStore, StoreError};
use asof_core::registry::{RegistryStore, Version};
use asof_core::time::Timestamp;
use asof_offline::{CompactRequest, Engine, EngineOptions, IngestRequest, PushInput, RowReader, Scan};
use asof_registry::{Authored, AuthoredFile, MemoryRegistry, ProjectConfig, apply, plan};
use asof_server::intake::{Intake, IntakeError, IntakeLimits, Push, PushAnswer};
use asof_server::materialize::{Materializer, Request};

use crate::harness::HandClock;
use crate::materialize_project::{Random, rocks, seeds};
use crate::wrapped_store::{Around, Wrapped};

const DEFINITIONS: &str = r#"
[[entity]]
name = "card"
keys = { card = "int64" }

[[source]]
name = "payments"
schema = { card = "int64", at = "timestamp", amount = "float64", note = "string" }
event_time = "at"

[[source]]
name = "events"
schema = { id = "string", card = "int64", at = "timestamp", amount = "float64" }
event_time = "at"
event_id = "id"

[[source]]
name = "files"
path = "data"
event_time = "at"

[[view]]
name = "last"
entity = "card"
source = "payments"
owner = "ops@example.com"
[view.features]
amount = "float64"

[[view]]
name = "last_event"
entity = "card"
source = "events"
owner = "ops@example.com"
[view.features]
amount = "float64"
"#;

/// 2026-01-01T00:00:00Z.
const NOW: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

struct World<S> {
    directory: tempfile::TempDir,
    engine: Engine,
    registry: Arc<MemoryRegistry>,
    version: Version,
    intake: Intake<S>,
    materializer: Materializer<S, MemoryRegistry>,
    store: Arc<S>,
}

fn name() -> ProjectName {
    ProjectName::parse("p").unwrap()
}

impl<S: OnlineStore + 'static> World<S> {
    async fn new(store: Arc<S>, limits: IntakeLimits) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = EngineOptions {
            readers: 2,
            ..EngineOptions::default()
        };
        let tables = std::path::Path::new("tables");
        let engine = Engine::open(directory.path(), tables, &[], options).unwrap();
        let registry = Arc::new(MemoryRegistry::new());
        let version = define(&registry, directory.path(), DEFINITIONS).await;
        let clock = Arc::new(HandClock::default());
        clock.set(NOW.micros());
        let intake = Intake::new(engine.clone(), store.clone(), name(), limits);
        Self {
            materializer: Materializer::new(intake.clone(), registry.clone(), clock),
            intake,
            directory,
            engine,
            registry,
            version,
            store,
        }
    }

    fn definitions(&self) -> &Definitions {
        &self.version.definitions
    }

    async fn push(&self, source: &str, id: Option<&str>, lines: &str) -> Result<PushAnswer, IntakeError> {
        let push = Push {
            source: source.into(),
            id: id.map(Into::into),
            rows: PushInput::JsonLines(lines.as_bytes().to_vec()),
            digest: digest(lines),
            bytes: lines.len(),
        };
        self.intake.push(&self.version, push, NOW).await
    }

    async fn flush(&self) -> Result<u64, IntakeError> {
        self.intake.flush(self.definitions(), &[], NOW).await
    }

    /// The rows of a view's source in its table: by seq the card and the amount.
    async fn table(&self, view: &str) -> BTreeMap<u64, (i64, f64)> {
        let bound = self.definitions().bound_view(view).unwrap();
        let snapshot = Arc::new(self.engine.snapshot(&bound).await.unwrap());
        let reader = Arc::new(RowReader::bind(&bound, &snapshot).unwrap());
        let mut scan = Scan::start(&self.engine, &snapshot, &reader, 0..snapshot.files.len());
        let mut table = BTreeMap::new();
        while let Some(rows) = scan.next().await.unwrap() {
            let amounts = rows.features[0].as_primitive::<Float64Type>();
            let mut key = Vec::new();
            for head in &rows.heads {
                key.clear();
                rows.keys.write(head.row, &mut key);
                let card = card_of(&key);
                let before = table.insert(head.order.seq, (card, amounts.value(head.row)));
                assert_eq!(before, None, "a seq twice");
            }
        }
        table
    }

    /// The amount that is served for a card.
    fn served(&self, view: &str, card: i64, at: Timestamp) -> Option<f64> {
        let (_, slot, state) = self.view(view)?;
        let generation = state.serving?.generation;
        let mut found = None;
        let key = asof_core::key::encode(&[Some(asof_core::key::KeyValue::Int64(card))]).unwrap();
        self.store
            .read(
                slot.entity,
                &key,
                &[(slot.view, generation)],
                at,
                &mut |_, row| {
                    // A bitmap of one byte, then the value.
                    found = row
                        .winner
                        .map(|row| f64::from_le_bytes(row.body[1..9].try_into().unwrap()));
                    Ok::<_, StoreError>(())
                },
            )
            .unwrap();
        found
    }

    fn view(
        &self,
        view: &str,
    ) -> Option<(
        asof_core::online::ViewAddress,
        asof_core::online::ViewSlot,
        asof_core::online::ViewState,
    )> {
        let views = self.store.views().unwrap();
        views
            .into_iter()
            .find(|(address, _, _)| address.view.as_str() == view)
    }

    /// Ingests events: of each the id, the card, the second and the amount.
    async fn ingest(&self, events: &[(Option<&str>, i64, i64, f64)]) {
        let file = self.directory.path().join("events.csv");
        let lines = events.iter().map(|(id, card, second, amount)| {
            let id = id.unwrap_or_default();
            format!("{id},{card},{},{amount}\n", moment(*second))
        });
        std::fs::write(&file, format!("id,card,at,amount\n{}", lines.collect::<String>())).unwrap();
        let request = IngestRequest {
            source: self.definitions().sources.get("events").unwrap(),
            files: &[file],
            id: None,
            at: NOW,
        };
        self.engine.ingest(request).await.unwrap();
    }

    /// The same project and store, as another process finds them.
    fn restarted(self) -> Self {
        let limits = IntakeLimits::default();
        let intake = Intake::new(self.engine.clone(), Arc::clone(&self.store), name(), limits);
        let clock = Arc::new(HandClock::default());
        clock.set(NOW.micros());
        Self {
            materializer: Materializer::new(intake.clone(), self.registry.clone(), clock),
            intake,
            ..self
        }
    }

    async fn materialize(&self, view: &str) -> u64 {
        let request = Request {
            definitions: self.definitions(),
            views: &[view.to_owned()],
            as_of: NOW,
            full: false,
            redo: false,
        };
        let mut ended = self.materializer.run(request, None).await.unwrap();
        ended.pop().unwrap().result.unwrap().counts.keys
    }
}

/// The card of a key of one `int64`, whose sign is flipped so that keys sort.
fn card_of(key: &[u8]) -> i64 {
    let bytes: [u8; 8] = key[key.len() - 8..].try_into().unwrap();
    i64::from_be_bytes(bytes) ^ i64::MIN
}

async fn define(registry: &MemoryRegistry, directory: &std::path::Path, text: &str) -> Version {
    let config = ProjectConfig::new(directory, name());
    let file = AuthoredFile {
        path: "features/all.toml".into(),
        bytes: text.as_bytes().to_vec(),
    };
    let head = registry.head(&name()).await.unwrap();
    let plan = plan(head.as_ref(), Authored::parse(&config, &[file]).unwrap()).unwrap();
    apply(registry, &plan, true, Timestamp::EPOCH).await.unwrap()
}

fn digest(lines: &str) -> [u8; 32] {
    let mut digest = [0; 32];
    for (place, byte) in lines.bytes().enumerate() {
        digest[place % 32] ^= byte.rotate_left((place / 32 % 8) as u32);
    }
    digest
}

/// A second of the hour before now.
fn moment(second: i64) -> Timestamp {
    Timestamp::from_micros(NOW.micros() - 3_600_000_000 + second * 1_000_000)
}

fn payment(card: i64, second: i64, amount: f64) -> String {
    let at = moment(second);
    format!("{{\"card\": {card}, \"at\": \"{at}\", \"amount\": {amount:?}, \"note\": null}}\n")
}

fn event(id: Option<&str>, card: i64, second: i64, amount: f64) -> String {
    let id = id.map_or_else(|| "null".to_owned(), |id| format!("\"{id}\""));
    let payment = payment(card, second, amount).replace(", \"note\": null", "");
    payment.replacen('{', &format!("{{\"id\": {id}, "), 1)
}

#[tokio::test]
async fn bad_rows_are_refused_one_by_one_and_bad_columns_whole() {
    let world = World::new(Arc::new(MemoryStore::new()), IntakeLimits::default()).await;
    let at = |time: &str| format!("{{\"card\": 1, \"at\": {time}, \"amount\": 1, \"note\": \"x\"}}\n");
    let lines = [
        payment(1, 1, 1.0),
        at("null"),
        at("\"2026-01-01T00:05:00Z\""),
        at("\"2026-01-01T00:05:00.000001Z\""),
        at("\"1899-12-31T23:59:59Z\""),
        at("\"2026-01-01T00:00:00\""),
        payment(1, 2, 2.0).replace("null", "7"),
        payment(1, 2, 2.0).replace("\"note\": null", "\"other\": null"),
        payment(1, 2, 2.0).replace(", \"note\": null", ""),
        "{".repeat(10_000) + "\n",
        payment(2, 1, 4.0),
        payment(2, 1, 4.0).replace("\"card\": 2", "\"card\": null"),
    ];
    let answer = world.push("payments", None, &lines.concat()).await.unwrap();
    let reasons: Vec<(usize, &str)> = answer
        .rejected
        .iter()
        .map(|rejected| (rejected.row, rejected.reason.as_str()))
        .collect();
    assert_eq!(
        reasons[..7],
        [
            (1, "column \"at\" is null: every row has an event time"),
            (
                3,
                "column \"at\" is 2026-01-01T00:05:00.000001Z, more than 5 min ahead of the clock (2026-01-01T00:00:00Z)"
            ),
            (
                4,
                "column \"at\" is 1899-12-31T23:59:59Z, before 1900-01-01T00:00:00Z"
            ),
            (
                5,
                "column \"at\" cannot be read: \"2026-01-01T00:00:00\" has no time zone: write it as \
                 2013-06-01T12:00:00Z or with an offset such as +02:00"
            ),
            (6, "column \"note\" is a number, expected string"),
            (7, "has no \"note\": write null where there is nothing"),
            (8, "has no \"note\": write null where there is nothing"),
        ]
    );
    assert_eq!(reasons[7].0, 9);
    assert!(
        reasons[7].1.starts_with("is not one JSON object: "),
        "{}",
        reasons[7].1
    );
    assert_eq!((answer.accepted, reasons.len()), (4, 8));
    world.flush().await.unwrap();
    // A row without a key is in the table, and in no view.
    let rows: Vec<_> = world.table("last").await.into_values().collect();
    assert_eq!(rows, [(1, 1.0), (1, 1.0), (2, 4.0)]);
    assert_eq!(world.served("last", 1, NOW), Some(1.0));
    assert_eq!(world.served("last", 2, NOW), Some(4.0));

    let many = |count: usize, bad: usize| {
        let good = (bad..count).map(|row| payment(9, row as i64 % 60, 0.5));
        let bad = (0..bad).map(|_| at("null"));
        bad.chain(good).collect::<String>()
    };
    let refusals = [
        (
            "paymets",
            payment(1, 1, 1.0),
            "unknown source \"paymets\"; did you mean \"payments\"?",
        ),
        (
            "files",
            payment(1, 1, 1.0),
            "source files is read in place from its path: only a managed source (one with a schema and no path) takes rows",
        ),
        (
            "payments",
            String::new(),
            "0 rows were given, one push takes 1 to 10000",
        ),
        (
            "payments",
            many(10_001, 0),
            "10001 rows were given, one push takes 1 to 10000",
        ),
        (
            "payments",
            many(200, 101),
            "more than 100 rows are bad, and none was accepted; such as row 100: column \"at\" is null: every row \
             has an event time",
        ),
    ];
    for (source, lines, expected) in refusals {
        let refused = world.push(source, None, &lines).await.unwrap_err();
        assert_eq!(refused.to_string(), expected);
    }
    let some_bad = world.push("payments", None, &many(10_000, 100)).await.unwrap();
    assert_eq!((some_bad.accepted, some_bad.rejected.len()), (9_900, 100));

    let columns = |names: &[&str]| {
        let array: arrow_array::ArrayRef = Arc::new(arrow_array::Int64Array::from(vec![1]));
        PushInput::Columns(
            names
                .iter()
                .map(|name| ((*name).to_owned(), array.clone()))
                .collect(),
        )
    };
    for (rows, expected) in [
        (
            columns(&["card", "at", "amount", "note", "more"]),
            "column \"more\" is not in the schema of source payments: declare it, or leave it out",
        ),
        (
            columns(&["card", "amount", "note"]),
            "column \"at\" of source payments is missing: rows are taken whole, nothing is filled in",
        ),
        (
            columns(&["card", "card", "at", "amount", "note"]),
            "column \"card\" is given twice",
        ),
        (
            PushInput::ArrowStream(b"ARROW1 or not".to_vec()),
            "the Arrow IPC stream cannot be read: ",
        ),
        (
            PushInput::JsonLines(vec![b'{', 0xff]),
            "the JSON lines are not UTF-8 at byte 1",
        ),
    ] {
        let push = Push {
            source: "payments".into(),
            id: None,
            rows,
            digest: [0; 32],
            bytes: 1,
        };
        let refused = world.intake.push(&world.version, push, NOW).await.unwrap_err();
        assert!(refused.to_string().starts_with(expected), "{refused}");
    }
    let id = "x".repeat(257);
    let refused = world.push("payments", Some(&id), &payment(1, 1, 1.0)).await;
    assert_eq!(
        refused.unwrap_err().to_string(),
        "request_id: has 257 bytes, expected 1 to 256"
    );
    world.flush().await.unwrap();
    assert_eq!(world.table("last").await.len(), 3 + 9_900);
}

/// Without a column that says so, a pushed row is known when it arrives.
#[tokio::test]
async fn pushed_rows_are_known_when_they_arrive() {
    let world = World::new(Arc::new(MemoryStore::new()), IntakeLimits::default()).await;
    world.push("payments", None, &payment(1, 0, 1.0)).await.unwrap();
    world.flush().await.unwrap();
    let bound = world.definitions().bound_view("last").unwrap();
    let snapshot = Arc::new(world.engine.snapshot(&bound).await.unwrap());
    let reader = Arc::new(RowReader::bind(&bound, &snapshot).unwrap());
    let mut scan = Scan::start(&world.engine, &snapshot, &reader, 0..snapshot.files.len());
    let rows = scan.next().await.unwrap().unwrap();
    let order = rows.heads[0].order;
    assert_eq!(
        (order.event_time.micros(), order.created_time),
        (NOW.micros() - 3_600_000_000, NOW)
    );
    // Online it has the same place.
    let (_, slot, state) = world.view("last").unwrap();
    let generation = state.serving.unwrap().generation;
    let key = asof_core::key::encode(&[Some(asof_core::key::KeyValue::Int64(1))]).unwrap();
    let mut found = None;
    world
        .store
        .read(
            slot.entity,
            &key,
            &[(slot.view, generation)],
            NOW,
            &mut |_, row| {
                found = row.winner.map(|row| row.order);
                Ok::<_, StoreError>(())
            },
        )
        .unwrap();
    assert_eq!(found, Some(order));
}

#[tokio::test]
async fn a_push_that_is_repeated_has_no_effect() {
    let world = World::new(Arc::new(MemoryStore::new()), IntakeLimits::default()).await;
    let lines = payment(1, 1, 1.0) + &payment(1, 2, 2.0).replace("2.0", "\"x\"");
    let first = world.push("payments", Some("a"), &lines).await.unwrap();
    assert_eq!((first.accepted, first.repeated), (1, false));
    for flush in [false, true, false] {
        let again = world.push("payments", Some("a"), &lines).await.unwrap();
        assert_eq!(
            again,
            PushAnswer {
                repeated: true,
                ..first.clone()
            }
        );
        if flush {
            world.flush().await.unwrap();
        }
    }
    let other = world.push("payments", Some("a"), &payment(1, 1, 3.0)).await;
    assert_eq!(
        other.unwrap_err().to_string(),
        "request_id: \"a\" was used for other rows, of which 1 were accepted: nothing was changed; give these another id"
    );
    // Another source has ids of its own, and so has a push without one.
    let event = "{\"id\": \"e\", \"card\": 1, \"at\": \"2025-12-31T00:00:00Z\", \"amount\": 9}";
    assert_eq!(world.push("events", Some("a"), event).await.unwrap().accepted, 1);
    for _ in 0..2 {
        assert!(
            !world
                .push("payments", None, &payment(2, 1, 1.0))
                .await
                .unwrap()
                .repeated
        );
    }
    // One that comes twice at the same time.
    let (one, two) = tokio::join!(
        world.push("payments", Some("b"), &lines),
        world.push("payments", Some("b"), &lines)
    );
    let repeated = [one.unwrap(), two.unwrap()].map(|answer| answer.repeated);
    assert!(
        repeated == [false, true] || repeated == [true, false],
        "{repeated:?}"
    );
    world.flush().await.unwrap();
    assert_eq!(world.table("last").await.len(), 4);
    // After it was forgotten it is a push like any other.
    world.store.forget_answers(Timestamp::MAX).unwrap();
    assert!(!world.push("payments", Some("a"), &lines).await.unwrap().repeated);
}

/// Which calls of a store fail.
struct Failing {
    left: AtomicI64,
    after: AtomicBool,
}

impl Around for Failing {
    fn change<T>(&self, call: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        let fails = self.left.fetch_sub(1, Ordering::SeqCst) == 0;
        let broken = || StoreError::Failed {
            place: "here".into(),
            reason: "a wire was cut".into(),
        };
        if fails && !self.after.load(Ordering::SeqCst) {
            return Err(broken());
        }
        let done = call();
        if fails { Err(broken()) } else { done }
    }
}

/// Whichever call of the store fails, before or after it did its work, what is brought again under its ids is in
/// the table once.
#[tokio::test]
async fn whichever_call_fails_rows_are_in_the_table_once() {
    let mut failed = 0;
    for after in [false, true] {
        for nth in 0.. {
            let store = Arc::new(Wrapped {
                inner: MemoryStore::new(),
                around: Failing {
                    left: AtomicI64::new(nth),
                    after: AtomicBool::new(after),
                },
            });
            let world = World::new(store, IntakeLimits::default()).await;
            let mut errors = 0;
            for step in 0..3 {
                let lines = payment(step, step, step as f64) + &payment(9, step, 10.0 + step as f64);
                let id = step.to_string();
                while let Err(error) = world.push("payments", Some(&id), &lines).await {
                    assert!(matches!(error, IntakeError::Store(_)), "{error}");
                    errors += 1;
                }
                if step != 1 {
                    while world.flush().await.is_err() {
                        errors += 1;
                    }
                }
            }
            let rows: Vec<_> = world.table("last").await.into_values().collect();
            assert_eq!(
                rows,
                [(0, 0.0), (9, 10.0), (1, 1.0), (9, 11.0), (2, 2.0), (9, 12.0)],
                "{nth} {after}"
            );
            for (card, amount) in [(0, 0.0), (1, 1.0), (2, 2.0), (9, 12.0)] {
                assert_eq!(world.served("last", card, NOW), Some(amount), "{nth} {after}");
            }
            assert!(world.store.waiting_sources().unwrap().is_empty());
            failed += errors;
            if errors == 0 {
                break;
            }
        }
    }
    println!("{failed} calls failed");
    assert!(failed >= 16, "{failed}");
}

/// What the store may still forget does not come to the table: brought again, it would be there twice.
#[tokio::test]
async fn what_may_be_forgotten_does_not_come_to_the_table() {
    let store = Arc::new(Wrapped {
        inner: MemoryStore::new(),
        around: Failing {
            left: AtomicI64::new(i64::MAX),
            after: AtomicBool::new(false),
        },
    });
    let world = World::new(store, IntakeLimits::default()).await;
    world.push("payments", None, &payment(1, 1, 1.0)).await.unwrap();
    // The first change that a flush makes is that all of it stays.
    world.store.around.left.store(0, Ordering::SeqCst);
    assert!(world.flush().await.is_err());
    assert_eq!(world.table("last").await, BTreeMap::new());
    assert_eq!(world.flush().await, Ok(1));
    assert_eq!(world.table("last").await.len(), 1);
}

/// Pushes from several callers, retried, beside ingests, compactions, flushes and materializations.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_writes_every_row_is_there_once() {
    const CALLERS: i64 = 4;
    const PUSHES: i64 = 25;
    for seed in seeds(4) {
        println!("seed {seed}: run it alone with ASOF_SEED={seed}");
        let (_directory, store) = rocks();
        let world = Arc::new(World::new(store, IntakeLimits::default()).await);
        let callers = (0..CALLERS).map(|caller| {
            let world = world.clone();
            tokio::spawn(async move {
                let mut random = Random::new(seed << 8 | caller as u64);
                for number in 0..PUSHES {
                    let lines: String = (0..1 + random.below(5))
                        .map(|row| {
                            let amount = (caller * 1_000 + number) as f64 + row as f64 / 8.0;
                            payment(caller, number * 8 + row as i64, amount)
                        })
                        .collect();
                    let id = format!("{caller}/{number}");
                    for _ in 0..1 + random.below(3) {
                        world.push("payments", Some(&id), &lines).await.unwrap();
                    }
                }
            })
        });
        let callers: Vec<_> = callers.collect();
        let mut random = Random::new(seed);
        let (mut ingested, mut is_materialized) = (0, false);
        let source = world.definitions().sources.get("payments").unwrap();
        assert!(matches!(source.location, Location::Managed { .. }));
        while callers.iter().any(|caller| !caller.is_finished()) {
            match random.below(4) {
                0 => {
                    world.flush().await.unwrap();
                }
                1 => {
                    let file = world.directory.path().join("more.csv");
                    let text = format!("card,at,amount,note\n50,2025-12-31T00:00:00Z,{ingested},x\n");
                    std::fs::write(&file, text).unwrap();
                    let request = IngestRequest {
                        source,
                        files: &[file],
                        id: None,
                        at: NOW,
                    };
                    match world.engine.ingest(request).await {
                        Ok(_) => ingested += 1,
                        Err(error) => assert!(error.to_string().contains("other writers"), "{error}"),
                    }
                }
                2 => {
                    let request = CompactRequest {
                        source,
                        keys: &[vec!["card".into()]],
                        file_bytes: 1 << 20,
                        at: NOW,
                    };
                    let done = world.engine.compact(request).await;
                    if let Err(error) = done {
                        assert!(error.to_string().contains("other writers"), "{error}");
                    }
                }
                _ => {
                    world.materialize("last").await;
                    is_materialized = true;
                }
            }
        }
        for caller in callers {
            caller.await.unwrap();
        }
        world.flush().await.unwrap();
        let table = world.table("last").await;
        let mut expected = Vec::new();
        for caller in 0..CALLERS {
            let mut random = Random::new(seed << 8 | caller as u64);
            for number in 0..PUSHES {
                for row in 0..1 + random.below(5) {
                    expected.push((caller, (caller * 1_000 + number) as f64 + row as f64 / 8.0));
                }
                random.below(3);
            }
            let of_caller = |rows: &mut dyn Iterator<Item = (i64, f64)>| -> Vec<(i64, f64)> {
                rows.filter(|(card, _)| *card == caller).collect()
            };
            // In the order in which they were accepted.
            assert_eq!(
                of_caller(&mut table.values().copied()),
                of_caller(&mut expected.iter().copied()),
                "seed {seed}"
            );
            // Where an ingest was faster than the first push, nothing is served before the view is materialized.
            if is_materialized || ingested == 0 {
                let last = expected.last().unwrap().1;
                assert_eq!(world.served("last", caller, NOW), Some(last), "seed {seed}");
            }
        }
        assert_eq!(table.len(), expected.len() + ingested, "seed {seed}");
        world.materialize("last").await;
        for caller in 0..CALLERS {
            let last = expected.iter().rfind(|(card, _)| *card == caller).unwrap().1;
            assert_eq!(world.served("last", caller, NOW), Some(last), "seed {seed}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_written_is_refused_before_it_takes_memory() {
    let limits = IntakeLimits {
        under_way: 4 << 10,
        patience: Duration::from_millis(50),
        log: 2_000,
    };
    let world = Arc::new(World::new(Arc::new(MemoryStore::new()), limits).await);
    let source = world.definitions().sources.get("payments").unwrap();
    let held = world.intake.hold(source, NOW).await.unwrap();
    let waiting: Vec<_> = (0..4)
        .map(|card| {
            let world = world.clone();
            tokio::spawn(async move { world.push("payments", None, &payment(card, 1, 1.0)).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    // Four kibibytes are under way.
    let lines = payment(5, 1, 1.0);
    let refused = world.push("payments", None, &lines);
    let refused = tokio::time::timeout(Duration::from_secs(10), refused).await;
    let refused = refused.expect("is refused in time").unwrap_err();
    assert!(matches!(refused, IntakeError::Overloaded(_)), "{refused}");
    assert_eq!(
        refused.to_string(),
        "more is being pushed than is written: 4096 bytes are under way; try again later"
    );
    assert!(
        waiting.iter().all(|push| !push.is_finished()),
        "nothing is accepted while it is held"
    );
    drop(held);
    for push in waiting {
        assert_eq!(push.await.unwrap().unwrap().accepted, 1);
    }
    // What is not flushed grows up to its limit.
    let mut accepted = 4;
    let refused = loop {
        match world.push("payments", None, &payment(5, 1, 1.0)).await {
            Ok(answer) => accepted += answer.accepted,
            Err(refused) => break refused,
        }
        assert!(accepted < 100, "no limit");
    };
    assert!(
        refused.to_string().contains("wait to be appended to its table"),
        "{refused}"
    );
    world.flush().await.unwrap();
    accepted += world
        .push("payments", None, &payment(5, 1, 1.0))
        .await
        .unwrap()
        .accepted;
    world.flush().await.unwrap();
    assert_eq!(world.table("last").await.len() as u64, accepted);
}

/// A pushed row of which an earlier one has the id is no event, whoever accepted that: the same call, one before, an
/// ingest, or a process that was there before.
#[tokio::test]
async fn events_with_ids_count_once() {
    let world = World::new(Arc::new(MemoryStore::new()), IntakeLimits::default()).await;
    let push = async |lines: &[String], accepted: u64| {
        let answer = world.push("events", None, &lines.concat()).await.unwrap();
        assert_eq!(
            answer.accepted, accepted,
            "those that repeat an event are accepted, too"
        );
        world.served("last_event", 1, NOW)
    };
    assert_eq!(
        push(&[event(Some("a"), 1, 1, 1.0), event(Some("b"), 1, 2, 2.0)], 2).await,
        Some(2.0)
    );
    assert_eq!(
        push(&[event(Some("a"), 1, 3, 3.0)], 1).await,
        Some(2.0),
        "one call after the other"
    );
    assert_eq!(
        push(&[event(Some("c"), 1, 4, 4.0), event(Some("c"), 1, 5, 5.0)], 2).await,
        Some(4.0),
        "two rows of one call"
    );
    assert_eq!(
        push(&[event(None, 1, 6, 6.0), event(None, 1, 7, 7.0)], 2).await,
        Some(7.0),
        "without an id each is an event"
    );
    // A row without a key, which no view has, uses up its id.
    let nobody = event(Some("d"), 1, 8, 8.0).replace("\"card\": 1", "\"card\": null");
    assert_eq!(push(&[nobody], 1).await, Some(7.0));
    assert_eq!(push(&[event(Some("d"), 1, 9, 9.0)], 1).await, Some(7.0));
    world.ingest(&[(Some("e"), 2, 1, 1.0)]).await;
    assert_eq!(
        push(&[event(Some("e"), 1, 10, 10.0)], 1).await,
        Some(7.0),
        "an ingest"
    );
    world.flush().await.unwrap();
    assert_eq!(push(&[event(Some("a"), 1, 11, 11.0)], 1).await, Some(7.0));
    // Another process, which finds the index as it was left.
    let world = world.restarted();
    let push = async |id: &str, second: i64| {
        let line = event(Some(id), 1, second, second as f64);
        world.push("events", None, &line).await.unwrap();
        world.served("last_event", 1, NOW)
    };
    assert_eq!(push("c", 12).await, Some(7.0));
    assert_eq!(push("f", 13).await, Some(13.0));
    // An index that was lost is made anew from the table, with what was in the log alone.
    let source = SourceName::parse("events").unwrap();
    let of = SourceAddress {
        project: name(),
        source,
    };
    world.store.forget_events(&of).unwrap();
    let world = world.restarted();
    let line = event(Some("f"), 1, 14, 14.0);
    world.push("events", None, &line).await.unwrap();
    assert_eq!(world.served("last_event", 1, NOW), Some(13.0));
    world.materialize("last_event").await;
    assert_eq!(world.served("last_event", 1, NOW), Some(13.0));
}

/// Pushes, ingests, flushes, materializations, restarts and lost indexes in any order: served is what a list of all
/// rows in the order of their acceptance says.
#[tokio::test]
async fn whoever_brings_an_event_the_first_row_of_it_counts() {
    struct Row {
        id: Option<String>,
        card: i64,
        second: i64,
        amount: f64,
        is_online: bool,
    }
    for seed in seeds(12) {
        let mut random = Random::new(seed);
        let mut world = World::new(Arc::new(MemoryStore::new()), IntakeLimits::default()).await;
        let mut accepted: Vec<Row> = Vec::new();
        for step in 0..30 {
            // What is pushed first is served at once; what is ingested first is not.
            let action = if step == 0 { 0 } else { random.below(10) };
            if action < 7 {
                let rows = (0..=random.below(4)).map(|_| Row {
                    id: (!random.one_in(8)).then(|| format!("e{}", random.below(40))),
                    card: random.below(3) as i64,
                    second: random.below(100) as i64,
                    amount: random.below(1_000) as f64,
                    is_online: action < 5,
                });
                let rows: Vec<Row> = rows.collect();
                let tuples = rows
                    .iter()
                    .map(|row| (row.id.as_deref(), row.card, row.second, row.amount));
                let tuples: Vec<_> = tuples.collect();
                if action < 5 {
                    let lines = tuples
                        .iter()
                        .map(|(id, card, second, amount)| event(*id, *card, *second, *amount));
                    let answer = world
                        .push("events", None, &lines.collect::<String>())
                        .await
                        .unwrap();
                    assert_eq!(answer.accepted, rows.len() as u64);
                } else {
                    world.ingest(&tuples).await;
                }
                accepted.extend(rows);
            }
            match action {
                7 => drop(world.flush().await.unwrap()),
                8 => {
                    world.materialize("last_event").await;
                    accepted.iter_mut().for_each(|row| row.is_online = true);
                }
                9 => {
                    if random.one_in(3) {
                        let source = SourceName::parse("events").unwrap();
                        let of = SourceAddress {
                            project: name(),
                            source,
                        };
                        world.store.forget_events(&of).unwrap();
                    }
                    world = world.restarted();
                }
                _ => {}
            }
            for card in 0..3 {
                let mut known = HashSet::new();
                let counts = |row: &&Row| row.id.as_ref().is_none_or(|id| known.insert(id.clone()));
                let served = accepted
                    .iter()
                    .filter(counts)
                    .filter(|row| row.card == card && row.is_online);
                let expected = served.max_by_key(|row| row.second).map(|row| row.amount);
                let found = world.served("last_event", card, NOW);
                assert_eq!(found, expected, "seed {seed}, step {step}, card {card}");
            }
        }
    }
}

/// What takes more room than it has bytes: compressed buffers, and columns of which one value stands for many rows.
#[tokio::test]
async fn streams_that_grow_when_they_are_read_are_refused() {
    use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
    let world = World::new(Arc::new(MemoryStore::new()), IntakeLimits::default()).await;
    let batch = |note: arrow_array::ArrayRef| {
        let numbers = || Arc::new(arrow_array::Int64Array::from(vec![1; 200]));
        let times = arrow_array::TimestampMicrosecondArray::from(vec![NOW.micros(); 200]);
        arrow_array::RecordBatch::try_from_iter_with_nullable([
            ("card", numbers() as arrow_array::ArrayRef, true),
            ("at", Arc::new(times.with_timezone("UTC")), true),
            ("amount", numbers(), true),
            ("note", note, true),
        ])
        .unwrap()
    };
    let texts = vec!["x".repeat(1_000); 200];
    let plain: arrow_array::ArrayRef = Arc::new(arrow_array::StringArray::from(texts.clone()));
    let views: arrow_array::ArrayRef = Arc::new(arrow_array::StringViewArray::from(texts.clone()));
    let words: arrow_array::DictionaryArray<arrow_array::types::Int32Type> =
        texts.iter().map(String::as_str).collect();
    let zstd = IpcWriteOptions::default().try_with_compression(Some(arrow::ipc::CompressionType::ZSTD));
    for (note, options, refused) in [
        (plain.clone(), IpcWriteOptions::default(), None),
        (plain, zstd.unwrap(), Some("is compressed")),
        (
            views,
            IpcWriteOptions::default(),
            Some("in which one value stands for many"),
        ),
        (
            Arc::new(words),
            IpcWriteOptions::default(),
            Some("in which one value stands for many"),
        ),
    ] {
        let batch = batch(note);
        let mut writer = StreamWriter::try_new_with_options(Vec::new(), &batch.schema(), options).unwrap();
        writer.write(&batch).unwrap();
        let stream = writer.into_inner().unwrap();
        let push = Push {
            source: "payments".into(),
            id: None,
            bytes: stream.len(),
            rows: PushInput::ArrowStream(stream),
            digest: [0; 32],
        };
        let done = world.intake.push(&world.version, push, NOW).await;
        match (done, refused) {
            (Ok(answer), None) => assert_eq!(answer.accepted, 200),
            (Err(error), Some(expected)) => assert!(error.to_string().contains(expected), "{error}"),
            other => panic!("{other:?}"),
        }
    }
}

/// A view of a source that has rows already is not served before it was materialized: it would say that they are not
/// there.
#[tokio::test]
async fn the_first_push_does_not_hide_what_was_ingested() {
    let world = World::new(Arc::new(MemoryStore::new()), IntakeLimits::default()).await;
    let file = world.directory.path().join("before.csv");
    std::fs::write(&file, "card,at,amount,note\n8,2025-12-31T00:00:00Z,8.5,x\n").unwrap();
    let request = IngestRequest {
        source: world.definitions().sources.get("payments").unwrap(),
        files: &[file],
        id: None,
        at: NOW,
    };
    world.engine.ingest(request).await.unwrap();
    world.push("payments", None, &payment(1, 1, 1.0)).await.unwrap();
    assert_eq!(world.view("last").unwrap().2.serving, None);
    assert_eq!(world.materialize("last").await, 2);
    assert_eq!(world.served("last", 8, NOW), Some(8.5));
    assert_eq!(world.served("last", 1, NOW), Some(1.0));
}

/// A server that is killed between taking seqs and accepting its first row leaves a source that never had rows.
#[tokio::test]
async fn seqs_that_nobody_used_keep_no_view_from_serving() {
    let world = World::new(Arc::new(MemoryStore::new()), IntakeLimits::default()).await;
    let source = world.definitions().sources.get("payments").unwrap();
    let reserved = world.engine.reserve_seqs(source, 0, 5).await.unwrap();
    assert_eq!((reserved.seqs, reserved.was_empty), (1..6, true));
    world.push("payments", None, &payment(1, 1, 1.0)).await.unwrap();
    assert_eq!(world.served("last", 1, NOW), Some(1.0));
    assert_eq!(world.materialize("last").await, 1);
    assert_eq!(world.served("last", 1, NOW), Some(1.0));
}

/// Whenever the log is trimmed, more has come.
#[derive(Default)]
struct Refilled(AtomicI64);

impl Around for Refilled {
    fn trimmed(&self, log: &dyn IntakeLog, source: &SourceAddress, last: Option<(u64, Vec<u8>)>) {
        let (number, bytes) = last.unwrap();
        if self.0.fetch_add(1, Ordering::SeqCst) < 9 {
            let entry = Entry {
                number: number + 1,
                bytes: &bytes,
                accepted: number,
            };
            let intake = LogIntake {
                at: NOW,
                entry: Some(entry),
                answers: &[],
                rows: &[],
                events: None,
                marks: &[],
                dead_letters: None,
            };
            log.accept(source, intake).unwrap();
        }
    }
}

/// What comes while a flush goes on is for the next one.
#[tokio::test]
async fn a_flush_ends_while_rows_keep_coming() {
    let store: Arc<Wrapped<MemoryStore, Refilled>> = Arc::default();
    let world = World::new(store, IntakeLimits::default()).await;
    world.push("payments", None, &payment(1, 1, 1.0)).await.unwrap();
    for flushes in 1..4 {
        assert_eq!(world.flush().await, Ok(1));
        assert_eq!(world.store.around.0.load(Ordering::SeqCst), flushes);
    }
}

#[tokio::test]
async fn a_table_that_cannot_be_written_holds_up_no_other() {
    let world = World::new(Arc::new(MemoryStore::new()), IntakeLimits::default()).await;
    let event = "{\"id\": \"e\", \"card\": 1, \"at\": \"2025-12-31T00:00:00Z\", \"amount\": 9}";
    world.push("events", None, event).await.unwrap();
    world.push("payments", None, &payment(20, 1, 2.0)).await.unwrap();
    // Its log is no log any more.
    let log = world.directory.path().join("tables/events/_delta_log");
    for file in std::fs::read_dir(&log).unwrap() {
        std::fs::write(file.unwrap().path(), "not a log").unwrap();
    }
    let payments = [asof_core::name::SourceName::parse("payments").unwrap()];
    world.flush().await.unwrap_err();
    assert_eq!(
        world.intake.flush(world.definitions(), &payments, NOW).await,
        Ok(0),
        "it was there"
    );
    let table = world.table("last").await;
    assert_eq!(table.values().last(), Some(&(20, 2.0)));
}

/// A view takes rows from the first push on, and those of a view that was redefined come with a materialization.
#[tokio::test]
async fn pushes_reach_views_as_they_are_defined() {
    let mut world = World::new(Arc::new(MemoryStore::new()), IntakeLimits::default()).await;
    assert_eq!(world.view("last"), None);
    world.push("payments", None, &payment(1, 1, 1.0)).await.unwrap();
    assert_eq!(world.served("last", 1, NOW), Some(1.0));
    world.flush().await.unwrap();
    // The same generation goes on.
    assert_eq!(world.materialize("last").await, 1);
    assert_eq!(world.view("last").unwrap().2.serving.unwrap().generation.0, 1);
    world.push("payments", None, &payment(1, 2, 2.0)).await.unwrap();

    let wider = DEFINITIONS.replacen(
        "amount = \"float64\"\n\n[[view]]",
        "amount = \"float64\"\nnote = \"string\"\n\n[[view]]",
        1,
    );
    assert_ne!(wider, DEFINITIONS);
    world.version = define(&world.registry, world.directory.path(), &wider).await;
    let later = world.push("payments", None, &payment(1, 3, 3.0)).await.unwrap();
    assert_eq!(later.accepted, 1);
    assert_eq!(world.served("last", 1, NOW), Some(2.0), "as it was defined");
    world.materialize("last").await;
    assert_eq!(world.served("last", 1, NOW), Some(3.0));
    world.push("payments", None, &payment(1, 4, 4.0)).await.unwrap();
    assert_eq!(world.served("last", 1, NOW), Some(4.0));
    // Without a feature that it has, the view takes rows on.
    world.version = define(&world.registry, world.directory.path(), DEFINITIONS).await;
    world.push("payments", None, &payment(1, 5, 4.5)).await.unwrap();
    assert_eq!(world.served("last", 1, NOW), Some(4.5));
    world.materialize("last").await;
    assert_eq!(world.served("last", 1, NOW), Some(4.5));
    // One that happens in a minute is there then.
    let soon = payment(1, 3_660, 5.0);
    world.push("payments", None, &soon).await.unwrap();
    assert_eq!(world.served("last", 1, NOW), Some(4.5));
    let then = Timestamp::from_micros(NOW.micros() + 60_000_000);
    assert_eq!(world.served("last", 1, then), Some(5.0));
}
