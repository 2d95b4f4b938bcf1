//! The files of a backup: listed, checked, copied, and put in place at once.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use asof_core::cancel::Cancellation;
use serde::{Deserialize, Serialize};

use super::{BackupError, parent_of, shown};

/// How much is read at a time.
const STEP: usize = 1 << 20;

/// A file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CopiedFile {
    /// Where, below the backup's directory.
    pub path: String,
    /// How long it is.
    pub bytes: u64,
    /// Its CRC-32C.
    pub crc32c: u32,
}

impl CopiedFile {
    /// Whether it lies where files of a backup lie: a list that was tampered with names no others.
    pub(super) fn is_plain(&self, registry: &str, online: &str) -> bool {
        let name = self
            .path
            .strip_prefix(online)
            .and_then(|rest| rest.strip_prefix('/'));
        let is_name =
            |name: &str| !name.is_empty() && name != ".." && name != "." && !name.contains(['/', '\0']);
        self.path == registry || name.is_some_and(is_name)
    }

    /// Compares it with what it was.
    pub(super) fn check(&self, directory: &Path, cancellation: &Cancellation) -> Result<(), BackupError> {
        self.compare(directory, &mut io::sink(), cancellation)
    }

    /// Copies it to `to`, and compares it on the way.
    pub(super) fn copy(
        &self,
        directory: &Path,
        to: &Path,
        cancellation: &Cancellation,
    ) -> Result<(), BackupError> {
        // For whoever restores it, as what it replaces was.
        let copy = File::options().write(true).create_new(true).mode(0o600).open(to);
        let mut copy = copy.map_err(|error| failed(to, &error))?;
        self.compare(directory, &mut copy, cancellation)?;
        copy.sync_all().map_err(|error| failed(to, &error))
    }

    fn compare(
        &self,
        directory: &Path,
        to: &mut dyn Write,
        cancellation: &Cancellation,
    ) -> Result<(), BackupError> {
        let path = directory.join(&self.path);
        let damaged = |reason: String| BackupError::Damaged {
            place: shown(&path),
            reason,
        };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(damaged("is gone".to_owned()));
            }
            Err(error) => return Err(failed(&path, &error)),
        };
        let (bytes, crc32c) = sum(file, to, cancellation).map_err(|error| failed(&path, &error))?;
        if bytes != self.bytes {
            return Err(damaged(format!("has {bytes} bytes, not {}", self.bytes)));
        }
        match crc32c == self.crc32c {
            true => Ok(()),
            false => Err(damaged("has other bytes than when it was taken".to_owned())),
        }
    }
}

/// How many bytes there are, and their checksum; they go to `to`.
fn sum(mut from: impl Read, to: &mut dyn Write, cancellation: &Cancellation) -> io::Result<(u64, u32)> {
    let (mut length, mut crc, mut buffer) = (0, 0, vec![0; STEP]);
    loop {
        if cancellation.is_cancelled() {
            return Err(io::Error::other("cancelled: nobody waits for it"));
        }
        let read = match from.read(&mut buffer) {
            Ok(0) => return Ok((length, crc)),
            Ok(read) => buffer.get(..read).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        to.write_all(read)?;
        length += read.len() as u64;
        crc = crc32c::crc32c_append(crc, read);
    }
}

/// The files of a copy, which are on the disk then: some, and all in a directory beside them.
pub(super) fn list(
    of: &Path,
    names: &[&str],
    directory: &str,
    cancellation: &Cancellation,
) -> Result<Vec<CopiedFile>, BackupError> {
    let inner = of.join(directory);
    let mut paths: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    for entry in fs::read_dir(&inner).map_err(|error| failed(&inner, &error))? {
        let entry = entry.map_err(|error| failed(&inner, &error))?;
        paths.push(format!("{directory}/{}", entry.file_name().to_string_lossy()));
    }
    paths.sort();
    let files = paths.into_iter().map(|path| {
        let place = of.join(&path);
        let read = || {
            let file = File::open(&place)?;
            file.sync_all()?;
            sum(file, &mut io::sink(), cancellation)
        };
        let (bytes, crc32c) = read().map_err(|error| failed(&place, &error))?;
        Ok(CopiedFile { path, bytes, crc32c })
    });
    let files = files.collect::<Result<_, BackupError>>()?;
    sync_directory(&inner)?;
    Ok(files)
}

/// The directory above one that is to be made, which must not be there, or be empty.
pub(super) fn new_directory(directory: &Path) -> Result<PathBuf, BackupError> {
    let refused = |reason: &str| BackupError::Refused {
        place: shown(directory),
        reason: reason.to_owned(),
    };
    if !directory.is_absolute() {
        return Err(refused("is relative: name the directory from the root on"));
    }
    match fs::read_dir(directory).map(|entries| entries.count()) {
        Ok(0) => {}
        Ok(_) => return Err(refused("is not empty: name a directory that is not there yet")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(refused("is a file: name a directory that is not there yet"));
        }
        Err(error) => return Err(failed(directory, &error)),
    }
    let parent = parent_of(directory);
    match parent.is_dir() {
        true => Ok(parent),
        false => Err(refused("lies in no directory: make the one above it first")),
    }
}

pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), BackupError> {
    let written = File::create(path).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(|error| failed(path, &error))
}

pub(super) fn sync_directory(path: &Path) -> Result<(), BackupError> {
    let synced = File::open(path).and_then(|directory| directory.sync_all());
    synced.map_err(|error| failed(path, &error))
}

pub(super) fn failed(path: &Path, error: &io::Error) -> BackupError {
    let (place, reason) = (shown(path), error.to_string());
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => BackupError::NoSpace { place, reason },
        _ => BackupError::Failed { place, reason },
    }
}
