//! The rows of a source as one read sees them.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BinaryBuilder, BooleanArray, Int64Array, RecordBatch, UInt64Array};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};

use super::leaf::{external, properties, same_leaf};
use super::shared::SharedScan;
use super::spec::{JoinRead, JoinSpec};
use crate::error::OfflineError;
use crate::rows::SourceRows;

/// Columns: key, event time, created time, seq, deleted, then what the view stores.
pub(super) const KEY: &str = "key";
pub(super) const EVENT: &str = "event_time";
pub(super) const CREATED: &str = "created_time";
pub(super) const SEQ: &str = "seq";
const DELETED: &str = "deleted";
/// How many columns stand before what is stored.
pub(super) const BEFORE: usize = 5;

/// Streams the rows of a source that count for a read, each with its key's bytes, its place in the total
/// order and what the view stores of it.
#[derive(Debug)]
pub(super) struct SourceExec {
    spec: Arc<JoinSpec>,
    read: usize,
    scan: Arc<SharedScan>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl SourceExec {
    pub(super) fn new(spec: &Arc<JoinSpec>, number: usize, read: &JoinRead, scan: Arc<SharedScan>) -> Self {
        let mut fields = vec![
            Field::new(KEY, DataType::Binary, false),
            Field::new(EVENT, DataType::Int64, false),
            Field::new(CREATED, DataType::Int64, false),
            Field::new(SEQ, DataType::UInt64, false),
            Field::new(DELETED, DataType::Boolean, false),
        ];
        // The names of what is stored may be those of the columns above.
        let features = read.bound.view.stored().iter().enumerate();
        fields.extend(features.map(|(place, feature)| {
            Field::new(
                format!("{place}.{}", feature.name),
                feature.data_type.to_arrow(),
                true,
            )
        }));
        Self {
            spec: Arc::clone(spec),
            read: number,
            scan,
            properties: properties(Arc::new(Schema::new(fields)), 1),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }
}

impl DisplayAs for SourceExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let read = self.spec.reads.get(self.read);
        let source = read.and_then(|read| Some((read, self.spec.sources.get(read.source)?)));
        let Some((read, source)) = source else {
            return write!(f, "SourceExec");
        };
        let snapshot = &source.files.snapshot;
        write!(
            f,
            "SourceExec: source={}, files={}, view={}",
            snapshot.source,
            snapshot.files.len(),
            read.label
        )?;
        match self.scan.labels().as_slice() {
            [_] => Ok(()),
            shared => write!(f, ", one scan for {}", shared.join("+")),
        }
    }
}

impl ExecutionPlan for SourceExec {
    fn name(&self) -> &'static str {
        "SourceExec"
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
        let sender = builder.tx();
        let mut scanned = self.scan.rows(self.read).map_err(external)?;
        let (spec, schema) = (Arc::clone(&self.spec), self.schema());
        let (number, metrics) = (self.read, BaselineMetrics::new(&self.metrics, partition));
        builder.spawn(async move {
            let lost = || external(OfflineError::Internal("a read is lost".into()));
            let read = spec.reads.get(number).ok_or_else(lost)?;
            while let Some(rows) = scanned.next().await.map_err(external)? {
                let timer = metrics.elapsed_compute().timer();
                let batch = batch_of(&rows, &schema)?;
                timer.done();
                metrics.record_output(batch.num_rows());
                let count = batch.num_rows() as u64;
                read.counts.add(count, rows.skipped, rows.repeated);
                spec.told();
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

fn batch_of(rows: &SourceRows, schema: &SchemaRef) -> Result<RecordBatch> {
    let heads = &rows.heads;
    let mut keys = BinaryBuilder::with_capacity(heads.len(), heads.len() * 8);
    let mut key = Vec::new();
    for head in heads {
        key.clear();
        rows.keys.write(head.row, &mut key);
        keys.append_value(&key);
    }
    let order = |value: &dyn Fn(&crate::rows::RowHead) -> i64| -> ArrayRef {
        Arc::new(heads.iter().map(value).collect::<Int64Array>())
    };
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(keys.finish()),
        order(&|head| head.order.event_time.micros()),
        order(&|head| head.order.created_time.micros()),
        Arc::new(heads.iter().map(|head| head.order.seq).collect::<UInt64Array>()),
        Arc::new(
            heads
                .iter()
                .map(|head| Some(head.deleted))
                .collect::<BooleanArray>(),
        ),
    ];
    let places: UInt64Array = heads.iter().map(|head| head.row as u64).collect();
    for feature in &rows.features {
        columns.push(take(feature, &places, None)?);
    }
    Ok(RecordBatch::try_new(SchemaRef::clone(schema), columns)?)
}
