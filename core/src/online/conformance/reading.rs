//! A read answers for what it names, and for nothing else.

use super::sample::{NOTHING, NOW, key, nonce, order, read_one, row};
use super::serving::Serving;
use crate::key::EntityKey;
use crate::online::{OnlineRow, OnlineStore, StoreError};

pub(super) fn reads_answer_place_by_place(store: &dyn OnlineStore) {
    let views: Vec<_> = (0..12)
        .map(|view| Serving::new(store, "a", &format!("v{view}")))
        .collect();
    let key = key("k");
    // The odd views have the key.
    for (nonce, view) in views.iter().enumerate().filter(|(view, _)| view % 2 == 1) {
        view.write(1_000, &[row(&key, order(1, 1, 1), nonce as i64)]);
    }
    let read = |places: &[usize], key: &EntityKey| {
        let wanted: Vec<_> = places
            .iter()
            .map(|place| (views[*place].slot.view, views[*place].generation))
            .collect();
        let mut answers = vec![None; places.len()];
        store
            .read(views[0].slot.entity, key, &wanted, NOW, &mut |place, found| {
                assert_eq!(answers[place], None, "one visit for each place");
                answers[place] = Some(found.winner.map(|row| nonce(row.body)));
                Ok(())
            })
            .unwrap();
        answers.into_iter().map(Option::unwrap).collect::<Vec<_>>()
    };
    // Unsorted, missing and twice.
    let expect = [Some(11), None, Some(3), Some(3), None, Some(1)];
    assert_eq!(read(&[11, 0, 3, 3, 10, 1], &key), expect);
    assert_eq!(read(&[], &key), []);
    assert_eq!(read(&[1, 3], &super::sample::key("absent")), [None, None]);

    let mut visits = 0;
    let wanted = [
        (views[1].slot.view, views[1].generation),
        (views[3].slot.view, views[3].generation),
    ];
    let stop = StoreError::NoGeneration { generation: 77 };
    let ended = store.read(views[0].slot.entity, &key, &wanted, NOW, &mut |_, _| {
        visits += 1;
        Err(stop.clone())
    });
    assert_eq!(
        (ended, visits),
        (Err(stop), 1),
        "an error of the caller's ends the read"
    );
}

pub(super) fn keys_and_views_do_not_mix(store: &dyn OnlineStore) {
    let names = ["a", "a_b", "a_b_c", "b"];
    let texts = ["", "a", "a_b", "a/b", "a\0", "a\0b", "ab", "\u{10ffff}"];
    let views: Vec<_> = names
        .iter()
        .flat_map(|entity| names.iter().map(|view| Serving::new(store, entity, view)))
        .collect();
    for (v, view) in views.iter().enumerate() {
        for (k, text) in texts.iter().enumerate() {
            view.write(1_000, &[row(&key(text), order(1, 1, 1), (v * 100 + k) as i64)]);
        }
    }
    for (v, view) in views.iter().enumerate() {
        for (k, text) in texts.iter().enumerate() {
            let expect = (Some((v * 100 + k) as i64), true);
            assert_eq!(view.read(&key(text), 1_000), expect, "{text:?} in view {v}");
        }
        assert_eq!(view.read(&key("a_"), 1_000), NOTHING);
        assert_eq!(view.count().keys, texts.len() as u64);
    }
}

pub(super) fn damage_is_named_where_it_is_needed(store: &dyn OnlineStore) {
    let sound = Serving::new(store, "a", "sound");
    let damaged = Serving::new(store, "a", "v");
    let k = key("k");
    sound.write(1_000, &[row(&k, order(1, 1, 1), 1)]);
    let mut flipped = row(&k, order(1, 1, 1), 1);
    *flipped.bytes.last_mut().unwrap() ^= 1;
    damaged.write(1_000, &[flipped]);
    let refused = read_one(store, damaged.slot, damaged.generation, &k, 1_000);
    assert!(matches!(refused, Err(StoreError::Damaged { .. })), "{refused:?}");
    let refused = store.count(damaged.slot, damaged.generation);
    assert!(matches!(refused, Err(StoreError::Damaged { .. })), "{refused:?}");
    assert_eq!(damaged.read(&key("other"), 1_000), NOTHING);
    assert_eq!(
        sound.read(&k, 1_000),
        (Some(1), true),
        "the same key of another view"
    );

    // A pending row is due when its key says so, whatever has become of the row.
    let later = key("later");
    let mut flipped = row(&later, order(2_000, 1, 1), 2);
    *flipped.bytes.first_mut().unwrap() ^= 0x40;
    sound.write(1_000, &[row(&later, order(1, 1, 1), 1)]);
    sound.write(1_000, &[flipped]);
    assert_eq!(sound.read(&later, 1_999), (Some(1), true));
    let refused = read_one(store, sound.slot, sound.generation, &later, 2_000);
    assert!(matches!(refused, Err(StoreError::Damaged { .. })), "{refused:?}");

    // Bytes that are not a row at all lose to any row.
    let short = OnlineRow {
        bytes: vec![0xff; 5],
        ..row(&k, order(1, 1, 1), 1)
    };
    sound.write(1_000, &[short]);
    assert_eq!(sound.read(&k, 1_000), (Some(1), true));
}
