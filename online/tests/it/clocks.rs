//! I20: clocks that jump ahead and back lose nothing, whatever is written, merged and read meanwhile.

use std::collections::BTreeMap;

use asof_core::key::EntityKey;
use asof_core::online::conformance::{address, key, order, read_one, row, schema, shape};
use asof_core::online::memory::MemoryStore;
use asof_core::online::{Generation, OnlineRow, OnlineStore, ViewSlot};
use asof_core::order::RowOrder;
use asof_core::time::Timestamp;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::harness;

const DAY: i64 = 24 * 3_600 * 1_000_000;
const NOW: i64 = 1_000 * DAY;

/// A clock that goes on by and by, and jumps by days or by years now and then.
struct Clock(i64);

impl Clock {
    fn now(&mut self, random: &mut StdRng) -> i64 {
        match random.random_range(0..6) {
            0 => self.0 = NOW + random.random_range(-3_000 * DAY..30_000 * DAY),
            1 => self.0 = NOW + random.random_range(-2 * DAY..2 * DAY),
            _ => self.0 += random.random_range(0..1_000),
        }
        self.0
    }
}

/// Every row that was written, and the latest instant that the store was told of since: a row that was due then has
/// become visible for good.
#[derive(Default)]
struct Model {
    rows: BTreeMap<(EntityKey, RowOrder), (i64, i64)>,
}

impl Model {
    fn wrote(&mut self, row: &OnlineRow, nonce: i64, now: i64) {
        let known = self
            .rows
            .entry((row.key.clone(), row.order))
            .or_insert((nonce, now));
        known.1 = known.1.max(now);
    }

    fn told(&mut self, now: i64) {
        self.rows
            .values_mut()
            .for_each(|(_, told)| *told = now.max(*told));
    }

    /// The winner at an instant, and whether something is held back.
    fn read(&self, key: &EntityKey, at: i64) -> (Option<i64>, bool) {
        let of_key = self.rows.iter().filter(|((of, _), _)| of == key);
        let seen = of_key
            .clone()
            .filter(|((_, order), (_, told))| order.due().micros() <= at.max(*told));
        let winner = seen
            .max_by_key(|((_, order), _)| *order)
            .map(|(_, (nonce, _))| *nonce);
        let happened = of_key
            .clone()
            .any(|((_, order), _)| order.event_time.micros() <= at);
        (winner, winner.is_some() || happened)
    }
}

#[test]
fn clocks_that_jump_lose_nothing() {
    let seed = harness::seed();
    let directory = tempfile::tempdir().unwrap();
    let mut rocks = Some(harness::open(directory.path()).unwrap());
    let memory = MemoryStore::new();
    let keys = ["a", "b", "c"].map(key);
    for case in 0..harness::cases(1_000) as u64 {
        let mut random = StdRng::seed_from_u64(seed.wrapping_add(case));
        let (mut clock, mut model) = (Clock(NOW), Model::default());
        let view = format!("v{case}");
        let begin = |store: &dyn OnlineStore| -> (ViewSlot, Generation) {
            let slot = store.open_view(&address("a", "string", &view)).unwrap();
            let generation = store.begin_generation(slot, shape(&view), schema()).unwrap();
            store.serve(slot, generation).unwrap();
            (slot, generation)
        };
        let store = rocks.as_ref().unwrap();
        let (on_disk, in_memory) = (begin(store), begin(&memory));
        for step in 0..12_u64 {
            let now = clock.now(&mut random);
            let store = rocks.as_ref().unwrap();
            let both: [(&dyn OnlineStore, (ViewSlot, Generation)); 2] =
                [(store, on_disk), (&memory, in_memory)];
            if random.random_range(0..4) > 0 {
                let event = now + random.random_range(-2 * DAY..DAY);
                let order = order(event, event + random.random_range(-DAY..2 * DAY), step);
                let nonce = (case * 100 + step) as i64;
                let row = row(&keys[random.random_range(0..3)], order, nonce);
                model.wrote(&row, nonce, now);
                for (store, (slot, generation)) in both {
                    let at = Timestamp::from_micros(now);
                    store
                        .write(slot, generation, at, std::slice::from_ref(&row), None)
                        .unwrap();
                }
            } else {
                model.told(now);
                for (store, (slot, generation)) in both {
                    store
                        .apply_due(slot, generation, Timestamp::from_micros(now))
                        .unwrap();
                }
            }
            let at = clock.now(&mut random);
            for key in &keys {
                let expected = model.read(key, at);
                for (store, (slot, generation)) in both {
                    let told = read_one(store, slot, generation, key, at).unwrap();
                    assert_eq!(told, expected, "case {case}, step {step}, {}", store.place());
                }
            }
        }
        rocks.as_ref().unwrap().drop_view(on_disk.0).unwrap();
        memory.drop_view(in_memory.0).unwrap();
        if case % 200 == 199 {
            drop(rocks.take());
            rocks = Some(harness::open(directory.path()).unwrap());
        }
    }
    println!(
        "figure: {} schedules of jumping clocks, every read as the model has it",
        harness::cases(1_000)
    );
}
