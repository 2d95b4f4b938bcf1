//! `asof get`: the features of one entity, from the online store.

use std::collections::BTreeMap;
use std::sync::Arc;

use asof_core::time::Timestamp;
use asof_server::features::FeatureReader;
use asof_server::get_features_json;
use asof_server::registry_watch::RegistryWatch;
use serde_json::{Map, Value, json};

use crate::args::GetArgs;
use crate::commands::Global;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::project::{self, clock};

pub(super) async fn run(global: &Global, args: &GetArgs) -> Result<(), Failure> {
    let request = request(args)?;
    let remote = global.remote_or_running().await?;
    let answer = match (remote, &args.now) {
        (Some(_), Some(_)) => {
            return Err(Failure::usage(
                "a running server has a clock of its own: give --now to `asof serve`, or stop the server first",
            ));
        }
        (Some(remote), None) => remote.get_features(&request).await,
        (None, now) => locally(global, &request, now.as_deref()).await,
    };
    let answer = answer.map_err(|failure| {
        failure
            .reworded(|message| of_argument(message, ("keys", "--key", &args.keys)))
            .reworded(|message| of_argument(message, ("request", "--request", &args.request)))
    })?;
    if global.json {
        output::json(&answer);
        return Ok(());
    }
    print(&answer);
    Ok(())
}

/// The request of the JSON call. Values are sent as text: the server reads them by the columns' types.
fn request(args: &GetArgs) -> Result<Value, Failure> {
    let column = |(name, value): (String, String)| (name, json!([value]));
    let keys: Map<String, Value> = key_values(&args.keys)?.into_iter().map(column).collect();
    let request = values("--request", "bearing=120", &args.request)?;
    let request: Map<String, Value> = request.into_iter().map(column).collect();
    Ok(match &args.service {
        Some(service) => json!({ "service": service, "keys": keys, "request": request }),
        None => json!({ "features": args.features, "keys": keys, "request": request }),
    })
}

/// A message about a field of a request, told of the argument that it was made from.
pub(super) fn of_argument(message: String, (field, argument, keys): (&str, &str, &[String])) -> String {
    let field = message
        .strip_prefix(field)
        .and_then(|rest| rest.strip_prefix("[\""))
        .and_then(|rest| rest.split_once("\"]"));
    let Some((name, rest)) = field else { return message };
    let given = keys
        .iter()
        .find(|key| key.split_once('=').is_some_and(|(given, _)| given == name));
    match (given, rest.strip_prefix("[0]: "), rest.strip_prefix(": ")) {
        (Some(given), Some(problem), _) => format!("{argument} \"{}\" {problem}", shown(given)),
        (_, _, Some(problem)) => format!("{argument} \"{name}\" {problem}"),
        _ => message,
    }
}

/// The first letters of what the user wrote, on one line.
fn shown(text: &str) -> String {
    const LETTERS: usize = 64;
    let escaped = |c: char| match c.is_control() {
        true => c.escape_default().collect(),
        false => c.to_string(),
    };
    let mut shown: String = text.chars().take(LETTERS).map(escaped).collect();
    if text.chars().nth(LETTERS).is_some() {
        shown.push('…');
    }
    shown
}

/// The values of key columns, each given as NAME=VALUE.
pub(super) fn key_values(keys: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    values("--key", "origin=JFK", keys)
}

fn values(argument: &str, example: &str, given: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let mut values = BTreeMap::new();
    for text in given {
        let (name, value) = text.split_once('=').ok_or_else(|| {
            Failure::usage(format!(
                "{argument} \"{}\" is not NAME=VALUE: write it as {argument} {example}",
                shown(text)
            ))
        })?;
        if values.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(Failure::usage(format!("{argument} {name:?} is given twice")));
        }
    }
    Ok(values)
}

async fn locally(global: &Global, request: &Value, now: Option<&str>) -> Result<Value, Failure> {
    let project = project::open(&global.project)?;
    let clock = clock(now)?;
    let registry = Arc::new(project.registry().await?);
    project.head(&registry).await?;
    let store = project.store()?;
    let watch = Arc::new(RegistryWatch::open(registry, project.name().clone()).await?);
    let reader = FeatureReader::new(store, watch, clock);
    let body = get_features_json(&reader, request.to_string().as_bytes()).await?;
    serde_json::from_slice(&body).map_err(|error| Failure::new(Exit::Bug, error.to_string()))
}

fn print(answer: &Value) {
    let at = |value: &Value, place: &str| value.pointer(place).cloned().unwrap_or(Value::Null);
    let list = |name: &str| {
        answer
            .get(name)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let text = |value: Value| match value {
        Value::Null => String::new(),
        Value::String(text) => text,
        other => other.to_string(),
    };
    let rows = list("columns")
        .iter()
        .map(|column| {
            vec![
                text(at(column, "/name")),
                text(at(column, "/values/0")),
                text(at(column, "/statuses/0")),
            ]
        })
        .collect();
    output::table(&["feature", "value", "status"], rows);
    output::line("");
    let rows = list("views")
        .iter()
        .map(|view| {
            let name = match text(at(view, "/prefix")) {
                prefix if prefix.is_empty() => text(at(view, "/view")),
                prefix => format!("{prefix}_{}", text(at(view, "/view"))),
            };
            vec![
                name,
                text(at(view, "/event_times/0")),
                match text(at(view, "/materialized_to")) {
                    to if to == Timestamp::EPOCH.to_string() => "never: only pushed".to_owned(),
                    to => to,
                },
            ]
        })
        .collect();
    output::table(&["view", "event time", "materialized to"], rows);
    output::line(format!("\nAs of {}.", text(at(answer, "/as_of"))));
}
