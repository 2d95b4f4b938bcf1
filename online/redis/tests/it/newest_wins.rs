//! I6: within a generation a key's row never goes back, whoever writes in whatever order.

use std::thread;

use asof_core::key::EntityKey;
use asof_core::online::conformance::{key, order, read_one, row, sorted};
use asof_core::online::memory::MemoryStore;
use asof_core::online::{OnlineRow, OnlineStore};
use asof_core::time::Timestamp;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use crate::harness;
use crate::servers::Server;

const WRITERS: u64 = 8;
const KEYS: usize = 200;
const NOW: i64 = 1_000;

/// Rows in a small space of times, so that every kind of tie and of pending row comes up, also orders whose bytes a
/// locale would sort otherwise. The nonce follows from the order, as a retry of a row is the same row.
fn random_rows(random: &mut StdRng, keys: &[EntityKey], count: usize) -> Vec<OnlineRow> {
    (0..count)
        .map(|_| {
            let (event, created) = (random.random_range(900..1_020), random.random_range(900..1_020));
            let seq = random.random_range(0..4) * 0x20;
            let key = &keys[random.random_range(0..keys.len())];
            row(
                key,
                order(event, created, seq),
                event * 1_000_000 + created * 1_000 + seq as i64,
            )
        })
        .collect()
}

#[test]
fn writers_in_any_order_leave_what_the_twin_has() {
    let seed = harness::seed();
    let rows_each = harness::cases(40_000) / WRITERS as usize;
    let server = Server::start();
    let store = harness::open(&server.url());
    let (slot, generation) = harness::serving(&store, "v");
    let twin = MemoryStore::new();
    assert_eq!(harness::serving(&twin, "v").1, generation);
    let twin_slot = twin.views().unwrap()[0].1;
    let keys: Vec<_> = (0..KEYS).map(|k| key(&k.to_string())).collect();

    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (store, twin, keys) = (&store, &twin, &keys);
            scope.spawn(move || {
                let mut random = StdRng::seed_from_u64(seed ^ writer);
                let mut written = 0;
                while written < rows_each {
                    let mut rows = random_rows(&mut random, keys, 100);
                    // The clock of a writer jumps.
                    let now = Timestamp::from_micros(NOW + random.random_range(-30..=0));
                    if random.random_ratio(1, 20) {
                        // Many at once, which are due whatever the clock says.
                        rows.retain(|row| row.order.due() <= now);
                        let loaded = sorted(&rows);
                        twin.load(twin_slot, generation, &loaded, b"").unwrap();
                        store.load(slot, generation, &loaded, b"").unwrap();
                        written += rows.len();
                        continue;
                    }
                    twin.write(twin_slot, generation, now, &rows, None).unwrap();
                    rows.shuffle(&mut random);
                    store.write(slot, generation, now, &rows, None).unwrap();
                    if random.random_ratio(1, 20) {
                        store.write(slot, generation, now, &rows, None).unwrap();
                    }
                    written += rows.len();
                }
            });
        }
    });

    let agree = |at: i64| {
        for key in &keys {
            let here = read_one(&store, slot, generation, key, at).unwrap();
            let there = read_one(&twin, twin_slot, generation, key, at).unwrap();
            assert_eq!(here, there, "at {at}, seed {seed}");
        }
    };
    // Back and forth.
    for at in [NOW, NOW + 19, NOW + 7, NOW - 10, NOW + 20] {
        agree(at);
    }
    assert_eq!(store.count(slot, generation), twin.count(twin_slot, generation));
    for now in [NOW, NOW - 5, NOW + 10, NOW + 10, NOW + 20] {
        let now = Timestamp::from_micros(now);
        assert_eq!(
            store.apply_due(slot, generation, now),
            twin.apply_due(twin_slot, generation, now)
        );
    }
    agree(NOW);
    assert_eq!(store.count(slot, generation), twin.count(twin_slot, generation));
}

/// What a reader has seen is never followed by something older, while writers write.
#[test]
fn a_reader_never_sees_a_key_go_back() {
    let seed = harness::seed();
    let server = Server::start();
    let store = harness::open(&server.url());
    let (slot, generation) = harness::serving(&store, "v");
    let keys: Vec<_> = (0..20).map(|k| key(&k.to_string())).collect();
    let now = Timestamp::from_micros(NOW);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let (store, keys) = (&store, &keys);
                scope.spawn(move || {
                    let mut random = StdRng::seed_from_u64(seed ^ writer);
                    for _ in 0..300 {
                        let key = &keys[random.random_range(0..keys.len())];
                        let event = random.random_range(0..NOW);
                        let rows = [row(key, order(event, 0, writer), event)];
                        store.write(slot, generation, now, &rows, None).unwrap();
                    }
                })
            })
            .collect();
        let mut last = vec![(None, false); keys.len()];
        while writers.iter().any(|writer| !writer.is_finished()) {
            for (key, last) in keys.iter().zip(&mut last) {
                let seen = read_one(&store, slot, generation, key, NOW).unwrap();
                assert!(seen >= *last, "{seen:?} after {last:?}, seed {seed}");
                *last = seen;
            }
        }
    });
}
