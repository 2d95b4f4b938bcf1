//! `asof backup`: a copy of the online store and of the registry.

use std::path::Path;
use std::sync::Arc;

use asof_core::time::{Clock, Timestamp};
use asof_proto::v1;
use asof_server::backup::{Backups, ProjectBackups};
use asof_server::clock::SystemClock;
use serde_json::json;

use crate::args::BackupArgs;
use crate::commands::Global;
use crate::exit::Failure;
use crate::output;

pub(super) async fn run(global: &Global, args: &BackupArgs) -> Result<(), Failure> {
    let directory = match global.server {
        // Of another machine, perhaps.
        Some(_) => args.directory.clone(),
        None => absolute(&args.directory)?,
    };
    let taken = take(global, &directory, false).await?;
    let place = directory.display().to_string();
    let taken_at = Timestamp::from_micros(taken.taken_at_micros).to_string();
    if global.json {
        output::json(&json!({
            "directory": place,
            "taken_at": taken_at,
            "registry_version": taken.registry_version,
            "entries": taken.entries,
            "files": taken.files,
            "bytes": taken.bytes,
        }));
        return Ok(());
    }
    output::line(format!(
        "Backup in {place}: {} entries of the online store and registry v{}, as of {taken_at} ({} files, {} bytes), read back.",
        taken.entries, taken.registry_version, taken.files, taken.bytes
    ));
    output::line("Managed tables are not in it. Where it lies on the store's own disk, copy it to another.");
    Ok(())
}

/// Takes one, or tries to, by the server that holds the online store or here.
pub(super) async fn take(
    global: &Global,
    directory: &Path,
    is_trial: bool,
) -> Result<v1::BackupResponse, Failure> {
    if let Some(remote) = global.remote_or_running().await? {
        let directory = directory.to_str().ok_or_else(|| {
            Failure::usage(format!(
                "{} is no text in UTF-8: name another directory",
                directory.display()
            ))
        })?;
        return Ok(match is_trial {
            true => remote.client().try_backup(directory).await?,
            false => remote.client().backup(directory).await?,
        });
    }
    let project = global.open()?;
    let registry = Arc::new(project.registry().await?);
    let backups = ProjectBackups::new(project.config.clone(), project.store()?, registry);
    let at = SystemClock.now();
    Ok(backups.take(directory, at, is_trial).await?.to_wire(at))
}

/// A path from the root on.
pub(super) fn absolute(path: &Path) -> Result<std::path::PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
}
