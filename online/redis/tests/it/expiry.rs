//! What expired long ago gives its room back, and nothing else does.

use asof_core::cancel::Cancellation;
use asof_core::online::conformance::{address, key, order, read_one, row, schema, tiled};
use asof_core::online::{OnlineStore, Survey};
use asof_core::row::RowEncoder;
use asof_core::time::Timestamp;

use crate::harness;
use crate::servers::Server;

const NOW: Timestamp = Timestamp::from_micros(1_000);
const DAY: i64 = 24 * 3_600 * 1_000_000;

#[test]
fn rows_that_expired_long_ago_are_removed_as_they_are_counted() {
    let server = Server::start();
    let store = harness::open(&server.url());
    let (slot, generation) = harness::serving(&store, "v");
    let [old, new, waiting] = ["old", "new", "waiting"].map(key);
    let mut deleted = row(&key("deleted"), order(99, 99, 1), 1);
    deleted.bytes.clear();
    let column: arrow_array::ArrayRef = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1]));
    RowEncoder::try_new(&schema(), 0, &[column])
        .unwrap()
        .encode(0, deleted.order, true, &mut deleted.bytes);
    let rows = [
        row(&old, order(99, 99, 1), 1),
        row(&new, order(100, 100, 1), 2),
        row(&waiting, order(50, 2_000, 1), 3),
        deleted,
    ];
    store.write(slot, generation, NOW, &rows, None).unwrap();
    let mut state = store.view_state(slot).unwrap().serving.unwrap();
    state.reclaimed = Some(Timestamp::from_micros(100));
    store.write(slot, generation, NOW, &[], Some(&state)).unwrap();
    let survey = Survey {
        slot,
        generation,
        at: NOW,
        from: Timestamp::from_micros(100),
        layer: None,
    };
    let counts = store.survey(&[survey], &Cancellation::default()).unwrap()[0];
    assert_eq!(
        (counts.keys, counts.pending, counts.earlier),
        (3, 1, 2),
        "as it was found"
    );
    let counts = store.survey(&[survey], &Cancellation::default()).unwrap()[0];
    assert_eq!((counts.keys, counts.pending, counts.earlier), (2, 1, 1));
    let read = |k, at| read_one(&store, slot, generation, k, at).unwrap();
    assert_eq!(read(&old, 1_000), (None, false));
    assert_eq!(read(&new, 1_000), (Some(2), true));
    assert_eq!(read(&waiting, 2_000), (Some(3), true));
    // What says "deleted" still wins over what is older.
    let late = [row(&key("deleted"), order(98, 98, 1), 9)];
    store.write(slot, generation, NOW, &late, None).unwrap();
    assert_eq!(
        store.survey(&[survey], &Cancellation::default()).unwrap()[0].earlier,
        1
    );
}

#[test]
fn tiles_that_no_window_needs_are_removed_as_they_are_counted() {
    let server = Server::start();
    let store = harness::open(&server.url());
    let slot = store.open_view(&address("a", "string", "v")).unwrap();
    let generation = store.begin_generation(slot, tiled("v"), schema()).unwrap();
    store.serve(slot, generation).unwrap();
    let now = Timestamp::from_micros(100 * DAY);
    let events = [
        row(&key("k"), order(DAY, DAY, 1), 1),
        row(&key("k"), order(100 * DAY, 100 * DAY, 2), 2),
    ];
    store.write(slot, generation, now, &events, None).unwrap();
    let windows = || {
        let mut found = Vec::new();
        let read = store.read(
            slot.entity,
            &key("k"),
            &[(slot.view, generation)],
            now,
            &mut |_, answer| {
                found = answer.windows.unwrap().body.to_vec();
                Ok(())
            },
        );
        read.unwrap();
        found
    };
    let before = windows();
    let bytes = || store.count(slot, generation).unwrap().bytes;
    let all = bytes();
    assert_eq!(bytes(), all, "nothing goes before it may");
    let mut state = store.view_state(slot).unwrap().serving.unwrap();
    state.reclaimed = Some(now);
    store.write(slot, generation, now, &[], Some(&state)).unwrap();
    assert_eq!(bytes(), all, "as it was found");
    assert!(bytes() < all);
    assert_eq!(windows(), before, "no window has lost anything");
}
