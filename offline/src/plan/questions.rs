//! The questions of a spine about the keys of one read.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BinaryBuilder, Int64Array, RecordBatch, UInt64Array};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{StreamExt, stream};

use asof_core::service::CallerColumn;

use super::leaf::{external, properties};
use super::source::KEY;
use super::spec::JoinSpec;
use crate::spine::KeyReader;

/// The time that a row asks about.
pub(super) const AT: &str = "at";
/// The row's number in the spine.
pub(super) const ROW: &str = "row";

/// Gives for each row of a spine that has a whole key the key's bytes, the time and the row's number.
#[derive(Debug)]
pub(super) struct QuestionsExec {
    spec: Arc<JoinSpec>,
    keys: Vec<CallerColumn>,
    /// The columns of the spine that the input has.
    columns: Vec<usize>,
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl QuestionsExec {
    /// Questions out of a spine of which the input gives `columns`.
    pub(super) fn new(
        spec: &Arc<JoinSpec>,
        keys: &[CallerColumn],
        columns: Vec<usize>,
        input: Arc<dyn ExecutionPlan>,
    ) -> Self {
        let schema = Schema::new(vec![
            Field::new(KEY, DataType::Binary, false),
            Field::new(AT, DataType::Int64, false),
            Field::new(ROW, DataType::UInt64, false),
        ]);
        Self {
            spec: Arc::clone(spec),
            keys: keys.to_vec(),
            columns,
            input,
            properties: properties(Arc::new(schema), 1),
        }
    }
}

impl DisplayAs for QuestionsExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.keys.iter().map(|key| key.name.as_str()).collect();
        write!(
            f,
            "QuestionsExec: key=[{}], at={}",
            names.join(", "),
            self.spec.spine.time_column()
        )
    }
}

impl ExecutionPlan for QuestionsExec {
    fn name(&self) -> &'static str {
        "QuestionsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let input = children
            .into_iter()
            .next()
            .unwrap_or_else(|| Arc::clone(&self.input));
        Ok(Arc::new(Self::new(
            &self.spec,
            &self.keys,
            self.columns.clone(),
            input,
        )))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let reader = KeyReader::new(&self.spec.spine, &self.keys, &self.columns).map_err(external)?;
        let (spec, schema) = (Arc::clone(&self.spec), self.schema());
        let size = spec.engine.options.batch_size.max(1);
        let mut first_row = 0;
        // A spine is read in larger batches than a sort may have room for.
        let questions = input.flat_map(move |batch| {
            let asked = batch.map(|batch| {
                let starts = (0..batch.num_rows()).step_by(size);
                let asked = starts.map(|start| {
                    let part = batch.slice(start, size.min(batch.num_rows() - start));
                    questions(&spec, &reader, &part, first_row + start, &schema)
                });
                let asked: Vec<Result<RecordBatch>> = asked.collect();
                first_row += batch.num_rows();
                asked
            });
            stream::iter(asked.unwrap_or_else(|error| vec![Err(error)]))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), questions)))
    }
}

fn questions(
    spec: &JoinSpec,
    reader: &KeyReader,
    batch: &RecordBatch,
    first_row: usize,
    schema: &SchemaRef,
) -> Result<RecordBatch> {
    let (keys, times) = reader.read(&spec.spine, batch, first_row).map_err(external)?;
    let mut bytes = BinaryBuilder::new();
    let (mut at, mut rows) = (Vec::new(), Vec::new());
    let mut key = Vec::new();
    for row in 0..batch.num_rows() {
        key.clear();
        if keys.write(row, &mut key) {
            bytes.append_value(&key);
            at.push(times.value(row));
            rows.push((first_row + row) as u64);
        }
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(bytes.finish()),
        Arc::new(Int64Array::from(at)),
        Arc::new(UInt64Array::from(rows)),
    ];
    Ok(RecordBatch::try_new(SchemaRef::clone(schema), columns)?)
}
