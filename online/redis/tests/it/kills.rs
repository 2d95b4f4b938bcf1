//! I11 with the process of the store killed: between any two steps of an accept and of a load of tiles, and at random
//! moments. Everything or nothing, and every event counts once.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdout, Command, Stdio};

use asof_core::aggregate::tiles::FoldedEvents;
use asof_core::key::EntityKey;
use asof_core::name::{ProjectName, SourceName};
use asof_core::online::conformance::{address, key, order, read_one, row, schema, tiled, tiles};
use asof_core::online::intake::{
    Answer, Entry, Events, Intake, IntakeLog, IntakeRows, SourceAddress, StreamMark,
};
use asof_core::online::{Generation, OnlineRow, OnlineStore, ViewSlot};
use asof_core::row::{StoredRow, fields_of};
use asof_core::time::Timestamp;
use asof_redis::RedisStore;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::harness;
use crate::servers::{Proxy, Server};

const STORE: &str = "ASOF_TEST_REDIS";
const ACCEPTS: &str = "kills::accepts_until_it_is_killed";
const FOLDS: &str = "kills::folds_until_it_is_killed";
const LOADS: &str = "kills::loads_until_it_is_killed";
/// All events are of one second, so that windows have all or none.
const AT: i64 = 60 * 1_000_000;
const NOW: Timestamp = Timestamp::from_micros(AT);

/// This test program again, as a process that goes on until it is killed.
struct Child {
    process: std::process::Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Child {
    fn run(test: &str, url: &str) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--ignored", "--nocapture"])
            .env(STORE, url)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, lines }
    }

    /// The next that was acknowledged; `None` once the process is gone.
    fn next_acknowledged(&mut self) -> Option<u64> {
        let lines = self.lines.by_ref().map_while(Result::ok);
        // What the test runner says comes on the same line.
        lines
            .filter_map(|line| line.rsplit_once("acknowledged ")?.1.parse().ok())
            .next()
    }

    /// Kills it, and returns the last one that it had sent by then.
    fn kill(&mut self) -> Option<u64> {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        std::iter::from_fn(|| self.next_acknowledged()).last()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn source() -> SourceAddress {
    SourceAddress {
        project: ProjectName::parse("p").unwrap(),
        source: SourceName::parse("s").unwrap(),
    }
}

/// The view of rows and the view of tiles, each with a generation that serves.
fn views(store: &RedisStore) -> [(ViewSlot, Generation); 2] {
    ["rows", "tiles"].map(|view| {
        let slot = store.open_view(&address("a", "string", view)).unwrap();
        if let Some(serving) = store.view_state(slot).unwrap().serving {
            return (slot, serving.generation);
        }
        if view == "rows" {
            return harness::serving(store, view);
        }
        let generation = store.begin_generation(slot, tiled(view), schema()).unwrap();
        store.serve(slot, generation).unwrap();
        (slot, generation)
    })
}

/// The keys that every step touches, which lie in several buckets.
fn keys() -> [EntityKey; 4] {
    ["a", "b", "c", "d"].map(key)
}

/// The event of a key in the n-th step, with a value that tells steps apart in sums.
fn event(key: &EntityKey, n: u64) -> OnlineRow {
    row(key, order(AT - 1 - n as i64 % 1_000, 0, n), 1 << n.min(40))
}

fn accept(store: &RedisStore, n: u64) {
    let [rows, folded] = views(store);
    let of_keys = |(slot, generation), make: &dyn Fn(&EntityKey) -> Vec<OnlineRow>| IntakeRows {
        slot,
        generation,
        rows: keys().iter().flat_map(make).collect(),
        note: Some(n.to_be_bytes().to_vec()),
    };
    let text = n.to_string();
    let pending = |k: &EntityKey| row(k, order(AT + n as i64, 0, n), n as i64);
    let rows = [
        of_keys(rows, &|k| {
            vec![row(k, order(n as i64, 0, n), n as i64), pending(k)]
        }),
        of_keys(folded, &|k| vec![event(k, n)]),
    ];
    let intake = Intake {
        at: NOW,
        entry: Some(Entry {
            number: n,
            bytes: text.as_bytes(),
            accepted: n,
        }),
        answers: &[Answer {
            id: text.clone(),
            bytes: b"yes".to_vec(),
        }],
        rows: &rows,
        events: Some(Events {
            ids: &[key(&text)],
            indexed: text.as_bytes(),
        }),
        marks: &[StreamMark {
            lane: "lane".into(),
            bytes: text.clone().into_bytes(),
        }],
        dead_letters: None,
    };
    store.accept(&source(), intake).unwrap();
}

fn acknowledge(n: u64) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "acknowledged {n}").unwrap();
    out.flush().unwrap();
}

