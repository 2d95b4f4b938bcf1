//! Views of aggregates, once all sources are known: as which type an input is read may depend on its source.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_schema::{Field, Schema};
use asof_core::aggregate::Function;
use asof_core::aggregate::tiles::TileLayout;
use asof_core::data_type::DataType;
use asof_core::definition::{
    Aggregate, AggregateError, Aggregates, InputText, Location, Notes, Source, View, ViewKind,
};
use asof_core::duration::Duration;
use asof_core::name::{EntityName, FeatureName, SourceName, ViewName};
use asof_expr::{ExprError, Expression};

use super::Reader;
use super::aggregate::AuthoredAggregate;
use super::check::column;
use crate::problem::{Place, Problem, Problems, shown, suggest};

/// The most features of a view of aggregates.
const MOST_FEATURES: usize = 1_000;

/// A view whose aggregates are not resolved yet.
pub(super) struct AggregateView {
    pub(super) name: ViewName,
    pub(super) entity: EntityName,
    pub(super) source: SourceName,
    pub(super) hop: Option<Duration>,
    /// Those that could be read.
    pub(super) aggregates: Vec<AuthoredAggregate>,
    /// Whether they are all.
    pub(super) is_whole: bool,
    pub(super) notes: Notes,
    pub(super) place: Place,
}

/// Resolves all of them, and notes what does not fit.
pub(super) fn resolve(reader: &mut Reader<'_>) {
    for view in std::mem::take(&mut reader.aggregates) {
        let mut sources = reader.sources.good.iter();
        let source = sources.find(|source| source.name == view.source);
        reader
            .views
            .good
            .extend(resolved(view, source, &mut reader.problems));
    }
}

fn resolved(view: AggregateView, source: Option<&Source>, problems: &mut Problems) -> Option<View> {
    let AggregateView {
        name,
        entity,
        source: source_name,
        hop,
        aggregates,
        is_whole,
        notes,
        place,
    } = view;
    let schema = source.and_then(managed_schema);
    let before = problems.len();
    let mut list: Vec<Aggregate> = Vec::new();
    let mut names: BTreeMap<FeatureName, Place> = BTreeMap::new();
    for AuthoredAggregate {
        mut aggregate,
        has_type,
        place,
        input_place,
        filter_place,
    } in aggregates
    {
        if is_counted(&aggregate) {
            aggregate.input_type = DataType::Bool;
        } else if let (Some(InputText::Column(input)), false, Some(schema)) =
            (&aggregate.input, has_type, schema)
        {
            let mut columns = schema.iter();
            if let Some((_, data_type)) = columns.find(|(column, _)| column == input) {
                aggregate.input_type = data_type.clone();
            }
        }
        if let (Some(source), Some(schema)) = (source, schema) {
            check_inputs(
                &aggregate,
                source,
                schema,
                (&input_place, &filter_place),
                problems,
            );
        }
        match aggregate.features(hop) {
            Err(error) => problems.push(explain(&error, &aggregate, has_type, place.clone())),
            Ok(features) => {
                let mut twice = features.iter().filter_map(|(feature, ..)| {
                    let first = names.insert(feature.name.clone(), place.clone());
                    first.map(|first| twice(&feature.name, &first, place.clone()))
                });
                if let Some(problem) = twice.next() {
                    problems.push(problem);
                }
            }
        }
        list.push(aggregate);
        if names.len() > MOST_FEATURES {
            let what = format!(
                "[[view]] {:?} has more than {MOST_FEATURES} features",
                name.as_str()
            );
            problems.push(Problem::new(place, what, "make several views of it"));
            break;
        }
    }
    if problems.len() > before || !is_whole {
        return None;
    }
    let aggregates = Aggregates::new(hop, list).ok()?;
    if let Err(too_many) = TileLayout::of(&aggregates).check() {
        let what = format!("[[view]] {:?} has {too_many}", name.as_str());
        problems.push(Problem::new(place, what, "make several views of it"));
        return None;
    }
    Some(View {
        name,
        entity,
        source: source_name,
        ttl: None,
        kind: ViewKind::Aggregates(aggregates),
        notes,
    })
}

