//! The rows of a spine that are looked at, with the features as of their times.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use datafusion::arrow::compute::{concat_batches, filter_record_batch};

use asof_core::service::ReadPlan;

use crate::error::{OfflineError, Result};
use crate::extract::Joining;
use crate::plan::{AnswerColumns, JoinSpec};
use crate::spine::Spine;

/// Which rows are looked at: one in so many, by a hash of the row's number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    pub(super) every: u64,
}

impl Share {
    /// All rows, or as large a part as gives about `most`.
    pub(super) fn of(spine: &Spine, plan: &ReadPlan, most: u64) -> Result<Self> {
        let columns = spine.asking_columns(&plan.caller_columns)?;
        let mut rows: u64 = 0;
        for batch in spine.batches(Some(&columns))? {
            let batch = batch.map_err(|error| spine.unreadable(&error.to_string()))?;
            rows += batch.num_rows() as u64;
        }
        let every = rows.div_ceil(most.max(1)).max(1);
        Ok(Self { every })
    }

    fn has(self, row: u64) -> bool {
        self.every == 1 || mixed(row).is_multiple_of(self.every)
    }
}

/// The finalizer of SplitMix64: neighbouring numbers have nothing in common afterwards.
fn mixed(number: u64) -> u64 {
    let z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The rows that are looked at.
pub(super) struct Sample {
    /// How many rows the spine has.
    pub(super) rows: u64,
    /// The columns of the spine.
    pub(super) batch: RecordBatch,
    /// Per read and feature the values as of the rows' times, null where nothing is served.
    features: Vec<Vec<ArrayRef>>,
}

impl Sample {
    /// Joins the spine and keeps its share of rows.
    pub(super) async fn read(spec: &Arc<JoinSpec>, share: Share) -> Result<Self> {
        let mut joining = Joining::start(spec).await?;
        let mut rows: u64 = 0;
        let mut kept: Vec<RecordBatch> = Vec::new();
        while let Some(batch) = joining.next().await? {
            let first = rows;
            rows += batch.num_rows() as u64;
            let mask: BooleanArray = (first..rows).map(|row| Some(share.has(row))).collect();
            kept.push(filter_record_batch(&batch, &mask)?);
        }
        let own: Vec<usize> = (0..spec.spine.schema().fields().len()).collect();
        let Some(schema) = kept.first().map(RecordBatch::schema) else {
            return Ok(Self::empty(spec, rows));
        };
        let all = concat_batches(&schema, &kept)?;
        let counts: Vec<usize> = spec
            .reads
            .iter()
            .map(|read| read.bound.view.features().len())
            .collect();
        let answers = AnswerColumns::of(&all, &counts)?.into_iter();
        Ok(Self {
            rows,
            batch: all.project(&own)?,
            features: answers.map(|answers| answers.features).collect(),
        })
    }

    /// Of a spine without rows.
    fn empty(spec: &JoinSpec, rows: u64) -> Self {
        let features = spec.reads.iter().map(|read| {
            let features = read.bound.view.features().iter();
            let none = features
                .map(|feature| datafusion::arrow::array::new_empty_array(&feature.data_type.to_arrow()));
            none.collect()
        });
        Self {
            rows,
            batch: RecordBatch::new_empty(Arc::clone(spec.spine.schema())),
            features: features.collect(),
        }
    }

    /// The values of a feature of a read.
    pub(super) fn feature(&self, read: usize, feature: usize) -> Result<ArrayRef> {
        let found = self.features.get(read).and_then(|features| features.get(feature));
        let lost = || OfflineError::Internal(format!("feature {feature} of read {read} was not joined"));
        found.cloned().ok_or_else(lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_spread_over_the_rows() {
        let share = Share { every: 10 };
        for first in [0, 100_000, 1 << 40] {
            let kept = (first..first + 10_000).filter(|row| share.has(*row)).count();
            assert!((900..1_100).contains(&kept), "{kept}");
        }
        assert!((0..1_000).all(|row| Share { every: 1 }.has(row)));
    }
}