/// Not a test of its own: the other side of those below.
#[test]
#[ignore = "is started by other tests"]
fn accepts_until_it_is_killed() {
    let Ok(url) = std::env::var(STORE) else { return };
    let store = harness::open(&url);
    views(&store);
    let last = store.last_entry(&source()).unwrap().unwrap_or(0);
    acknowledge(last);
    for n in last + 1.. {
        accept(&store, n);
        acknowledge(n);
    }
}

/// Not a test of its own: the other side of those below.
#[test]
#[ignore = "is started by other tests"]
fn loads_until_it_is_killed() {
    let Ok(url) = std::env::var(STORE) else { return };
    let store = harness::open(&url);
    let [_, (slot, generation)] = views(&store);
    acknowledge(0);
    for n in 1.. {
        let mut folded = FoldedEvents::default();
        for k in &keys() {
            let event = event(k, n);
            let parsed = StoredRow::parse(&event.bytes).unwrap();
            folded.add(&tiles(), k.as_bytes(), &parsed).unwrap();
        }
        let staged = store.stage_events(slot, generation, &folded, &[], &n.to_be_bytes());
        store.take_in(staged.unwrap()).unwrap();
        acknowledge(n);
    }
}

/// Not a test of its own: the other side of those below.
#[test]
#[ignore = "is started by other tests"]
fn folds_until_it_is_killed() {
    let Ok(url) = std::env::var(STORE) else { return };
    let store = harness::open(&url);
    let views = views(&store);
    acknowledge(0);
    for n in 1.. {
        let keys = keys();
        for (at, (slot, generation)) in views.into_iter().enumerate() {
            let layer = store.begin_layer(slot, generation).unwrap();
            let rows: Vec<OnlineRow> = match at {
                0 => keys
                    .iter()
                    .map(|k| row(k, order(n as i64, 0, n), n as i64))
                    .collect(),
                _ => keys.iter().map(|k| event(k, n)).collect(),
            };
            store.write(slot, layer, NOW, &rows, None).unwrap();
            let mut state = store.view_state(slot).unwrap().serving.unwrap();
            state.layers.iter_mut().for_each(|layer| layer.is_shown = true);
            store.write(slot, generation, NOW, &[], Some(&state)).unwrap();
            store.fold(slot, generation, layer).unwrap();
        }
        acknowledge(n);
    }
}

/// How many events of a key were counted, and their sum.
fn counted(store: &RedisStore, (slot, generation): (ViewSlot, Generation), k: &EntityKey) -> (i64, i64) {
    let mut found = None;
    let views = [(slot.view, generation)];
    let read = store.read(slot.entity, k, &views, NOW, &mut |_, answer| {
        let body = answer.windows.unwrap().body;
        let outputs = tiles().outputs();
        let fields = fields_of(&outputs, body).unwrap();
        let of = |name: &str| {
            let place = outputs
                .fields
                .iter()
                .position(|field| field.name == name)
                .unwrap();
            fields[place].map_or(0, |bytes| i64::from_le_bytes(bytes.try_into().unwrap()))
        };
        found = Some((of("count_all"), of("sum_all")));
        Ok(())
    });
    read.unwrap();
    found.unwrap()
}

