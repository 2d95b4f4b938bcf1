//! Tiles on disk: what is read of them goes with the instant, whatever is cached.

use std::io::Write;
use std::path::Path;

use asof_core::aggregate::Function;
use asof_core::aggregate::tiles::FoldedEvents;
use asof_core::key::EntityKey;
use asof_core::name::{ProjectName, SourceName};
use asof_core::online::conformance::{address, key, order, row, schema, tiled, tiles};
use asof_core::online::intake::{Entry, Intake, IntakeLog, IntakeRows, SourceAddress};
use asof_core::online::{Generation, OnlineReader, OnlineStore, ReadSet, ViewSlot};
use asof_core::row::{StoredRow, fields_of};
use asof_core::time::Timestamp;
use asof_online::{Recovery, RocksStore};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::harness;
use crate::kills::{Child, STORE};

const HOUR: i64 = 3_600_000_000;

#[test]
fn what_is_cached_of_a_key_answers_for_its_own_instants() {
    let directory = tempfile::tempdir().unwrap();
    let store = harness::open(directory.path()).unwrap();
    let slot: ViewSlot = store.open_view(&address("windows", "string", "v")).unwrap();
    let generation = store.begin_generation(slot, tiled("v"), schema()).unwrap();
    store.serve(slot, generation).unwrap();
    let key = key("k");
    // From long before the epoch on, so that tiles have negative numbers, too.
    let hours: Vec<i64> = (-300..=100).collect();
    let events: Vec<_> = hours
        .iter()
        .map(|hour| row(&key, order(hour * HOUR, hour * HOUR, hour.unsigned_abs()), *hour))
        .collect();
    let now = Timestamp::from_micros(100 * HOUR);
    store.write(slot, generation, now, &events, None).unwrap();
    let counts = |at: i64| -> Vec<(i64, i64)> {
        let mut found = Vec::new();
        let at = Timestamp::from_micros(at);
        let views = [(slot.view, generation)];
        let read = store.read(slot.entity, &key, &views, at, &mut |_, answer| {
            let body = answer.windows.unwrap().body;
            let outputs = tiles().outputs();
            let fields = fields_of(&outputs, body).unwrap();
            for (feature, field) in tiles().features().iter().zip(fields) {
                if feature.aggregation.function() == Function::Count {
                    let covered = hours
                        .iter()
                        .filter(|hour| feature.window.covers(Timestamp::from_micros(**hour * HOUR), at));
                    let count = i64::from_le_bytes(field.unwrap().try_into().unwrap());
                    found.push((count, covered.count() as i64));
                }
            }
            Ok(())
        });
        read.unwrap();
        found
    };
    // Each twice, and back again: the second time out of the cache.
    for at in [
        100 * HOUR,
        100 * HOUR + 1,
        101 * HOUR,
        130 * HOUR,
        300 * HOUR,
        5_000 * HOUR,
        100 * HOUR,
    ] {
        for _ in 0..2 {
            let found = counts(at);
            assert_eq!(found.len(), 4);
            assert!(
                found.iter().all(|(found, expected)| found == expected),
                "{found:?} at {at}"
            );
        }
    }
    assert_eq!(counts(100 * HOUR)[2], (168, 168));
    assert_eq!(counts(5_000 * HOUR)[3], (401, 401));
}

#[test]
fn what_was_added_up_of_a_key_answers_as_long_as_it_holds() {
    let directory = tempfile::tempdir().unwrap();
    let store = harness::open(directory.path()).unwrap();
    let (slot, generation) = generation(&store);
    let key = key("k");
    let now = 400 * HOUR;
    // Events in tiles, and some that are to come, or to be known.
    let mut random = StdRng::seed_from_u64(7);
    let mut orders = Vec::new();
    for number in 0..60_u64 {
        let event_time = now - random.random_range(0..200 * HOUR);
        orders.push(order(event_time, event_time, number));
    }
    for number in 60..90_u64 {
        let event_time = now + random.random_range(-10_i64..10) * HOUR;
        let known = now + random.random_range(1..10 * HOUR);
        orders.push(order(event_time, known, number));
    }
    let events: Vec<_> = orders.iter().map(|order| row(&key, *order, 1)).collect();
    store
        .write(slot, generation, Timestamp::from_micros(now), &events, None)
        .unwrap();
    let check = |at: i64| {
        let at = Timestamp::from_micros(at);
        let views = [(slot.view, generation)];
        let read = store.read(slot.entity, &key, &views, at, &mut |_, answer| {
            let fields = fields_of(&tiles().outputs(), answer.windows.unwrap().body).unwrap();
            for (feature, field) in tiles().features().iter().zip(fields) {
                if feature.aggregation.function() == Function::Count {
                    let counts = orders
                        .iter()
                        .filter(|order| order.due() <= at && feature.window.covers(order.event_time, at));
                    let found = i64::from_le_bytes(field.unwrap().try_into().unwrap());
                    assert_eq!(found, counts.count() as i64, "{} at {at}", feature.name);
                }
            }
            Ok(())
        });
        read.unwrap();
    };
    // Nothing is written in between: about the edges of tails, and about where events become due.
    let dues: Vec<i64> = orders
        .iter()
        .map(|order| order.due().micros())
        .filter(|due| *due > now)
        .collect();
    for _ in 0..600 {
        let edge = match random.random_range(0..3) {
            0 => dues[random.random_range(0..dues.len())],
            1 => now + random.random_range(0..12) * HOUR,
            _ => now + random.random_range(0..12 * 3_600) * SECOND,
        };
        let at = edge + random.random_range(-1..=1);
        // Again, out of what the first time left; and a while later.
        for at in [at, at, at + 1, at + SECOND / 2, at] {
            check(at.max(now));
        }
    }
}

