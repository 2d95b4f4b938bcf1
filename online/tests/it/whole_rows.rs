//! I7: whole rows, right rows, under load.

use std::thread;
use std::time::{Duration, Instant};

use asof_core::online::OnlineStore;
use asof_core::online::conformance::{key, nonce, order, row};
use asof_core::time::Timestamp;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::harness;

const VIEWS: usize = 6;
const KEYS: i64 = 300;
const NOW: Timestamp = Timestamp::from_micros(i64::MAX);

/// Readers check that place `i` answers place `i`: the nonce says of which key and view a row is, and at
/// which event time it was written.
#[test]
fn every_place_gets_its_own_whole_row() {
    let seed = harness::seed();
    let directory = tempfile::tempdir().unwrap();
    let store = harness::open(directory.path()).unwrap();
    let views: Vec<_> = (0..VIEWS)
        .map(|view| harness::serving(&store, &format!("v{view}")))
        .collect();
    let until = Instant::now() + Duration::from_secs(10);
    let reads = thread::scope(|scope| {
        for writer in 0..4 {
            let (store, views) = (&store, &views);
            scope.spawn(move || {
                let mut random = StdRng::seed_from_u64(seed ^ writer);
                while Instant::now() < until {
                    let (event, v) = (random.random_range(0..1_000_000), random.random_range(0..VIEWS));
                    let rows: Vec<_> = (0..20)
                        .map(|_| {
                            let k = random.random_range(0..KEYS);
                            let stamp = (event * KEYS + k) * VIEWS as i64 + v as i64;
                            row(&key(&k.to_string()), order(event, event, 1), stamp)
                        })
                        .collect();
                    store.write(views[v].0, views[v].1, NOW, &rows, None).unwrap();
                }
            });
        }
        let readers: Vec<_> = (0..4)
            .map(|reader| {
                let (store, views) = (&store, &views);
                scope.spawn(move || {
                    let mut random = StdRng::seed_from_u64(seed ^ (100 + reader));
                    let mut found_rows = 0;
                    while Instant::now() < until {
                        found_rows += check_one(store, views, &mut random, seed);
                    }
                    found_rows
                })
            })
            .collect();
        readers
            .into_iter()
            .map(|reader| reader.join().unwrap())
            .sum::<u64>()
    });
    assert!(reads > 1_000, "only {reads} rows were read");
}

fn check_one(
    store: &dyn OnlineStore,
    views: &[(asof_core::online::ViewSlot, asof_core::online::Generation)],
    random: &mut StdRng,
    seed: u64,
) -> u64 {
    let k = random.random_range(0..KEYS + 3);
    let places: Vec<_> = (0..random.random_range(1..12))
        .map(|_| random.random_range(0..VIEWS))
        .collect();
    let wanted: Vec<_> = places.iter().map(|v| (views[*v].0.view, views[*v].1)).collect();
    let (mut visited, mut found_rows) = (vec![false; places.len()], 0);
    store
        .read(
            views[0].0.entity,
            &key(&k.to_string()),
            &wanted,
            NOW,
            &mut |place, found| {
                assert!(!visited[place]);
                visited[place] = true;
                if let Some(row) = found.winner {
                    let (stamp, event) = (nonce(row.body), row.order.event_time.micros());
                    let expect = (event * KEYS + k) * VIEWS as i64 + places[place] as i64;
                    assert_eq!(stamp, expect, "another row's values, seed {seed}");
                    found_rows += 1;
                }
                Ok(())
            },
        )
        .unwrap();
    assert!(visited.into_iter().all(|visited| visited));
    found_rows
}
