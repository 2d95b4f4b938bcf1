//! The disk shape of definitions: JSON with a format number. A shape that this version cannot read
//! is either damaged or written by a newer one, and the two are told apart.

use std::collections::BTreeMap;

mod aggregates;
mod on_demand;
mod stream;

use asof_core::data_type::{DataType, KeyType};
use asof_core::definition::{
    Definitions, Entity, Feature, FrozenEntry, KeyColumn, Location, Notes, Select, Service, ServiceEntry,
    Source, View, ViewKind,
};
use asof_core::duration::Duration;
use asof_core::name::{EntityName, FeatureName, Prefix, ProjectName, ServiceName, SourceName, ViewName};
use asof_core::time::{DateInstant, Zone};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use aggregates::DiskAggregates;
use on_demand::DiskOnDemand;
use stream::DiskStream;

/// The newest format, which definitions are written in that have on-demand features or streams.
pub(crate) const FORMAT: u64 = 3;
/// That of others that have aggregates. Versions that know no newer format read it, too.
const WITH_AGGREGATES: u64 = 2;
/// That of all others.
const PLAIN: u64 = 1;

/// Why stored definitions cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DiskError {
    #[error("it has format {0}")]
    Newer(u64),
    #[error("{0}")]
    Damaged(String),
}

/// Definitions as text; equal definitions give equal text.
pub(crate) fn to_disk(definitions: &Definitions) -> Result<String, DiskError> {
    serde_json::to_string(&DiskDefinitions::of(definitions)).map_err(|error| damaged(&error))
}

/// Reads what [`to_disk`] wrote.
pub(crate) fn from_disk(text: &str) -> Result<Definitions, DiskError> {
    let head: Head = serde_json::from_str(text).map_err(|error| damaged(&error))?;
    if !(PLAIN..=FORMAT).contains(&head.format) {
        return Err(DiskError::Newer(head.format));
    }
    let disk: DiskDefinitions = serde_json::from_str(text).map_err(|error| damaged(&error))?;
    disk.into_domain()
}

