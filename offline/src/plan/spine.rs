//! The rows of a spine.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};

use super::leaf::{external, properties, same_leaf};
use super::spec::JoinSpec;

/// Reads a spine, from its first row to its last.
#[derive(Debug)]
pub(super) struct SpineExec {
    spec: Arc<JoinSpec>,
    /// The columns to read, by their places.
    columns: Vec<usize>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl SpineExec {
    pub(super) fn try_new(spec: &Arc<JoinSpec>, columns: Vec<usize>) -> Result<Self> {
        let schema: SchemaRef = Arc::new(spec.spine.schema().project(&columns)?);
        Ok(Self {
            spec: Arc::clone(spec),
            columns,
            properties: properties(schema, 1),
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }
}

impl DisplayAs for SpineExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let schema = self.schema();
        let names: Vec<&str> = schema
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        let spine = &self.spec.spine;
        write!(
            f,
            "SpineExec: file={}, columns=[{}]",
            spine.path().display(),
            names.join(", ")
        )
    }
}

impl ExecutionPlan for SpineExec {
    fn name(&self) -> &'static str {
        "SpineExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
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
        same_leaf(self, &children)
    }

    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let mut builder = RecordBatchReceiverStreamBuilder::new(self.schema(), 2);
        let (spec, columns, sender) = (Arc::clone(&self.spec), self.columns.clone(), builder.tx());
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        builder.spawn_blocking(move || {
            let spine = &spec.spine;
            for batch in spine.batches(Some(&columns)).map_err(external)? {
                let timer = metrics.elapsed_compute().timer();
                let batch = batch.map_err(|error| external(spine.unreadable(&error.to_string())))?;
                timer.done();
                metrics.record_output(batch.num_rows());
                if sender.blocking_send(Ok(batch)).is_err() {
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