fn twice(name: &FeatureName, first: &Place, place: Place) -> Problem {
    let what = format!("two features would be named {:?}", name.as_str());
    let help = match *first == place {
        true => "give the aggregate another name".to_owned(),
        false => format!("the first is of the aggregate at {first}: give one of them another name"),
    };
    Problem::new(place, what, help)
}

fn explain(error: &AggregateError, aggregate: &Aggregate, has_type: bool, place: Place) -> Problem {
    let (what, help) = match error {
        AggregateError::Name { name, reason } => (
            format!("a feature would be named {}", shown(name)),
            match aggregate.name {
                Some(_) => format!("{reason}: give the aggregate another name"),
                None => format!("{reason}: give the aggregate a name"),
            },
        ),
        AggregateError::Duplicate(name) => (
            format!("two features would be named {:?}", name.as_str()),
            "give one of the aggregates another name".into(),
        ),
        AggregateError::Input(mismatch) => (
            mismatch.to_string(),
            match has_type {
                true => "give another type, or take another function".into(),
                false => "take another function, or an expression that gives such values".into(),
            },
        ),
        AggregateError::Hop(long) => (long.to_string(), "give the view a shorter hop, or none".into()),
        AggregateError::NoInput(function) => (
            format!("{function} has no input"),
            "name a column with input, or write an expression".into(),
        ),
        AggregateError::NoName => (error.to_string(), "give it a name".into()),
    };
    Problem::new(place, what, help)
}

/// The columns of a managed source, unless its `sql` may make others.
fn managed_schema(source: &Source) -> Option<&[(String, DataType)]> {
    match &source.location {
        Location::Managed { schema, .. } if source.sql.is_none() => Some(schema),
        Location::Managed { .. } | Location::InPlace { .. } => None,
    }
}

/// That a managed source has what an aggregate is computed of.
fn check_inputs(
    aggregate: &Aggregate,
    source: &Source,
    schema: &[(String, DataType)],
    (place, filter_place): (&Place, &Place),
    problems: &mut Problems,
) {
    match &aggregate.input {
        Some(InputText::Column(name)) if !is_counted(aggregate) => {
            let wanted = ("the input", name.as_str(), &aggregate.input_type);
            column(problems, source, schema, wanted, place);
        }
        Some(InputText::Column(name)) if schema.iter().all(|(column, _)| column != name) => {
            let what = format!("source {:?} has no column {}", source.name.as_str(), shown(name));
            let help = suggest(name, schema.iter().map(|(column, _)| column), "no column");
            problems.push(Problem::new(place.clone(), what, help));
        }
        Some(InputText::Expression(text)) => {
            let bound = Expression::parse(text).and_then(|expression| expression.bind(&arrow(schema)));
            note(bound, "expression", source, place, problems);
        }
        Some(InputText::Column(_)) | None => {}
    }
    if let Some(text) = &aggregate.filter {
        let bound = Expression::parse(text).and_then(|filter| filter.bind_condition(&arrow(schema)));
        note(bound, "condition", source, filter_place, problems);
    }
}

/// Whether only that there is a value matters, whatever its type.
fn is_counted(aggregate: &Aggregate) -> bool {
    aggregate.functions.contains(&Function::Count)
}

fn note<T>(bound: Result<T, ExprError>, what: &str, source: &Source, place: &Place, problems: &mut Problems) {
    if let Err(error) = bound {
        let what = format!(
            "the {what} does not fit source {:?}: {error}",
            source.name.as_str()
        );
        problems.push(Problem::new(place.clone(), what, ""));
    }
}

fn arrow(schema: &[(String, DataType)]) -> Schema {
    let fields = schema
        .iter()
        .map(|(name, data_type)| Arc::new(Field::new(name, data_type.to_arrow(), true)));
    Schema::new(fields.collect::<Vec<_>>())
}
