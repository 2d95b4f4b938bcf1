//! Answers beside the rows that asked.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::compute::interleave;
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef, UInt64Type};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{Distribution, OrderingRequirements, PhysicalExpr};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, InputDistributionRequirements, PlanProperties,
};
use futures::StreamExt;

use super::answers::nothing;
use super::leaf::{external, ordering, properties};
use super::questions::ROW;
use crate::error::OfflineError;

/// Puts beside each row of the spine the answers of its number, which come in ascending order; a row
/// without one has a null key, and finds nothing. Batches are cut as the spine's are.
#[derive(Debug)]
pub(super) struct AttachExec {
    /// The spine, then answers.
    inputs: Vec<Arc<dyn ExecutionPlan>>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl AttachExec {
    /// Attaches answers to the rows of the first input.
    pub(super) fn new(inputs: Vec<Arc<dyn ExecutionPlan>>) -> Self {
        let mut fields: Vec<Field> = Vec::new();
        for (place, input) in inputs.iter().enumerate() {
            let own = usize::from(place > 0);
            let schema = input.schema();
            fields.extend(
                schema
                    .fields()
                    .iter()
                    .skip(own)
                    .map(|field| field.as_ref().clone()),
            );
        }
        Self {
            properties: properties(Arc::new(Schema::new(fields)), 1),
            inputs,
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }
}

impl DisplayAs for AttachExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AttachExec")
    }
}

impl ExecutionPlan for AttachExec {
    fn name(&self) -> &'static str {
        "AttachExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::new(vec![Distribution::SinglePartition; self.inputs.len()])
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        let inputs = self.inputs.iter().enumerate();
        inputs
            .map(|(place, input)| {
                let order = (place > 0).then(|| ordering(&**input, &[ROW]).ok());
                order.flatten().map(OrderingRequirements::from)
            })
            .collect()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.inputs.iter().collect()
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
        Ok(Arc::new(Self::new(children)))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let mut streams = self
            .inputs
            .iter()
            .map(|input| input.execute(partition, Arc::clone(&context)))
            .collect::<Result<Vec<_>>>()?
            .into_iter();
        let lost = || external(OfflineError::Internal("nothing to attach to".into()));
        let mut spine = streams.next().ok_or_else(lost)?;
        let mut answers: Vec<Answers> = streams.map(Answers::new).collect();
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let schema = self.schema();
        let mut builder = RecordBatchReceiverStreamBuilder::new(self.schema(), 1);
        let sender = builder.tx();
        builder.spawn(async move {
            let mut first = 0;
            // The answers first: a join reads all of the spine before it gives any.
            for answers in &mut answers {
                answers.fill().await?;
            }
            while let Some(batch) = spine.next().await.transpose()? {
                let rows = first..first + batch.num_rows() as u64;
                first = rows.end;
                let mut columns = batch.columns().to_vec();
                for answers in &mut answers {
                    columns.extend(answers.take(rows.clone()).await?);
                }
                let batch = RecordBatch::try_new(SchemaRef::clone(&schema), columns)?;
                metrics.record_output(batch.num_rows());
                if sender.send(Ok(batch)).await.is_err() {
                    break;
                }
            }
            Ok(())
        });
        Ok(builder.build())
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// A stream of answers, in the order of their rows.
struct Answers {
    stream: SendableRecordBatchStream,
    batch: Option<RecordBatch>,
    /// The next answer in the batch.
    next: usize,
}

impl Answers {
    fn new(stream: SendableRecordBatchStream) -> Self {
        Self {
            stream,
            batch: None,
            next: 0,
        }
    }

    /// Makes the next answer one that is there; false at the end.
    async fn fill(&mut self) -> Result<bool> {
        while self
            .batch
            .as_ref()
            .is_none_or(|batch| self.next >= batch.num_rows())
        {
            self.batch = self.stream.next().await.transpose()?;
            self.next = 0;
            if self.batch.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The columns of the answers to `rows`, whole batches as they come where they fit.
    async fn take(&mut self, rows: Range<u64>) -> Result<Vec<ArrayRef>> {
        let fields: Vec<Field> = self
            .stream
            .schema()
            .fields()
            .iter()
            .skip(1)
            .map(|field| field.as_ref().clone())
            .collect();
        let count = usize::try_from(rows.end - rows.start).unwrap_or(usize::MAX);
        // Nothing at all stands before the batches, and for every row without an answer.
        let mut held: Vec<Vec<ArrayRef>> = vec![nothing(&fields, 1)];
        let mut places = vec![(0, 0); count];
        while self.fill().await? {
            let Some(batch) = &self.batch else { break };
            let numbers = batch.column(0).as_primitive::<UInt64Type>().values();
            let left = numbers.get(self.next..).unwrap_or_default();
            let taken = left.partition_point(|number| *number < rows.end);
            if taken == 0 {
                break;
            }
            if self.next == 0 && taken == count && taken == batch.num_rows() {
                self.next = taken;
                return Ok(batch.columns().iter().skip(1).cloned().collect());
            }
            for (offset, number) in left.iter().take(taken).enumerate() {
                let at = number
                    .checked_sub(rows.start)
                    .and_then(|at| usize::try_from(at).ok());
                if let Some(slot) = at.and_then(|at| places.get_mut(at)) {
                    *slot = (held.len(), self.next + offset);
                }
            }
            held.push(batch.columns().iter().skip(1).cloned().collect());
            self.next += taken;
        }
        let column = |place: usize| {
            let arrays: Vec<&dyn Array> = held
                .iter()
                .filter_map(|columns| columns.get(place))
                .map(AsRef::as_ref)
                .collect();
            interleave(&arrays, &places)
        };
        Ok((0..fields.len())
            .map(column)
            .collect::<std::result::Result<_, _>>()?)
    }
}
