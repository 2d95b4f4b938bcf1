//! Putting a backup in the place of what a project has.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use asof_core::time::Timestamp;
use asof_online::{lock, read_back};
use tempfile::TempDir;

use super::{
    Backup, BackupError, ONLINE, REGISTRY, blocking, contents, files, parent_of, read_registry, shown,
};
use crate::project::Project;

/// What a restore did.
#[derive(Debug)]
pub struct Restored {
    /// What was restored.
    pub backup: Backup,
    /// Where that is which was there before.
    pub kept: Vec<PathBuf>,
}

/// Puts a backup in the place of the online store and of the registry of a project, which stay beside it under other
/// names.
///
/// Everything is copied and read before anything is moved; what a restore that was cut short left is told of by whatever
/// opens the project, until it is restored again.
///
/// # Errors
///
/// [`BackupError`]: no backup, one that is damaged or of another project, or a store that is open.
pub async fn restore(project: &Project, directory: &Path, at: Timestamp) -> Result<Restored, BackupError> {
    let backup = contents(directory)?;
    if backup.project != project.name().as_str() {
        return Err(BackupError::Refused {
            place: shown(directory),
            reason: format!(
                "is of project {:?}, and this is {:?}: restore it in the directory of its own",
                backup.project,
                project.name().as_str()
            ),
        });
    }
    let (online, registry) = (project.config.online_path(), project.config.registry_path());
    let held = lock(&online)?;
    let (beside_online, beside_registry) = (staging(&online)?, staging(&registry)?);
    let (new_online, new_registry) = (
        beside_online.path().join(ONLINE),
        beside_registry.path().join(REGISTRY),
    );
    let (from, listed) = (directory.to_owned(), backup.files.clone());
    let (to_online, to_registry) = (new_online.clone(), new_registry.clone());
    blocking(move || {
        fs::create_dir(&to_online).map_err(|error| files::failed(&to_online, &error))?;
        for file in &listed {
            match file.path.strip_prefix("online/") {
                Some(name) => file.copy(&from, &to_online.join(name))?,
                None => file.copy(&from, &to_registry)?,
            }
        }
        files::sync_directory(&to_online)?;
        read_back(&to_online).map_err(BackupError::from)
    })
    .await??;
    read_registry(&new_registry, project.name()).await?;

    let marker = project.restoring_file();
    let above = parent_of(&marker);
    fs::create_dir_all(&above).map_err(|error| files::failed(&above, &error))?;
    files::write(&marker, shown(directory).as_bytes())?;
    files::sync_directory(&above)?;
    let suffix = format!(".before-{}", at.to_string().replace([':', '.'], "-"));
    let mut kept = Vec::new();
    // With its log, which is no log of another file.
    for ending in ["", "-wal", "-shm"] {
        let aside = with_ending(&with_ending(&registry, &suffix), ending);
        kept.extend(set_aside(&with_ending(&registry, ending), aside)?);
    }
    rename(&new_registry, &registry)?;
    files::sync_directory(&parent_of(&registry))?;
    kept.extend(set_aside(&online, with_ending(&online, &suffix))?);
    rename(&new_online, &online)?;
    files::sync_directory(&parent_of(&online))?;
    fs::remove_file(&marker).map_err(|error| files::failed(&marker, &error))?;
    files::sync_directory(&above)?;
    drop(held);
    Ok(Restored { backup, kept })
}

/// A directory of its own beside a file or directory that is to be replaced, on the same file system.
fn staging(path: &Path) -> Result<TempDir, BackupError> {
    let parent = parent_of(path);
    let made = fs::create_dir_all(&parent).and_then(|()| {
        tempfile::Builder::new()
            .prefix(".asof-restore-")
            .tempdir_in(&parent)
    });
    made.map_err(|error| files::failed(&parent, &error))
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}

/// Gives what is there another name; says which, where there is something.
fn set_aside(path: &Path, aside: PathBuf) -> Result<Option<PathBuf>, BackupError> {
    match fs::rename(path, &aside) {
        Ok(()) => Ok(Some(aside)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(files::failed(path, &error)),
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), BackupError> {
    fs::rename(from, to).map_err(|error| files::failed(to, &error))
}
