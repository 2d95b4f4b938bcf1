//! What the store knows of its views: their numbers and their generations.
//!
//! All of it is in memory, as it was last written; `disk` has the shapes in which it is stored.

mod disk;

use std::collections::{BTreeMap, BTreeSet};

use asof_core::data_type::KeyType;
use asof_core::name::{EntityName, ProjectName};
use asof_core::online::{Generation, StoreError, ViewAddress, ViewSlot, ViewState};

use crate::keys::{CatalogueKey, Removal};

/// Everything in [`Family::Catalogue`](crate::keys::Family::Catalogue).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Catalogue {
    pub(crate) counters: Counters,
    pub(crate) entities: BTreeMap<u32, Entity>,
    pub(crate) views: BTreeMap<u32, View>,
    pub(crate) removals: BTreeSet<Removal>,
}

/// The numbers that are given next; they only grow, so that no number is given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) next_entity: u32,
    pub(crate) next_view: u32,
}

/// What an entity is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entity {
    pub(crate) project: ProjectName,
    pub(crate) entity: EntityName,
    pub(crate) key_types: Vec<KeyType>,
}

/// A view that was opened and not dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) address: ViewAddress,
    pub(crate) slot: ViewSlot,
    /// How many generations were ever begun.
    pub(crate) begun: u32,
    pub(crate) state: ViewState,
}

/// An entry that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the catalogue's entry {entry} cannot be read: {reason}")]
pub(crate) struct Unreadable {
    entry: String,
    reason: String,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            next_entity: 1,
            next_view: 1,
        }
    }
}

impl Entity {
    pub(crate) fn of(address: &ViewAddress) -> Self {
        Self {
            project: address.project.clone(),
            entity: address.entity.clone(),
            key_types: address.key_types.clone(),
        }
    }
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
            CatalogueKey::Counters => self.counters = disk::counters(value).map_err(unreadable)?,
            CatalogueKey::Entity(number) => {
                self.entities
                    .insert(number, disk::entity(value).map_err(unreadable)?);
            }
            CatalogueKey::View(number) => {
                let view = disk::view(number, value).map_err(unreadable)?;
                self.views.insert(number, view);
            }
            CatalogueKey::Removal(removal) => {
                self.removals.insert(removal);
            }
        }
        Ok(())
    }
}

impl Counters {
    pub(crate) fn to_bytes(self) -> Result<Vec<u8>, StoreError> {
        disk::counters_bytes(self)
    }
}

impl Entity {
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, StoreError> {
        disk::entity_bytes(self)
    }
}

impl View {
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, StoreError> {
        disk::view_bytes(self)
    }
}
