//! Passes over all rows of an entity, in bounded memory.

use std::collections::BTreeMap;

use asof_core::online::{Counts, Generation, StoreError, ViewSlot};
use asof_core::time::Timestamp;
use rocksdb::WriteBatch;

use super::RocksStore;
use crate::failure;
use crate::keys::{self, DueKey, Family, LoadKey, Removal, RowKey};
use crate::options;

/// How many rows are removed in one step.
const STEP: usize = 10_000;

/// Takes a stored key, the same taken apart, and the row.
type Visit<'v> = dyn FnMut(&[u8], RowKey<'_>, &[u8]) -> Result<(), StoreError> + 'v;

/// Counts of the generations of an entity's views, with the instant before which event times are told apart.
type OfEntity = BTreeMap<(u32, Generation), (Timestamp, Counts)>;

impl RocksStore {
    /// One pass over each entity, whatever the number of its views.
    pub(super) fn count_rows(
        &self,
        generations: &[(ViewSlot, Generation, Timestamp)],
    ) -> Result<Vec<Counts>, StoreError> {
        let mut counted: BTreeMap<u32, OfEntity> = BTreeMap::new();
        for (slot, generation, from) in generations {
            let of_entity = counted.entry(slot.entity).or_default();
            of_entity.insert((slot.view, *generation), (*from, Counts::default()));
        }
        for (entity, views) in &mut counted {
            self.scan_entity(*entity, &mut |_, row_key, bytes| {
                let cell = row_key.cell();
                let Some((from, counts)) = views.get_mut(&(cell.view, cell.generation)) else {
                    return Ok(());
                };
                let row = self.parse(cell, bytes)?;
                counts.bytes += (cell.key.len() + bytes.len()) as u64;
                match row_key {
                    RowKey::Row(_) => {
                        counts.keys += 1;
                        counts.earlier += u64::from(row.order.event_time < *from);
                    }
                    RowKey::Pending(..) => counts.pending += 1,
                }
                Ok(())
            })?;
        }
        let counts = generations.iter().map(|(slot, generation, _)| {
            // One that went away during the count was not counted whole.
            self.catalogue().live(*slot, *generation)?;
            let counts = counted
                .get(&slot.entity)
                .and_then(|views| views.get(&(slot.view, *generation)));
            Ok(counts.map(|(_, counts)| *counts).unwrap_or_default())
        });
        counts.collect()
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
        self.scan_entity(slot.entity, &mut |key, row_key, bytes| {
            let cell = row_key.cell();
            if (cell.view, cell.generation) == (slot.view, generation) {
                visit(key, row_key, bytes)?;
            }
            Ok(())
        })
    }

    /// Visits the rows and pending rows of an entity, in key order.
    fn scan_entity(&self, entity: u32, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        let rows = self.family(Family::Rows)?;
        let range = keys::entity_range(entity);
        let mut rows = self.db.raw_iterator_cf_opt(rows, options::scan(range));
        rows.seek_to_first();
        while let Some((key, bytes)) = rows.item() {
            let row_key = RowKey::parse(key).ok_or_else(|| self.damaged_key(key))?;
            visit(key, row_key, bytes)?;
            rows.next();
        }
        rows.status().map_err(|error| failure::of(&self.path, error))
    }
}
