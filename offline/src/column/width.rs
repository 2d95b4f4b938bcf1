//! How much room values take, before any is seen.

use arrow::datatypes::DataType as ArrowType;

/// About how many bytes a value takes.
pub(crate) fn width(data_type: &ArrowType) -> usize {
    const VARIABLE: usize = 32;
    match data_type {
        ArrowType::Boolean => 1,
        ArrowType::FixedSizeList(item, length) => {
            width(item.data_type()) * usize::try_from(*length).unwrap_or(0)
        }
        ArrowType::Struct(fields) => fields.iter().map(|field| width(field.data_type())).sum(),
        plain => plain.primitive_width().unwrap_or(VARIABLE),
    }
}
