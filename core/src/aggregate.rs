//! Aggregates of the events of a window.
//!
//! An aggregate is computed from [`Partial`] ones, which begin empty, take values, and are merged. Adding and merging are
//! commutative and associative to the last bit: whatever the order in which events arrive, and however they are divided
//! between the tiles of a store or the rows of an extract, what comes out is the same. It is the one implementation:
//! extracts, materialization, push and reads all call it.
//!
//! Nulls are no values: a window with nothing else is empty. Of an empty window counts are 0, and the rest is NULL.

mod bytes;
mod distinct;
mod edge;
mod exact;
mod extreme;
mod partial;
mod quantiles;
mod sweep;
pub mod tiles;
mod values;

use std::fmt;

pub use bytes::Corrupt;
pub use distinct::MOST_EXACT;
pub use partial::Partial;
pub use sweep::{Events, Place, Sweep, Wanted};
pub use values::Values;

use crate::data_type::DataType;
use edge::End;

/// The most values that [`Function::LastN`] keeps.
pub const MOST_LAST: u16 = 1_000;

/// What is computed of the values of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Function {
    /// How many there are; without an input, how many events.
    Count,
    /// Their sum: of whole numbers as `int64`, of decimals with 38 digits (NULL where it does not fit), of others as the
    /// `float64` that is nearest to it.
    Sum,
    /// Their mean: the `float64` that is nearest to it.
    Mean,
    /// The least. NaN is greater than every number, as it is for DuckDB and PostgreSQL.
    Min,
    /// The greatest.
    Max,
    /// The variance of the sample: the `float64` that is nearest to it; NULL of fewer than two values.
    Variance,
    /// The square root of [`Function::Variance`].
    Stddev,
    /// The value of the first event, by event time, created time, and order of acceptance.
    First,
    /// The value of the last event.
    Last,
    /// The last values, up to so many, as a list in the order of their events.
    LastN(u16),
    /// How many different ones there are: exactly up to [`MOST_EXACT`], beyond that with an error of 1.6 % in the mean.
    CountDistinct,
    /// A quantile, within 1 % of the value: how many of a million values are not greater.
    ApproxQuantile(u32),
}

impl Function {
    /// The words of all functions in definitions.
    pub const WORDS: [&str; 12] = [
        "count",
        "sum",
        "mean",
        "min",
        "max",
        "variance",
        "stddev",
        "first",
        "last",
        "last_n",
        "count_distinct",
        "approx_quantile",
    ];

    /// The function of a word and, where it takes one, a parameter: how many values, or millionths.
    pub fn from_word(word: &str, parameter: u32) -> Option<Self> {
        Some(match word {
            "count" => Self::Count,
            "sum" => Self::Sum,
            "mean" => Self::Mean,
            "min" => Self::Min,
            "max" => Self::Max,
            "variance" => Self::Variance,
            "stddev" => Self::Stddev,
            "first" => Self::First,
            "last" => Self::Last,
            "last_n" => Self::LastN(
                u16::try_from(parameter)
                    .ok()
                    .filter(|most| (1..=MOST_LAST).contains(most))?,
            ),
            "count_distinct" => Self::CountDistinct,
            "approx_quantile" if (1..1_000_000).contains(&parameter) => Self::ApproxQuantile(parameter),
            _ => return None,
        })
    }

    /// What [`Function::from_word`] takes beside the word: how many values, or millionths; 0 where it takes none.
    pub fn parameter(self) -> u32 {
        match self {
            Self::LastN(most) => most.into(),
            Self::ApproxQuantile(millionths) => millionths,
            _ => 0,
        }
    }

    /// The word for it in definitions.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Sum => "sum",
            Self::Mean => "mean",
            Self::Min => "min",
            Self::Max => "max",
            Self::Variance => "variance",
            Self::Stddev => "stddev",
            Self::First => "first",
            Self::Last => "last",
            Self::LastN(_) => "last_n",
            Self::CountDistinct => "count_distinct",
            Self::ApproxQuantile(_) => "approx_quantile",
        }
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A function that values of a type do not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{function} takes {expected}, not {found}")]
pub struct InputMismatch {
    function: Function,
    expected: &'static str,
    found: DataType,
}

/// A function of values of a type.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Aggregation {
    function: Function,
    input: DataType,
}

/// What is kept of values, from which several functions may be computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct State(Kept);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kept {
    Count,
    /// The sum of whole numbers or decimals.
    Whole,
    /// The sum of other numbers.
    Sum,
    /// And of their squares.
    Squares,
    Least,
    Greatest,
    Edge(End, u16),
    Distinct,
    Quantiles,
}

