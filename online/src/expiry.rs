//! The room of rows that expired long ago, given back when RocksDB compacts.
//!
//! RocksDB shows a compaction filter only rows that were merged before, with no others of their key beneath
//! them. What a filter removes does not come back, and is not removed where somebody reads it at the time.

use std::collections::HashMap;
use std::ffi::CStr;
use std::sync::{Arc, PoisonError, RwLock};

use asof_core::aggregate::tiles::TileLayout;
use asof_core::online::Generation;
use asof_core::row::StoredRow;
use asof_core::time::Timestamp;
use rocksdb::CompactionDecision;
use rocksdb::compaction_filter::CompactionFilter;
use rocksdb::compaction_filter_factory::{CompactionFilterContext, CompactionFilterFactory};

use crate::catalogue::Catalogue;
use crate::keys::{RowKey, is_loader_key};

/// The name of the factory and of its filters; RocksDB only logs it.
const NAME: &CStr = c"asof.expiry";

type Instants = HashMap<(u32, Generation), Reclaimed>;

/// What of a generation may go.
#[derive(Debug, Clone)]
enum Reclaimed {
    /// Rows from before an instant.
    Rows(Timestamp),
    /// Tiles that no window needs from an instant on.
    Tiles(Arc<TileLayout>, Timestamp),
}

/// What of each generation that serves may go.
#[derive(Debug, Clone, Default)]
pub(crate) struct Expiry(Arc<RwLock<Arc<Instants>>>);

impl Expiry {
    /// Takes the instants over from a catalogue.
    pub(crate) fn set(&self, catalogue: &Catalogue) {
        let mut instants = Instants::new();
        for view in catalogue.views.values() {
            let Some(serving) = &view.state.serving else {
                continue;
            };
            let Some(reclaimed) = serving.reclaimed else {
                continue;
            };
            let reclaimed = match &serving.shape.tiles {
                Some(tiles) => Reclaimed::Tiles(Arc::clone(tiles), reclaimed),
                None => Reclaimed::Rows(reclaimed),
            };
            let numbers = serving.numbers().map(|number| (view.slot.view, number));
            instants.extend(numbers.map(|number| (number, reclaimed.clone())));
        }
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(instants);
    }
}

impl CompactionFilterFactory for Expiry {
    type Filter = Filter;

    fn create(&mut self, _: CompactionFilterContext) -> Filter {
        Filter(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }

    fn name(&self) -> &CStr {
        NAME
    }
}

/// The filter of one compaction.
pub(crate) struct Filter(Arc<Instants>);

impl Filter {
    /// Whether a stored value is a whole row that may go, or tiles that may; never a pending row, nor one that says
    /// "deleted", without which an older row that comes late would be seen.
    fn is_reclaimed(&self, key: &[u8], value: &[u8]) -> bool {
        if is_loader_key(key) {
            return false;
        }
        let Some(row_key) = RowKey::parse(key) else {
            return false;
        };
        let cell = row_key.cell();
        match (row_key, self.0.get(&(cell.view, cell.generation))) {
            (RowKey::Row(_), Some(Reclaimed::Rows(before))) => {
                let is_gone = |row: StoredRow<'_>| row.order.event_time < *before && !row.deleted;
                StoredRow::parse(value).is_ok_and(is_gone)
            }
            (RowKey::Tiles(_, chunk), Some(Reclaimed::Tiles(tiles, from))) => tiles.is_past(chunk, *from),
            _ => false,
        }
    }
}

impl CompactionFilter for Filter {
    fn filter(&mut self, _: u32, key: &[u8], value: &[u8]) -> CompactionDecision {
        match !self.0.is_empty() && self.is_reclaimed(key, value) {
            true => CompactionDecision::Remove,
            false => CompactionDecision::Keep,
        }
    }

    fn name(&self) -> &CStr {
        NAME
    }
}
