//! Reads of keys: one short iteration over all that there is of each, or what is cached of it.
//!
//! All keys of a reader are read from one snapshot, which is as old as the reader: what is accepted while it reads on, and
//! happens after its instant, is not in it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use asof_core::aggregate::tiles::{ChunkRange, TilesAt};
use asof_core::online::{Generation, OnlineReader, ReadSet, StoreError, ViewSlot, Visit};
use asof_core::row::RowCorrupt;
use asof_core::time::Timestamp;

use super::RocksStore;
use crate::answers::KeyTiles;
use crate::key_cache::{Cached, Taken};
use crate::key_rows::KeyRows;
use crate::keys::{self, Family, RowKey};
use crate::tiles::{self, Layouts, Step};
use crate::{failure, options};

impl RocksStore {
    pub(super) fn key_reader<'a>(
        &'a self,
        set: &'a ReadSet,
        at: Timestamp,
    ) -> Result<Reader<'a>, StoreError> {
        let layouts = self.tiled.get();
        let changes = layouts.changes;
        // One more than the number of changes, as 0 says that nothing was noted; then whether all serve.
        let noted = set.noted();
        let serving = if noted >> 1 == changes + 1 {
            noted & 1 == 1
        } else {
            let serving = self.look_at(set)?;
            set.note((changes + 1) << 1 | u64::from(serving));
            serving
        };
        let mut tiled = Vec::new();
        for (view, generation, _) in set.sorted() {
            let Some(layout) = layouts.get(*view, *generation) else {
                continue;
            };
            tiled.push((*view, *generation, layout.at(at)));
            let layers = layouts.shown(*view, *generation).iter();
            tiled.extend(layers.map(|layer| (*view, *layer, layout.at(at))));
        }
        let taken = self.cache.before_snapshot();
        Ok(Reader {
            store: self,
            taken,
            snapshot: self.db.snapshot(),
            set,
            at,
            changes,
            serving,
            start: Vec::new(),
            tiled,
            others: RefCell::default(),
            layouts,
            body: Vec::new(),
        })
    }

    /// Whether all of a set serve: only what serves is cached, as loads of what is being built do not care
    /// for the cache.
    fn look_at(&self, set: &ReadSet) -> Result<bool, StoreError> {
        let catalogue = self.catalogue();
        let mut serving = true;
        for (view, generation) in set.views() {
            let slot = ViewSlot {
                entity: set.entity(),
                view: *view,
            };
            let state = &catalogue.live(slot, *generation)?.state;
            serving &= state.serves(*generation);
        }
        Ok(serving)
    }
}

/// The chunks that are needed of generations.
type Needed = HashMap<(u32, Generation), Arc<[ChunkRange]>>;

/// See [`OnlineStore::reader`](asof_core::online::OnlineStore::reader).
pub(super) struct Reader<'a> {
    store: &'a RocksStore,
    /// From before the snapshot.
    taken: Taken,
    snapshot: rocksdb::Snapshot<'a>,
    set: &'a ReadSet,
    at: Timestamp,
    changes: u64,
    serving: bool,
    /// The start of all stored keys of the key that is read.
    start: Vec<u8>,
    /// Of the set, the generations with tiles, and their layers.
    tiled: Vec<(u32, Generation, TilesAt)>,
    /// Of generations beside the set that were met, the chunks that are needed.
    others: RefCell<Needed>,
    /// Those of all views.
    layouts: Arc<Layouts>,
    /// The features of windows.
    body: Vec<u8>,
}

impl OnlineReader for Reader<'_> {
    fn read(&mut self, key: &[u8], visit: Visit<'_>) -> Result<(), StoreError> {
        self.start.clear();
        self.start.extend_from_slice(&self.set.entity().to_be_bytes());
        self.start.extend_from_slice(key);
        let cached = match self.cached() {
            Some(cached) => cached,
            None => self.fill()?,
        };
        let mut body = std::mem::take(&mut self.body);
        let mut walk = cached.rows.walk(self.at);
        let sorted = self.set.sorted();
        for same in sorted.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
            let Some((view, generation, _)) = same.first() else {
                continue;
            };
            let tiles = self
                .tiled
                .iter()
                .find(|tiled| (tiled.0, tiled.1) == (*view, *generation));
            let layers = self.layouts.shown(*view, *generation);
            let found = match tiles {
                Some((_, _, tiles)) => walk.find_windows(*view, *generation, layers, tiles, &mut body),
                None => walk.find(*view, *generation, layers),
            };
            let found = found.map_err(|corrupt| self.damaged(key, (*view, *generation), corrupt))?;
            for (_, _, place) in same {
                visit(*place, found)?;
            }
        }
        self.body = body;
        Ok(())
    }
}

