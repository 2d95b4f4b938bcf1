//! All on-demand features of a plan, compiled once.

use arrow::array::ArrayRef;
use asof_core::service::{Input, ReadPlan, Value};

use crate::error::ExprError;
use crate::features::{BoundFeature, FeatureExpression, FeatureValues};

/// The on-demand features of a plan, ready to evaluate: the one function that gives their values, in datasets and in
/// answers. It can be shared between threads.
#[derive(Debug)]
pub struct Program {
    /// What is given, each once.
    inputs: Vec<Input>,
    /// In the order of the plan.
    steps: Vec<Step>,
}

#[derive(Debug)]
struct Step {
    feature: BoundFeature,
    columns: Vec<Place>,
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
            if feature.references().len() != types.len() {
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
            steps.push(Step { feature, columns });
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

    /// The values of all computed features of the plan for some rows, in its order, of a column for each of the
    /// [`inputs`](Self::inputs).
    ///
    /// The same rows give the same values, in whatever batches they come.
    ///
    /// # Errors
    ///
    /// Columns of other types or of other lengths; no value makes this fail.
    pub fn evaluate(&self, given: &[ArrayRef], rows: usize) -> Result<Vec<FeatureValues>, ExprError> {
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
