//! What tells two datasets apart, whoever wrote them.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatchReader};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use sha2::{Digest as _, Sha256};

/// The column that says at which place of the spine a row stands.
pub(super) const ROW: &str = "row_id";
const BATCH: usize = 65_536;

/// A column by its name and values, in the order of the rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// How many values are null.
    pub nulls: usize,
    /// SHA-256 over the values: a null is the byte 0; a value is the byte 1 and then its bytes, numbers
    /// little-endian (of floats the very bits), text after its length in 8 bytes.
    pub digest: [u8; 32],
}

/// The columns of a Parquet file, whose rows stand in the order of the spine.
///
/// # Errors
///
/// A file that cannot be read, columns of types that no generated set has, and rows in another order.
pub fn columns(path: &Path) -> Result<Vec<Column>> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)?
        .with_batch_size(BATCH)
        .build()?;
    let schema = reader.schema();
    let mut columns: Vec<(usize, Sha256)> = vec![(0, Sha256::new()); schema.fields().len()];
    let (mut buffer, mut rows) = (Vec::new(), 0);
    for batch in reader {
        let batch = batch?;
        for ((field, array), (nulls, digest)) in schema.fields().iter().zip(batch.columns()).zip(&mut columns)
        {
            let array = plain(array).with_context(|| format!("{}: {}", path.display(), field.name()))?;
            if field.name() == ROW {
                in_order(&array, rows).with_context(|| path.display().to_string())?;
            }
            buffer.clear();
            append(&array, &mut buffer)?;
            digest.update(&buffer);
            *nulls += array.null_count();
        }
        rows += i64::try_from(batch.num_rows())?;
    }
    let named = schema.fields().iter().zip(columns);
    let named = named.map(|(field, (nulls, digest))| Column {
        name: field.name().clone(),
        nulls,
        digest: digest.finalize().into(),
    });
    Ok(named.collect())
}

/// Refuses two datasets that differ, and names the first column in which they do.
///
/// # Errors
///
/// Datasets that differ.
pub fn same(ours: &str, expected: &[Column], theirs: &str, found: &[Column]) -> Result<()> {
    let names = |columns: &[Column]| columns.iter().map(|c| c.name.clone()).collect::<Vec<_>>();
    ensure!(
        names(expected) == names(found),
        "{ours} wrote the columns {:?}, and {theirs} {:?}",
        names(expected),
        names(found)
    );
    match expected
        .iter()
        .zip(found)
        .find(|(expected, found)| expected != found)
    {
        Some((expected, found)) => bail!(
            "{ours} and {theirs} differ in {}, of which {} and {} values are null",
            expected.name,
            expected.nulls,
            found.nulls
        ),
        None => Ok(()),
    }
}

/// As one of the three types that generated sets are made of.
pub(super) fn plain(array: &ArrayRef) -> Result<ArrayRef> {
    Ok(match array.data_type() {
        DataType::Int64 | DataType::Float64 | DataType::LargeUtf8 => array.clone(),
        DataType::Utf8 | DataType::Utf8View => cast(array, &DataType::LargeUtf8)?,
        DataType::Timestamp(_, zone) => {
            let micros = cast(array, &DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))?;
            cast(&micros, &DataType::Int64)?
        }
        other => bail!("expected int64, float64, text or instants, found {other}"),
    })
}

pub(super) fn in_order(rows: &ArrayRef, first: i64) -> Result<()> {
    let rows = rows
        .as_primitive_opt::<Int64Type>()
        .context("row numbers are not int64")?;
    ensure!(
        rows.null_count() == 0
            && rows
                .values()
                .iter()
                .copied()
                .eq(first..first + i64::try_from(rows.len())?),
        "rows are not in the order of the spine, or not as many"
    );
    Ok(())
}

fn append(array: &ArrayRef, buffer: &mut Vec<u8>) -> Result<()> {
    if let Some(ints) = array.as_primitive_opt::<Int64Type>() {
        ints.iter()
            .for_each(|value| value_or_null(value.map(i64::to_le_bytes), buffer));
    } else if let Some(floats) = array.as_primitive_opt::<Float64Type>() {
        let bits = floats
            .iter()
            .map(|value| value.map(|value| value.to_bits().to_le_bytes()));
        bits.for_each(|value| value_or_null(value, buffer));
    } else {
        let texts = array
            .as_string_opt::<i64>()
            .context("a column that is not plain")?;
        for text in texts {
            value_or_null(text.map(|text| (text.len() as u64).to_le_bytes()), buffer);
            buffer.extend_from_slice(text.unwrap_or_default().as_bytes());
        }
    }
    Ok(())
}

fn value_or_null(value: Option<[u8; 8]>, buffer: &mut Vec<u8>) {
    match value {
        None => buffer.push(0),
        Some(bytes) => {
            buffer.push(1);
            buffer.extend_from_slice(&bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float64Array, Int64Array, RecordBatch, StringArray, StringViewArray};
    use parquet::arrow::ArrowWriter;

    use super::*;

    fn written(columns: Vec<(&str, ArrayRef)>) -> Result<Vec<Column>> {
        let file = tempfile::NamedTempFile::new().unwrap();
        let batch =
            RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true))).unwrap();
        let mut writer = ArrowWriter::try_new(file.reopen().unwrap(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        super::columns(file.path())
    }

    fn floats(values: [Option<f64>; 2]) -> Vec<Column> {
        let rows: ArrayRef = Arc::new(Int64Array::from(vec![0, 1]));
        written(vec![
            ("row_id", rows),
            ("f", Arc::new(Float64Array::from(values.to_vec()))),
        ])
        .unwrap()
    }

    #[test]
    fn values_nulls_and_bits_count() {
        let one = floats([Some(1.5), None]);
        assert_eq!(one, floats([Some(1.5), None]));
        for other in [
            [Some(1.5), Some(0.0)],
            [None, Some(1.5)],
            [Some(1.500_000_000_000_000_2), None],
        ] {
            assert!(same("asof", &one, "DuckDB", &floats(other)).is_err(), "{other:?}");
        }
        assert_ne!(floats([Some(0.0), None]), floats([Some(-0.0), None]));
        let error = same("asof", &one, "DuckDB", &floats([Some(1.5), Some(2.5)])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "asof and DuckDB differ in f, of which 1 and 0 values are null"
        );
    }

    #[test]
    fn the_kind_of_text_does_not_count() {
        let texts = |array: ArrayRef| written(vec![("t", array)]).unwrap();
        let values = vec![Some("a"), None, Some("")];
        let plain = texts(Arc::new(StringArray::from(values.clone())));
        assert_eq!(plain, texts(Arc::new(StringViewArray::from(values))));
        assert_ne!(
            plain,
            texts(Arc::new(StringArray::from(vec![Some("a"), Some(""), None])))
        );
    }

    #[test]
    fn rows_in_another_order_are_refused() {
        let rows: ArrayRef = Arc::new(Int64Array::from(vec![1, 0]));
        let error = written(vec![("row_id", rows)]).unwrap_err();
        let said = format!("{error:#}");
        assert!(
            said.ends_with(": rows are not in the order of the spine, or not as many"),
            "{said}"
        );
    }
}
