//! Finding definitions by kind and name.

use std::fmt;

use asof_core::definition::{
    Definitions, Entity, Feature, Notes, OnDemand, OnDemandFeature, Service, Source, View,
};

use crate::problem::{shown, suggest};

/// The kinds of what a project defines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// An entity.
    Entity,
    /// A source.
    Source,
    /// A view.
    View,
    /// A set of on-demand features.
    OnDemand,
    /// A feature, whose name is `view:feature`.
    Feature,
    /// A service.
    Service,
}

impl ObjectKind {
    /// All of them, in the order in which lists show them.
    pub const ALL: [Self; 6] = [
        Self::Entity,
        Self::Source,
        Self::View,
        Self::OnDemand,
        Self::Feature,
        Self::Service,
    ];

    /// Parses `entity`, `source`, `view`, `on_demand`, `feature` or `service`, or the plural.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| text == kind.singular() || text == kind.plural())
    }

    /// `entity`
    pub fn singular(self) -> &'static str {
        match self {
            Self::Entity => "entity",
            Self::Source => "source",
            Self::View => "view",
            Self::OnDemand => "on_demand",
            Self::Feature => "feature",
            Self::Service => "service",
        }
    }

    /// `entities`
    pub fn plural(self) -> &'static str {
        match self {
            Self::Entity => "entities",
            Self::Source => "sources",
            Self::View => "views",
            Self::OnDemand => "on_demands",
            Self::Feature => "features",
            Self::Service => "services",
        }
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.singular())
    }
}

/// One definition.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Object<'a> {
    /// An entity.
    Entity(&'a Entity),
    /// A source.
    Source(&'a Source),
    /// A view.
    View(&'a View),
    /// A set of on-demand features.
    OnDemand(&'a OnDemand),
    /// A computed feature and its set.
    Computed {
        /// The set.
        on_demand: &'a OnDemand,
        /// The feature.
        feature: &'a OnDemandFeature,
    },
    /// A feature and its view.
    Feature {
        /// The view.
        view: &'a View,
        /// The feature.
        feature: &'a Feature,
    },
    /// A service.
    Service(&'a Service),
}

impl<'a> Object<'a> {
    /// What it is.
    pub fn kind(&self) -> ObjectKind {
        match self {
            Self::Entity(_) => ObjectKind::Entity,
            Self::Source(_) => ObjectKind::Source,
            Self::View(_) => ObjectKind::View,
            Self::OnDemand(_) => ObjectKind::OnDemand,
            Self::Feature { .. } | Self::Computed { .. } => ObjectKind::Feature,
            Self::Service(_) => ObjectKind::Service,
        }
    }

    /// Its name; `view:feature` for a feature.
    pub fn name(&self) -> String {
        match self {
            Self::Entity(entity) => entity.name.to_string(),
            Self::Source(source) => source.name.to_string(),
            Self::View(view) => view.name.to_string(),
            Self::OnDemand(on_demand) => on_demand.name.to_string(),
            Self::Computed { on_demand, feature } => format!("{}:{}", on_demand.name, feature.name),
            Self::Feature { view, feature } => format!("{}:{}", view.name, feature.name),
            Self::Service(service) => service.name.to_string(),
        }
    }

    /// Its description.
    pub fn description(&self) -> Option<&'a str> {
        match self {
            Self::Feature { feature, .. } => feature.description.as_deref(),
            Self::Computed { feature, .. } => feature.description.as_deref(),
            other => other.notes().description.as_deref(),
        }
    }

    /// The text for people: its own, or its view's for a feature.
    pub fn notes(&self) -> &'a Notes {
        match self {
            Self::Entity(entity) => &entity.notes,
            Self::Source(source) => &source.notes,
            Self::View(view) | Self::Feature { view, .. } => &view.notes,
            Self::OnDemand(on_demand) | Self::Computed { on_demand, .. } => &on_demand.notes,
            Self::Service(service) => &service.notes,
        }
    }
}

/// No definition has that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {kind} {name}; {help}")]
pub struct NotFound {
    /// What was looked for: a kind, or `name` where any kind would do.
    pub kind: String,
    /// The name as asked, quoted, and cut where it is long.
    pub name: String,
    /// The nearest name, or the names that there are.
    pub help: String,
}

/// Every definition of a kind, or of all kinds, by kind and name; features in the order of their views.
pub fn list(definitions: &Definitions, kind: Option<ObjectKind>) -> Vec<Object<'_>> {
    let kinds = ObjectKind::ALL.into_iter();
    kinds
        .filter(|candidate| kind.is_none_or(|kind| kind == *candidate))
        .flat_map(|kind| of_kind(definitions, kind))
        .collect()
}

fn of_kind(definitions: &Definitions, kind: ObjectKind) -> Vec<Object<'_>> {
    match kind {
        ObjectKind::Entity => definitions.entities.values().map(Object::Entity).collect(),
        ObjectKind::Source => definitions.sources.values().map(Object::Source).collect(),
        ObjectKind::View => definitions.views.values().map(Object::View).collect(),
        ObjectKind::OnDemand => definitions.on_demand.values().map(Object::OnDemand).collect(),
        ObjectKind::Feature => {
            let stored = definitions.views.values().flat_map(|view| {
                let features = view.features().iter();
                features.map(move |feature| Object::Feature { view, feature })
            });
            let computed = definitions.on_demand.values().flat_map(|on_demand| {
                let features = on_demand.features.iter();
                features.map(move |feature| Object::Computed { on_demand, feature })
            });
            stored.chain(computed).collect()
        }
        ObjectKind::Service => definitions.services.values().map(Object::Service).collect(),
    }
}

