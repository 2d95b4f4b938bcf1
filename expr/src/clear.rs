//! Nothing beneath nulls: kernels leave what they computed there.

use std::sync::Arc;

use arrow::array::MutableArrayData;
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, PrimitiveArray, downcast_primitive_array, make_array,
};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

use crate::error::ExprError;
use crate::features::failed;

/// The same values, with zeros and nothing beneath nulls.
pub(crate) fn cleared(array: ArrayRef) -> Result<ArrayRef, ExprError> {
    let Some(nulls) = array.nulls().filter(|nulls| nulls.null_count() > 0).cloned() else {
        return Ok(array);
    };
    let values: &dyn Array = &array;
    Ok(downcast_primitive_array! {
        values => {
            let kept = values.values().iter().zip(nulls.iter());
            let kept = kept.map(|(value, is_there)| if is_there { *value } else { Default::default() });
            let kept = PrimitiveArray::new(kept.collect(), Some(nulls));
            Arc::new(same_kind(values, kept).with_data_type(array.data_type().clone()))
        },
        DataType::Boolean => {
            let kept = array.as_boolean().values() & nulls.inner();
            Arc::new(BooleanArray::new(kept, Some(nulls)))
        },
        _ => rebuilt(&array).map_err(failed)?,
    })
}

/// Names the type of a new array by that of another.
fn same_kind<T: arrow::datatypes::ArrowPrimitiveType>(
    _: &PrimitiveArray<T>,
    new: PrimitiveArray<T>,
) -> PrimitiveArray<T> {
    new
}

/// Puts an array together again, run by run.
fn rebuilt(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let data = array.to_data();
    let mut copy = MutableArrayData::new(vec![&data], true, array.len());
    let mut row = 0;
    while row < array.len() {
        let is_null = array.is_null(row);
        let end = (row..array.len()).find(|at| array.is_null(*at) != is_null);
        let end = end.unwrap_or(array.len());
        let copied = match is_null {
            true => copy.try_extend_nulls(end - row),
            false => copy.try_extend(0, row, end),
        };
        copied?;
        row = end;
    }
    Ok(make_array(copy.freeze()))
}
