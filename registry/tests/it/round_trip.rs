//! Every field survives the way through TOML and through the disk, whatever is in it (invariant I16).

use std::collections::BTreeMap;
use std::sync::Arc;

use asof_core::aggregate::Function;
use asof_core::data_type::{DataType, KeyType};
use asof_core::definition::{
    Aggregate, Aggregates, AvroFraming, Broker, Definitions, Entity, Feature, InputText, KeyColumn, Location,
    MessageFormat, NamedWindow, Notes, Select, Servers, Service, ServiceEntry, Source, Stream, StreamStart,
    View, ViewKind,
};
use asof_core::duration::Duration;
use asof_core::name::{EntityName, FeatureName, Prefix, ServiceName, SourceName, ViewName};
use asof_core::registry::RegistryStore;
use asof_core::service::freeze;
use asof_core::time::{DateInstant, Timestamp, Zone};
use asof_registry::{Authored, ObjectKind, SqliteRegistry, apply, list, plan, to_toml};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::subsequence;

use crate::support::{config, file};

fn name() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9]{0,5}(_[a-z0-9]{1,4}){0,2}"
}

/// Any text: quotes, backslashes, line ends, control characters, other scripts.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z ]{0,12}",
        "\\PC{0,8}",
        "[\"'\\\\\\n\\r\\t\u{0}\u{1b}\u{7f}\u{202e}#=\\[\\]{}]{0,6}"
    ]
}

fn column() -> impl Strategy<Value = String> {
    prop_oneof![3 => "[a-z_]{1,6}", 1 => text().prop_filter("columns have names", |text| !text.is_empty())]
}

fn notes() -> impl Strategy<Value = Notes> {
    (
        option::of(text()),
        option::of(text()),
        btree_map(column(), text(), 0..3),
    )
        .prop_map(|(description, owner, tags)| Notes {
            description,
            owner,
            tags,
        })
}

fn data_type() -> impl Strategy<Value = DataType> {
    let leaf = prop_oneof![
        Just(DataType::Bool),
        Just(DataType::Int32),
        Just(DataType::Float64),
        Just(DataType::Bytes),
        Just(DataType::Json),
        (1u8..=38)
            .prop_flat_map(|precision| (0..=precision as i8)
                .prop_map(move |scale| DataType::Decimal { precision, scale })),
        (1u32..=65_536).prop_map(DataType::Embedding),
    ];
    leaf.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|item| DataType::List(Box::new(item))),
            inner.clone().prop_map(|value| DataType::Map(Box::new(value))),
            btree_map(column(), inner, 1..3)
                .prop_map(|fields| DataType::Struct(fields.into_iter().collect())),
        ]
    })
}

fn key_type() -> impl Strategy<Value = KeyType> {
    prop_oneof![
        Just("bool"),
        Just("int64"),
        Just("string"),
        Just("date"),
        Just("timestamp"),
        Just("decimal(7,3)")
    ]
    .prop_map(|text| KeyType::parse(text).unwrap())
}

fn entity(name: String) -> impl Strategy<Value = Entity> {
    let keys = btree_map(column(), key_type(), 1..4);
    (Just(name), keys, any::<bool>(), notes()).prop_map(|(name, keys, turned, notes)| {
        let mut keys: Vec<KeyColumn> = keys
            .into_iter()
            .map(|(name, key_type)| KeyColumn { name, key_type })
            .collect();
        if turned {
            keys.reverse();
        }
        Entity {
            name: EntityName::parse(&name).unwrap(),
            keys,
            notes,
        }
    })
}

