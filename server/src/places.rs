//! The disks that a project keeps things on, when they were copied last, and what they have lost.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use asof_core::time::Timestamp;
use asof_proto::v1;
use asof_registry::ProjectConfig;
use serde::{Deserialize, Serialize};

/// Where the last backup is noted, below the project's directory.
const BACKUP_FILE: &str = ".asof/last-backup.json";

/// The last backup that was taken of a project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct LastBackup {
    taken_at_micros: i64,
    directory: PathBuf,
}

/// Notes that a backup was taken. Where that fails, the backup is none the worse.
pub(crate) fn note_backup(project: &Path, directory: &Path, taken_at: Timestamp) {
    let note = LastBackup {
        taken_at_micros: taken_at.micros(),
        directory: directory.to_owned(),
    };
    let path = project.join(BACKUP_FILE);
    let text = serde_json::to_vec(&note).unwrap_or_default();
    if let Err(error) = std::fs::write(&path, text) {
        tracing::warn!(path = %path.display(), %error, "that a backup was taken could not be noted");
    }
}

/// The last backup, where one is known of.
pub fn last_backup(config: &ProjectConfig) -> Option<v1::LastBackup> {
    let text = std::fs::read(config.directory.join(BACKUP_FILE)).ok()?;
    let note: LastBackup = serde_json::from_slice(&text).ok()?;
    Some(v1::LastBackup {
        taken_at_micros: note.taken_at_micros,
        directory: note.directory.display().to_string(),
    })
}

/// What the online store has lost, until somebody accepts it.
pub fn lost_writes(config: &ProjectConfig) -> Option<v1::LostWrites> {
    if config.online_servers().is_some() {
        return None;
    }
    let path = config.online_path();
    let lost = asof_online::lost_writes(&path).unwrap_or_else(|error| {
        tracing::warn!(path = %path.display(), %error, "whether the online store has lost writes cannot be read");
        None
    })?;
    Some(v1::LostWrites {
        changes: lost.changes,
        found_at_micros: lost.found_at.micros(),
    })
}

/// What was lost, and what to do, in words.
pub fn what_was_lost(lost: &v1::LostWrites) -> String {
    let found_at = Timestamp::from_micros(lost.found_at_micros);
    let what = match lost.changes {
        Some(1) => "1 change that it had acknowledged".to_owned(),
        Some(changes) => format!("{changes} changes that it had acknowledged"),
        None => "its mark of what it had acknowledged, and so perhaps changes".to_owned(),
    };
    format!(
        "the online store has lost {what} (found at {found_at}, as after a power cut): run `asof materialize --full`, and \
         then `asof verify --accept-loss`"
    )
}

/// The file systems on which a project keeps its registry, its online store and its managed tables, with their room.
pub fn disks(config: &ProjectConfig) -> Vec<v1::Disk> {
    let online = config.online_servers().is_none().then(|| config.online_path());
    let places = [
        ("registry", Some(config.registry_path())),
        ("online", online),
        ("offline", Some(config.offline_path())),
    ];
    let mut disks: Vec<(u64, v1::Disk)> = Vec::new();
    for (holds, path) in places {
        let Some((device, free_bytes, size_bytes)) = path.as_deref().and_then(room) else {
            continue;
        };
        match disks.iter_mut().find(|(of, _)| *of == device) {
            Some((_, disk)) => disk.holds.push(holds.to_owned()),
            None => {
                let disk = v1::Disk {
                    holds: vec![holds.to_owned()],
                    free_bytes,
                    size_bytes,
                };
                disks.push((device, disk));
            }
        }
    }
    disks.into_iter().map(|(_, disk)| disk).collect()
}

/// The file system that a path is on, or will be: its device, the bytes that are free for this process, and its size.
fn room(path: &Path) -> Option<(u64, u64, u64)> {
    let path = std::path::absolute(path).ok()?;
    let there = path.ancestors().find(|path| path.exists())?;
    let device = there.metadata().ok()?.dev();
    let system = rustix::fs::statvfs(there).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(system.f_frsize);
    Some((device, bytes(system.f_bavail), bytes(system.f_blocks)))
}
