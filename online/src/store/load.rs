//! Many rows at once: written into table files of their own, which RocksDB takes in as they are.
//!
//! The files hold merge operands, as every write of rows does: RocksDB takes what it is given last for the
//! newest, and a plain value would hide rows that came while the files were written. How far the loading has
//! come lies in the first file, under a key before all rows, so that one step takes in both.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use asof_core::aggregate::tiles::FoldedEvents;
use asof_core::online::intake::IntakeLog;
use asof_core::online::{Generation, OnlineRow, SortedRows, StoreError, ViewSlot};
use rocksdb::{IngestExternalFileOptions, SstFileWriter, WriteBatch};

use super::RocksStore;
use crate::failure;
use crate::keys::{Cell, Due, DueKey, Family, LayerKey, LoadKey, RowKey};
use crate::{in_doubt, mark, options};

/// The directory of files that are being written, in the store's.
pub(super) const DIRECTORY: &str = "asof.load";
/// Bytes of a file, uncompressed: as large as files that RocksDB writes itself.
const FILE_BYTES: usize = 64 << 20;

impl RocksStore {
    /// Takes files in.
    pub(super) fn ingest(&self, files: Files) -> Result<(), StoreError> {
        let (slot, generation) = (files.slot, files.generation);
        let _shared = self.changes.read().unwrap_or_else(PoisonError::into_inner);
        let serves = self.catalogue().live(slot, generation)?.state.serves(generation);
        // What is being built is not cached, and does not begin to serve while `changes` is shared.
        let _held = serves.then(|| self.cache.hold_all());
        if !files.due.is_empty() {
            // Before the rows that they lead to: of one that leads nowhere nothing comes.
            let mut batch = WriteBatch::default();
            let family = self.family(Family::Due)?;
            files.due.iter().for_each(|key| batch.put_cf(family, key, []));
            self.commit(batch)?;
        }
        // What is taken in outlives a power cut: so must all that it builds on, its generation first of all.
        self.settle()?;
        let mut has_failed = self.ingesting.lock().unwrap_or_else(PoisonError::into_inner);
        let in_doubt = |error| failure::of_io(&self.path.join(in_doubt::NAME), &error);
        in_doubt::begin(&self.path, *has_failed).map_err(in_doubt)?;
        let mut ingest = IngestExternalFileOptions::default();
        // They are on the same disk: a rename instead of a copy.
        ingest.set_move_files(true);
        let ingested =
            self.db
                .ingest_external_file_cf_opts(self.family(Family::Rows)?, &ingest, files.paths.clone());
        if let Err(error) = ingested {
            *has_failed = !in_doubt::end_where_nothing_came(&self.path).unwrap_or(false);
            return Err(failure::of(&self.path, error));
        }
        *has_failed = false;
        in_doubt::end(&self.path).map_err(in_doubt)?;
        self.mark
            .advance(self.db.latest_sequence_number())
            .map_err(|error| failure::of_io(&self.path.join(mark::NAME), &error))
    }

    pub(super) fn load_progress(
        &self,
        slot: ViewSlot,
        generation: Generation,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        self.catalogue().live(slot, generation)?;
        let key = LoadKey { slot, generation }.to_bytes();
        self.db
            .get_cf(self.family(Family::Rows)?, key)
            .map_err(|error| failure::of(&self.path, error))
    }

    /// Writes files of rows.
    pub(super) fn write_rows(
        &self,
        slot: ViewSlot,
        generation: Generation,
        rows: &SortedRows,
        progress: &[u8],
    ) -> Result<Files, StoreError> {
        let entries = rows.iter().map(|(key, row)| {
            let cell = cell(slot, generation, key);
            (RowKey::Row(cell).to_bytes(), Entry::Merged(row.into()))
        });
        let keys = rows.iter().map(|(key, _)| key);
        self.write_files(slot, generation, keys, entries, progress)
    }

