//! What is created, changed and removed, field by field.

use asof_core::definition::{Definitions, Service};

use super::label;
use crate::columns::served;
use crate::object::{Object, ObjectKind, find, list};
use crate::render::{self, Field};

/// What happens to one definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its kind.
    pub kind: ObjectKind,
    /// Its name.
    pub name: String,
    /// What happens to it.
    pub action: Action,
}

impl Change {
    /// `view airport_weather`
    pub fn label(&self) -> String {
        label(self.kind, &self.name)
    }
}

/// What happens to a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// It is new.
    Create,
    /// These fields of it differ.
    Change(Vec<FieldChange>),
    /// It is gone.
    Remove,
}

/// One field that differs; values are written as in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldChange {
    /// Such as `ttl` or `features.temp`.
    pub field: String,
    /// What it was, where it was there.
    pub old: Option<String>,
    /// What it will be, where it will be there.
    pub new: Option<String>,
}

/// The kinds that are defined on their own; features are fields of their views.
const KINDS: [ObjectKind; 5] = [
    ObjectKind::Entity,
    ObjectKind::Source,
    ObjectKind::View,
    ObjectKind::OnDemand,
    ObjectKind::Service,
];

/// Every definition that differs, by kind and name; what is removed comes last, in the opposite order.
pub(super) fn diff(old: &Definitions, new: &Definitions) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut removed = Vec::new();
    for kind in KINDS {
        for object in list(new, Some(kind)) {
            changes.extend(change(old, new, kind, &object));
        }
        let gone = list(old, Some(kind)).into_iter().map(|object| object.name());
        let gone = gone.filter(|name| find(new, kind, name).is_err());
        removed.extend(gone.map(|name| Change {
            kind,
            name,
            action: Action::Remove,
        }));
    }
    changes.extend(removed.into_iter().rev());
    changes
}

fn change(old: &Definitions, new: &Definitions, kind: ObjectKind, object: &Object<'_>) -> Option<Change> {
    let name = object.name();
    let action = match find(old, kind, &name) {
        Err(_) => Action::Create,
        Ok(before) if before == *object => return None,
        Ok(before) => Action::Change(fields(old, new, &before, object)),
    };
    Some(Change { kind, name, action })
}

fn fields(old: &Definitions, new: &Definitions, before: &Object<'_>, after: &Object<'_>) -> Vec<FieldChange> {
    let is_list = |field: &Field| before.kind() == ObjectKind::Service && field.path() == "features";
    let before_fields = render::fields(before).into_iter();
    let after_fields = render::fields(after).into_iter();
    let before_fields: Vec<Field> = before_fields.filter(|field| !is_list(field)).collect();
    let after_fields: Vec<Field> = after_fields.filter(|field| !is_list(field)).collect();
    let mut changes = Vec::new();
    for field in &after_fields {
        let was = before_fields.iter().find(|other| other.path() == field.path());
        if was.is_none_or(|was| was.value != field.value) {
            changes.push(FieldChange {
                field: field.path(),
                old: was.map(|was| was.value.clone()),
                new: Some(field.value.clone()),
            });
        }
    }
    for field in &before_fields {
        if !after_fields.iter().any(|other| other.path() == field.path()) {
            changes.push(FieldChange {
                field: field.path(),
                old: Some(field.value.clone()),
                new: None,
            });
        }
    }
    if let (Object::Service(before), Object::Service(after)) = (before, after) {
        changes.extend(entries(before, after));
        changes.extend(columns((old, before), (new, after)));
    }
    if changes.is_empty() {
        changes.push(order_changed(before));
    }
    changes
}

/// Definitions that differ although each field is what it was have their parts in another order.
fn order_changed(object: &Object<'_>) -> FieldChange {
    let field = match object.kind() {
        ObjectKind::Entity => "keys",
        ObjectKind::Source => "schema",
        ObjectKind::View | ObjectKind::OnDemand | ObjectKind::Feature | ObjectKind::Service => "features",
    };
    FieldChange {
        field: field.into(),
        old: Some("one order".into()),
        new: Some("another order".into()),
    }
}

/// Entries of a service that are listed newly or no longer.
fn entries(before: &Service, after: &Service) -> Vec<FieldChange> {
    let texts = |service: &Service| -> Vec<String> {
        service
            .entries
            .iter()
            .map(|frozen| render::entry(&frozen.entry))
            .collect()
    };
    changed("features", &texts(before), &texts(after))
}

/// Columns of a service that come or go.
fn columns(
    (old, before): (&Definitions, &Service),
    (new, after): (&Definitions, &Service),
) -> Vec<FieldChange> {
    let names = |definitions: &Definitions, service: &Service| -> Vec<String> {
        served(definitions, service)
            .into_iter()
            .map(|column| column.name)
            .collect()
    };
    changed("column", &names(old, before), &names(new, after))
}

fn changed(field: &str, before: &[String], after: &[String]) -> Vec<FieldChange> {
    let gone = before.iter().filter(|text| !after.contains(text));
    let gone = gone.map(|text| FieldChange {
        field: field.into(),
        old: Some(text.clone()),
        new: None,
    });
    let come = after.iter().filter(|text| !before.contains(text));
    let come = come.map(|text| FieldChange {
        field: field.into(),
        old: None,
        new: Some(text.clone()),
    });
    gone.chain(come).collect()
}
