//! One form for one value: the bytes of a dataset depend on its values alone, not on how they came there.

use std::sync::Arc;

use arrow::array::{Array, ArrayData, ArrayRef, AsArray, BooleanArray, make_array};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, SortField};

use crate::error::Result;

/// The same values, with nothing beneath nulls inside of lists, structs and maps, and no bits past the end.
/// (Beneath the nulls of the column itself there must be nothing already.)
pub(crate) fn canonical(array: &ArrayRef) -> Result<ArrayRef> {
    let array = clean_within(array)?;
    if array.nulls().is_none() && !array.data_type().is_nested() && *array.data_type() != DataType::Boolean {
        return Ok(array);
    }
    Ok(make_array(trimmed(array.to_data())?))
}

/// Clears what lies beneath nulls inside lists, structs and maps; embeddings have none.
fn clean_within(array: &ArrayRef) -> Result<ArrayRef> {
    let data_type = array.data_type();
    let may_hold_nulls = data_type.is_nested() && !matches!(data_type, DataType::FixedSizeList(..));
    if !may_hold_nulls || array.to_data().child_data().iter().all(is_without_nulls) {
        return Ok(Arc::clone(array));
    }
    let field = SortField::new(data_type.clone());
    if !RowConverter::supports_fields(std::slice::from_ref(&field)) {
        return Ok(Arc::clone(array));
    }
    let converter = RowConverter::new(vec![field])?;
    let rows = converter.convert_columns(&[Arc::clone(array)])?;
    Ok(converter
        .convert_rows(&rows)?
        .pop()
        .unwrap_or_else(|| Arc::clone(array)))
}

fn is_without_nulls(data: &ArrayData) -> bool {
    data.null_count() == 0 && data.child_data().iter().all(is_without_nulls)
}

/// Clears the bits past the end of bitmaps.
fn trimmed(data: ArrayData) -> Result<ArrayData> {
    let nulls = data
        .nulls()
        .filter(|nulls| nulls.null_count() > 0)
        .map(|nulls| NullBuffer::new(bits(nulls.inner())));
    if *data.data_type() == DataType::Boolean {
        let array = make_array(data);
        return Ok(BooleanArray::new(bits(array.as_boolean().values()), nulls).into_data());
    }
    let children = data.child_data().iter().cloned().map(trimmed);
    let children = children.collect::<Result<Vec<_>>>()?;
    Ok(data.into_builder().nulls(nulls).child_data(children).build()?)
}

fn bits(buffer: &BooleanBuffer) -> BooleanBuffer {
    BooleanBuffer::collect_bool(buffer.len(), |bit| buffer.value(bit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_past_the_end_are_cleared() {
        let nulls = || NullBuffer::new(BooleanBuffer::new(vec![0b1111_1101_u8].into(), 0, 3));
        let array: ArrayRef = Arc::new(BooleanArray::new(
            BooleanBuffer::new(vec![0b1111_0101_u8].into(), 0, 3),
            Some(nulls()),
        ));
        let found = canonical(&array).unwrap();
        assert_eq!(&found, &array);
        let data = found.to_data();
        assert_eq!(data.buffers()[0].as_slice()[0], 0b101);
        assert_eq!(data.nulls().unwrap().buffer().as_slice()[0], 0b101);
    }
}
