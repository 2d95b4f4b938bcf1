//! The columns of a service with all that their values depend on: what may not change under a model
//! that uses them.

mod computed;

use asof_core::data_type::{DataType, KeyType};
use asof_core::definition::{Definitions, Feature, Location, Service, Source};
use asof_core::duration::Duration;
use asof_core::name::{EntityName, SourceName, ViewName};
use asof_core::service::{OutputColumn, ReadPlan, Value, ViewRead};
use asof_core::time::{DateInstant, Zone};

use computed::ComputedColumn;

/// One column of a service.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ServedColumn {
    pub(crate) name: String,
    /// The view, or the set of on-demand features.
    pub(crate) view: ViewName,
    meaning: Meaning,
}

/// What the values of a column are.
#[derive(Debug, Clone, PartialEq)]
enum Meaning {
    Stored(Box<StoredFeature>),
    Computed(ComputedColumn),
}

/// A feature of a view, looked up by columns of the caller.
#[derive(Debug, Clone, PartialEq)]
struct StoredFeature {
    view: ViewName,
    data_type: DataType,
    source_column: String,
    /// What it is computed of, where it is of a window.
    computed: Option<String>,
    entity: EntityName,
    /// Key columns with the caller's columns that they are looked up by.
    keys: Vec<(String, KeyType, String)>,
    ttl: Option<Duration>,
    source: SourceName,
    rows: RowRules,
}

/// What decides which rows a source has, and when they count.
#[derive(Debug, Clone, PartialEq)]
struct RowRules {
    /// `None` for a managed table.
    path: Option<String>,
    event_id: Option<String>,
    event_time: String,
    created_time: Option<String>,
    timezone: Option<Zone>,
    dates: Option<DateInstant>,
    deleted: Option<String>,
    sql: Option<String>,
}

impl RowRules {
    fn of(source: &Source) -> Self {
        let Source {
            name: _,
            location,
            event_time,
            created_time,
            timezone,
            dates,
            deleted,
            sql,
            notes: _,
        } = source.clone();
        let (path, event_id) = match location {
            Location::InPlace { path } => (Some(path), None),
            Location::Managed {
                schema: _,
                event_id,
                stream: _,
            } => (None, event_id),
        };
        Self {
            path,
            event_id,
            event_time,
            created_time,
            timezone,
            dates,
            deleted,
            sql,
        }
    }

    fn differences(&self, other: &Self) -> Vec<&'static str> {
        let fields = [
            ("path", self.path == other.path),
            ("event_id", self.event_id == other.event_id),
            ("event_time", self.event_time == other.event_time),
            ("created_time", self.created_time == other.created_time),
            ("timezone", self.timezone == other.timezone),
            ("dates", self.dates == other.dates),
            ("deleted", self.deleted == other.deleted),
            ("sql", self.sql == other.sql),
        ];
        let changed = fields.into_iter().filter(|(_, same)| !same);
        changed.map(|(name, _)| name).collect()
    }
}

impl StoredFeature {
    fn of(read: &ViewRead, feature: &Feature) -> Self {
        let bound = &read.bound;
        let keys = bound.entity.keys.iter().zip(&read.key_columns);
        Self {
            view: bound.view.name.clone(),
            data_type: feature.data_type.clone(),
            source_column: feature.source_column().to_owned(),
            computed: bound
                .view
                .aggregates()
                .and_then(|aggregates| aggregates.describe(feature.name.as_str())),
            entity: bound.entity.name.clone(),
            keys: keys
                .map(|(key, caller)| (key.name.clone(), key.key_type.clone(), caller.clone()))
                .collect(),
            ttl: bound.view.ttl,
            source: bound.source.name.clone(),
            rows: RowRules::of(&bound.source),
        }
    }