/// Asserts that of each accept all is there or nothing, and that none that was acknowledged is missing; returns how many
/// there are.
fn check_accepts(url: &str, acknowledged: u64, case: &str) -> u64 {
    let store = harness::open(url);
    let [rows, folded] = views(&store);
    let last = store.last_entry(&source()).unwrap().unwrap_or(0);
    assert!(last >= acknowledged, "{last} of {acknowledged}, {case}");
    let entries = store.entries(&source(), usize::MAX).unwrap();
    assert_eq!(entries.len() as u64, last, "{case}");
    assert_eq!(store.accepted(&source()), Ok(last), "{case}");
    for n in [last, last + 1] {
        let there = n == last && n > 0;
        let text = n.to_string();
        assert_eq!(
            store.answered(&source(), &text).unwrap().is_some(),
            there,
            "answer {n} of {last}, {case}"
        );
        assert_eq!(
            store.known_events(&source(), &[key(&text)]),
            Ok(vec![there]),
            "event {n} of {last}, {case}"
        );
    }
    let mark = (last > 0).then(|| last.to_string().into_bytes());
    assert_eq!(store.indexed_events(&source()).unwrap(), mark, "{case}");
    let marks = store.marks(&source()).unwrap();
    assert_eq!(marks.into_iter().map(|mark| mark.bytes).next(), mark, "{case}");
    for (slot, generation) in [rows, folded] {
        let noted = store.noted(slot, generation).unwrap();
        assert_eq!(noted, (last > 0).then(|| last.to_be_bytes().to_vec()), "{case}");
    }
    for k in &keys() {
        let found = read_one(&store, rows.0, rows.1, k, AT).unwrap().0;
        assert_eq!(found, (last > 0).then_some(last as i64), "{case}");
        let sum = (1..=last).map(|n| 1_i64 << n.min(40)).sum();
        assert_eq!(
            counted(&store, folded, k),
            (last as i64, sum),
            "of {last}, {case}"
        );
    }
    let counts = store.count(rows.0, rows.1).unwrap();
    assert_eq!(counts.pending, last * keys().len() as u64, "{case}");
    last
}

/// The process goes away after each number of pieces that it sent since an accept began, so that it is cut between any
/// two of its steps.
#[test]
fn an_accept_is_whole_wherever_it_is_cut() {
    let server = Server::start();
    let mut total = 0;
    let mut cut_in = 0;
    for pieces in 0..harness::cases(14) {
        let case = format!("cut after {pieces} pieces");
        let proxy = Proxy::to(server.port);
        let mut child = Child::run(ACCEPTS, &proxy.url());
        let begun = child.next_acknowledged().unwrap();
        assert_eq!(begun, total, "{case}");
        child.next_acknowledged().unwrap();
        proxy.cut_after(pieces);
        while !proxy.is_cut() {
            std::thread::yield_now();
        }
        let acknowledged = child.kill().unwrap_or(total + 1);
        let there = check_accepts(&server.url(), acknowledged.max(total + 1), &case);
        cut_in += usize::from(there > acknowledged);
        total = there;
    }
    assert!(cut_in > 0, "no accept was cut after it was made");
}

#[test]
fn accepts_survive_kills() {
    let seed = harness::seed();
    let mut random = StdRng::seed_from_u64(seed);
    let server = Server::start();
    let mut total = 0;
    for kill in 0..harness::cases(8) {
        let mut child = Child::run(ACCEPTS, &server.url());
        let mut acknowledged = total;
        for _ in 0..random.random_range(1..8) {
            acknowledged = child.next_acknowledged().unwrap();
        }
        std::thread::sleep(std::time::Duration::from_micros(random.random_range(0..3_000)));
        acknowledged = child.kill().unwrap_or(acknowledged);
        total = check_accepts(&server.url(), acknowledged, &format!("kill {kill}, seed {seed}"));
    }
    println!(
        "figure: {} kills of a writer, {total} accepts acknowledged, all there",
        harness::cases(8)
    );
    assert!(total > 8, "only {total} accepts in all");
}

