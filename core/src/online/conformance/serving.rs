//! A view that serves, as most of the suite starts with one.

use super::sample::{Answer, NOW, address, read_one, schema, shape};
use crate::cancel::Cancellation;
use crate::key::EntityKey;
use crate::online::{Counts, Generation, OnlineRow, OnlineStore, StoreError, Survey, ViewSlot};
use crate::time::Timestamp;

/// A view with a first generation, which serves.
pub(super) struct Serving<'a> {
    pub(super) store: &'a dyn OnlineStore,
    pub(super) slot: ViewSlot,
    pub(super) generation: Generation,
}

impl<'a> Serving<'a> {
    pub(super) fn new(store: &'a dyn OnlineStore, entity: &str, view: &str) -> Self {
        let slot = store.open_view(&address(entity, "string", view)).unwrap();
        let generation = store.begin_generation(slot, shape(view), schema()).unwrap();
        store.serve(slot, generation).unwrap();
        Self {
            store,
            slot,
            generation,
        }
    }

    pub(super) fn write(&self, now: i64, rows: &[OnlineRow]) {
        let now = Timestamp::from_micros(now);
        self.store
            .write(self.slot, self.generation, now, rows, None)
            .unwrap();
    }

    pub(super) fn read(&self, key: &EntityKey, at: i64) -> Answer {
        read_one(self.store, self.slot, self.generation, key, at).unwrap()
    }

    pub(super) fn apply_due(&self, now: i64) -> u64 {
        self.store
            .apply_due(self.slot, self.generation, Timestamp::from_micros(now))
            .unwrap()
    }

    pub(super) fn apply_pushed(&self, now: i64) -> u64 {
        self.store
            .apply_pushed(self.slot, self.generation, Timestamp::from_micros(now))
            .unwrap()
    }

    pub(super) fn count_at(&self, at: i64, from: i64) -> Counts {
        let survey = Survey {
            slot: self.slot,
            generation: self.generation,
            at: Timestamp::from_micros(at),
            from: Timestamp::from_micros(from),
            layer: None,
        };
        self.store.survey(&[survey], &Cancellation::default()).unwrap()[0]
    }

    pub(super) fn count(&self) -> Counts {
        self.store.count(self.slot, self.generation).unwrap()
    }
}

/// A generation that is gone is an error to whoever still knows it, and never "nothing there".
pub(super) fn assert_no_generation(gone: &Serving<'_>, key: &EntityKey) {
    let Serving {
        store,
        slot,
        generation,
    } = *gone;
    let error = StoreError::NoGeneration {
        generation: generation.0,
    };
    assert_eq!(read_one(store, slot, generation, key, 1_000), Err(error.clone()));
    assert_eq!(store.write(slot, generation, NOW, &[], None), Err(error.clone()));
    assert_eq!(store.apply_due(slot, generation, NOW), Err(error.clone()));
    assert_eq!(store.apply_pushed(slot, generation, NOW), Err(error.clone()));
    assert_eq!(store.count(slot, generation), Err(error.clone()));
    assert_eq!(store.serve(slot, generation), Err(error));
}
