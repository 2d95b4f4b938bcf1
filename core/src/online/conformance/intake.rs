//! The intake log: whole or not at all, in order, and remembered.

use super::sample::{NOTHING, key, order, row, schema, shape};
use super::serving::{Serving, assert_no_generation};
use crate::key::EntityKey;
use crate::name::{ProjectName, SourceName};
use crate::online::intake::{Answer, Entry, Events, Intake, IntakeRows, SourceAddress, StreamMark};
use crate::online::{Generation, OnlineRow, OnlineStore, StoreError};
use crate::time::Timestamp;

fn source(project: &str, source: &str) -> SourceAddress {
    SourceAddress {
        project: ProjectName::parse(project).unwrap(),
        source: SourceName::parse(source).unwrap(),
    }
}

fn entry(number: u64, bytes: &[u8], accepted: u64) -> Option<Entry<'_>> {
    Some(Entry {
        number,
        bytes,
        accepted,
    })
}

fn answer(id: &str, bytes: &[u8]) -> Answer {
    Answer {
        id: id.into(),
        bytes: bytes.to_vec(),
    }
}

fn mark(lane: &str, bytes: &[u8]) -> StreamMark {
    StreamMark {
        lane: lane.into(),
        bytes: bytes.to_vec(),
    }
}

fn into(view: &Serving<'_>, generation: Generation, rows: &[OnlineRow]) -> IntakeRows {
    IntakeRows {
        slot: view.slot,
        generation,
        rows: rows.to_vec(),
        note: None,
    }
}

const AT: Timestamp = Timestamp::from_micros(1_000);

pub(super) fn what_is_accepted_is_there_whole_or_not_at_all(store: &dyn OnlineStore) {
    let (a, b) = (Serving::new(store, "a", "v"), Serving::new(store, "b", "v"));
    let of = source("p", "s");
    let k = key("k");
    let building = Serving {
        generation: store.begin_generation(a.slot, shape("next"), schema()).unwrap(),
        store,
        slot: a.slot,
    };
    a.write(1_000, &[row(&k, order(5, 5, 5), 5)]);
    for view in [&a, &b, &building] {
        view.read(&k, 1_000);
    }
    let rows = [
        into(&a, a.generation, &[row(&k, order(4, 4, 4), 4)]),
        into(&a, building.generation, &[row(&k, order(4, 4, 4), 4)]),
        into(
            &b,
            b.generation,
            &[
                row(&k, order(6, 6, 6), 6),
                // One that is still to come.
                row(&k, order(2_000, 1, 1), 7),
            ],
        ),
    ];
    let answers = [answer("id", b"yes"), answer("other", b"")];
    let intake = Intake {
        at: AT,
        entry: entry(3, b"entry", 2),
        answers: &answers,
        rows: &rows,
        events: None,
        marks: &[],
        dead_letters: None,
    };
    store.accept(&of, intake).unwrap();
    let check = || {
        assert_eq!(a.read(&k, 1_000), (Some(5), true), "newest wins");
        assert_eq!(building.read(&k, 1_000), (Some(4), true));
        assert_eq!(b.read(&k, 1_000), (Some(6), true));
        assert_eq!(b.read(&k, 2_000), (Some(7), true));
        assert_eq!(store.accepted(&of), Ok(2));
        assert_eq!(store.entries(&of, 100), Ok(vec![(3, b"entry".to_vec())]));
        assert_eq!(store.waiting(&of), Ok(5));
        assert_eq!(store.waiting_sources(), Ok(vec![of.clone()]));
        assert_eq!(store.answered(&of, "id"), Ok(Some(b"yes".to_vec())));
        assert_eq!(store.answered(&of, "other"), Ok(Some(Vec::new())));
        assert_eq!(store.answered(&of, "i"), Ok(None));
        assert_eq!(store.answered(&source("p", "t"), "id"), Ok(None));
    };
    check();

    // Nothing of what names a generation that is not there.
    let newer = [row(&k, order(9, 9, 9), 9)];
    let refused = Intake {
        at: AT,
        entry: entry(4, b"more", 3),
        answers: &[answer("new", b"no")],
        rows: &[into(&b, b.generation, &newer), into(&a, Generation(9), &newer)],
        events: Some(Events {
            ids: &[key("refused")],
            indexed: b"further",
        }),
        marks: &[mark("lane", b"refused")],
        dead_letters: entry(4, b"refused", 1),
    };
    assert_eq!(
        store.accept(&of, refused),
        Err(StoreError::NoGeneration { generation: 9 })
    );
    check();
    assert_eq!(store.answered(&of, "new"), Ok(None));
    assert_eq!(store.marks(&of), Ok(vec![]));
    assert_eq!(store.entries(&of.dead_letters(), 100), Ok(vec![]));
    assert_eq!(store.known_events(&of, &[key("refused")]), Ok(vec![false]));
    assert_eq!(store.indexed_events(&of), Ok(None));

    // An answer without rows.
    let nothing = Intake {
        at: AT,
        entry: None,
        answers: &[answer("nothing", b"none")],
        rows: &[],
        events: None,
        marks: &[],
        dead_letters: None,
    };
    store.accept(&of, nothing).unwrap();
    check();
    assert_eq!(store.answered(&of, "nothing"), Ok(Some(b"none".to_vec())));
    store.drop_view(b.slot).unwrap();
    assert_no_generation(&b, &k);
}

