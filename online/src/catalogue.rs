//! What the store knows of its views: their numbers and their generations.
//!
//! All of it is in memory, as it was last written.

use std::collections::{BTreeMap, BTreeSet};

pub(crate) use asof_catalogue::{Counters, Entity, Removal, View};
use asof_core::online::{Generation, StoreError, ViewAddress, ViewSlot};

use crate::keys::CatalogueKey;

/// Everything in [`Family::Catalogue`](crate::keys::Family::Catalogue).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Catalogue {
    pub(crate) counters: Counters,
    pub(crate) entities: BTreeMap<u32, Entity>,
    pub(crate) views: BTreeMap<u32, View>,
    pub(crate) removals: BTreeSet<Removal>,
}

/// An entry that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the catalogue's entry {entry} cannot be read: {reason}")]
pub(crate) struct Unreadable {
    entry: String,
    reason: String,
}

impl Catalogue {
    /// The view of that address.
    pub(crate) fn find(&self, address: &ViewAddress) -> Option<&View> {
        self.views.values().find(|view| view.address == *address)
    }

    /// The number of the entity, and whether it is a new one.
    pub(crate) fn entity_number(&self, entity: &Entity) -> (u32, bool) {
        let known = self.entities.iter().find(|(_, known)| *known == entity);
        known.map_or((self.counters.next_entity, true), |(number, _)| (*number, false))
    }

    pub(crate) fn view(&self, slot: ViewSlot) -> Result<&View, StoreError> {
        self.views
            .get(&slot.view)
            .filter(|view| view.slot == slot)
            .ok_or(StoreError::NoGeneration { generation: 0 })
    }

    /// The view, provided that it has the generation or layer.
    pub(crate) fn live(&self, slot: ViewSlot, generation: Generation) -> Result<&View, StoreError> {
        self.view(slot)
            .ok()
            .filter(|view| view.state.generation(generation).is_some())
            .ok_or(StoreError::NoGeneration {
                generation: generation.0,
            })
    }

    /// Whether a number is that of a layer.
    pub(crate) fn is_layer(&self, slot: ViewSlot, number: Generation) -> bool {
        let view = self.views.get(&slot.view);
        let state = view.and_then(|view| view.state.generation(number));
        state.is_some_and(|state| state.generation != number)
    }

    /// Takes in one stored entry.
    pub(crate) fn load(&mut self, key: &[u8], value: &[u8]) -> Result<(), Unreadable> {
        let unreadable = |reason: String| Unreadable {
            entry: key.escape_ascii().to_string(),
            reason,
        };
        match CatalogueKey::parse(key).ok_or_else(|| unreadable("an unknown key".into()))? {
            CatalogueKey::Counters => self.counters = Counters::parse(value).map_err(unreadable)?,
            CatalogueKey::Entity(number) => {
                self.entities
                    .insert(number, Entity::parse(value).map_err(unreadable)?);
            }
            CatalogueKey::View(number) => {
                let view = View::parse(number, value).map_err(unreadable)?;
                self.views.insert(number, view);
            }
            CatalogueKey::Removal(removal) => {
                self.removals.insert(removal);
            }
        }
        Ok(())
    }
}
