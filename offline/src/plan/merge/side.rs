//! The two sides of the join, row by row.

use std::sync::Arc;

use datafusion::arrow::array::{AsArray, BinaryArray, BooleanArray, Int64Array, RecordBatch, UInt64Array};
use datafusion::arrow::datatypes::{Int64Type, UInt64Type};
use datafusion::error::Result;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;

use asof_core::order::RowOrder;
use asof_core::time::Timestamp;

use super::super::leaf::external;
use super::super::source;
use super::state::Features;
use crate::error::OfflineError;

/// A side of the join: its batches one after the other.
pub(super) struct Side<C> {
    stream: SendableRecordBatchStream,
    columns: fn(&RecordBatch) -> Option<C>,
    batch: Option<(RecordBatch, C)>,
    pub(super) row: usize,
}

impl<C> Side<C> {
    pub(super) fn new(stream: SendableRecordBatchStream, columns: fn(&RecordBatch) -> Option<C>) -> Self {
        Self {
            stream,
            columns,
            batch: None,
            row: 0,
        }
    }

    /// Makes the current row one that is there; false at the end.
    pub(super) async fn fill(&mut self) -> Result<bool> {
        while self
            .batch
            .as_ref()
            .is_none_or(|(batch, _)| self.row >= batch.num_rows())
        {
            let Some(batch) = self.stream.next().await.transpose()? else {
                return Ok(false);
            };
            let wrong = || {
                external(OfflineError::Internal(
                    "a side of the join has other columns".into(),
                ))
            };
            let columns = (self.columns)(&batch).ok_or_else(wrong)?;
            self.batch = Some((batch, columns));
            self.row = 0;
        }
        Ok(true)
    }

    /// The columns of a batch of which no row is left.
    pub(super) fn spent(&self) -> Option<&C> {
        let batch = self
            .batch
            .as_ref()
            .filter(|(batch, _)| self.row >= batch.num_rows());
        batch.map(|(_, columns)| columns)
    }

    /// The current row's columns, after `fill` said that it is there.
    pub(super) fn columns(&self) -> Option<&C> {
        self.batch.as_ref().map(|(_, columns)| columns)
    }
}

/// The columns of questions.
#[derive(Clone)]
pub(super) struct Questions {
    pub(super) keys: BinaryArray,
    pub(super) at: Int64Array,
    pub(super) rows: UInt64Array,
}

/// The columns of a batch of questions.
pub(super) fn questions(batch: &RecordBatch) -> Option<Questions> {
    let [keys, at, rows] = batch.columns() else {
        return None;
    };
    Some(Questions {
        keys: keys.as_binary_opt::<i32>()?.clone(),
        at: at.as_primitive_opt::<Int64Type>()?.clone(),
        rows: rows.as_primitive_opt::<UInt64Type>()?.clone(),
    })
}

/// The columns of a source's rows.
#[derive(Clone)]
pub(super) struct Rows {
    pub(super) keys: BinaryArray,
    pub(super) events: Int64Array,
    pub(super) created: Int64Array,
    pub(super) seqs: UInt64Array,
    pub(super) deleted: BooleanArray,
    pub(super) features: Arc<Features>,
}

/// The columns of a batch of a source's rows.
pub(super) fn rows(batch: &RecordBatch) -> Option<Rows> {
    let (heads, features) = batch.columns().split_at_checked(source::BEFORE)?;
    let [keys, events, created, seqs, deleted] = heads else {
        return None;
    };
    Some(Rows {
        keys: keys.as_binary_opt::<i32>()?.clone(),
        events: events.as_primitive_opt::<Int64Type>()?.clone(),
        created: created.as_primitive_opt::<Int64Type>()?.clone(),
        seqs: seqs.as_primitive_opt::<UInt64Type>()?.clone(),
        deleted: deleted.as_boolean_opt()?.clone(),
        features: Arc::new(Features::of_batch(features)),
    })
}

impl Rows {
    /// The place of a row in the total order.
    pub(super) fn order(&self, row: usize) -> RowOrder {
        RowOrder {
            event_time: Timestamp::from_micros(self.events.value(row)),
            created_time: Timestamp::from_micros(self.created.value(row)),
            seq: self.seqs.value(row),
        }
    }
}
