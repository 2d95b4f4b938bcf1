//! Writes that were acknowledged and are gone, noted until somebody accepts it.
//!
//! `asof.lost`: the number of changes and whether it is known, [sealed](crate::sealed); it was found when the file was
//! written. That is before the [mark](crate::mark) moves on, so that no kill in between makes the loss unseen.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::UNIX_EPOCH;

use asof_core::time::Timestamp;

use crate::{directory, sealed};

/// The file's name in the store's directory.
pub(crate) const NAME: &str = "asof.lost";

/// What a store has lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LostWrites {
    /// How many changes; `None` where that cannot be told, nor whether there are any.
    pub changes: Option<u64>,
    /// When it was last found that some are gone.
    pub found_at: Timestamp,
}

/// Notes a loss, on top of one that stands.
pub(crate) fn note(path: &Path, changes: Option<u64>) -> io::Result<()> {
    let before = lost_writes(path)?.map_or(Some(0), |before| before.changes);
    let total = before
        .zip(changes)
        .map(|(before, changes)| before.saturating_add(changes));
    let numbers = [total.unwrap_or(0), u64::from(total.is_some())];
    directory::replace(path, NAME, &sealed::to_bytes(numbers))
}

/// The writes that the store in a directory has lost, open or not, where nobody has accepted that yet.
///
/// # Errors
///
/// The note of it cannot be read.
pub fn lost_writes(path: &Path) -> io::Result<Option<LostWrites>> {
    let bytes = match fs::read(path.join(NAME)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        bytes => bytes?,
    };
    let written = fs::metadata(path.join(NAME))?.modified()?;
    let written = written.duration_since(UNIX_EPOCH).unwrap_or_default();
    // One that is damaged still says that something was lost.
    let [changes, is_known] = sealed::parse(&bytes).unwrap_or_default();
    Ok(Some(LostWrites {
        changes: (is_known == 1).then_some(changes),
        found_at: Timestamp::from_micros(i64::try_from(written.as_micros()).unwrap_or(0)),
    }))
}

/// Notes what the store in one directory has lost for a copy of it.
pub(crate) fn carry(path: &Path, to: &Path) -> io::Result<()> {
    match fs::read(path.join(NAME)) {
        Ok(bytes) => directory::replace(to, NAME, &bytes),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Accepts what the store in a directory has lost: it is not told of any more.
///
/// # Errors
///
/// The note of it cannot be removed.
pub fn accept_lost_writes(path: &Path) -> io::Result<()> {
    match fs::remove_file(path.join(NAME)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
