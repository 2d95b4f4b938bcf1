//! `asof runs`: the ledger of what ran.

use asof_core::registry::RegistryStore;
use asof_core::time::Timestamp;
use asof_proto::convert::run_to_proto;
use asof_proto::v1;
use serde_json::{Value, json};

use crate::args::RunsArgs;
use crate::commands::Global;
use crate::exit::Failure;
use crate::output;
use crate::project::Project;

pub(super) async fn run(global: &Global, args: &RunsArgs) -> Result<(), Failure> {
    let runs = match global.remote().await? {
        Some(remote) => {
            let subject = args.subject.clone().unwrap_or_default();
            let request = v1::ListRunsRequest {
                subject,
                limit: args.limit,
            };
            remote.jobs().list_runs(request).await?.into_inner().runs
        }
        None => {
            let project = Project::open(&global.project)?;
            let registry = project.registry().await?;
            let runs = registry
                .runs(project.name(), args.subject.as_deref(), args.limit)
                .await?;
            runs.into_iter().map(run_to_proto).collect()
        }
    };
    if runs.is_empty() && !global.json {
        output::line("Nothing has run yet.");
        return Ok(());
    }
    print(global, &runs);
    Ok(())
}

/// The runs, as a table or as JSON.
pub(super) fn print(global: &Global, runs: &[v1::Run]) {
    if global.json {
        let list: Vec<Value> = runs.iter().map(to_json).collect();
        output::json(&json!({ "runs": list }));
        return;
    }
    let headings = [
        "run",
        "what",
        "of",
        "started",
        "state",
        "rows read",
        "written",
        "skipped",
    ];
    output::table(&headings, runs.iter().map(row).collect());
    for failed in runs.iter().filter(|run| run.state() == v1::RunState::Failed) {
        output::line(format!("run {}: {}", failed.id, failed.error));
    }
}

fn row(run: &v1::Run) -> Vec<String> {
    vec![
        run.id.to_string(),
        kind(run).to_owned(),
        run.subject.clone(),
        Timestamp::from_micros(run.started_at_micros).to_string(),
        state(run).to_owned(),
        output::count(run.rows_read),
        output::count(run.rows_written),
        output::count(run.rows_skipped),
    ]
}

fn kind(run: &v1::Run) -> &'static str {
    match run.kind() {
        v1::RunKind::Ingest => "ingest",
        v1::RunKind::Materialize => "materialize",
        v1::RunKind::Extract => "extract",
        v1::RunKind::Unspecified => "unknown",
    }
}

/// How a run stands; one that has not ended, of a process that is gone, was cut short.
fn state(run: &v1::Run) -> &'static str {
    match run.state() {
        v1::RunState::Done => "done",
        v1::RunState::Failed => "failed",
        v1::RunState::Running if std::path::Path::new(&format!("/proc/{}", run.pid)).exists() => "running",
        v1::RunState::Running => "cut short",
        v1::RunState::Unspecified => "unknown",
    }
}

fn to_json(run: &v1::Run) -> Value {
    let time = |micros: i64| Timestamp::from_micros(micros).to_string();
    json!({
        "id": run.id, "kind": kind(run), "subject": run.subject, "state": state(run),
        "error": (!run.error.is_empty()).then_some(&run.error),
        "started_at": time(run.started_at_micros), "finished_at": run.finished_at_micros.map(time),
        "as_of": run.as_of_micros.map(time), "pid": run.pid, "rows_read": run.rows_read,
        "rows_written": run.rows_written, "rows_skipped": run.rows_skipped,
    })
}
