//! `asof replay`: a dataset made again from its manifest.

use std::sync::Arc;

use asof_core::registry::{RegistryStore, RunKind, Version};
use asof_core::service::ReadPlan;
use asof_offline::{EngineOptions, InputChange, Manifest, Replay, ReplayRequest};
use asof_registry::SqliteRegistry;
use asof_server::clock::SystemClock;
use asof_server::project::Project;
use serde_json::{Value, json};

use crate::args::{ReplayArgs, mebibytes};
use crate::commands::Global;
use crate::commands::extract::{row_counts, to_json};
use crate::exit::{Exit, Failure};
use crate::ledger::{Entry, RowCounts};
use crate::output;
use crate::progress::Line;

pub(super) async fn run(global: &Global, args: &ReplayArgs) -> Result<(), Failure> {
    let project = global.open()?;
    let manifest = Manifest::read(&args.manifest)?;
    let shown = args.manifest.display();
    if manifest.project() != project.name().as_str() {
        return Err(Failure::usage(format!(
            "manifest {shown} is of project {:?}, and this is project {:?}: name the directory of that project \
             with --project DIR",
            manifest.project(),
            project.name().as_str()
        )));
    }
    let registry = project.registry().await?;
    let plan = match definitions(&project, &registry, &manifest).await? {
        Ok(version) => Ok(plan(&manifest, &version)?),
        Err(what) => Err(what),
    };
    let engine = project.engine(EngineOptions {
        memory_limit: args.memory.map(mebibytes),
        ..EngineOptions::default()
    })?;
    let progress = Arc::new(Line::new());
    let request = ReplayRequest {
        manifest: &manifest,
        manifest_path: &args.manifest,
        plan: plan.as_ref().map_err(Clone::clone),
        spine: args.spine.as_deref(),
        out: &args.out,
        overwrite: args.overwrite,
        clock: &SystemClock,
        progress: progress.clone(),
    };
    let run = Entry::begin(&project, &registry, RunKind::Extract, subject(&manifest)).await?;
    let result = engine.replay(request).await;
    progress.clear();
    let id = run.end(outcome(&result)).await?;
    tell(global, args, id, result?)
}

/// The applied version whose definitions the manifest names, or what has become of it. Definitions that were
/// applied again are the same under another number.
async fn definitions(
    project: &Project,
    registry: &SqliteRegistry,
    manifest: &Manifest,
) -> Result<Result<Version, String>, Failure> {
    let (number, digest) = (manifest.registry_version(), manifest.definitions_digest());
    let history = registry.history(project.name()).await?;
    let same = history.iter().filter(|(_, _, other)| other == digest);
    let mut numbers: Vec<u64> = same.map(|(number, _, _)| *number).collect();
    numbers.sort_by_key(|other| *other != number);
    if let Some(found) = numbers.first()
        && let Some(version) = registry.version(project.name(), *found).await?
    {
        return Ok(Ok(version));
    }
    let place = project.config.registry_path();
    let place = place.display();
    let newest = history.last().map_or(0, |(number, _, _)| *number);
    let changed = history.iter().find(|(other, _, _)| *other == number);
    Ok(Err(match changed {
        Some((_, _, other)) => {
            format!(
                "v{number} had digest {digest}, and has {other} in the registry at {place}: it was made anew"
            )
        }
        None => format!("v{number} ({digest}) is not in the registry at {place}, whose newest is v{newest}"),
    }))
}

fn plan(manifest: &Manifest, version: &Version) -> Result<ReadPlan, Failure> {
    Ok(match manifest.service() {
        Some(service) => ReadPlan::of_service(&version.definitions, service)?,
        None => ReadPlan::of_features(&version.definitions, manifest.features())?,
    })
}

fn subject(manifest: &Manifest) -> String {
    let features = || manifest.features().collect::<Vec<_>>().join(",");
    manifest.service().map_or_else(features, ToOwned::to_owned)
}

/// What the ledger is told.
fn outcome(result: &asof_offline::Result<Replay>) -> Result<RowCounts, String> {
    match result {
        Ok(Replay::Same { dataset, .. } | Replay::Differs { dataset, .. }) => Ok(row_counts(dataset)),
        Ok(Replay::Refused(changes)) => Err(counted(changes)),
        Err(error) => Err(error.to_string()),
    }
}

fn counted(changes: &[InputChange]) -> String {
    let inputs = match changes.len() {
        1 => "1 input is".to_owned(),
        count => format!("{count} inputs are"),
    };
    format!("{inputs} gone or changed")
}

fn tell(global: &Global, args: &ReplayArgs, run: u64, replay: Replay) -> Result<(), Failure> {
    let manifest = args.manifest.display();
    let list = |changes: &[InputChange]| -> Vec<Value> {
        let each = changes.iter();
        each.map(|change| json!({ "input": change.input, "what": change.what }))
            .collect()
    };
    match replay {
        Replay::Same { dataset, engine } => {
            if global.json {
                let changes = list(engine.as_slice());
                output::json(&json!({ "same": true, "changes": changes, "extract": to_json(run, &dataset) }));
                return Ok(());
            }
            output::line(format!(
                "{}: the same bytes as the dataset of {manifest}: {}, {}, {}",
                dataset.output.display(),
                output::counted(dataset.summary.rows, "row"),
                output::counted(dataset.summary.columns as u64, "column"),
                dataset.digest
            ));
            if let Some(engine) = engine {
                output::line(format!("note: {}", engine.what));
            }
            Ok(())
        }
        Replay::Differs {
            dataset,
            expected,
            engine,
        } => {
            if global.json {
                let changes = list(engine.as_slice());
                output::json(
                    &json!({ "same": false, "changes": changes, "extract": to_json(run, &dataset) }),
                );
            }
            let why = match engine {
                Some(engine) => format!("every input is what it was, but {}", engine.what),
                None => {
                    "every input is what it was, and so is the engine: this is a bug, please report it".into()
                }
            };
            Err(Failure::new(
                Exit::Data,
                format!(
                    "{} has other bytes than the dataset of {manifest}: {}, not {expected}; {why}; \
                     `asof diff` shows what differs",
                    dataset.output.display(),
                    dataset.digest
                ),
            ))
        }
        Replay::Refused(changes) => {
            if global.json {
                output::json(&json!({ "same": false, "changes": list(&changes), "extract": null }));
            }
            let mut message = format!(
                "the dataset of {manifest} cannot be made again, and {} was not written: {}",
                args.out.display(),
                counted(&changes)
            );
            for change in &changes {
                message.push_str(&format!("\n  {change}"));
            }
            Err(Failure::new(Exit::Data, message))
        }
    }
}
