//! Reads of one key: one short iteration over all that there is of it.

use asof_core::key::EntityKey;
use asof_core::online::{Found, Generation, StoreError, ViewSlot, newer_row};
use asof_core::row::StoredRow;
use asof_core::time::Timestamp;
use rocksdb::{DB, DBRawIteratorWithThreadMode};

use super::RocksStore;
use crate::failure;
use crate::keys::{self, Family, RowKey};
use crate::options;

impl RocksStore {
    pub(super) fn read_key(
        &self,
        entity: u32,
        key: &EntityKey,
        views: &[(u32, Generation)],
        at: Timestamp,
        visit: &mut dyn FnMut(usize, Found<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let range = keys::key_range(entity, key);
        let rows = self.family(Family::Rows)?;
        let mut rows = self.db.raw_iterator_cf_opt(rows, options::point_read(range));
        // An iterator sees the store as it was when it was made, and rows are removed only after their
        // generation is gone from the catalogue: what is live now is whole in it.
        self.check_live(entity, views)?;

        let mut places: Vec<_> = views.iter().copied().zip(0..).collect();
        places.sort_unstable();
        rows.seek_to_first();
        let mut gathered = Gathered::default();
        for same in places.chunk_by(|(a, _), (b, _)| a == b) {
            let Some((wanted, _)) = same.first() else { continue };
            self.gather(&mut rows, *wanted, at, &mut gathered)?;
            for (_, place) in same {
                visit(*place, gathered.found(self)?)?;
            }
        }
        Ok(())
    }

    fn check_live(&self, entity: u32, views: &[(u32, Generation)]) -> Result<(), StoreError> {
        let catalogue = self.catalogue();
        for (view, generation) in views {
            let slot = ViewSlot { entity, view: *view };
            catalogue.live(slot, *generation)?;
        }
        Ok(())
    }

    /// Gathers what there is of one view and generation. Rows before it are passed over, and the
    /// iterator stays at the first row behind it.
    fn gather(
        &self,
        rows: &mut DBRawIteratorWithThreadMode<'_, DB>,
        wanted: (u32, Generation),
        at: Timestamp,
        gathered: &mut Gathered,
    ) -> Result<(), StoreError> {
        gathered.clear();
        while let Some((key, bytes)) = rows.item() {
            let row_key = RowKey::parse(key).ok_or_else(|| self.damaged_key(key))?;
            let cell = row_key.cell();
            let here = (cell.view, cell.generation);
            if here > wanted {
                return Ok(());
            }
            match row_key {
                _ if here != wanted => {}
                // Neither this one has happened, nor those behind it.
                RowKey::Pending(_, order) if order.event_time > at => {
                    let end = cell.end();
                    rows.seek(end);
                    continue;
                }
                RowKey::Pending(_, order) if order.due() > at => gathered.held_back = true,
                RowKey::Row(_) | RowKey::Pending(..) => {
                    self.parse(cell, bytes)?;
                    gathered.compete(bytes);
                }
            }
            rows.next();
        }
        rows.status().map_err(|error| failure::of(&self.path, error))
    }
}

/// What a read has found of one view.
#[derive(Debug, Default)]
struct Gathered {
    winner: Vec<u8>,
    held_back: bool,
}

impl Gathered {
    fn clear(&mut self) {
        self.winner.clear();
        self.held_back = false;
    }

    fn compete(&mut self, bytes: &[u8]) {
        if newer_row(&self.winner, bytes) == bytes {
            self.winner.clear();
            self.winner.extend_from_slice(bytes);
        }
    }

    fn found(&self, store: &RocksStore) -> Result<Found<'_>, StoreError> {
        let winner = match self.winner.as_slice() {
            [] => None,
            bytes => Some(StoredRow::parse(bytes).map_err(|error| StoreError::Damaged {
                place: store.path.display().to_string(),
                reason: error.to_string(),
            })?),
        };
        Ok(Found {
            winner,
            held_back: self.held_back || winner.is_some(),
        })
    }
}
