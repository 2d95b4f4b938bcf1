//! What definitions say of each other: references, the columns of managed sources, the columns of services.

use asof_core::data_type::DataType;
use asof_core::definition::{Definitions, Entity, FrozenEntry, Location, Select, Source};
use asof_core::service::{PlanError, ReadPlan};

use super::{AuthoredView, Reader, Register, named};
use crate::problem::{Place, Problem, Problems, shown, suggest};

/// Notes every reference to what is not there, and every pair of definitions that does not fit.
pub(super) fn references(reader: &mut Reader<'_>) {
    let problems = &mut reader.problems;
    for authored in &reader.views.good {
        let view = &authored.view;
        let entity = view.entity.as_str();
        let source = view.source.as_str();
        known(&reader.entities, problems, entity, &authored.entity_place);
        known(&reader.sources, problems, source, &authored.source_place);
        let entity = reader.entities.good.iter().find(|e| e.name == view.entity);
        let source = reader.sources.good.iter().find(|s| s.name == view.source);
        if let (Some(entity), Some(source)) = (entity, source) {
            managed_columns(problems, authored, entity, source);
        }
    }
    let mut definitions = Definitions::empty(reader.config.project.clone());
    definitions.entities = named(reader.entities.good.iter().cloned(), |entity| entity.name.clone());
    definitions.sources = named(reader.sources.good.iter().cloned(), |source| source.name.clone());
    definitions.views = named(reader.views.good.iter().map(|v| v.view.clone()), |view| {
        view.name.clone()
    });
    for service in &reader.services.good {
        let mut entries = Vec::new();
        for (entry, place) in &service.entries {
            known(&reader.views, problems, entry.view.as_str(), place);
            if definitions.bound_view(entry.view.as_str()).is_none() {
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

fn known<T>(register: &Register<T>, problems: &mut Problems, name: &str, place: &Place) {
    if !register.places.contains_key(name) {
        let what = format!("unknown {} {}", register.kind, shown(name));
        let help = suggest(name, register.places.keys(), &format!("no {}", register.kind));
        problems.push(Problem::new(place.clone(), what, help));
    }
}

/// That a managed source has the columns that a view reads, unless its `sql` may make them.
fn managed_columns(problems: &mut Problems, authored: &AuthoredView, entity: &Entity, source: &Source) {
    let Location::Managed { schema, .. } = &source.location else {
        return;
    };
    if source.sql.is_some() {
        return;
    }
    for key in &entity.keys {
        let use_of_it = format!(
            "key column {} of entity {:?}",
            shown(&key.name),
            entity.name.as_str()
        );
        let wanted = (use_of_it.as_str(), key.name.as_str(), key.key_type.data_type());
        column(problems, source, schema, wanted, &authored.source_place);
    }
    for (feature, place) in authored.view.features().iter().zip(&authored.feature_places) {
        let use_of_it = format!("feature {:?}", feature.name.as_str());
        let wanted = (use_of_it.as_str(), feature.source_column(), &feature.data_type);
        column(problems, source, schema, wanted, place);
    }
}

fn column(
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
        PlanError::ConflictingKeyType {
            column,
            first,
            second,
        } => (
            format!(
                "the caller's column {} would have to be both {first} and {second}",
                shown(column)
            ),
            "map the keys of one entry: keys = { key_column = \"another_column\" }".into(),
        ),
        PlanError::DuplicateColumn(column) => (
            format!("two columns would be named {column:?}"),
            "remove one of the entries, or give one a prefix".into(),
        ),
        other => (other.to_string(), String::new()),
    };
    Problem::new(place, what, help)
}
