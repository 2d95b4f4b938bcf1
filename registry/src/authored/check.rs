//! What definitions say of each other: references, the columns of managed sources, the columns of services.

use asof_core::data_type::DataType;
use asof_core::definition::{
    Definitions, Entity, Feature, FrozenEntry, Location, Select, ServiceEntry, Source,
};
use asof_core::name::{EntityName, SourceName, ViewName};
use asof_core::service::{PlanError, ReadPlan};

use super::{Reader, Register};
use crate::problem::{Place, Problem, Problems, shown, suggest};

/// What definitions say of others, as far as it could be read: also where the rest of them is wrong.
#[derive(Default)]
pub(super) struct References {
    pub(super) views: Vec<ViewReferences>,
    pub(super) services: Vec<ServiceReferences>,
}

/// What a view says of others.
pub(super) struct ViewReferences {
    pub(super) entity: Option<(EntityName, Place)>,
    pub(super) source: Option<(SourceName, Place)>,
    pub(super) features: Vec<(Feature, Place)>,
}

/// What a service says of views.
#[derive(Default)]
pub(super) struct ServiceReferences {
    /// The views of all entries.
    pub(super) views: Vec<(ViewName, Place)>,
    /// The entries in which nothing is wrong.
    pub(super) entries: Vec<(ServiceEntry, Place)>,
}

/// Notes every reference to what is not there, and every pair of definitions that does not fit.
pub(super) fn references(reader: &mut Reader<'_>) {
    let definitions = reader.read_so_far();
    let problems = &mut reader.problems;
    for view in &reader.references.views {
        if let Some((entity, place)) = &view.entity {
            known(&reader.entities, problems, entity.as_str(), place);
        }
        let Some((source, place)) = &view.source else {
            continue;
        };
        known(&reader.sources, problems, source.as_str(), place);
        let mut entities = reader.entities.good.iter();
        let entity =
            entities.find(|entity| view.entity.as_ref().is_some_and(|(name, _)| *name == entity.name));
        if let Some(source) = reader.sources.good.iter().find(|s| s.name == *source) {
            managed_columns(problems, view, entity, (source, place));
        }
    }
    for service in &reader.references.services {
        for (view, place) in &service.views {
            known(&reader.views, problems, view.as_str(), place);
        }
        let mut entries = Vec::new();
        for (entry, place) in &service.entries {
            if !is_known(&definitions, &entry.view) {
                continue;
            }
            // What `*` stands for depends on what was applied before: the plan judges that.
            let features = match &entry.select {
                Select::All => Vec::new(),
                Select::Named(names) => names.clone(),
            };
            let frozen = FrozenEntry {
                entry: entry.clone(),
                features,
            };
            entries.push((frozen, place.clone()));
        }
        check_entries(&definitions, entries, problems);
    }
}

/// Whether a view is there, and all that it refers to; or a set of on-demand features, and all that they do.
fn is_known(definitions: &Definitions, view: &ViewName) -> bool {
    definitions.bound_view(view.as_str()).is_some() || definitions.on_demand.contains_key(view)
}

fn known<T>(register: &Register<T>, problems: &mut Problems, name: &str, place: &Place) {
    if !register.has_nameless && !register.places.contains_key(name) {
        let what = format!("unknown {} {}", register.kind, shown(name));
        let help = suggest(name, register.places.keys(), &format!("no {}", register.kind));
        problems.push(Problem::new(place.clone(), what, help));
    }
}

