//! Columns as they come to columns as Asof holds them, without losing anything on the way.
//!
//! A value either becomes exactly the same value of the declared type or is an error that names its
//! row: `1.0` may become an integer, `1.5` may not; an `int64` may become a `float64` as long as it
//! has no more than 53 bits. Text becomes another type only in CSV files, which have nothing else:
//! [`text`] has the rules.

mod decimal;
pub(crate) mod text;
mod type_name;
mod width;

pub use type_name::type_name;
pub(crate) use width::width;

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, new_empty_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType as ArrowType, Float64Type};
use asof_core::data_type::DataType;

use crate::time_column::TimeColumnError;

/// Why a column cannot be taken as the declared type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnError {
    /// No value of this type can be taken so.
    Type {
        /// The type, as messages call it.
        found: String,
        /// The declared type.
        declared: String,
    },
    /// One value cannot.
    Value {
        /// The row within the array, from 0.
        row: usize,
        /// The declared type.
        declared: String,
    },
    /// One text cannot.
    Text {
        /// The row within the array, from 0.
        row: usize,
        /// The text, cut.
        text: String,
        /// The declared type, and how it is written where that is not plain.
        declared: String,
    },
    /// The column's times cannot be understood.
    Time(TimeColumnError),
}

/// Whose column it is, and so what can be done about one that does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// A source that is read in place.
    Source,
    /// A spine.
    Spine,
    /// A file to ingest.
    Ingested,
}

impl ColumnError {
    /// The row of the offending value, where it is one value.
    pub fn row(&self) -> Option<usize> {
        match self {
            Self::Type { .. } => None,
            Self::Value { row, .. } | Self::Text { row, .. } => Some(*row),
            Self::Time(error) => error.row(),
        }
    }

    /// What is wrong with the column, and what its holder can do.
    pub fn told_to(&self, holder: Holder) -> String {
        match self {
            Self::Type { found, declared } => {
                let advice = match holder {
                    Holder::Source => "declare it as another type, or cast it in the source's sql".into(),
                    Holder::Spine => format!("write it as {declared} in the spine"),
                    Holder::Ingested => format!("write it as {declared} in the file"),
                };
                format!("is {found}, which cannot be taken as {declared} without loss: {advice}")
            }
            Self::Value { declared, .. } => format!("has a value that is not exactly {declared}"),
            Self::Text { text, declared, .. } => {
                let advice = match holder {
                    Holder::Source => "correct it in the file, or declare the column as another type",
                    Holder::Spine => "correct it in the spine",
                    Holder::Ingested => "correct it in the file",
                };
                format!("has {text:?}, which is not exactly {declared}: {advice}")
            }
            Self::Time(error) => error.to_string(),
        }
    }
}

impl fmt::Display for ColumnError {
    /// What a source's owner is told.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told_to(Holder::Source))
    }
}

impl std::error::Error for ColumnError {}

/// Whether a column of the Arrow type can be taken as the declared type.
pub fn check_type(found: &ArrowType, declared: &DataType) -> Result<(), ColumnError> {
    convert(&new_empty_array(found), declared).map(drop)
}

/// The column as an array of the Arrow type of `declared`.
pub fn convert(array: &ArrayRef, declared: &DataType) -> Result<ArrayRef, ColumnError> {
    let target = declared.to_arrow();
    if *array.data_type() == target {
        return Ok(Arc::clone(array));
    }
    if *array.data_type() == ArrowType::Null {
        return Ok(arrow::array::new_null_array(&target, array.len()));
    }
    if !is_convertible(array.data_type(), declared) {
        return Err(ColumnError::Type {
            found: type_name(array.data_type()),
            declared: declared.to_string(),
        });
    }
    let wrong = |row| ColumnError::Value {
        row,
        declared: declared.to_string(),
    };
    let converted = cast(array, &target).ok_or_else(|| wrong(0))?;
    match first_difference(array, &converted, declared) {
        Some(row) => Err(wrong(row)),
        None => Ok(converted),
    }
}

fn cast(array: &ArrayRef, target: &ArrowType) -> Option<ArrayRef> {
    // Safe casts give null where a value does not fit; `first_difference` finds those.
    cast_with_options(
        array,
        target,
        &CastOptions {
            safe: true,
            ..CastOptions::default()
        },
    )
    .ok()
}

