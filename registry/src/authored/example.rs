//! `[[on_demand.example]]`: what on-demand features must give for inputs that are written beside them.

use std::collections::BTreeSet;

use asof_core::definition::{Definitions, FrozenEntry, Select, ServiceEntry};
use asof_core::name::{FeatureName, ViewName};
use asof_core::service::{Input, ReadPlan};
use serde_json::Value as Json;

use super::field;
use crate::document::{Table, Text};
use crate::problem::{Place, Problem, Problems, shown, suggest};

const EXAMPLE: &str = "outputs = { is_late = true }, or nulls = [\"is_late\"]";

/// Inputs of on-demand features, and what they must give.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// The set.
    pub on_demand: ViewName,
    /// What it shows, where its file says so.
    pub description: Option<String>,
    /// The inputs by name, `view.feature` or a column of the caller; those that are not here are null.
    pub inputs: Vec<(String, Json)>,
    /// The features by name, with their values; null where they must have none.
    pub outputs: Vec<(FeatureName, Json)>,
    /// Where it is.
    pub place: Place,
}

impl Example {
    /// The plan that computes its features; `None` where something in the definitions is wrong.
    pub fn plan(&self, definitions: &Definitions) -> Option<ReadPlan> {
        let features: Vec<FeatureName> = self.outputs.iter().map(|(name, _)| name.clone()).collect();
        let entry = ServiceEntry {
            view: self.on_demand.clone(),
            select: Select::Named(features.clone()),
            keys: Default::default(),
            prefix: None,
        };
        ReadPlan::of_entries(definitions, &[FrozenEntry { entry, features }]).ok()
    }
}

/// What an example calls an input of a plan.
pub fn input_name(plan: &ReadPlan, input: Input) -> Option<String> {
    match input {
        Input::Value(value) => {
            let (read, feature) = plan.stored(value)?;
            Some(format!("{}.{}", read.bound.view.name, feature.name))
        }
        Input::Key(key) => plan.caller_columns.get(key).map(|key| key.name.clone()),
        Input::Request(column) => plan.request_columns.get(column).map(|column| column.name.clone()),
    }
}

/// An example with the places of what it names.
pub(super) struct AuthoredExample {
    pub(super) example: Example,
    inputs: Vec<Place>,
    outputs: Vec<Place>,
}

/// Reads the examples of a set, those that could be read.
pub(super) fn examples(
    table: &Table<'_>,
    on_demand: &ViewName,
    problems: &mut Problems,
) -> Vec<AuthoredExample> {
    let Some(value) = table.get("example") else {
        return Vec::new();
    };
    let label = format!("\"example\" of {}", table.label());
    let items = value.array(problems, &label).unwrap_or_default();
    let read = items.iter().map(|item| {
        let label = format!("an example of {}", table.label());
        example(item.table(problems, label)?, on_demand, problems)
    });
    let read: Vec<Option<AuthoredExample>> = read.collect();
    read.into_iter().flatten().collect()
}

fn example(mut table: Table<'_>, on_demand: &ViewName, problems: &mut Problems) -> Option<AuthoredExample> {
    table.only(problems, &["description", "inputs", "outputs", "nulls"]);
    let description = field::owned(&table, problems, "description");
    let inputs = values(&table, "inputs", problems)?;
    let mut outputs: Vec<(FeatureName, Json, Place)> = Vec::new();
    let mut is_whole = true;
    let mut add = |text: Text<'_>, value: Json, problems: &mut Problems| {
        let Some(name) = text.parse(problems, field::name("feature", FeatureName::parse)) else {
            is_whole = false;
            return;
        };
        if outputs.iter().any(|(known, ..)| *known == name) {
            let what = format!("the output {:?} is there twice", name.as_str());
            problems.push(Problem::new(text.place, what, "remove one of the two"));
            is_whole = false;
            return;
        }
        outputs.push((name, value, text.place));
    };
    for (text, value) in values(&table, "outputs", problems)? {
        add(text, value, problems);
    }
    if let Some(nulls) = table.get("nulls") {
        let label = format!("\"nulls\" of {}", table.label());
        for item in nulls.array(problems, &label)? {
            add(item.string(problems, "a feature")?, Json::Null, problems);
        }
    }
    if outputs.is_empty() && is_whole {
        let what = format!("{} says nothing of what it gives", table.label());
        problems.push(Problem::new(
            table.place().clone(),
            what,
            format!("expected {EXAMPLE}"),
        ));
    }
    if outputs.is_empty() || !is_whole {
        return None;
    }
    Some(AuthoredExample {
        inputs: inputs.iter().map(|(text, _)| text.place.clone()).collect(),
        outputs: outputs.iter().map(|(.., place)| place.clone()).collect(),
        example: Example {
            on_demand: on_demand.clone(),
            description,
            inputs: inputs
                .into_iter()
                .map(|(text, value)| (text.text.to_owned(), value))
                .collect(),
            outputs: outputs
                .into_iter()
                .map(|(name, value, _)| (name, value))
                .collect(),
            place: table.place().clone(),
        },
    })
}

/// The names and values of a table, which need not be there.
fn values<'a>(table: &Table<'a>, key: &str, problems: &mut Problems) -> Option<Vec<(Text<'a>, Json)>> {
    if table.get(key).is_none() {
        return Some(Vec::new());
    }
    let label = format!("{key:?} of {}", table.label());
    let entries = table.table(problems, key, label)?.entries();
    let read = entries.into_iter().map(|(text, value)| {
        let name = format!("the value of {}", shown(text.text));
        Some((text, value.json(problems, &name)?))
    });
    let read: Vec<Option<(Text<'a>, Json)>> = read.collect();
    read.into_iter().collect()
}

/// Notes what an example names that is not there.
pub(super) fn check(authored: &AuthoredExample, definitions: &Definitions, problems: &mut Problems) {
    let AuthoredExample {
        example,
        inputs,
        outputs,
    } = authored;
    let Some(set) = definitions.on_demand.get(&example.on_demand) else {
        return;
    };
    let mut is_known = true;
    for ((name, _), place) in example.outputs.iter().zip(outputs) {
        if set.feature(name.as_str()).is_none() {
            is_known = false;
            let what = format!(
                "on_demand {:?} has no feature {:?}",
                set.name.as_str(),
                name.as_str()
            );
            let known = set.features.iter().map(|feature| feature.name.as_str());
            problems.push(Problem::new(
                place.clone(),
                what,
                suggest(name.as_str(), known, "no feature"),
            ));
        }
    }
    let Some(plan) = example.plan(definitions).filter(|_| is_known) else {
        return;
    };
    let all = plan.computed.iter().flat_map(|computed| &computed.inputs);
    let known: BTreeSet<String> = all.filter_map(|input| input_name(&plan, *input)).collect();
    for ((name, _), place) in example.inputs.iter().zip(inputs) {
        if !known.contains(name) {
            let what = format!(
                "{} is nothing that the outputs of the example are computed of",
                shown(name)
            );
            problems.push(Problem::new(
                place.clone(),
                what,
                suggest(name, &known, "no input"),
            ));
        }
    }
}
