//! What servers say, as JSON that the Python half reads.

use asof_client::v1::{self, DefinitionKind, RunKind, RunState};
use asof_client::{Extract, Ingested, PushedPart, Read};
use serde_json::{Value, json};

use crate::failure::Failure;

/// What is to be extracted, as the Python half says it.
pub(crate) struct What {
    pub(crate) extract: Extract,
    /// The column of a spine's instants, and the zone of times that carry none.
    pub(crate) time_column: String,
    pub(crate) timezone: Option<String>,
    at: Option<String>,
    grid: Option<[String; 3]>,
}

/// Reads what is to be extracted.
pub(crate) fn extract(what: &str) -> Result<What, Failure> {
    let what: Value =
        serde_json::from_str(what).map_err(|error| Failure::argument(format!("what to extract: {error}")))?;
    let text = |name: &str| what.get(name).and_then(Value::as_str).map(str::to_owned);
    let flag = |name: &str| what.get(name).and_then(Value::as_bool).unwrap_or_default();
    let extract = match text("service") {
        Some(service) => Extract::of_service(service),
        None => {
            let features = what.get("features").and_then(Value::as_array);
            let features = features.into_iter().flatten().filter_map(Value::as_str);
            Extract::of_features(features)
        }
    };
    let time_column = text("time_column").unwrap_or_else(|| "event_timestamp".into());
    let timezone = text("timezone");
    let extract = extract
        .as_corrected(flag("as_corrected"))
        .status(flag("status"))
        .time_column(&time_column);
    let grid = match (text("from"), text("to"), text("every")) {
        (Some(from), Some(to), Some(every)) => Some([from, to, every]),
        _ => None,
    };
    Ok(What {
        extract: match &timezone {
            Some(zone) => extract.timezone(zone),
            None => extract,
        },
        time_column,
        timezone,
        at: text("at"),
        grid,
    })
}

impl What {
    /// The same of every key that is known.
    pub(crate) fn read(self) -> Read {
        match (self.at, self.grid) {
            (Some(at), _) => Read::at(self.extract, at),
            (None, Some([from, to, every])) => Read::every(self.extract, from, to, every),
            (None, None) => Read::now(self.extract),
        }
    }
}

pub(crate) fn plan(plan: &v1::PlanResponse) -> String {
    let mut told = report(plan.report.as_ref());
    if let Some(told) = told.as_object_mut() {
        told.insert("base_version".into(), json!(plan.base_version));
        told.insert("text".into(), json!(plan.text));
        told.insert("has_changes".into(), json!(plan.changes));
    }
    told.to_string()
}

pub(crate) fn applied(applied: &v1::ApplyResponse) -> String {
    json!({
        "version": applied.version.as_ref().map(version),
        "changed": applied.changed,
        "text": applied.text,
    })
    .to_string()
}

fn report(report: Option<&v1::PlanReport>) -> Value {
    let Some(report) = report else {
        return json!({ "add": 0, "change": 0, "remove": 0, "changes": [], "breaking": [], "notes": [] });
    };
    let fields = |fields: &[v1::PlannedField]| -> Vec<Value> {
        let fields = fields.iter();
        fields
            .map(|field| json!({ "field": field.field, "old": field.old, "new": field.new }))
            .collect()
    };
    let changes = report.changes.iter().map(|change| {
        json!({
            "action": change.action, "kind": change.kind, "name": change.name, "fields": fields(&change.fields),
        })
    });
    let breaking = report.breaking.iter().map(|breaking| {
        let columns = breaking.columns.iter();
        let columns = columns.map(|column| json!({ "column": column.column, "reason": column.reason }));
        json!({
            "object": breaking.object, "service": breaking.service, "columns": columns.collect::<Vec<_>>(),
        })
    });
    json!({
        "add": report.add, "change": report.change, "remove": report.remove,
        "changes": changes.collect::<Vec<_>>(), "breaking": breaking.collect::<Vec<_>>(),
        "new_generations": report.new_generations, "notes": report.notes,
    })
}

fn version(version: &v1::VersionInfo) -> Value {
    json!({
        "number": version.number, "applied_at_micros": version.applied_at_micros, "digest": version.digest,
    })
}

fn summary(summary: &v1::DefinitionSummary) -> Value {
    let kind = match summary.kind() {
        DefinitionKind::Entity => "entity",
        DefinitionKind::Source => "source",
        DefinitionKind::View => "view",
        DefinitionKind::OnDemand => "on_demand",
        DefinitionKind::Service => "service",
        DefinitionKind::Feature => "feature",
        DefinitionKind::Unspecified => "",
    };
    json!({
        "kind": kind, "name": summary.name, "description": summary.description, "owner": summary.owner,
        "tags": summary.tags,
    })
}

pub(crate) fn list(list: &v1::ListResponse) -> String {
    let definitions: Vec<Value> = list.definitions.iter().map(summary).collect();
    json!({ "version": list.version, "definitions": definitions }).to_string()
}

