//! `asof ingest`: files into a managed source.

use asof_core::registry::{NewRun, RegistryStore, RunEnd, RunKind, RunState};
use asof_core::service::{did_you_mean, nearest};
use asof_core::time::Clock;
use asof_offline::{EngineOptions, IngestRequest};
use asof_server::clock::SystemClock;
use serde_json::json;

use crate::args::IngestArgs;
use crate::commands::Global;
use crate::exit::Failure;
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
    let run = NewRun {
        kind: RunKind::Ingest,
        subject: args.source.clone(),
        started_at: SystemClock.now(),
        pid: std::process::id(),
        as_of: None,
    };
    let id = registry.start_run(project.name(), run).await?;
    let request = IngestRequest {
        source,
        files: &args.files,
        id: args.id.as_deref(),
        at: SystemClock.now(),
    };
    let result = engine.ingest(request).await;
    let (state, rows) = match &result {
        Ok(done) => (RunState::Done, if done.repeated { 0 } else { done.rows }),
        Err(error) => (
            RunState::Failed {
                error: error.to_string(),
            },
            0,
        ),
    };
    let end = RunEnd {
        finished_at: SystemClock.now(),
        state,
        rows_read: rows,
        rows_written: rows,
        rows_skipped: 0,
    };
    registry.end_run(project.name(), id, end).await?;
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
