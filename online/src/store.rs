//! The store: RocksDB, the catalogue and the mark together.

mod generations;
mod intake;
mod layers;
mod load;
mod metrics;
mod pending;
mod read;
mod scan;

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard};

use asof_core::aggregate::tiles::{FoldedEvents, TileLayout};
use asof_core::cancel::Cancellation;
use asof_core::definition::StoredShape;
use asof_core::online::{
    Counts, Generation, GenerationState, OnlineReader, OnlineRow, OnlineStore, ReadSet, SortedRows, Staged,
    StoreError, StoreMetric, Survey, ViewAddress, ViewSlot, ViewState, newer_row,
};
use asof_core::row::{RowSchema, StoredRow};
use asof_core::time::Timestamp;
use rocksdb::{BottommostLevelCompaction, ColumnFamily, CompactOptions, DB, WriteBatch};

use crate::backup::{self, ReadBack};
use crate::catalogue::Catalogue;
use crate::directory::{self, Contents};
use crate::expiry::Expiry;
use crate::failure;
use crate::in_doubt;
use crate::key_cache::KeyCache;
use crate::keys::{self, Cell, Due, DueKey, Family, LayerKey, RowKey};
use crate::lost;
use crate::manifest;
use crate::mark::{self, Left, Mark};
use crate::options::{self, Durability, RocksOptions};
use crate::tiles::Tiled;

pub use intake::has_intake;
pub(crate) use intake::note_intake;

/// An online store in a directory of its own, for one process at a time.
pub struct RocksStore {
    db: DB,
    path: PathBuf,
    options: RocksOptions,
    mark: Mark,
    recovery: Recovery,
    /// What was last written of it; held for moments only.
    catalogue: RwLock<Catalogue>,
    /// Held alone by what changes the catalogue, from its decision until it is written; shared by writes
    /// of rows, so that no row is written to a generation that is being given up.
    changes: RwLock<()>,
    /// Held by whoever removes what was given up.
    sweeping: Mutex<()>,
    /// Held by whoever merges pending rows: what two found pending at once would come to its tiles twice.
    merging: Mutex<()>,
    /// Raised after each change of `catalogue`, before its lock is given back.
    published: AtomicU64,
    cache: KeyCache,
    expiry: Expiry,
    tiled: Tiled,
    /// How many loads there were.
    loads: AtomicU64,
    /// Held while files are ingested: whether that has failed.
    ingesting: Mutex<bool>,
    /// Whether there is a note that the intake log may have entries; held alone while that changes.
    noted: RwLock<bool>,
}

/// What opening a store found of the writes that were acknowledged before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// All are there.
    Complete,
    /// The end of the log is gone, with this many changes: after a power cut, under
    /// [`Durability::Process`] only.
    Lost(u64),
    /// The mark that would tell is gone or damaged.
    Unknown,
}

impl RocksStore {
    /// Opens the store at `path`, which is created where there is none.
    ///
    /// # Errors
    ///
    /// [`StoreError::Held`] where another process, or this one, has it open; [`StoreError::Newer`];
    /// [`StoreError::Damaged`] where files do not fit together, or where the directory holds something
    /// else, and under [`Durability::Sync`] also where acknowledged writes are missing.
    pub fn open(path: &Path, options: &RocksOptions) -> Result<Self, StoreError> {
        let contents = directory::prepare(path)?;
        let left = mark::left(path).map_err(|error| failure::of_io(&path.join(mark::NAME), &error))?;
        // RocksDB deletes what is not listed when it opens.
        check_list(path, left)?;
        let expiry = Expiry::default();
        let db = in_doubt::open(path, || open_database(path, options, contents, &expiry))?;
        in_doubt::end(path).map_err(|error| failure::of_io(&path.join(in_doubt::NAME), &error))?;
        directory::hold(path)?;
        load::remove_leftovers(path)?;
        let catalogue = load_catalogue(&db, path)?;
        expiry.set(&catalogue);
        let tiled = Tiled::default();
        tiled.set(&catalogue, 0);
        let recovery = check_mark(&db, path, left, options.durability, &catalogue)?;
        let mark = Mark::start(path, db.latest_sequence_number())
            .map_err(|error| failure::of_io(&path.join(mark::NAME), &error))?;
        let store = Self {
            db,
            path: path.to_owned(),
            options: options.clone(),
            mark,
            recovery,
            catalogue: RwLock::new(catalogue),
            changes: RwLock::new(()),
            sweeping: Mutex::new(()),
            merging: Mutex::new(()),
            published: AtomicU64::new(0),
            cache: KeyCache::new(options.row_cache_bytes),
            expiry,
            tiled,
            loads: AtomicU64::new(0),
            ingesting: Mutex::new(false),
            noted: RwLock::new(has_intake(path)),
        };
        if let Err(error) = store.remove_given_up() {
            tracing::warn!(%error, "rows that nobody reads any more could not be removed; it will be tried again");
        }
        Ok(store)
    }

