//! Tiles on disk: what is read of them goes with the instant, whatever is cached.

use asof_core::aggregate::Function;
use asof_core::online::conformance::{address, key, order, row, schema, tiled, tiles};
use asof_core::online::{OnlineStore, ViewSlot};
use asof_core::row::fields_of;
use asof_core::time::Timestamp;

use crate::harness;

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
