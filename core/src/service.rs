//! A service worked out for reading: which views are read, under which columns of the caller, and
//! which columns come out. Extracts and online reads share it.

use std::collections::BTreeMap;

use crate::data_type::KeyType;
use crate::definition::{BoundView, Definitions, Feature, FrozenEntry, Select, ServiceEntry, column_name};
use crate::name::{FeatureName, Prefix, ViewName};

/// One view, read once per row under one set of the caller's columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewRead {
    /// The view with its entity and source.
    pub bound: BoundView,
    /// The caller's columns that hold the entity key, in key order.
    pub key_columns: Vec<String>,
    /// What goes before its columns' names.
    pub prefix: Option<Prefix>,
    /// The features that are returned, in the order of the first listing.
    pub features: Vec<Feature>,
}

impl ViewRead {
    /// How messages and summaries call this read: the view, with its prefix where it has one.
    pub fn label(&self) -> String {
        match &self.prefix {
            Some(prefix) => format!("{prefix}_{}", self.bound.view.name),
            None => self.bound.view.name.to_string(),
        }
    }

    /// The view with only the features that are returned.
    pub fn narrowed(&self) -> BoundView {
        BoundView {
            view: self.bound.view.narrowed(&self.features),
            ..self.bound.clone()
        }
    }

    /// Whether it returns the feature of a view, under whatever keys and prefix.
    fn returns(&self, view: &ViewName, feature: &FeatureName) -> bool {
        self.bound.view.name == *view && self.features.iter().any(|other| other.name == *feature)
    }
}

/// One column of the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputColumn {
    /// `view__feature`, or `prefix_view__feature`.
    pub name: String,
    /// Which of [`ReadPlan::reads`].
    pub read: usize,
    /// Which of that read's features.
    pub feature: usize,
}

/// A column that the caller must give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerColumn {
    /// Its name.
    pub name: String,
    /// The type of its values.
    pub key_type: KeyType,
}

/// What to read and what to return, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadPlan {
    /// The views to read, each with other keys or another prefix.
    pub reads: Vec<ViewRead>,
    /// The columns to return.
    pub columns: Vec<OutputColumn>,
    /// The columns that the caller gives, in the order of their first use.
    pub caller_columns: Vec<CallerColumn>,
}

/// Why a list of features cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// No such service.
    #[error("unknown service {name:?}{}", did_you_mean(.nearest))]
    UnknownService {
        /// As asked.
        name: String,
        /// A service of nearly that name.
        nearest: Option<String>,
    },
    /// No such view.
    #[error("unknown view {name:?}{}", did_you_mean(.nearest))]
    UnknownView {
        /// As asked.
        name: String,
        /// A view of nearly that name.
        nearest: Option<String>,
    },
    /// The view has no such feature.
    #[error("view {view:?} has no feature {feature:?}{}", did_you_mean(.nearest))]
    UnknownFeature {
        /// The view.
        view: String,
        /// As asked.
        feature: String,
        /// A feature of nearly that name.
        nearest: Option<String>,
    },
    /// Not of the form `view:feature`.
    #[error("{0:?} is not a feature: write view:feature or view:*")]
    NotAFeature(String),
    /// A key map names a column that the entity does not have.
    #[error("entity {entity:?} has no key column {column:?}; its key is {expected}")]
    UnknownKeyColumn {
        /// The entity.
        entity: String,
        /// As asked.
        column: String,
        /// The key columns.
        expected: String,
    },
    /// Two columns of the result would have one name.
    #[error("two columns would be named {0:?}: give one of the entries a prefix")]
    DuplicateColumn(String),
    /// One column of the caller would have two types.
    #[error(
        "the caller's column {column:?} would have to be both {first} and {second}: map the keys of one entry"
    )]
    ConflictingKeyType {
        /// The caller's column.
        column: String,
        /// One type.
        first: String,
        /// The other.
        second: String,
    },
    /// Nothing to read.
    #[error("no features were asked for")]
    Empty,
}

/// The end of a message that names the nearest known name, where there is one.
pub fn did_you_mean(nearest: &Option<String>) -> String {
    nearest
        .as_ref()
        .map(|name| format!("; did you mean {name:?}?"))
        .unwrap_or_default()
}

