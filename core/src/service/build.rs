//! Plans while they are put together.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    CallerColumn, Computed, ComputedGroup, Input, MAX_DEPTH, OutputColumn, PlanError, ReadPlan, Value,
    ViewRead, nearest, unknown_view,
};
use crate::data_type::DataType;
use crate::definition::{
    BoundView, Definitions, Feature, FrozenEntry, KeyColumn, OnDemand, OnDemandInput, RequestColumn,
    column_name,
};
use crate::name::{FeatureName, Prefix, ViewName};

/// A plan to which columns are added.
#[derive(Debug, Default)]
pub(super) struct Draft {
    reads: Vec<ViewRead>,
    computed: Vec<Computed>,
    columns: Vec<(String, Value, Option<Prefix>)>,
    caller_columns: Vec<CallerColumn>,
    request_columns: Vec<RequestColumn>,
}

/// The computed features of one entry, while they are looked for.
struct Entry<'a> {
    definitions: &'a Definitions,
    /// Entity key column -> the caller's column.
    keys: &'a BTreeMap<String, String>,
    /// Those that are there already, each with how deep it is computed of others.
    known: BTreeMap<(&'a ViewName, &'a FeatureName), (usize, usize)>,
    /// Those that are being looked for, each computed of the next.
    path: Vec<(&'a ViewName, &'a FeatureName)>,
    /// The key columns of all that was read.
    read_keys: BTreeSet<String>,
}

impl Draft {
    /// Adds the columns of an entry of a service.
    pub(super) fn add(&mut self, definitions: &Definitions, frozen: &FrozenEntry) -> Result<(), PlanError> {
        match definitions.on_demand.get(&frozen.entry.view) {
            Some(on_demand) => self.add_computed(definitions, frozen, on_demand),
            None => self.add_stored(definitions, frozen),
        }
    }

    fn add_stored(&mut self, definitions: &Definitions, frozen: &FrozenEntry) -> Result<(), PlanError> {
        let entry = &frozen.entry;
        let bound = definitions
            .bound_view(entry.view.as_str())
            .ok_or_else(|| unknown_view(definitions, &entry.view))?;
        let keys = &bound.entity.keys;
        if let Some(unknown) = entry
            .keys
            .keys()
            .find(|name| keys.iter().all(|key| key.name != **name))
        {
            return Err(PlanError::UnknownKeyColumn {
                entity: bound.entity.name.to_string(),
                column: unknown.chars().take(140).collect(),
                expected: listed(keys.iter().map(|key| &key.name)),
            });
        }
        let key_columns = self.key_columns(keys, &entry.keys)?;
        for name in &frozen.features {
            let feature = stored_feature(&bound, name)?;
            let column = self.new_name(entry.prefix.as_ref(), &entry.view, name)?;
            let same = |read: &ViewRead| read.prefix == entry.prefix;
            let read = self.read_of(&bound, &key_columns, entry.prefix.as_ref(), same);
            let value = self.stored(read, feature);
            self.columns.push((column, value, entry.prefix.clone()));
        }
        Ok(())
    }

    fn add_computed(
        &mut self,
        definitions: &Definitions,
        frozen: &FrozenEntry,
        on_demand: &OnDemand,
    ) -> Result<(), PlanError> {
        let entry = &frozen.entry;
        let mut computing = Entry {
            definitions,
            keys: &entry.keys,
            known: BTreeMap::new(),
            path: Vec::new(),
            read_keys: BTreeSet::new(),
        };
        for name in &frozen.features {
            let (computed, _) = self.computed(&mut computing, on_demand, name)?;
            let column = self.new_name(entry.prefix.as_ref(), &entry.view, name)?;
            self.columns
                .push((column, Value::Computed(computed), entry.prefix.clone()));
        }
        let read_keys = computing.read_keys;
        match entry.keys.keys().find(|name| !read_keys.contains(*name)) {
            None => Ok(()),
            Some(unread) => Err(PlanError::UnreadKeyColumn {
                on_demand: on_demand.name.to_string(),
                column: unread.chars().take(140).collect(),
                expected: match read_keys.is_empty() {
                    true => "none".to_owned(),
                    false => listed(&read_keys),
                },
            }),
        }
    }

