//! Comparisons. Floats follow IEEE 754: NaN equals nothing and is neither less nor greater, -0 equals 0.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, Datum};
use arrow::compute::kernels::cmp;
use arrow::compute::{and_kleene, or_kleene};
use arrow::datatypes::{Float16Type, Float32Type, Float64Type};
use arrow_schema::{ArrowError, DataType};
use datafusion_common::{Result, ScalarValue};
use datafusion_expr::{ColumnarValue, Operator, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

use super::{apply, exactly, rows};

/// Compares two operands of one type.
pub(super) fn compare(
    op: Operator,
    left: &dyn Datum,
    right: &dyn Datum,
) -> std::result::Result<BooleanArray, ArrowError> {
    match left.get().0.data_type() {
        DataType::Float16 => Ok(floats::<Float16Type>(op, left, right)),
        DataType::Float32 => Ok(floats::<Float32Type>(op, left, right)),
        DataType::Float64 => Ok(floats::<Float64Type>(op, left, right)),
        _ => match op {
            Operator::Eq => cmp::eq(left, right),
            Operator::NotEq => cmp::neq(left, right),
            Operator::Lt => cmp::lt(left, right),
            Operator::LtEq => cmp::lt_eq(left, right),
            Operator::Gt => cmp::gt(left, right),
            _ => cmp::gt_eq(left, right),
        },
    }
}

fn floats<T: ArrowPrimitiveType>(op: Operator, left: &dyn Datum, right: &dyn Datum) -> BooleanArray
where
    T::Native: PartialOrd,
{
    let (length, left_constant, right_constant) = rows(left, right);
    let l = left.get().0.as_primitive::<T>();
    let r = right.get().0.as_primitive::<T>();
    (0..length)
        .map(|row| {
            let l_row = if left_constant { 0 } else { row };
            let r_row = if right_constant { 0 } else { row };
            (l.is_valid(l_row) && r.is_valid(r_row))
                .then(|| holds(op, l.value(l_row).partial_cmp(&r.value(r_row))))
        })
        .collect()
}

fn holds(op: Operator, order: Option<Ordering>) -> bool {
    match op {
        Operator::Eq => order == Some(Ordering::Equal),
        Operator::NotEq => order != Some(Ordering::Equal),
        Operator::Lt => order == Some(Ordering::Less),
        Operator::LtEq => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        Operator::Gt => order == Some(Ordering::Greater),
        _ => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
    }
}

fn comparison(op: Operator, left: &ColumnarValue, right: &ColumnarValue) -> Result<ColumnarValue> {
    apply(left, right, |l, r| Ok(Arc::new(compare(op, l, r)?) as ArrayRef))
}

/// Three-valued `and`, `or` of two conditions.
fn combine(
    left: &ColumnarValue,
    right: &ColumnarValue,
    rows: usize,
    kernel: fn(&BooleanArray, &BooleanArray) -> std::result::Result<BooleanArray, ArrowError>,
) -> Result<ColumnarValue> {
    let constant = matches!(
        (left, right),
        (ColumnarValue::Scalar(_), ColumnarValue::Scalar(_))
    );
    let rows = if constant { 1 } else { rows };
    let (left, right) = (left.to_array(rows)?, right.to_array(rows)?);
    let both: ArrayRef = Arc::new(kernel(left.as_boolean(), right.as_boolean())?);
    Ok(if constant {
        ColumnarValue::Scalar(ScalarValue::try_from_array(&both, 0)?)
    } else {
        ColumnarValue::Array(both)
    })
}

macro_rules! conditions {
    ($($(#[$doc:meta])* $type:ident($($field:ident: $of:ty),*), $name:literal, $signature:expr;)+) => {$(
        $(#[$doc])*
        #[derive(Debug, PartialEq, Eq, Hash)]
        pub(crate) struct $type {
            $($field: $of,)*
            signature: Signature,
        }

        impl $type {
            pub(crate) fn new($($field: $of),*) -> Self {
                Self { $($field,)* signature: $signature }
            }
        }

        impl ScalarUDFImpl for $type {
            fn name(&self) -> &str {
                $name
            }

            fn signature(&self) -> &Signature {
                &self.signature
            }

            fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
                Ok(DataType::Boolean)
            }

            fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
                self.condition(args.args, args.number_rows)
            }
        }
    )+};
}

conditions! {
    /// `= <> < <= > >=` on floats.
    Compare(op: Operator), "compare", Signature::any(2, Volatility::Immutable);
    /// `x between low and high`, which evaluates `x` once.
    Between(), "between", Signature::any(3, Volatility::Immutable);
    /// `x in (…)` on floats.
    InFloats(), "in", Signature::variadic_any(Volatility::Immutable);
}

impl Compare {
    fn condition(&self, args: Vec<ColumnarValue>, _rows: usize) -> Result<ColumnarValue> {
        let [left, right] = exactly::<2>(args)?;
        comparison(self.op, &left, &right)
    }
}

impl Between {
    fn condition(&self, args: Vec<ColumnarValue>, rows: usize) -> Result<ColumnarValue> {
        let [value, low, high] = exactly::<3>(args)?;
        let from = comparison(Operator::GtEq, &value, &low)?;
        let to = comparison(Operator::LtEq, &value, &high)?;
        combine(&from, &to, rows, and_kleene)
    }
}

impl InFloats {
    fn condition(&self, args: Vec<ColumnarValue>, rows: usize) -> Result<ColumnarValue> {
        let mut found = ColumnarValue::Scalar(ScalarValue::Boolean(Some(false)));
        let mut args = args.into_iter();
        let Some(value) = args.next() else {
            return Ok(found);
        };
        for listed in args {
            found = combine(
                &found,
                &comparison(Operator::Eq, &value, &listed)?,
                rows,
                or_kleene,
            )?;
        }
        Ok(found)
    }
}
