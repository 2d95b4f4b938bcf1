//! I9: stores that earlier versions wrote are read, and go on as stores of this one.
//!
//! Each of `fixtures` was written by the starter project that `asof init` made then, materialized as of
//! 2026-01-12 and 2026-02-01: tables, and a log that was not written out.

use std::fs;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef};
use asof_core::key::{EntityKey, KeyValue, encode};
use asof_core::online::conformance::{order, row, sorted};
use asof_core::online::{OnlineStore, StoreError};
use asof_core::row::{Layout, Packer, RowDecoder};
use asof_core::time::Timestamp;
use asof_online::{Recovery, RocksStore};

use crate::harness;

fn customer(id: i64) -> EntityKey {
    encode(&[Some(KeyValue::Int64(id))]).unwrap()
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

/// The event time, amount and items of a customer's last order.
fn last_order(store: &RocksStore, id: i64, now: &str) -> Option<(String, Option<f64>, Option<i64>)> {
    let (_, slot, state) = store.views().unwrap().remove(0);
    let serving = state.serving.unwrap();
    let [schema] = serving.schemas.as_slice() else {
        panic!("one schema")
    };
    let layout = Layout::of(schema.fields.iter().map(|field| &field.data_type));
    let decoder = RowDecoder::try_new(schema, schema, &layout, &[0, 1]).unwrap();
    let mut packer = Packer::new(&layout, 1);
    let mut event_time = None;
    let views = [(slot.view, serving.generation)];
    store
        .read(slot.entity, &customer(id), &views, at(now), &mut |_, found| {
            if let Some(row) = found.winner {
                event_time = Some(row.order.event_time.to_string());
                decoder.decode(row.body, 0, &mut packer).unwrap();
            }
            Ok::<_, StoreError>(())
        })
        .unwrap();
    let packed = packer.finish().unwrap();
    let column = |at: usize| -> ArrayRef { packed.array(&layout, at).unwrap() };
    let (amount, items) = (column(0), column(1));
    event_time.map(|event_time| {
        (
            event_time,
            amount
                .is_valid(0)
                .then(|| amount.as_primitive::<Float64Type>().value(0)),
            items
                .is_valid(0)
                .then(|| items.as_primitive::<Int64Type>().value(0)),
        )
    })
}

#[test]
fn a_store_of_format_1_is_read_and_goes_on() {
    is_read_and_goes_on(1);
}

#[test]
fn a_store_of_format_2_is_read_and_goes_on() {
    is_read_and_goes_on(2);
}

#[test]
fn a_store_of_format_4_is_read_and_goes_on() {
    is_read_and_goes_on(4);
}

fn is_read_and_goes_on(number: u32) {
    let directory = tempfile::tempdir().unwrap();
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
    for file in fs::read_dir(format!("{fixtures}/format-{number}")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), directory.path().join(file.file_name())).unwrap();
    }
    let format = || fs::read_to_string(directory.path().join("asof.format")).unwrap();
    assert_eq!(format(), format!("asof online store, format {number}\n"));

    // Since format 2 there is an instant before which expired rows are not kept.
    let reclaimed = (number > 1).then(|| at("2025-12-03T00:00:00Z"));
    let check = |store: &RocksStore, keys: u64| {
        assert_eq!(store.recovery(), Recovery::Complete);
        let (address, slot, state) = store.views().unwrap().remove(0);
        assert_eq!(
            (address.project.as_str(), address.view.as_str()),
            ("shop", "last_order")
        );
        let serving = state.serving.unwrap();
        assert_eq!(
            (serving.as_of, serving.reclaimed),
            (Some(at("2026-02-01T00:00:00Z")), reclaimed)
        );
        let counts = store.count(slot, serving.generation).unwrap();
        assert_eq!((counts.keys, counts.pending), (keys, 1));
        let february = "2026-02-01T12:04:59Z";
        let told = |id, now| last_order(store, id, now);
        assert_eq!(
            told(1, february),
            Some(("2026-01-20T18:00:00Z".into(), Some(7.5), Some(1)))
        );
        assert_eq!(
            told(2, february),
            Some(("2026-01-06T09:30:00Z".into(), Some(120.0), Some(1)))
        );
        assert_eq!(told(3, february), None);
        assert_eq!(
            told(3, "2026-02-01T12:05:00Z"),
            Some(("2026-02-01T12:00:00Z".into(), None, Some(4)))
        );
        (slot, serving.generation)
    };
    let store = harness::open(directory.path()).unwrap();
    assert_eq!(format(), "asof online store, format 5\n");
    let (slot, generation) = check(&store, 2);
    let rows = sorted(&[row(&customer(4), order(1, 1, 1), 1)]);
    store.load(slot, generation, &rows, b"so far").unwrap();
    drop(store);
    let store = harness::open(directory.path()).unwrap();
    check(&store, 3);
    assert_eq!(store.loaded(slot, generation), Ok(Some(b"so far".to_vec())));
}
