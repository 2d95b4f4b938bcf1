//! Online answers against the reference, and position by position.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef, Int64Array};
use asof_core::duration::Duration;
use asof_core::key::{KeyValue, encode};
use asof_core::order::RowOrder;
use asof_core::reference::{HistoryRow, Rules, as_of};
use asof_core::status::{Status, Verdict};
use asof_core::time::Timestamp;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngSeed, TestRunner};

use crate::harness::{Row, Server, codes, column, of_features, of_service, text_column, text_key};

const CASES: u32 = 2_000;
const KEYS: [&str; 4] = ["", "1", "11", "never seen"];

#[derive(Debug, Clone)]
struct Event {
    key: usize,
    event: i64,
    delay: i64,
    deleted: bool,
    temp: Option<f64>,
    code: Option<i64>,
}

#[derive(Debug, Clone)]
struct Case {
    events: Vec<Event>,
    /// When everything was written, and how much later it is read.
    written: i64,
    wait: i64,
    asked: Vec<Option<usize>>,
}

fn case() -> impl Strategy<Value = Case> {
    let delay = prop_oneof![2 => Just(0i64), 2 => 0i64..40, 1 => -5i64..0];
    let event = (
        0..3usize,
        -20i64..30,
        delay,
        prop::bool::weighted(0.15),
        any::<Option<i8>>(),
        any::<Option<i16>>(),
    )
        .prop_map(|(key, event, delay, deleted, temp, code)| Event {
            key,
            event,
            delay,
            deleted,
            temp: temp.map(f64::from),
            code: code.map(i64::from),
        });
    (
        prop::collection::vec(event, 0..12),
        0i64..20,
        0i64..15,
        prop::collection::vec(prop::option::weighted(0.9, 0..KEYS.len()), 1..9),
    )
        .prop_map(|(events, written, wait, asked)| Case {
            events,
            written,
            wait,
            asked,
        })
}

fn history(case: &Case) -> Vec<HistoryRow<(Option<f64>, Option<i64>)>> {
    let events = case.events.iter().enumerate();
    events
        .map(|(seq, event)| HistoryRow {
            keys: vec![Some(KeyValue::String(KEYS[event.key].into()))],
            event_time: Some(Timestamp::from_micros(event.event)),
            created_time: Some(Timestamp::from_micros(event.event + event.delay)),
            seq: seq as u64,
            deleted: event.deleted,
            values: (event.temp, event.code),
        })
        .collect()
}

fn rows(case: &Case) -> Vec<Row> {
    let events = case.events.iter().enumerate();
    events
        .map(|(seq, event)| Row {
            key: text_key(KEYS[event.key]),
            order: RowOrder {
                event_time: Timestamp::from_micros(event.event),
                created_time: Timestamp::from_micros(event.event + event.delay),
                seq: seq as u64,
            },
            deleted: event.deleted,
            temp: event.temp,
            code: event.code,
        })
        .collect()
}

/// I8: statuses, values and event times are those of the contract's reference, at any instant.
#[tokio::test]
async fn answers_equal_the_reference() {
    let server = Server::start().await;
    let mut client = server.online().await;
    let mut runner = TestRunner::new(Config {
        rng_seed: RngSeed::Fixed(8),
        ..Config::default()
    });
    let mut seen = [0; 6];
    for number in 0..CASES {
        let case = case().new_tree(&mut runner).unwrap().current();
        let now = case.written + case.wait;
        server.clock.set(now);
        for view in ["fleeting", "lasting"] {
            server.load(view, case.written, &rows(&case), true).await;
        }
        let asked: Vec<Option<&str>> = case.asked.iter().map(|key| key.map(|key| KEYS[key])).collect();
        let keys = vec![text_column("origin", &asked)];
        let features = ["fleeting:temp", "lasting:code"];
        let answer = client
            .get_features(of_features(&features, keys))
            .await
            .unwrap()
            .into_inner();
        assert_eq!((answer.rows as usize, answer.as_of_micros), (asked.len(), now));
        let history = history(&case);
        let features = answer.features().unwrap();
        for (place, ttl) in [Some("10us"), None].into_iter().enumerate() {
            let rules = Rules {
                ttl: ttl.map(|ttl| Duration::parse(ttl).unwrap()),
                as_corrected: false,
            };
            let (statuses, values) = (&features[place].statuses, &features[place].array);
            assert_eq!(features[place].view, place);
            let event_times: Vec<_> = answer.event_times(place).collect();
            for (at, key) in asked.iter().enumerate() {
                let key = [key.map(|key| KeyValue::String(key.into()))];
                let expected = as_of(&history, &key, Timestamp::from_micros(now), rules);
                let (temp, code) = expected.winner.map_or((None, None), |winner| winner.values);
                let is_null = if place == 0 {
                    temp.is_none()
                } else {
                    code.is_none()
                };
                let status = expected.verdict.status(is_null);
                let context = format!("case {number}, position {at}, view {place}: {case:?}");
                assert_eq!(statuses[at], status, "{context}");
                assert_eq!(values.is_null(at), status != Status::Present, "{context}");
                seen[usize::from(status.code())] += 1;
                if status == Status::Present && place == 0 {
                    assert_eq!(
                        Some(values.as_primitive::<Float64Type>().value(at)),
                        temp,
                        "{context}"
                    );
                }
                if status == Status::Present && place == 1 {
                    assert_eq!(
                        Some(values.as_primitive::<Int64Type>().value(at)),
                        code,
                        "{context}"
                    );
                }
                let timed = matches!(expected.verdict, Verdict::Fresh | Verdict::Expired);
                let event_time = timed.then(|| expected.winner.unwrap().event_time.unwrap().micros());
                assert_eq!(event_times[at], event_time, "{context}");
            }
        }
    }
    assert!(
        seen[1..].iter().all(|count| *count > 20),
        "every status is met: {seen:?}"
    );
}

