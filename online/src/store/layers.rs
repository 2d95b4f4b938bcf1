//! The rows of a layer become those of its generation.
//!
//! The keys that a layer has rows of are noted beside its progress, so that it is folded without a pass over the entity.

use std::sync::PoisonError;

use asof_core::online::{Generation, StoreError, ViewSlot};
use rocksdb::WriteBatch;

use super::RocksStore;
use crate::failure;
use crate::keys::{self, Cell, Due, DueKey, Family, LayerKey, LoadKey, RowKey};
use crate::options;

/// How many keys are folded in one step.
const STEP: usize = 1_000;

impl RocksStore {
    pub(super) fn fold_layer(
        &self,
        slot: ViewSlot,
        generation: Generation,
        layer: Generation,
    ) -> Result<(), StoreError> {
        // What is pending is moved by one at a time.
        let _alone = self.merging.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut start, end) = LayerKey::range(slot, layer);
        while let Some(next) = self.fold_step(slot, (generation, layer), (start, end.clone()))? {
            start = next;
        }
        let mut batch = WriteBatch::default();
        let progress = LoadKey {
            slot,
            generation: layer,
        };
        batch.delete_cf(self.family(Family::Rows)?, progress.to_bytes());
        self.end_layer(batch, slot, generation, layer)
    }

    /// Moves the rows of the first keys of a range, in one batch; returns where the next step begins.
    fn fold_step(
        &self,
        slot: ViewSlot,
        (generation, layer): (Generation, Generation),
        range: (Vec<u8>, Vec<u8>),
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let _shared = self.changes.read().unwrap_or_else(PoisonError::into_inner);
        let is_shown = {
            let catalogue = self.catalogue();
            let state = catalogue.live(slot, generation)?.state.generation(generation);
            state.is_some_and(|state| state.shown().any(|shown| shown == layer))
        };
        if !is_shown {
            return Err(StoreError::NoGeneration { generation: layer.0 });
        }
        let rows = self.family(Family::Rows)?;
        let mut batch = WriteBatch::default();
        let (mut starts, mut next) = (Vec::new(), None);
        let mut noted = self.db.raw_iterator_cf_opt(rows, options::scan(range));
        noted.seek_to_first();
        while let Some(note) = noted.key() {
            if starts.len() == STEP {
                next = Some(note.to_vec());
                break;
            }
            let key = LayerKey::key_of(note).ok_or_else(|| self.damaged_key(note))?;
            let from = Cell {
                entity: slot.entity,
                key,
                view: slot.view,
                generation: layer,
            };
            self.fold_cell(&mut batch, &from, Cell { generation, ..from })?;
            batch.delete_cf(rows, note);
            starts.push(keys::key_start(slot.entity, key));
            noted.next();
        }
        noted.status().map_err(|error| failure::of(&self.path, error))?;
        if !batch.is_empty() {
            let _held = self.cache.hold(starts);
            self.commit(batch)?;
        }
        Ok(next)
    }

    /// Moves all that there is of one key.
    fn fold_cell(&self, batch: &mut WriteBatch, from: &Cell<'_>, to: Cell<'_>) -> Result<(), StoreError> {
        let (row_family, due_family) = (self.family(Family::Rows)?, self.family(Family::Due)?);
        let range = options::point_read(from.range());
        let mut rows = self.db.raw_iterator_cf_opt(row_family, range);
        rows.seek_to_first();
        while let Some((key, row)) = rows.item() {
            match RowKey::parse(key).ok_or_else(|| self.damaged_key(key))? {
                RowKey::Row(_) => {
                    // One that is damaged would lose to any other, and be forgotten.
                    self.parse(from, row)?;
                    batch.merge_cf(row_family, RowKey::Row(to).to_bytes(), row);
                }
                RowKey::Pending(_, order) => {
                    batch.put_cf(row_family, RowKey::Pending(to, order).to_bytes(), row);
                    let due = |cell| DueKey { cell, order }.to_bytes(Due::All);
                    batch.put_cf(due_family, due(to), []);
                    batch.delete_cf(due_family, due(*from));
                }
                RowKey::Tiles(_, chunk) => {
                    batch.merge_cf(row_family, RowKey::Tiles(to, chunk).to_bytes(), row);
                }
            }
            batch.delete_cf(row_family, key);
            rows.next();
        }
        rows.status().map_err(|error| failure::of(&self.path, error))
    }
}