    /// How `new` differs in what its values are, and which definition says so; `None` where it does not.
    fn redefinition(&self, new: &Self, service: &str) -> Option<Redefinition> {
        let view = format!("view {}", self.view);
        if self.data_type != new.data_type {
            return because(
                view,
                format!("is retyped {} -> {}", self.data_type, new.data_type),
            );
        }
        if self.source_column != new.source_column {
            let reason = format!(
                "is read from {:?} instead of {:?}",
                new.source_column, self.source_column
            );
            return because(view, reason);
        }
        if self.computed != new.computed {
            let said = |column: &Self| column.computed.clone().unwrap_or_else(|| "a stored value".into());
            let reason = format!("is {} instead of {}", said(new), said(self));
            return because(view, reason);
        }
        if self.entity != new.entity {
            let reason = format!("is of entity {} instead of {}", new.entity, self.entity);
            return because(view, reason);
        }
        if self.source != new.source {
            let reason = format!("is read from source {} instead of {}", new.source, self.source);
            return because(view, reason);
        }
        if self.ttl != new.ttl {
            let reason = format!("has ttl {} instead of {}", length(new.ttl), length(self.ttl));
            return because(view, reason);
        }
        if self.rows != new.rows {
            let changed = self.rows.differences(&new.rows).join(", ");
            return because(
                format!("source {}", self.source),
                format!("has other rows by {changed}"),
            );
        }
        let of_key = |column: &Self| -> Vec<(String, KeyType)> {
            let keys = column.keys.iter();
            keys.map(|(name, key_type, _)| (name.clone(), key_type.clone()))
                .collect()
        };
        if of_key(self) != of_key(new) {
            return because(format!("entity {}", self.entity), "has another key".into());
        }
        if self.keys != new.keys {
            let callers = |column: &Self| {
                let names: Vec<_> = column
                    .keys
                    .iter()
                    .map(|(_, _, name)| format!("{name:?}"))
                    .collect();
                names.join(", ")
            };
            let reason = format!("is looked up by {} instead of {}", callers(new), callers(self));
            return because(format!("service {service}"), reason);
        }
        None
    }
}

impl ServedColumn {
    /// The definition that has it, such as `view airport_weather`.
    pub(crate) fn object(&self) -> String {
        match &self.meaning {
            Meaning::Stored(_) => format!("view {}", self.view),
            Meaning::Computed(_) => format!("on_demand {}", self.view),
        }
    }

    /// How `new` differs in what its values are, and which definition says so; `None` where it does not.
    pub(crate) fn redefinition(&self, new: &Self, service: &str) -> Option<Redefinition> {
        match (&self.meaning, &new.meaning) {
            (Meaning::Stored(old), Meaning::Stored(new)) => old.redefinition(new, service),
            (Meaning::Computed(old), Meaning::Computed(new)) => old.redefinition(new, service),
            (Meaning::Stored(_), Meaning::Computed(_)) => {
                because(new.object(), "is computed when it is asked for".into())
            }
            (Meaning::Computed(_), Meaning::Stored(_)) => {
                because(new.object(), "is a feature of a view".into())
            }
        }
    }
}

fn because(object: String, reason: String) -> Option<Redefinition> {
    Some(Redefinition { object, reason })
}

/// Why a column no longer means what it did.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Redefinition {
    /// The definition that changed, such as `view airport_weather`.
    pub(crate) object: String,
    /// What becomes of the column.
    pub(crate) reason: String,
}

fn length(ttl: Option<Duration>) -> String {
    ttl.map_or("none".into(), |ttl| ttl.to_string())
}

/// The columns of a service in order. One whose definitions do not fit together has none; no version
/// with such a service is ever planned.
pub(crate) fn served(definitions: &Definitions, service: &Service) -> Vec<ServedColumn> {
    let Ok(plan) = ReadPlan::of_entries(definitions, &service.entries) else {
        return Vec::new();
    };
    let column = |column: &OutputColumn| {
        let meaning = match column.value {
            Value::Computed(computed) => Meaning::Computed(ComputedColumn::of(&plan, computed)?),
            stored => {
                let (read, feature) = plan.stored(stored)?;
                Meaning::Stored(Box::new(StoredFeature::of(read, feature)))
            }
        };
        Some(ServedColumn {
            name: column.name.clone(),
            view: plan.returned(column)?.view.clone(),
            meaning,
        })
    };
    plan.columns.iter().filter_map(column).collect()
}