/// The pairs of types between which values can be exactly the same.
fn is_convertible(found: &ArrowType, declared: &DataType) -> bool {
    use ArrowType as A;
    if let A::Dictionary(_, values) = found {
        return is_convertible(values, declared);
    }
    match declared {
        DataType::Bool => false,
        DataType::Int32 | DataType::Int64 => {
            found.is_integer() || is_decimal(found) || matches!(found, A::Float32 | A::Float64)
        }
        DataType::Float64 => found.is_integer() || matches!(found, A::Float16 | A::Float32),
        DataType::Float32 => {
            matches!(found, A::Int8 | A::Int16 | A::UInt8 | A::UInt16 | A::Float16)
        }
        DataType::String | DataType::Json => matches!(found, A::Utf8 | A::LargeUtf8 | A::Utf8View),
        DataType::Bytes => {
            matches!(
                found,
                A::Binary | A::LargeBinary | A::BinaryView | A::FixedSizeBinary(_)
            )
        }
        DataType::Date => matches!(found, A::Date64),
        DataType::Timestamp => matches!(found, A::Timestamp(_, Some(_))),
        DataType::Decimal { .. } => found.is_integer() || is_decimal(found),
        DataType::List(item) => match found {
            A::List(field) | A::LargeList(field) | A::FixedSizeList(field, _) | A::ListView(field) => {
                is_same_or_convertible(field.data_type(), item)
            }
            _ => false,
        },
        DataType::Embedding(len) => match found {
            A::FixedSizeList(field, found_len) => {
                i64::from(*found_len) == i64::from(*len)
                    && is_same_or_convertible(field.data_type(), &DataType::Float32)
            }
            A::List(field) | A::LargeList(field) => {
                is_same_or_convertible(field.data_type(), &DataType::Float32)
            }
            _ => false,
        },
        DataType::Struct(fields) => match found {
            A::Struct(found) => {
                found.len() == fields.len()
                    && fields.iter().zip(found).all(|((name, data_type), field)| {
                        name == field.name() && is_same_or_convertible(field.data_type(), data_type)
                    })
            }
            _ => false,
        },
        DataType::Map(value) => match found {
            A::Map(entries, _) => match entries.data_type() {
                A::Struct(fields) => {
                    let mut types = fields.iter().map(|field| field.data_type());
                    types
                        .next()
                        .is_some_and(|key| is_same_or_convertible(key, &DataType::String))
                        && types
                            .next()
                            .is_some_and(|found| is_same_or_convertible(found, value))
                }
                _ => false,
            },
            _ => false,
        },
    }
}

fn is_decimal(found: &ArrowType) -> bool {
    use ArrowType as A;
    matches!(
        found,
        A::Decimal32(..) | A::Decimal64(..) | A::Decimal128(..) | A::Decimal256(..)
    )
}

fn is_same_or_convertible(found: &ArrowType, declared: &DataType) -> bool {
    *found == declared.to_arrow() || is_convertible(found, declared)
}

/// The first row whose value did not survive: a null where there was none, or another value once cast
/// back.
fn first_difference(before: &ArrayRef, after: &ArrayRef, declared: &DataType) -> Option<usize> {
    let lost = (0..before.len()).find(|row| after.is_null(*row) && !before.is_null(*row));
    if lost.is_some() {
        return lost;
    }
    if let DataType::Embedding(_) = declared {
        let elements = after.as_fixed_size_list();
        return (0..after.len()).find(|row| !after.is_null(*row) && elements.value(*row).null_count() > 0);
    }
    let back = cast(after, before.data_type())?;
    if back.to_data() == before.to_data() {
        return None;
    }
    (0..before.len()).find(|row| !same_value(before, &back, *row))
}

fn same_value(before: &ArrayRef, back: &ArrayRef, row: usize) -> bool {
    if before.slice(row, 1).to_data() == back.slice(row, 1).to_data() {
        return true;
    }
    // Negative zero compares equal and NaN does not; both are what they were unless a cast to an
    // integer dropped the sign, which no integer can keep.
    match before.data_type() {
        ArrowType::Float64 => {
            let (before, back) = (
                before.as_primitive::<Float64Type>(),
                back.as_primitive::<Float64Type>(),
            );
            before.value(row) == back.value(row)
        }
        _ => false,
    }
}