pub(super) fn streams_are_read_as_far_as_their_rows_are_there(store: &dyn OnlineStore) {
    let (of, other) = (source("p", "s"), source("p", "s_b"));
    let accept =
        |of: &SourceAddress, rows: Option<Entry<'_>>, dead: Option<Entry<'_>>, marks: &[StreamMark]| {
            let intake = Intake {
                at: AT,
                entry: rows,
                answers: &[],
                rows: &[],
                events: None,
                marks,
                dead_letters: dead,
            };
            store.accept(of, intake).unwrap();
        };
    let (one, two) = (mark("a/1", b"1"), mark("a/2", b""));
    accept(&of, entry(1, b"row", 1), None, &[two.clone(), one.clone()]);
    accept(&other, None, None, &[mark("a/1", b"other")]);
    assert_eq!(store.marks(&of), Ok(vec![one, two.clone()]));
    assert_eq!(store.marks(&other), Ok(vec![mark("a/1", b"other")]));
    assert_eq!(store.marks(&source("p", "s_a")), Ok(vec![]));
    assert_eq!(store.waiting_sources(), Ok(vec![of.clone()]));

    // Dead letters are apart, whether rows come with them or not.
    let dead = of.dead_letters();
    let moved = mark("a/1", b"2");
    accept(&of, None, entry(1, b"dead", 3), std::slice::from_ref(&moved));
    assert_eq!(store.marks(&of), Ok(vec![moved.clone(), two.clone()]));
    assert_eq!(store.entries(&of, 100), Ok(vec![(1, b"row".to_vec())]));
    assert_eq!(store.entries(&dead, 100), Ok(vec![(1, b"dead".to_vec())]));
    assert_eq!((store.accepted(&of), store.accepted(&dead)), (Ok(1), Ok(3)));
    assert_eq!(store.waiting_sources(), Ok(vec![of.clone(), dead.clone()]));
    accept(&of, entry(2, b"more", 2), entry(4, b"more dead", 4), &[]);
    store.settle().unwrap();
    store.trim(&of, 2).unwrap();
    assert_eq!(store.last_entry(&dead), Ok(Some(4)));
    assert_eq!(store.waiting_sources(), Ok(vec![dead.clone()]));
    store.trim(&dead, 4).unwrap();
    assert_eq!(store.waiting_sources(), Ok(vec![]));
    assert_eq!(store.marks(&of), Ok(vec![moved, two]), "kept for ever");
}

pub(super) fn accepted_rows_are_merged_without_others(store: &dyn OnlineStore) {
    let (view, other) = (Serving::new(store, "a", "v"), Serving::new(store, "a", "w"));
    let (k, l, m) = (key("k"), key("l"), key("m"));
    let pending = |key, due| row(key, order(due, due, 1), due);
    view.write(
        1_000,
        &[pending(&k, 1_100), pending(&k, 1_200), pending(&l, 1_300)],
    );
    // One that is pending already, others of a key with rows that were written and of one without.
    let rows = [
        into(&view, view.generation, &[pending(&k, 1_200), pending(&k, 1_400)]),
        into(&view, view.generation, &[pending(&m, 1_250)]),
        into(&other, other.generation, &[pending(&k, 1_200)]),
    ];
    let intake = Intake {
        at: AT,
        entry: entry(1, b"entry", 4),
        answers: &[],
        rows: &rows,
        events: None,
        marks: &[],
        dead_letters: None,
    };
    store.accept(&source("p", "s"), intake).unwrap();
    // Written once more, it stays one that was accepted.
    view.write(1_000, &[pending(&k, 1_200), pending(&k, 1_400)]);
    assert_eq!((view.count().pending, other.count().pending), (5, 1));
    assert_eq!(view.apply_pushed(1_199), 0);
    assert_eq!(view.apply_pushed(1_300), 2);
    assert_eq!(view.apply_pushed(1_300), 0, "applying twice changes nothing");
    assert_eq!((view.count().pending, other.count().pending), (3, 1));
    assert_eq!(
        view.read(&k, 1_100),
        (Some(1_200), true),
        "its instant has passed"
    );
    assert_eq!(view.read(&l, 1_299), NOTHING);
    assert_eq!(view.read(&l, 1_300), (Some(1_300), true));
    assert_eq!(view.apply_due(1_400), 3, "all that are left");
    assert_eq!(view.apply_pushed(i64::MAX), 0, "none is merged twice");
    assert_eq!((view.count().keys, view.count().pending), (3, 0));
    assert_eq!(view.read(&k, 1_400), (Some(1_400), true));
    assert_eq!(other.apply_pushed(1_200), 1);
}

