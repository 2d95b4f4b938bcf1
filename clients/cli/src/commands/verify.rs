//! `asof verify`: everything read back.

use std::path::Path;

use asof_core::definition::{Location, Source};
use asof_core::online::{OnlineStore, Survey};
use asof_core::registry::RegistryStore;
use asof_core::time::Timestamp;
use asof_offline::EngineOptions;
use asof_online::{accept_lost_writes, lock, read_back};
use asof_server::backup::{BackupError, verify};
use asof_server::cancel::blocking;
use asof_server::places::{lost_writes, what_was_lost};
use asof_server::project::Project;
use serde_json::{Value, json};

use crate::args::VerifyArgs;
use crate::commands::Global;
use crate::commands::backup::{absolute, take};
use crate::exit::{Exit, Failure};
use crate::output;
use crate::remote::Remote;

pub(super) async fn run(global: &Global, args: &VerifyArgs) -> Result<(), Failure> {
    match &args.directory {
        Some(directory) => of_backup(global, directory).await,
        None => of_project(global, args.accept_loss).await,
    }
}

async fn of_backup(global: &Global, directory: &Path) -> Result<(), Failure> {
    let backup = verify(directory).await?;
    if global.json {
        output::json(&json!({
            "project": backup.project,
            "taken_at": backup.taken_at,
            "registry_version": backup.registry_version,
            "entries": backup.entries,
            "files": backup.files.len(),
            "bytes": backup.bytes(),
        }));
        return Ok(());
    }
    output::line(format!(
        "The backup of {} as of {} is whole: {} entries of the online store and registry v{} ({} files, {} bytes).",
        backup.project,
        backup.taken_at,
        backup.entries,
        backup.registry_version,
        backup.files.len(),
        backup.bytes()
    ));
    Ok(())
}

/// What a project has: its online store, its registry and its managed tables. What is damaged in one hides nothing of the
/// others.
async fn of_project(global: &Global, accept_loss: bool) -> Result<(), Failure> {
    let project = global.open()?;
    let mut problems: Vec<Failure> = Vec::new();
    let mut found = serde_json::Map::new();
    let mut lines = Vec::new();
    let server = global.remote_or_running().await?;
    let stored = match (server, project.config.online_servers()) {
        (Some(server), Some(_)) => counted_by_server(&server, &project).await,
        (Some(_), None) => by_server(global, &project).await,
        (None, Some(_)) => counted(&project).await,
        (None, None) => here(&project).await,
    };
    match stored {
        Ok((line, told)) => {
            lines.push(line);
            found.extend(told);
        }
        Err(failures) => problems.extend(failures),
    }
    // Without a registry nobody knows which tables there are.
    let registered = match project.registry().await {
        Ok(registry) => project.head(&registry).await.ok(),
        Err(_) => None,
    };
    if let Some(version) = registered {
        let engine = project.engine(EngineOptions::default())?;
        let sources = version.definitions.sources.values();
        let managed = |source: &&Source| matches!(source.location, Location::Managed { .. });
        let mut tables = serde_json::Map::new();
        for source in sources.filter(managed) {
            match engine.read_back(source).await {
                Ok(None) => lines.push(format!("The table of {} is not there yet.", source.name)),
                Ok(Some(read)) => {
                    lines.push(format!(
                        "The table of {} is whole: {} in {}.",
                        source.name,
                        output::counted(read.rows, "row"),
                        output::counted(read.files as u64, "file")
                    ));
                    tables.insert(
                        source.name.to_string(),
                        json!({ "rows": read.rows, "files": read.files }),
                    );
                }
                Err(errors) => problems.extend(errors.into_iter().map(Failure::from)),
            }
        }
        found.insert("tables".to_owned(), tables.into());
    }
    if let Some(lost) = lost_writes(&project.config) {
        match accept_loss && problems.is_empty() {
            true => {
                accept(&project)?;
                found.insert("loss_accepted".to_owned(), true.into());
                lines
                    .push("The loss of the online store is accepted: it is not told of any more.".to_owned());
            }
            false => problems.push(Failure::new(Exit::Data, what_was_lost(&lost))),
        }
    }
    if global.json && problems.is_empty() {
        output::json(&found.into());
    } else if !global.json {
        lines.iter().for_each(output::line);
    }
    let all: Vec<&str> = problems.iter().map(Failure::message).collect();
    match problems.first() {
        None => Ok(()),
        Some(first) if problems.len() == 1 => Err(Failure::new(first.exit(), first.message())),
        Some(_) => Err(Failure::new(Exit::Data, all.join("\n"))),
    }
}

/// Has what the online store has lost not told of any more.
fn accept(project: &Project) -> Result<(), Failure> {
    let online = project.config.online_path();
    accept_lost_writes(&online).map_err(|error| failed(&online, &error))
}

