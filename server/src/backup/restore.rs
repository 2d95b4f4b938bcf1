//! Putting a backup in the place of what a project has.

use std::cell::Cell;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use asof_core::time::Timestamp;
use asof_online::{lock, read_back};
use tempfile::TempDir;

use super::{
    Backup, BackupError, ONLINE, REGISTRY, contents, ended_early, files, on_servers, parent_of,
    read_registry, shown,
};
use crate::cancel::blocking;
use crate::project::Project;

/// How the names of directories begin in which a backup is made ready.
const STAGING: &str = ".asof-restore-";

/// What a restore did.
#[derive(Debug)]
pub struct Restored {
    /// What was restored.
    pub backup: Backup,
    /// Where that is which was there before.
    pub kept: Vec<PathBuf>,
    /// Whether the store that was there may have pushed rows that are in no table yet.
    pub has_pushed: bool,
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
    if let Some(url) = project.config.online_servers() {
        return Err(on_servers(&asof_redis::shown(url)));
    }
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
    let (online, registry) = (
        followed(project.config.online_path()),
        followed(project.config.registry_path()),
    );
    let held = lock(&online)?;
    let has_pushed = project.has_pushed();
    // From here on nobody else opens either.
    let marker = Marker::set(project.restoring_file(), directory)?;
    let prefix = format!("{STAGING}{}-", project.name());
    remove_left(&parent_of(&online), &prefix);
    remove_left(&parent_of(&registry), &prefix);
    let (beside_online, beside_registry) = (staging(&online, &prefix)?, staging(&registry, &prefix)?);
    let (new_online, new_registry) = (
        beside_online.path().join(ONLINE),
        beside_registry.path().join(REGISTRY),
    );
    let (from, listed) = (directory.to_owned(), backup.files.clone());
    let (to_online, to_registry) = (new_online.clone(), new_registry.clone());
    let copied = blocking(move |cancellation| {
        fs::create_dir(&to_online).map_err(|error| files::failed(&to_online, &error))?;
        for file in &listed {
            match Path::new(&file.path).strip_prefix(ONLINE) {
                Ok(name) => file.copy(&from, &to_online.join(name), cancellation)?,
                Err(_) => file.copy(&from, &to_registry, cancellation)?,
            }
        }
        files::sync_directory(&to_online)?;
        read_back(&to_online, cancellation).map_err(BackupError::from)
    });
    copied.await.map_err(ended_early)??;
    read_registry(&new_registry, project.name()).await?;

    let suffix = format!(".before-{}", at.to_string().replace([':', '.'], "-"));
    // With its log, which is no log of another file.
    let mut moves: Vec<(PathBuf, PathBuf)> = ["", "-wal", "-shm"]
        .map(|ending| {
            (
                with_ending(&registry, ending),
                with_ending(&with_ending(&registry, &suffix), ending),
            )
        })
        .into();
    moves.push((online.clone(), with_ending(&online, &suffix)));
    moves.retain(|(from, _)| from.exists());
    let kept = moves.iter().map(|(_, to)| to.clone()).collect();
    moves.extend([(new_registry, registry.clone()), (new_online, online.clone())]);
    rename_all(&moves, &marker)?;
    files::sync_directory(&parent_of(&registry))?;
    files::sync_directory(&parent_of(&online))?;
    marker.remove()?;
    drop(held);
    Ok(Restored {
        backup,
        kept,
        has_pushed,
    })
}

/// Removes what restores of the same project left that were killed. One that stays does no harm.
fn remove_left(parent: &Path, prefix: &str) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        // The name of another project may begin with this one's.
        if name.strip_prefix(prefix).is_some_and(|rest| !rest.contains('-')) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// A directory of its own beside a file or directory that is to be replaced, on the same file system.
fn staging(path: &Path, prefix: &str) -> Result<TempDir, BackupError> {
    let parent = parent_of(path);
    let made = fs::create_dir_all(&parent)
        .and_then(|()| tempfile::Builder::new().prefix(prefix).tempdir_in(&parent));
    made.map_err(|error| files::failed(&parent, &error))
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}

/// Where a path leads.
fn followed(path: PathBuf) -> PathBuf {
    fs::canonicalize(&path).unwrap_or(path)
}

/// Gives all of these other names, or none of them.
fn rename_all(moves: &[(PathBuf, PathBuf)], marker: &Marker) -> Result<(), BackupError> {
    marker.keep.set(true);
    for (done, (from, to)) in moves.iter().enumerate() {
        let Err(error) = fs::rename(from, to) else {
            continue;
        };
        let mut undo = moves.iter().take(done).rev();
        // What cannot be undone, the marker tells of.
        marker
            .keep
            .set(!undo.all(|(from, to)| fs::rename(to, from).is_ok()));
        return Err(files::failed(from, &error));
    }
    Ok(())
}

/// Tells whoever opens the project that a restore is at work; goes where nothing was moved yet.
struct Marker {
    path: PathBuf,
    /// Whether it stays where the restore ends early.
    keep: Cell<bool>,
}

impl Marker {
    fn set(path: PathBuf, backup: &Path) -> Result<Self, BackupError> {
        let above = parent_of(&path);
        fs::create_dir_all(&above).map_err(|error| files::failed(&above, &error))?;
        let keep = Cell::new(path.exists());
        files::write(&path, shown(backup).as_bytes())?;
        files::sync_directory(&above)?;
        Ok(Self { path, keep })
    }

    fn remove(self) -> Result<(), BackupError> {
        fs::remove_file(&self.path).map_err(|error| files::failed(&self.path, &error))?;
        self.keep.set(true);
        files::sync_directory(&parent_of(&self.path))
    }
}

impl Drop for Marker {
    fn drop(&mut self) {
        if !self.keep.get() {
            // One that stays asks for the restore again.
            let _ = fs::remove_file(&self.path);
        }
    }
}