/// The digest of definitions as text.
pub(crate) fn digest(text: &str) -> String {
    let hash = Sha256::digest(text.as_bytes());
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn damaged(reason: &impl ToString) -> DiskError {
    DiskError::Damaged(reason.to_string())
}

#[derive(Deserialize)]
struct Head {
    format: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DiskDefinitions {
    format: u64,
    project: String,
    entities: Vec<DiskEntity>,
    sources: Vec<DiskSource>,
    views: Vec<DiskView>,
    /// Since format 3.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    on_demand: Vec<DiskOnDemand>,
    services: Vec<DiskService>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DiskNotes {
    description: Option<String>,
    owner: Option<String>,
    tags: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DiskEntity {
    name: String,
    keys: Vec<(String, String)>,
    notes: DiskNotes,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum DiskLocation {
    InPlace {
        path: String,
    },
    Managed {
        schema: Vec<(String, String)>,
        event_id: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stream: Option<DiskStream>,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum DiskDates {
    Start,
    End,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DiskSource {
    name: String,
    location: DiskLocation,
    event_time: String,
    created_time: Option<String>,
    timezone: Option<String>,
    dates: Option<DiskDates>,
    deleted: Option<String>,
    sql: Option<String>,
    notes: DiskNotes,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DiskFeature {
    name: String,
    data_type: String,
    column: Option<String>,
    description: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DiskView {
    name: String,
    entity: String,
    source: String,
    ttl_us: Option<i64>,
    /// Those that are stored; none of a view of aggregates.
    features: Vec<DiskFeature>,
    /// Since format 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    aggregates: Option<DiskAggregates>,
    notes: DiskNotes,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum DiskSelect {
    All,
    Named(Vec<String>),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DiskEntry {
    view: String,
    select: DiskSelect,
    keys: BTreeMap<String, String>,
    prefix: Option<String>,
    frozen: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DiskService {
    name: String,
    entries: Vec<DiskEntry>,
    notes: DiskNotes,
}

impl DiskDefinitions {
    fn of(definitions: &Definitions) -> Self {
        let Definitions {
            project,
            entities,
            sources,
            views,
            on_demand,
            services,
        } = definitions;
        Self {
            format: match views.values().any(|view| view.aggregates().is_some()) {
                _ if !on_demand.is_empty() || sources.values().any(|source| source.stream().is_some()) => {
                    FORMAT
                }
                true => WITH_AGGREGATES,
                false => PLAIN,
            },
            project: project.to_string(),
            entities: entities.values().map(DiskEntity::of).collect(),
            sources: sources.values().map(DiskSource::of).collect(),
            views: views.values().map(DiskView::of).collect(),
            on_demand: on_demand.values().map(DiskOnDemand::of).collect(),
            services: services.values().map(DiskService::of).collect(),
        }
    }

    fn into_domain(self) -> Result<Definitions, DiskError> {
        let mut definitions = Definitions::empty(read(&self.project, ProjectName::parse)?);
        for entity in self.entities {
            let entity = entity.into_domain()?;
            definitions.entities.insert(entity.name.clone(), entity);
        }
        for source in self.sources {
            let source = source.into_domain()?;
            definitions.sources.insert(source.name.clone(), source);
        }
        for view in self.views {
            let view = view.into_domain()?;
            definitions.views.insert(view.name.clone(), view);
        }
        for on_demand in self.on_demand {
            let on_demand = on_demand.into_domain()?;
            definitions.on_demand.insert(on_demand.name.clone(), on_demand);
        }
        for service in self.services {
            let service = service.into_domain()?;
            definitions.services.insert(service.name.clone(), service);
        }
        Ok(definitions)
    }
}

impl DiskNotes {
    fn of(notes: &Notes) -> Self {
        let Notes {
            description,
            owner,
            tags,
        } = notes.clone();
        Self {
            description,
            owner,
            tags,
        }
    }

    fn into_domain(self) -> Notes {
        Notes {
            description: self.description,
            owner: self.owner,
            tags: self.tags,
        }
    }
}

impl DiskEntity {
    fn of(entity: &Entity) -> Self {
        let Entity { name, keys, notes } = entity;
        Self {
            name: name.to_string(),
            keys: keys
                .iter()
                .map(|column| (column.name.clone(), column.key_type.to_string()))
                .collect(),
            notes: DiskNotes::of(notes),
        }
    }

    fn into_domain(self) -> Result<Entity, DiskError> {
        let key = |(name, key_type): (String, String)| {
            Ok(KeyColumn {
                name,
                key_type: read(&key_type, KeyType::parse)?,
            })
        };
        Ok(Entity {
            name: read(&self.name, EntityName::parse)?,
            keys: self.keys.into_iter().map(key).collect::<Result<_, _>>()?,
            notes: self.notes.into_domain(),
        })
    }
}

impl DiskLocation {
    fn of(location: &Location) -> Self {
        match location {
            Location::InPlace { path } => Self::InPlace { path: path.clone() },
            Location::Managed {
                schema,
                event_id,
                stream,
            } => Self::Managed {
                schema: schema
                    .iter()
                    .map(|(name, data_type)| (name.clone(), data_type.to_string()))
                    .collect(),
                event_id: event_id.clone(),
                stream: stream.as_ref().map(DiskStream::of),
            },
        }
    }

    fn into_domain(self) -> Result<Location, DiskError> {
        let column = |(name, data_type): (String, String)| Ok((name, read(&data_type, DataType::parse)?));
        Ok(match self {
            Self::InPlace { path } => Location::InPlace { path },
            Self::Managed {
                schema,
                event_id,
                stream,
            } => Location::Managed {
                schema: schema.into_iter().map(column).collect::<Result<_, _>>()?,
                event_id,
                stream: stream.map(DiskStream::into_domain),
            },
        })
    }
}

impl DiskSource {
    fn of(source: &Source) -> Self {
        let Source {
            name,
            location,
            event_time,
            created_time,
            timezone,
            dates,
            deleted,
            sql,
            notes,
        } = source.clone();
        Self {
            name: name.to_string(),
            location: DiskLocation::of(&location),
            event_time,
            created_time,
            timezone: timezone.map(|zone| zone.name().to_owned()),
            dates: dates.map(|dates| match dates {
                DateInstant::Start => DiskDates::Start,
                DateInstant::End => DiskDates::End,
            }),
            deleted,
            sql,
            notes: DiskNotes::of(&notes),
        }
    }

    fn into_domain(self) -> Result<Source, DiskError> {
        Ok(Source {
            name: read(&self.name, SourceName::parse)?,
            location: self.location.into_domain()?,
            event_time: self.event_time,
            created_time: self.created_time,
            timezone: self.timezone.map(|zone| read(&zone, Zone::parse)).transpose()?,
            dates: self.dates.map(|dates| match dates {
                DiskDates::Start => DateInstant::Start,
                DiskDates::End => DateInstant::End,
            }),
            deleted: self.deleted,
            sql: self.sql,
            notes: self.notes.into_domain(),
        })
    }
}

impl DiskView {
    fn of(view: &View) -> Self {
        let View {
            name,
            entity,
            source,
            ttl,
            kind,
            notes,
        } = view;
        let (features, aggregates) = match kind {
            ViewKind::Features(features) => (features.as_slice(), None),
            ViewKind::Aggregates(aggregates) => (&[][..], Some(DiskAggregates::of(aggregates))),
        };
        let feature = |feature: &Feature| DiskFeature {
            name: feature.name.to_string(),
            data_type: feature.data_type.to_string(),
            column: feature.column.clone(),
            description: feature.description.clone(),
        };
        Self {
            name: name.to_string(),
            entity: entity.to_string(),
            source: source.to_string(),
            ttl_us: ttl.map(Duration::micros),
            features: features.iter().map(feature).collect(),
            aggregates,
            notes: DiskNotes::of(notes),
        }
    }

    fn into_domain(self) -> Result<View, DiskError> {
        let feature = |feature: DiskFeature| {
            Ok(Feature {
                name: read(&feature.name, FeatureName::parse)?,
                data_type: read(&feature.data_type, DataType::parse)?,
                column: feature.column,
                description: feature.description,
            })
        };
        let ttl = self.ttl_us.map(Duration::from_micros).transpose();
        Ok(View {
            name: read(&self.name, ViewName::parse)?,
            entity: read(&self.entity, EntityName::parse)?,
            source: read(&self.source, SourceName::parse)?,
            ttl: ttl.map_err(|error| damaged(&error))?,
            kind: match self.aggregates {
                Some(_) if !self.features.is_empty() => {
                    return Err(damaged(&"a view has both features and aggregates"));
                }
                Some(aggregates) => ViewKind::Aggregates(aggregates.into_domain()?),
                None => ViewKind::Features(self.features.into_iter().map(feature).collect::<Result<_, _>>()?),
            },
            notes: self.notes.into_domain(),
        })
    }
}

impl DiskService {
    fn of(service: &Service) -> Self {
        let Service { name, entries, notes } = service;
        Self {
            name: name.to_string(),
            entries: entries.iter().map(DiskEntry::of).collect(),
            notes: DiskNotes::of(notes),
        }
    }

    fn into_domain(self) -> Result<Service, DiskError> {
        let entries = self.entries.into_iter().map(DiskEntry::into_domain);
        Ok(Service {
            name: read(&self.name, ServiceName::parse)?,
            entries: entries.collect::<Result<_, _>>()?,
            notes: self.notes.into_domain(),
        })
    }
}

impl DiskEntry {
    fn of(frozen: &FrozenEntry) -> Self {
        let FrozenEntry { entry, features } = frozen;
        let ServiceEntry {
            view,
            select,
            keys,
            prefix,
        } = entry;
        Self {
            view: view.to_string(),
            select: match select {
                Select::All => DiskSelect::All,
                Select::Named(names) => DiskSelect::Named(names.iter().map(ToString::to_string).collect()),
            },
            keys: keys.clone(),
            prefix: prefix.as_ref().map(ToString::to_string),
            frozen: features.iter().map(ToString::to_string).collect(),
        }
    }

    fn into_domain(self) -> Result<FrozenEntry, DiskError> {
        let names = |names: Vec<String>| {
            names
                .iter()
                .map(|name| read(name, FeatureName::parse))
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(FrozenEntry {
            entry: ServiceEntry {
                view: read(&self.view, ViewName::parse)?,
                select: match self.select {
                    DiskSelect::All => Select::All,
                    DiskSelect::Named(list) => Select::Named(names(list)?),
                },
                keys: self.keys,
                prefix: self
                    .prefix
                    .map(|prefix| read(&prefix, Prefix::parse))
                    .transpose()?,
            },
            features: names(self.frozen)?,
        })
    }
}

fn read<T, E: ToString>(text: &str, parse: impl FnOnce(&str) -> Result<T, E>) -> Result<T, DiskError> {
    parse(text).map_err(|error| damaged(&error))
}
