//! `asof runs`: the ledger of what ran.

use asof_core::registry::RegistryStore;
use asof_core::service::{did_you_mean, nearest};
use asof_core::time::Timestamp;
use asof_proto::v1;
use asof_registry::ObjectKind;
use asof_server::runs::told;
use serde_json::{Value, json};

use crate::args::RunsArgs;
use crate::commands::Global;
use crate::commands::browse::kind_of;
use crate::exit::Failure;
use crate::output;
use crate::project;
use crate::remote::Remote;

pub(super) async fn run(global: &Global, args: &RunsArgs) -> Result<(), Failure> {
    let remote = global.remote().await?;
    let runs = match &remote {
        Some(remote) => {
            let subject = args.subject.clone().unwrap_or_default();
            remote.client().runs(subject, args.limit).await?
        }
        None => {
            let project = project::open(&global.project)?;
            let registry = project.registry().await?;
            let runs = registry
                .runs(project.name(), args.subject.as_deref(), args.limit)
                .await?;
            runs.into_iter().map(told).collect()
        }
    };
    let nothing = match &args.subject {
        Some(subject) if runs.is_empty() => not_run(subject, &known(global, remote.as_ref()).await?)?,
        _ => "Nothing has run yet.".to_owned(),
    };
    match runs.is_empty() && !global.json {
        true => output::line(nothing),
        false => print(global, &runs),
    }
    Ok(())
}

/// A definition's kind and name.
type Known = (ObjectKind, String);

/// What is defined.
async fn known(global: &Global, remote: Option<&Remote>) -> Result<Vec<Known>, Failure> {
    if let Some(remote) = remote {
        let answer = remote.client().list(v1::DefinitionKind::Unspecified).await?;
        let definitions = answer.definitions.into_iter();
        return Ok(definitions.map(|one| (kind_of(one.kind()), one.name)).collect());
    }
    let project = project::open(&global.project)?;
    let registry = project.registry().await?;
    let Some(version) = registry.head(project.name()).await? else {
        return Ok(Vec::new());
    };
    let objects = asof_registry::list(&version.definitions, None);
    Ok(objects.iter().map(|one| (one.kind(), one.name())).collect())
}

/// What to say of a subject without runs; an error where there is no such thing.
fn not_run(subject: &str, known: &[Known]) -> Result<String, Failure> {
    const RUN: [(ObjectKind, &str); 3] = [
        (ObjectKind::View, "View"),
        (ObjectKind::Source, "Source"),
        (ObjectKind::Service, "Service"),
    ];
    let is = |kind: ObjectKind, name: &str| {
        known
            .iter()
            .any(|known| (known.0, known.1.as_str()) == (kind, name))
    };
    if let Some((_, what)) = RUN.iter().find(|(kind, _)| is(*kind, subject)) {
        return Ok(format!("{what} {subject} has not run yet."));
    }
    // An extract of single features runs under the list of them.
    if subject.split(',').all(|feature| is(ObjectKind::Feature, feature)) {
        return Ok(format!("No extract of {subject} has run yet."));
    }
    let names = known
        .iter()
        .filter(|(kind, _)| RUN.iter().any(|(run, _)| run == kind));
    Err(Failure::usage(format!(
        "unknown view, source or service {subject:?}{}",
        did_you_mean(&nearest(subject, names.map(|(_, name)| name)))
    )))
}

/// The runs, as a table or as JSON.
fn print(global: &Global, runs: &[v1::Run]) {
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
        v1::RunKind::Compact => "compact",
        v1::RunKind::Rollback => "rollback",
        v1::RunKind::Unspecified => "unknown",
    }
}

/// How a run stands.
fn state(run: &v1::Run) -> &'static str {
    match run.state() {
        v1::RunState::Done => "done",
        v1::RunState::Failed => "failed",
        v1::RunState::Running => "running",
        v1::RunState::CutShort => "cut short",
        v1::RunState::Unspecified => "unknown",
    }
}

pub(super) fn to_json(run: &v1::Run) -> Value {
    let time = |micros: i64| Timestamp::from_micros(micros).to_string();
    json!({
        "id": run.id, "kind": kind(run), "subject": run.subject, "state": state(run),
        "error": (!run.error.is_empty()).then_some(&run.error),
        "started_at": time(run.started_at_micros), "finished_at": run.finished_at_micros.map(time),
        "as_of": run.as_of_micros.map(time), "pid": run.pid, "rows_read": run.rows_read,
        "rows_written": run.rows_written, "rows_skipped": run.rows_skipped,
    })
}