/// A value that is no null.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// A truth value.
    Bool(bool),
    /// A whole number, a date's days, or an instant's microseconds.
    Int(i64),
    /// A number with a point; `float32` fits without loss.
    Float(f64),
    /// The digits of a decimal.
    Decimal(i128),
    /// Text, bytes, or for [`Function::First`] and its like a value of any type as stored rows write it.
    Bytes(&'a [u8]),
}

impl Aggregation {
    /// A function of values of a type.
    ///
    /// # Errors
    ///
    /// One that such values do not have.
    pub fn new(function: Function, input: DataType) -> Result<Self, InputMismatch> {
        let number = matches!(
            input,
            DataType::Int32
                | DataType::Int64
                | DataType::Float32
                | DataType::Float64
                | DataType::Decimal { .. }
        );
        let ordered = number
            || matches!(
                input,
                DataType::Bool | DataType::Date | DataType::Timestamp | DataType::String | DataType::Bytes
            );
        let (fits, expected) = match function {
            Function::Sum
            | Function::Mean
            | Function::Variance
            | Function::Stddev
            | Function::ApproxQuantile(_) => (number, "numbers"),
            Function::Min | Function::Max | Function::CountDistinct => {
                (ordered, "numbers, text, bytes, dates, timestamps or bools")
            }
            Function::Count | Function::First | Function::Last | Function::LastN(_) => {
                (true, "values of any type")
            }
        };
        match fits {
            true => Ok(Self { function, input }),
            false => Err(InputMismatch {
                function,
                expected,
                found: input,
            }),
        }
    }

    /// The function.
    pub fn function(&self) -> Function {
        self.function
    }

    /// The type of the values.
    pub fn input(&self) -> &DataType {
        &self.input
    }

    /// The type as which the values are given: decimals as the nearest `float64` where that is what comes out.
    pub fn values(&self) -> DataType {
        let decimal = matches!(self.input, DataType::Decimal { .. });
        match self.function {
            Function::Mean | Function::Variance | Function::Stddev | Function::ApproxQuantile(_)
                if decimal =>
            {
                DataType::Float64
            }
            _ => self.input.clone(),
        }
    }

    /// The type of what comes out.
    pub fn output(&self) -> DataType {
        match (self.function, &self.input) {
            (Function::Count | Function::CountDistinct, _) => DataType::Int64,
            (Function::Sum, DataType::Int32 | DataType::Int64) => DataType::Int64,
            (Function::Sum, DataType::Decimal { scale, .. }) => DataType::Decimal {
                precision: 38,
                scale: *scale,
            },
            (
                Function::Sum
                | Function::Mean
                | Function::Variance
                | Function::Stddev
                | Function::ApproxQuantile(_),
                _,
            ) => DataType::Float64,
            (Function::Min | Function::Max | Function::First | Function::Last, input) => input.clone(),
            (Function::LastN(_), input) => DataType::List(Box::new(input.clone())),
        }
    }

    /// What it is computed from.
    pub fn state(&self) -> State {
        let whole = matches!(
            self.input,
            DataType::Int32 | DataType::Int64 | DataType::Decimal { .. }
        );
        State(match self.function {
            Function::Count => Kept::Count,
            Function::Sum if whole => Kept::Whole,
            Function::Sum | Function::Mean => Kept::Sum,
            Function::Variance | Function::Stddev => Kept::Squares,
            Function::Min => Kept::Least,
            Function::Max => Kept::Greatest,
            Function::First => Kept::Edge(End::First, 1),
            Function::Last => Kept::Edge(End::Last, 1),
            Function::LastN(most) => Kept::Edge(End::Last, most),
            Function::CountDistinct => Kept::Distinct,
            Function::ApproxQuantile(_) => Kept::Quantiles,
        })
    }
}

impl State {
    /// About how many bytes more one value may take, which is stored in so many bytes, beside those of a state without
    /// values.
    pub(crate) fn growth(self, stored: usize) -> usize {
        /// What a number takes in a list or a set, and a text beside its bytes.
        const ENTRY: usize = 16;
        const TEXT: usize = 64;
        match self.0 {
            Kept::Count | Kept::Whole | Kept::Sum | Kept::Squares => 0,
            Kept::Least | Kept::Greatest if stored <= ENTRY => 0,
            Kept::Least | Kept::Greatest => stored,
            Kept::Edge(..) => stored + TEXT,
            Kept::Distinct | Kept::Quantiles => ENTRY,
        }
    }

    /// Whether values can be taken out again after they were added.
    pub fn is_reversible(self) -> bool {
        matches!(self.0, Kept::Count | Kept::Whole | Kept::Sum | Kept::Squares)
    }
}
