//! `asof materialize`: what is new, to the online store.

use std::sync::Arc;

use asof_core::time::{Clock, Timestamp};
use asof_offline::EngineOptions;
use asof_proto::v1;
use asof_server::clock::SystemClock;
use asof_server::materialize::{Materialized, Materializer, ViewRequest, views};
use serde_json::{Value, json};

use crate::args::MaterializeArgs;
use crate::commands::{Global, runs};
use crate::exit::{Exit, Failure};
use crate::output;
use crate::progress::Line;
use crate::project::Project;
use crate::remote::Remote;

/// A view that was materialized.
pub(super) struct Done {
    pub(super) run: u64,
    pub(super) view: String,
    pub(super) done: Materialized,
}

pub(super) async fn run(global: &Global, args: &MaterializeArgs) -> Result<(), Failure> {
    let as_of = args.as_of.as_deref().map(Timestamp::parse).transpose()?;
    if let Some(remote) = global.remote_or_running().await? {
        return remotely(global, args, as_of, &remote).await;
    }
    let project = Project::open(&global.project)?;
    let as_of = as_of.unwrap_or_else(|| SystemClock.now());
    let done = locally(&project, &args.views, as_of, args.full).await?;
    if global.json {
        let runs: Vec<Value> = done.iter().map(to_json).collect();
        output::json(&json!({ "as_of": as_of.to_string(), "runs": runs }));
    } else {
        print(&done);
        output::line(format!("Materialized as of {as_of}."));
    }
    Ok(())
}

/// Materializes views in this process, one after the other.
pub(super) async fn locally(
    project: &Project,
    named: &[String],
    as_of: Timestamp,
    full: bool,
) -> Result<Vec<Done>, Failure> {
    let registry = Arc::new(project.registry().await?);
    let version = project.head(&registry).await?;
    let views = views(&version.definitions, named)?;
    let store = project.store()?;
    let engine = project.engine(EngineOptions::default())?;
    let materializer = Materializer::new(
        engine,
        store,
        registry,
        project.name().clone(),
        Arc::new(SystemClock),
    );
    let line = Line::new();
    let mut all = Vec::new();
    for view in views {
        let request = ViewRequest {
            definitions: &version.definitions,
            view: &view,
            as_of,
            full,
        };
        let on_rows = |view: &str, rows: u64| line.rows(&format!("reading {view}"), rows);
        let (run, result) = materializer.run(request, &on_rows).await?;
        all.push(Done {
            run,
            done: result?,
            view,
        });
    }
    line.clear();
    Ok(all)
}

fn to_json(done: &Done) -> Value {
    json!({
        "run": done.run, "view": done.view, "rows_read": done.done.rows_read,
        "rows_written": done.done.rows_written, "rows_skipped": done.done.rows_skipped,
        "keys": done.done.counts.keys, "pending": done.done.counts.pending,
    })
}

/// What was materialized, for people.
pub(super) fn print(all: &[Done]) {
    let row = |done: &Done| {
        vec![
            done.run.to_string(),
            done.view.clone(),
            output::count(done.done.rows_read),
            output::count(done.done.rows_written),
            output::count(done.done.rows_skipped),
            output::count(done.done.counts.keys),
            output::count(done.done.counts.pending),
        ]
    };
    let headings = ["run", "view", "rows read", "taken", "skipped", "keys", "pending"];
    output::table(&headings, all.iter().map(row).collect());
}

async fn remotely(
    global: &Global,
    args: &MaterializeArgs,
    as_of: Option<Timestamp>,
    remote: &Remote,
) -> Result<(), Failure> {
    let request = v1::MaterializeRequest {
        views: args.views.clone(),
        as_of_micros: as_of.map(Timestamp::micros),
        full: args.full,
        wait: true,
    };
    let runs = remote.jobs().materialize(request).await?.into_inner().runs;
    runs::print(global, &runs);
    match runs.iter().find(|run| run.state() == v1::RunState::Failed) {
        Some(failed) => Err(Failure::new(
            Exit::Data,
            format!("run {} of {} failed: {}", failed.id, failed.subject, failed.error),
        )),
        None => Ok(()),
    }
}
