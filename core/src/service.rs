//! A service worked out for reading: which views are read, under which columns of the caller, what is computed of them,
//! and which columns come out. Extracts and online reads share it.

mod build;
mod nearest;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::data_type::{DataType, KeyType};
use crate::definition::{
    BoundView, Definitions, Feature, FrozenEntry, OnDemandFeature, RequestColumn, Select, ServiceEntry,
};
use crate::name::{FeatureName, Prefix, ViewName};

use build::Draft;
pub use nearest::{did_you_mean, nearest};

/// One view, read once per row under one set of the caller's columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewRead {
    /// The view with its entity and source.
    pub bound: BoundView,
    /// The caller's columns that hold the entity key, in key order.
    pub key_columns: Vec<String>,
    /// What goes before its columns' names.
    pub prefix: Option<Prefix>,
    /// The features that are read, to return them or to compute others of them.
    pub features: Vec<Feature>,
}

impl ViewRead {
    /// How messages and summaries call this read: the view, with its prefix where it has one.
    pub fn label(&self) -> String {
        label(self.prefix.as_ref(), &self.bound.view.name)
    }

    /// The view with only the features that are read.
    pub fn narrowed(&self) -> BoundView {
        BoundView {
            view: self.bound.view.narrowed(&self.features),
            ..self.bound.clone()
        }
    }
}

fn label(prefix: Option<&Prefix>, view: &ViewName) -> String {
    match prefix {
        Some(prefix) => format!("{prefix}_{view}"),
        None => view.to_string(),
    }
}

/// A value that a plan has for each row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// A feature that is read.
    Stored {
        /// Which of [`ReadPlan::reads`].
        read: usize,
        /// Which of that read's features.
        feature: usize,
    },
    /// Which of [`ReadPlan::computed`].
    Computed(usize),
}

/// What a feature is computed of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Input {
    /// Another feature.
    Value(Value),
    /// Which of [`ReadPlan::caller_columns`].
    Key(usize),
    /// Which of [`ReadPlan::request_columns`].
    Request(usize),
}

/// A feature that is computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Computed {
    /// The set of on-demand features that has it.
    pub on_demand: ViewName,
    /// The feature.
    pub feature: OnDemandFeature,
    /// One for each of the feature's inputs; computed ones come before it in the plan.
    pub inputs: Vec<Input>,
}

/// On-demand features of one set that are returned under one prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComputedGroup {
    /// The set.
    pub on_demand: ViewName,
    /// What goes before its columns' names.
    pub prefix: Option<Prefix>,
    /// The reads that they are computed of.
    pub reads: BTreeSet<usize>,
}

impl ComputedGroup {
    /// How messages and summaries call it: the set, with its prefix where it has one.
    pub fn label(&self) -> String {
        label(self.prefix.as_ref(), &self.on_demand)
    }
}

/// One column of the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputColumn {
    /// `view__feature`, or `prefix_view__feature`.
    pub name: String,
    /// What it has.
    pub value: Value,
    /// Which of [`ReadPlan::groups`] it is of.
    pub group: usize,
}

/// A key column that the caller must give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerColumn {
    /// Its name.
    pub name: String,
    /// The type of its values.
    pub key_type: KeyType,
}

/// What to read, what to compute and what to return, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadPlan {
    /// The views to read, each with other keys or another prefix; first those of which something is returned.
    pub reads: Vec<ViewRead>,
    /// The features to compute, each after those that it is computed of.
    pub computed: Vec<Computed>,
    /// The columns to return.
    pub columns: Vec<OutputColumn>,
    /// The columns of keys that the caller gives, in the order of their first use.
    pub caller_columns: Vec<CallerColumn>,
    /// The other columns that the caller gives, in the order of their first use.
    pub request_columns: Vec<RequestColumn>,
    /// How many reads there are of which something is returned.
    pub returned_reads: usize,
    /// The sets of on-demand features of which something is returned, in the order of their first column.
    pub computed_groups: Vec<ComputedGroup>,
}

/// What a column returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Returned<'a> {
    /// The view, or the set of on-demand features.
    pub view: &'a ViewName,
    /// What goes before the column's name.
    pub prefix: Option<&'a Prefix>,
    /// The feature.
    pub feature: &'a FeatureName,
    /// The type of its values.
    pub data_type: &'a DataType,
}

/// How deep on-demand features may be computed of each other.
pub const MAX_DEPTH: usize = 16;

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
    /// A key map names a column that is neither a key nor a request column of what on-demand features are computed of.
    #[error("{on_demand:?} reads no column {column:?} of the caller; those that it reads are {expected}")]
    UnreadKeyColumn {
        /// The set of on-demand features.
        on_demand: String,
        /// As asked.
        column: String,
        /// The columns.
        expected: String,
    },
    /// On-demand features are computed of each other.
    #[error("on-demand features are computed of each other: {0}")]
    Cycle(String),
    /// On-demand features are computed of others too many times over.
    #[error("{0} is computed of on-demand features that are computed of others, more than {MAX_DEPTH} deep")]
    TooDeep(String),
    /// Two columns of the result would have one name.
    #[error("two columns would be named {0:?}: give one of the entries a prefix")]
    DuplicateColumn(String),
    /// One column of the caller would have two types.
    #[error(
        "the caller's column {column:?} would have to be both {first} and {second}: map the keys of one entry"
    )]
    ConflictingType {
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
    let names = definitions
        .feature_names(&entry.view)
        .ok_or_else(|| unknown_view(definitions, &entry.view))?;
    let features = match &entry.select {
        Select::All => names.into_iter().cloned().collect(),
        Select::Named(names) => names.clone(),
    };
    Ok(FrozenEntry { entry, features })
}

