//! `coalesce` and `nullif`, which evaluate each argument once.

use arrow::array::{ArrayRef, Datum};
use arrow::compute::kernels::zip::zip;
use arrow::compute::{is_not_null, nullif};
use arrow_schema::DataType;
use datafusion_common::Result;
use datafusion_expr::{ColumnarValue, Operator, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

use super::compare::compare;
use super::exactly;

/// The first argument that is not null. All arguments are of one type.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Coalesce {
    signature: Signature,
}

impl Coalesce {
    pub(crate) fn new() -> Self {
        Self {
            signature: Signature::variadic_any(Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for Coalesce {
    fn name(&self) -> &str {
        "coalesce"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types.first().cloned().unwrap_or(DataType::Null))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let mut chosen: Option<ArrayRef> = None;
        for arg in args.args {
            let next = arg.into_array(rows)?;
            chosen = Some(match chosen {
                None => next,
                Some(before) if before.null_count() == 0 => before,
                Some(before) => zip(&is_not_null(&before)?, &before, &next)?,
            });
        }
        let nothing = || arrow::array::new_null_array(&DataType::Null, rows);
        Ok(ColumnarValue::Array(chosen.unwrap_or_else(nothing)))
    }
}

/// Null where both arguments are equal, else the first. Both are of one type.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct NullIf {
    signature: Signature,
}

impl NullIf {
    pub(crate) fn new() -> Self {
        Self {
            signature: Signature::any(2, Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for NullIf {
    fn name(&self) -> &str {
        "nullif"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types.first().cloned().unwrap_or(DataType::Null))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let [left, right] = exactly::<2>(args.args)?;
        let (left, right) = (left.into_array(rows)?, right.into_array(rows)?);
        let equal = compare(Operator::Eq, &left as &dyn Datum, &right)?;
        Ok(ColumnarValue::Array(nullif(&left, &equal)?))
    }
}
