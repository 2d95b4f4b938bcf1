//! Which key a row has, and how keys are written in each kind of set.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field};

use crate::random::SplitMix64;

/// The type of the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum KeyKind {
    /// `user_id`, an `int64`.
    Int64,
    /// `user_id`, a `string` of 17 characters.
    String,
    /// `tenant`, a `string`, and `user_id`, an `int64`; both are needed to tell two keys apart.
    Composite,
}

/// Every hundredth key is hot.
const HOT_EVERY: u64 = 100;
/// What the hot keys have of all rows, in percent.
const HOT_SHARE: u64 = 20;
/// Users of one tenant.
const TENANT: u64 = 1_000;

/// The number of a key out of `keys`, hot ones more often.
pub(super) fn pick(random: &mut SplitMix64, keys: u64) -> u64 {
    let hot = keys / HOT_EVERY;
    if random.percent(HOT_SHARE) {
        return random.below(hot) * HOT_EVERY;
    }
    let cold = random.below(keys - hot);
    cold / (HOT_EVERY - 1) * HOT_EVERY + cold % (HOT_EVERY - 1) + 1
}

/// From one row to the next where every key has one; a prime.
pub(super) const STRIDE: u64 = 7_919;

/// Whether the strides meet every one of so many keys.
pub(super) fn are_shuffled(keys: u64) -> bool {
    !keys.is_multiple_of(STRIDE)
}

/// The key of a row where every key has one.
pub(super) fn once(row: u64, keys: u64) -> u64 {
    row % keys * STRIDE % keys
}

/// Whether a key is hot, by its number.
#[cfg(test)]
pub(super) fn is_hot(number: u64) -> bool {
    number.is_multiple_of(HOT_EVERY)
}

impl KeyKind {
    /// The word for it on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Int64 => "int64",
            Self::String => "string",
            Self::Composite => "composite",
        }
    }

    /// The key columns, with the types' names in definition files.
    pub(crate) fn columns(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Int64 => &[("user_id", "int64")],
            Self::String => &[("user_id", "string")],
            Self::Composite => &[("tenant", "string"), ("user_id", "int64")],
        }
    }

    pub(super) fn fields(self) -> Vec<Field> {
        self.columns()
            .iter()
            .map(|(name, data_type)| match *data_type {
                "string" => Field::new(*name, DataType::Utf8, false),
                _ => Field::new(*name, DataType::Int64, false),
            })
            .collect()
    }

    /// The key columns of these keys, given by number.
    pub(super) fn arrays(self, numbers: &[u64]) -> Vec<ArrayRef> {
        let ints = |of: fn(u64) -> u64| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values(
                numbers.iter().map(|n| of(*n).cast_signed()),
            ))
        };
        let strings = |of: fn(u64) -> String| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(numbers.iter().map(|n| of(*n))))
        };
        match self {
            Self::Int64 => vec![ints(|n| n)],
            // Spread over the whole range, as identifiers from elsewhere are.
            Self::String => vec![strings(|n| format!("u{:016x}", SplitMix64::new(n).next()))],
            Self::Composite => vec![strings(|n| format!("t{:05}", n / TENANT)), ints(|n| n % TENANT)],
        }
    }
}
