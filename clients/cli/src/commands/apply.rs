//! `asof plan` and `asof apply`.

use std::io::{BufRead, IsTerminal};

use asof_client::Error;
use asof_core::registry::{RegistryStore, Version};
use asof_core::time::Clock;
use asof_offline::{EngineOptions, RowReader};
use asof_proto::v1;
use asof_registry::{
    Authored, Plan, PlanReport, ReportedBreaking, ReportedChange, ReportedField, Sign, SqliteRegistry,
};
use asof_server::clock::SystemClock;
use asof_server::materialize::drop_undefined;
use asof_server::project::Project;
use serde_json::json;
use tonic::Code;

use crate::args::ApplyArgs;
use crate::commands::Global;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::project;
use crate::remote::{Remote, to_wire};

pub(super) async fn plan(global: &Global) -> Result<(), Failure> {
    let project = project::open(&global.project)?;
    if let Some(remote) = global.remote().await? {
        let answer = remote.client().plan(to_wire(project.files()?)).await?;
        if global.json {
            output::json(&json!(report(answer.report)));
        } else {
            output::line(answer.text);
        }
        return Ok(());
    }
    let registry = project.registry().await?;
    let plan = make(&project, &registry).await?;
    show(global, &plan)
}

pub(super) async fn apply(global: &Global, args: &ApplyArgs) -> Result<(), Failure> {
    let project = project::open(&global.project)?;
    if let Some(remote) = global.remote().await? {
        return apply_remotely(global, args, &project, &remote).await;
    }
    let registry = project.registry().await?;
    let plan = make(&project, &registry).await?;
    if !global.json {
        show(global, &plan)?;
    }
    if !plan.is_empty() && (args.allow_breaking || plan.breaking().is_empty()) {
        confirm(args.yes)?;
    }
    let before = registry.head(project.name()).await?;
    let version = asof_registry::apply(&registry, &plan, args.allow_breaking, SystemClock.now()).await?;
    drop_rows(&project, before.as_ref(), &version);
    if global.json {
        output::json(&json!({
            "version": version.number, "changed": !plan.is_empty(), "digest": version.digest, "plan": plan.report(),
        }));
    } else if !plan.is_empty() {
        output::line(format!("Applied: the registry is at v{}.", version.number));
    }
    Ok(())
}

/// Removes the rows of views that were dropped from the online store, where no server has it open: that one does it
/// itself. What fails is done by the next materialization.
fn drop_rows(project: &Project, before: Option<&Version>, after: &Version) {
    let still_there = |view| after.definitions.views.contains_key(view);
    let dropped = before.is_some_and(|before| !before.definitions.views.keys().all(still_there));
    if !dropped || !project.has_store() || project.running_server().is_some() {
        return;
    }
    if let Ok(store) = project.store()
        && let Err(error) = drop_undefined(&*store, project.name(), &after.definitions)
    {
        output::note(&format!(
            "note: the rows of dropped views are still in the online store: {error}"
        ));
    }
}

/// The plan of the project's files, whose sources are looked at as well.
async fn make(project: &Project, registry: &SqliteRegistry) -> Result<Plan, Failure> {
    let authored = Authored::parse(&project.config, &project.files()?)?;
    let head = registry.head(project.name()).await?;
    let plan = asof_registry::plan(head.as_ref(), authored)?;
    let engine = project.engine(EngineOptions::default())?;
    let definitions = plan.definitions();
    for name in definitions.views.keys() {
        if let Some(bound) = definitions.bound_view(name.as_str()) {
            let snapshot = engine.snapshot(&bound).await?;
            RowReader::bind(&bound, &snapshot)?;
        }
    }
    Ok(plan)
}

fn show(global: &Global, plan: &Plan) -> Result<(), Failure> {
    if global.json {
        output::json(&json!(plan.report()));
        return Ok(());
    }
    let color = output::color_of_stdout();
    for line in plan.lines() {
        let ansi = match line.sign {
            Sign::Add => "32",
            Sign::Change => "33",
            Sign::Remove | Sign::Breaking => "31",
            Sign::Note => "36",
            Sign::Summary => "1",
        };
        output::line(output::paint(&line.to_string(), ansi, color));
    }
    Ok(())
}

fn confirm(yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::usage(
            "nobody is there to confirm: give --yes to apply without asking",
        ));
    }
    output::print("Apply this? [y/N] ");
    let mut answer = String::new();
    let read = stdin.lock().read_line(&mut answer);
    match (read, answer.trim().to_ascii_lowercase().as_str()) {
        (Ok(_), "y" | "yes") => Ok(()),
        _ => Err(Failure::usage("not applied: nothing has changed")),
    }
}

async fn apply_remotely(
    global: &Global,
    args: &ApplyArgs,
    project: &Project,
    remote: &Remote,
) -> Result<(), Failure> {
    let files = to_wire(project.files()?);
    let client = remote.client();
    let planned = client.plan(files.clone()).await?;
    if !global.json {
        output::line(&planned.text);
    }
    let breaks = !args.allow_breaking && !planned.broken_services.is_empty();
    if planned.changes && !breaks {
        confirm(args.yes)?;
    }
    let request = v1::ApplyRequest {
        files,
        expected_version: planned.base_version,
        allow_breaking: args.allow_breaking,
    };
    let refused = |error: Error| match &error {
        Error::Status(status) if breaks && status.code() == Code::FailedPrecondition => {
            Failure::new(Exit::Definition, status.message())
        }
        _ => Failure::from(error),
    };
    let applied = client.apply(request).await.map_err(refused)?;
    let version = applied.version.unwrap_or_default();
    if global.json {
        output::json(&json!({
            "version": version.number, "changed": applied.changed, "digest": version.digest,
            "plan": report(applied.report),
        }));
    } else if applied.changed {
        output::line(format!("Applied: the registry is at v{}.", version.number));
    }
    Ok(())
}

/// A plan as a server sent it.
fn report(report: Option<v1::PlanReport>) -> PlanReport {
    let report = report.unwrap_or_default();
    let field = |v1::PlannedField { field, old, new }| ReportedField { field, old, new };
    let change = |change: v1::PlannedChange| ReportedChange {
        action: change.action,
        kind: change.kind,
        name: change.name,
        fields: change.fields.into_iter().map(field).collect(),
    };
    let column = |broken: v1::BrokenColumn| (broken.column, broken.reason);
    let breaking = |breaking: v1::BreakingChange| ReportedBreaking {
        object: breaking.object,
        service: breaking.service,
        columns: breaking.columns.into_iter().map(column).collect(),
    };
    PlanReport {
        base_version: report.base_version,
        add: report.add as usize,
        change: report.change as usize,
        remove: report.remove as usize,
        changes: report.changes.into_iter().map(change).collect(),
        breaking: report.breaking.into_iter().map(breaking).collect(),
        new_generations: report.new_generations,
        notes: report.notes,
    }
}