fn unknown_view(definitions: &Definitions, name: &ViewName) -> PlanError {
    let known = definitions.views.keys().chain(definitions.on_demand.keys());
    PlanError::UnknownView {
        name: name.to_string(),
        nearest: nearest(name.as_str(), known),
    }
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
        let mut draft = Draft::default();
        for entry in entries {
            draft.add(definitions, entry)?;
        }
        let plan = draft.finish()?;
        if plan.columns.is_empty() {
            return Err(PlanError::Empty);
        }
        Ok(plan)
    }

    /// The part of this plan that returns the features of `wanted`, under whatever keys and prefixes; `None`
    /// where there is none.
    pub fn only(&self, wanted: &Self) -> Option<Self> {
        let names = |plan: &Self, column: &OutputColumn| {
            let returned = plan.returned(column)?;
            Some((returned.view.clone(), returned.feature.clone()))
        };
        let wanted: BTreeSet<_> = wanted
            .columns
            .iter()
            .filter_map(|column| names(wanted, column))
            .collect();
        let (mut draft, mut known) = (Draft::default(), BTreeMap::new());
        for column in &self.columns {
            if names(self, column).is_some_and(|names| wanted.contains(&names)) {
                draft.copy(self, column, &mut known);
            }
        }
        let part = draft.finish().ok()?;
        (!part.columns.is_empty()).then_some(part)
    }

    /// Whether the caller must give a column of that name.
    pub fn asks_for(&self, column: &str) -> bool {
        let mut keys = self.caller_columns.iter().map(|known| &known.name);
        let mut request = self.request_columns.iter().map(|known| &known.name);
        keys.any(|name| name == column) || request.any(|name| name == column)
    }

    /// What a column returns.
    pub fn returned(&self, column: &OutputColumn) -> Option<Returned<'_>> {
        match column.value {
            Value::Stored { .. } => {
                let (read, feature) = self.stored(column.value)?;
                Some(Returned {
                    view: &read.bound.view.name,
                    prefix: read.prefix.as_ref(),
                    feature: &feature.name,
                    data_type: &feature.data_type,
                })
            }
            Value::Computed(computed) => {
                let computed = self.computed.get(computed)?;
                let group = column.group.checked_sub(self.returned_reads)?;
                Some(Returned {
                    view: &computed.on_demand,
                    prefix: self.computed_groups.get(group)?.prefix.as_ref(),
                    feature: &computed.feature.name,
                    data_type: &computed.feature.data_type,
                })
            }
        }
    }

    /// The feature that is read for a value; `None` where it is computed.
    pub fn stored(&self, value: Value) -> Option<(&ViewRead, &Feature)> {
        let Value::Stored { read, feature } = value else {
            return None;
        };
        let read = self.reads.get(read)?;
        Some((read, read.features.get(feature)?))
    }

    /// The type of what a feature is computed of.
    pub fn input_type(&self, input: Input) -> Option<&DataType> {
        match input {
            Input::Value(Value::Computed(computed)) => self
                .computed
                .get(computed)
                .map(|computed| &computed.feature.data_type),
            Input::Value(stored) => self.stored(stored).map(|(_, feature)| &feature.data_type),
            Input::Key(key) => self.caller_columns.get(key).map(|key| key.key_type.data_type()),
            Input::Request(column) => self.request_columns.get(column).map(|column| &column.data_type),
        }
    }

    /// The views, and the sets of on-demand features, of which something is returned, each under its prefix: the first
    /// [`returned_reads`](Self::returned_reads) reads, and then the [`computed_groups`](Self::computed_groups).
    pub fn groups(&self) -> impl Iterator<Item = (&ViewName, Option<&Prefix>)> {
        let reads = self.reads.iter().take(self.returned_reads);
        let reads = reads.map(|read| (&read.bound.view.name, read.prefix.as_ref()));
        let computed = self.computed_groups.iter();
        reads.chain(computed.map(|group| (&group.on_demand, group.prefix.as_ref())))
    }

    /// All that is read, each once: what is returned, in the order of its columns, and then what is computed with and not
    /// returned.
    pub fn stored_values(&self) -> Vec<Value> {
        let is_stored = |value: &Value| matches!(value, Value::Stored { .. });
        let returned = self.columns.iter().map(|column| column.value);
        let mut values: Vec<Value> = returned.filter(is_stored).collect();
        let known: BTreeSet<Value> = values.iter().copied().collect();
        let reads = self.reads.iter().enumerate();
        let all = reads.flat_map(|(read, of)| {
            (0..of.features.len()).map(move |feature| Value::Stored { read, feature })
        });
        values.extend(all.filter(|value| !known.contains(value)));
        values
    }
}