    /// The place of a computed feature, after all that it is computed of, and how deep it is computed of others.
    fn computed<'a>(
        &mut self,
        entry: &mut Entry<'a>,
        on_demand: &'a OnDemand,
        name: &FeatureName,
    ) -> Result<(usize, usize), PlanError> {
        let feature = on_demand
            .feature(name.as_str())
            .ok_or_else(|| PlanError::UnknownFeature {
                view: on_demand.name.to_string(),
                feature: name.to_string(),
                nearest: nearest(
                    name.as_str(),
                    on_demand.features.iter().map(|feature| &feature.name),
                ),
            })?;
        let this = (&on_demand.name, &feature.name);
        let too_deep = |entry: &Entry<'_>| {
            let first = entry.path.first().unwrap_or(&this);
            PlanError::TooDeep(format!("{}.{}", first.0, first.1))
        };
        if let Some((place, depth)) = entry.known.get(&this).copied() {
            return match entry.path.len() + depth > MAX_DEPTH {
                true => Err(too_deep(entry)),
                false => Ok((place, depth)),
            };
        }
        if let Some(start) = entry.path.iter().position(|other| *other == this) {
            let cycle = entry.path.iter().skip(start).chain([&this]);
            let names: Vec<String> = cycle.map(|(view, feature)| format!("{view}.{feature}")).collect();
            return Err(PlanError::Cycle(names.join(" -> ")));
        }
        if entry.path.len() == MAX_DEPTH {
            return Err(too_deep(entry));
        }
        entry.path.push(this);
        let (mut inputs, mut depth) = (Vec::with_capacity(feature.inputs.len()), 1);
        for input in &feature.inputs {
            let (input, below) = self.input(entry, on_demand, input)?;
            inputs.push(input);
            depth = depth.max(below + 1);
        }
        entry.path.pop();
        let computed = self.compute(Computed {
            on_demand: on_demand.name.clone(),
            feature: feature.clone(),
            inputs,
        });
        entry.known.insert(this, (computed, depth));
        Ok((computed, depth))
    }

    fn input<'a>(
        &mut self,
        entry: &mut Entry<'a>,
        on_demand: &'a OnDemand,
        input: &'a OnDemandInput,
    ) -> Result<(Input, usize), PlanError> {
        let definitions = entry.definitions;
        let (view, name) = match input {
            OnDemandInput::Request(name) => {
                let mut request = on_demand.request.iter();
                let column = request.find(|column| column.name == *name);
                let column = column.ok_or_else(|| PlanError::UnknownFeature {
                    view: on_demand.name.to_string(),
                    feature: name.chars().take(140).collect(),
                    nearest: nearest(name, on_demand.request.iter().map(|column| &column.name)),
                })?;
                // What is a key in the expression is the key that is looked up.
                entry.read_keys.insert(name.clone());
                let column = RequestColumn {
                    name: entry.keys.get(name).unwrap_or(name).clone(),
                    data_type: column.data_type.clone(),
                };
                return Ok((self.request(&column)?, 0));
            }
            OnDemandInput::Feature { view, feature } => (view, feature),
        };
        if let Some(other) = definitions.on_demand.get(view) {
            let (computed, depth) = self.computed(entry, other, name)?;
            return Ok((Input::Value(Value::Computed(computed)), depth));
        }
        let bound = definitions
            .bound_view(view.as_str())
            .ok_or_else(|| unknown_view(definitions, view))?;
        let feature = stored_feature(&bound, name)?;
        let keys = &bound.entity.keys;
        entry.read_keys.extend(keys.iter().map(|key| key.name.clone()));
        let key_columns = self.key_columns(keys, entry.keys)?;
        // Whatever its prefix: that is only a matter of what is returned.
        let read = self.read_of(&bound, &key_columns, None, |_| true);
        Ok((Input::Value(self.stored(read, feature)), 0))
    }

    /// Adds what a column of another plan returns; `known` has the computed features of it that were copied.
    pub(super) fn copy(
        &mut self,
        plan: &ReadPlan,
        column: &OutputColumn,
        known: &mut BTreeMap<usize, usize>,
    ) {
        let value = self.copied(plan, column.value, known);
        let prefix = plan
            .returned(column)
            .and_then(|returned| returned.prefix.cloned());
        if let Some(value) = value {
            self.columns.push((column.name.clone(), value, prefix));
        }
    }

    fn copied(&mut self, plan: &ReadPlan, value: Value, known: &mut BTreeMap<usize, usize>) -> Option<Value> {
        let place = match value {
            Value::Stored { .. } => {
                let (read, feature) = plan.stored(value)?;
                let keys = &read.key_columns;
                for name in keys {
                    let mut columns = plan.caller_columns.iter();
                    self.key(columns.find(|column| column.name == *name)?);
                }
                let same = |other: &ViewRead| other.prefix == read.prefix;
                let place = self.read_of(&read.bound, keys, read.prefix.as_ref(), same);
                return Some(self.stored(place, feature.clone()));
            }
            Value::Computed(place) => place,
        };
        if let Some(known) = known.get(&place) {
            return Some(Value::Computed(*known));
        }
        let computed = plan.computed.get(place)?;
        let inputs = computed.inputs.iter().map(|input| match input {
            Input::Value(value) => self.copied(plan, *value, known).map(Input::Value),
            Input::Key(key) => plan
                .caller_columns
                .get(*key)
                .map(|column| Input::Key(self.key(column))),
            Input::Request(column) => {
                let column = plan.request_columns.get(*column)?;
                self.request(column).ok()
            }
        });
        let inputs = inputs.collect::<Option<Vec<_>>>()?;
        let copy = self.compute(Computed {
            inputs,
            ..computed.clone()
        });
        known.insert(place, copy);
        Some(Value::Computed(copy))
    }

    /// A name for a column that no other has.
    fn new_name(
        &self,
        prefix: Option<&Prefix>,
        view: &ViewName,
        feature: &FeatureName,
    ) -> Result<String, PlanError> {
        let name = column_name(prefix, view, feature);
        match self.columns.iter().any(|(other, ..)| *other == name) {
            true => Err(PlanError::DuplicateColumn(name)),
            false => Ok(name),
        }
    }

    /// The place of a feature of a read, added where it is new.
    fn stored(&mut self, read: usize, feature: Feature) -> Value {
        let mut place = 0;
        if let Some(read) = self.reads.get_mut(read) {
            let known = read.features.iter().position(|other| other.name == feature.name);
            place = known.unwrap_or(read.features.len());
            if known.is_none() {
                read.features.push(feature);
            }
        }
        Value::Stored { read, feature: place }
    }

    /// The place of a computed feature, added where it is new.
    fn compute(&mut self, computed: Computed) -> usize {
        let same = |other: &Computed| {
            other.on_demand == computed.on_demand
                && other.feature.name == computed.feature.name
                && other.inputs == computed.inputs
        };
        self.computed.iter().position(same).unwrap_or_else(|| {
            self.computed.push(computed);
            self.computed.len() - 1
        })
    }

    /// The place of the read of that view and those keys that is `alike`, added where it is new.
    fn read_of(
        &mut self,
        bound: &BoundView,
        key_columns: &[String],
        prefix: Option<&Prefix>,
        alike: impl Fn(&ViewRead) -> bool,
    ) -> usize {
        let same = |read: &ViewRead| {
            read.bound.view.name == bound.view.name && read.key_columns == key_columns && alike(read)
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

    /// The caller's columns for a key, noting each as one that the caller must give.
    fn key_columns(
        &mut self,
        keys: &[KeyColumn],
        map: &BTreeMap<String, String>,
    ) -> Result<Vec<String>, PlanError> {
        let mut columns = Vec::with_capacity(keys.len());
        for key in keys {
            let column = CallerColumn {
                name: map.get(&key.name).unwrap_or(&key.name).clone(),
                key_type: key.key_type.clone(),
            };
            let known = self.caller_columns.iter().find(|known| known.name == column.name);
            if let Some(known) = known.filter(|known| known.key_type != column.key_type) {
                let (first, second) = (known.key_type.data_type(), column.key_type.data_type());
                return Err(conflict(&column.name, first, second));
            }
            self.key(&column);
            columns.push(column.name);
        }
        Ok(columns)
    }

    /// The place of a key column, added where it is new.
    fn key(&mut self, column: &CallerColumn) -> usize {
        let same = |known: &CallerColumn| known.name == column.name;
        self.caller_columns.iter().position(same).unwrap_or_else(|| {
            self.caller_columns.push(column.clone());
            self.caller_columns.len() - 1
        })
    }

    /// The place of a request column, added where it is new.
    fn request(&mut self, column: &RequestColumn) -> Result<Input, PlanError> {
        let known = self
            .request_columns
            .iter()
            .position(|known| known.name == column.name);
        let Some(place) = known else {
            self.request_columns.push(column.clone());
            return Ok(Input::Request(self.request_columns.len() - 1));
        };
        match self.request_columns.get(place) {
            Some(known) if known.data_type != column.data_type => {
                Err(conflict(&column.name, &known.data_type, &column.data_type))
            }
            _ => Ok(Input::Request(place)),
        }
    }

    /// The plan: reads of which something is returned come first, and what is a key is no other column of the caller's.
    pub(super) fn finish(mut self) -> Result<ReadPlan, PlanError> {
        let request = self.without_keys()?;
        let returned: BTreeSet<usize> = self
            .columns
            .iter()
            .filter_map(|(_, value, _)| read_of(*value))
            .collect();
        let (mut first, mut last): (Vec<_>, Vec<_>) = std::mem::take(&mut self.reads)
            .into_iter()
            .enumerate()
            .partition(|(read, _)| returned.contains(read));
        let returned_reads = first.len();
        first.append(&mut last);
        let mut places = vec![0; first.len()];
        for (place, (read, _)) in first.iter().enumerate() {
            if let Some(moved) = places.get_mut(*read) {
                *moved = place;
            }
        }
        let moved = |value: Value| match value {
            Value::Stored { read, feature } => Value::Stored {
                read: places.get(read).copied().unwrap_or(read),
                feature,
            },
            computed => computed,
        };
        for computed in &mut self.computed {
            for input in &mut computed.inputs {
                *input = match *input {
                    Input::Value(value) => Input::Value(moved(value)),
                    Input::Request(column) => request.get(column).copied().unwrap_or(*input),
                    key @ Input::Key(_) => key,
                };
            }
        }
        let mut plan = ReadPlan {
            reads: first.into_iter().map(|(_, read)| read).collect(),
            computed: self.computed,
            columns: Vec::with_capacity(self.columns.len()),
            caller_columns: self.caller_columns,
            request_columns: self.request_columns,
            returned_reads,
            computed_groups: Vec::new(),
        };
        for (name, value, prefix) in self.columns {
            let value = moved(value);
            let group = match value {
                Value::Stored { read, .. } => read,
                Value::Computed(computed) => returned_reads + plan.group_of(computed, prefix),
            };
            plan.columns.push(OutputColumn { name, value, group });
        }
        Ok(plan)
    }

    /// Takes away the request columns that are keys, too; what each that there was becomes.
    fn without_keys(&mut self) -> Result<Vec<Input>, PlanError> {
        let mut becomes = Vec::with_capacity(self.request_columns.len());
        let mut left = Vec::new();
        for column in std::mem::take(&mut self.request_columns) {
            let key = self.caller_columns.iter().position(|key| key.name == column.name);
            match key.and_then(|place| Some((place, self.caller_columns.get(place)?))) {
                Some((_, key)) if *key.key_type.data_type() != column.data_type => {
                    return Err(conflict(
                        &column.name,
                        key.key_type.data_type(),
                        &column.data_type,
                    ));
                }
                Some((place, _)) => becomes.push(Input::Key(place)),
                None => {
                    becomes.push(Input::Request(left.len()));
                    left.push(column);
                }
            }
        }
        self.request_columns = left;
        Ok(becomes)
    }
}

impl ReadPlan {
    /// The group of a computed feature that is returned under a prefix, added where it is new.
    fn group_of(&mut self, computed: usize, prefix: Option<Prefix>) -> usize {
        let Some(on_demand) = self
            .computed
            .get(computed)
            .map(|computed| computed.on_demand.clone())
        else {
            return 0;
        };
        let same = |group: &ComputedGroup| group.on_demand == on_demand && group.prefix == prefix;
        let place = self.computed_groups.iter().position(same).unwrap_or_else(|| {
            self.computed_groups.push(ComputedGroup {
                on_demand,
                prefix,
                reads: BTreeSet::new(),
            });
            self.computed_groups.len() - 1
        });
        let reads = self.reads_of(computed);
        if let Some(group) = self.computed_groups.get_mut(place) {
            group.reads.extend(reads);
        }
        place
    }

    /// The reads that a computed feature needs.
    fn reads_of(&self, computed: usize) -> BTreeSet<usize> {
        let (mut reads, mut seen, mut left) = (BTreeSet::new(), BTreeSet::new(), vec![computed]);
        while let Some(next) = left.pop() {
            if !seen.insert(next) {
                continue;
            }
            for input in self
                .computed
                .get(next)
                .into_iter()
                .flat_map(|computed| &computed.inputs)
            {
                match input {
                    Input::Value(Value::Computed(other)) => left.push(*other),
                    Input::Value(stored) => reads.extend(read_of(*stored)),
                    Input::Key(_) | Input::Request(_) => {}
                }
            }
        }
        reads
    }
}

fn read_of(value: Value) -> Option<usize> {
    match value {
        Value::Stored { read, .. } => Some(read),
        Value::Computed(_) => None,
    }
}

fn stored_feature(bound: &BoundView, name: &FeatureName) -> Result<Feature, PlanError> {
    let known = bound.view.feature(name.as_str()).cloned();
    known.ok_or_else(|| PlanError::UnknownFeature {
        view: bound.view.name.to_string(),
        feature: name.to_string(),
        nearest: nearest(
            name.as_str(),
            bound.view.features().iter().map(|feature| &feature.name),
        ),
    })
}

fn conflict(column: &str, first: &DataType, second: &DataType) -> PlanError {
    PlanError::ConflictingType {
        column: column.to_owned(),
        first: first.to_string(),
        second: second.to_string(),
    }
}

fn listed<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("{name:?}")).collect();
    names.join(", ")
}
