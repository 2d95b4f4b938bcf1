//! `[[view]]`

use asof_core::definition::{Feature, View, ViewKind};
use asof_core::name::{EntityName, FeatureName, SourceName, ViewName};

use super::check::ViewReferences;
use super::resolve::AggregateView;
use super::{Reader, aggregate, field};
use crate::document::{Table, Text, Value};
use crate::problem::{Place, Problem, Problems, shown};

const KEYS: [&str; 10] = [
    "name",
    "entity",
    "source",
    "ttl",
    "hop",
    "features",
    "aggregate",
    "description",
    "owner",
    "tags",
];
const EXAMPLE: &str = "[view.features] with a line such as temp = \"float64\", or [[view.aggregate]]";

impl Reader<'_> {
    pub(super) fn view(&mut self, mut table: Table<'_>) {
        let aggregate = table.get("aggregate");
        let problems = &mut self.problems;
        table.only(problems, &KEYS);
        let name = field::required_name(&table, problems, "name", "view", ViewName::parse);
        let entity = field::required_name(&table, problems, "entity", "entity", EntityName::parse);
        let source = field::required_name(&table, problems, "source", "source", SourceName::parse);
        let ttl = table
            .string(problems, "ttl")
            .and_then(|text| text.parse(problems, field::duration));
        let notes = field::notes(&table, problems);
        let hop = table
            .string(problems, "hop")
            .and_then(|text| text.parse(problems, field::duration));
        let has_right_hop = hop.is_some() || table.get("hop").is_none();
        let does_mix = does_mix(&table, problems);
        let (features, aggregates) = match (&aggregate, table.get("features")) {
            (Some(value), None) => (Vec::new(), aggregate::aggregates(&table, value, problems)),
            _ => (features(&table, problems), Vec::new()),
        };
        let references = ViewReferences {
            entity: entity.map(|(name, text)| (name, text.place)),
            source: source.map(|(name, text)| (name, text.place)),
            features: features.iter().flatten().cloned().collect(),
        };
        let features = features
            .into_iter()
            .map(|feature| Some(feature?.0))
            .collect::<Option<Vec<Feature>>>()
            .filter(|features| !features.is_empty());
        let (entity, source) = (references.entity.clone(), references.source.clone());
        self.references.views.push(references);
        let Some((name, text)) = name else {
            self.views.has_nameless = true;
            return;
        };
        let is_new = self.views.enter(problems, text.text, &text.place);
        let (true, Some((entity, _)), Some((source, _)), false) = (is_new, entity, source, does_mix) else {
            return;
        };
        if aggregate.is_some() {
            let is_whole = has_right_hop && aggregates.iter().all(Option::is_some);
            self.aggregates.push(AggregateView {
                name,
                entity,
                source,
                hop,
                aggregates: aggregates.into_iter().flatten().collect(),
                is_whole,
                notes,
                place: table.place().clone(),
            });
            return;
        }
        let Some(features) = features else { return };
        self.views.good.push(View {
            name,
            entity,
            source,
            ttl,
            kind: ViewKind::Features(features),
            notes,
        });
    }
}

/// Notes what a view of aggregates, or of features, does not have; says whether it has something of that.
fn does_mix(table: &Table<'_>, problems: &mut Problems) -> bool {
    let label = table.label();
    let reason = match (
        table.get("aggregate"),
        table.get("features"),
        table.get("ttl"),
        table.get("hop"),
    ) {
        (Some(_), Some(value), ..) => (
            value,
            format!("{label} has both features and aggregates"),
            "expected [view.features] or [[view.aggregate]]: make two views of it",
        ),
        (Some(_), None, Some(value), _) => (
            value,
            format!("{label} has aggregates and a ttl"),
            "remove it: the windows say what is too old",
        ),
        (None, _, _, Some(value)) => (
            value,
            format!("{label} has a hop and no aggregates"),
            "remove it, or write [[view.aggregate]]",
        ),
        _ => return false,
    };
    let (value, what, help) = reason;
    problems.push(Problem::new(value.place(), what, help));
    true
}

/// The features with their places, `None` for those that could not be read; nothing where there are none.
fn features(table: &Table<'_>, problems: &mut Problems) -> Vec<Option<(Feature, Place)>> {
    if table.get("features").is_none() {
        table.missing(problems, "features", EXAMPLE);
    }
    let label = format!("\"features\" of {}", table.label());
    let Some(features) = table.table(problems, "features", label) else {
        return Vec::new();
    };
    let entries = features.entries();
    if entries.is_empty() {
        let what = format!("{} has no features", table.label());
        problems.push(Problem::new(
            features.place().clone(),
            what,
            format!("expected {EXAMPLE}"),
        ));
    }
    entries
        .into_iter()
        .map(|(name, value)| feature(table, problems, &name, &value))
        .collect()
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
    let column_is_wrong = column.is_none() && table.get("column").is_some();
    let description = field::owned(&table, problems, "description");
    let feature = Feature {
        name: name?,
        data_type: data_type?,
        column,
        description,
    };
    (!column_is_wrong).then(|| (feature, key.place.clone()))
}
