//! I11 with servers that are killed, paused and cut off: an error in time, never "nothing there", and nothing that was
//! acknowledged is lost.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use asof_core::key::EntityKey;
use asof_core::name::{ProjectName, SourceName};
use asof_core::online::conformance::{key, order, read_one, row};
use asof_core::online::intake::{Answer, Entry, Intake, IntakeLog, IntakeRows, SourceAddress};
use asof_core::online::{Generation, OnlineStore, StoreError, ViewSlot};
use asof_core::time::Timestamp;
use asof_redis::RedisStore;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::harness;
use crate::servers::{Cluster, Proxy, Server};

const NOW: Timestamp = Timestamp::from_micros(i64::MAX - 1);
const KEYS: u64 = 20;
const DEADLINE: Duration = Duration::from_millis(500);
/// A call may take as much longer as this machine is busy.
const MARGIN: Duration = Duration::from_secs(1);

fn source(name: &str) -> SourceAddress {
    SourceAddress {
        project: ProjectName::parse("p").unwrap(),
        source: SourceName::parse(name).unwrap(),
    }
}

fn open(url: &str) -> RedisStore {
    RedisStore::open(&asof_redis::RedisOptions {
        deadline: DEADLINE,
        ..harness::options(url)
    })
    .unwrap()
}

/// What was acknowledged, noted outside of the store.
#[derive(Default)]
struct Ledger {
    /// The last number by key.
    rows: BTreeMap<u64, u64>,
    /// By source, the numbers that were accepted.
    accepted: BTreeMap<String, Vec<u64>>,
    errors: usize,
}

struct Outage<'a> {
    store: &'a RedisStore,
    slot: ViewSlot,
    generation: Generation,
    ledger: Mutex<Ledger>,
    is_over: AtomicBool,
    case: String,
}