    /// What opening it found of the writes that were acknowledged before.
    pub fn recovery(&self) -> Recovery {
        self.recovery
    }

    /// Copies all that was acknowledged to `to`, which must not exist, and reads the copy back; others go on reading and
    /// writing meanwhile. Files are linked, or, to another file system, copied; `through` is a directory on the store's own,
    /// which must not exist either, where they are linked first if they can be, so that the copying can be cancelled.
    ///
    /// # Errors
    ///
    /// Those of [`read_back`](crate::read_back): a copy of a damaged store is none.
    pub fn copy_to(
        &self,
        to: &Path,
        through: Option<&Path>,
        cancellation: &Cancellation,
    ) -> Result<ReadBack, Vec<StoreError>> {
        backup::copy(&self.db, &self.path, to, through, cancellation).map_err(|error| vec![error])?;
        let read = backup::read_back(to, cancellation)?;
        backup::complete(to, read).map_err(|error| vec![error])
    }

    /// Compacts all rows, so that the room of what expired long ago is given back now rather than by and by.
    pub fn reclaim(&self) -> Result<(), StoreError> {
        let rows = self.family(Family::Rows)?;
        let mut options = CompactOptions::default();
        // The bottommost files, too, though nothing lies over them.
        options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        // The first pass makes plain values of what was merged; filters are shown those only.
        for _ in 0..2 {
            self.db
                .compact_range_cf_opt(rows, None::<&[u8]>, None::<&[u8]>, &options);
        }
        Ok(())
    }

    /// The directory it is in.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn catalogue(&self) -> RwLockReadGuard<'_, Catalogue> {
        self.catalogue.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn family(&self, family: Family) -> Result<&ColumnFamily, StoreError> {
        handle(&self.db, &self.path, family)
    }

    /// Writes a batch so that it survives what the store's durability names.
    fn commit(&self, batch: WriteBatch) -> Result<(), StoreError> {
        self.db
            .write_opt(batch, &options::write(self.options.durability))
            .map_err(|error| failure::of(&self.path, error))?;
        self.mark
            .advance(self.db.latest_sequence_number())
            .map_err(|error| failure::of_io(&self.path.join(mark::NAME), &error))
    }

    /// Puts rows into a batch: those that are due compete, others become pending, which `due` will tell of.
    fn put_rows(
        &self,
        batch: &mut WriteBatch,
        slot: ViewSlot,
        generation: Generation,
        now: Timestamp,
        due: &[Due],
        rows: &[OnlineRow],
    ) -> Result<(), StoreError> {
        let (row_family, due_family) = (self.family(Family::Rows)?, self.family(Family::Due)?);
        let tiles = self.tiled.get().get(slot.view, generation).cloned();
        let is_layer = self.catalogue().is_layer(slot, generation);
        let mut folded = FoldedEvents::default();
        let mut newest: HashMap<&[u8], &[u8]> = HashMap::new();
        for row in rows {
            let cell = Cell {
                entity: slot.entity,
                key: row.key.as_bytes(),
                view: slot.view,
                generation,
            };
            if is_layer {
                let (layer, key) = (generation, cell.key);
                batch.put_cf(row_family, LayerKey { slot, layer, key }.to_bytes(), []);
            }
            if row.order.due() <= now {
                match &tiles {
                    None => {
                        let newest = newest.entry(cell.key).or_insert(&row.bytes);
                        *newest = newer_row(newest, &row.bytes);
                    }
                    Some(tiles) => self.fold(tiles, &mut folded, &cell, &row.bytes)?,
                }
            } else {
                let order = row.order;
                batch.put_cf(row_family, RowKey::Pending(cell, order).to_bytes(), &row.bytes);
                for due in due {
                    batch.put_cf(due_family, DueKey { cell, order }.to_bytes(*due), []);
                }
            }
        }
        // One merge a key, however many of its rows there are.
        for (key, bytes) in newest {
            let cell = Cell {
                entity: slot.entity,
                key,
                view: slot.view,
                generation,
            };
            batch.merge_cf(row_family, RowKey::Row(cell).to_bytes(), bytes);
        }
        match &tiles {
            Some(tiles) => self.put_chunks(batch, slot, generation, tiles, &folded),
            None => Ok(()),
        }
    }