/// The definition of that kind and name.
pub fn find<'a>(definitions: &'a Definitions, kind: ObjectKind, name: &str) -> Result<Object<'a>, NotFound> {
    let found = match kind {
        ObjectKind::Entity => definitions.entities.get(name).map(Object::Entity),
        ObjectKind::Source => definitions.sources.get(name).map(Object::Source),
        ObjectKind::View => definitions.views.get(name).map(Object::View),
        ObjectKind::OnDemand => definitions.on_demand.get(name).map(Object::OnDemand),
        ObjectKind::Feature => name
            .split_once(':')
            .and_then(|(view, feature)| find_feature(definitions, view, feature)),
        ObjectKind::Service => definitions.services.get(name).map(Object::Service),
    };
    found.ok_or_else(|| not_found(definitions, Some(kind), name))
}

fn find_feature<'a>(definitions: &'a Definitions, view: &str, name: &str) -> Option<Object<'a>> {
    if let Some(on_demand) = definitions.on_demand.get(view) {
        let feature = on_demand.feature(name)?;
        return Some(Object::Computed { on_demand, feature });
    }
    let view = definitions.views.get(view)?;
    let feature = view.feature(name)?;
    Some(Object::Feature { view, feature })
}

/// The definitions of that name, whatever their kind.
pub fn find_any<'a>(definitions: &'a Definitions, name: &str) -> Result<Vec<Object<'a>>, NotFound> {
    let found: Vec<Object<'a>> = ObjectKind::ALL
        .into_iter()
        .filter_map(|kind| find(definitions, kind, name).ok())
        .collect();
    if found.is_empty() {
        return Err(not_found(definitions, None, name));
    }
    Ok(found)
}

fn not_found(definitions: &Definitions, kind: Option<ObjectKind>, name: &str) -> NotFound {
    let known = list(definitions, kind);
    let names = known.iter().map(Object::name);
    let none = format!("no {}", kind.map_or("definition", ObjectKind::singular));
    NotFound {
        kind: kind.map_or("name", ObjectKind::singular).into(),
        name: shown(name),
        help: suggest(name, names, &none),
    }
}
