//! `asof materialize`: what is new, to the online store.

use std::sync::Arc;

use asof_client::Error;
use asof_core::time::{Clock, Timestamp};
use asof_proto::v1;
use asof_server::clock::SystemClock;
use asof_server::materialize::{Materialized, Materializer, OnRows, Request, views};
use asof_server::project::Project;
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::args::MaterializeArgs;
use crate::commands::Global;
use crate::commands::status::without;
use crate::exit::{Exit, Failure, of_run};
use crate::output;
use crate::progress::Line;
use crate::project;
use crate::remote::Remote;

/// A view that was materialized.
pub(super) struct Done {
    run: u64,
    view: String,
    rows_read: u64,
    rows_written: u64,
    rows_skipped: u64,
    keys: u64,
    pending: u64,
    held_back: Vec<u64>,
}

impl Done {
    fn here(run: u64, view: String, done: Materialized) -> Self {
        Self {
            run,
            view,
            rows_read: done.rows_read,
            rows_written: done.rows_written,
            rows_skipped: done.rows_skipped,
            keys: done.counts.keys,
            pending: done.counts.pending,
            held_back: done.held_back,
        }
    }

    fn of_wire(run: &v1::Run) -> Self {
        Self {
            run: run.id,
            view: run.subject.clone(),
            rows_read: run.rows_read,
            rows_written: run.rows_written,
            rows_skipped: run.rows_skipped,
            keys: run.keys.unwrap_or_default(),
            pending: run.pending.unwrap_or_default(),
            held_back: run.held_back_runs.clone(),
        }
    }
}

pub(super) async fn run(global: &Global, args: &MaterializeArgs) -> Result<(), Failure> {
    let as_of = args.as_of.as_deref().map(Timestamp::parse).transpose()?;
    let (as_of, done) = match global.remote_or_running().await? {
        Some(remote) => remotely(args, as_of, &remote).await?,
        None => {
            let project = project::open(&global.project)?;
            let as_of = as_of.unwrap_or_else(|| SystemClock.now());
            let rows = Rows {
                full: args.full,
                redo: args.redo,
            };
            (as_of, locally(&project, &args.views, as_of, rows).await?)
        }
    };
    if global.json {
        let runs: Vec<Value> = done.iter().map(to_json).collect();
        output::json(&json!({ "as_of": as_of.to_string(), "runs": runs }));
    } else {
        print(&done);
        output::line(format!("Materialized as of {as_of}."));
        for done in done.iter().filter(|done| !done.held_back.is_empty()) {
            output::line(format!("{}: {}", done.view, without(&done.view, &done.held_back)));
        }
    }
    Ok(())
}

/// Which rows are materialized, apart from those that are new.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rows {
    /// All.
    pub(super) full: bool,
    /// Those that were rolled back.
    pub(super) redo: bool,
}

/// Materializes views in this process, one after the other.
pub(super) async fn locally(
    project: &Project,
    named: &[String],
    as_of: Timestamp,
    Rows { full, redo }: Rows,
) -> Result<Vec<Done>, Failure> {
    let registry = Arc::new(project.registry().await?);
    let version = project.head(&registry).await?;
    let views = views(&version.definitions, named)?;
    let materializer = Materializer::new(project.intake()?, registry, Arc::new(SystemClock));
    let line = Arc::new(Line::new());
    let mut all = Vec::new();
    let request = Request {
        definitions: &version.definitions,
        views: &views,
        as_of,
        full,
        redo,
    };
    let shown = Arc::clone(&line);
    let on_rows = move |view: &str, rows: u64, total: Option<u64>| {
        let what = if total == Some(rows) {
            "writing and counting"
        } else {
            "reading"
        };
        shown.rows_of(&format!("{what} {view}"), rows, total);
    };
    let watched: Option<OnRows> = if line.is_shown() {
        Some(Arc::new(on_rows))
    } else {
        None
    };
    let mut failed = Vec::new();
    for ended in materializer.run(request, watched).await? {
        match ended.result {
            Ok(done) => all.push(Done::here(ended.run, ended.view, done)),
            Err(error) => failed.push((ended.run, ended.view, Failure::from(error))),
        }
    }
    line.clear();
    if let Some(failure) = told(failed, &all) {
        return Err(failure);
    }
    Ok(all)
}

