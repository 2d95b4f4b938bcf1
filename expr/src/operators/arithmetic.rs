//! `+ - * / %` and negation, null where the result does not fit or the divisor is zero.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowNativeTypeOp, ArrowPrimitiveType, AsArray, Datum, PrimitiveArray, RecordBatch,
};
use arrow::compute::kernels::numeric;
use arrow::datatypes::{
    Decimal128Type, Decimal256Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_schema::{ArrowError, DataType, Field, Schema};
use datafusion_common::{Result, ScalarValue};
use datafusion_expr::{ColumnarValue, Operator, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::{BinaryExpr, Column};

use super::guard::or_null;
use super::{apply, exactly, failures, rows};

/// One of `+ - * / %` on integers, decimals, timestamps and intervals (not on floats, which never fail).
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Arithmetic {
    op: Operator,
    result: DataType,
    signature: Signature,
}

impl Arithmetic {
    pub(crate) fn new(op: Operator, result: DataType) -> Self {
        Self {
            op,
            result,
            signature: Signature::any(2, Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for Arithmetic {
    fn name(&self) -> &str {
        match self.op {
            Operator::Plus => "+",
            Operator::Minus => "-",
            Operator::Multiply => "*",
            Operator::Divide => "/",
            _ => "%",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(self.result.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let number_rows = args.number_rows;
        let args = exactly::<2>(args.args)?;
        let [left, right] = &args;
        if left.data_type().is_integer() && left.data_type() == right.data_type() {
            return apply(left, right, |l, r| integers(self.op, l, r));
        }
        let value = or_null(&args, number_rows, &self.result, &|args, rows| {
            checked(self.op, args, rows)
        })?;
        within_precision(value)
    }
}

/// Integers: the checked kernel for the whole column, and row by row where that fails.
fn integers(op: Operator, left: &dyn Datum, right: &dyn Datum) -> std::result::Result<ArrayRef, ArrowError> {
    let whole = match op {
        Operator::Plus => numeric::add(left, right),
        Operator::Minus => numeric::sub(left, right),
        Operator::Multiply => numeric::mul(left, right),
        Operator::Divide => numeric::div(left, right),
        _ => numeric::rem(left, right),
    };
    if let Ok(array) = whole {
        return Ok(array);
    }
    match left.get().0.data_type() {
        DataType::Int8 => Ok(by_row::<Int8Type>(op, left, right)),
        DataType::Int16 => Ok(by_row::<Int16Type>(op, left, right)),
        DataType::Int32 => Ok(by_row::<Int32Type>(op, left, right)),
        DataType::Int64 => Ok(by_row::<Int64Type>(op, left, right)),
        DataType::UInt8 => Ok(by_row::<UInt8Type>(op, left, right)),
        DataType::UInt16 => Ok(by_row::<UInt16Type>(op, left, right)),
        DataType::UInt32 => Ok(by_row::<UInt32Type>(op, left, right)),
        DataType::UInt64 => Ok(by_row::<UInt64Type>(op, left, right)),
        _ => whole,
    }
}

fn by_row<T: ArrowPrimitiveType>(op: Operator, left: &dyn Datum, right: &dyn Datum) -> ArrayRef {
    let (length, left_constant, right_constant) = rows(left, right);
    let l = left.get().0.as_primitive::<T>();
    let r = right.get().0.as_primitive::<T>();
    let value = |array: &PrimitiveArray<T>, row: usize| array.is_valid(row).then(|| array.value(row));
    let computed: PrimitiveArray<T> = (0..length)
        .map(|row| {
            let l = value(l, if left_constant { 0 } else { row })?;
            let r = value(r, if right_constant { 0 } else { row })?;
            match op {
                Operator::Plus => l.add_checked(r),
                Operator::Minus => l.sub_checked(r),
                Operator::Multiply => l.mul_checked(r),
                Operator::Divide => l.div_checked(r),
                _ => l.mod_checked(r),
            }
            .inspect_err(|_| failures::note())
            .ok()
        })
        .collect();
    Arc::new(computed)
}

/// DataFusion's own operator, failing where a value does not fit.
fn checked(op: Operator, args: &[ColumnarValue], number_rows: usize) -> Result<ColumnarValue> {
    let constant = args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
    let number_rows = if constant { 1 } else { number_rows };
    let columns = args
        .iter()
        .map(|arg| arg.to_array(number_rows))
        .collect::<Result<Vec<_>>>()?;
    let fields: Vec<Field> = columns
        .iter()
        .zip(["left", "right"])
        .map(|(column, name)| Field::new(name, column.data_type().clone(), true))
        .collect();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
    BinaryExpr::new(
        Arc::new(Column::new("left", 0)),
        op,
        Arc::new(Column::new("right", 1)),
    )
    .with_fail_on_overflow(true)
    .evaluate(&batch)
}

/// Decimals beyond the precision of their type are null: Arrow checks only the integer beneath.
fn within_precision(value: ColumnarValue) -> Result<ColumnarValue> {
    let precision = match value.data_type() {
        DataType::Decimal128(precision, _) | DataType::Decimal256(precision, _) => precision,
        _ => return Ok(value),
    };
    let constant = matches!(value, ColumnarValue::Scalar(_));
    let array = value.into_array(1)?;
    let data_type = array.data_type().clone();
    let fitting: ArrayRef = if let Some(array) = array.as_primitive_opt::<Decimal128Type>() {
        Arc::new(
            array
                .null_if_overflow_precision(precision)
                .with_data_type(data_type),
        )
    } else if let Some(array) = array.as_primitive_opt::<Decimal256Type>() {
        Arc::new(
            array
                .null_if_overflow_precision(precision)
                .with_data_type(data_type),
        )
    } else {
        Arc::clone(&array)
    };
    failures::note_new_nulls(&array, &fitting);
    Ok(if constant {
        ColumnarValue::Scalar(ScalarValue::try_from_array(&fitting, 0)?)
    } else {
        ColumnarValue::Array(fitting)
    })
}

/// `-x` on integers, decimals and intervals.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Negation {
    signature: Signature,
}

impl Negation {
    pub(crate) fn new() -> Self {
        Self {
            signature: Signature::any(1, Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for Negation {
    fn name(&self) -> &str {
        "negative"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types.first().cloned().unwrap_or(DataType::Null))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let number_rows = args.number_rows;
        let arg = exactly::<1>(args.args)?;
        let result = arg.first().map_or(DataType::Null, ColumnarValue::data_type);
        or_null(&arg, number_rows, &result, &|args, rows| {
            let array = exactly::<1>(args.to_vec())?.map(|arg| arg.into_array(rows));
            let [array] = array;
            Ok(ColumnarValue::Array(numeric::neg(array?.as_ref())?))
        })
    }
}
