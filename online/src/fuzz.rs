//! What the store's own families hold, whatever its bytes are (I22): understood, and then written back as it was, or not.

use asof_core::fuzz;
use asof_core::key::{KeyValue, encode};
use asof_core::online::conformance::{address, schema, shape, tiled};
use asof_core::online::intake::SourceAddress;
use asof_core::online::{Generation, GenerationState, Layer, ViewSlot, ViewState};
use asof_core::order::RowOrder;
use asof_core::time::Timestamp;

use crate::catalogue::{Catalogue, Counters, Entity, Removal, View};
use crate::intake_keys::{IntakeKey, answer_of, entry_of};
use crate::keys::{CatalogueKey, Cell, Due, DueKey, RowKey};

/// An entry of the catalogue: how long its key is, the key, and the value.
fn entry(key: CatalogueKey, value: &[u8]) -> Vec<u8> {
    let key = key.to_bytes();
    [&[0, u8::try_from(key.len()).unwrap()], &key[..], value].concat()
}

fn catalogue() -> Vec<Vec<u8>> {
    let (address, slot) = (address("a", "string", "v"), ViewSlot { entity: 1, view: 2 });
    let generation = |number, shape| GenerationState {
        generation: Generation(number),
        shape,
        schemas: vec![schema()],
        as_of: Some(Timestamp::EPOCH),
        progress: vec![1, 2, 3],
        reclaimed: Some(Timestamp::from_micros(5)),
        layers: vec![Layer {
            generation: Generation(number + 2),
            is_shown: number == 1,
        }],
    };
    let view = View {
        address: address.clone(),
        slot,
        begun: 2,
        state: ViewState {
            serving: Some(generation(1, shape("v"))),
            building: Some(generation(2, tiled("v"))),
            kept: Some(generation(3, shape("v"))),
        },
    };
    let removal = Removal::of(slot, Generation(1));
    vec![
        entry(CatalogueKey::Counters, &Counters::default().to_bytes().unwrap()),
        entry(CatalogueKey::Entity(1), &Entity::of(&address).to_bytes().unwrap()),
        entry(CatalogueKey::View(2), &view.to_bytes().unwrap()),
        entry(CatalogueKey::Removal(removal), b""),
    ]
}

fn keys() -> Vec<Vec<u8>> {
    let key = encode(&[Some(KeyValue::String("key".into()))]).unwrap();
    let cell = Cell {
        entity: 1,
        key: key.as_bytes(),
        view: 2,
        generation: Generation(3),
    };
    let order = RowOrder {
        event_time: Timestamp::from_micros(1),
        created_time: Timestamp::from_micros(-1),
        seq: 1,
    };
    let source = SourceAddress {
        project: asof_core::name::ProjectName::parse("shop").unwrap(),
        source: asof_core::name::SourceName::parse("clicks").unwrap(),
    };
    let entry = IntakeKey::Entry(&source, 7).to_bytes();
    let stored = [
        (1, RowKey::Row(cell).to_bytes()),
        (1, RowKey::Pending(cell, order).to_bytes()),
        (2, DueKey { cell, order }.to_bytes(Due::All)),
        (3, entry),
    ];
    stored.map(|(kind, key)| [&[kind], &key[..]].concat()).into()
}

#[test]
fn what_is_stored() {
    let corpus = catalogue().into_iter().chain(keys());
    let words = [
        "\"entity_number\":",
        "\"serving\":",
        "\"building\":null",
        "\"generation\":",
        "\"schemas\":",
        "\"tiles\":",
        "\"type\":",
        "\"int64\"",
        "null",
        "[",
        "{",
        "}",
        "\"",
        ",",
        "-1",
        "4294967296",
        "\0",
        "\u{1}",
        "\u{3}",
    ];
    fuzz::run("what is stored", corpus, &words, |input| {
        let (kind, rest) = input.split_first().unwrap_or((&0, &[]));
        match kind % 4 {
            0 => {
                let (length, rest) = rest.split_first().unwrap_or((&0, &[]));
                let (key, value) = rest.split_at(rest.len().min(usize::from(*length)));
                let mut catalogue = Catalogue::default();
                if let Err(unreadable) = catalogue.load(key, value) {
                    let told = unreadable.to_string();
                    return fuzz::kind_of(told.rsplit("cannot be read: ").next().unwrap_or_default());
                }
                let mut again = Catalogue::default();
                let counters = catalogue.counters.to_bytes().unwrap();
                again.load(&CatalogueKey::Counters.to_bytes(), &counters).unwrap();
                for (number, entity) in &catalogue.entities {
                    let bytes = entity.to_bytes().unwrap();
                    again
                        .load(&CatalogueKey::Entity(*number).to_bytes(), &bytes)
                        .unwrap();
                }
                for (number, view) in &catalogue.views {
                    let bytes = view.to_bytes().unwrap();
                    again
                        .load(&CatalogueKey::View(*number).to_bytes(), &bytes)
                        .unwrap();
                }
                again.removals.clone_from(&catalogue.removals);
                assert_eq!(again, catalogue);
                "an entry".into()
            }
            1 => match RowKey::parse(rest) {
                None => "no key of a row".into(),
                Some(key) => {
                    assert_eq!(key.to_bytes(), rest);
                    format!("a row {}", RowKey::is_of_tiles(rest))
                }
            },
            2 => match DueKey::parse(rest) {
                None => "nothing due".into(),
                Some(key) => {
                    assert!(Due::BOTH.into_iter().any(|due| key.to_bytes(due) == rest));
                    "due".into()
                }
            },
            _ => {
                let answer = answer_of(rest);
                match entry_of(rest) {
                    None => format!("no entry, {}", answer.is_some()),
                    Some((source, number)) => {
                        assert_eq!(IntakeKey::Entry(&source, number).to_bytes(), rest);
                        "an entry of the log".into()
                    }
                }
            }
        }
    });
}
