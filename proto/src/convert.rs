//! Arrow arrays to wire columns and back.
//!
//! [`to_proto`] writes an array of the Arrow type of a [`DataType`](asof_core::data_type::DataType);
//! [`from_proto`] reads what anybody may have written, and refuses whatever does not fit together.

mod from_proto;
mod run;
mod to_proto;

use arrow_array::ArrayRef;
use asof_core::data_type::DataType;
use asof_core::status::Status;

pub use from_proto::{Received, from_proto};
pub use run::run_to_proto;
pub use to_proto::{bitmap, to_proto};

/// One feature of an answer.
#[derive(Debug, Clone)]
pub struct Feature {
    /// Its name.
    pub name: String,
    /// The number of its view among those of the answer.
    pub view: usize,
    /// Its type.
    pub data_type: DataType,
    /// Its values, null unless the status is PRESENT.
    pub array: ArrayRef,
    /// What there is to say of each.
    pub statuses: Vec<Status>,
}

/// Why a message's values cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct WireError {
    /// The field, from the outermost inwards, such as `values.lists.items`.
    pub path: String,
    /// What is wrong with it.
    pub problem: Problem,
}

impl WireError {
    pub(crate) fn of(path: &str, problem: Problem) -> Self {
        Self {
            path: path.to_owned(),
            problem,
        }
    }
}

/// What can be wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A field that must be set is not.
    #[error("is missing")]
    Missing,
    /// Lengths disagree.
    #[error("has {found} elements or bytes where {expected} are expected")]
    Length {
        /// What the rest of the message calls for.
        expected: u64,
        /// What is there.
        found: u64,
    },
    /// A null position has a length.
    #[error("has a length at position {0}, which is null: it must be 0")]
    NullWithLength(usize),
    /// Text that is not UTF-8.
    #[error("has text at position {0} that is not UTF-8")]
    NotUtf8(usize),
    /// More than one array can hold.
    #[error("has more than 2147483647 elements or bytes")]
    TooLong,
    /// Nested deeper than types may be.
    #[error("nests deeper than {} types", asof_core::data_type::MAX_DEPTH)]
    TooDeep,
    /// Precision, scale or value of a decimal out of range.
    #[error("needs 1 <= precision <= 38, scale <= precision and values of at most so many digits")]
    Decimal,
    /// Dimension out of range.
    #[error("needs 1 <= dimension <= {}", asof_core::data_type::MAX_EMBEDDING)]
    Dimension,
    /// A name that is not one of a type, or values that are not of it.
    #[error("is of no known type, or its values are not")]
    Type,
    /// Another place than the types before it make, or a view that there is not.
    #[error("is not where the features before it say, or is of no view of the answer")]
    Place,
    /// No fields, or two of one name.
    #[error("needs at least one field, and no name twice")]
    Fields,
}

#[cfg(test)]
mod tests;
