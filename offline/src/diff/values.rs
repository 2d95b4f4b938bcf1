//! Values compared: bit for bit within one type, as text elsewhere.

use std::sync::Arc;

use arrow::compute::kernels::cmp::distinct;
use arrow::datatypes::{ArrowPrimitiveType, Float16Type, Float32Type, Float64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::arrow::array::{Array, ArrayData, ArrayRef, AsArray, RecordBatch, StringArray, make_array};
use datafusion::arrow::datatypes::DataType;

use super::dataset::Dataset;
use super::label::Labels;
use super::{ColumnDifference, Example, lost};
use crate::error::Result;

/// How much of a value is shown, in bytes.
const SHOWN: usize = 64;

/// The columns that two datasets share, and what differs in them so far.
pub(super) struct Comparison {
    pub(super) labels: Labels,
    pub(super) columns: Vec<ColumnDifference>,
    pairs: Vec<Pair>,
    /// How many rows are shown for each column.
    pub(super) examples: usize,
}

/// The places of a column in both datasets.
struct Pair {
    a: usize,
    b: usize,
    as_text: bool,
}

impl Comparison {
    pub(super) fn new(a: &Dataset, b: &Dataset, labels: Labels, examples: usize) -> Result<Self> {
        let mut comparison = Self {
            labels,
            columns: Vec::new(),
            pairs: Vec::new(),
            examples,
        };
        for (place, field) in a.schema().fields().iter().enumerate() {
            let Some(other) = b.column(field.name()) else {
                continue;
            };
            comparison.pairs.push(Pair {
                a: place,
                b: other,
                as_text: is_text(a, b, place, other),
            });
            comparison.columns.push(ColumnDifference {
                column: field.name().clone(),
                rows: 0,
                examples: Vec::new(),
            });
        }
        Ok(comparison)
    }

    /// Compares rows that are matched: each row of `a` with the row of `b` in the same place, which have
    /// these numbers in their datasets.
    pub(super) fn compare(
        &mut self,
        a: &RecordBatch,
        b: &RecordBatch,
        numbers: impl Fn(usize) -> [u64; 2],
    ) -> Result<()> {
        for (pair, found) in self.pairs.iter().zip(&mut self.columns) {
            let left = a.columns().get(pair.a).ok_or_else(|| lost("a column"))?;
            let right = b.columns().get(pair.b).ok_or_else(|| lost("a column"))?;
            let rows = match pair.as_text {
                true => differing_texts(left, right)?,
                false => differing(left, right)?,
            };
            found.rows += rows.len() as u64;
            let room = self.examples.saturating_sub(found.examples.len());
            for row in rows.into_iter().take(room) {
                found.examples.push(Example {
                    rows: numbers(row),
                    key: self.labels.values(0, a, row)?,
                    values: [shown(left, row)?, shown(right, row)?],
                });
            }
        }
        Ok(())
    }

    /// The label columns in which rows differ that were taken for the same.
    pub(super) fn labels_that_differ(&self) -> Vec<String> {
        let differs = |name: &&String| {
            let mut columns = self.columns.iter();
            columns.any(|column| column.column == **name && column.rows > 0)
        };
        self.labels.names.iter().filter(differs).cloned().collect()
    }
}

/// Whether columns of two datasets are compared as text.
pub(super) fn is_text(a: &Dataset, b: &Dataset, place_a: usize, place_b: usize) -> bool {
    let data_type = |dataset: &Dataset, place: usize| dataset.schema().field(place).data_type().clone();
    !a.is_typed() || !b.is_typed() || data_type(a, place_a) != data_type(b, place_b)
}

/// The rows in which two columns of one type differ, in their order.
fn differing(a: &ArrayRef, b: &ArrayRef) -> Result<Vec<usize>> {
    if a.to_data() == b.to_data() {
        return Ok(Vec::new());
    }
    let (a, b) = (
        make_array(one_nan(a.to_data())?),
        make_array(one_nan(b.to_data())?),
    );
    // There is no such kernel for nested types.
    if !a.data_type().is_nested()
        && let Ok(distinct) = distinct(&a, &b)
    {
        return Ok(distinct.values().set_indices().collect());
    }
    let differs = |row: &usize| a.slice(*row, 1).to_data() != b.slice(*row, 1).to_data();
    Ok((0..a.len()).filter(differs).collect())
}

/// The same values with one NaN in the place of all others.
pub(super) fn one_nan(data: ArrayData) -> Result<ArrayData> {
    macro_rules! replaced {
        ($float:ty) => {{
            type Value = <$float as ArrowPrimitiveType>::Native;
            let array = make_array(data);
            let array = array.as_primitive::<$float>();
            array
                .unary::<_, $float>(|value| if value.is_nan() { Value::NAN } else { value })
                .into_data()
        }};
    }
    Ok(match data.data_type() {
        DataType::Float16 => replaced!(Float16Type),
        DataType::Float32 => replaced!(Float32Type),
        DataType::Float64 => replaced!(Float64Type),
        _ if data.child_data().is_empty() => data,
        _ => {
            let children = data.child_data().iter().cloned().map(one_nan);
            let children = children.collect::<Result<Vec<_>>>()?;
            data.into_builder().child_data(children).build()?
        }
    })
}

/// The rows in which two columns differ as text.
fn differing_texts(a: &ArrayRef, b: &ArrayRef) -> Result<Vec<usize>> {
    let (a, b) = (texts(a)?, texts(b)?);
    let differs = |row: &usize| a.value(*row) != b.value(*row);
    Ok((0..a.len()).filter(differs).collect())
}

/// A column as CSV files hold it, in which a null is an empty text.
pub(super) fn texts(array: &ArrayRef) -> Result<Arc<StringArray>> {
    let options = FormatOptions::default().with_display_error(false);
    let formatter = ArrayFormatter::try_new(array, &options)?;
    let mut texts = Vec::with_capacity(array.len());
    for row in 0..array.len() {
        texts.push(formatter.value(row).try_to_string()?);
    }
    Ok(Arc::new(StringArray::from(texts)))
}

/// A value for people: cut short where it is long, control characters escaped; `None` for null.
pub(super) fn shown(array: &ArrayRef, row: usize) -> Result<Option<String>> {
    if array.is_null(row) {
        return Ok(None);
    }
    let value = array.slice(row, 1);
    let options = FormatOptions::default().with_display_error(false);
    let text = ArrayFormatter::try_new(&value, &options)?
        .value(0)
        .try_to_string()?;
    let mut short = String::new();
    for c in text.chars() {
        if short.len() + c.len_utf8() > SHOWN {
            short.push('…');
            break;
        }
        match c.is_control() {
            true => short.extend(c.escape_default()),
            false => short.push(c),
        }
    }
    Ok(Some(short))
}