#[test]
fn a_reader_has_nothing_of_what_comes_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = harness::open(directory.path()).unwrap();
    let (slot, generation) = generation(&store);
    let keys = ["a", "b"].map(key);
    let write = |n: i64| {
        let at = n * SECOND;
        let events = keys
            .each_ref()
            .map(|key| row(key, order(at, at, n.cast_unsigned()), n));
        store
            .write(slot, generation, Timestamp::from_micros(at), &events, None)
            .unwrap();
    };
    let set = ReadSet::new(slot.entity, vec![(slot.view, generation)]);
    let count = |reader: &mut dyn OnlineReader, key: &EntityKey| {
        let outputs = tiles().outputs();
        let mut found = None;
        let read = reader.read(key.as_bytes(), &mut |_, answer| {
            let windows = answer.windows.unwrap();
            let fields = fields_of(&outputs, windows.body).unwrap();
            let all = i64::from_le_bytes(fields[12].unwrap().try_into().unwrap());
            found = Some((all, windows.latest.micros()));
            Ok(())
        });
        read.unwrap();
        found.unwrap()
    };
    write(1);
    let at = |n: i64| Timestamp::from_micros(n * SECOND);
    let mut first = store.reader(&set, at(1)).unwrap();
    assert_eq!(count(&mut *first, &keys[0]), (1, SECOND));
    write(2);
    // What others have of it in the cache is not in the first one's snapshot, nor is what it has not read yet.
    let mut second = store.reader(&set, at(2)).unwrap();
    for key in &keys {
        assert_eq!(count(&mut *second, key), (2, 2 * SECOND));
        assert_eq!(count(&mut *first, key), (1, SECOND));
        assert_eq!(count(&mut *second, key), (2, 2 * SECOND));
    }
}

#[test]
fn what_is_pending_comes_to_its_tiles_once_however_many_look_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = harness::open(directory.path()).unwrap();
    let (slot, generation) = generation(&store);
    let key = key("k");
    for round in 0..10 {
        // More than are merged in one step.
        let first = round * 3_000 * SECOND;
        let events: Vec<_> = (0..3_000_i64)
            .map(|n| row(&key, order(first + n * SECOND, 0, n.cast_unsigned()), 1))
            .collect();
        let before = Timestamp::from_micros(first - 1);
        store.write(slot, generation, before, &events, None).unwrap();
        let now = Timestamp::from_micros(first + 3_000 * SECOND);
        let merged: u64 = std::thread::scope(|scope| {
            let merge = || store.apply_due(slot, generation, now).unwrap();
            let callers: Vec<_> = (0..4).map(|_| scope.spawn(merge)).collect();
            callers.into_iter().map(|caller| caller.join().unwrap()).sum()
        });
        assert_eq!(merged, 3_000);
        let mut found = None;
        let views = [(slot.view, generation)];
        let read = store.read(slot.entity, &key, &views, now, &mut |_, answer| {
            let fields = fields_of(&tiles().outputs(), answer.windows.unwrap().body)
                .unwrap()
                .clone();
            found = fields[12].map(|bytes| i64::from_le_bytes(bytes.try_into().unwrap()));
            Ok(())
        });
        read.unwrap();
        assert_eq!(found, Some((round + 1) * 3_000));
    }
}

const KEYS: u64 = 7;
const SECOND: i64 = 1_000_000;

/// The generation, which begins with the first call.
fn generation(store: &RocksStore) -> (ViewSlot, Generation) {
    let slot = store.open_view(&address("a", "string", "v")).unwrap();
    if store.view_state(slot).unwrap().serving.is_none() {
        let generation = store.begin_generation(slot, tiled("v"), schema()).unwrap();
        store.serve(slot, generation).unwrap();
    }
    let serving = store.view_state(slot).unwrap().serving.unwrap();
    (slot, serving.generation)
}