/// A managed source that has every column its view may want, or one that is read in place.
fn source(name: String) -> impl Strategy<Value = Source> {
    let zone = prop_oneof![Just("UTC"), Just("America/New_York"), Just("Asia/Kathmandu")];
    let dates = prop_oneof![Just(DateInstant::Start), Just(DateInstant::End)];
    let sql = prop_oneof![
        Just("select * from source"),
        Just("select *, 1 as \"a b\"\nfrom source where 'x' = 'y'")
    ];
    let rest = (option::of(zone), option::of(dates), option::of(sql), notes());
    let stream = option::weighted(0.3, stream());
    let managed = (btree_map(column(), data_type(), 0..4), any::<[bool; 4]>());
    (
        Just(name),
        managed,
        option::of("[a-z]{1,5}(/[a-z*]{1,5}){0,2}"),
        rest,
        stream,
    )
        .prop_map(
            |(name, (columns, [created, id, deleted, turned]), path, (zone, dates, sql, notes), stream)| {
                let own = |name: &str| format!("own {name}");
                let mut schema: Vec<(String, DataType)> = columns.into_iter().collect();
                schema.push((own("time"), DataType::Timestamp));
                schema.push((own("id"), DataType::String));
                schema.push((own("deleted"), DataType::Bool));
                if turned {
                    schema.reverse();
                }
                let managed = path.is_none();
                let stream = stream.map(|stream: Stream| Stream {
                    format: match stream.format {
                        MessageFormat::Avro { framing, .. } => MessageFormat::Avro {
                            schema: avro_schema(&schema),
                            framing,
                        },
                        other => other,
                    },
                    ..stream
                });
                Source {
                    name: SourceName::parse(&name).unwrap(),
                    location: match path {
                        Some(path) => Location::InPlace { path },
                        None => Location::Managed {
                            schema,
                            event_id: id.then(|| own("id")),
                            stream,
                        },
                    },
                    event_time: own("time"),
                    created_time: created.then(|| own("time")),
                    timezone: zone.map(|zone| Zone::parse(zone).unwrap()),
                    dates,
                    deleted: deleted.then(|| own("deleted")),
                    // A view's columns are not checked against a managed source with sql.
                    sql: sql
                        .or(managed.then_some("select * from source"))
                        .map(str::to_owned),
                    notes,
                }
            },
        )
}

/// A stream; of Avro without its schema, which follows the columns.
fn stream() -> impl Strategy<Value = Stream> {
    let nats = (
        "[a-z]{1,5}(\\.[a-z]{1,5}|\\.\\*){0,2}(\\.>)?",
        option::of("[A-Z_]{1,5}"),
    );
    let nats = nats.prop_map(|(subject, stream)| Broker::Nats { subject, stream });
    let kafka = ("[a-z][a-z._-]{2,8}", "[a-z][a-z.:/@-]{0,8}");
    let kafka = kafka.prop_map(|(topic, group)| Broker::Kafka { topic, group });
    let servers = prop_oneof![
        Just(Servers::At("host:4222,other:4222".into())),
        Just(Servers::Environment("NATS_URL".into())),
    ];
    let framing = prop_oneof![
        Just(AvroFraming::None),
        Just(AvroFraming::SingleObject),
        any::<u32>().prop_map(AvroFraming::Confluent),
    ];
    let avro = framing.prop_map(|framing| MessageFormat::Avro {
        schema: String::new(),
        framing,
    });
    let format = prop_oneof![Just(MessageFormat::Json), Just(MessageFormat::Arrow), avro];
    let start = prop_oneof![Just(StreamStart::Earliest), Just(StreamStart::Latest)];
    let broker = prop_oneof![nats, kafka];
    (broker, servers, format, start).prop_map(|(broker, servers, format, start)| Stream {
        broker,
        servers,
        format,
        start,
    })
}

fn avro_schema(columns: &[(String, DataType)]) -> String {
    let field = |name: &String| serde_json::json!({ "name": name, "type": ["null", "string"] });
    let fields: Vec<_> = columns.iter().map(|(name, _)| field(name)).collect();
    serde_json::json!({ "type": "record", "name": "r", "fields": fields }).to_string()
}

