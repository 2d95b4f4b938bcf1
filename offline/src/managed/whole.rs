//! Whether a file of a managed table is what was written: its name ends in the digest of its bytes.
//!
//! Files that were written before names did so are taken as they are.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::digest::{Digest, Stamp};
use crate::error::{OfflineError, Result};
use crate::files::SourceFile;

/// What the names of a table's files end in.
pub(crate) const EXTENSION: &str = ".parquet";

/// The name of a file that was given another one until its digest was known.
pub(super) fn name(until_now: &str, digest: &str) -> String {
    let name = until_now.strip_suffix(EXTENSION).unwrap_or(until_now);
    format!("{name}-{}{EXTENSION}", Digest::hex(digest))
}

/// Whether a file is one of rows, and not one that is being written.
pub(super) fn is_of_rows(name: &str) -> bool {
    name.starts_with("part-") && expected(name).is_some()
}

/// The digest that a file was given in its name.
fn expected(path: &str) -> Option<String> {
    let (_, hex) = path.strip_suffix(EXTENSION)?.rsplit_once('-')?;
    Digest::from_hex(hex)
}

/// Compares the digest that a file has with that of its name; `place` is what errors name.
pub(crate) fn compare(place: &str, file: &SourceFile, digest: &str) -> Result<()> {
    match expected(&file.path) {
        Some(expected) if expected != digest => Err(OfflineError::Damaged(format!(
            "{place} has other bytes than were written: it is damaged, restore it from a copy"
        ))),
        _ => Ok(()),
    }
}

/// The files that were found whole, and are read again without being digested again.
#[derive(Debug, Default)]
pub(crate) struct WholeFiles(Mutex<HashMap<PathBuf, Stamp>>);

impl WholeFiles {
    /// Digests a file, unless it was found whole before and not touched since.
    pub(crate) fn check(&self, place: &str, file: &SourceFile) -> Result<()> {
        if expected(&file.path).is_none() {
            return Ok(());
        }
        let stamp = Stamp::of(&file.location);
        if stamp.is_some() && self.known(&file.location) == stamp {
            return Ok(());
        }
        let digest = Digest::of_file(&file.location).map_err(|error| match file.location.exists() {
            true => error,
            false => OfflineError::lost(place),
        })?;
        compare(place, file, &digest)?;
        self.add(&file.location, stamp);
        Ok(())
    }

    /// Notes that a file was found whole as it stood when it had this stamp.
    pub(crate) fn add(&self, location: &Path, stamp: Option<Stamp>) {
        if let Some(stamp) = stamp {
            let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            files.insert(location.to_owned(), stamp);
        }
    }

    fn known(&self, location: &Path) -> Option<Stamp> {
        let files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        files.get(location).cloned()
    }
}