/// What was read of the online store and of the registry, in words and for programs.
type Stored = Result<(String, serde_json::Map<String, Value>), Vec<Failure>>;

/// By a backup that is not kept: it is read back where it is taken.
async fn by_server(global: &Global, project: &Project) -> Stored {
    let one = |failure: Failure| vec![failure];
    let above = project.config.online_path();
    let above = absolute(above.parent().unwrap_or(&project.config.directory)).map_err(one)?;
    let copy = above.join(format!(".asof-verify-{}", std::process::id()));
    let taken = take(global, &copy, true).await.map_err(one)?;
    let line = format!(
        "The online store ({} entries) and the registry (v{}) are whole, as of {}.",
        taken.entries,
        taken.registry_version,
        Timestamp::from_micros(taken.taken_at_micros)
    );
    Ok((line, told(taken.entries, taken.registry_version)))
}

/// Of an online store on servers: every row is read when rows are counted.
async fn counted(project: &Project) -> Stored {
    let one = |failure: Failure| vec![failure];
    let store = project.store().map_err(|error| one(error.into()))?;
    let views = store.views().map_err(|error| one(error.into()))?;
    let counting = blocking(move |cancellation| {
        let (mut entries, mut problems) = (0, Vec::new());
        for (_, slot, state) in views {
            for generation in state.generations() {
                let survey = Survey::as_stored(slot, generation.generation);
                match store.survey(&[survey], cancellation) {
                    Ok(counts) => entries += counts.iter().map(|of| of.keys + of.pending).sum::<u64>(),
                    Err(error) => problems.push(Failure::from(error)),
                }
            }
        }
        (entries, problems)
    });
    let (entries, problems) = counting.await.map_err(|error| one(Failure::cut_short(error)))?;
    let version = match registry(project).await {
        Ok(version) if problems.is_empty() => version,
        Ok(_) => return Err(problems),
        Err(failure) => return Err(problems.into_iter().chain([failure]).collect()),
    };
    Ok((rows_line(entries, version), told(entries, version)))
}

/// The same by the server that holds it.
async fn counted_by_server(server: &Remote, project: &Project) -> Stored {
    let one = |failure: Failure| vec![failure];
    let status = server
        .client()
        .status()
        .await
        .map_err(|error| one(error.into()))?;
    let mut entries = 0;
    for view in &status.views {
        let Some((rows, pending)) = view.rows.zip(view.pending_rows) else {
            let what = format!("the rows of view {} cannot be read: {}", view.view, view.problem);
            return Err(one(Failure::new(Exit::Data, what)));
        };
        entries += rows + pending;
    }
    let version = registry(project).await.map_err(one)?;
    Ok((rows_line(entries, version), told(entries, version)))
}

fn rows_line(rows: u64, version: u64) -> String {
    format!("The online store ({rows} rows) and the registry (v{version}) are whole.")
}

/// In the files themselves, each of which is looked at: an online store that is damaged may not open.
async fn here(project: &Project) -> Stored {
    let one = |failure: Failure| vec![failure];
    let (mut problems, mut entries) = (Vec::new(), 0);
    let online = project.config.online_path();
    let held = lock(&online).map_err(|error| one(error.into()))?;
    if held.is_there() {
        let reading = blocking(move |cancellation| read_back(&online, cancellation));
        match reading.await.map_err(|error| one(Failure::cut_short(error)))? {
            Ok(read) => entries = read.entries,
            Err(errors) => problems.extend(errors.into_iter().map(Failure::from)),
        }
    }
    let was_there = held.is_there();
    drop(held);
    if was_there && problems.is_empty() {
        // Whether all is there that was acknowledged is seen when it is opened, and noted.
        project.store_quietly().map_err(|error| one(error.into()))?;
    }
    match registry(project).await {
        Ok(version) if problems.is_empty() => {
            let line =
                format!("The online store ({entries} entries) and the registry (v{version}) are whole.");
            Ok((line, told(entries, version)))
        }
        Ok(_) => Err(problems),
        Err(failure) => Err(problems.into_iter().chain([failure]).collect()),
    }
}

/// The newest version in the registry, all of which is read.
async fn registry(project: &Project) -> Result<u64, Failure> {
    let registry = project.registry().await?;
    registry.read_back(project.name()).await?;
    Ok(registry.head(project.name()).await?.map_or(0, |head| head.number))
}

fn told(entries: u64, version: u64) -> serde_json::Map<String, Value> {
    let told = [("entries", entries), ("registry_version", version)];
    told.map(|(name, number)| (name.to_owned(), json!(number)))
        .into_iter()
        .collect()
}

fn failed(place: &Path, error: &std::io::Error) -> Failure {
    BackupError::Failed {
        place: place.display().to_string(),
        reason: error.to_string(),
    }
    .into()
}