impl Outage<'_> {
    /// Runs a call, which must end in time; an error must be one that says that the store failed.
    fn call<T>(&self, what: &str, call: impl FnOnce() -> Result<T, StoreError>) -> Option<T> {
        let began = Instant::now();
        let outcome = call();
        let took = began.elapsed();
        assert!(took < DEADLINE + MARGIN, "{what} took {took:?}, {}", self.case);
        match outcome {
            Ok(value) => Some(value),
            Err(StoreError::Failed { .. }) => {
                self.ledger.lock().unwrap().errors += 1;
                None
            }
            Err(error) => panic!("{what}: {error}, {}", self.case),
        }
    }

    /// Writes rows of its own keys, one after the other.
    fn write(&self, writer: u64) {
        let mut n = 0;
        while !self.is_over.load(Ordering::SeqCst) {
            n += 1;
            let k = writer * KEYS + n % KEYS;
            let rows = [row(&key(&k.to_string()), order(n as i64, 0, 1), n as i64)];
            let written = self.call("a write", || {
                self.store.write(self.slot, self.generation, NOW, &rows, None)
            });
            if written.is_some() {
                self.ledger.lock().unwrap().rows.insert(k, n);
            } else {
                thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// Pushes to a source of its own: an entry, an answer, and a row of each of two keys.
    fn push(&self, pusher: u64) {
        let name = format!("s{pusher}");
        let of = source(&name);
        let mut n = 0;
        while !self.is_over.load(Ordering::SeqCst) {
            n += 1;
            if self
                .call("an accept", || {
                    accept(self.store, &of, self.slot, self.generation, pusher, n)
                })
                .is_some()
            {
                self.ledger
                    .lock()
                    .unwrap()
                    .accepted
                    .entry(name.clone())
                    .or_default()
                    .push(n);
            } else {
                thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// Reads keys that were acknowledged: what is found is no older than what was known before the read.
    fn read(&self, seed: u64) {
        let mut random = StdRng::seed_from_u64(seed);
        while !self.is_over.load(Ordering::SeqCst) {
            let known = {
                let ledger = self.ledger.lock().unwrap();
                let place = random.random_range(0..ledger.rows.len().max(1));
                ledger.rows.iter().nth(place).map(|(k, n)| (*k, *n))
            };
            let Some((k, n)) = known else { continue };
            let found = self.call("a read", || {
                read_one(
                    self.store,
                    self.slot,
                    self.generation,
                    &key(&k.to_string()),
                    NOW.micros(),
                )
            });
            if let Some((found, _)) = found {
                let found = found.unwrap_or_else(|| panic!("key {k} is not found, {}", self.case));
                assert!(found >= n as i64, "key {k}: {found} after {n}, {}", self.case);
            }
        }
    }

    /// Asserts that all that was acknowledged is there, and of pushes that were not, all or nothing.
    fn check(&self, store: &RedisStore) {
        let ledger = self.ledger.lock().unwrap();
        let read = |k: &str| {
            read_one(store, self.slot, self.generation, &key(k), NOW.micros())
                .unwrap()
                .0
        };
        for (k, n) in &ledger.rows {
            let found = read(&k.to_string());
            assert!(
                found >= Some(*n as i64),
                "key {k}: {found:?} of {n}, {}",
                self.case
            );
        }
        for (name, accepted) in &ledger.accepted {
            let of = source(name);
            let pusher: u64 = name[1..].parse().unwrap();
            let entries: Vec<u64> = store
                .entries(&of, usize::MAX)
                .unwrap()
                .into_iter()
                .map(|(n, _)| n)
                .collect();
            for n in accepted {
                assert!(entries.contains(n), "entry {n} of {name} is lost, {}", self.case);
            }
            assert_eq!(store.accepted(&of), Ok(*entries.last().unwrap()), "{}", self.case);
            let bytes: usize = entries.iter().map(|n| n.to_string().len()).sum();
            assert_eq!(store.waiting(&of), Ok(bytes as u64), "{}", self.case);
            for n in &entries {
                assert_eq!(
                    store.answered(&of, &n.to_string()).unwrap().as_deref(),
                    Some(&b"yes"[..])
                );
            }
            let last = *entries.last().unwrap() as i64;
            for side in ["left", "right"] {
                assert_eq!(
                    read(&format!("{side} {pusher}")),
                    Some(last),
                    "{side} of {name}, {}",
                    self.case
                );
            }
        }
    }
}

fn accept(
    store: &RedisStore,
    of: &SourceAddress,
    slot: ViewSlot,
    generation: Generation,
    pusher: u64,
    n: u64,
) -> Result<(), StoreError> {
    let bytes = n.to_string();
    let key = |side: &str| -> EntityKey { key(&format!("{side} {pusher}")) };
    let rows = ["left", "right"].map(|side| row(&key(side), order(n as i64, 0, 1), n as i64));
    let intake = Intake {
        at: NOW,
        entry: Some(Entry {
            number: n,
            bytes: bytes.as_bytes(),
            accepted: n,
        }),
        answers: &[Answer {
            id: bytes.clone(),
            bytes: b"yes".to_vec(),
        }],
        rows: &[IntakeRows {
            slot,
            generation,
            rows: rows.to_vec(),
            note: None,
        }],
        events: None,
        marks: &[],
        dead_letters: None,
    };
    store.accept(of, intake)
}

/// Writes, pushes and reads while `trouble` happens; afterwards calls succeed soon, and everything is there. Returns how
/// many calls failed.
fn survives(url: &str, case: &str, trouble: impl FnOnce()) -> usize {
    let store = open(url);
    let (slot, generation) = match store.views().unwrap().first() {
        Some((_, slot, state)) => (*slot, state.serving.as_ref().unwrap().generation),
        None => harness::serving(&store, "v"),
    };
    let outage = Outage {
        store: &store,
        slot,
        generation,
        ledger: Mutex::default(),
        is_over: AtomicBool::new(false),
        case: case.into(),
    };
    thread::scope(|scope| {
        let others: Vec<_> = (0..2)
            .flat_map(|n| {
                let outage = &outage;
                [
                    scope.spawn(move || outage.write(n)),
                    scope.spawn(move || outage.push(n)),
                    scope.spawn(move || outage.read(n)),
                ]
            })
            .collect();
        trouble();
        let back = Instant::now();
        // Calls of every kind succeed again, without opening the store anew.
        let k = key("after");
        let rows = [row(&k, order(1, 1, 1), 1)];
        let again = || {
            store.write(slot, generation, NOW, &rows, None)?;
            accept(&store, &source("after"), slot, generation, 99, 1)?;
            read_one(&store, slot, generation, &k, NOW.micros())
        };
        loop {
            match again() {
                Ok(found) => {
                    assert_eq!(found.0, Some(1), "{case}");
                    break;
                }
                Err(error) => assert!(back.elapsed() < Duration::from_secs(5), "{error}, {case}"),
            }
            thread::sleep(Duration::from_millis(20));
        }
        thread::sleep(Duration::from_millis(100));
        outage.is_over.store(true, Ordering::SeqCst);
        for other in others {
            if let Err(panic) = other.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
    outage.check(&store);
    let ledger = outage.ledger.lock().unwrap();
    // What is back within the deadline is not noticed.
    let errors = ledger.errors;
    assert!(
        !ledger.rows.is_empty() && !ledger.accepted.is_empty(),
        "nothing was written, {case}"
    );
    let counts = store.count(slot, generation).unwrap();
    assert!(counts.keys >= ledger.rows.len() as u64, "{case}");
    errors
}

#[test]
fn servers_may_be_killed() {
    let seed = harness::seed();
    let mut random = StdRng::seed_from_u64(seed);
    let mut errors = 0;
    for kill in 0..harness::cases(4) {
        let mut server = Server::start();
        let url = server.url();
        errors += survives(&url, &format!("kill {kill}, seed {seed}"), || {
            for _ in 0..2 {
                thread::sleep(Duration::from_millis(random.random_range(20..150)));
                server.kill();
                thread::sleep(Duration::from_millis(random.random_range(0..1_000)));
                server.restart();
            }
        });
    }
    println!(
        "figure: {} servers killed twice: {errors} calls failed",
        harness::cases(4)
    );
    assert!(errors > 0, "nothing failed, seed {seed}");
}

#[test]
fn servers_may_be_paused() {
    let seed = harness::seed();
    let mut random = StdRng::seed_from_u64(seed);
    for pause in 0..harness::cases(2) {
        let server = Server::start();
        let errors = survives(&server.url(), &format!("pause {pause}, seed {seed}"), || {
            thread::sleep(Duration::from_millis(random.random_range(20..150)));
            server.pause();
            thread::sleep(Duration::from_millis(random.random_range(700..1_500)));
            server.resume();
        });
        println!("figure: a server paused: {errors} calls failed");
        assert!(errors > 0, "nothing failed, seed {seed}");
    }
}

#[test]
fn servers_may_be_cut_off() {
    let seed = harness::seed();
    let mut random = StdRng::seed_from_u64(seed);
    for cut in 0..harness::cases(2) {
        let server = Server::start();
        let proxy = Proxy::to(server.port);
        let errors = survives(&proxy.url(), &format!("cut {cut}, seed {seed}"), || {
            thread::sleep(Duration::from_millis(random.random_range(20..150)));
            proxy.cut();
            thread::sleep(Duration::from_millis(random.random_range(700..1_500)));
            proxy.mend();
        });
        println!("figure: a server cut off: {errors} calls failed");
        assert!(errors > 0, "nothing failed, seed {seed}");
    }
}

#[test]
fn servers_of_a_cluster_may_be_killed() {
    let seed = harness::seed();
    let mut random = StdRng::seed_from_u64(seed);
    let mut cluster = Cluster::start();
    let url = cluster.url();
    let errors = survives(&url, &format!("seed {seed}"), || {
        for _ in 0..2 {
            thread::sleep(Duration::from_millis(100));
            let server = random.random_range(0..3);
            cluster.servers[server].kill();
            thread::sleep(Duration::from_millis(random.random_range(0..500)));
            cluster.servers[server].restart();
            cluster.wait();
        }
    });
    println!("figure: two masters of a cluster killed: {errors} calls failed");
}

/// A commit whose answer was not heard is certain before the next one: it was made, or it never will be, even if the
/// server gets to see it later.
#[test]
fn a_commit_that_comes_late_is_not_made() {
    let server = Server::start();
    let proxy = Proxy::to(server.port);
    let store = open(&proxy.url());
    let (slot, generation) = harness::serving(&store, "v");
    let of = source("s");
    let accept = |n| accept(&store, &of, slot, generation, 0, n);
    let all = || {
        let entries = store.entries(&of, usize::MAX).unwrap();
        let entries: Vec<u64> = entries.into_iter().map(|(n, _)| n).collect();
        let read = read_one(&store, slot, generation, &key("left 0"), NOW.micros());
        (entries, store.accepted(&of).unwrap(), read.unwrap().0)
    };
    accept(1).unwrap();
    proxy.hold();
    let lost = accept(2);
    assert!(matches!(lost, Err(StoreError::Failed { .. })), "{lost:?}");
    let metric = |name: &str| {
        store
            .metrics()
            .into_iter()
            .find(|metric| metric.name == name)
            .unwrap()
            .value
    };
    assert_eq!(metric("redis_unfinished_commits"), 1.0);
    assert!(metric("redis_timeouts") >= 1.0);
    let opened = store.open_view(&asof_core::online::conformance::address("a", "string", "w"));
    assert!(opened.is_ok(), "{opened:?}");
    assert_eq!(metric("redis_unfinished_commits"), 0.0);
    assert_eq!(all(), (vec![1], 1, Some(1)));
    accept(3).unwrap();
    proxy.release();
    assert_eq!(all(), (vec![1, 3], 3, Some(3)));
}
