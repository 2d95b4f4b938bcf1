//! The columns of a dataset: the spine's, the features, stored and computed, and on request what became of each.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType as ArrowType, Field, Schema, SchemaRef};

use asof_core::data_type::DataType;
use asof_core::service::{Input, ReadPlan, Value};
use asof_core::status::Verdict;
use asof_expr::{Program, ProgramValues};

use super::ExtractRequest;
use super::tally::Tally;
use crate::canonical::canonical;
use crate::error::{OfflineError, Result};
use crate::plan::AnswerColumns;
use crate::spine::Spine;

/// The columns of the dataset.
pub(super) struct Columns {
    pub(super) schema: SchemaRef,
    /// How many of them are the spine's.
    spine: usize,
    program: Program,
    /// Where each input of the program is.
    inputs: Vec<Place>,
}

/// Where something is that on-demand features are computed of.
enum Place {
    /// A feature of a read.
    Answer { read: usize, feature: usize },
    /// A column of the spine.
    Spine {
        place: usize,
        what: &'static str,
        name: String,
        data_type: DataType,
    },
}

impl Columns {
    pub(super) fn plan(request: &ExtractRequest<'_>, spine: &Spine) -> Result<Self> {
        let plan = request.plan;
        let mut fields: Vec<Arc<Field>> = spine.schema().fields().iter().cloned().collect();
        let mut add = |name: String, data_type: ArrowType, origin: &str| {
            if fields.iter().any(|field| *field.name() == name) {
                return Err(OfflineError::Data(format!(
                    "column {name:?} of the dataset would come twice: once from {} and once as {origin}: \
                     rename the spine's column, or give the service's entry another prefix",
                    spine.label()
                )));
            }
            fields.push(Arc::new(Field::new(name, data_type, true)));
            Ok(())
        };
        for column in &plan.columns {
            let Some(returned) = plan.returned(column) else {
                continue;
            };
            let origin = format!("feature {}:{}", returned.view, returned.feature);
            add(column.name.clone(), returned.data_type.to_arrow(), &origin)?;
            if request.status {
                add(
                    format!("{}__status", column.name),
                    ArrowType::Utf8,
                    &format!("the status of {origin}"),
                )?;
            }
        }
        if request.status {
            for read in plan.reads.iter().take(plan.returned_reads) {
                let origin = format!("the event time of view {}", read.bound.view.name);
                add(
                    format!("{}__event_time", read.label()),
                    DataType::Timestamp.to_arrow(),
                    &origin,
                )?;
            }
        }
        let program = Program::compile(plan).map_err(|error| OfflineError::Internal(error.to_string()))?;
        let inputs = program
            .inputs()
            .iter()
            .map(|input| Place::of(*input, plan, spine));
        let metadata = spine.schema().metadata().clone();
        Ok(Self {
            schema: Arc::new(Schema::new_with_metadata(fields, metadata)),
            spine: spine.schema().fields().len(),
            inputs: inputs.collect::<Result<_>>()?,
            program,
        })
    }

    /// The columns of the dataset for rows of the spine with their answers.
    pub(super) fn finish(
        &self,
        request: &ExtractRequest<'_>,
        spine: &Spine,
        batch: &RecordBatch,
        tally: &mut Tally,
    ) -> Result<RecordBatch> {
        let plan = request.plan;
        let features: Vec<usize> = plan.reads.iter().map(|read| read.features.len()).collect();
        let answers = AnswerColumns::of(batch, &features)?;
        let computed = self.computed(spine, batch, &answers, tally.rows)?;
        tally.count(batch.num_rows(), &answers);
        tally.count_failures(&computed.failed);
        let mut arrays: Vec<ArrayRef> = batch.columns().iter().take(self.spine).cloned().collect();
        for (number, column) in plan.columns.iter().enumerate() {
            let lost = || OfflineError::Internal(format!("column {} has no values", column.name));
            let (array, verdicts) = match column.value {
                Value::Computed(place) => {
                    let array = computed
                        .values
                        .get(place)
                        .and_then(Option::as_ref)
                        .ok_or_else(lost)?;
                    tally.count_computed(number, array);
                    (array, None)
                }
                Value::Stored { read, feature } => {
                    let answers = answers.get(read).ok_or_else(lost)?;
                    let array = answers.features.get(feature).ok_or_else(lost)?;
                    tally.count_statuses(number, answers, array.null_count());
                    (array, Some(answers))
                }
            };
            arrays.push(canonical(array)?);
            if request.status {
                let status = |row| {
                    let verdict = verdicts.map_or(Verdict::Fresh, |answers| answers.verdict(row));
                    verdict.status(array.is_null(row)).as_str()
                };
                let words = (0..array.len()).map(status);
                arrays.push(Arc::new(StringArray::from_iter_values(words)));
            }
        }
        if request.status {
            for answers in answers.iter().take(plan.returned_reads) {
                arrays.push(canonical(&answers.event_times)?);
            }
        }
        Ok(RecordBatch::try_new(SchemaRef::clone(&self.schema), arrays)?)
    }

    /// The values of the on-demand features for rows of the spine, the first of which has that number.
    fn computed(
        &self,
        spine: &Spine,
        batch: &RecordBatch,
        answers: &[AnswerColumns],
        first_row: u64,
    ) -> Result<ProgramValues> {
        let first_row = usize::try_from(first_row).unwrap_or(usize::MAX);
        let inputs = self.inputs.iter().map(|place| match place {
            Place::Answer { read, feature } => {
                let array = answers
                    .get(*read)
                    .and_then(|answers| answers.features.get(*feature));
                let lost = || OfflineError::Internal("a feature that is computed with was not read".into());
                array.cloned().ok_or_else(lost)
            }
            Place::Spine {
                place,
                what,
                name,
                data_type,
            } => spine.given(batch, *place, (what, name, data_type), first_row),
        });
        let inputs = inputs.collect::<Result<Vec<_>>>()?;
        let values = self.program.evaluate(&inputs, batch.num_rows());
        values.map_err(|error| OfflineError::Internal(error.to_string()))
    }
}

impl Place {
    fn of(input: Input, plan: &ReadPlan, spine: &Spine) -> Result<Self> {
        let lost = || OfflineError::Internal("something that is computed with is not in the plan".into());
        match input {
            Input::Value(Value::Stored { read, feature }) => Ok(Self::Answer { read, feature }),
            Input::Value(Value::Computed(_)) => Err(lost()),
            Input::Key(key) => {
                let key = plan.caller_columns.get(key).ok_or_else(lost)?;
                Ok(Self::Spine {
                    place: spine.key_place(key)?,
                    what: "key column",
                    name: key.name.clone(),
                    data_type: key.key_type.data_type().clone(),
                })
            }
            Input::Request(column) => {
                let column = plan.request_columns.get(column).ok_or_else(lost)?;
                Ok(Self::Spine {
                    place: spine.request_place(column)?,
                    what: "request column",
                    name: column.name.clone(),
                    data_type: column.data_type.clone(),
                })
            }
        }
    }
}
