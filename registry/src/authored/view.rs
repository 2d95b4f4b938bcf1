//! `[[view]]`

use asof_core::definition::{Feature, View, ViewKind};
use asof_core::name::{EntityName, FeatureName, SourceName, ViewName};

use super::{AuthoredView, Reader, field};
use crate::document::{Table, Text, Value};
use crate::problem::{Place, Problem, Problems, shown};

/// `aggregate` is known so that it can be refused by name.
const KEYS: [&str; 9] = [
    "name",
    "entity",
    "source",
    "ttl",
    "features",
    "aggregate",
    "description",
    "owner",
    "tags",
];
const EXAMPLE: &str = "[view.features] with a line such as temp = \"float64\"";

impl Reader<'_> {
    pub(super) fn view(&mut self, mut table: Table<'_>) {
        let aggregate = table.get("aggregate");
        if let Some(value) = &aggregate {
            self.unsupported(value.place(), "aggregates are");
        }
        let problems = &mut self.problems;
        table.only(problems, &KEYS);
        let name = field::required_name(&table, problems, "name", "view", ViewName::parse);
        let entity = field::required_name(&table, problems, "entity", "entity", EntityName::parse);
        let source = field::required_name(&table, problems, "source", "source", SourceName::parse);
        let ttl = table
            .string(problems, "ttl")
            .and_then(|text| text.parse(problems, field::duration));
        let notes = field::notes(&table, problems);
        let features = match (aggregate, table.get("features")) {
            (Some(_), None) => None,
            _ => features(&table, problems),
        };
        let Some((name, text)) = name else { return };
        let is_new = self.views.enter(problems, text.text, &text.place);
        let (true, Some((entity, entity_text)), Some((source, source_text)), Some(features)) =
            (is_new, entity, source, features)
        else {
            return;
        };
        let (features, feature_places) = features.into_iter().unzip();
        self.views.good.push(AuthoredView {
            view: View {
                name,
                entity,
                source,
                ttl,
                kind: ViewKind::Features(features),
                notes,
            },
            entity_place: entity_text.place,
            source_place: source_text.place,
            feature_places,
        });
    }
}

fn features(table: &Table<'_>, problems: &mut Problems) -> Option<Vec<(Feature, Place)>> {
    if table.get("features").is_none() {
        table.missing(problems, "features", EXAMPLE);
    }
    let features = table.table(problems, "features", format!("\"features\" of {}", table.label()))?;
    let entries = features.entries();
    if entries.is_empty() {
        let what = format!("{} has no features", table.label());
        problems.push(Problem::new(
            features.place().clone(),
            what,
            format!("expected {EXAMPLE}"),
        ));
        return None;
    }
    // Every feature is looked at before a bad one makes the whole unusable.
    let features: Vec<Option<(Feature, Place)>> = entries
        .into_iter()
        .map(|(name, value)| feature(table, problems, &name, &value))
        .collect();
    features.into_iter().collect()
}

/// `name = "type"`, or `name = { type = "type", … }`.
fn feature(
    view: &Table<'_>,
    problems: &mut Problems,
    key: &Text<'_>,
    value: &Value<'_>,
) -> Option<(Feature, Place)> {
    let name = key.parse(problems, field::name("feature", FeatureName::parse));
    if value.is_string() {
        let data_type = value
            .string(problems, "the type")?
            .parse(problems, field::data_type)?;
        let feature = Feature {
            name: name?,
            data_type,
            column: None,
            description: None,
        };
        return Some((feature, key.place.clone()));
    }
    let label = format!("feature {} of {}", shown(key.text), view.label());
    if !value.is_table() {
        return value.mismatch(problems, &label, "a type such as \"float64\", or a table");
    }
    let mut table = value.table(problems, label)?;
    table.only(problems, &["type", "column", "description"]);
    let data_type = table
        .required(problems, "type", "type = \"float64\"")
        .and_then(|text| text.parse(problems, field::data_type));
    let column = field::optional_column(&table, problems, "column");
    let description = field::owned(&table, problems, "description");
    let feature = Feature {
        name: name?,
        data_type: data_type?,
        column,
        description,
    };
    Some((feature, key.place.clone()))
}
