//! Changes of the catalogue: views are opened and dropped, generations begin and take over.
//!
//! Each is decided, written and then published while [`RocksStore`]'s `changes` is held alone. What is
//! given up is noted in the same batch, and its rows are removed afterwards: a kill in between leaves rows
//! that nobody reads and that the next one removes.

use std::sync::atomic::Ordering;
use std::sync::{PoisonError, RwLockWriteGuard};

use asof_core::definition::StoredShape;
use asof_core::online::{Generation, GenerationState, StoreError, ViewAddress, ViewSlot, ViewState};
use asof_core::row::RowSchema;
use rocksdb::WriteBatch;

use super::RocksStore;
use crate::catalogue::{Catalogue, Counters, Entity, View};
use crate::keys::{CatalogueKey, Family, Removal};

impl RocksStore {
    pub(super) fn open_slot(&self, address: &ViewAddress) -> Result<ViewSlot, StoreError> {
        if let Some(view) = self.catalogue().find(address) {
            return Ok(view.slot);
        }
        let _alone = self.alone();
        let catalogue = self.catalogue().clone();
        if let Some(view) = catalogue.find(address) {
            return Ok(view.slot);
        }
        let entity = Entity::of(address);
        let (number, new) = catalogue.entity_number(&entity);
        let counters = Counters {
            next_entity: catalogue.counters.next_entity + u32::from(new),
            next_view: catalogue.counters.next_view + 1,
        };
        let slot = ViewSlot {
            entity: number,
            view: catalogue.counters.next_view,
        };
        let view = View {
            address: address.clone(),
            slot,
            begun: 0,
            state: ViewState::default(),
        };
        let mut batch = WriteBatch::default();
        self.put_entry(&mut batch, CatalogueKey::Counters, counters.to_bytes()?)?;
        self.put_entry(&mut batch, CatalogueKey::Entity(number), entity.to_bytes()?)?;
        self.put_entry(&mut batch, CatalogueKey::View(slot.view), view.to_bytes()?)?;
        self.commit(batch)?;
        self.publish(|catalogue| {
            catalogue.counters = counters;
            catalogue.entities.insert(number, entity);
            catalogue.views.insert(slot.view, view);
        });
        Ok(slot)
    }

    pub(super) fn begin(
        &self,
        slot: ViewSlot,
        shape: StoredShape,
        schema: RowSchema,
    ) -> Result<Generation, StoreError> {
        let _alone = self.alone();
        let mut view = self.catalogue().view(slot)?.clone();
        view.begun += 1;
        let generation = Generation(view.begun);
        let given_up = view.state.building.replace(GenerationState {
            generation,
            shape,
            schemas: vec![schema],
            as_of: None,
            progress: Vec::new(),
            reclaimed: None,
        });
        let given_up = given_up.map(|state| state.generation);
        self.commit_view(WriteBatch::default(), view, given_up)?;
        Ok(generation)
    }

    pub(super) fn switch(&self, slot: ViewSlot, generation: Generation) -> Result<(), StoreError> {
        let _alone = self.alone();
        let mut view = self.catalogue().live(slot, generation)?.clone();
        let before = view.state.serve(generation);
        self.commit_view(WriteBatch::default(), view, before)
    }

    pub(super) fn commit_with_state(
        &self,
        batch: WriteBatch,
        slot: ViewSlot,
        generation: Generation,
        state: &GenerationState,
    ) -> Result<(), StoreError> {
        let _alone = self.alone();
        let mut view = self.catalogue().live(slot, generation)?.clone();
        view.state.update(generation, state)?;
        self.commit_view(batch, view, None)
    }

    pub(super) fn drop_slot(&self, slot: ViewSlot) -> Result<u64, StoreError> {
        let (serving, building) = self.forget(slot)?;
        let keys = match serving {
            Some(removal) => self.remove(removal)?,
            None => 0,
        };
        if let Some(removal) = building {
            self.remove(removal)?;
        }
        Ok(keys)
    }

    /// Takes a view out of the catalogue; returns the generation that served, and the one being built.
    fn forget(&self, slot: ViewSlot) -> Result<(Option<Removal>, Option<Removal>), StoreError> {
        let _alone = self.alone();
        let state = self.catalogue().view(slot)?.state.clone();
        let removal = |state: GenerationState| removal(slot, state.generation);
        let removals = (state.serving.map(removal), state.building.map(removal));
        let mut batch = WriteBatch::default();
        batch.delete_cf(
            self.family(Family::Catalogue)?,
            CatalogueKey::View(slot.view).to_bytes(),
        );
        let given_up = [removals.0, removals.1].into_iter().flatten();
        for removal in given_up.clone() {
            self.put_entry(&mut batch, CatalogueKey::Removal(removal), Vec::new())?;
        }
        self.commit(batch)?;
        self.publish(|catalogue| {
            catalogue.views.remove(&slot.view);
            catalogue.removals.extend(given_up);
        });
        Ok(removals)
    }

    /// Removes the rows of what was given up. What cannot be removed now stays on the list: nobody reads
    /// it, and the change that gave it up was made.
    pub(super) fn remove_given_up(&self) {
        let removals = self.catalogue().removals.clone();
        for removal in removals {
            if let Err(error) = self.remove(removal) {
                tracing::warn!(
                    view = removal.view,
                    generation = removal.generation.0,
                    %error,
                    "rows that nobody reads any more could not be removed; it will be tried again"
                );
            }
        }
    }

    /// Removes the rows of a generation; returns how many keys had one.
    fn remove(&self, removal: Removal) -> Result<u64, StoreError> {
        let keys = self.remove_rows(removal)?;
        let mut batch = WriteBatch::default();
        batch.delete_cf(
            self.family(Family::Catalogue)?,
            CatalogueKey::Removal(removal).to_bytes(),
        );
        self.commit(batch)?;
        self.publish(|catalogue| {
            catalogue.removals.remove(&removal);
        });
        Ok(keys)
    }

    /// Writes a view's entry, with what it gives up and with what `batch` holds already.
    fn commit_view(
        &self,
        mut batch: WriteBatch,
        view: View,
        given_up: Option<Generation>,
    ) -> Result<(), StoreError> {
        let slot = view.slot;
        self.put_entry(&mut batch, CatalogueKey::View(slot.view), view.to_bytes()?)?;
        let given_up = given_up.map(|generation| removal(slot, generation));
        if let Some(removal) = given_up {
            self.put_entry(&mut batch, CatalogueKey::Removal(removal), Vec::new())?;
        }
        self.commit(batch)?;
        self.publish(|catalogue| {
            catalogue.views.insert(slot.view, view);
            catalogue.removals.extend(given_up);
        });
        Ok(())
    }

    fn put_entry(&self, batch: &mut WriteBatch, key: CatalogueKey, value: Vec<u8>) -> Result<(), StoreError> {
        batch.put_cf(self.family(Family::Catalogue)?, key.to_bytes(), value);
        Ok(())
    }

    fn alone(&self) -> RwLockWriteGuard<'_, ()> {
        self.changes.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, change: impl FnOnce(&mut Catalogue)) {
        let mut catalogue = self.catalogue.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut catalogue);
        self.expiry.set(&catalogue);
        self.published.fetch_add(1, Ordering::Release);
    }
}

fn removal(slot: ViewSlot, generation: Generation) -> Removal {
    Removal {
        entity: slot.entity,
        view: slot.view,
        generation,
    }
}