impl Reader<'_> {
    fn cached(&self) -> Option<Arc<Cached>> {
        let cached = self
            .store
            .cache
            .get(&self.start, self.changes)
            .filter(|cached| self.serving && cached.is_in(self.taken))?;
        let rows = &cached.rows;
        let has_chunks = self.tiled.iter().all(|(view, generation, tiles)| {
            let tiled = rows.tiled(*view, *generation);
            tiled.is_none_or(|tiled| tiled.has(tiles))
        });
        (has_chunks && rows.answers(self.at)).then_some(cached)
    }

    /// The chunks that are needed of a generation, where it has any.
    fn needed(&self, view: u32, generation: Generation) -> Arc<[ChunkRange]> {
        let is = |tiled: &&(u32, Generation, TilesAt)| (tiled.0, tiled.1) == (view, generation);
        if let Some((_, _, tiles)) = self.tiled.iter().find(is) {
            return Arc::clone(tiles.ranges());
        }
        let mut others = self.others.borrow_mut();
        let needed = others.entry((view, generation)).or_insert_with(|| {
            let layout = self.layouts.get(view, generation);
            layout.map_or_else(|| [].into(), |layout| layout.ranges(self.at))
        });
        Arc::clone(needed)
    }

    /// Copies what there is of the key.
    ///
    /// Each key has an iteration of its own, between two bounds: it never looks at what is another key's.
    fn fill(&self) -> Result<Arc<Cached>, StoreError> {
        let Self { store, at, taken, .. } = *self;
        let family = store.family(Family::Rows)?;
        let range = keys::range_of(self.start.clone());
        let mut rows = self
            .snapshot
            .raw_iterator_cf_opt(family, options::point_read(range));
        // Rows are removed only after their generation is gone from the catalogue: what is live now is whole in the
        // snapshot.
        if store.published.load(Ordering::Acquire) != self.changes {
            store.look_at(self.set)?;
        }
        let mut key_rows = KeyRows::default();
        rows.seek_to_first();
        while let Some((key, row)) = rows.item() {
            let row_key = RowKey::parse(key).ok_or_else(|| store.damaged_key(key))?;
            match row_key {
                // Neither this one has happened, nor those of its view behind it.
                RowKey::Pending(cell, order) if order.event_time > at => {
                    key_rows.leave_out(order.event_time);
                    let behind = cell.behind_pending();
                    rows.seek(behind);
                }
                RowKey::Tiles(cell, chunk) => {
                    let known = key_rows.tiled(cell.view, cell.generation);
                    let step = match known {
                        Some(tiled) => tiles::step(tiled.needed(), chunk),
                        None => {
                            let needed = self.needed(cell.view, cell.generation);
                            let step = tiles::step(&needed, chunk);
                            key_rows.push_tiled(KeyTiles::new(cell.view, cell.generation, needed));
                            step
                        }
                    };
                    match step {
                        Step::Take => {
                            key_rows.push(&row_key, row);
                            rows.next();
                        }
                        Step::To(chunk) => {
                            let next = RowKey::Tiles(cell, chunk).to_bytes();
                            rows.seek(next);
                        }
                        Step::End => {
                            let end = cell.end();
                            rows.seek(end);
                        }
                    }
                }
                RowKey::Row(_) | RowKey::Pending(..) => {
                    key_rows.push(&row_key, row);
                    rows.next();
                }
            }
        }
        rows.status().map_err(|error| failure::of(&store.path, error))?;
        Ok(store.cache.insert(&self.start, key_rows, taken, self.changes))
    }

    fn damaged(&self, key: &[u8], (view, generation): (u32, Generation), corrupt: RowCorrupt) -> StoreError {
        let cell = keys::Cell {
            entity: self.set.entity(),
            key,
            view,
            generation,
        };
        self.store.damaged(&cell, &corrupt.to_string())
    }
}
