//! `cast(x as type)`, null where a value has no counterpart.

use arrow::compute::{CastOptions, cast_with_options};
use arrow_schema::DataType;
use datafusion_common::{Result, ScalarValue};
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

use super::guard::or_null;
use super::{exactly, failures};

/// A cast to one type.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct NullCast {
    to: DataType,
    signature: Signature,
}

impl NullCast {
    pub(crate) fn new(to: DataType) -> Self {
        Self {
            to,
            signature: Signature::any(1, Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for NullCast {
    fn name(&self) -> &str {
        "cast"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(self.to.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        const OPTIONS: CastOptions<'static> = CastOptions {
            safe: true,
            format_options: arrow::util::display::FormatOptions::new(),
        };
        let number_rows = args.number_rows;
        let arg = exactly::<1>(args.args)?;
        or_null(&arg, number_rows, &self.to, &|args, _| {
            let [arg] = exactly::<1>(args.to_vec())?;
            Ok(match arg {
                ColumnarValue::Array(array) => {
                    let cast = cast_with_options(&array, &self.to, &OPTIONS)?;
                    failures::note_new_nulls(&array, &cast);
                    ColumnarValue::Array(cast)
                }
                ColumnarValue::Scalar(value) => {
                    let array = value.to_array()?;
                    let cast = cast_with_options(&array, &self.to, &OPTIONS)?;
                    failures::note_new_nulls(&array, &cast);
                    ColumnarValue::Scalar(ScalarValue::try_from_array(&cast, 0)?)
                }
            })
        })
    }
}
