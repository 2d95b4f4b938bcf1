//! What tells one row from another for those who read a difference: keys and times.

use datafusion::arrow::array::RecordBatch;

use super::dataset::Dataset;
use super::values::shown;
use super::{RowKey, columns_at};
use crate::error::Result;
use crate::manifest::Content;

/// Columns that both datasets have and that name a row.
pub(super) struct Labels {
    pub(super) names: Vec<String>,
    /// Their places in each dataset.
    pub(super) places: [Vec<usize>; 2],
}

impl Labels {
    /// The keys that were asked for, or else the spine's keys and times where a manifest tells them.
    pub(super) fn choose(a: &Dataset, b: &Dataset, keys: &[String], known: Option<&Content>) -> Result<Self> {
        let places = |dataset: &Dataset, names: &[String]| -> Result<Vec<usize>> {
            names.iter().map(|name| dataset.key_column(name)).collect()
        };
        let names: Vec<String> = match keys.is_empty() {
            false => keys.to_vec(),
            true => {
                let spine = known.map(|content| {
                    let keys = content.spine.keys.iter();
                    keys.chain(std::iter::once(&content.rules.time_column)).cloned()
                });
                let both = |name: &String| a.column(name).is_some() && b.column(name).is_some();
                spine.into_iter().flatten().filter(both).collect()
            }
        };
        Ok(Self {
            places: [places(a, &names)?, places(b, &names)?],
            names,
        })
    }

    /// Names and values for a row of a batch of the first (0) or the second dataset.
    pub(super) fn values(
        &self,
        side: usize,
        batch: &RecordBatch,
        row: usize,
    ) -> Result<Vec<(String, Option<String>)>> {
        let places = self.places.get(side).map(Vec::as_slice).unwrap_or_default();
        let columns = columns_at(batch, places)?;
        self.names
            .iter()
            .zip(&columns)
            .map(|(name, column)| Ok((name.clone(), shown(column, row)?)))
            .collect()
    }

    /// The row of a batch that has this number in its dataset.
    pub(super) fn of_row(&self, side: usize, batch: &RecordBatch, row: usize, number: u64) -> Result<RowKey> {
        Ok(RowKey {
            row: number,
            key: self.values(side, batch, row)?,
        })
    }
}