    /// Folds an event of a cell.
    fn fold(
        &self,
        tiles: &TileLayout,
        folded: &mut FoldedEvents,
        cell: &Cell<'_>,
        row: &[u8],
    ) -> Result<(), StoreError> {
        let added = folded.add(tiles, cell.key, &self.parse(cell, row)?);
        added.map_err(|error| self.damaged(cell, &error.to_string()))
    }

    /// Puts events that were folded into a batch.
    fn put_chunks(
        &self,
        batch: &mut WriteBatch,
        slot: ViewSlot,
        generation: Generation,
        tiles: &TileLayout,
        folded: &FoldedEvents,
    ) -> Result<(), StoreError> {
        let family = self.family(Family::Rows)?;
        for chunk in folded.chunks(tiles) {
            let cell = Cell {
                entity: slot.entity,
                key: &chunk.key,
                view: slot.view,
                generation,
            };
            batch.merge_cf(family, RowKey::Tiles(cell, chunk.id).to_bytes(), chunk.bytes);
        }
        Ok(())
    }

    /// A stored row, checked.
    fn parse<'a>(&self, cell: &Cell<'_>, bytes: &'a [u8]) -> Result<StoredRow<'a>, StoreError> {
        StoredRow::parse(bytes).map_err(|error| self.damaged(cell, &error.to_string()))
    }

    /// Names a cell without showing the key, which is the user's data.
    fn damaged(&self, cell: &Cell<'_>, reason: &str) -> StoreError {
        let view = self.catalogue().views.get(&cell.view).map_or_else(
            || format!("number {}", cell.view),
            |view| view.address.view.to_string(),
        );
        StoreError::Damaged {
            place: format!(
                "{}, view {view}, generation {}, key with CRC-32C {:08x}",
                self.path.display(),
                cell.generation.0,
                crc32c::crc32c(cell.key)
            ),
            reason: reason.into(),
        }
    }

    fn damaged_key(&self, key: &[u8]) -> StoreError {
        StoreError::Damaged {
            place: self.place(),
            reason: format!("a key of {} bytes is not one of the store's", key.len()),
        }
    }
}

impl OnlineStore for RocksStore {
    fn open_view(&self, address: &ViewAddress) -> Result<ViewSlot, StoreError> {
        self.open_slot(address)
    }

    fn views(&self) -> Result<Vec<(ViewAddress, ViewSlot, ViewState)>, StoreError> {
        let catalogue = self.catalogue();
        let views = catalogue.views.values();
        Ok(views
            .map(|view| (view.address.clone(), view.slot, view.state.clone()))
            .collect())
    }

    fn view_state(&self, slot: ViewSlot) -> Result<ViewState, StoreError> {
        Ok(self.catalogue().view(slot)?.state.clone())
    }

    fn begin_generation(
        &self,
        slot: ViewSlot,
        shape: StoredShape,
        schema: RowSchema,
    ) -> Result<Generation, StoreError> {
        self.begin(slot, shape, schema)
    }

    fn begin_layer(&self, slot: ViewSlot, generation: Generation) -> Result<Generation, StoreError> {
        self.begin_layer_of(slot, generation)
    }

    fn fold(&self, slot: ViewSlot, generation: Generation, layer: Generation) -> Result<(), StoreError> {
        self.fold_layer(slot, generation, layer)
    }

    fn add_schema(
        &self,
        slot: ViewSlot,
        generation: Generation,
        schema: &RowSchema,
    ) -> Result<u32, StoreError> {
        self.add_schema_to(slot, generation, schema)
    }

