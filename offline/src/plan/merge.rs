//! The join of two sorted sides.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, Schema};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::col;
use datafusion::physical_expr::{Distribution, OrderingRequirements, PhysicalExpr};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, InputDistributionRequirements, PlanProperties,
};

use super::answers::{answer_columns, row_column};
use super::leaf::{external, ordering, properties};
use super::questions::{AT, ROW};
use super::source::{CREATED, EVENT, KEY, SEQ};
use super::spec::{JoinRead, JoinSpec};
use crate::error::OfflineError;
use crate::windows::Windows;
use sweep::Sweep;
use windows::WindowJoin;

mod side;
mod state;
mod sweep;
mod windows;

/// The order in which questions come.
pub(super) const QUESTION_ORDER: [&str; 3] = [KEY, AT, ROW];
/// The order in which the source's rows come: of one key, their total order.
pub(super) const ROW_ORDER: [&str; 4] = [KEY, EVENT, CREATED, SEQ];

/// Answers the questions of one read. Both sides come partitioned by key, the questions sorted by key and
/// time, the source's rows by key and their total order; what is held at a time is one batch of each side,
/// the answers under way, and of rows that become known later than they happened those still unknown. Of a view of
/// aggregates the events of some keys are held.
#[derive(Debug)]
pub(super) struct MergeJoinExec {
    spec: Arc<JoinSpec>,
    read: usize,
    questions: Arc<dyn ExecutionPlan>,
    rows: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl MergeJoinExec {
    pub(super) fn new(
        spec: &Arc<JoinSpec>,
        number: usize,
        read: &JoinRead,
        questions: Arc<dyn ExecutionPlan>,
        rows: Arc<dyn ExecutionPlan>,
    ) -> Self {
        let mut fields: Vec<Field> = vec![row_column()];
        fields.extend(answer_columns(number, read));
        let partitions = questions.properties().partitioning.partition_count();
        Self {
            spec: Arc::clone(spec),
            read: number,
            questions,
            rows,
            properties: properties(Arc::new(Schema::new(fields)), partitions),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }

    fn read(&self) -> Result<&JoinRead> {
        let lost = || external(OfflineError::Internal("a read is lost".into()));
        self.spec.reads.get(self.read).ok_or_else(lost)
    }
}

impl DisplayAs for MergeJoinExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(read) = self.spec.reads.get(self.read) else {
            return write!(f, "MergeJoinExec");
        };
        write!(f, "MergeJoinExec: view={}", read.label)?;
        if let Some(aggregates) = read.bound.view.aggregates() {
            let windows: Vec<String> = aggregates.windows().iter().map(ToString::to_string).collect();
            write!(f, ", windows=[{}]", windows.join(", "))?;
        }
        match read.bound.view.ttl {
            Some(ttl) => write!(f, ", ttl={ttl}"),
            None => Ok(()),
        }
    }
}

impl ExecutionPlan for MergeJoinExec {
    fn name(&self) -> &'static str {
        "MergeJoinExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        let by_key = |input: &Arc<dyn ExecutionPlan>| {
            let key = col(KEY, &input.schema()).into_iter().collect();
            Distribution::KeyPartitioned(key)
        };
        InputDistributionRequirements::co_partitioned(vec![by_key(&self.questions), by_key(&self.rows)])
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        let sorted = |input: &Arc<dyn ExecutionPlan>, columns: &[&str]| {
            ordering(&**input, columns).ok().map(OrderingRequirements::from)
        };
        vec![
            sorted(&self.questions, &QUESTION_ORDER),
            sorted(&self.rows, &ROW_ORDER),
        ]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.questions, &self.rows]
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
        let [questions, rows] = <[_; 2]>::try_from(children)
            .map_err(|_| external(OfflineError::Internal("MergeJoinExec has two inputs".into())))?;
        Ok(Arc::new(Self::new(
            &self.spec,
            self.read,
            self.read()?,
            questions,
            rows,
        )))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let questions = self.questions.execute(partition, Arc::clone(&context))?;
        let read = self.read()?;
        let options = self.spec.engine.options;
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let mut builder = RecordBatchReceiverStreamBuilder::new(self.schema(), 2);
        let sender = builder.tx();
        if let Some(windows) = Windows::of(&read.bound.view, self.spec.as_corrected) {
            let memory = MemoryConsumer::new("events of windows").register(context.memory_pool());
            let rows = self.rows.execute(partition, context)?;
            let schema = self.schema();
            let mut join = WindowJoin::new(schema, questions, rows, windows, options.batch_size, memory);
            builder.spawn(async move {
                while let Some(answers) = join.next().await? {
                    metrics.record_output(answers.num_rows());
                    if sender.send(Ok(answers)).await.is_err() {
                        break;
                    }
                }
                Ok(())
            });
            return Ok(builder.build());
        }
        let memory = MemoryConsumer::new("rows known late").register(context.memory_pool());
        let rows = self.rows.execute(partition, context)?;
        let mut sweep = Sweep::new(
            self.schema(),
            questions,
            rows,
            read.bound.view.ttl,
            self.spec.as_corrected,
            options.batch_size,
            memory,
        );
        builder.spawn(async move {
            while let Some(answers) = sweep.next().await? {
                metrics.record_output(answers.num_rows());
                if sender.send(Ok(answers)).await.is_err() {
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
