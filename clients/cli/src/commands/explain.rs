//! `asof explain`: why a view has the value that it has.

use std::collections::BTreeMap;

use asof_core::definition::Feature;
use asof_core::key::EntityKey;
use asof_core::service::ReadPlan;
use asof_core::time::Timestamp;
use asof_offline::{
    EngineOptions, ExplainRequest, ExplainedRow, ExplainedWindow, Place, Snapshot, ViewExplanation,
};
use asof_server::{keys_of_text, value_json};
use serde_json::{Value, json};

use crate::args::ExplainArgs;
use crate::commands::Global;
use crate::commands::get::{key_values, of_argument};
use crate::exit::Failure;
use crate::output;

/// How many rows are shown before the winner, and after it.
const AROUND: (usize, usize) = (10, 5);
/// The most letters that a value has in a table.
const SHOWN: usize = 40;

pub(super) async fn run(global: &Global, args: &ExplainArgs) -> Result<(), Failure> {
    let mut given = key_values(&args.keys)?;
    let at = Timestamp::parse(&args.at)?;
    let project = global.open()?;
    let registry = project.registry().await?;
    let version = project.head(&registry).await?;
    let wanted = args
        .feature
        .as_deref()
        .map(|feature| ReadPlan::of_features(&version.definitions, [feature]));
    let wanted = wanted.transpose()?;
    let service = args.service.as_deref();
    let service = service
        .map(|name| ReadPlan::of_service(&version.definitions, name))
        .transpose()?;
    let plan = match (service, wanted) {
        (Some(service), Some(wanted)) => {
            let part = service
                .only(&wanted)
                .ok_or_else(|| not_in_service(args, &service))?;
            // The keys of the whole service may stand on the command line.
            given.retain(|name, _| part.asks_for(name) || !service.asks_for(name));
            part
        }
        (Some(plan), None) | (None, Some(plan)) => plan,
        (None, None) => return Err(Failure::usage("give --service or --feature")),
    };
    global.flush_pushed(&project, &version.definitions, &plan).await?;
    let keys = keys(&plan, given.clone())
        .map_err(|failure| failure.reworded(|message| of_argument(message, ("keys", "--key", &args.keys))))?;
    let request = ExplainRequest {
        plan: &plan,
        keys: &keys,
        at,
        as_corrected: args.as_corrected,
    };
    let engine = project.engine(EngineOptions::default())?;
    let views = engine.explain(request).await?;
    let values = views.iter().map(values).collect::<Result<Vec<_>, _>>()?;
    if global.json {
        let views = views
            .iter()
            .zip(&values)
            .map(|(view, values)| view_json(view, values, &given));
        let computed =
            computed(&plan).map(|(name, expression)| json!({ "feature": name, "expression": expression }));
        output::json(&json!({
            "service": args.service, "registry_version": version.number, "at": at.to_string(),
            "as_corrected": args.as_corrected, "computed": computed.collect::<Vec<_>>(),
            "views": views.collect::<Vec<_>>(),
        }));
        return Ok(());
    }
    for (name, expression) in computed(&plan) {
        output::line(format!("{name} is computed when it is asked for: {expression}"));
    }
    if !plan.computed.is_empty() {
        output::line("");
    }
    for (number, (view, values)) in views.iter().zip(&values).enumerate() {
        if number > 0 {
            output::line("");
        }
        print(view, values, &given, args);
    }
    Ok(())
}

/// The on-demand features of a plan, with their expressions, each once.
fn computed(plan: &ReadPlan) -> impl Iterator<Item = (String, &str)> {
    let all = plan.computed.iter().map(|computed| {
        let name = format!("{}:{}", computed.on_demand, computed.feature.name);
        (name, computed.feature.expression.as_str())
    });
    all.collect::<BTreeMap<_, _>>().into_iter()
}

fn not_in_service(args: &ExplainArgs, service: &ReadPlan) -> Failure {
    let features: Vec<String> = service
        .columns
        .iter()
        .filter_map(|column| service.returned(column))
        .map(|returned| format!("{}:{}", returned.view, returned.feature))
        .collect();
    Failure::usage(format!(
        "service {:?} has no feature {:?}; its features are {}",
        args.service.as_deref().unwrap_or_default(),
        args.feature.as_deref().unwrap_or_default(),
        features.join(", ")
    ))
}

/// The key of each read.
fn keys(plan: &ReadPlan, given: BTreeMap<String, String>) -> Result<Vec<Option<EntityKey>>, Failure> {
    let keys = keys_of_text(plan, given)?;
    let reads = plan.reads.iter();
    reads
        .map(|read| Ok(keys.of(plan, &read.key_columns)?.key(0)))
        .collect()
}

/// Values of a view, as they are shown.
struct Shown {
    /// Per stored column those in the rows of the key.
    rows: Vec<Vec<Value>>,
    /// Per feature of a view of aggregates what comes of its window.
    windows: Vec<Value>,
}