/// Parses `view:feature` or `view:*`.
pub fn parse_feature(text: &str) -> Result<ServiceEntry, PlanError> {
    let not_a_feature = || PlanError::NotAFeature(text.chars().take(140).collect());
    let (view, feature) = text.split_once(':').ok_or_else(not_a_feature)?;
    let view = ViewName::parse(view).map_err(|_| not_a_feature())?;
    let select = match feature {
        "*" => Select::All,
        name => Select::Named(vec![FeatureName::parse(name).map_err(|_| not_a_feature())?]),
    };
    Ok(ServiceEntry {
        view,
        select,
        keys: BTreeMap::new(),
        prefix: None,
    })
}

/// Works `*` out against today's definitions.
pub fn freeze(definitions: &Definitions, entry: ServiceEntry) -> Result<FrozenEntry, PlanError> {
    let view = definitions
        .views
        .get(&entry.view)
        .ok_or_else(|| PlanError::UnknownView {
            name: entry.view.to_string(),
            nearest: nearest(entry.view.as_str(), definitions.views.keys()),
        })?;
    let features = match &entry.select {
        Select::All => view
            .features()
            .iter()
            .map(|feature| feature.name.clone())
            .collect(),
        Select::Named(names) => names.clone(),
    };
    Ok(FrozenEntry { entry, features })
}

impl ReadPlan {
    /// The plan of a registered service.
    pub fn of_service(definitions: &Definitions, name: &str) -> Result<Self, PlanError> {
        let service = definitions
            .services
            .get(name)
            .ok_or_else(|| PlanError::UnknownService {
                name: name.chars().take(140).collect(),
                nearest: nearest(name, definitions.services.keys()),
            })?;
        Self::of_entries(definitions, &service.entries)
    }

    /// The plan of a list of features, each `view:feature` or `view:*`.
    pub fn of_features<'a>(
        definitions: &Definitions,
        features: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, PlanError> {
        let entries = features
            .into_iter()
            .map(|text| freeze(definitions, parse_feature(text)?))
            .collect::<Result<Vec<_>, _>>()?;
        Self::of_entries(definitions, &entries)
    }

    /// The plan of frozen entries.
    pub fn of_entries(definitions: &Definitions, entries: &[FrozenEntry]) -> Result<Self, PlanError> {
        let mut plan = Self {
            reads: Vec::new(),
            columns: Vec::new(),
            caller_columns: Vec::new(),
        };
        for entry in entries {
            plan.add(definitions, entry)?;
        }
        if plan.columns.is_empty() {
            return Err(PlanError::Empty);
        }
        Ok(plan)
    }

    fn add(&mut self, definitions: &Definitions, frozen: &FrozenEntry) -> Result<(), PlanError> {
        let entry = &frozen.entry;
        let bound = definitions
            .bound_view(entry.view.as_str())
            .ok_or_else(|| PlanError::UnknownView {
                name: entry.view.to_string(),
                nearest: nearest(entry.view.as_str(), definitions.views.keys()),
            })?;
        let key_columns = self.key_columns(&bound, &entry.keys)?;
        for name in &frozen.features {
            let feature =
                bound
                    .view
                    .feature(name.as_str())
                    .cloned()
                    .ok_or_else(|| PlanError::UnknownFeature {
                        view: entry.view.to_string(),
                        feature: name.to_string(),
                        nearest: nearest(
                            name.as_str(),
                            bound.view.features().iter().map(|feature| &feature.name),
                        ),
                    })?;
            let column = column_name(entry.prefix.as_ref(), &entry.view, name);
            if self.columns.iter().any(|other| other.name == column) {
                return Err(PlanError::DuplicateColumn(column));
            }
            let read = self.read_of(&bound, &key_columns, entry.prefix.as_ref());
            self.push(read, feature, column);
        }
        Ok(())
    }

    /// Adds a feature to a read, and its column.
    fn push(&mut self, read: usize, feature: Feature, name: String) {
        let Some(view_read) = self.reads.get_mut(read) else {
            return;
        };
        view_read.features.push(feature);
        let feature = view_read.features.len() - 1;
        self.columns.push(OutputColumn { name, read, feature });
    }

    /// The place of the read of that view, keys and prefix, added where it is new.
    fn read_of(&mut self, bound: &BoundView, key_columns: &[String], prefix: Option<&Prefix>) -> usize {
        let same = |read: &ViewRead| {
            read.bound.view.name == bound.view.name
                && read.key_columns == key_columns
                && read.prefix.as_ref() == prefix
        };
        self.reads.iter().position(same).unwrap_or_else(|| {
            self.reads.push(ViewRead {
                bound: bound.clone(),
                key_columns: key_columns.to_vec(),
                prefix: prefix.cloned(),
                features: Vec::new(),
            });
            self.reads.len() - 1
        })
    }