/// How many events there are, by what was noted and loaded with them.
fn written(store: &RocksStore, slot: ViewSlot, generation: Generation) -> u64 {
    let number =
        |bytes: Option<Vec<u8>>| bytes.map_or(0, |bytes| u64::from_be_bytes(bytes.try_into().unwrap()));
    let noted = number(store.noted(slot, generation).unwrap());
    noted.max(number(store.loaded(slot, generation).unwrap()))
}

/// Not a test of its own: the other side of [`each_acknowledged_event_counts_once_after_kills`].
#[test]
#[ignore = "is started by other tests"]
fn folds_until_it_is_killed() {
    let Ok(path) = std::env::var(STORE) else { return };
    let store = harness::open(Path::new(&path)).unwrap();
    let (slot, generation) = generation(&store);
    let source = SourceAddress {
        project: ProjectName::parse("p").unwrap(),
        source: SourceName::parse("s").unwrap(),
    };
    let mut out = std::io::stdout().lock();
    for n in written(&store, slot, generation) + 1.. {
        // The n-th event, at its second: pushed when it is due or before, or loaded, with its number beside it.
        let at = n as i64 * SECOND;
        let event = row(&key(&(n % KEYS).to_string()), order(at, at, n), n as i64);
        let accept = |now: i64| {
            let rows = [IntakeRows {
                slot,
                generation,
                rows: vec![event.clone()],
                note: Some(n.to_be_bytes().to_vec()),
            }];
            let entry = Entry {
                number: n,
                bytes: b"entry",
                accepted: n,
            };
            let intake = Intake {
                at: Timestamp::from_micros(now),
                entry: Some(entry),
                answers: &[],
                rows: &rows,
                events: None,
                marks: &[],
                dead_letters: None,
            };
            store.accept(&source, intake).unwrap();
        };
        match n % 4 {
            0 => {
                let mut folded = FoldedEvents::default();
                let stored = StoredRow::parse(&event.bytes).unwrap();
                folded.add(&tiles(), event.key.as_bytes(), &stored).unwrap();
                let staged = store.stage_events(slot, generation, &folded, &[], &n.to_be_bytes());
                store.take_in(staged.unwrap()).unwrap();
            }
            1 => {
                accept(at - 1);
                let due = Timestamp::from_micros(at);
                store.apply_due(slot, generation, due).unwrap();
            }
            2 => {
                let progress = n.to_be_bytes();
                let nothing = FoldedEvents::default();
                let pending = [event.clone()];
                let staged = store.stage_events(slot, generation, &nothing, &pending, &progress);
                store.take_in(staged.unwrap()).unwrap();
            }
            _ => accept(at),
        }
        writeln!(out, "acknowledged {n}").unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn each_acknowledged_event_counts_once_after_kills() {
    let seed = harness::seed();
    let mut random = StdRng::seed_from_u64(seed);
    let directory = tempfile::tempdir().unwrap();
    let mut total = 0;
    for kill in 0..harness::cases(30) {
        let case = format!("kill {kill}, seed {seed}");
        let mut child = Child::run("windows::folds_until_it_is_killed", directory.path());
        let acknowledged = child.kill_after(random.random_range(1..60)).unwrap_or(total);
        let store = harness::open(directory.path()).unwrap();
        assert_eq!(store.recovery(), Recovery::Complete, "{case}");
        let (slot, generation) = generation(&store);
        total = written(&store, slot, generation);
        assert!(total >= acknowledged, "{total} of {acknowledged}, {case}");
        let end = Timestamp::from_micros(total as i64 * SECOND + 1);
        for is_applied in [false, true] {
            if is_applied {
                store.apply_due(slot, generation, end).unwrap();
            }
            let (mut count, mut sum) = (0, 0);
            for name in 0..KEYS {
                let views = [(slot.view, generation)];
                let read = store.read(
                    slot.entity,
                    &key(&name.to_string()),
                    &views,
                    end,
                    &mut |_, answer| {
                        let body = answer.windows.unwrap().body;
                        let outputs = tiles().outputs();
                        let fields = fields_of(&outputs, body).unwrap();
                        // Those of all events: the last four.
                        let number = |place: usize| {
                            fields[place].map_or(0, |bytes| i64::from_le_bytes(bytes.try_into().unwrap()))
                        };
                        count += number(12);
                        sum += number(13);
                        Ok(())
                    },
                );
                read.unwrap();
            }
            let expected = (total as i64, (total * (total + 1) / 2) as i64);
            assert_eq!((count, sum), expected, "applied: {is_applied}, {case}");
        }
    }
    assert!(total > 100, "only {total} events in all");
}
