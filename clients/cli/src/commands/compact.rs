//! `asof compact`: managed tables in few, sorted files.

use std::collections::BTreeMap;

use asof_core::definition::{Definitions, Location, Source};
use asof_core::registry::RunKind;
use asof_core::service::{did_you_mean, nearest};
use asof_core::time::Clock;
use asof_offline::{CompactRequest, Compacted, EngineOptions, Orphans};
use asof_server::clock::SystemClock;
use serde_json::{Value, json};

use crate::args::{CompactArgs, mebibytes};
use crate::commands::Global;
use crate::exit::Failure;
use crate::ledger::{Entry, RowCounts};
use crate::output;

/// What was done to a source.
struct Done<'a> {
    source: &'a Source,
    /// Its number in the ledger of runs.
    run: u64,
    files: Compacted,
    /// The files that were nobody's.
    orphans: Orphans,
}

pub(super) async fn run(global: &Global, args: &CompactArgs) -> Result<(), Failure> {
    let project = global.open()?;
    let registry = project.registry().await?;
    let version = project.head(&registry).await?;
    let definitions = &version.definitions;
    let engine = project.engine(EngineOptions {
        memory_limit: Some(mebibytes(args.memory)),
        ..EngineOptions::default()
    })?;
    let mut all: Vec<Done<'_>> = Vec::new();
    for source in sources(definitions, &args.sources)? {
        let request = CompactRequest {
            source,
            keys: &keys(definitions, source),
            file_bytes: CompactRequest::FILE_BYTES,
            at: SystemClock.now(),
        };
        let at = request.at;
        let run = Entry::begin(&project, &registry, RunKind::Compact, source.name.to_string()).await?;
        let result = engine.compact(request).await;
        let rows = |done: &Compacted| RowCounts {
            read: done.rows,
            written: done.rows,
            skipped: 0,
        };
        let run = run
            .end(result.as_ref().map(rows).map_err(ToString::to_string))
            .await?;
        all.push(Done {
            source,
            run,
            files: result?,
            orphans: engine.remove_orphans(source, at).await?,
        });
    }
    if global.json {
        let sources: Vec<Value> = all.iter().map(to_json).collect();
        output::json(&json!({ "sources": sources }));
    } else {
        print(&all);
    }
    Ok(())
}

/// The sources that are named, or all managed ones.
fn sources<'a>(definitions: &'a Definitions, named: &[String]) -> Result<Vec<&'a Source>, Failure> {
    let sources = &definitions.sources;
    if named.is_empty() {
        let managed = |source: &&Source| matches!(source.location, Location::Managed { .. });
        return Ok(sources.values().filter(managed).collect());
    }
    let mut found: Vec<&Source> = Vec::new();
    for name in named {
        let source = sources.get(name.as_str()).ok_or_else(|| {
            let hint = did_you_mean(&nearest(name, sources.keys()));
            Failure::usage(format!("unknown source {name:?}{hint}"))
        })?;
        if found.iter().all(|other| other.name != source.name) {
            found.push(source);
        }
    }
    Ok(found)
}

/// The keys of the entities whose views read a source, those of the most views first.
fn keys(definitions: &Definitions, source: &Source) -> Vec<Vec<String>> {
    let mut views = BTreeMap::new();
    for view in definitions
        .views
        .values()
        .filter(|view| view.source == source.name)
    {
        *views.entry(&view.entity).or_insert(0_usize) += 1;
    }
    let mut entities: Vec<_> = views.into_iter().collect();
    // Of equally many the first by name: the sort is stable.
    entities.sort_by_key(|(_, views)| std::cmp::Reverse(*views));
    let entities = entities
        .into_iter()
        .filter_map(|(name, _)| definitions.entities.get(name));
    entities
        .map(|entity| entity.keys.iter().map(|key| key.name.clone()).collect())
        .collect()
}

fn to_json(done: &Done<'_>) -> Value {
    let Done {
        source,
        run,
        files,
        orphans,
    } = done;
    json!({
        "run": run, "source": source.name.to_string(),
        "files_before": files.files_before, "files_after": files.files_after, "files_written": files.files_written,
        "rows": files.rows, "bytes_before": files.bytes_before, "bytes_after": files.bytes_after,
        "table_version": files.version, "orphans_removed": orphans.files, "orphan_bytes": orphans.bytes,
    })
}

fn print(all: &[Done<'_>]) {
    let changed: Vec<&Done<'_>> = all.iter().filter(|done| done.files.files_written > 0).collect();
    if !changed.is_empty() {
        let row = |Done { source, files, .. }: &Done<'_>| {
            vec![
                source.name.to_string(),
                format!("{} -> {}", files.files_before, files.files_after),
                output::count(files.rows),
                format!(
                    "{} -> {}",
                    output::bytes(files.bytes_before),
                    output::bytes(files.bytes_after)
                ),
                files.version.to_string(),
            ]
        };
        let headings = ["source", "files", "rows moved", "bytes", "table version"];
        output::table(&headings, changed.into_iter().map(row).collect());
    }
    let same = all.iter().filter(|done| done.files.files_written == 0);
    for Done { source, files, .. } in same {
        let files = match files.files_after {
            0 => "no files".to_owned(),
            files => output::counted(files as u64, "file"),
        };
        output::line(format!("{}: nothing to do ({files}).", source.name));
    }
    let left = all.iter().filter(|done| done.orphans.files > 0);
    for Done { source, orphans, .. } in left {
        output::line(format!(
            "{}: removed {} ({}) that no version of the table names, left by writers that were killed.",
            source.name,
            output::counted(orphans.files as u64, "file"),
            output::bytes(orphans.bytes)
        ));
    }
    if all.is_empty() {
        output::line("Nothing to do: no source is managed (has a schema and no path).");
    }
}
