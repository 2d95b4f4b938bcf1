//! `[[on_demand]]`

use asof_core::data_type::DataType;
use asof_core::definition::{
    Definitions, FrozenEntry, Notes, OnDemand, OnDemandFeature, OnDemandInput, RequestColumn, Select,
    ServiceEntry,
};
use asof_core::name::{FeatureName, ViewName};
use asof_core::service::{PlanError, ReadPlan};
use asof_expr::{FeatureExpression, Reference};

use super::example::{self, AuthoredExample};
use super::{Reader, field};
use crate::document::{Table, Text, Value};
use crate::problem::{Place, Problem, Problems, shown, suggest};

const EXAMPLE: &str =
    "[on_demand.features] with a line such as late = { type = \"bool\", expression = \"delay > 15\" }";
const REQUEST: &str = "a type such as \"float64\"";
/// The most features of one set.
const MOST_FEATURES: usize = 100;

/// A set of on-demand features whose names are not looked up yet.
pub(super) struct AuthoredOnDemand {
    name: ViewName,
    request: Vec<RequestColumn>,
    /// Those that could be read.
    features: Vec<AuthoredFeature>,
    /// Whether nothing is wrong with it.
    is_whole: bool,
    notes: Notes,
    examples: Vec<AuthoredExample>,
}

struct AuthoredFeature {
    name: FeatureName,
    data_type: DataType,
    text: String,
    /// `None` where it is not one.
    expression: Option<FeatureExpression>,
    description: Option<String>,
    /// Of the expression.
    place: Place,
}

impl Reader<'_> {
    pub(super) fn on_demand(&mut self, mut table: Table<'_>) {
        let problems = &mut self.problems;
        let before = problems.len();
        table.only(
            problems,
            &[
                "name",
                "request",
                "features",
                "example",
                "description",
                "owner",
                "tags",
            ],
        );
        let name = field::required_name(&table, problems, "name", "on_demand", ViewName::parse);
        let request = request(&table, problems);
        let features = features(&table, problems);
        let notes = field::notes(&table, problems);
        let is_whole = problems.len() == before;
        let Some((name, text)) = name else {
            self.views.has_nameless = true;
            return;
        };
        // Services list both alike, so that no view has the name.
        if self.views.enter(problems, text.text, &text.place) {
            let examples = example::examples(&table, &name, problems);
            self.on_demand.push(AuthoredOnDemand {
                name,
                request,
                features,
                is_whole,
                notes,
                examples,
            });
        }
    }
}

/// The request columns that could be read; nothing where there are none.
fn request(table: &Table<'_>, problems: &mut Problems) -> Vec<RequestColumn> {
    let label = format!("\"request\" of {}", table.label());
    let Some(request) = table.table(problems, "request", label) else {
        return Vec::new();
    };
    let columns = request.entries().into_iter().map(|(key, value)| {
        let name = key.parse(problems, field::column);
        let label = format!("the type of request column {}", shown(key.text));
        if !value.is_string() {
            return value.mismatch(problems, &label, REQUEST);
        }
        let data_type = value.string(problems, &label)?.parse(problems, request_type)?;
        let name = name?;
        Some(RequestColumn { name, data_type })
    });
    let columns: Vec<Option<RequestColumn>> = columns.collect();
    columns.into_iter().flatten().collect()
}

/// The type of a request column: what a spine and a request can give.
fn request_type(text: &str) -> Result<DataType, field::Reason> {
    let data_type = field::data_type(text)?;
    match &data_type {
        DataType::Struct(_) | DataType::Map(_) | DataType::Json => Err(unusable(text)),
        DataType::List(item) => match item.as_ref() {
            DataType::List(_)
            | DataType::Struct(_)
            | DataType::Map(_)
            | DataType::Json
            | DataType::Embedding(_) => Err(unusable(text)),
            _ => Ok(data_type),
        },
        _ => Ok(data_type),
    }
}

fn unusable(text: &str) -> field::Reason {
    (
        format!("{} cannot be the type of a request column", shown(text)),
        "expected a scalar type, a list of scalars, or an embedding".into(),
    )
}