/// That a managed source has the columns that a view reads, unless its `sql` may make them.
fn managed_columns(
    problems: &mut Problems,
    view: &ViewReferences,
    entity: Option<&Entity>,
    (source, source_place): (&Source, &Place),
) {
    let Location::Managed { schema, .. } = &source.location else {
        return;
    };
    if source.sql.is_some() {
        return;
    }
    let keys = entity
        .into_iter()
        .flat_map(|entity| entity.keys.iter().map(move |key| (entity, key)));
    for (entity, key) in keys {
        let use_of_it = format!(
            "key column {} of entity {:?}",
            shown(&key.name),
            entity.name.as_str()
        );
        let wanted = (use_of_it.as_str(), key.name.as_str(), key.key_type.data_type());
        column(problems, source, schema, wanted, source_place);
    }
    for (feature, place) in &view.features {
        let use_of_it = format!("feature {:?}", feature.name.as_str());
        let wanted = (use_of_it.as_str(), feature.source_column(), &feature.data_type);
        column(problems, source, schema, wanted, place);
    }
}

pub(super) fn column(
    problems: &mut Problems,
    source: &Source,
    schema: &[(String, DataType)],
    (use_of_it, name, wanted): (&str, &str, &DataType),
    place: &Place,
) {
    let source = source.name.as_str();
    let (what, help) = match schema.iter().find(|(column, _)| column == name) {
        None => (
            format!("source {source:?} has no column {} for {use_of_it}", shown(name)),
            suggest(name, schema.iter().map(|(column, _)| column), "no column"),
        ),
        Some((_, found)) if !fits(found, wanted) => (
            format!(
                "{use_of_it} is {}, and column {} of source {source:?} is {}",
                shown(&wanted.to_string()),
                shown(name),
                shown(&found.to_string())
            ),
            "expected one type".into(),
        ),
        Some(_) => return,
    };
    problems.push(Problem::new(place.clone(), what, help));
}

/// Whether values of the column are values of that type as they are.
fn fits(column: &DataType, wanted: &DataType) -> bool {
    column == wanted || (*column == DataType::String && *wanted == DataType::Json)
}

/// How many problems of one service's columns are looked for.
const MAX_FOUND: usize = 5;

/// Notes the entries that cannot stand together: columns of one name, a caller's column of two types,
/// keys and features that do not exist. Every entry's view must be bound.
pub(crate) fn check_entries(
    definitions: &Definitions,
    entries: Vec<(FrozenEntry, Place)>,
    problems: &mut Problems,
) {
    let (mut entries, mut places): (Vec<_>, Vec<_>) = entries.into_iter().unzip();
    for _ in 0..MAX_FOUND {
        let fails = |length: usize| entries.get(..length).and_then(|part| error_of(definitions, part));
        let Some(_) = fails(entries.len()) else { return };
        // The shortest list that fails ends with the entry that is to blame.
        let (mut good, mut bad) = (0, entries.len());
        while bad - good > 1 {
            let middle = good + (bad - good) / 2;
            match fails(middle) {
                Some(_) => bad = middle,
                None => good = middle,
            }
        }
        let (Some(error), Some(place)) = (fails(bad), places.get(good)) else {
            return;
        };
        problems.push(explain(&error, place.clone()));
        entries.remove(good);
        places.remove(good);
    }
}

fn error_of(definitions: &Definitions, entries: &[FrozenEntry]) -> Option<PlanError> {
    match ReadPlan::of_entries(definitions, entries) {
        Ok(_) | Err(PlanError::Empty) => None,
        Err(error) => Some(error),
    }
}

fn explain(error: &PlanError, place: Place) -> Problem {
    let (what, help) = match error {
        PlanError::UnknownKeyColumn {
            entity,
            column,
            expected,
        } => (
            format!("entity {entity:?} has no key column {}", shown(column)),
            format!("its key is {expected}"),
        ),
        PlanError::ConflictingType {
            column,
            first,
            second,
        } => (
            format!(
                "the caller's column {} would have to be both {first} and {second}",
                shown(column)
            ),
            "map the keys of one entry: keys = { key_column = \"another_column\" }, or rename a request column".into(),
        ),
        PlanError::DuplicateColumn(column) => (
            format!("two columns would be named {column:?}"),
            "remove one of the entries, or give one a prefix".into(),
        ),
        other => (other.to_string(), String::new()),
    };
    Problem::new(place, what, help)
}
