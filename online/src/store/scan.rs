//! Passes over all rows of an entity, in bounded memory.

use std::collections::{BTreeMap, BTreeSet};

use asof_core::aggregate::tiles::check_chunk;
use asof_core::cancel::Cancellation;
use asof_core::online::{Counts, Generation, StoreError, Survey, ViewSlot};
use asof_core::order::RowOrder;
use asof_core::time::Timestamp;
use rocksdb::WriteBatch;

use super::RocksStore;
use crate::catalogue::Removal;
use crate::failure;
use crate::keys::{self, Cell, Due, Family, LayerKey, LoadKey, NoteKey, RowKey};
use crate::options;

/// How many rows are removed in one step.
const STEP: usize = 10_000;

/// Takes a stored key, the same taken apart, and the row.
type Visit<'v> = dyn FnMut(&[u8], RowKey<'_>, &[u8]) -> Result<(), StoreError> + 'v;

/// Counts of the generations of an entity's views.
#[derive(Default)]
struct OfEntity {
    /// The generations with which layers are counted.
    layers: BTreeMap<(u32, Generation), Generation>,
    counts: BTreeMap<(u32, Generation), (Survey, Counts)>,
}

/// Stands for the greatest row of a key that has tiles.
const TILED: RowOrder = RowOrder {
    event_time: Timestamp::MAX,
    created_time: Timestamp::MAX,
    seq: u64::MAX,
};

/// The rows of one key in one generation, which stand one after the other.
#[derive(Default)]
struct Cells {
    key: Vec<u8>,
    of: Option<(u32, Generation)>,
    /// The greatest row that is due.
    winner: Option<RowOrder>,
    /// Those that are pending, where a layer may have the same once more.
    pending: BTreeSet<RowOrder>,
}

impl Cells {
    /// Goes on to a row of a cell, those of layers being of their generation's; returns the greatest row before it.
    fn at(&mut self, cell: &Cell<'_>) -> Option<RowOrder> {
        let of = Some((cell.view, cell.generation));
        if self.of != of || self.key != cell.key {
            self.key.clear();
            self.key.extend_from_slice(cell.key);
            (self.of, self.winner) = (of, None);
            self.pending.clear();
        }
        self.winner
    }
}

impl RocksStore {
    /// One pass over each entity, whatever the number of its views.
    pub(super) fn count_rows(
        &self,
        generations: &[Survey],
        cancellation: &Cancellation,
    ) -> Result<Vec<Counts>, StoreError> {
        let mut counted: BTreeMap<u32, OfEntity> = BTreeMap::new();
        let layouts = self.tiled.get();
        for survey in generations {
            let of_entity = counted.entry(survey.slot.entity).or_default();
            let Survey {
                slot: ViewSlot { view, .. },
                generation,
                layer,
                ..
            } = *survey;
            let shown = layouts.shown(view, generation).iter().copied();
            let layers = shown.chain(layer).map(|layer| ((view, layer), generation));
            of_entity.layers.extend(layers);
            of_entity
                .counts
                .insert((view, generation), (*survey, Counts::default()));
        }
        for (entity, OfEntity { layers, counts }) in &mut counted {
            let mut cells = Cells::default();
            self.scan_entity(*entity, &mut |_, row_key, bytes| {
                if cancellation.is_cancelled() {
                    return Err(StoreError::Cancelled);
                }
                let cell = row_key.cell();
                let layered = layers.get(&(cell.view, cell.generation));
                let generation = *layered.unwrap_or(&cell.generation);
                let Some((survey, counts)) = counts.get_mut(&(cell.view, generation)) else {
                    return Ok(());
                };
                let cell = &Cell { generation, ..*cell };
                counts.bytes += (cell.key.len() + bytes.len()) as u64;
                if matches!(row_key, RowKey::Tiles(..)) {
                    check_chunk(bytes).map_err(|error| self.damaged(cell, &error.to_string()))?;
                    counts.keys += u64::from(cells.at(cell).is_none());
                    cells.winner = Some(TILED);
                    return Ok(());
                }
                let order = self.parse(cell, bytes)?.order;
                let before = cells.at(cell);
                if matches!(row_key, RowKey::Pending(..)) && order.due() > survey.at {
                    counts.pending += u64::from(layers.is_empty() || cells.pending.insert(order));
                    return Ok(());
                }
                if before >= Some(order) {
                    return Ok(());
                }
                cells.winner = Some(order);
                let is_earlier = |order: RowOrder| u64::from(order.event_time < survey.from);
                counts.keys += u64::from(before.is_none());
                counts.earlier += is_earlier(order);
                counts.earlier -= before.map_or(0, is_earlier);
                Ok(())
            })?;
        }
        let counts = generations.iter().map(|survey| {
            let Survey {
                slot,
                generation,
                layer,
                ..
            } = *survey;
            // One that went away during the count was not counted whole.
            for number in std::iter::once(generation).chain(layer) {
                self.catalogue().live(slot, number)?;
            }
            let counts = counted
                .get(&slot.entity)
                .and_then(|of_entity| of_entity.counts.get(&(slot.view, generation)));
            Ok(counts.map(|(_, counts)| *counts).unwrap_or_default())
        });
        counts.collect()
    }

