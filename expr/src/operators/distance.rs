//! Distances between lists of numbers, such as embeddings.
//!
//! In float64, item after item, so that a row has what it has alone; DataFusion's own convert whole columns, and fail them
//! where one row has lists of two lengths.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::compute::cast;
use arrow::datatypes::Float64Type;
use arrow_schema::DataType;
use datafusion_common::{DataFusionError, Result};
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

use super::{exactly, failures};

/// What is computed of two lists of one length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// 1 less the cosine of the angle between them.
    Cosine,
    /// The square root of the sum of squared differences.
    Euclidean,
    /// The sum of products.
    InnerProduct,
}

/// A distance of two lists: null where one of them or an item is null; null, and noted, where they are not of one length or
/// have no angle.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Distance {
    kind: Kind,
    signature: Signature,
}

impl Distance {
    pub(crate) fn new(kind: Kind) -> Self {
        Self {
            kind,
            signature: Signature::any(2, Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for Distance {
    fn name(&self) -> &str {
        match self.kind {
            Kind::Cosine => "cosine_distance",
            Kind::Euclidean => "l2_distance",
            Kind::InnerProduct => "inner_product",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let unfit = || DataFusionError::Plan(format!("{} takes two lists of numbers", self.name()));
        let [left, right] = types else {
            return Err(unfit());
        };
        match (length_of(left), length_of(right)) {
            (Some(Some(left)), Some(Some(right))) if left != right => Err(unfit()),
            (Some(_), Some(_)) => Ok(DataType::Float64),
            _ => Err(unfit()),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let [left, right] = exactly::<2>(args.args)?;
        let (left, right) = (
            Lists::of(&left.into_array(rows)?)?,
            Lists::of(&right.into_array(rows)?)?,
        );
        let computed: Float64Array = (0..rows)
            .map(|row| self.of(left.get(row)?, right.get(row)?))
            .collect();
        Ok(ColumnarValue::Array(Arc::new(computed)))
    }
}

impl Distance {
    fn of(&self, left: &[f64], right: &[f64]) -> Option<f64> {
        if left.len() != right.len() {
            failures::note();
            return None;
        }
        let pairs = || left.iter().zip(right);
        let product = |one: &[f64], other: &[f64]| {
            one.iter()
                .zip(other)
                .fold(0.0, |sum, (one, other)| sum + one * other)
        };
        match self.kind {
            Kind::InnerProduct => Some(product(left, right)),
            Kind::Euclidean => {
                let squares = pairs().map(|(left, right)| (left - right) * (left - right));
                Some(squares.fold(0.0, |sum, square| sum + square).sqrt())
            }
            Kind::Cosine => {
                let lengths = product(left, left).sqrt() * product(right, right).sqrt();
                if lengths == 0.0 {
                    failures::note();
                    return None;
                }
                Some(1.0 - product(left, right) / lengths)
            }
        }
    }
}

/// The length of all lists of a type, where it has one; `None` where it is no list of numbers.
fn length_of(data_type: &DataType) -> Option<Option<i32>> {
    let (item, length) = match data_type {
        DataType::List(item) | DataType::LargeList(item) => (item, None),
        DataType::FixedSizeList(item, length) => (item, Some(*length)),
        _ => return None,
    };
    let is_number = item.data_type().is_integer() || item.data_type().is_floating();
    is_number.then_some(length)
}

/// Lists of numbers, as float64.
struct Lists {
    lists: ArrayRef,
    items: Float64Array,
}

impl Lists {
    fn of(lists: &ArrayRef) -> Result<Self> {
        let items = match lists.data_type() {
            DataType::List(_) => lists.as_list::<i32>().values(),
            DataType::LargeList(_) => lists.as_list::<i64>().values(),
            DataType::FixedSizeList(..) => lists.as_fixed_size_list().values(),
            other => return Err(DataFusionError::Internal(format!("{other} is no list"))),
        };
        let items = cast(items, &DataType::Float64)?;
        Ok(Self {
            lists: Arc::clone(lists),
            items: items.as_primitive::<Float64Type>().clone(),
        })
    }

    /// The items of a row; `None` where it, or one of them, is null.
    fn get(&self, row: usize) -> Option<&[f64]> {
        if self.lists.is_null(row) {
            return None;
        }
        let range = self.range(row)?;
        let nulls = self.items.nulls();
        if nulls.is_some_and(|nulls| range.clone().any(|item| nulls.is_null(item))) {
            return None;
        }
        self.items.values().get(range)
    }

    fn range(&self, row: usize) -> Option<Range<usize>> {
        let place = |offset: i64| usize::try_from(offset).ok();
        let (start, length) = match self.lists.data_type() {
            DataType::List(_) => {
                let lists = self.lists.as_list::<i32>();
                (
                    i64::from(*lists.offsets().get(row)?),
                    i64::from(lists.value_length(row)),
                )
            }
            DataType::LargeList(_) => {
                let lists = self.lists.as_list::<i64>();
                (*lists.offsets().get(row)?, lists.value_length(row))
            }
            _ => {
                let lists = self.lists.as_fixed_size_list();
                (
                    i64::from(lists.value_offset(row)),
                    i64::from(lists.value_length()),
                )
            }
        };
        let start = place(start)?;
        Some(start..start.checked_add(place(length)?)?)
    }
}