fn values(view: &ViewExplanation) -> Result<Shown, Failure> {
    let stored = view.stored.iter().zip(&view.features);
    let rows = stored.map(|(stored, array)| {
        let value = |row| Ok(value_json(&stored.data_type, array, row)?);
        (0..view.rows.len()).map(value).collect()
    });
    let windows = view.read.features.iter().zip(&view.windows);
    let windows = windows.map(|(feature, window)| Ok(value_json(&feature.data_type, &window.value, 0)?));
    Ok(Shown {
        rows: rows.collect::<Result<_, Failure>>()?,
        windows: windows.collect::<Result<_, Failure>>()?,
    })
}

/// The columns of the key as the caller calls them, with the values that were given.
fn key_columns<'a>(
    view: &'a ViewExplanation,
    given: &'a BTreeMap<String, String>,
) -> impl Iterator<Item = (&'a str, &'a str, &'a str)> {
    let keys = view.read.bound.entity.keys.iter().zip(&view.read.key_columns);
    keys.map(|(key, column)| {
        let value = given.get(column).map_or("", String::as_str);
        (key.name.as_str(), column.as_str(), value)
    })
}

fn print(view: &ViewExplanation, values: &Shown, given: &BTreeMap<String, String>, args: &ExplainArgs) {
    let keys = key_columns(view, given).map(|(key, column, value)| match key == column {
        true => format!("{key} = {}", shown(value)),
        false => format!("{key} = {} (given as {column})", shown(value)),
    });
    let keys: Vec<String> = keys.collect();
    output::line(format!(
        "view {} at {}: {}",
        view.read.label(),
        view.at,
        keys.join(", ")
    ));
    output::line(format!("source {}", source_words(&view.snapshot)));
    let (own, all) = (view.rows.len() as u64, view.source_rows);
    output::line(format!(
        "rows of this key: {} of {}",
        output::count(own),
        output::count(all)
    ));
    for (count, what) in [
        (view.skipped_rows, "skipped: their key or event time is null"),
        (view.repeated_rows, "ignored: they repeat an event id"),
    ] {
        if count > 0 {
            output::line(format!("rows {what}: {}", output::count(count)));
        }
    }
    if args.as_corrected {
        output::line("rule 2 (as known) is off: --as-corrected");
    }
    output::line("");
    if !view.rows.is_empty() {
        print_rows(view, &values.rows, args.all);
        output::line("");
    }
    if let Some(row) = view.excluded_winner() {
        output::line(format!(
            "without rule 2 the winner would be {}, created {}",
            row.place, row.order.created_time
        ));
    }
    output::line(view.expiry());
    output::line(view.decision());
    output::line("");
    match view.windows.is_empty() {
        true => print_features(view, values),
        false => print_windows(view, values),
    }
}

/// What each row has a value of: features, or inputs of aggregates, with their types where only these tell them apart.
fn stored_names(view: &ViewExplanation) -> Vec<String> {
    let name = |stored: &Feature| match view.windows.is_empty() {
        true => stored.name.to_string(),
        false => stored.source_column().to_owned(),
    };
    let stored = view.stored.iter();
    let unique = |stored: &Feature| {
        let own = name(stored);
        match view.stored.iter().filter(|other| name(other) == own).count() {
            1 => own,
            _ => format!("{own} as {}", stored.data_type),
        }
    };
    stored.map(unique).collect()
}

/// The rows in the total order, the greatest last.
fn print_rows(view: &ViewExplanation, values: &[Vec<Value>], all: bool) {
    let range = match all {
        true => 0..view.rows.len(),
        false => view.around(AROUND.0, AROUND.1),
    };
    let has_deleted = view.read.bound.source.deleted.is_some();
    let mut headings = vec!["event time", "created time", "place"];
    headings.extend(has_deleted.then_some("deleted"));
    let names = stored_names(view);
    headings.extend(names.iter().map(String::as_str));
    headings.push("by the contract");
    let line = |(number, row): (usize, &ExplainedRow)| {
        let mut cells = vec![
            row.order.event_time.to_string(),
            row.order.created_time.to_string(),
            row.place.to_string(),
        ];
        cells.extend(has_deleted.then(|| row.deleted.to_string()));
        cells.extend(values.iter().map(|values| cell(values.get(number))));
        cells.push(row.standing.to_string());
        cells
    };
    let rows = view.rows.iter().enumerate();
    let rows = rows.skip(range.start).take(range.len()).map(line).collect();
    for (count, what) in [(range.start, "before"), (view.rows.len() - range.end, "after")] {
        if count > 0 {
            output::line(format!(
                "{what} these: {} more, which --all shows",
                output::count(count as u64)
            ));
        }
    }
    output::table(&headings, rows);
}