/// The features that could be read.
fn features(table: &Table<'_>, problems: &mut Problems) -> Vec<AuthoredFeature> {
    if table.get("features").is_none() {
        table.missing(problems, "features", EXAMPLE);
    }
    let label = format!("\"features\" of {}", table.label());
    let Some(features) = table.table(problems, "features", label) else {
        return Vec::new();
    };
    let entries = features.entries();
    if entries.is_empty() || entries.len() > MOST_FEATURES {
        let what = match entries.len() {
            0 => format!("{} has no features", table.label()),
            n => format!(
                "{} has {n} features, at most {MOST_FEATURES} are read",
                table.label()
            ),
        };
        let place = features.place().clone();
        problems.push(Problem::new(place, what, format!("expected {EXAMPLE}")));
        return Vec::new();
    }
    let read = entries
        .into_iter()
        .map(|(name, value)| feature(table, problems, &name, &value));
    let read: Vec<Option<AuthoredFeature>> = read.collect();
    read.into_iter().flatten().collect()
}

/// `name = { type = "type", expression = "sql", … }`.
fn feature(
    set: &Table<'_>,
    problems: &mut Problems,
    key: &Text<'_>,
    value: &Value<'_>,
) -> Option<AuthoredFeature> {
    let name = key.parse(problems, field::name("feature", FeatureName::parse));
    let label = format!("feature {} of {}", shown(key.text), set.label());
    if !value.is_table() {
        let expected = "a table such as { type = \"bool\", expression = \"delay > 15\" }";
        return value.mismatch(problems, &label, expected);
    }
    let mut table = value.table(problems, label)?;
    table.only(problems, &["type", "expression", "description"]);
    let data_type = table
        .required(problems, "type", "type = \"float64\"")
        .and_then(|text| text.parse(problems, field::data_type));
    let written = table.required(problems, "expression", "expression = \"delay > 15\"");
    let expression = written.as_ref().and_then(|text| text.parse(problems, expression));
    let description = field::owned(&table, problems, "description");
    let written = written?;
    Some(AuthoredFeature {
        name: name?,
        data_type: data_type?,
        text: written.text.to_owned(),
        expression,
        description,
        place: written.place,
    })
}

fn expression(text: &str) -> Result<FeatureExpression, field::Reason> {
    let parsed = FeatureExpression::parse(text);
    parsed.map_err(|error| (format!("the expression cannot be used: {error}"), String::new()))
}

/// Looks up what all expressions name, and notes what is not there and what does not fit.
pub(super) fn resolve(reader: &mut Reader<'_>) {
    let sets = std::mem::take(&mut reader.on_demand);
    let mut definitions = reader.read_so_far();
    let mut places: Vec<(ViewName, FeatureName, Place)> = Vec::new();
    for set in &sets {
        let mut features = Vec::new();
        let mut is_whole = set.is_whole;
        for feature in &set.features {
            match inputs(feature, set, &sets, reader) {
                Some(inputs) => {
                    places.push((set.name.clone(), feature.name.clone(), feature.place.clone()));
                    features.push(OnDemandFeature {
                        name: feature.name.clone(),
                        data_type: feature.data_type.clone(),
                        expression: feature.text.clone(),
                        inputs,
                        description: feature.description.clone(),
                    });
                }
                None => is_whole = false,
            }
        }
        let on_demand = OnDemand {
            name: set.name.clone(),
            request: set.request.clone(),
            features,
            notes: set.notes.clone(),
        };
        if is_whole {
            reader.sets.insert(set.name.clone(), on_demand.clone());
        }
        definitions.on_demand.insert(set.name.clone(), on_demand);
    }
    for (view, feature, place) in &places {
        check(&definitions, view, feature, place, &mut reader.problems);
    }
    for set in sets {
        for authored in &set.examples {
            example::check(authored, &definitions, &mut reader.problems);
        }
        let examples = set.examples.into_iter();
        reader.examples.extend(examples.map(|authored| authored.example));
    }
}

/// What the names in an expression mean; `None` where one is not known, which is noted unless something else is wrong.
fn inputs(
    feature: &AuthoredFeature,
    set: &AuthoredOnDemand,
    sets: &[AuthoredOnDemand],
    reader: &mut Reader<'_>,
) -> Option<Vec<OnDemandInput>> {
    let references = feature.expression.as_ref()?.references().iter();
    let inputs: Vec<Option<OnDemandInput>> = references
        .map(|reference| match reference {
            Reference::Own(name) => own(name, feature, set, reader),
            Reference::Of { view, feature: name } => other(view, name, feature, sets, reader),
        })
        .collect();
    inputs.into_iter().collect()
}

