//! All on-demand features of a plan, compiled once.

use arrow::array::{Array, ArrayRef};
use arrow::compute::concat;
use asof_core::definition::OnDemandInput;
use asof_core::name::ViewName;
use asof_core::service::{Input, ReadPlan, Value};

use crate::error::ExprError;
use crate::features::{BoundFeature, FeatureExpression, FeatureValues, Reference, failed};

/// Of text, so many rows go through all steps at a time: what is computed with and not returned is kept no longer.
const PART_ROWS: usize = 1_024;

/// The on-demand features of a plan, ready to evaluate: the one function that gives their values, in datasets and in
/// answers. It can be shared between threads.
#[derive(Debug)]
pub struct Program {
    /// What is given, each once.
    inputs: Vec<Input>,
    /// In the order of the plan.
    steps: Vec<Step>,
}

/// What was computed of some rows.
#[derive(Debug)]
pub struct ProgramValues {
    /// For each computed feature of the plan its values; `None` of one that no column returns.
    pub values: Vec<Option<ArrayRef>>,
    /// For each of them, how many rows are null because something could not be computed.
    pub failed: Vec<u64>,
}

#[derive(Debug)]
struct Step {
    feature: BoundFeature,
    columns: Vec<Place>,
    is_returned: bool,
}

/// Where a column of a step comes from.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// Which of the inputs.
    Given(usize),
    /// Which of the steps before.
    Step(usize),
}

/// A feature that cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("on-demand feature {feature}: {error}")]
pub struct ProgramError {
    /// `set:feature`
    pub feature: String,
    /// What is wrong with its expression.
    pub error: ExprError,
}

impl Program {
    /// Compiles what a plan computes.
    ///
    /// # Errors
    ///
    /// The first expression that is not allowed, or does not fit what it reads.
    pub fn compile(plan: &ReadPlan) -> Result<Self, ProgramError> {
        let (mut inputs, mut steps) = (Vec::new(), Vec::new());
        for computed in &plan.computed {
            let error = |error| ProgramError {
                feature: format!("{}:{}", computed.on_demand, computed.feature.name),
                error,
            };
            let types = computed
                .inputs
                .iter()
                .map(|input| plan.input_type(*input).cloned());
            let types = types.collect::<Option<Vec<_>>>();
            let lost = || error(ExprError::Type("something that it reads is not there".to_owned()));
            let types = types.ok_or_else(lost)?;
            let feature = FeatureExpression::parse(&computed.feature.expression).map_err(error)?;
            // What was looked up when the plan was made is what the text names, in its order.
            let named = feature.references().iter().zip(&computed.feature.inputs);
            let is_same = feature.references().len() == types.len()
                && named
                    .into_iter()
                    .all(|(name, input)| is_named(name, input, &computed.on_demand));
            if !is_same {
                return Err(lost());
            }
            let columns = computed.inputs.iter().map(|input| match input {
                Input::Value(Value::Computed(step)) => Place::Step(*step),
                given => Place::Given(inputs.iter().position(|known| known == given).unwrap_or_else(|| {
                    inputs.push(*given);
                    inputs.len() - 1
                })),
            });
            let columns = columns.collect();
            let feature = feature.bind(&types, &computed.feature.data_type).map_err(error)?;
            let value = Value::Computed(steps.len());
            let is_returned = plan.columns.iter().any(|column| column.value == value);
            steps.push(Step {
                feature,
                columns,
                is_returned,
            });
        }
        Ok(Self { inputs, steps })
    }

    /// Whether nothing is computed.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// What must be given, each once: features that are read, and columns of the caller.
    pub fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// The values of the computed features of the plan that are returned for some rows, in its order, of a column for each of
    /// the [`inputs`](Self::inputs).
    ///
    /// The same rows give the same values, in whatever batches they come.
    ///
    /// # Errors
    ///
    /// Columns of other types or of other lengths; no value makes this fail.
    pub fn evaluate(&self, given: &[ArrayRef], rows: usize) -> Result<ProgramValues, ExprError> {
        let part = match self.steps.iter().any(|step| step.feature.may_grow()) {
            true => PART_ROWS,
            false => rows.max(1),
        };
        let mut parts: Vec<Vec<ArrayRef>> = self.steps.iter().map(|_| Vec::new()).collect();
        let mut failed_rows = vec![0; self.steps.len()];
        // Of no rows there is an empty part.
        for from in (0..rows.max(1)).step_by(part) {
            let length = part.min(rows - from);
            let given: Vec<ArrayRef> = given.iter().map(|column| column.slice(from, length)).collect();
            let done = self.evaluate_part(&given, length)?;
            for (((step, done), parts), failed) in
                self.steps.iter().zip(done).zip(&mut parts).zip(&mut failed_rows)
            {
                *failed += done.failed;
                parts.extend(step.is_returned.then_some(done.values));
            }
        }
        let values = parts.into_iter().map(|parts| match parts.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(ArrayRef::clone(one))),
            parts => {
                let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
                concat(&parts).map(Some).map_err(failed)
            }
        });
        Ok(ProgramValues {
            values: values.collect::<Result<_, _>>()?,
            failed: failed_rows,
        })
    }

    fn evaluate_part(&self, given: &[ArrayRef], rows: usize) -> Result<Vec<FeatureValues>, ExprError> {
        let mut done: Vec<FeatureValues> = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            let columns = step.columns.iter().map(|place| match place {
                Place::Given(place) => given.get(*place).cloned(),
                Place::Step(place) => done.get(*place).map(|step| ArrayRef::clone(&step.values)),
            });
            let columns = columns.collect::<Option<Vec<_>>>();
            let columns = columns.ok_or_else(|| ExprError::Batch("a column is missing".to_owned()))?;
            done.push(step.feature.evaluate(columns, rows)?);
        }
        Ok(done)
    }
}

/// Whether an input is what a name in an expression of a set means.
fn is_named(name: &Reference, input: &OnDemandInput, set: &ViewName) -> bool {
    match (name, input) {
        (Reference::Own(name), OnDemandInput::Request(column)) => name == column,
        (Reference::Own(name), OnDemandInput::Feature { view, feature }) => {
            view == set && feature.as_str() == name
        }
        (
            Reference::Of { view, feature },
            OnDemandInput::Feature {
                view: of,
                feature: known,
            },
        ) => of.as_str() == view && known.as_str() == feature,
        (Reference::Of { .. }, OnDemandInput::Request(_)) => false,
    }
}
