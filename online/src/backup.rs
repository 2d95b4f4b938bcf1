//! Copies of a store, and reading a copy back.
//!
//! A copy is a checkpoint of RocksDB: its files as hard links, or as copies on another file system, all families as of one
//! sequence number. Beside them lie this store's own files, made anew: the mark of a store names the list of its files,
//! and a copy has another.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use asof_core::aggregate::tiles::check_chunk;
use asof_core::cancel::Cancellation;
use asof_core::online::StoreError;
use asof_core::row::StoredRow;
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{DB, ReadOptions};

use crate::catalogue::Catalogue;
use crate::expiry::Expiry;
use crate::intake_keys::{entry_of, is_intake_key};
use crate::keys::{DueKey, Family, RowKey, is_loader_key};
use crate::mark::Mark;
use crate::options::{self, RocksOptions};
use crate::store::{handle, note_intake};
use crate::{directory, failure, in_doubt, lost};

/// How many bytes are copied at a time.
const STEP: usize = 1 << 20;

/// What was read of a store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReadBack {
    /// Its entries: rows, tiles, what was pushed and is in no table yet, and what is known of views.
    pub entries: u64,
    /// The bytes of their keys and values.
    pub bytes: u64,
    /// The number of the last write in it.
    pub sequence: u64,
    /// Whether there are pushed rows in it that are in no table yet.
    pub has_pushed: bool,
}

/// Copies the files of `db` to `to`, which must not exist, `through` links of them where that is given and can be.
pub(crate) fn copy(
    db: &DB,
    path: &Path,
    to: &Path,
    through: Option<&Path>,
    cancellation: &Cancellation,
) -> Result<(), StoreError> {
    if cancellation.is_cancelled() {
        return Err(StoreError::Cancelled);
    }
    let checkpoint = Checkpoint::new(db).map_err(|error| failure::of(path, error))?;
    // Its own disk may have no room for what is not linked.
    match through.filter(|through| checkpoint.create_checkpoint(through).is_ok()) {
        Some(through) => {
            copy_files(through, to, cancellation)?;
            // It keeps files that the store has done with.
            fs::remove_dir_all(through).map_err(|error| failure::of_io(through, &error))?;
        }
        None => checkpoint
            .create_checkpoint(to)
            .map_err(|error| match failure::of(path, error) {
                StoreError::Full { reason, .. } => StoreError::Full {
                    place: to.display().to_string(),
                    reason,
                },
                error => error,
            })?,
    }
    // What the store has lost, its copy lacks as well.
    lost::carry(path, to).map_err(|error| failure::of_io(&to.join(lost::NAME), &error))?;
    directory::write_format(to)
}

fn copy_files(from: &Path, to: &Path, cancellation: &Cancellation) -> Result<(), StoreError> {
    let at = |place: &Path| {
        let place = place.to_owned();
        move |error: io::Error| failure::of_io(&place, &error)
    };
    let mut buffer = vec![0; STEP];
    fs::create_dir(to).map_err(at(to))?;
    for entry in fs::read_dir(from).map_err(at(from))? {
        let entry = entry.map_err(at(from))?;
        let (source, copy) = (entry.path(), to.join(entry.file_name()));
        let mut file = File::open(&source).map_err(at(&source))?;
        let mut copied = File::create_new(&copy).map_err(at(&copy))?;
        loop {
            if cancellation.is_cancelled() {
                return Err(StoreError::Cancelled);
            }
            let read = match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => buffer.get(..read).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(at(&source)(error)),
            };
            copied.write_all(read).map_err(at(&copy))?;
        }
    }
    Ok(())
}

/// Completes a copy that was read back: with a note where rows were pushed, and with a mark of its own.
pub(crate) fn complete(path: &Path, read: ReadBack) -> Result<ReadBack, StoreError> {
    if read.has_pushed {
        note_intake(path)?;
    }
    let mark = Mark::start(path, read.sequence).map_err(|error| failure::of_io(path, &error))?;
    drop(mark);
    Ok(read)
}

/// Reads all of a store that nobody has open, or of a copy of one.
///
/// # Errors
///
/// Each file of it that is damaged, but of files with the same keys only the first, and what else is not as it must be;
/// [`StoreError::Cancelled`] soon after `cancellation`.
pub fn read_back(path: &Path, cancellation: &Cancellation) -> Result<ReadBack, Vec<StoreError>> {
    let db = open(path).map_err(|error| vec![error])?;
    let read = read_all(&db, path, cancellation);
    let sequence = db.latest_sequence_number();
    drop(db);
    if !directory::was_held(path) {
        remove_log(path);
    }
    Ok(ReadBack { sequence, ..read? })
}