fn own(
    name: &str,
    feature: &AuthoredFeature,
    set: &AuthoredOnDemand,
    reader: &mut Reader<'_>,
) -> Option<OnDemandInput> {
    let of_request = set.request.iter().any(|column| column.name == name);
    let of_set = set.features.iter().find(|feature| feature.name.as_str() == name);
    match (of_request, of_set) {
        (true, None) => Some(OnDemandInput::Request(name.to_owned())),
        (false, Some(feature)) => Some(OnDemandInput::Feature {
            view: set.name.clone(),
            feature: feature.name.clone(),
        }),
        (true, Some(_)) => {
            let what = format!("{} is both a request column and a feature", shown(name));
            let help = format!(
                "write \"{}.{name}\" for the feature, or rename one of them",
                set.name
            );
            reader
                .problems
                .push(Problem::new(feature.place.clone(), what, help));
            None
        }
        (false, None) => {
            if set.is_whole {
                let known = set.request.iter().map(|column| column.name.as_str());
                let known = known.chain(set.features.iter().map(|feature| feature.name.as_str()));
                let what = format!(
                    "{} is neither a request column nor a feature of on_demand {:?}",
                    shown(name),
                    set.name.as_str()
                );
                let help = suggest(
                    name,
                    known,
                    "write a feature of a view as view.feature; no request column",
                );
                reader
                    .problems
                    .push(Problem::new(feature.place.clone(), what, help));
            }
            None
        }
    }
}

fn other(
    view: &str,
    name: &str,
    feature: &AuthoredFeature,
    sets: &[AuthoredOnDemand],
    reader: &mut Reader<'_>,
) -> Option<OnDemandInput> {
    if !reader.views.places.contains_key(view) {
        if !reader.views.has_nameless {
            let what = format!("unknown view {}", shown(view));
            let help = suggest(view, reader.views.places.keys(), "no view");
            reader
                .problems
                .push(Problem::new(feature.place.clone(), what, help));
        }
        return None;
    }
    let set = sets.iter().find(|set| set.name.as_str() == view);
    let known = reader.views.good.iter().find(|good| good.name.as_str() == view);
    let names: Vec<&FeatureName> = match (set, known) {
        (Some(set), _) => set.features.iter().map(|feature| &feature.name).collect(),
        (None, Some(view)) => view.features().iter().map(|feature| &feature.name).collect(),
        // Something is wrong with the view, which was noted.
        (None, None) => return None,
    };
    if let Some(found) = names.iter().find(|known| known.as_str() == name) {
        return Some(OnDemandInput::Feature {
            view: ViewName::parse(view).ok()?,
            feature: (*found).clone(),
        });
    }
    if set.is_none_or(|set| set.is_whole) {
        let what = format!("view {view:?} has no feature {}", shown(name));
        let help = suggest(name, names.iter().map(|name| name.as_str()), "no feature");
        reader
            .problems
            .push(Problem::new(feature.place.clone(), what, help));
    }
    None
}

/// That a feature can be computed: not of itself, and of types that give its own.
fn check(
    definitions: &Definitions,
    view: &ViewName,
    name: &FeatureName,
    place: &Place,
    problems: &mut Problems,
) {
    let entry = FrozenEntry {
        entry: ServiceEntry {
            view: view.clone(),
            select: Select::Named(vec![name.clone()]),
            keys: Default::default(),
            prefix: None,
        },
        features: vec![name.clone()],
    };
    let note = |what: String, help: &str| Some(Problem::new(place.clone(), what, help));
    let problem = match ReadPlan::of_entries(definitions, &[entry]) {
        Ok(plan) => {
            let computed = plan.computed.last();
            let bound = computed.and_then(|computed| {
                let types = computed
                    .inputs
                    .iter()
                    .map(|input| plan.input_type(*input).cloned());
                let types = types.collect::<Option<Vec<_>>>()?;
                let expression = FeatureExpression::parse(&computed.feature.expression).ok()?;
                Some(expression.bind(&types, &computed.feature.data_type))
            });
            match bound {
                Some(Err(error)) => note(format!("the expression does not fit what it reads: {error}"), ""),
                Some(Ok(_)) | None => None,
            }
        }
        Err(error @ PlanError::Cycle(_)) => note(error.to_string(), "compute one of them of other features"),
        Err(error @ PlanError::TooDeep(_)) => note(error.to_string(), "write some of them as one expression"),
        Err(error @ PlanError::ConflictingType { .. }) => {
            note(error.to_string(), "rename one of the columns")
        }
        // What is not there was noted before.
        Err(_) => None,
    };
    if let Some(problem) = problem {
        problems.push(problem);
    }
}
