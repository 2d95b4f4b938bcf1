//! `like` and `ilike`, null where a pattern is too long to be matched.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::compute::kernels::comparison;
use arrow_schema::DataType;
use datafusion_common::Result;
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

use super::guard::or_null;
use super::{apply, exactly};

/// Whether a text is like a pattern.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Like {
    ignores_case: bool,
    signature: Signature,
}

impl Like {
    pub(crate) fn new(ignores_case: bool) -> Self {
        Self {
            ignores_case,
            signature: Signature::any(2, Volatility::Immutable),
        }
    }

    /// Fails for a pattern that becomes too large.
    pub(crate) fn matches(&self, text: &ColumnarValue, pattern: &ColumnarValue) -> Result<ColumnarValue> {
        apply(text, pattern, |text, pattern| {
            let matches = match self.ignores_case {
                true => comparison::ilike(text, pattern),
                false => comparison::like(text, pattern),
            };
            Ok(Arc::new(matches?) as ArrayRef)
        })
    }
}

impl ScalarUDFImpl for Like {
    fn name(&self) -> &str {
        if self.ignores_case { "ilike" } else { "like" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let args_of = exactly::<2>(args.args)?;
        or_null(&args_of, args.number_rows, &DataType::Boolean, &|args, _| {
            let [text, pattern] = exactly::<2>(args.to_vec())?;
            self.matches(&text, &pattern)
        })
    }
}