    fn write(
        &self,
        slot: ViewSlot,
        generation: Generation,
        now: Timestamp,
        rows: &[OnlineRow],
        state: Option<&GenerationState>,
    ) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        self.put_rows(&mut batch, slot, generation, now, &[Due::All], rows)?;
        let keys = rows
            .iter()
            .map(|row| keys::key_start(slot.entity, row.key.as_bytes()));
        let _held = self.cache.hold(keys);
        match state {
            Some(state) => self.commit_with_state(batch, slot, generation, state),
            None => {
                let _shared = self.changes.read().unwrap_or_else(PoisonError::into_inner);
                self.catalogue().live(slot, generation)?;
                self.commit(batch)
            }
        }
    }

    fn stage(
        &self,
        slot: ViewSlot,
        generation: Generation,
        rows: &SortedRows,
        progress: &[u8],
    ) -> Result<Staged, StoreError> {
        Ok(Staged::new(self.write_rows(slot, generation, rows, progress)?))
    }

    fn stage_events(
        &self,
        slot: ViewSlot,
        generation: Generation,
        events: &FoldedEvents,
        pending: &[OnlineRow],
        progress: &[u8],
    ) -> Result<Staged, StoreError> {
        let files = self.write_events(slot, generation, events, pending, progress)?;
        Ok(Staged::new(files))
    }

    fn take_in(&self, staged: Staged) -> Result<(), StoreError> {
        self.ingest(staged.into_inner(&self.place())?)
    }

    fn loaded(&self, slot: ViewSlot, generation: Generation) -> Result<Option<Vec<u8>>, StoreError> {
        self.load_progress(slot, generation)
    }

    fn serve(&self, slot: ViewSlot, generation: Generation) -> Result<(), StoreError> {
        self.switch(slot, generation)
    }

    fn exchange(&self, slot: ViewSlot, states: &[GenerationState]) -> Result<(), StoreError> {
        self.exchange_kept(slot, states)
    }

    fn forget_kept(&self, slot: ViewSlot) -> Result<(), StoreError> {
        self.give_up_kept(slot)
    }

    fn give_up(&self, slot: ViewSlot) -> Result<(), StoreError> {
        self.give_up_building(slot)
    }

    fn remove_given_up(&self) -> Result<(), StoreError> {
        self.sweep()
    }

    fn apply_due(&self, slot: ViewSlot, generation: Generation, now: Timestamp) -> Result<u64, StoreError> {
        let layers = self.tiled.get().shown(slot.view, generation).to_vec();
        let mut merged = 0;
        for number in std::iter::once(generation).chain(layers) {
            merged += self.merge_due(slot, number, Due::All, now)?;
        }
        Ok(merged)
    }

    fn reader<'a>(
        &'a self,
        set: &'a ReadSet,
        at: Timestamp,
    ) -> Result<Box<dyn OnlineReader + 'a>, StoreError> {
        Ok(Box::new(self.key_reader(set, at)?))
    }

    fn survey(&self, generations: &[Survey], cancellation: &Cancellation) -> Result<Vec<Counts>, StoreError> {
        self.count_rows(generations, cancellation)
    }

    fn drop_view(&self, slot: ViewSlot) -> Result<u64, StoreError> {
        self.drop_slot(slot)
    }

    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn changes(&self) -> Option<u64> {
        Some(self.published.load(Ordering::Acquire))
    }

    fn metrics(&self) -> Vec<StoreMetric> {
        self.all_metrics()
    }
}

impl fmt::Debug for RocksStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RocksStore")
            .field("path", &self.path)
            .field("options", &self.options)
            .field("recovery", &self.recovery)
            .finish_non_exhaustive()
    }
}

fn open_database(
    path: &Path,
    options: &RocksOptions,
    contents: Contents,
    expiry: &Expiry,
) -> Result<DB, StoreError> {
    let database = options::database(options, contents == Contents::New);
    let families = options::families(options, expiry).map_err(|error| failure::of(path, error))?;
    DB::open_cf_descriptors(&database, path, families).map_err(|error| {
        if failure::is_lock(&error) {
            return StoreError::Held {
                place: path.display().to_string(),
                reason: directory::holder(path),
            };
        }
        match contents {
            Contents::New => failure::of(path, error),
            Contents::Store => failure::on_open(path, error),
        }
    })
}