pub(super) fn entries_come_in_order_until_they_are_trimmed(store: &dyn OnlineStore) {
    let (of, other) = (source("p", "s"), source("p", "s_b"));
    let accept = |of: &SourceAddress, number: u64| {
        let bytes = number.to_string();
        let intake = Intake {
            at: AT,
            entry: entry(number, bytes.as_bytes(), number),
            answers: &[],
            rows: &[],
            events: None,
            marks: &[],
            dead_letters: None,
        };
        store.accept(of, intake).unwrap();
    };
    assert_eq!(store.waiting_sources(), Ok(Vec::new()));
    for number in [9, 10, 255, 256, 70_000] {
        accept(&of, number);
    }
    accept(&other, 10);
    let numbers = |bytes: usize| -> Vec<u64> {
        let entries = store.entries(&of, bytes).unwrap();
        for (number, bytes) in &entries {
            assert_eq!(bytes, number.to_string().as_bytes());
        }
        entries.into_iter().map(|(number, _)| number).collect()
    };
    assert_eq!(numbers(100), [9, 10, 255, 256, 70_000]);
    assert_eq!(store.last_entry(&of), Ok(Some(70_000)));
    assert_eq!(store.last_entry(&other), Ok(Some(10)));
    assert_eq!(store.last_entry(&source("p", "s_a")), Ok(None));
    assert_eq!(numbers(0), [9], "one at least");
    assert_eq!(numbers(1), [9]);
    assert_eq!(numbers(2), [9, 10]);
    assert_eq!(store.waiting(&of), Ok(1 + 2 + 3 + 3 + 5));
    store.trim(&of, 255).unwrap();
    assert_eq!(numbers(100), [256, 70_000]);
    assert_eq!(store.accepted(&of), Ok(70_000), "counted for ever");
    assert_eq!(store.waiting_sources(), Ok(vec![of.clone(), other.clone()]));
    store.trim(&of, 70_000).unwrap();
    store.trim(&of, 70_000).unwrap();
    assert_eq!(store.last_entry(&of), Ok(None));
    assert_eq!(numbers(100), [0_u64; 0]);
    assert_eq!(store.waiting_sources(), Ok(vec![other.clone()]));
    assert_eq!(store.waiting(&other), Ok(2));
    store.trim(&other, u64::MAX).unwrap();
    assert_eq!(store.waiting_sources(), Ok(Vec::new()));
    accept(&of, 80_000);
    assert_eq!(numbers(100), [80_000]);
}

pub(super) fn answers_are_remembered_until_they_are_forgotten(store: &dyn OnlineStore) {
    let of = source("p", "s");
    let remember = |at: i64, id: &str| {
        let intake = Intake {
            at: Timestamp::from_micros(at),
            entry: entry(1, b"", 0),
            answers: &[answer(id, id.as_bytes())],
            rows: &[],
            events: None,
            marks: &[],
            dead_letters: None,
        };
        store.accept(&of, intake).unwrap();
    };
    for (at, id) in [(-1, "a"), (0, "b"), (1, "c"), (1, "d")] {
        remember(at, id);
    }
    store.trim(&of, u64::MAX).unwrap();
    let known = || -> Vec<&str> {
        let known = |id: &&str| store.answered(&of, id).unwrap().as_deref() == Some(id.as_bytes());
        ["a", "b", "c", "d"].into_iter().filter(known).collect()
    };
    let forget = |before: i64| store.forget_answers(Timestamp::from_micros(before)).unwrap();
    assert_eq!((forget(-1), known()), (0, vec!["a", "b", "c", "d"]));
    assert_eq!((forget(1), known()), (2, vec!["c", "d"]));
    remember(5, "a");
    assert_eq!((forget(5), known()), (2, vec!["a"]));
    assert_eq!((forget(6), known()), (1, vec![]));
}

