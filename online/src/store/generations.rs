//! Changes of the catalogue: views are opened and dropped, generations begin and take over.
//!
//! Each is decided, written and then published while [`RocksStore`]'s `changes` is held alone. What is
//! given up is noted in the same batch, and its rows are removed afterwards: a kill in between leaves rows
//! that nobody reads and that the next one removes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{PoisonError, RwLockWriteGuard};

use asof_core::definition::StoredShape;
use asof_core::online::{Generation, GenerationState, StoreError, ViewAddress, ViewSlot, ViewState};
use asof_core::row::RowSchema;
use rocksdb::WriteBatch;

use super::RocksStore;
use crate::catalogue::{Catalogue, Counters, Entity, Removal, View};
use crate::keys::{CatalogueKey, Family};

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
        let given_up = view.state.give_up();
        view.state.building = Some(GenerationState::begun(generation, shape, schema));
        self.commit_view(WriteBatch::default(), view, given_up)?;
        Ok(generation)
    }

    pub(super) fn begin_layer_of(
        &self,
        slot: ViewSlot,
        generation: Generation,
    ) -> Result<Generation, StoreError> {
        let _alone = self.alone();
        let mut view = self.catalogue().live(slot, generation)?.clone();
        view.begun += 1;
        let layer = Generation(view.begun);
        view.state.begin_layer(generation, layer)?;
        self.commit_view(WriteBatch::default(), view, Vec::new())?;
        Ok(layer)
    }

    /// Takes a layer without rows out of its generation.
    pub(super) fn end_layer(
        &self,
        batch: WriteBatch,
        slot: ViewSlot,
        generation: Generation,
        layer: Generation,
    ) -> Result<(), StoreError> {
        let _alone = self.alone();
        let mut view = self.catalogue().live(slot, generation)?.clone();
        view.state.end_layer(generation, layer);
        self.commit_view(batch, view, Vec::new())
    }

    pub(super) fn add_schema_to(
        &self,
        slot: ViewSlot,
        generation: Generation,
        schema: &RowSchema,
    ) -> Result<u32, StoreError> {
        let _alone = self.alone();
        let view = self.catalogue().live(slot, generation)?.clone();
        let mut changed = view.clone();
        let number = changed.state.add_schema(generation, schema)?;
        if changed != view {
            self.commit_view(WriteBatch::default(), changed, Vec::new())?;
        }
        Ok(number)
    }

    pub(super) fn switch(&self, slot: ViewSlot, generation: Generation) -> Result<(), StoreError> {
        let _alone = self.alone();
        let mut view = self.catalogue().live(slot, generation)?.clone();
        let before = view.state.serve(generation);
        self.commit_view(WriteBatch::default(), view, before)
    }

    pub(super) fn give_up_building(&self, slot: ViewSlot) -> Result<(), StoreError> {
        let _alone = self.alone();
        let mut view = self.catalogue().view(slot)?.clone();
        let given_up = view.state.give_up();
        self.commit_given_up(view, given_up)
    }

    pub(super) fn give_up_kept(&self, slot: ViewSlot) -> Result<(), StoreError> {
        let _alone = self.alone();
        let mut view = self.catalogue().view(slot)?.clone();
        let given_up = view.state.forget_kept();
        self.commit_given_up(view, given_up)
    }

    fn commit_given_up(&self, view: View, given_up: Vec<Generation>) -> Result<(), StoreError> {
        match given_up.is_empty() {
            true => Ok(()),
            false => self.commit_view(WriteBatch::default(), view, given_up),
        }
    }

    pub(super) fn exchange_kept(&self, slot: ViewSlot, states: &[GenerationState]) -> Result<(), StoreError> {
        let _alone = self.alone();
        let mut view = self.catalogue().view(slot)?.clone();
        let mut given_up = Vec::new();
        for state in states {
            given_up.extend(view.state.update(state.generation, state)?);
        }
        view.state.exchange();
        self.commit_view(WriteBatch::default(), view, given_up)
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
        let given_up = view.state.update(generation, state)?;
        self.commit_view(batch, view, given_up)
    }

    pub(super) fn drop_slot(&self, slot: ViewSlot) -> Result<u64, StoreError> {
        let state = self.forget(slot)?;
        let numbers = state.generations().flat_map(GenerationState::numbers);
        let removed = self.remove(numbers.map(|number| Removal::of(slot, number)).collect())?;
        let serving = state.serving.map(|state| Removal::of(slot, state.generation));
        Ok(serving
            .and_then(|serving| removed.get(&serving).copied())
            .unwrap_or_default())
    }

    /// Takes a view out of the catalogue; returns how it stood.
    fn forget(&self, slot: ViewSlot) -> Result<ViewState, StoreError> {
        let _alone = self.alone();
        let state = self.catalogue().view(slot)?.state.clone();
        let numbers = state.generations().flat_map(GenerationState::numbers);
        let given_up: Vec<Removal> = numbers.map(|number| Removal::of(slot, number)).collect();
        let mut batch = WriteBatch::default();
        batch.delete_cf(
            self.family(Family::Catalogue)?,
            CatalogueKey::View(slot.view).to_bytes(),
        );
        for removal in &given_up {
            self.put_entry(&mut batch, CatalogueKey::Removal(*removal), Vec::new())?;
        }
        self.commit(batch)?;
        self.publish(|catalogue| {
            catalogue.views.remove(&slot.view);
            catalogue.removals.extend(given_up);
        });
        Ok(state)
    }

    /// Removes the rows of all that was given up. Damage among the rows of one entity is in the way of no other.
    pub(super) fn sweep(&self) -> Result<(), StoreError> {
        let _sweeping = self.sweeping.lock().unwrap_or_else(PoisonError::into_inner);
        let mut given_up = self.catalogue().removals.clone();
        let mut swept = Ok(());
        while let Some(Removal { entity, .. }) = given_up.first() {
            let entity = *entity;
            let of_entity = given_up.extract_if(.., |removal| removal.entity == entity);
            swept = swept.and(self.remove(of_entity.collect()).map(drop));
        }
        swept
    }

    /// Removes the rows of generations; returns how many keys each had.
    fn remove(&self, given_up: BTreeSet<Removal>) -> Result<BTreeMap<Removal, u64>, StoreError> {
        if given_up.is_empty() {
            return Ok(BTreeMap::new());
        }
        let removed = self.remove_rows(&given_up)?;
        let mut batch = WriteBatch::default();
        for removal in &given_up {
            let entry = CatalogueKey::Removal(*removal).to_bytes();
            batch.delete_cf(self.family(Family::Catalogue)?, entry);
        }
        self.commit(batch)?;
        self.publish(|catalogue| catalogue.removals.retain(|removal| !given_up.contains(removal)));
        Ok(removed)
    }

    /// Writes a view's entry, with what it gives up and with what `batch` holds already.
    fn commit_view(
        &self,
        mut batch: WriteBatch,
        view: View,
        given_up: Vec<Generation>,
    ) -> Result<(), StoreError> {
        let slot = view.slot;
        self.put_entry(&mut batch, CatalogueKey::View(slot.view), view.to_bytes()?)?;
        let given_up = given_up
            .into_iter()
            .map(|generation| Removal::of(slot, generation));
        let given_up: Vec<Removal> = given_up.collect();
        for removal in &given_up {
            self.put_entry(&mut batch, CatalogueKey::Removal(*removal), Vec::new())?;
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
        let changes = self.published.load(Ordering::Acquire) + 1;
        self.tiled.set(&catalogue, changes);
        self.published.store(changes, Ordering::Release);
    }
}
