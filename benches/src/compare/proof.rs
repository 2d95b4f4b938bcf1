//! What is read of a dataset to tell that another one is equal.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::{cast, concat};
use arrow::datatypes::{DataType, Float64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::digest::{self, Column};

/// What is kept of a dataset.
pub(super) trait Proof: Sized {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// A dataset that cannot be read, and rows in another order than the spine's.
    fn of(dataset: &Path) -> Result<Self>;

    /// Refuses another dataset that differs from this one, and names both.
    ///
    /// # Errors
    ///
    /// Datasets that differ.
    fn same(&self, ours: &str, found: &Self, theirs: &str) -> Result<()>;
}

/// Equal bit for bit.
impl Proof for Vec<Column> {
    fn of(dataset: &Path) -> Result<Self> {
        digest::columns(dataset)
    }

    fn same(&self, ours: &str, found: &Self, theirs: &str) -> Result<()> {
        digest::same(ours, self, theirs, found)
    }
}

/// How far apart two sums of amounts in hundredths may be, and their means: far below the least amount, and above what
/// sums of all amounts of a key lose by rounding when one is taken off the other.
const ROUNDING: f64 = 1e-6;

/// Equal but for the rounding of sums.
#[derive(Debug)]
pub(super) struct Rounded {
    /// All columns but text, as floats.
    columns: Vec<(String, ArrayRef)>,
}

impl Proof for Rounded {
    fn of(dataset: &Path) -> Result<Self> {
        let file = File::open(dataset).with_context(|| format!("cannot read {}", dataset.display()))?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(file)?.build()?;
        let batches = reader.collect::<Result<Vec<_>, _>>()?;
        let first = batches.first().context("the dataset has no rows")?;
        let mut columns = Vec::new();
        for (at, field) in first.schema().fields().iter().enumerate() {
            let parts = batches
                .iter()
                .map(|batch| digest::plain(batch.column(at)))
                .collect::<Result<Vec<_>>>()?;
            let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
            let whole = concat(&parts)?;
            if field.name() == digest::ROW {
                digest::in_order(&whole, 0).with_context(|| dataset.display().to_string())?;
            }
            if whole.data_type() != &DataType::LargeUtf8 {
                columns.push((field.name().clone(), cast(&whole, &DataType::Float64)?));
            }
        }
        Ok(Self { columns })
    }

    fn same(&self, ours: &str, found: &Self, theirs: &str) -> Result<()> {
        let names = |of: &Self| {
            of.columns
                .iter()
                .map(|(name, _)| name.clone())
                .collect::<Vec<_>>()
        };
        ensure!(
            names(self) == names(found),
            "{ours} wrote the columns {:?}, and {theirs} {:?}",
            names(self),
            names(found)
        );
        for ((name, expected), (_, found)) in self.columns.iter().zip(&found.columns) {
            let (expected, found) = (
                expected.as_primitive::<Float64Type>(),
                found.as_primitive::<Float64Type>(),
            );
            ensure!(
                expected.len() == found.len(),
                "{ours} wrote {} rows, and {theirs} {}",
                expected.len(),
                found.len()
            );
            let differs = |(ours, theirs): &(Option<f64>, Option<f64>)| match (ours, theirs) {
                (Some(ours), Some(theirs)) => {
                    let apart = (ours - theirs).abs();
                    apart.is_nan() || apart > ROUNDING
                }
                (None, None) => false,
                _ => true,
            };
            if let Some((row, (a, b))) = expected
                .iter()
                .zip(found.iter())
                .enumerate()
                .find(|(_, pair)| differs(pair))
            {
                anyhow::bail!("{name} of row {row} is {a:?} for {ours}, and {b:?} for {theirs}");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float64Array, Int64Array, RecordBatch};
    use parquet::arrow::ArrowWriter;

    use super::*;

    fn written(rows: Vec<i64>, values: Vec<Option<f64>>) -> Result<Rounded> {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (rows, values): (ArrayRef, ArrayRef) = (
            Arc::new(Int64Array::from(rows)),
            Arc::new(Float64Array::from(values)),
        );
        let batch = RecordBatch::try_from_iter_with_nullable([("row_id", rows, true), ("v", values, true)]);
        let batch = batch.unwrap();
        let mut writer = ArrowWriter::try_new(file.reopen().unwrap(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        Rounded::of(file.path())
    }

    #[test]
    fn rounding_does_not_count_and_all_else_does() {
        let of = |values: [Option<f64>; 2]| written(vec![0, 1], values.to_vec()).unwrap();
        let one = of([Some(10.25), None]);
        one.same("asof", &of([Some(10.25 + 1e-9), None]), "DuckDB")
            .unwrap();
        for (other, said) in [
            (
                [Some(10.26), None],
                "v of row 0 is Some(10.25) for asof, and Some(10.26) for DuckDB",
            ),
            (
                [Some(10.25), Some(0.0)],
                "v of row 1 is None for asof, and Some(0.0) for DuckDB",
            ),
            (
                [Some(f64::NAN), None],
                "v of row 0 is Some(10.25) for asof, and Some(NaN) for DuckDB",
            ),
        ] {
            let error = one.same("asof", &of(other), "DuckDB").unwrap_err();
            assert_eq!(error.to_string(), said);
        }
        assert!(written(vec![1, 0], vec![None, None]).is_err());
    }
}
