//! Passes over all rows of an entity, in bounded memory.

use asof_core::online::{Counts, Generation, StoreError, ViewSlot};
use rocksdb::WriteBatch;

use super::RocksStore;
use crate::failure;
use crate::keys::{self, DueKey, Family, LoadKey, Removal, RowKey};
use crate::options;

/// How many rows are removed in one step.
const STEP: usize = 10_000;

/// Takes a stored key, the same taken apart, and the row.
type Visit<'v> = dyn FnMut(&[u8], RowKey<'_>, &[u8]) -> Result<(), StoreError> + 'v;

impl RocksStore {
    pub(super) fn count_rows(&self, slot: ViewSlot, generation: Generation) -> Result<Counts, StoreError> {
        let mut counts = Counts::default();
        self.scan(slot, generation, &mut |_, row_key, bytes| {
            let cell = row_key.cell();
            self.parse(cell, bytes)?;
            counts.bytes += (cell.key.len() + bytes.len()) as u64;
            match row_key {
                RowKey::Row(_) => counts.keys += 1,
                RowKey::Pending(..) => counts.pending += 1,
            }
            Ok(())
        })?;
        // One that went away during the count was not counted whole.
        self.catalogue().live(slot, generation)?;
        Ok(counts)
    }

    /// Removes the rows of a generation that nobody reads; returns how many keys had one.
    pub(super) fn remove_rows(&self, removal: Removal) -> Result<u64, StoreError> {
        let Removal {
            entity,
            view,
            generation,
        } = removal;
        let rows = self.family(Family::Rows)?;
        let (mut batch, mut keys) = (WriteBatch::default(), 0);
        self.scan(ViewSlot { entity, view }, generation, &mut |key, row_key, _| {
            keys += u64::from(matches!(row_key, RowKey::Row(_)));
            batch.delete_cf(rows, key);
            if batch.len() < STEP {
                return Ok(());
            }
            self.commit(std::mem::take(&mut batch))
        })?;
        let (start, end) = DueKey::generation_range(view, generation);
        batch.delete_range_cf(self.family(Family::Due)?, start, end);
        let slot = ViewSlot { entity, view };
        batch.delete_cf(rows, LoadKey { slot, generation }.to_bytes());
        self.commit(batch)?;
        Ok(keys)
    }

    /// Visits the rows and pending rows of one generation, in key order.
    fn scan(&self, slot: ViewSlot, generation: Generation, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        let rows = self.family(Family::Rows)?;
        let range = keys::entity_range(slot.entity);
        let mut rows = self.db.raw_iterator_cf_opt(rows, options::scan(range));
        rows.seek_to_first();
        while let Some((key, bytes)) = rows.item() {
            let row_key = RowKey::parse(key).ok_or_else(|| self.damaged_key(key))?;
            let cell = row_key.cell();
            if (cell.view, cell.generation) == (slot.view, generation) {
                visit(key, row_key, bytes)?;
            }
            rows.next();
        }
        rows.status().map_err(|error| failure::of(&self.path, error))
    }
}
