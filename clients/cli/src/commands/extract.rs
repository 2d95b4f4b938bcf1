//! `asof extract`: a training dataset.

mod remote;

use std::sync::Arc;

use asof_core::duration::Duration;
use asof_core::registry::RunKind;
use asof_core::service::ReadPlan;
use asof_core::status::Status;
use asof_core::time::{Ambiguous, LocalTime, Rounding, TimeError, Timestamp, Zone};
use asof_offline::{Dataset, EngineOptions, ExtractRequest, Grid, Rows, Target, ViewSummary};
use asof_server::clock::SystemClock;
use serde_json::{Value, json};

use crate::args::{ExtractArgs, mebibytes};
use crate::commands::Global;
use crate::exit::{Exit, Failure};
use crate::ledger::{Entry, RowCounts};
use crate::output;
use crate::progress::Line;

pub(super) async fn run(global: &Global, args: &ExtractArgs) -> Result<(), Failure> {
    let rows = rows(args)?;
    if let Some(remote) = global.remote().await? {
        let (id, dataset) = remote::run(&remote, args, rows).await?;
        return tell(global, args, id, &dataset);
    }
    let project = global.open()?;
    let registry = project.registry().await?;
    let version = project.head(&registry).await?;
    let plan = match &args.service {
        Some(service) => ReadPlan::of_service(&version.definitions, service)?,
        None => ReadPlan::of_features(&version.definitions, args.features.iter().map(String::as_str))?,
    };
    global.flush_pushed(&project, &version.definitions, &plan).await?;
    let engine = project.engine(EngineOptions {
        memory_limit: args.memory.map(mebibytes),
        strategy: args.strategy.into(),
        ..EngineOptions::default()
    })?;
    let subject = args.service.clone().unwrap_or_else(|| args.features.join(","));
    let progress = Arc::new(Line::new());
    let request = ExtractRequest {
        plan: &plan,
        origin: project.origin(&version, args.service.as_deref()),
        rows,
        as_corrected: args.as_corrected,
        status: args.status,
        clock: &SystemClock,
        progress: progress.clone(),
    };
    let run = Entry::begin(&project, &registry, RunKind::Extract, subject).await?;
    let target = Target {
        path: &args.out,
        overwrite: args.overwrite,
    };
    let result = engine.extract(request, target).await;
    progress.clear();
    let id = run
        .end(result.as_ref().map(row_counts).map_err(ToString::to_string))
        .await?;
    tell(global, args, id, &result?)
}

fn tell(global: &Global, args: &ExtractArgs, run: u64, dataset: &Dataset) -> Result<(), Failure> {
    if global.json {
        output::json(&to_json(run, dataset));
    } else {
        print(dataset);
        if args.explain {
            output::line("");
            output::line(dataset.summary.plan.trim_end());
        }
    }
    Ok(())
}

/// The rows that are asked for.
fn rows(args: &ExtractArgs) -> Result<Rows<'_>, Failure> {
    let timezone = args.timezone.as_deref().map(Zone::parse).transpose()?;
    let time = |name: &str, text: &Option<String>| {
        let instant = text.as_deref().map(|text| instant(text, timezone)).transpose();
        instant.map_err(|error| Failure::usage(format!("{name}: {error}")))
    };
    if let Some(path) = &args.spine {
        return Ok(Rows::Spine {
            path,
            time_column: &args.time_column,
            timezone,
        });
    }
    let grid = match (
        time("--at", &args.at)?,
        time("--from", &args.from)?,
        time("--to", &args.to)?,
        &args.every,
    ) {
        (Some(at), ..) => Grid::at(at),
        (None, Some(from), Some(to), Some(every)) => {
            let step = Duration::parse(every)
                .map_err(|error| Failure::usage(format!("--every {every}: {error}")))?;
            Grid::every(from, to, step).map_err(|error| Failure::usage(error.to_string()))?
        }
        _ => {
            return Err(Failure::new(
                Exit::Usage,
                "give the rows to extract: --spine FILE, or --at T, or --from A --to B --every D",
            ));
        }
    };
    Ok(Rows::Grid(grid))
}

/// An instant; a local time of `zone` where the text has no zone of its own.
fn instant(text: &str, zone: Option<Zone>) -> Result<Timestamp, TimeError> {
    match (zone, LocalTime::parse(text)) {
        (Some(zone), Some(local)) => local.instant(zone, Ambiguous::Earlier, Rounding::Down),
        _ => Timestamp::parse(text),
    }
}

/// The rows of an extract, for the ledger of runs.
pub(super) fn row_counts(dataset: &Dataset) -> RowCounts {
    let summary = &dataset.summary;
    let sum = |rows: fn(&ViewSummary) -> u64| summary.views.iter().map(rows).sum();
    RowCounts {
        read: sum(|view| view.source_rows),
        written: summary.rows,
        skipped: sum(|view| view.skipped_rows),
    }
}

/// A dataset for programs.
pub(super) fn to_json(run: u64, dataset: &Dataset) -> Value {
    let mut told = json!({
        "run": run, "output": dataset.output, "manifest": dataset.manifest, "bytes": dataset.bytes,
        "digest": dataset.digest,
    });
    // A struct of numbers and text always has a JSON form.
    if let (Some(told), Ok(Value::Object(summary))) =
        (told.as_object_mut(), serde_json::to_value(&dataset.summary))
    {
        told.extend(summary);
    }
    told
}

/// The summary of an extract, for people.
pub(super) fn print(dataset: &Dataset) {
    let summary = &dataset.summary;
    output::line(format!(
        "{}: {}, {}, {}",
        dataset.output.display(),
        output::counted(summary.rows, "row"),
        output::counted(summary.columns as u64, "column"),
        output::bytes(dataset.bytes)
    ));
    output::line(format!(
        "{}: from what and how it was made",
        dataset.manifest.display()
    ));
    output::line("");
    let headings = [
        "feature",
        "type",
        "present",
        "null",
        "not found",
        "expired",
        "held back",
    ];
    let rows = summary.features.iter().map(|feature| {
        let counts = Status::ALL
            .iter()
            .map(|status| output::count(feature.counts.get(*status)));
        [feature.column.clone(), feature.data_type.clone()]
            .into_iter()
            .chain(counts)
            .collect()
    });
    output::table(&headings, rows.collect());
    for failure in &summary.failures {
        output::line(format!(
            "warning: {}: {} null because something could not be computed, such as an overflow, a division by zero or a cast",
            failure.feature,
            match failure.failed {
                1 => "1 value is".to_owned(),
                failed => format!("{} values are", output::count(failed)),
            }
        ));
    }
    for view in &summary.views {
        let told = [
            (
                view.skipped_rows,
                "skipped in its source",
                ["its key or event time is null", "their key or event time is null"],
            ),
            (
                view.repeated_rows,
                "ignored in its source",
                ["it repeats an event id", "they repeat an event id"],
            ),
        ];
        for (count, what, [one, several]) in told.iter().filter(|(count, ..)| *count > 0) {
            output::line(format!(
                "note: {}: {} {what}: {}",
                view.label,
                output::counted(*count, "row"),
                if *count == 1 { one } else { several }
            ));
        }
        if view.held_back_winners > 0 {
            output::line(format!(
                "leakage: {}: for {} of {} ({}) what became known only after the row's time was held back; \
                 --as-corrected would change {} of them",
                view.label,
                output::count(view.held_back_winners),
                output::counted(summary.rows, "row"),
                output::share(view.held_back_winners, summary.rows),
                output::count(view.corrected_rows),
            ));
        }
    }
}
