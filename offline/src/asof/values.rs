//! The feature values of rows that may yet win.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayData, ArrayRef, new_null_array};
use datafusion::arrow::compute::interleave;
use datafusion::arrow::datatypes::DataType as ArrowType;
use datafusion::arrow::row::{RowConverter, SortField};

use crate::error::Result;

/// Where the values of a row are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) batch: usize,
    pub(super) row: usize,
}

/// Nothing is tidied below so many bytes: it would cost more than it frees.
const SMALL: usize = 8 << 20;

/// Batches of feature columns, of which only some rows are still wanted.
#[derive(Debug)]
pub(super) struct Values {
    types: Vec<ArrowType>,
    batches: Vec<Vec<ArrayRef>>,
    bytes: usize,
    /// What was held after the last tidying.
    tidy_bytes: usize,
}

impl Values {
    pub(super) fn new(types: Vec<ArrowType>) -> Self {
        Self {
            types,
            batches: Vec::new(),
            bytes: 0,
            tidy_bytes: 0,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The number that the next batch kept will have.
    pub(super) fn next_batch(&self) -> usize {
        self.batches.len()
    }

    pub(super) fn keep(&mut self, features: &[ArrayRef]) {
        self.bytes += features
            .iter()
            .map(|array| array.get_array_memory_size())
            .sum::<usize>();
        self.batches.push(features.to_vec());
    }

    /// Whether more than half of what is held came since the last tidying.
    pub(super) fn worth_tidying(&self) -> bool {
        self.bytes > SMALL.max(2 * self.tidy_bytes)
    }

    /// Keeps only the rows at `places`, which then point to where those rows are.
    pub(super) fn tidy(&mut self, places: &mut [&mut Place]) -> Result<()> {
        places.sort_unstable();
        let mut wanted: Vec<Place> = places.iter().map(|place| **place).collect();
        wanted.dedup();
        let rows: Vec<Option<Place>> = wanted.iter().copied().map(Some).collect();
        let batch = self.columns(&rows)?;
        for place in places.iter_mut() {
            let row = wanted.binary_search(place).unwrap_or(0);
            **place = Place { batch: 0, row };
        }
        self.batches.clear();
        self.bytes = 0;
        self.keep(&batch);
        self.tidy_bytes = self.bytes;
        Ok(())
    }

    /// All features of the rows at `places`, null where there is no place.
    ///
    /// The bytes of the arrays depend on the values alone: what a decoder left beneath a null is not
    /// taken along.
    pub(super) fn columns(&self, places: &[Option<Place>]) -> Result<Vec<ArrayRef>> {
        let column = |(feature, data_type): (usize, &ArrowType)| {
            // The array of one null stands before the batches, and for every null among them.
            let nothing = new_null_array(data_type, 1);
            let arrays: Vec<&dyn Array> = std::iter::once(&nothing)
                .chain(self.batches.iter().filter_map(|batch| batch.get(feature)))
                .map(AsRef::as_ref)
                .collect();
            let index = |place: &Option<Place>| {
                let (batch, row) = place.map_or((0, 0), |place| (place.batch + 1, place.row));
                let is_value = arrays.get(batch).is_some_and(|array| array.is_valid(row));
                if is_value { (batch, row) } else { (0, 0) }
            };
            let indices: Vec<(usize, usize)> = places.iter().map(index).collect();
            clean_within(interleave(&arrays, &indices)?)
        };
        self.types.iter().enumerate().map(column).collect()
    }
}

/// Clears what lies beneath nulls inside lists, structs and maps; embeddings have none.
fn clean_within(array: ArrayRef) -> Result<ArrayRef> {
    let data_type = array.data_type();
    let may_hold_nulls = data_type.is_nested() && !matches!(data_type, ArrowType::FixedSizeList(..));
    if !may_hold_nulls || array.to_data().child_data().iter().all(is_without_nulls) {
        return Ok(array);
    }
    let field = SortField::new(data_type.clone());
    if !RowConverter::supports_fields(std::slice::from_ref(&field)) {
        return Ok(array);
    }
    let converter = RowConverter::new(vec![field])?;
    let rows = converter.convert_columns(&[Arc::clone(&array)])?;
    Ok(converter.convert_rows(&rows)?.pop().unwrap_or(array))
}

fn is_without_nulls(data: &ArrayData) -> bool {
    data.null_count() == 0 && data.child_data().iter().all(is_without_nulls)
}
