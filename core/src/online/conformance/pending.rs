//! Pending rows become visible when they are due, and are merged once.

use super::sample::{NOTHING, key, order, row};
use super::serving::Serving;
use crate::online::{Counts, OnlineStore};

pub(super) fn pending_rows_wait_until_due(store: &dyn OnlineStore) {
    let view = Serving::new(store, "a", "v");
    let k = key("k");
    // Due by event time, by created time, and at the instant of the write.
    view.write(100, &[row(&k, order(200, 150, 1), 1)]);
    assert_eq!(view.read(&k, 199), NOTHING, "it has not happened");
    assert_eq!(view.read(&k, 200), (Some(1), true), "due to the microsecond");

    let k = key("created");
    view.write(100, &[row(&k, order(50, 300, 1), 2)]);
    assert_eq!(view.read(&k, 49), NOTHING);
    assert_eq!(
        view.read(&k, 50),
        (None, true),
        "it has happened, but was not known"
    );
    assert_eq!(view.read(&k, 299), (None, true));
    assert_eq!(view.read(&k, 300), (Some(2), true));

    let k = key("exact");
    view.write(100, &[row(&k, order(100, 100, 1), 3)]);
    assert_eq!(
        view.count().pending,
        2,
        "a row that is due at the write is not pending"
    );
    assert_eq!(view.read(&k, 100), (Some(3), true));

    // Several for one key, over a row that is there.
    let k = key("several");
    let orders = [
        order(10, 10, 1),
        order(110, 400, 1),
        order(120, 300, 1),
        order(500, 130, 1),
    ];
    let rows: Vec<_> = orders
        .iter()
        .zip(1..)
        .map(|(order, nonce)| row(&k, *order, nonce))
        .collect();
    view.write(100, &rows);
    for (at, expect) in [(100, 1), (299, 1), (300, 3), (400, 3), (499, 3), (500, 4)] {
        assert_eq!(view.read(&k, at), (Some(expect), true), "at {at}");
    }
    assert_eq!(view.count().pending, 5);
    // Counted as at an instant, those that are due then are rows of their keys.
    for (at, keys, pending, earlier) in [(100, 2, 5, 2), (200, 3, 4, 2), (300, 4, 2, 2), (500, 4, 0, 2)] {
        let counts = view.count_at(at, 111);
        assert_eq!(
            (counts.keys, counts.pending, counts.earlier),
            (keys, pending, earlier),
            "at {at}"
        );
    }
}

pub(super) fn pending_rows_are_applied_once(store: &dyn OnlineStore) {
    let view = Serving::new(store, "a", "v");
    let other = Serving::new(store, "a", "v_b");
    let keys: Vec<_> = (0..3_000).map(|k| key(&format!("k{k}"))).collect();
    for (due, key) in (1_001..).zip(&keys) {
        view.write(1_000, &[row(key, order(due, 0, 1), due)]);
    }
    other.write(1_000, &[row(&keys[0], order(1_001, 0, 1), 7)]);
    let k = &keys[0];
    view.write(
        1_000,
        &[
            row(k, order(1_001, 0, 1), 1_001),
            row(k, order(9_999, 0, 1), 9_999),
        ],
    );
    assert_eq!(
        view.count(),
        Counts {
            keys: 0,
            pending: 3_001,
            ..view.count()
        }
    );

    assert_eq!(view.apply_due(1_000), 0);
    assert_eq!(view.apply_due(3_500), 2_500);
    assert_eq!(view.apply_due(3_500), 0, "applying twice changes nothing");
    assert_eq!(
        view.apply_due(2_000),
        0,
        "nor does applying as of an earlier instant"
    );
    assert_eq!((view.count().keys, view.count().pending), (2_500, 501));
    assert_eq!(view.read(k, 3_500), (Some(1_001), true));
    assert_eq!(view.read(&keys[2_499], 3_500), (Some(3_500), true));
    assert_eq!(view.read(&keys[2_500], 3_500), NOTHING);
    assert_eq!(view.read(k, 9_999), (Some(9_999), true));
    assert_eq!(other.count().pending, 1, "another view's rows stay");

    view.write(1_000, &[row(k, order(1_001, 0, 1), 1_001)]);
    assert_eq!(
        view.read(k, 5_000),
        (Some(1_001), true),
        "a retry changes nothing"
    );
    assert_eq!(view.apply_due(i64::MAX), 502);
    assert_eq!((view.count().keys, view.count().pending), (3_000, 0));
    assert_eq!(view.read(k, 9_999), (Some(9_999), true));
}

pub(super) fn an_older_pending_row_never_surfaces(store: &dyn OnlineStore) {
    let view = Serving::new(store, "a", "v");
    let k = key("k");
    // Known late, of an older event than the row that is there.
    view.write(
        100,
        &[row(&k, order(50, 200, 9), 1), row(&k, order(90, 90, 1), 2)],
    );
    for at in [100, 199, 200, 201] {
        assert_eq!(view.read(&k, at), (Some(2), true), "at {at}");
    }
    assert_eq!(view.apply_due(200), 1, "it is merged, and loses");
    assert_eq!(view.read(&k, 200), (Some(2), true));
}

pub(super) fn a_clock_set_back_loses_nothing(store: &dyn OnlineStore) {
    let view = Serving::new(store, "a", "v");
    let k = key("k");
    view.write(
        100,
        &[row(&k, order(100, 100, 1), 1), row(&k, order(150, 150, 1), 2)],
    );
    for (at, expect) in [(100, 1), (150, 2), (100, 1), (200, 2), (120, 1)] {
        assert_eq!(view.read(&k, at), (Some(expect), true), "at {at}");
    }
    assert_eq!(view.apply_due(150), 1);
    // The store was told that 150 has passed.
    assert_eq!(
        view.read(&k, 99),
        (Some(2), true),
        "a row that was visible stays visible"
    );
    view.write(
        50,
        &[row(&k, order(60, 60, 1), 3), row(&k, order(160, 160, 1), 4)],
    );
    assert_eq!(view.read(&k, 70), (Some(2), true));
    assert_eq!(view.read(&k, 160), (Some(4), true));
    assert_eq!(view.apply_due(160), 2);
    assert_eq!(view.read(&k, 50), (Some(4), true));
}
