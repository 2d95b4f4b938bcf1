//! Pending rows become rows.

use std::sync::PoisonError;

use asof_core::aggregate::tiles::FoldedEvents;
use asof_core::online::{Generation, StoreError, ViewSlot};
use asof_core::time::Timestamp;
use rocksdb::WriteBatch;

use super::RocksStore;
use crate::failure;
use crate::keys::{self, Due, DueKey, Family, RowKey};
use crate::options;

/// How many pending rows are merged in one step.
const STEP: usize = 1_000;

impl RocksStore {
    /// Merges what is due of some pending rows. A damaged pending row stays where it is and does not keep the others from
    /// being merged; the first one is the error.
    pub(super) fn merge_due(
        &self,
        slot: ViewSlot,
        generation: Generation,
        due: Due,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let _alone = self.merging.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut start, end) = due.range(slot.view, generation, now);
        let (mut merged, mut damage) = (0, None);
        loop {
            let step = self.merge_step(slot, generation, due, (start, end.clone()), &mut damage)?;
            merged += step.merged;
            match step.next {
                Some(next) => start = next,
                None => return damage.map_or(Ok(merged), Err),
            }
        }
    }

    /// Merges the first rows of a range, in one batch.
    fn merge_step(
        &self,
        slot: ViewSlot,
        generation: Generation,
        told: Due,
        range: (Vec<u8>, Vec<u8>),
        damage: &mut Option<StoreError>,
    ) -> Result<Step, StoreError> {
        let _shared = self.changes.read().unwrap_or_else(PoisonError::into_inner);
        self.catalogue().live(slot, generation)?;
        let (row_family, due_family) = (self.family(Family::Rows)?, self.family(Family::Due)?);
        let tiles = self.tiled.get().get(slot.view, generation).cloned();
        let mut folded = FoldedEvents::default();
        let mut batch = WriteBatch::default();
        let mut step = Step::default();
        let mut due = self.db.raw_iterator_cf_opt(due_family, options::scan(range));
        due.seek_to_first();
        let (mut seen, mut keys) = (0, Vec::new());
        while let Some(key) = due.key() {
            if seen == STEP {
                step.next = Some(key.to_vec());
                break;
            }
            seen += 1;
            let of = DueKey::parse(key).ok_or_else(|| self.damaged_key(key))?;
            let DueKey { cell, order } = of;
            let pending = RowKey::Pending(cell, order).to_bytes();
            let row = self
                .db
                .get_pinned_cf(row_family, &pending)
                .map_err(|error| failure::of(&self.path, error))?;
            match row.as_deref().map(|row| self.parse(&cell, row).map(|_| row)) {
                Some(Ok(row)) => {
                    match &tiles {
                        None => batch.merge_cf(row_family, RowKey::Row(cell).to_bytes(), row),
                        Some(tiles) => self.fold(tiles, &mut folded, &cell, row)?,
                    }
                    keys.push(keys::key_start(cell.entity, cell.key));
                    batch.delete_cf(row_family, &pending);
                    for due in Due::BOTH {
                        batch.delete_cf(due_family, of.to_bytes(due));
                    }
                    step.merged += 1;
                }
                Some(Err(error)) => *damage = damage.take().or(Some(error)),
                // What was pushed was told of together with its row, which somebody merged who knew nothing of that.
                None if told == Due::Pushed => batch.delete_cf(due_family, key),
                // A load that is under way notes what is due before its files are there.
                None => {}
            }
            due.next();
        }
        due.status().map_err(|error| failure::of(&self.path, error))?;
        if let Some(tiles) = &tiles {
            self.put_chunks(&mut batch, slot, generation, tiles, &folded)?;
        }
        if !batch.is_empty() {
            let _held = self.cache.hold(keys);
            self.commit(batch)?;
        }
        Ok(step)
    }
}

/// What one step did, and where the next one begins.
#[derive(Debug, Default)]
struct Step {
    merged: u64,
    next: Option<Vec<u8>>,
}