    /// The caller's columns for the key of `bound`, noting each as one that the caller must give.
    fn key_columns(
        &mut self,
        bound: &BoundView,
        map: &BTreeMap<String, String>,
    ) -> Result<Vec<String>, PlanError> {
        let keys = &bound.entity.keys;
        if let Some(unknown) = map.keys().find(|name| keys.iter().all(|key| key.name != **name)) {
            return Err(PlanError::UnknownKeyColumn {
                entity: bound.entity.name.to_string(),
                column: unknown.chars().take(140).collect(),
                expected: keys
                    .iter()
                    .map(|key| format!("{:?}", key.name))
                    .collect::<Vec<_>>()
                    .join(", "),
            });
        }
        let mut columns = Vec::with_capacity(keys.len());
        for key in keys {
            let name = map.get(&key.name).unwrap_or(&key.name).clone();
            match self.caller_columns.iter().find(|column| column.name == name) {
                Some(column) if column.key_type != key.key_type => {
                    return Err(PlanError::ConflictingKeyType {
                        column: name,
                        first: column.key_type.to_string(),
                        second: key.key_type.to_string(),
                    });
                }
                Some(_) => {}
                None => self.caller_columns.push(CallerColumn {
                    name: name.clone(),
                    key_type: key.key_type.clone(),
                }),
            }
            columns.push(name);
        }
        Ok(columns)
    }

    /// The part of this plan that returns the features of `wanted`, under whatever keys and prefixes; `None`
    /// where there is none.
    pub fn only(&self, wanted: &Self) -> Option<Self> {
        let mut part = Self {
            reads: Vec::new(),
            columns: Vec::new(),
            caller_columns: self.caller_columns.clone(),
        };
        for column in &self.columns {
            let Some((read, feature)) = self.feature(column) else {
                continue;
            };
            let view = &read.bound.view.name;
            if wanted
                .reads
                .iter()
                .any(|other| other.returns(view, &feature.name))
            {
                let place = part.read_of(&read.bound, &read.key_columns, read.prefix.as_ref());
                part.push(place, feature.clone(), column.name.clone());
            }
        }
        let Self { reads, .. } = &part;
        let used = |column: &CallerColumn| reads.iter().any(|read| read.key_columns.contains(&column.name));
        let caller_columns = self.caller_columns.iter().filter(|column| used(column));
        part.caller_columns = caller_columns.cloned().collect();
        (!part.columns.is_empty()).then_some(part)
    }

    /// Whether the caller must give a column of that name.
    pub fn asks_for(&self, column: &str) -> bool {
        self.caller_columns.iter().any(|known| known.name == column)
    }

    /// The feature of an output column.
    pub fn feature(&self, column: &OutputColumn) -> Option<(&ViewRead, &Feature)> {
        let read = self.reads.get(column.read)?;
        Some((read, read.features.get(column.feature)?))
    }
}

/// The known name nearest to `name`, where one is near enough to be what was meant.
pub fn nearest<T: AsRef<str>>(name: &str, known: impl IntoIterator<Item = T>) -> Option<String> {
    if name.len() > 200 {
        return None;
    }
    known
        .into_iter()
        .map(|candidate| {
            let candidate = candidate.as_ref();
            let distance = strsim::damerau_levenshtein(name, candidate);
            (
                !candidate.eq_ignore_ascii_case(name),
                distance,
                candidate.to_owned(),
            )
        })
        .min()
        .filter(|(other, distance, candidate)| {
            // Of one or two letters every other name is near, and none is meant.
            let length = candidate.chars().count().max(name.chars().count());
            !other || (length > 2 && *distance <= 1 + length / 4)
        })
        .map(|(_, _, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_name_is_suggested_where_it_may_be_what_was_meant() {
        let check = |name: &str, known: &[&str], expect: Option<&str>| {
            assert_eq!(nearest(name, known).as_deref(), expect, "{name}");
        };
        check("weathr", &["planes", "weather"], Some("weather"));
        check("L", &["T", "l"], Some("l"));
        check("t", &["s", "x"], None);
        check("ab", &["ac"], None);
        check("Origin", &["origin"], Some("origin"));
        check("departures", &["arrivals"], None);
        check("anything", &[], None);
    }
}