fn open(path: &Path) -> Result<DB, StoreError> {
    let options = RocksOptions::default();
    in_doubt::open(path, || {
        let families =
            options::families(&options, &Expiry::default()).map_err(|error| failure::of(path, error))?;
        let database = options::database(&options, false);
        DB::open_cf_descriptors_read_only(&database, path, families, false)
            .map_err(|error| failure::on_open(path, error))
    })
}

/// RocksDB notes in the directory itself what it does, though it changes nothing there: of a copy, which is listed file by
/// file, that is no part.
fn remove_log(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("LOG") {
            // One that stays does no harm.
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn read_all(db: &DB, path: &Path, cancellation: &Cancellation) -> Result<ReadBack, Vec<StoreError>> {
    let mut read = ReadBack::default();
    let mut catalogue = Catalogue::default();
    let mut damaged = Vec::new();
    for family in Family::ALL {
        let all = options::scan((Vec::new(), vec![u8::MAX; 64]));
        let result = visit(db, path, family, all, cancellation, &mut |key, value| {
            read.entries += 1;
            read.has_pushed |= family == Family::Intake && entry_of(key).is_some();
            read.bytes += (key.len() + value.len()) as u64;
            check(family, key, value, &mut catalogue)
        });
        match result {
            Ok(()) => {}
            Err(StoreError::Cancelled) => return Err(vec![StoreError::Cancelled]),
            Err(error) => damaged.push(error),
        }
    }
    match damaged.is_empty() {
        true => Ok(read),
        false => Err(each_file(db, path, damaged, cancellation)),
    }
}

/// What is wrong with each file, where the first error of a family hid the others.
fn each_file(db: &DB, path: &Path, found: Vec<StoreError>, cancellation: &Cancellation) -> Vec<StoreError> {
    let files = db.live_files().unwrap_or_default();
    let errors = files.into_iter().filter_map(|file| {
        let family = Family::ALL
            .into_iter()
            .find(|family| family.name() == file.column_family_name)?;
        let mut end = file.end_key?;
        end.push(0);
        let range = options::scan((file.start_key?, end));
        visit(db, path, family, range, cancellation, &mut |_, _| Ok(())).err()
    });
    let mut told = BTreeSet::new();
    let all = found.into_iter().chain(errors);
    all.filter(|error| told.insert(error.to_string())).collect()
}

/// Looks at a key and its value, and says what is wrong with them.
type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<(), String>;

fn visit(
    db: &DB,
    path: &Path,
    family: Family,
    range: ReadOptions,
    cancellation: &Cancellation,
    visit: Visit<'_>,
) -> Result<(), StoreError> {
    let mut entries = db.raw_iterator_cf_opt(handle(db, path, family)?, range);
    entries.seek_to_first();
    while let Some((key, value)) = entries.item() {
        if cancellation.is_cancelled() {
            return Err(StoreError::Cancelled);
        }
        visit(key, value).map_err(|reason| StoreError::Damaged {
            place: path.display().to_string(),
            reason: format!("an entry of family {:?}: {reason}", family.name()),
        })?;
        entries.next();
    }
    entries.status().map_err(|error| failure::of(path, error))
}

/// Whether an entry is one that a store writes.
fn check(family: Family, key: &[u8], value: &[u8], catalogue: &mut Catalogue) -> Result<(), String> {
    let known = match family {
        Family::Rows => match RowKey::parse(key) {
            _ if is_loader_key(key) => true,
            Some(RowKey::Row(_) | RowKey::Pending(..)) => {
                StoredRow::parse(value).map_err(|error| error.to_string())?;
                true
            }
            Some(RowKey::Tiles(..)) => {
                check_chunk(value).map_err(|error| error.to_string())?;
                true
            }
            None => false,
        },
        Family::Due => DueKey::parse(key).is_some() && value.is_empty(),
        Family::Catalogue => {
            catalogue.load(key, value).map_err(|error| error.to_string())?;
            true
        }
        Family::Intake => is_intake_key(key),
        Family::Events => !key.is_empty(),
    };
    match known {
        true => Ok(()),
        false => Err("its key cannot be read".to_owned()),
    }
}
