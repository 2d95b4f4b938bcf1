//! A join under way.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use datafusion::physical_plan::execute_stream;
use futures::StreamExt;

use crate::error::{OfflineError, Result};
use crate::plan::{JoinSpec, Planned, Strategy, plan};

/// A join that has begun to answer.
pub(crate) struct Joining {
    planned: Planned,
    stream: SendableRecordBatchStream,
    first: Option<RecordBatch>,
}

impl Joining {
    /// Joins until there is a first answer. Where an index turned out not to fit after all, and the choice is
    /// free, the join starts again by sorting.
    pub(crate) async fn start(spec: &Arc<JoinSpec>) -> Result<Self> {
        let strategy = spec.engine.options.strategy;
        let first = Self::with(spec, strategy).await;
        match first {
            Err(OfflineError::Memory(reason)) if strategy == Strategy::Auto => {
                tracing::info!(reason, "the index does not fit: sorting instead");
                spec.reads.iter().for_each(|read| read.counts.reset());
                Self::with(spec, Strategy::Sorted).await
            }
            other => other,
        }
    }

    async fn with(spec: &Arc<JoinSpec>, strategy: Strategy) -> Result<Self> {
        let planned = plan(spec, strategy).await?;
        let context = spec.engine.context.task_ctx();
        let stream = execute_stream(Arc::clone(&planned.physical), context);
        let mut stream = stream.map_err(|error| OfflineError::planned(&error))?;
        let first = next(&mut stream).await?;
        Ok(Self {
            planned,
            stream,
            first,
        })
    }

    /// The next rows of the spine with their answers.
    pub(crate) async fn next(&mut self) -> Result<Option<RecordBatch>> {
        match self.first.take() {
            Some(first) => Ok(Some(first)),
            None => next(&mut self.stream).await,
        }
    }

    /// The plan, with what was measured so far.
    pub(crate) fn explain(&self) -> String {
        let physical = DisplayableExecutionPlan::with_metrics(&*self.planned.physical);
        format!(
            "{}\n\n{}",
            self.planned.logical.display_indent(),
            physical.indent(false)
        )
    }
}

async fn next(stream: &mut SendableRecordBatchStream) -> Result<Option<RecordBatch>> {
    let next = stream.next().await.transpose();
    next.map_err(|error| OfflineError::planned(&error))
}