pub(super) fn events_are_known_until_they_are_forgotten(store: &dyn OnlineStore) {
    let (of, other) = (source("p", "s"), source("p", "s_b"));
    let all = ["a", "ab", "b", "c"].map(key);
    let known = |of: &SourceAddress| {
        let known = store.known_events(of, &all).unwrap();
        let far = store.indexed_events(of).unwrap();
        let ids = all.iter().zip(known).filter(|(_, known)| *known);
        (ids.map(|(id, _)| id.clone()).collect::<Vec<_>>(), far)
    };
    assert_eq!(known(&of), (vec![], None));
    let accept = |of: &SourceAddress, number: u64, ids: &[EntityKey], indexed: &[u8]| {
        let intake = Intake {
            at: AT,
            entry: entry(number, b"e", number),
            answers: &[],
            rows: &[],
            events: Some(Events { ids, indexed }),
            marks: &[],
            dead_letters: None,
        };
        store.accept(of, intake).unwrap();
    };
    accept(&of, 1, &[key("b"), key("a")], b"1");
    accept(&other, 1, &[key("c")], b"other");
    assert_eq!(known(&of), (vec![key("a"), key("b")], Some(b"1".to_vec())));
    assert_eq!(known(&other), (vec![key("c")], Some(b"other".to_vec())));
    store.note_events(&of, &[key("ab")], None).unwrap();
    assert_eq!(
        known(&of),
        (["a", "ab", "b"].map(key).to_vec(), Some(b"1".to_vec()))
    );
    store.note_events(&of, &[], Some(b"2")).unwrap();
    accept(&of, 2, &[], b"3");
    store.trim(&of, u64::MAX).unwrap();
    store.forget_answers(Timestamp::MAX).unwrap();
    assert_eq!(
        known(&of),
        (["a", "ab", "b"].map(key).to_vec(), Some(b"3".to_vec()))
    );
    store.forget_events(&of).unwrap();
    assert_eq!(known(&of), (vec![], None));
    assert_eq!(known(&other), (vec![key("c")], Some(b"other".to_vec())));
    assert_eq!(store.known_events(&of, &[]), Ok(vec![]));
    accept(&of, 3, &[key("a")], b"4");
    assert_eq!(known(&of), (vec![key("a")], Some(b"4".to_vec())));
}

pub(super) fn reopening_keeps_what_was_accepted<S: OnlineStore>(store: S, reopen: &dyn Fn(S) -> S) {
    let of = source("p", "s");
    let k = key("k");
    let (slot, generation) = {
        let view = Serving::new(&store, "a", "v");
        assert_eq!(view.read(&k, 1_000), NOTHING);
        let rows = [into(&view, view.generation, &[row(&k, order(1, 1, 1), 1)])];
        let intake = Intake {
            at: AT,
            entry: entry(1, b"entry", 7),
            answers: &[answer("id", b"yes")],
            rows: &rows,
            events: Some(Events {
                ids: &[key("known")],
                indexed: b"far",
            }),
            marks: &[mark("lane", b"here")],
            dead_letters: entry(1, b"dead", 1),
        };
        store.accept(&of, intake).unwrap();
        (view.slot, view.generation)
    };
    let store = reopen(store);
    let view = Serving {
        store: &store,
        slot,
        generation,
    };
    assert_eq!(view.read(&k, 1_000), (Some(1), true));
    assert_eq!(store.entries(&of, 100), Ok(vec![(1, b"entry".to_vec())]));
    assert_eq!(store.accepted(&of), Ok(7));
    assert_eq!(store.answered(&of, "id"), Ok(Some(b"yes".to_vec())));
    assert_eq!(
        store.known_events(&of, &[key("known"), key("k")]),
        Ok(vec![true, false])
    );
    assert_eq!(store.indexed_events(&of), Ok(Some(b"far".to_vec())));
    assert_eq!(store.marks(&of), Ok(vec![mark("lane", b"here")]));
    let dead = store.entries(&of.dead_letters(), 100);
    assert_eq!(dead, Ok(vec![(1, b"dead".to_vec())]));
}
