//! The feature values of rows that may yet win.

use datafusion::arrow::array::{Array, ArrayRef, new_null_array};
use datafusion::arrow::compute::interleave;
use datafusion::arrow::datatypes::DataType as ArrowType;

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
    pub(super) fn columns(&self, places: &[Option<Place>]) -> Result<Vec<ArrayRef>> {
        // The array of one null stands before the batches.
        let indices: Vec<(usize, usize)> = places
            .iter()
            .map(|place| place.map_or((0, 0), |place| (place.batch + 1, place.row)))
            .collect();
        let column = |(feature, data_type): (usize, &ArrowType)| {
            let nothing = new_null_array(data_type, 1);
            let arrays: Vec<&dyn Array> = std::iter::once(&nothing)
                .chain(self.batches.iter().filter_map(|batch| batch.get(feature)))
                .map(AsRef::as_ref)
                .collect();
            Ok(interleave(&arrays, &indices)?)
        };
        self.types.iter().enumerate().map(column).collect()
    }
}