    /// Writes files of events that were folded, and of those that are pending.
    pub(super) fn write_events(
        &self,
        slot: ViewSlot,
        generation: Generation,
        events: &FoldedEvents,
        pending: &[OnlineRow],
        progress: &[u8],
    ) -> Result<Files, StoreError> {
        let tiles = self.tiled.get().get(slot.view, generation).cloned();
        let chunks = tiles.iter().flat_map(|tiles| events.chunks(tiles));
        let chunks = chunks.map(|chunk| {
            let cell = cell(slot, generation, &chunk.key);
            let key = RowKey::Tiles(cell, chunk.id).to_bytes();
            (key, Entry::Merged(chunk.bytes.into()))
        });
        let mut due = Vec::with_capacity(pending.len());
        let rows = pending.iter().map(|row| {
            let (cell, order) = (cell(slot, generation, row.key.as_bytes()), row.order);
            due.push(DueKey { cell, order }.to_bytes(Due::All));
            (RowKey::Pending(cell, order).to_bytes(), Entry::Put(&row.bytes))
        });
        let mut entries: Vec<(Vec<u8>, Entry<'_>)> = rows.collect();
        entries.extend(chunks);
        entries.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let pending = pending.iter().map(|row| row.key.as_bytes());
        let keys: BTreeSet<&[u8]> = events.keys().chain(pending).collect();
        let mut files =
            self.write_files(slot, generation, keys.into_iter(), entries.into_iter(), progress)?;
        files.due = due;
        Ok(files)
    }

    /// Writes files that are not part of the database yet, of entries in the order of their keys, and of a layer the
    /// entity keys that they are of. No lock is held meanwhile that a read or a write of rows waits for.
    fn write_files<'a>(
        &self,
        slot: ViewSlot,
        generation: Generation,
        keys: impl Iterator<Item = &'a [u8]>,
        entries: impl Iterator<Item = (Vec<u8>, Entry<'a>)>,
        progress: &[u8],
    ) -> Result<Files, StoreError> {
        self.catalogue().live(slot, generation)?;
        let is_layer = self.catalogue().is_layer(slot, generation);
        let directory = self.path.join(DIRECTORY);
        fs::create_dir_all(&directory).map_err(|error| failure::of_io(&directory, &error))?;
        let load = self.loads.fetch_add(1, Ordering::Relaxed);
        let failed = |error| failure::of(&self.path, error);
        let set = options::load_file(&self.options).map_err(failed)?;
        let mut files = Files {
            slot,
            generation,
            paths: Vec::new(),
            due: Vec::new(),
        };
        let mut next = |writer: &SstFileWriter<'_>| {
            let path = directory.join(format!("{load}-{}.sst", files.paths.len()));
            files.paths.push(path.clone());
            writer.open(path).map_err(failed)
        };
        let mut writer = SstFileWriter::create(&set);
        next(&writer)?;
        let key = LoadKey { slot, generation }.to_bytes();
        writer.put(key, progress).map_err(failed)?;
        for key in keys.filter(|_| is_layer) {
            let layer = generation;
            writer
                .put(LayerKey { slot, layer, key }.to_bytes(), [])
                .map_err(failed)?;
        }
        // In a file of its own, so that those of rows reach no further than their keys.
        let mut written = usize::MAX;
        for (key, entry) in entries {
            if written > FILE_BYTES {
                writer.finish().map_err(failed)?;
                next(&writer)?;
                written = 0;
            }
            let length = match &entry {
                Entry::Merged(value) => writer.merge(&key, value).map(|()| value.len()),
                Entry::Put(value) => writer.put(&key, value).map(|()| value.len()),
            };
            written += key.len() + length.map_err(failed)?;
        }
        writer.finish().map_err(failed)?;
        Ok(files)
    }
}

/// Removes what loads left that were cut short.
pub(super) fn remove_leftovers(path: &Path) -> Result<(), StoreError> {
    let directory = path.join(DIRECTORY);
    match fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failure::of_io(&directory, &error)),
        _ => Ok(()),
    }
}

/// Files that were written, which go when they are not taken in.
#[derive(Debug)]
pub(super) struct Files {
    slot: ViewSlot,
    generation: Generation,
    paths: Vec<PathBuf>,
    /// For the pending rows among them, the keys of [`Family::Due`].
    due: Vec<Vec<u8>>,
}

/// What is written under a key.
enum Entry<'a> {
    Merged(Cow<'a, [u8]>),
    Put(&'a [u8]),
}

fn cell(slot: ViewSlot, generation: Generation, key: &[u8]) -> Cell<'_> {
    Cell {
        entity: slot.entity,
        key,
        view: slot.view,
        generation,
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        for path in &self.paths {
            // Those that were taken in are not here any more; others go at the latest when the store opens.
            let _ = fs::remove_file(path);
        }
    }
}