pub(crate) fn handle<'a>(db: &'a DB, path: &Path, family: Family) -> Result<&'a ColumnFamily, StoreError> {
    db.cf_handle(family.name()).ok_or_else(|| StoreError::Damaged {
        place: path.display().to_string(),
        reason: format!("there is no column family {:?}", family.name()),
    })
}

fn load_catalogue(db: &DB, path: &Path) -> Result<Catalogue, StoreError> {
    let mut catalogue = Catalogue::default();
    let family = handle(db, path, Family::Catalogue)?;
    let mut entries = db.raw_iterator_cf_opt(family, options::scan((Vec::new(), vec![u8::MAX])));
    entries.seek_to_first();
    while let Some((key, value)) = entries.item() {
        catalogue.load(key, value).map_err(|error| StoreError::Damaged {
            place: path.display().to_string(),
            reason: error.to_string(),
        })?;
        entries.next();
    }
    entries.status().map_err(|error| failure::of(path, error))?;
    drop(entries);
    debug_assert!(
        catalogue
            .views
            .keys()
            .all(|view| *view < catalogue.counters.next_view)
    );
    Ok(catalogue)
}

/// Refuses a MANIFEST that is shorter than it was, or older, or that is damaged in what it had.
///
/// One that another process holds has grown at most.
fn check_list(path: &Path, left: Left) -> Result<(), StoreError> {
    let (Left::At(mut before), Some(now)) = (left, mark::list(path)) else {
        return Ok(());
    };
    let noted = in_doubt::left(path).map_err(|error| failure::of_io(&path.join(in_doubt::NAME), &error))?;
    if let Some(noted) = noted.filter(|noted| noted.number == before.list.number) {
        // What is behind it may have been taken off.
        before.list.length = before.list.length.min(noted.length);
    }
    let file = path.join(format!("MANIFEST-{:06}", now.number));
    let damaged = |reason: String| StoreError::Damaged {
        place: file.display().to_string(),
        reason: format!("{reason}; restore the directory from a copy"),
    };
    if (now.number, now.length) < (before.list.number, before.list.length) {
        return Err(damaged(format!(
            "it has {} bytes, expected {} or more of MANIFEST-{:06}",
            now.length, before.list.length, before.list.number
        )));
    }
    if now.number > before.list.number {
        return Ok(());
    }
    let list = fs::read(&file).map_err(|error| failure::of_io(&file, &error))?;
    let end = usize::try_from(before.list.length).unwrap_or(usize::MAX);
    match manifest::first_damage(&list, end) {
        Some(at) => Err(damaged(format!("the record at its byte {at} is not whole"))),
        None => Ok(()),
    }
}

/// Compares what is there with what was acknowledged.
fn check_mark(
    db: &DB,
    path: &Path,
    left: Left,
    durability: Durability,
    catalogue: &Catalogue,
) -> Result<Recovery, StoreError> {
    let there = db.latest_sequence_number();
    let recovery = match left {
        Left::At(before) if before.sequence <= there => Recovery::Complete,
        Left::At(before) => Recovery::Lost(before.sequence - there),
        // A creation that was killed before its first write.
        Left::Missing if *catalogue == Catalogue::default() => Recovery::Complete,
        Left::Missing | Left::Unreadable => Recovery::Unknown,
    };
    let (changes, reason) = match recovery {
        Recovery::Complete => return Ok(recovery),
        Recovery::Lost(changes) => (
            Some(changes),
            format!("{changes} changes that were acknowledged are gone from the log"),
        ),
        Recovery::Unknown => (
            None,
            "the mark of the last acknowledged write is gone or damaged".into(),
        ),
    };
    match durability {
        Durability::Process => {
            lost::note(path, changes).map_err(|error| failure::of_io(&path.join(lost::NAME), &error))?;
            Ok(recovery)
        }
        Durability::Sync => Err(StoreError::Damaged {
            place: path.join(mark::NAME).display().to_string(),
            reason: format!(
                "{reason}: restore a backup, or move the directory away and run `asof materialize`, which brings what the \
                 tables have"
            ),
        }),
    }
}