/// What is said of runs that failed, and of the views that were materialized beside them; of the only one there is,
/// its error as it stands.
fn told(failed: Vec<(u64, String, Failure)>, done: &[Done]) -> Option<Failure> {
    if let (1, true) = (failed.len(), done.is_empty()) {
        return failed.into_iter().next().map(|(_, _, failure)| failure);
    }
    let lines = failed
        .iter()
        .map(|(run, view, failure)| format!("run {run} of {view} failed: {}", failure.message()));
    let mut lines: Vec<String> = lines.collect();
    if !done.is_empty() {
        let views: Vec<&str> = done.iter().map(|done| done.view.as_str()).collect();
        lines.push(format!("materialized beside it: {}", views.join(", ")));
    }
    let (.., first) = failed.into_iter().next()?;
    Some(first.reworded(|_| lines.join("\n")))
}

fn to_json(done: &Done) -> Value {
    json!({
        "run": done.run, "view": done.view, "rows_read": done.rows_read, "rows_written": done.rows_written,
        "rows_skipped": done.rows_skipped, "keys": done.keys, "pending": done.pending, "held_back_runs": done.held_back,
    })
}

/// What was materialized, for people.
pub(super) fn print(all: &[Done]) {
    let row = |done: &Done| {
        vec![
            done.run.to_string(),
            done.view.clone(),
            output::count(done.rows_read),
            output::count(done.rows_written),
            output::count(done.rows_skipped),
            output::count(done.keys),
            output::count(done.pending),
        ]
    };
    let headings = ["run", "view", "rows read", "taken", "skipped", "keys", "pending"];
    output::table(&headings, all.iter().map(row).collect());
}

/// Materializes views in a server. Returns its clock's instant where `as_of` names none.
async fn remotely(
    args: &MaterializeArgs,
    as_of: Option<Timestamp>,
    remote: &Remote,
) -> Result<(Timestamp, Vec<Done>), Failure> {
    let request_as_of = as_of.map(Timestamp::micros);
    let request = v1::MaterializeRequest {
        views: args.views.clone(),
        as_of_micros: request_as_of,
        full: args.full,
        redo: args.redo,
        wait: true,
    };
    let client = remote.client();
    let runs = tokio::select! {
        runs = client.materialize(request) => runs.map_err(|error| match error {
            Error::Status(status) => of_run(*status),
            error => error.into(),
        })?,
        _ = tokio::signal::ctrl_c() => return Err(Failure::interrupted_elsewhere()),
    };
    let (ended, failed): (Vec<_>, Vec<_>) = runs
        .iter()
        .partition(|run| run.state() == v1::RunState::Done && run.error_code.is_none());
    let done: Vec<Done> = ended.into_iter().map(Done::of_wire).collect();
    let failed = failed.into_iter();
    let failed = failed.map(|run| {
        let code = run.error_code.map_or(Code::Unavailable, Code::from_i32);
        let error = match run.error.as_str() {
            "" => "the server does not say how it ended: see `asof runs`",
            error => error,
        };
        (run.id, run.subject.clone(), of_run(Status::new(code, error)))
    });
    if let Some(failure) = told(failed.collect(), &done) {
        return Err(failure);
    }
    let as_of = runs.first().and_then(|run| run.as_of_micros).or(request_as_of);
    let as_of = as_of.ok_or_else(|| Failure::new(Exit::Bug, "the server did not say as of which instant"))?;
    Ok((Timestamp::from_micros(as_of), done))
}
