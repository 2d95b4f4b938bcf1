//! The columns of a dataset: the spine's, the features, and on request what became of each.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType as ArrowType, Field, Schema, SchemaRef};

use asof_core::data_type::DataType;

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
}

impl Columns {
    pub(super) fn plan(request: &ExtractRequest<'_>, spine: &Spine) -> Result<Self> {
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
        for column in &request.plan.columns {
            let Some((read, feature)) = request.plan.feature(column) else {
                continue;
            };
            let origin = format!("feature {}:{}", read.bound.view.name, feature.name);
            add(column.name.clone(), feature.data_type.to_arrow(), &origin)?;
            if request.status {
                add(
                    format!("{}__status", column.name),
                    ArrowType::Utf8,
                    &format!("the status of {origin}"),
                )?;
            }
        }
        if request.status {
            for read in &request.plan.reads {
                let origin = format!("the event time of view {}", read.bound.view.name);
                add(
                    format!("{}__event_time", read.label()),
                    DataType::Timestamp.to_arrow(),
                    &origin,
                )?;
            }
        }
        let metadata = spine.schema().metadata().clone();
        Ok(Self {
            schema: Arc::new(Schema::new_with_metadata(fields, metadata)),
            spine: spine.schema().fields().len(),
        })
    }

    /// The columns of the dataset for rows of the spine with their answers.
    pub(super) fn finish(
        &self,
        request: &ExtractRequest<'_>,
        batch: &RecordBatch,
        tally: &mut Tally,
    ) -> Result<RecordBatch> {
        let plan = request.plan;
        let features: Vec<usize> = plan.reads.iter().map(|read| read.features.len()).collect();
        let answers = AnswerColumns::of(batch, &features)?;
        tally.count(batch.num_rows(), &answers);
        let mut arrays: Vec<ArrayRef> = batch.columns().iter().take(self.spine).cloned().collect();
        for (number, column) in plan.columns.iter().enumerate() {
            let answers = answers.get(column.read);
            let found = answers.and_then(|answers| Some((answers, answers.features.get(column.feature)?)));
            let Some((answers, array)) = found else {
                return Err(OfflineError::Internal(format!(
                    "column {} has no values",
                    column.name
                )));
            };
            tally.count_statuses(number, answers, array.null_count());
            arrays.push(canonical(array)?);
            if request.status {
                let status = |row| answers.verdict(row).status(array.is_null(row)).as_str();
                let words = (0..array.len()).map(status);
                arrays.push(Arc::new(StringArray::from_iter_values(words)));
            }
        }
        if request.status {
            for answers in &answers {
                arrays.push(canonical(&answers.event_times)?);
            }
        }
        Ok(RecordBatch::try_new(SchemaRef::clone(&self.schema), arrays)?)
    }
}
