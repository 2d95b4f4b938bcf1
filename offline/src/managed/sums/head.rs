//! The last entry of a table's log, noted beside the table's directory: a directory that is gone, or that was put
//! back from an older copy, is not taken for a table with fewer rows.

use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::{LOG, LogFile, line, parse};
use crate::digest::Digest;
use crate::output::temporary_in;

/// The directory of the last entries' names and sums, one file for each table. No source has such a name.
const DIRECTORY: &str = "_asof_heads";

/// The last entry of a log.
pub(super) struct Head {
    pub(super) name: String,
    pub(super) version: u64,
    pub(super) digest: String,
}

/// Where the last entry of a table's log is noted.
pub(super) fn place(table: &Path) -> PathBuf {
    let above = table.parent().unwrap_or(table);
    above.join(DIRECTORY).join(table.file_name().unwrap_or_default())
}

/// Notes the last entry among a log's files, which nobody else does meanwhile. After a power cut an earlier one may
/// stand there: then less is noticed.
pub(super) fn note(table: &Path, files: &[(String, LogFile)]) -> io::Result<()> {
    let Some((name, last)) = files.iter().rfind(|(_, file)| !file.is_checkpoint) else {
        return Ok(());
    };
    let place = place(table);
    if read(&place)?.is_some_and(|head| head.version >= last.version) {
        return Ok(());
    }
    let directory = place.parent().unwrap_or(table);
    std::fs::create_dir_all(directory)?;
    let digest = Digest::of_file(&table.join(LOG).join(name)).map_err(io::Error::other)?;
    let mut file = temporary_in(directory, ".", ".tmp").map_err(io::Error::other)?;
    file.write_all(line(&digest, name).as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(&place)?;
    Ok(())
}

/// Reads what was noted, if anything was.
pub(super) fn read(place: &Path) -> io::Result<Option<Head>> {
    let text = match std::fs::read_to_string(place) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        text => text?,
    };
    let head = parse(text.trim_end_matches('\n')).and_then(|(name, digest)| {
        Some(Head {
            name: name.to_owned(),
            version: LogFile::parse(name)?.version,
            digest,
        })
    });
    let damaged = || io::Error::new(ErrorKind::InvalidData, "it is damaged: remove it");
    head.map(Some).ok_or_else(damaged)
}
