//! Values out of several arrays, in any order.

use datafusion::arrow::array::{Array, ArrayRef, new_null_array};
use datafusion::arrow::compute::interleave;
use datafusion::arrow::datatypes::DataType;

use crate::error::Result;

/// Where a value is: its array, counted from 1, and its row there; [`NOWHERE`] where there is none.
pub(crate) type Located = (usize, usize);

/// Stands for no value.
pub(crate) const NOWHERE: Located = (0, 0);

/// The located values out of arrays of one type, null where there is none.
///
/// What a decoder left beneath a null is not taken along.
pub(crate) fn gather<'a>(
    data_type: &DataType,
    given: impl Iterator<Item = &'a ArrayRef>,
    located: &[Located],
) -> Result<ArrayRef> {
    // The array of one null stands before the others, and for every null among them.
    let nothing = new_null_array(data_type, 1);
    let mut arrays: Vec<&dyn Array> = vec![nothing.as_ref()];
    for array in given {
        arrays.push(array.as_ref());
    }
    if arrays.iter().skip(1).all(|array| array.null_count() == 0) {
        return Ok(interleave(&arrays, located)?);
    }
    let value = |at: &Located| {
        let is_value = arrays.get(at.0).is_some_and(|array| array.is_valid(at.1));
        if is_value { *at } else { NOWHERE }
    };
    let located: Vec<Located> = located.iter().map(value).collect();
    Ok(interleave(&arrays, &located)?)
}