pub(crate) fn definition(definition: &v1::GetResponse) -> String {
    let mut told = definition.summary.as_ref().map_or_else(|| json!({}), summary);
    let columns = definition.columns.iter();
    let columns = columns
        .map(|column| json!({ "name": column.name, "feature": column.feature, "type": column.r#type }));
    if let Some(told) = told.as_object_mut() {
        told.insert("version".into(), json!(definition.version));
        told.insert("toml".into(), json!(definition.toml));
        told.insert("columns".into(), columns.collect());
    }
    told.to_string()
}

pub(crate) fn history(history: &v1::HistoryResponse) -> String {
    let versions: Vec<Value> = history.versions.iter().map(version).collect();
    json!(versions).to_string()
}

pub(crate) fn rolled_back(done: &v1::RollbackResponse) -> String {
    json!({ "run": done.run, "view": done.view, "as_of_micros": done.as_of_micros }).to_string()
}

pub(crate) fn runs(runs: &[v1::Run]) -> String {
    json!(runs.iter().map(run).collect::<Vec<_>>()).to_string()
}

fn run(run: &v1::Run) -> Value {
    let kind = match run.kind() {
        RunKind::Ingest => "ingest",
        RunKind::Materialize => "materialize",
        RunKind::Extract => "extract",
        RunKind::Compact => "compact",
        RunKind::Rollback => "rollback",
        RunKind::Unspecified => "",
    };
    let state = match run.state() {
        RunState::Running => "running",
        RunState::Done => "done",
        RunState::Failed => "failed",
        RunState::CutShort => "cut short",
        RunState::Unspecified => "",
    };
    json!({
        "id": run.id, "kind": kind, "subject": run.subject, "state": state, "error": run.error,
        "error_code": run.error_code, "started_at_micros": run.started_at_micros,
        "finished_at_micros": run.finished_at_micros, "as_of_micros": run.as_of_micros,
        "rows_read": run.rows_read, "rows_written": run.rows_written, "rows_skipped": run.rows_skipped,
    })
}

pub(crate) fn status(status: &v1::GetStatusResponse) -> String {
    let views = status.views.iter().map(|view| {
        json!({
            "view": view.view, "serving_generation": view.serving_generation,
            "building_generation": view.building_generation, "current": view.current,
            "materialized_to_micros": view.materialized_to_micros, "lag_micros": view.lag_micros,
            "rows": view.rows, "expired_rows": view.expired_rows, "pending_rows": view.pending_rows,
            "bytes": view.bytes, "held_back_runs": view.held_back_runs,
            "last_run": view.last_run.as_ref().map(run),
            "problem": Some(&view.problem).filter(|problem| !problem.is_empty()),
        })
    });
    let streams = status.streams.iter().map(|stream| {
        let lanes = stream.lanes.iter().map(|lane| {
            let last = lane.last_dead_letter.as_ref().map(|last| {
                json!({ "position": last.position, "at_micros": last.at_micros, "reason": last.reason })
            });
            json!({
                "lane": lane.lane, "next": lane.next, "messages": lane.messages, "pending": lane.pending,
                "dead_letters": lane.dead_letters, "lost": lane.lost, "last_dead_letter": last,
            })
        });
        json!({
            "source": stream.source, "reading": stream.reading, "lanes": lanes.collect::<Vec<_>>(),
            "problem": Some(&stream.problem).filter(|problem| !problem.is_empty()),
        })
    });
    let disks = status.disks.iter().map(
        |disk| json!({ "holds": disk.holds, "free_bytes": disk.free_bytes, "size_bytes": disk.size_bytes }),
    );
    let backup = status
        .last_backup
        .as_ref()
        .map(|backup| json!({ "taken_at_micros": backup.taken_at_micros, "directory": backup.directory }));
    let lost = status.lost_writes.as_ref();
    let lost = lost.map(|lost| json!({ "changes": lost.changes, "found_at_micros": lost.found_at_micros }));
    json!({
        "project": status.project, "registry_version": status.registry_version, "now_micros": status.now_micros,
        "views": views.collect::<Vec<_>>(), "streams": streams.collect::<Vec<_>>(), "disks": disks.collect::<Vec<_>>(),
        "last_backup": backup, "lost_writes": lost,
    })
    .to_string()
}

pub(crate) fn pushed(parts: &[PushedPart]) -> String {
    let sum = |count: fn(&PushedPart) -> u64| parts.iter().map(count).sum::<u64>();
    let rejected = parts.iter().flat_map(|part| &part.rejected);
    let rejected = rejected.map(|row| json!({ "row": row.row, "reason": row.reason }));
    json!({
        "rows": sum(|part| part.rows), "accepted": sum(|part| part.accepted),
        "rejected": rejected.collect::<Vec<_>>(),
        "already_accepted": !parts.is_empty() && parts.iter().all(|part| part.already_accepted),
    })
    .to_string()
}

pub(crate) fn ingested(told: &Ingested) -> String {
    json!({
        "rows": told.rows, "accepted": told.accepted, "already_accepted": told.already_accepted, "id": told.id,
        "table_version": told.table_version,
    })
    .to_string()
}
