//! The join by an index of the spine.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::StreamExt;

use super::answers::{AnswersBuilder, answer_columns, row_column};
use super::leaf::{external, sorted_properties};
use super::spec::JoinSpec;
use crate::asof::{Answers, JoinMetrics, Memory, Questions, QuestionsBuilder, join_indexed};
use crate::extract::Phase;
use crate::fan_out::fan_out;
use crate::spine::{BATCH, KeyReader};

/// Answers the questions of all reads, in the order of the spine: see [`crate::asof`].
#[derive(Debug)]
pub(super) struct IndexedJoinExec {
    spec: Arc<JoinSpec>,
    /// The columns of the spine that the input has.
    columns: Vec<usize>,
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl IndexedJoinExec {
    pub(super) fn new(spec: &Arc<JoinSpec>, columns: Vec<usize>, input: Arc<dyn ExecutionPlan>) -> Self {
        let mut fields: Vec<Field> = vec![row_column()];
        for (number, read) in spec.reads.iter().enumerate() {
            fields.extend(answer_columns(number, read));
        }
        Self {
            spec: Arc::clone(spec),
            columns,
            input,
            properties: sorted_properties(Arc::new(Schema::new(fields))),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }
}

impl DisplayAs for IndexedJoinExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IndexedJoinExec: sources=[")?;
        for (number, source) in self.spec.sources.iter().enumerate() {
            let snapshot = &source.files.snapshot;
            let views: Vec<&str> = self
                .spec
                .reads_of(number)
                .map(|(_, read)| read.label.as_str())
                .collect();
            let comma = if number > 0 { ", " } else { "" };
            write!(
                f,
                "{comma}{} (files={}, views={})",
                snapshot.source,
                snapshot.files.len(),
                views.join("+")
            )?;
        }
        write!(f, "]")
    }
}

impl ExecutionPlan for IndexedJoinExec {
    fn name(&self) -> &'static str {
        "IndexedJoinExec"
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
        Ok(Arc::new(Self::new(&self.spec, self.columns.clone(), input)))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let spine = self.input.execute(partition, Arc::clone(&context))?;
        let metrics = JoinMetrics::new(&self.metrics);
        let (spec, columns, schema) = (Arc::clone(&self.spec), self.columns.clone(), self.schema());
        let mut builder = RecordBatchReceiverStreamBuilder::new(self.schema(), 1);
        let sender = builder.tx();
        builder.spawn(async move {
            let mut memory = Memory::new(context.memory_pool());
            let (rows, questions) = ask(&spec, &columns, spine, &mut memory, &metrics).await?;
            let answers = join_indexed(&spec, questions, &mut memory, &metrics)
                .await
                .map_err(external)?;
            let ranges: Vec<Range<usize>> = (0..rows)
                .step_by(BATCH)
                .map(|first| first..rows.min(first + BATCH))
                .collect();
            let readers = spec.engine.options.readers.max(1);
            for ranges in ranges.chunks(readers) {
                let timer = metrics.gather.timer();
                let batches = fan_out(readers, ranges.to_vec(), |rows| batch_of(&answers, rows, &schema))?;
                timer.done();
                for batch in batches {
                    if sender.send(Ok(batch)).await.is_err() {
                        return Ok(());
                    }
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

/// Reads the keys and times of the spine once, for every set of key columns; gives the number of rows and
/// per read its questions.
async fn ask(
    spec: &JoinSpec,
    columns: &[usize],
    mut spine: SendableRecordBatchStream,
    memory: &mut Memory,
    metrics: &JoinMetrics,
) -> Result<(usize, Vec<Arc<Questions>>)> {
    let sets = spec.key_sets();
    let mut builders: Vec<(KeyReader, QuestionsBuilder)> = sets
        .iter()
        .map(|keys| {
            let reader = KeyReader::new(&spec.spine, keys, columns).map_err(external)?;
            Ok((reader, QuestionsBuilder::default()))
        })
        .collect::<Result<_>>()?;
    let mut rows = 0;
    while let Some(batch) = spine.next().await.transpose()? {
        let timer = metrics.index.timer();
        for (reader, builder) in &mut builders {
            let (keys, times) = reader.read(&spec.spine, &batch, rows).map_err(external)?;
            builder.push(&keys, &times).map_err(external)?;
        }
        timer.done();
        rows += batch.num_rows();
        let bytes = builders.iter().map(|(_, builder)| builder.bytes()).sum();
        memory
            .hold("the spine's keys and times", bytes)
            .map_err(external)?;
        spec.progress.advance(&Phase::Spine, rows as u64, None);
    }
    let timer = metrics.index.timer();
    let questions: Vec<Arc<Questions>> = builders
        .into_iter()
        .map(|(_, builder)| Arc::new(builder.finish()))
        .collect();
    timer.done();
    memory
        .settle(questions.iter().map(|questions| questions.bytes()).sum())
        .map_err(external)?;
    metrics.spine_rows.add(rows);
    let of_read = |keys: &[_]| {
        let set = sets.iter().position(|set| *set == keys);
        set.and_then(|set| questions.get(set)).cloned()
    };
    let questions = spec.reads.iter().filter_map(|read| of_read(&read.keys));
    Ok((rows, questions.collect()))
}

fn batch_of(answers: &[Answers], rows: Range<usize>, schema: &SchemaRef) -> Result<RecordBatch> {
    let numbers: UInt64Array = rows.clone().map(|row| row as u64).collect();
    let mut columns: Vec<ArrayRef> = vec![Arc::new(numbers)];
    for answers in answers {
        let mut builder = AnswersBuilder::default();
        for row in rows.clone() {
            let answer = answers.answer(row);
            let corrected = answer.held_back_winner && answers.would_be_corrected(row);
            builder.push(
                answer.verdict,
                answer.event_time,
                answer.held_back_winner,
                corrected,
            );
        }
        columns.extend(builder.finish());
        columns.extend(answers.columns(rows.clone()).map_err(external)?);
    }
    Ok(RecordBatch::try_new(SchemaRef::clone(schema), columns)?)
}
