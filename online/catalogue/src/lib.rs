//! What an online store knows of its views, and the JSON in which it keeps that: one shape, wherever the rows are.
//!
//! Where each entry lies, and what is written with it, is the store's own.

mod disk;

use asof_core::data_type::KeyType;
use asof_core::name::{EntityName, ProjectName};
use asof_core::online::{Generation, StoreError, ViewAddress, ViewSlot, ViewState};

/// The numbers that are given next; they only grow, so that no number is given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// The next entity's.
    pub next_entity: u32,
    /// The next view's.
    pub next_view: u32,
}

/// What an entity is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entity {
    /// The project.
    pub project: ProjectName,
    /// Its name.
    pub entity: EntityName,
    /// The types of its key.
    pub key_types: Vec<KeyType>,
}

/// A view that was opened and not dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// What it is called.
    pub address: ViewAddress,
    /// Its numbers.
    pub slot: ViewSlot,
    /// How many generations and layers were ever begun.
    pub begun: u32,
    /// Its generations.
    pub state: ViewState,
}

/// A generation that nobody reads any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Removal {
    /// The entity's number.
    pub entity: u32,
    /// The view's number.
    pub view: u32,
    /// Its own.
    pub generation: Generation,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            next_entity: 1,
            next_view: 1,
        }
    }
}

impl Counters {
    /// As they are stored.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`] where they have no form in JSON.
    pub fn to_bytes(self) -> Result<Vec<u8>, StoreError> {
        disk::counters_bytes(self)
    }

    /// What was stored, or why it cannot be read.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        disk::counters(bytes)
    }
}

impl Entity {
    /// That of a view.
    pub fn of(address: &ViewAddress) -> Self {
        Self {
            project: address.project.clone(),
            entity: address.entity.clone(),
            key_types: address.key_types.clone(),
        }
    }

    /// As it is stored.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`] where it has no form in JSON.
    pub fn to_bytes(&self) -> Result<Vec<u8>, StoreError> {
        disk::entity_bytes(self)
    }

    /// What was stored, or why it cannot be read.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        disk::entity(bytes)
    }
}

impl View {
    /// As it is stored, but for its number.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`] where it has no form in JSON.
    pub fn to_bytes(&self) -> Result<Vec<u8>, StoreError> {
        disk::view_bytes(self)
    }

    /// What was stored of the view of a number, or why it cannot be read.
    pub fn parse(number: u32, bytes: &[u8]) -> Result<Self, String> {
        disk::view(number, bytes)
    }
}

impl Removal {
    /// That of a generation of a view.
    pub fn of(slot: ViewSlot, generation: Generation) -> Self {
        Self {
            entity: slot.entity,
            view: slot.view,
            generation,
        }
    }

    /// The view's numbers.
    pub fn slot(self) -> ViewSlot {
        ViewSlot {
            entity: self.entity,
            view: self.view,
        }
    }
}