/// I7: duplicates, missing and unsorted composite keys each get their own answer.
#[tokio::test]
async fn position_i_answers_position_i() {
    let server = Server::start().await;
    let key = |tail: &str, number| {
        encode(&[Some(KeyValue::String(tail.into())), Some(KeyValue::Int64(number))]).unwrap()
    };
    let stored: Vec<Row> = [("1", 11, 111), ("11", 1, 222), ("", 0, 333)]
        .into_iter()
        .map(|(tail, number, code)| Row {
            key: key(tail, number),
            code: Some(code),
            ..crate::harness::row("", 0, 0)
        })
        .collect();
    server.load("leg_facts", 0, &stored, true).await;
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![
        Some(1),
        Some(11),
        Some(11),
        Some(1),
        Some(0),
        None,
    ]));
    let tails = [Some("11"), Some("1"), Some("11"), Some("11"), Some(""), Some("1")];
    let keys = vec![column("number", "int64", &numbers), text_column("tail", &tails)];
    let mut client = server.online().await;
    let answer = client
        .get_features(of_service("legs_v1", keys))
        .await
        .unwrap()
        .into_inner();
    let answers = answer.features().unwrap();
    let expected: ArrayRef = Arc::new(Int64Array::from(vec![
        Some(222),
        Some(111),
        None,
        Some(222),
        Some(333),
        None,
    ]));
    assert_eq!(&answers[0].array, &expected);
    assert_eq!(codes(&answers[0]), [1, 1, 3, 1, 1, 3]);
}

/// Large requests take another path through the server, and give the same answer.
#[tokio::test]
async fn ten_thousand_positions_are_answered_in_order() {
    let server = Server::start().await;
    let rows: Vec<Row> = (0..100)
        .map(|code| crate::harness::row(&format!("k{code}"), 0, code))
        .collect();
    server.load("lasting", 0, &rows, true).await;
    let asked: Vec<String> = (0..10_000).map(|at| format!("k{}", at * 7 % 130)).collect();
    let keys = vec![text_column(
        "origin",
        &asked.iter().map(|key| Some(key.as_str())).collect::<Vec<_>>(),
    )];
    let mut client = server.online().await;
    let answer = client
        .get_features(of_features(&["lasting:code"], keys))
        .await
        .unwrap()
        .into_inner();
    let expected = (0..10_000)
        .map(|at| Some(at * 7 % 130).filter(|code| *code < 100))
        .collect::<Int64Array>();
    assert_eq!(
        &answer.features().unwrap()[0].array,
        &(Arc::new(expected) as ArrayRef)
    );
}

#[tokio::test]
async fn a_service_answers_under_its_own_columns_and_says_its_versions() {
    let server = Server::start().await;
    server.clock.set(20);
    server
        .load("fleeting", 5, &[crate::harness::row("JFK", 5, 7)], true)
        .await;
    server
        .load(
            "lasting",
            15,
            &[crate::harness::row("JFK", 5, 8), crate::harness::row("LAX", 6, 9)],
            true,
        )
        .await;
    let keys = vec![
        text_column("origin", &[Some("JFK")]),
        text_column("dest", &[Some("LAX")]),
    ];
    let mut client = server.online().await;
    let answer = client
        .get_features(of_service("model_v1", keys))
        .await
        .unwrap()
        .into_inner();
    let features = answer.features().unwrap();
    let names: Vec<_> = features.iter().map(|feature| feature.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "fleeting__temp",
            "fleeting__code",
            "lasting__code",
            "dest_lasting__code"
        ]
    );
    let statuses: Vec<_> = features.iter().flat_map(codes).collect();
    // The first view's row is 15 µs old, and lives for 10.
    assert_eq!(statuses, [4, 4, 1, 1]);
    assert_eq!(features[3].array.as_primitive::<Int64Type>().value(0), 9);
    let schema = answer.schema().unwrap();
    let views: Vec<_> = schema
        .views
        .iter()
        .zip(answer.materialized_to())
        .enumerate()
        .map(|(at, (view, materialized_to))| {
            let event_time = answer.event_times(at).next().unwrap().unwrap();
            (
                view.view.as_str(),
                view.prefix.as_str(),
                event_time,
                materialized_to,
            )
        })
        .collect();
    assert_eq!(
        views,
        [
            ("fleeting", "", 5, 5),
            ("lasting", "", 5, 15),
            ("lasting", "dest", 6, 15)
        ]
    );
    assert_eq!(
        (
            answer.service.as_str(),
            answer.service_version,
            answer.registry_version
        ),
        ("model_v1", 1, 1)
    );
}