/// The windows of a view of aggregates, and what comes of them.
fn print_windows(view: &ViewExplanation, values: &Shown) {
    let rows = served(view, values).zip(&view.windows);
    let rows = rows.map(|((feature, status, value), window)| {
        vec![
            feature,
            covered(view, window),
            output::count(window.events),
            output::count(window.values),
            output::count(window.left_out),
            cell(value),
            status,
        ]
    });
    output::table(
        &[
            "feature",
            "covers",
            "events",
            "that count",
            "left out (rule 2)",
            "value",
            "status",
        ],
        rows.collect(),
    );
}

/// The times of the events that a window covers.
fn covered(view: &ViewExplanation, window: &ExplainedWindow) -> String {
    match window.after {
        Some(after) => format!("({after}, {}]", view.at),
        None => format!("all until {}", view.at),
    }
}

fn print_features(view: &ViewExplanation, values: &Shown) {
    let rows = served(view, values).map(|(feature, status, value)| vec![feature, cell(value), status]);
    output::table(&["feature", "value", "status"], rows.collect());
}

/// Per feature its column, its status, and its value where one is served.
fn served<'a>(
    view: &'a ViewExplanation,
    values: &'a Shown,
) -> impl Iterator<Item = (String, String, Option<&'a Value>)> {
    let features = view.read.features.iter().zip(&view.statuses).enumerate();
    features.map(|(number, (feature, status))| {
        let is_served = *status == asof_core::status::Status::Present;
        let of_row = |row: usize| values.rows.get(number)?.get(row);
        let value = match view.windows.is_empty() {
            true => view.winner.and_then(of_row),
            false => values.windows.get(number),
        };
        let value = value.filter(|_| is_served);
        let name = format!("{}__{}", view.read.label(), feature.name);
        (name, status.to_string(), value)
    })
}

fn source_words(snapshot: &Snapshot) -> String {
    let files = match snapshot.files.as_slice() {
        [] => "no files".to_owned(),
        [file] => file.path.clone(),
        [first, .., last] => format!("{} files, {} to {}", snapshot.files.len(), first.path, last.path),
    };
    match snapshot.version {
        Some(version) => format!("{}: version {version} of its table, {files}", snapshot.source),
        None => format!("{}: {files}", snapshot.source),
    }
}

/// A value as it stands in a table.
fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => shown(text),
        Some(other) => shown(&other.to_string()),
    }
}

fn shown(text: &str) -> String {
    let mut letters = text.chars().flat_map(|c| match c.is_control() {
        true => c.escape_default().collect::<Vec<_>>(),
        false => vec![c],
    });
    let short: String = letters.by_ref().take(SHOWN).collect();
    if letters.next().is_some() {
        format!("{short}…")
    } else {
        short
    }
}

fn view_json(view: &ViewExplanation, values: &Shown, given: &BTreeMap<String, String>) -> Value {
    let names = stored_names(view);
    let rows = view.rows.iter().enumerate().map(|(number, row)| {
        let features = names
            .iter()
            .zip(&values.rows)
            .map(|(name, values)| (name.clone(), values.get(number).cloned().unwrap_or_default()));
        row_json(row, features.collect())
    });
    let key = key_columns(view, given).map(|(key, _, value)| (key.to_owned(), json!(value)));
    let features = served(view, values)
        .map(|(feature, status, value)| json!({ "feature": feature, "value": value, "status": status }));
    json!({
        "view": view.read.bound.view.name.as_str(), "label": view.read.label(),
        "key": key.collect::<serde_json::Map<_, _>>(),
        "source": view.snapshot.source, "table_version": view.snapshot.version,
        "files": view.snapshot.files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(),
        "source_rows": view.source_rows, "skipped_rows": view.skipped_rows, "repeated_rows": view.repeated_rows,
        "rows": rows.collect::<Vec<_>>(), "winner": view.winner, "corrected_winner": view.corrected_winner,
        "ttl": view.read.bound.view.ttl.map(|ttl| ttl.to_string()),
        "ttl_micros": view.read.bound.view.ttl.map(|ttl| ttl.micros()),
        "age_micros": view.age().and_then(|age| u64::try_from(age.micros()).ok()),
        "fresh_until": view.fresh_until().map(|until| until.to_string()),
        "windows": windows_json(view), "expiry": view.expiry(), "decision": view.decision(), "features": features.collect::<Vec<_>>(),
    })
}

fn windows_json(view: &ViewExplanation) -> Value {
    let windows = view.windows.iter().map(|window| {
        json!({
            "window": window.window.to_string(), "after": window.after.map(|after| after.to_string()),
            "events": window.events, "values": window.values, "left_out": window.left_out,
        })
    });
    windows.collect()
}

fn row_json(row: &ExplainedRow, features: serde_json::Map<String, Value>) -> Value {
    let place = match &row.place {
        Place::File { path, row } => json!({ "file": path, "row": row }),
        Place::Seq(seq) => json!({ "seq": seq }),
    };
    json!({
        "event_time": row.order.event_time.to_string(), "created_time": row.order.created_time.to_string(),
        "place": place, "deleted": row.deleted, "features": features,
        "standing": row.standing.as_str(), "rule": row.standing.rule(), "why": row.standing.to_string(),
    })
}
