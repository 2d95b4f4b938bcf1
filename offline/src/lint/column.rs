//! Columns of different types, made comparable: each value is a number, and NaN stands for no value.

use std::collections::HashMap;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType as ArrowType, Float64Type, Int64Type, TimeUnit};

use crate::error::Result;

/// A column whose values can be compared with those of others of its kind.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) kind: Kind,
    /// Whether its numbers have only the 24 bits of a `float32`.
    is_single: bool,
    pub(super) values: Vec<f64>,
}

/// What values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Number,
    /// Numbers by which microseconds since the epoch are meant.
    Instant,
    /// 0 and 1.
    Bool,
    /// The numbers that [`Texts`] gives.
    Text,
}

/// Different texts have different numbers.
#[derive(Debug, Default)]
pub(super) struct Texts(HashMap<Box<str>, f64>);

impl Texts {
    fn number(&mut self, text: &str) -> f64 {
        if let Some(number) = self.0.get(text) {
            return *number;
        }
        let number = self.0.len() as f64;
        self.0.insert(text.into(), number);
        number
    }
}

impl Column {
    /// The values of an array, or `None` where it is of a type that is not compared.
    pub(super) fn of(array: &ArrayRef, texts: &mut Texts) -> Result<Option<Self>> {
        let Some(kind) = Kind::of(array.data_type()) else {
            return Ok(None);
        };
        let values = match kind {
            Kind::Text => {
                let array = cast(array, &ArrowType::Utf8)?;
                let array = array.as_string::<i32>();
                array
                    .iter()
                    .map(|text| text.map_or(f64::NAN, |text| texts.number(text)))
                    .collect()
            }
            Kind::Bool => {
                let bools = array.as_boolean().iter();
                bools
                    .map(|value| value.map_or(f64::NAN, |value| f64::from(u8::from(value))))
                    .collect()
            }
            Kind::Instant => {
                let micros = cast(array, &ArrowType::Timestamp(TimeUnit::Microsecond, None))?;
                let micros = cast(&micros, &ArrowType::Int64)?;
                let micros = micros.as_primitive::<Int64Type>().iter();
                micros
                    .map(|value| value.map_or(f64::NAN, |value| value as f64))
                    .collect()
            }
            Kind::Number => {
                let array = cast(array, &ArrowType::Float64)?;
                let array = array.as_primitive::<Float64Type>();
                array.iter().map(|value| value.unwrap_or(f64::NAN)).collect()
            }
        };
        Ok(Some(Self {
            kind,
            is_single: matches!(array.data_type(), ArrowType::Float32 | ArrowType::Float16),
            values,
        }))
    }

    /// Whether values of both can be equal: of one kind, or 0 and 1 beside true and false.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let numbers = |kind| matches!(kind, Kind::Number | Kind::Bool);
        self.kind == other.kind || (numbers(self.kind) && numbers(other.kind))
    }

    /// How values of this column and of another are told apart; where one has fewer bits, by those.
    pub(super) fn equality(&self, other: &Self) -> fn(f64, f64) -> bool {
        #[expect(clippy::cast_possible_truncation, reason = "that is the comparison")]
        fn as_single(a: f64, b: f64) -> bool {
            a as f32 == b as f32
        }
        match self.is_single || other.is_single {
            true => as_single,
            false => |a, b| a == b,
        }
    }
}

impl Kind {
    fn of(data_type: &ArrowType) -> Option<Self> {
        use ArrowType as A;
        match data_type {
            A::Boolean => Some(Self::Bool),
            A::Utf8 | A::LargeUtf8 | A::Utf8View => Some(Self::Text),
            A::Dictionary(_, values) => Self::of(values).filter(|kind| *kind == Self::Text),
            A::Timestamp(..) | A::Date32 | A::Date64 => Some(Self::Instant),
            A::Decimal32(..) | A::Decimal64(..) | A::Decimal128(..) | A::Decimal256(..) => Some(Self::Number),
            other => (other.is_integer() || other.is_floating()).then_some(Self::Number),
        }
    }

    /// Whether greater and less mean something.
    pub(super) fn is_ordered(self) -> bool {
        matches!(self, Self::Number | Self::Instant)
    }
}
