//! A backup that is not whole yet: a directory beside where it is to be, which goes away where the work ends early.
//!
//! A process that is killed leaves its directory behind. In it is a file that is locked (`flock`) while somebody works on it,
//! so that the next backup there can tell what was left behind, and removes that and nothing else.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::BackupError;
use super::files::{failed, sync_directory};

const PREFIX: &str = ".asof-backup-";
const MARKER: &str = ".unfinished";

/// The directory of a backup in the making.
pub(super) struct Making {
    directory: TempDir,
    parent: PathBuf,
    /// Held until all is done.
    _lock: File,
}

impl Making {
    /// Makes one in `parent`, and removes what others have left behind there.
    pub(super) fn begin(parent: &Path) -> Result<Self, BackupError> {
        remove_left_behind(parent);
        loop {
            let directory = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent);
            let directory = directory.map_err(|error| failed(parent, &error))?;
            let marker = directory.path().join(MARKER);
            let lock = File::create_new(&marker).map_err(|error| failed(&marker, &error))?;
            // A file system without locks has none for those who would remove it, either.
            let _ = lock.lock();
            // Another backup may have taken it for left behind before it was locked.
            if marker.exists() {
                return Ok(Self {
                    directory,
                    parent: parent.to_owned(),
                    _lock: lock,
                });
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Gives what was made its name, so that it is there after a power cut.
    pub(super) fn place(self, name: &Path) -> Result<(), BackupError> {
        sync_directory(self.path())?;
        fs::rename(self.path(), name).map_err(|error| failed(name, &error))?;
        // There is nothing left to remove.
        let _ = self.directory.keep();
        let marker = name.join(MARKER);
        fs::remove_file(&marker).map_err(|error| failed(&marker, &error))?;
        sync_directory(name)?;
        sync_directory(&self.parent)
    }
}

/// Removes the directories of backups whose process is gone.
fn remove_left_behind(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if !is_directory
            || !entry
                .file_name()
                .as_encoded_bytes()
                .starts_with(PREFIX.as_bytes())
        {
            continue;
        }
        let path = entry.path();
        match remove_if_left_behind(&path) {
            Ok(false) => {}
            Ok(true) => tracing::info!(path = %path.display(), "a backup that was not ended is removed"),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a backup that was not ended could not be removed");
            }
        }
    }
}

fn remove_if_left_behind(path: &Path) -> io::Result<bool> {
    let marker = OpenOptions::new().read(true).write(true).open(path.join(MARKER));
    let lock = match marker {
        Ok(marker) => marker,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    if lock.try_lock().is_err() {
        return Ok(false);
    }
    fs::remove_dir_all(path)?;
    Ok(true)
}
