//! All that the values of a computed column depend on.

use std::collections::BTreeMap;

use asof_core::data_type::DataType;
use asof_core::definition::OnDemandInput;
use asof_core::service::{Input, ReadPlan, Value};

use super::{Redefinition, StoredFeature, because};

/// A column that is computed, with all that it is computed of, however far.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ComputedColumn {
    own: Expression,
    /// The on-demand features, by name.
    computed: BTreeMap<String, Expression>,
    /// The features of views, by name.
    stored: BTreeMap<String, StoredFeature>,
    /// The columns of the caller, by name.
    given: BTreeMap<String, DataType>,
}

#[derive(Debug, Clone, PartialEq)]
struct Expression {
    on_demand: String,
    data_type: DataType,
    text: String,
    inputs: Vec<OnDemandInput>,
}

impl ComputedColumn {
    pub(super) fn of(plan: &ReadPlan, computed: usize) -> Option<Self> {
        let mut column = Self {
            own: Expression::of(plan, computed)?,
            computed: BTreeMap::new(),
            stored: BTreeMap::new(),
            given: BTreeMap::new(),
        };
        let mut left = vec![computed];
        while let Some(next) = left.pop() {
            for input in &plan.computed.get(next)?.inputs {
                match *input {
                    Input::Value(Value::Computed(other)) => {
                        let name = &plan.computed.get(other)?.feature.name;
                        let expression = Expression::of(plan, other)?;
                        let name = format!("{}:{name}", expression.on_demand);
                        if column.computed.insert(name, expression).is_none() {
                            left.push(other);
                        }
                    }
                    Input::Value(stored) => {
                        let (read, feature) = plan.stored(stored)?;
                        let name = format!("{}:{}", read.bound.view.name, feature.name);
                        column.stored.insert(name, StoredFeature::of(read, feature));
                    }
                    Input::Key(key) => {
                        let key = plan.caller_columns.get(key)?;
                        let data_type = key.key_type.data_type().clone();
                        column.given.insert(key.name.clone(), data_type);
                    }
                    Input::Request(request) => {
                        let request = plan.request_columns.get(request)?;
                        column
                            .given
                            .insert(request.name.clone(), request.data_type.clone());
                    }
                }
            }
        }
        Some(column)
    }

    /// How `new` differs in what its values are, and which definition says so; `None` where it does not.
    pub(super) fn redefinition(&self, new: &Self, service: &str) -> Option<Redefinition> {
        if let Some(reason) = self.own.difference(&new.own) {
            return because(format!("on_demand {}", self.own.on_demand), reason);
        }
        let through = |name: &str, found: Redefinition| Redefinition {
            reason: format!("is computed of {name}, which {}", found.reason),
            ..found
        };
        for (name, expression) in &self.computed {
            if let Some(reason) = new
                .computed
                .get(name)
                .and_then(|other| expression.difference(other))
            {
                let object = format!("on_demand {}", expression.on_demand);
                return Some(through(name, Redefinition { object, reason }));
            }
        }
        for (name, feature) in &self.stored {
            if let Some(found) = new
                .stored
                .get(name)
                .and_then(|other| feature.redefinition(other, service))
            {
                return Some(through(name, found));
            }
        }
        for (name, data_type) in &self.given {
            if let Some(other) = new.given.get(name).filter(|other| *other != data_type) {
                let reason = format!(
                    "is computed of {name:?}, which the caller gives as {other} instead of {data_type}"
                );
                return because(format!("on_demand {}", self.own.on_demand), reason);
            }
        }
        None
    }
}

impl Expression {
    fn of(plan: &ReadPlan, computed: usize) -> Option<Self> {
        let computed = plan.computed.get(computed)?;
        Some(Self {
            on_demand: computed.on_demand.to_string(),
            data_type: computed.feature.data_type.clone(),
            text: computed.feature.expression.clone(),
            inputs: computed.feature.inputs.clone(),
        })
    }

    fn difference(&self, new: &Self) -> Option<String> {
        if self.data_type != new.data_type {
            return Some(format!("is retyped {} -> {}", self.data_type, new.data_type));
        }
        if self.text != new.text {
            return Some(format!(
                "is {:?} instead of {:?}",
                cut(&new.text),
                cut(&self.text)
            ));
        }
        (self.inputs != new.inputs).then(|| "is computed of other features".into())
    }
}

/// The start of a text, for messages.
fn cut(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.chars().count() > SHOWN {
        true => text.chars().take(SHOWN).chain(['…']).collect(),
        false => text.to_owned(),
    }
}