fn view(own: String, entity: EntityName, source: SourceName) -> impl Strategy<Value = View> {
    let feature = (data_type(), option::of(column()), option::of(text()));
    let features = btree_map(name(), feature, 1..4);
    let ttl = option::of(1i64..=i64::MAX);
    let aggregates = option::weighted(0.3, aggregates());
    (Just(own), ttl, features, any::<bool>(), notes(), aggregates).prop_map(
        move |(name, ttl, features, turned, notes, aggregates)| {
            let mut features: Vec<Feature> = features
                .into_iter()
                .map(|(name, (data_type, column, description))| Feature {
                    name: FeatureName::parse(&name).unwrap(),
                    data_type,
                    column,
                    description,
                })
                .collect();
            if turned {
                features.reverse();
            }
            View {
                name: ViewName::parse(&name).unwrap(),
                entity: entity.clone(),
                source: source.clone(),
                ttl: ttl
                    .filter(|_| aggregates.is_none())
                    .map(|micros| Duration::from_micros(micros).unwrap()),
                kind: aggregates.map_or(ViewKind::Features(features), ViewKind::Aggregates),
                notes,
            }
        },
    )
}

fn aggregates() -> impl Strategy<Value = Aggregates> {
    let input = prop_oneof![
        column().prop_map(InputText::Column),
        Just(InputText::Expression("x + 1 - \"a b\"".into())),
    ];
    let function = prop_oneof![
        Just((vec![Function::Count], DataType::Bool)),
        Just((vec![Function::Max], DataType::Timestamp)),
        Just((vec![Function::Sum], DataType::parse("decimal(9,2)").unwrap())),
        Just((vec![Function::LastN(7)], DataType::parse("list<string>").unwrap())),
        Just((
            vec![Function::ApproxQuantile(1), Function::ApproxQuantile(999_999)],
            DataType::Float64
        )),
    ];
    let windows = subsequence(vec!["90m", "1w", "all"], 1..=3);
    let filter = option::of(Just("x > 'ü'".to_owned()));
    let aggregate = (input, function, windows, filter, option::of(text()));
    (vec(aggregate, 1..4), option::of(1i64..5_000_000_000)).prop_map(|(list, hop)| {
        let list = list.into_iter().enumerate();
        let aggregate = |(number, (input, (functions, input_type), windows, filter, description))| {
            let windows: Vec<&str> = windows;
            Aggregate {
                name: Some(format!("of_{number}")),
                input: Some(input),
                input_type,
                functions,
                windows: windows
                    .iter()
                    .map(|text| NamedWindow::parse(text).unwrap())
                    .collect(),
                filter,
                description,
            }
        };
        let hop = hop.map(|micros| Duration::from_micros(micros).unwrap());
        Aggregates::new(hop, list.map(aggregate).collect()).unwrap()
    })
}

/// Entries of a service that lists the view under several prefixes, so that its columns never collide.
fn entries(view: &View, entity: &Entity) -> impl Strategy<Value = Vec<ServiceEntry>> + use<> {
    let (view, keys) = (view.clone(), entity.keys.clone());
    vec((any::<bool>(), 0usize..4, any::<bool>()), 1..4).prop_map(move |entries| {
        let entry = |(at, (all, take, mapped)): (usize, (bool, usize, bool))| {
            let names: Vec<FeatureName> = view
                .features()
                .iter()
                .map(|feature| feature.name.clone())
                .collect();
            let take = take.clamp(1, names.len());
            ServiceEntry {
                view: view.name.clone(),
                select: if all {
                    Select::All
                } else {
                    Select::Named(names[..take].to_vec())
                },
                keys: if mapped && at > 0 {
                    BTreeMap::from([(keys[0].name.clone(), format!("caller's \"{at}\""))])
                } else {
                    BTreeMap::new()
                },
                prefix: (at > 0).then(|| Prefix::parse(&format!("p{at}")).unwrap()),
            }
        };
        entries.into_iter().enumerate().map(entry).collect()
    })
}

