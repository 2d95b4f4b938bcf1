//! Working `*` out, once: what was applied before keeps the features that it stood for then.

use asof_core::definition::{Definitions, FrozenEntry, Select, Service, ServiceEntry};
use asof_core::name::FeatureName;

use crate::authored::{Authored, AuthoredService, check_entries};
use crate::problem::{Place, Problems};

/// The definitions with their services frozen, or what is wrong with the services' columns.
pub(super) fn freeze(old: &Definitions, authored: Authored) -> Result<Definitions, Problems> {
    let Authored {
        mut definitions,
        services,
        ..
    } = authored;
    let mut problems = Problems::default();
    for (name, service) in services {
        let AuthoredService {
            name: _,
            entries,
            notes,
            place: _,
        } = service;
        let mut applied = old
            .services
            .get(&name)
            .map_or_else(Vec::new, |service| service.entries.clone());
        let entries: Vec<(FrozenEntry, Place)> = entries
            .into_iter()
            .map(|(entry, place)| (frozen(&definitions, entry, &mut applied), place))
            .collect();
        check_entries(&definitions, entries.clone(), &mut problems);
        let service = Service {
            name: name.clone(),
            entries: entries.into_iter().map(|(entry, _)| entry).collect(),
            notes,
        };
        definitions.services.insert(name, service);
    }
    problems.or(definitions)
}

/// The features of an entry: those that it was applied with and that are still there, else today's.
/// Each applied entry serves one entry only.
fn frozen(definitions: &Definitions, entry: ServiceEntry, applied: &mut Vec<FrozenEntry>) -> FrozenEntry {
    let today = features_of(definitions, &entry);
    let features = match (&entry.select, applied.iter().position(|old| old.entry == entry)) {
        (Select::All, Some(at)) => {
            let kept: Vec<FeatureName> = applied
                .remove(at)
                .features
                .into_iter()
                .filter(|feature| today.contains(feature))
                .collect();
            if kept.is_empty() { today } else { kept }
        }
        _ => today,
    };
    FrozenEntry { entry, features }
}

fn features_of(definitions: &Definitions, entry: &ServiceEntry) -> Vec<FeatureName> {
    match &entry.select {
        Select::Named(names) => names.clone(),
        Select::All => {
            let names = definitions.feature_names(&entry.view).unwrap_or_default();
            names.into_iter().cloned().collect()
        }
    }
}

/// What each `*` would stand for beyond what it was frozen as.
pub(super) fn notes(definitions: &Definitions) -> Vec<String> {
    let mut notes = Vec::new();
    for service in definitions.services.values() {
        for frozen in &service.entries {
            let today = features_of(definitions, &frozen.entry);
            let added: Vec<&str> = today
                .iter()
                .filter(|feature| frozen.entry.select == Select::All && !frozen.features.contains(feature))
                .map(FeatureName::as_str)
                .collect();
            if !added.is_empty() {
                notes.push(format!(
                    "service {} keeps the features that {}:* had when it was applied; today it would add {}",
                    service.name,
                    frozen.entry.view,
                    added.join(", ")
                ));
            }
        }
    }
    notes
}
