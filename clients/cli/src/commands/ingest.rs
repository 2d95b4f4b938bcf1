//! `asof ingest`: files into a managed source.

use asof_core::registry::RunKind;
use asof_core::service::{did_you_mean, nearest};
use asof_core::time::Clock;
use asof_offline::{EngineOptions, IngestRequest, Ingested};
use asof_server::clock::SystemClock;
use serde_json::json;

use crate::args::IngestArgs;
use crate::commands::Global;
use crate::exit::Failure;
use crate::ledger::{Entry, RowCounts};
use crate::output;

pub(super) async fn run(global: &Global, args: &IngestArgs) -> Result<(), Failure> {
    if args.id.as_deref().is_some_and(|id| id.trim().is_empty()) {
        return Err(Failure::usage(
            "--id is empty: an id tells an ingest from others, so that one that is repeated changes nothing; give \
             one such as --id 2026-02-01, or leave --id out to tell ingests by their files' contents",
        ));
    }
    let project = global.open()?;
    let registry = project.registry().await?;
    let version = project.head(&registry).await?;
    let sources = &version.definitions.sources;
    let source = sources.get(args.source.as_str()).ok_or_else(|| {
        Failure::usage(format!(
            "unknown source {:?}{}",
            args.source,
            did_you_mean(&nearest(&args.source, sources.keys()))
        ))
    })?;
    let engine = project.engine(EngineOptions::default())?;
    let run = Entry::begin(&project, &registry, RunKind::Ingest, args.source.clone()).await?;
    let request = IngestRequest {
        source,
        files: &args.files,
        id: args.id.as_deref(),
        at: SystemClock.now(),
    };
    let result = engine.ingest(request).await;
    let rows = |done: &Ingested| {
        let rows = if done.repeated { 0 } else { done.rows };
        RowCounts {
            read: rows,
            written: rows,
            skipped: 0,
        }
    };
    let id = run
        .end(result.as_ref().map(rows).map_err(ToString::to_string))
        .await?;
    let done = result?;
    if global.json {
        output::json(&json!({
            "run": id, "source": args.source, "id": done.id, "rows": done.rows, "repeated": done.repeated,
            "table_version": done.version,
        }));
    } else if done.repeated {
        output::line(format!(
            "Nothing to do: {} {} ingested into {} before, under the id {}{}. To ingest {}, give another --id.",
            output::counted(done.rows, "row"),
            if done.rows == 1 { "was" } else { "were" },
            args.source,
            done.id,
            match done.compared {
                true => "",
                false => " (from which files is not known: nothing was compared)",
            },
            if done.rows == 1 { "it again" } else { "them again" },
        ));
    } else {
        output::line(format!(
            "Ingested {} into {} (run {id}, table version {}).",
            output::counted(done.rows, "row"),
            args.source,
            done.version
        ));
    }
    Ok(())
}
