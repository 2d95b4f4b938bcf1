//! `asof lint`: columns of a spine that tell what a feature will be only later.

use std::sync::Arc;

use asof_core::service::ReadPlan;
use asof_core::time::Zone;
use asof_offline::{EngineOptions, Finding, Leak, LintReport, LintRequest, LintedView};
use serde_json::{Value, json};

use crate::args::LintArgs;
use crate::commands::Global;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::progress::Line;

/// Of a spine of more rows, a part is looked at.
const SAMPLE: u64 = 1_000_000;

pub(super) async fn run(global: &Global, args: &LintArgs) -> Result<(), Failure> {
    let project = global.open()?;
    let registry = project.registry().await?;
    let version = project.head(&registry).await?;
    let plan = ReadPlan::of_service(&version.definitions, &args.service)?;
    global.flush_pushed(&project, &version.definitions, &plan).await?;
    let timezone = args.timezone.as_deref().map(Zone::parse).transpose()?;
    let engine = project.engine(EngineOptions::default())?;
    let progress = Arc::new(Line::new());
    let request = LintRequest {
        plan: &plan,
        spine: &args.spine,
        time_column: &args.time_column,
        timezone,
        sample: SAMPLE,
        progress: progress.clone(),
    };
    let result = engine.lint(request).await;
    progress.clear();
    let report = result?;
    if global.json {
        output::json(&to_json(&report));
    } else {
        print(args, &report);
    }
    let mut columns: Vec<&str> = report
        .findings
        .iter()
        .map(|finding| finding.column.as_str())
        .collect();
    columns.dedup();
    if columns.is_empty() {
        return Ok(());
    }
    let tell = if columns.len() == 1 { "tells" } else { "tell" };
    Err(Failure::new(
        Exit::Data,
        format!(
            "{} {tell} what was not known yet at the times of the rows: no model should have that for an input",
            columns.join(", ")
        ),
    ))
}

fn print(args: &LintArgs, report: &LintReport) {
    let rows = match report.every {
        1 if report.looked_at == 1 => "its only row".to_owned(),
        1 => format!("all {}", output::counted(report.looked_at, "row")),
        every => format!(
            "{} of {}, one in {every} by a hash of the row's number",
            output::count(report.looked_at),
            output::counted(report.rows, "row")
        ),
    };
    output::line(format!("{}: {rows}", args.spine.display()));
    output::line(match report.columns.is_empty() {
        true => "it has no columns to compare beside its keys and times".to_owned(),
        false => format!("compared: {}", report.columns.join(", ")),
    });
    for (left_out, what) in [
        (&report.columns_left_out, "columns"),
        (&report.features_left_out, "features"),
    ] {
        if !left_out.is_empty() {
            output::line(format!(
                "{what} not compared, for their types: {}",
                left_out.join(", ")
            ));
        }
    }
    if !report.views_left_out.is_empty() {
        output::line(format!(
            "views not compared, since their windows are no rows of which one is the next: {}",
            report.views_left_out.join(", ")
        ));
    }
    for view in &report.views {
        output::line(format!(
            "{}: rows with a later value within {}: {}{}",
            view.label,
            view.horizon,
            output::count(view.rows_with_later),
            match view.rows_with_later < LintedView::MIN_ROWS {
                true => format!(", too few to tell anything: {} at least", LintedView::MIN_ROWS),
                false => String::new(),
            }
        ));
    }
    output::line("");
    if report.findings.is_empty() {
        output::line("Nothing was found that tells a feature's later value.");
        return;
    }
    let headings = ["column", "feature", "what it tells", "how well", "rows"];
    let rows = report.findings.iter().map(|finding| {
        vec![
            finding.column.clone(),
            finding.feature.clone(),
            words(finding.leak).to_owned(),
            measure(finding.leak),
            output::count(finding.rows),
        ]
    });
    output::table(&headings, rows.collect());
}

fn words(leak: Leak) -> &'static str {
    match leak {
        Leak::Equals { .. } => "equals the later value",
        Leak::NearlyEquals { .. } | Leak::Correlates { .. } => "nearly predicts the later value",
    }
}

fn measure(leak: Leak) -> String {
    match leak {
        Leak::Equals { share } | Leak::NearlyEquals { share } => format!("equal in {:.1} %", share * 100.0),
        Leak::Correlates { later, now } => {
            let now = now.map_or_else(String::new, |now| {
                format!(", {now:.3} with the value as of the row")
            });
            format!("rank correlation {later:.3}{now}")
        }
    }
}

fn to_json(report: &LintReport) -> Value {
    let views: Vec<Value> = report
        .views
        .iter()
        .map(|view| {
            json!({
                "view": view.label, "horizon_micros": view.horizon.micros(),
                "rows_with_later": view.rows_with_later,
            })
        })
        .collect();
    let findings: Vec<Value> = report.findings.iter().map(finding_json).collect();
    json!({
        "rows": report.rows, "looked_at": report.looked_at, "every": report.every, "columns": report.columns,
        "columns_left_out": report.columns_left_out, "features_left_out": report.features_left_out,
        "views_left_out": report.views_left_out,
        "views": views, "findings": findings,
    })
}

fn finding_json(finding: &Finding) -> Value {
    let (leak, share, later, now) = match finding.leak {
        Leak::Equals { share } => ("equals", Some(share), None, None),
        Leak::NearlyEquals { share } => ("nearly_equals", Some(share), None, None),
        Leak::Correlates { later, now } => ("correlates", None, Some(later), now),
    };
    json!({
        "column": finding.column, "feature": finding.feature, "leak": leak, "rows": finding.rows,
        "share": share, "rank_correlation_later": later, "rank_correlation_now": now,
    })
}