    /// Removes the rows of generations that nobody reads, in one pass over each entity; returns how many keys of each
    /// had one.
    pub(super) fn remove_rows(
        &self,
        given_up: &BTreeSet<Removal>,
    ) -> Result<BTreeMap<Removal, u64>, StoreError> {
        let rows = self.family(Family::Rows)?;
        let mut removed: BTreeMap<Removal, u64> = given_up.iter().map(|removal| (*removal, 0)).collect();
        let mut cells = Cells::default();
        let mut batch = WriteBatch::default();
        let entities: BTreeSet<u32> = given_up.iter().map(|removal| removal.entity).collect();
        for entity in entities {
            self.scan_entity(entity, &mut |key, row_key, _| {
                let cell = row_key.cell();
                let Some(keys) = removed.get_mut(&Removal::of(cell.slot(), cell.generation)) else {
                    return Ok(());
                };
                if !matches!(row_key, RowKey::Pending(..)) {
                    *keys += u64::from(cells.at(cell).is_none());
                    cells.winner = Some(TILED);
                }
                batch.delete_cf(rows, key);
                if batch.len() < STEP {
                    return Ok(());
                }
                self.commit(std::mem::take(&mut batch))
            })?;
        }
        for removal in given_up {
            for due in Due::BOTH {
                let (start, end) = due.generation_range(removal.view, removal.generation);
                batch.delete_range_cf(self.family(Family::Due)?, start, end);
            }
            let load = LoadKey {
                slot: removal.slot(),
                generation: removal.generation,
            };
            batch.delete_cf(rows, load.to_bytes());
            let note = NoteKey {
                slot: removal.slot(),
                generation: removal.generation,
            };
            batch.delete_cf(rows, note.to_bytes());
            let (start, end) = LayerKey::range(removal.slot(), removal.generation);
            batch.delete_range_cf(rows, start, end);
        }
        self.commit(batch)?;
        Ok(removed)
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

#[cfg(test)]
mod tests {
    use asof_core::online::conformance::{address, key, order, row, schema, shape};
    use asof_core::online::{Generation, OnlineStore, ViewSlot};
    use asof_core::time::Timestamp;

    use crate::store::RocksStore;
    use crate::{RocksOptions, keys::Cell};

    const NOW: Timestamp = Timestamp::from_micros(10);

    fn begin(store: &RocksStore, entity: &str, view: &str) -> (ViewSlot, Generation) {
        let slot = store.open_view(&address(entity, "string", view)).unwrap();
        let generation = store.begin_generation(slot, shape(view), schema()).unwrap();
        // More than are removed in one step, a tenth of them pending.
        let rows: Vec<_> = (0..12_000_i64)
            .map(|k| {
                row(
                    &key(&k.to_string()),
                    order(if k % 10 == 0 { 20 } else { 1 }, 1, 1),
                    k,
                )
            })
            .collect();
        for rows in rows.chunks(4_000) {
            store.write(slot, generation, NOW, rows, None).unwrap();
        }
        (slot, generation)
    }

    /// How many rows and pending rows the database has of each generation.
    fn stored(store: &RocksStore, entity: u32) -> Vec<((u32, Generation), u64)> {
        let mut stored = std::collections::BTreeMap::new();
        store
            .scan_entity(entity, &mut |_, row_key, _| {
                let Cell { view, generation, .. } = *row_key.cell();
                *stored.entry((view, generation)).or_default() += 1;
                Ok(())
            })
            .unwrap();
        stored.into_iter().collect()
    }

    #[test]
    fn what_was_given_up_is_removed_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let store = RocksStore::open(directory.path(), &RocksOptions::default()).unwrap();
        let views = [("a", "v"), ("a", "w"), ("b", "x"), ("b", "y")];
        let slots = views.map(|(entity, view)| {
            let (slot, first) = begin(&store, entity, view);
            store.serve(slot, first).unwrap();
            slot
        });
        // `v` and `x` serve a second generation, `w` builds a third after giving up a second, `y` stays.
        for (entity, view) in [views[0], views[2]] {
            let (slot, second) = begin(&store, entity, view);
            store.serve(slot, second).unwrap();
        }
        begin(&store, "a", "w");
        begin(&store, "a", "w");
        let all = |generations: &[(usize, u32)]| -> Vec<_> {
            let of =
                |(view, generation): &(usize, u32)| ((slots[*view].view, Generation(*generation)), 12_000);
            generations.iter().map(of).collect()
        };
        let (a, b) = (slots[0].entity, slots[2].entity);
        assert_eq!(stored(&store, a), all(&[(0, 1), (0, 2), (1, 1), (1, 2), (1, 3)]));

        slots.iter().for_each(|slot| store.forget_kept(*slot).unwrap());
        store.remove_given_up().unwrap();
        assert_eq!(stored(&store, a), all(&[(0, 2), (1, 1), (1, 3)]));
        assert_eq!(stored(&store, b), all(&[(2, 2), (3, 1)]));
        assert_eq!(store.drop_view(slots[1]).unwrap(), 10_800);
        assert_eq!(stored(&store, a), all(&[(0, 2)]));
        drop(store);
        let again = RocksStore::open(directory.path(), &RocksOptions::default()).unwrap();
        assert_eq!(stored(&again, b), all(&[(2, 2), (3, 1)]));
        assert!(again.catalogue().removals.is_empty());
    }
}