fn definitions() -> impl Strategy<Value = Definitions> {
    btree_set(name(), 4..5)
        .prop_flat_map(|names| {
            let names: Vec<String> = names.into_iter().collect();
            (
                Just(names.clone()),
                entity(names[0].clone()),
                source(names[1].clone()),
            )
        })
        .prop_flat_map(|(names, entity, source)| {
            let view = view(names[2].clone(), entity.name.clone(), source.name.clone());
            (Just(names), Just(entity), Just(source), view)
        })
        .prop_flat_map(|(names, entity, source, view)| {
            let entries = entries(&view, &entity);
            (Just((names, entity, source, view)), entries, notes())
        })
        .prop_map(|((names, entity, source, view), entries, notes)| {
            let mut definitions = Definitions::empty(config().project);
            definitions.entities.insert(entity.name.clone(), entity);
            definitions.sources.insert(source.name.clone(), source);
            definitions.views.insert(view.name.clone(), view);
            let entries = entries
                .into_iter()
                .map(|entry| freeze(&definitions, entry).unwrap())
                .collect();
            let name = ServiceName::parse(&names[3]).unwrap();
            let service = Service {
                name: name.clone(),
                entries,
                notes,
            };
            definitions.services.insert(name, service);
            definitions
        })
}

fn as_file(definitions: &Definitions) -> String {
    list(definitions, None)
        .iter()
        .filter(|object| object.kind() != ObjectKind::Feature)
        .map(to_toml)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_shown_reads_back_as_what_it_was(definitions in definitions()) {
        let text = as_file(&definitions);
        let authored = Authored::parse(&config(), &[file("features/a.toml", &text)])
            .map_err(|problems| TestCaseError::fail(format!("{problems}\n{text}")))?;
        let planned = plan(None, authored).unwrap();
        prop_assert_eq!(planned.definitions().as_ref(), &definitions, "{}", text);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "(\\[\\[(entity|source|view|service)\\]\\]\n((name|keys|path|schema|features|tags|ttl) = (\"\\PC{0,4}\"|\\{[^\n]{0,9}\\}|\\[.{0,5}\\]|7)\n){0,4}){0,3}.{0,9}") {
        if let Err(problems) = Authored::parse(&config(), &[file("features/a.toml", &text)]) {
            prop_assert!(!problems.is_empty());
            for problem in problems.iter() {
                prop_assert!(!problem.to_string().contains('\n'), "one line each: {}", problem);
            }
        }
    }
}

/// Applying twice is applying once, and what comes back from the disk is what went in.
#[test]
fn applying_twice_is_applying_once_and_the_disk_keeps_every_field() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let store = runtime
        .block_on(SqliteRegistry::open(&folder.path().join("registry.db")))
        .unwrap();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 500,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let project = config().project;
    let result = runner.run(&definitions(), |definitions| {
        runtime.block_on(async {
            let head = store.head(&project).await.unwrap();
            let authored =
                || Authored::parse(&config(), &[file("features/a.toml", as_file(&definitions))]).unwrap();
            // `*` of a service that was there before keeps what it had: start from nothing instead.
            let base = head.as_ref().map_or(0, |head| head.number);
            let first = store
                .commit(
                    base,
                    Arc::new(definitions.clone()),
                    Timestamp::from_micros(base as i64),
                )
                .await
                .unwrap();
            prop_assert_eq!(first.number, base + 1);
            let stored = store.head(&project).await.unwrap().unwrap();
            prop_assert_eq!(&stored, &first);
            prop_assert_eq!(stored.definitions.as_ref(), &definitions);

            let again = plan(Some(&stored), authored()).unwrap();
            prop_assert!(again.is_empty(), "{}", again);
            let second = apply(&store, &again, false, Timestamp::MAX).await.unwrap();
            prop_assert_eq!(&second, &first);
            prop_assert_eq!(store.head(&project).await.unwrap(), Some(first));
            Ok(())
        })
    });
    result.unwrap();
}
