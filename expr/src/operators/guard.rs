//! A function whose failing rows are null.

use arrow::compute::concat;
use arrow_schema::{DataType, FieldRef};
use datafusion_common::{Result, ScalarValue};
use datafusion_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};
use std::sync::Arc;

use super::failures;

/// Evaluates over rows; where that fails, the failing rows alone become null.
///
/// Halving finds them, so the answer for a row does not depend on the rows beside it.
pub(super) fn or_null(
    args: &[ColumnarValue],
    rows: usize,
    result: &DataType,
    evaluate: &dyn Fn(&[ColumnarValue], usize) -> Result<ColumnarValue>,
) -> Result<ColumnarValue> {
    if let Ok(value) = evaluate(args, rows) {
        return Ok(value);
    }
    let constant = args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
    if constant || rows <= 1 {
        failures::note();
        let null = ScalarValue::try_new_null(result)?;
        return if constant {
            Ok(ColumnarValue::Scalar(null))
        } else {
            Ok(ColumnarValue::Array(null.to_array_of_size(rows)?))
        };
    }
    let half = rows / 2;
    let head = or_null(&slice(args, 0, half), half, result, evaluate)?.into_array(half)?;
    let tail =
        or_null(&slice(args, half, rows - half), rows - half, result, evaluate)?.into_array(rows - half)?;
    Ok(ColumnarValue::Array(concat(&[&head, &tail])?))
}

fn slice(args: &[ColumnarValue], offset: usize, length: usize) -> Vec<ColumnarValue> {
    args.iter()
        .map(|arg| match arg {
            ColumnarValue::Array(array) => ColumnarValue::Array(array.slice(offset, length)),
            ColumnarValue::Scalar(value) => ColumnarValue::Scalar(value.clone()),
        })
        .collect()
}

/// A listed function of DataFusion, null where it fails. It is not simplified into other expressions.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Guarded {
    inner: Arc<ScalarUDF>,
}

impl Guarded {
    pub(crate) fn new(inner: Arc<ScalarUDF>) -> Self {
        Self { inner }
    }
}

impl ScalarUDFImpl for Guarded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let field = self.inner.return_field_from_args(args)?;
        Ok(Arc::new(field.as_ref().clone().with_nullable(true)))
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let ScalarFunctionArgs {
            args,
            arg_fields,
            number_rows,
            return_field,
            config_options,
        } = args;
        or_null(&args, number_rows, return_field.data_type(), &|args, rows| {
            self.inner.invoke_with_args(ScalarFunctionArgs {
                args: args.to_vec(),
                arg_fields: arg_fields.clone(),
                number_rows: rows,
                return_field: Arc::clone(&return_field),
                config_options: Arc::clone(&config_options),
            })
        })
    }
}
