//! Files in a managed table's directory that no version of the table names: what an ingest or a compaction
//! wrote before it was killed.

use std::fs::Metadata;
use std::path::{Path, PathBuf};

use asof_core::definition::{Location, Source};
use asof_core::time::Timestamp;

use crate::engine::Engine;
use crate::error::{OfflineError, Result};
use crate::managed::{directory, open};
use crate::snapshot::delta_files;

/// How long a file is left alone that no version names: whoever writes it may be at work still. In
/// microseconds.
const LEFT_ALONE: i64 = 24 * 60 * 60 * 1_000_000;

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Orphans {
    /// How many files.
    pub files: usize,
    /// How many bytes they had.
    pub bytes: u64,
}

impl Engine {
    /// Removes the files of a managed table's directory that no version in its log names and that nobody has
    /// written to for a day before `at`. Files that an older version of the table has stay.
    ///
    /// # Errors
    ///
    /// A log that cannot be read as a whole; then nothing is removed.
    pub async fn remove_orphans(&self, source: &Source, at: Timestamp) -> Result<Orphans> {
        let Location::Managed { schema, .. } = &source.location else {
            return Ok(Orphans::default());
        };
        let directory = directory(self, source);
        // Looked for before the log is read: what is committed meanwhile is in the log then.
        let mut orphans = left_alone(&directory, at)?;
        if orphans.is_empty() {
            return Ok(Orphans::default());
        }
        let table = open(self, source, schema).await?;
        // The newest version has files that only a checkpoint names, once the log before it was cut; what it
        // has no more was taken out by a commit that is there.
        for file in delta_files(&table, source.name.as_str())? {
            orphans.retain(|orphan| orphan.name != file.path);
        }
        without_named(&mut orphans, &directory.join("_delta_log"))?;
        let mut removed = Orphans::default();
        for orphan in orphans {
            std::fs::remove_file(&orphan.path).map_err(|error| OfflineError::io(&orphan.path, &error))?;
            removed.files += 1;
            removed.bytes += orphan.bytes;
        }
        Ok(removed)
    }
}

/// A file that may be an orphan.
struct Candidate {
    path: PathBuf,
    name: String,
    bytes: u64,
}

/// The files with names of ours that nobody has written to for a while.
fn left_alone(directory: &Path, at: Timestamp) -> Result<Vec<Candidate>> {
    let failed = |error| OfflineError::io(directory, &error);
    let entries = match directory.read_dir() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_ours = name.starts_with("part-") && name.ends_with(".parquet");
        let metadata = match entry.metadata() {
            // Whoever wrote it has taken it away again.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            metadata => metadata.map_err(failed)?,
        };
        if is_ours && metadata.is_file() && is_left_alone(&metadata, at) {
            found.push(Candidate {
                path: entry.path(),
                name,
                bytes: metadata.len(),
            });
        }
    }
    Ok(found)
}

fn is_left_alone(metadata: &Metadata, at: Timestamp) -> bool {
    let modified = metadata.modified().ok();
    let since = modified.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    let micros = since.and_then(|since| i64::try_from(since.as_micros()).ok());
    micros.is_some_and(|micros| at.micros().saturating_sub(micros) > LEFT_ALONE)
}

/// Leaves out the files that a commit of the log names, be it to add or to remove them.
fn without_named(candidates: &mut Vec<Candidate>, log: &Path) -> Result<()> {
    let failed = |error| OfflineError::io(log, &error);
    for entry in log.read_dir().map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let commit = std::fs::read_to_string(&path).map_err(|error| OfflineError::io(&path, &error))?;
            candidates.retain(|candidate| !commit.contains(&candidate.name));
        }
    }
    Ok(())
}