/// A load of tiles that was cut short is never taken for one that was not: what is told of it is no progress, or all of
/// it is there.
#[test]
fn a_load_that_was_cut_short_is_told() {
    let server = Server::start();
    let mut cut_short = 0;
    for pieces in 0..harness::cases(8) {
        let case = format!("cut after {pieces} pieces");
        server.ask("FLUSHALL");
        let proxy = Proxy::to(server.port);
        let mut child = Child::run(LOADS, &proxy.url());
        assert_eq!(child.next_acknowledged(), Some(0), "{case}");
        let first = child.next_acknowledged().unwrap();
        proxy.cut_after(pieces);
        while !proxy.is_cut() {
            std::thread::yield_now();
        }
        let acknowledged = child.kill().unwrap_or(first);
        let store = harness::open(&server.url());
        let [_, view] = views(&store);
        let loaded = store.loaded(view.0, view.1).unwrap().unwrap();
        match <[u8; 8]>::try_from(loaded.as_slice()) {
            Ok(progress) => {
                let n = u64::from_be_bytes(progress);
                assert!(n >= acknowledged, "{n} of {acknowledged}, {case}");
                for k in &keys() {
                    assert_eq!(counted(&store, view, k).0, n as i64, "{case}");
                }
            }
            Err(_) => {
                cut_short += 1;
                // Nothing more is folded into it.
                let staged = store.stage_events(
                    view.0,
                    view.1,
                    &FoldedEvents::default(),
                    &[event(&key("a"), 1)],
                    b"",
                );
                assert!(store.take_in(staged.unwrap()).is_err(), "{case}");
            }
        }
    }
    assert!(cut_short > 0, "no load was cut short");
}

/// A fold that was cut short has moved each key whole or not at all, and goes on when it is called again.
#[test]
fn a_fold_is_whole_wherever_it_is_cut() {
    let server = Server::start();
    let mut in_between = 0;
    for pieces in 0..harness::cases(16) {
        let case = format!("cut after {pieces} pieces");
        server.ask("FLUSHALL");
        let proxy = Proxy::to(server.port);
        let mut child = Child::run(FOLDS, &proxy.url());
        assert_eq!(child.next_acknowledged(), Some(0), "{case}");
        let first = child.next_acknowledged().unwrap();
        // A fold of both views takes some fifty.
        proxy.cut_after(pieces * 4);
        while !proxy.is_cut() {
            std::thread::yield_now();
        }
        let acknowledged = child.kill().unwrap_or(first);
        let store = harness::open(&server.url());
        let [rows, folded] = views(&store);
        let found = || {
            let of = |k: &EntityKey| {
                let row = read_one(&store, rows.0, rows.1, k, AT).unwrap().0.unwrap();
                (row as u64, counted(&store, folded, k))
            };
            keys().each_ref().map(of)
        };
        let before = found();
        let (last, (events, _)) = before[0];
        assert!(
            (acknowledged..=acknowledged + 1).contains(&last),
            "{last} of {acknowledged}, {case}"
        );
        assert!(
            (acknowledged..=acknowledged + 1).contains(&(events as u64)),
            "{events} of {acknowledged}, {case}"
        );
        for (row, counted) in before {
            let sum = (1..=events).map(|n| 1_i64 << n.min(40)).sum();
            assert_eq!((row, counted), (last, (events, sum)), "{case}");
        }
        for (slot, generation) in [rows, folded] {
            let state = store.view_state(slot).unwrap().serving.unwrap();
            for layer in state.shown() {
                in_between += 1;
                store.fold(slot, generation, layer).unwrap();
                assert_eq!(found(), before, "{case}");
            }
            assert_eq!(
                store.view_state(slot).unwrap().serving.unwrap().shown().count(),
                0,
                "{case}"
            );
        }
        let counts = store.count(rows.0, rows.1).unwrap();
        assert_eq!((counts.keys, counts.pending), (4, 0), "{case}");
    }
    assert!(in_between > 0, "no fold was cut short");
}
