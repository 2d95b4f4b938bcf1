//! Values out of several arrays, in any order.

use datafusion::arrow::array::{Array, ArrayRef, UInt32Array, new_null_array};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::compute::{interleave, take};
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
    let given: Vec<&ArrayRef> = given.collect();
    if let [whole] = given.as_slice()
        && whole.data_type().is_primitive()
    {
        return taken(whole, located);
    }
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

/// The same out of one array of values of one size.
fn taken(whole: &ArrayRef, located: &[Located]) -> Result<ArrayRef> {
    // What is taken from past the end, for a null, is zero.
    const NULL: u32 = u32::MAX;
    let nulls = whole.nulls();
    let is_value = |at: &Located| *at != NOWHERE && nulls.is_none_or(|nulls| nulls.is_valid(at.1));
    let row = |at: &Located| is_value(at).then(|| u32::try_from(at.1).unwrap_or(NULL));
    let rows: Vec<u32> = located.iter().map(|at| row(at).unwrap_or(NULL)).collect();
    let values = NullBuffer::from_iter(rows.iter().map(|row| *row != NULL));
    let rows = UInt32Array::new(rows.into(), Some(values));
    Ok(take(whole, &rows, None)?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{AsArray, Int64Array};
    use datafusion::arrow::datatypes::Int64Type;

    use super::*;

    #[test]
    fn nothing_is_beneath_nulls() {
        let valid = NullBuffer::from(vec![true, false, true]);
        let array =
            |values: Vec<i64>| Arc::new(Int64Array::new(values.into(), Some(valid.clone()))) as ArrayRef;
        let (one, other) = (array(vec![1, 2, 3]), array(vec![4, 5, 6]));
        let found = |arrays: &[&ArrayRef], located: &[Located]| {
            let found = gather(&DataType::Int64, arrays.iter().copied(), located).unwrap();
            let found = found.as_primitive::<Int64Type>().clone();
            (
                found.values().to_vec(),
                found.iter().map(|value| value.is_some()).collect::<Vec<_>>(),
            )
        };
        assert_eq!(
            found(&[&one], &[(1, 2), NOWHERE, (1, 1), (1, 0)]),
            (vec![3, 0, 0, 1], vec![true, false, false, true])
        );
        assert_eq!(
            found(&[&one, &other], &[(2, 0), NOWHERE, (2, 1), (1, 0)]),
            (vec![4, 0, 0, 1], vec![true, false, false, true])
        );
    }
}
