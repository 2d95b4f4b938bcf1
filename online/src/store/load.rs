//! Many rows at once: written into table files of their own, which RocksDB takes in as they are.
//!
//! The files hold merge operands, as every write of rows does: RocksDB takes what it is given last for the
//! newest, and a plain value would hide rows that came while the files were written. How far the loading has
//! come lies in the first file, under a key before all rows, so that one step takes in both.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use asof_core::online::{Generation, SortedRows, StoreError, ViewSlot};
use rocksdb::{IngestExternalFileOptions, SstFileWriter};

use super::RocksStore;
use crate::failure;
use crate::keys::{Cell, Family, LoadKey, RowKey};
use crate::{mark, options};

/// The directory of files that are being written, in the store's.
pub(super) const DIRECTORY: &str = "asof.load";
/// Bytes of a file, uncompressed: as large as files that RocksDB writes itself.
const FILE_BYTES: usize = 64 << 20;

impl RocksStore {
    /// Takes files in.
    pub(super) fn ingest(&self, files: Files) -> Result<(), StoreError> {
        let Files { slot, generation, .. } = files;
        let _shared = self.changes.read().unwrap_or_else(PoisonError::into_inner);
        let serves = self.catalogue().live(slot, generation)?.state.serves(generation);
        // What is being built is not cached, and does not begin to serve while `changes` is shared.
        let _held = serves.then(|| self.cache.hold_all());
        // What is taken in outlives a power cut: so must all that it builds on, its generation first of all.
        self.db
            .flush_wal(true)
            .map_err(|error| failure::of(&self.path, error))?;
        let mut ingest = IngestExternalFileOptions::default();
        // They are on the same disk: a rename instead of a copy.
        ingest.set_move_files(true);
        self.db
            .ingest_external_file_cf_opts(self.family(Family::Rows)?, &ingest, files.paths.clone())
            .map_err(|error| failure::of(&self.path, error))?;
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

    /// Writes files that are not part of the database yet. No lock is held meanwhile that a read or a write of rows
    /// waits for.
    pub(super) fn write_files(
        &self,
        slot: ViewSlot,
        generation: Generation,
        rows: &SortedRows,
        progress: &[u8],
    ) -> Result<Files, StoreError> {
        self.catalogue().live(slot, generation)?;
        let directory = self.path.join(DIRECTORY);
        fs::create_dir_all(&directory).map_err(|error| failure::of_io(&directory, &error))?;
        let load = self.loads.fetch_add(1, Ordering::Relaxed);
        let set = options::load_file(&self.options);
        let failed = |error| failure::of(&self.path, error);
        let mut files = Files {
            slot,
            generation,
            paths: Vec::new(),
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
        // In a file of its own, so that those of rows reach no further than their keys.
        let mut written = usize::MAX;
        let mut stored_key = Vec::new();
        for (key, row) in rows.iter() {
            if written > FILE_BYTES {
                writer.finish().map_err(failed)?;
                next(&writer)?;
                written = 0;
            }
            stored_key.clear();
            let cell = Cell {
                entity: slot.entity,
                key,
                view: slot.view,
                generation,
            };
            RowKey::Row(cell).write(&mut stored_key);
            writer.merge(&stored_key, row).map_err(failed)?;
            written += stored_key.len() + row.len();
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
}

impl Drop for Files {
    fn drop(&mut self) {
        for path in &self.paths {
            // Those that were taken in are not here any more; others go at the latest when the store opens.
            let _ = fs::remove_file(path);
        }
    }
}
