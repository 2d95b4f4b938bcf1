//! An ingestion of files that may have failed in the middle.
//!
//! RocksDB writes an entry to its list of files, the MANIFEST, and syncs it. Where that sync fails it takes the
//! ingestion for failed and removes the files; but the entry is in the list, and if it is still there when the store is
//! opened again, RocksDB finds files listed that are not there, and refuses. (Of what it flushes and compacts it keeps the
//! files in that case.)
//!
//! So before an ingestion begins, `asof.ingest` notes how long the list is: the number in the MANIFEST's name and its
//! length in bytes, [sealed](crate::sealed). The note goes when the ingestion has succeeded, or has failed before it
//! came to the list. Where a store with such a note does not open as a file is gone, entries behind that length are
//! taken off the list, the last one first, until it does. They are
//! what a power cut might have taken as well, and nobody was told that they are there: after an ingestion that failed,
//! RocksDB writes nothing more to that list.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use asof_core::online::StoreError;

use crate::mark::{self, List};
use crate::{directory, failure, manifest, sealed};

/// The file's name in the store's directory.
pub(crate) const NAME: &str = "asof.ingest";

/// Notes that an ingestion begins. What one noted of the same list that failed stays.
pub(crate) fn begin(path: &Path, has_failed: bool) -> io::Result<()> {
    if has_failed && left(path)?.is_some() {
        return Ok(());
    }
    let List { number, length } = mark::list(path)
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "CURRENT, or the MANIFEST that it names"))?;
    directory::replace(path, NAME, &sealed::to_bytes([number, length]))
}

/// Removes the note where nothing came to the list since: what failed had not come so far. Whether it is gone.
pub(crate) fn end_where_nothing_came(path: &Path) -> io::Result<bool> {
    match left(path)? {
        Some(noted) if mark::list(path).is_some_and(|now| now.length == noted.length) => {
            end(path).map(|()| true)
        }
        _ => Ok(false),
    }
}

/// Removes the note: no ingestion is in doubt.
pub(crate) fn end(path: &Path) -> io::Result<()> {
    match fs::remove_file(path.join(NAME)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What was noted, if it is of the list that is in use. One that cannot be read says nothing.
pub(crate) fn left(path: &Path) -> io::Result<Option<List>> {
    let noted = match fs::read(path.join(NAME)) {
        Ok(bytes) => sealed::parse(&bytes).map(|[number, length]| List { number, length }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let now = mark::list(path);
    Ok(noted.filter(|noted| now.is_some_and(|now| now.number == noted.number)))
}

/// Whether a store does not open because a file that it lists is gone. One that is there and damaged was not removed
/// by RocksDB, and nothing is taken off the list for it.
fn is_gone(error: &StoreError) -> bool {
    let StoreError::Damaged { place, .. } = error else {
        return false;
    };
    let file = Path::new(place);
    file.extension().is_some_and(|extension| extension == "sst") && !file.exists()
}

/// Opens a store; where a file is gone and there is a note, without the entries that are in doubt.
pub(crate) fn open<T>(path: &Path, open: impl Fn() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let failed = |error| failure::of_io(&path.join(NAME), &error);
    let error = match open() {
        Err(error) if is_gone(&error) => error,
        opened => return opened,
    };
    let Some(noted) = left(path).map_err(failed)? else {
        return Err(error);
    };
    let mut entries = Entries::of(path, noted).map_err(failed)?;
    while entries.take_last().map_err(failed)? {
        let opened = open();
        if opened.as_ref().is_err_and(|error| !is_gone(error)) {
            break;
        }
        if let Ok(opened) = opened {
            tracing::warn!(
                place = %path.display(),
                %error,
                "an ingestion had failed, and its files are gone: it was taken off the list of files"
            );
            return Ok(opened);
        }
    }
    entries.restore().map_err(failed)?;
    Err(error)
}

/// The entries of a list that are in doubt, of which the last ones can be taken off.
#[derive(Debug)]
struct Entries {
    file: PathBuf,
    list: Vec<u8>,
    /// Where they begin.
    starts: Vec<usize>,
}

impl Entries {
    /// Those behind what was noted.
    fn of(path: &Path, noted: List) -> io::Result<Self> {
        let file = path.join(format!("MANIFEST-{:06}", noted.number));
        let list = fs::read(&file)?;
        let length = usize::try_from(noted.length).unwrap_or(usize::MAX);
        let mut starts = manifest::entries(&list);
        starts.retain(|start| *start >= length);
        Ok(Self { file, list, starts })
    }

    /// Takes the last one off the file. `false` where there is none.
    fn take_last(&mut self) -> io::Result<bool> {
        let Some(start) = self.starts.pop() else {
            return Ok(false);
        };
        let file = OpenOptions::new().write(true).open(&self.file)?;
        file.set_len(start as u64)?;
        file.sync_all()?;
        Ok(true)
    }

    /// Puts back all that was taken off, behind what is left.
    fn restore(&self) -> io::Result<()> {
        let mut file = OpenOptions::new().append(true).open(&self.file)?;
        let left = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        file.write_all(self.list.get(left..).unwrap_or_default())?;
        file.sync_all()
    }
}
