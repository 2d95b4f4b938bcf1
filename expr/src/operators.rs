//! Operators and functions as Asof means them: a row that cannot be computed is null, and never fails
//! its batch; comparisons of floats follow IEEE 754. DataFusion's own wrap integers around, fail whole
//! batches, and compare floats in total order.

mod arithmetic;
mod cast;
mod choice;
mod compare;
mod distance;
mod failures;
mod guard;
mod like;

use std::sync::Arc;

use arrow::array::{ArrayRef, Datum};
use arrow_schema::ArrowError;
use datafusion_common::{DataFusionError, Result, ScalarValue};
use datafusion_expr::{ColumnarValue, ScalarUDF, ScalarUDFImpl};

pub(crate) use arithmetic::{Arithmetic, Negation};
pub(crate) use cast::NullCast;
pub(crate) use choice::{Coalesce, NullIf};
pub(crate) use compare::{Between, Compare, InFloats};
pub(crate) use distance::{Distance, Kind as DistanceKind};
pub(crate) use failures::noted;
pub(crate) use guard::Guarded;
pub(crate) use like::Like;

/// An operator as a function of DataFusion.
pub(crate) fn function(implementation: impl ScalarUDFImpl + 'static) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(implementation))
}

/// The arguments, as many as the operator has.
fn exactly<const N: usize>(args: Vec<ColumnarValue>) -> Result<[ColumnarValue; N]> {
    <[ColumnarValue; N]>::try_from(args)
        .map_err(|args| DataFusionError::Internal(format!("{N} arguments expected, found {}", args.len())))
}

/// Applies an Arrow kernel to columns and constants.
fn apply(
    left: &ColumnarValue,
    right: &ColumnarValue,
    kernel: impl Fn(&dyn Datum, &dyn Datum) -> std::result::Result<ArrayRef, ArrowError>,
) -> Result<ColumnarValue> {
    let result = match (left, right) {
        (ColumnarValue::Array(l), ColumnarValue::Array(r)) => kernel(l, r)?,
        (ColumnarValue::Array(l), ColumnarValue::Scalar(r)) => kernel(l, &r.to_scalar()?)?,
        (ColumnarValue::Scalar(l), ColumnarValue::Array(r)) => kernel(&l.to_scalar()?, r)?,
        (ColumnarValue::Scalar(l), ColumnarValue::Scalar(r)) => {
            let result = kernel(&l.to_array()?, &r.to_array()?)?;
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?));
        }
    };
    Ok(ColumnarValue::Array(result))
}

/// How many rows two operands have together, and which row of each stands for row `i`.
fn rows(left: &dyn Datum, right: &dyn Datum) -> (usize, bool, bool) {
    let ((l, l_constant), (r, r_constant)) = (left.get(), right.get());
    (if l_constant { r.len() } else { l.len() }, l_constant, r_constant)
}
