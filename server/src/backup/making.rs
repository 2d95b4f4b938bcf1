//! A backup that is not whole yet: a directory beside where it is to be, which goes away where the work ends early.
//!
//! A process that is killed leaves its directory behind. In it is a file that is locked (`flock`) while somebody works on it,
//! so that the next backup there can tell what was left behind, and removes that and nothing else.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::BackupError;
use super::files::{failed, sync_directory};

const PREFIX: &str = ".asof-backup-";
const MARKER: &str = ".unfinished";

/// The directory of a backup in the making.
pub(super) struct Making {
    path: PathBuf,
    parent: PathBuf,
    /// The lock, held until all is done.
    held: Option<File>,
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
            if is_at(&lock, &marker) {
                return Ok(Self {
                    path: directory.keep(),
                    parent: parent.to_owned(),
                    held: Some(lock),
                });
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a file, and those beside it, can be linked to here.
    pub(super) fn can_link(&self, file: &Path) -> bool {
        let link = self.path.join(".link");
        fs::hard_link(file, &link).is_ok() && fs::remove_file(&link).is_ok()
    }

    /// Gives what was made its name, so that it is there after a power cut.
    pub(super) fn place(mut self, name: &Path) -> Result<(), BackupError> {
        sync_directory(&self.path)?;
        fs::rename(&self.path, name).map_err(|error| failed(name, &error))?;
        // There is nothing left to remove. It is unlocked when all is done.
        let _held = self.held.take();
        let marker = name.join(MARKER);
        fs::remove_file(&marker).map_err(|error| failed(&marker, &error))?;
        sync_directory(name)?;
        sync_directory(&self.parent)
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        if let Some(held) = self.held.take()
            && let Err(error) = remove(&self.path, held)
        {
            tracing::warn!(path = %self.path.display(), %error, "a backup that was not ended could not be removed");
        }
    }
}

/// Removes the directories of backups whose process is gone.
pub(super) fn remove_left_behind(parent: &Path) {
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
            // Another backup was faster.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a backup that was not ended could not be removed");
            }
        }
    }
}

fn remove_if_left_behind(path: &Path) -> io::Result<bool> {
    let marker = path.join(MARKER);
    let lock = match OpenOptions::new().read(true).write(true).open(&marker) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    // It may have become whole before it was unlocked, whatever its name is.
    if lock.try_lock().is_err() || !is_at(&lock, &marker) {
        return Ok(false);
    }
    remove(path, lock)?;
    Ok(true)
}

/// Whether a file is the one with this name.
fn is_at(file: &File, name: &Path) -> bool {
    let id = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), fs::metadata(name)) {
        (Ok(file), Ok(named)) => id(file) == id(named),
        _ => false,
    }
}

/// Removes a directory, its marker last: what is left where this is cut short is known for what it is.
fn remove(path: &Path, lock: File) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_name() == MARKER {
            continue;
        }
        match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(entry.path())?,
            false => fs::remove_file(entry.path())?,
        }
    }
    fs::remove_file(path.join(MARKER))?;
    // Some file systems keep a file that is open under another name.
    drop(lock);
    fs::remove_dir(path)
}
