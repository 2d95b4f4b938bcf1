//! Spines in CSV files, which have text and no types.
//!
//! Key columns are read as their declared types and the time column as text. Another column becomes
//! `int64`, `float64` or `bool` only where every value is written as such a value is, so that a code such
//! as `007` stays what it is; everything else is text. An empty field is a null.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::csv::{Reader, ReaderBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use asof_core::service::CallerColumn;

use super::{BATCH, open};
use crate::error::{OfflineError, Result, first_line};

/// The schema of a CSV spine, found by reading all of it.
pub(super) fn schema(path: &Path, time_column: &str, keys: &[CallerColumn]) -> Result<SchemaRef> {
    let unreadable = |reason: String| {
        OfflineError::Data(format!(
            "spine {} is not a readable CSV file: {}",
            path.display(),
            first_line(&reason)
        ))
    };
    let format = arrow::csv::reader::Format::default().with_header(true);
    let (header, _) = format
        .infer_schema(open(path)?, Some(0))
        .map_err(|error| unreadable(error.to_string()))?;
    if header.fields().is_empty() {
        return Err(unreadable("it is empty, without a header line".into()));
    }
    let text: Vec<Field> = header
        .fields()
        .iter()
        .map(|field| Field::new(field.name(), DataType::Utf8, true))
        .collect();
    let mut guesses = vec![Guess::default(); text.len()];
    for batch in reader(path, &Arc::new(Schema::new(text)))? {
        let batch = batch.map_err(|error| unreadable(error.to_string()))?;
        for (guess, column) in guesses.iter_mut().zip(batch.columns()) {
            column
                .as_string::<i32>()
                .iter()
                .flatten()
                .for_each(|text| guess.see(text));
        }
    }
    let fields: Vec<Field> = header
        .fields()
        .iter()
        .zip(guesses)
        .map(|(field, guess)| {
            let key = keys.iter().find(|key| key.name == *field.name());
            let data_type = match key {
                _ if field.name() == time_column => DataType::Utf8,
                Some(key) => key.key_type.data_type().to_arrow(),
                None => guess.data_type(),
            };
            Field::new(field.name(), data_type, true)
        })
        .collect();
    Ok(Arc::new(Schema::new(fields)))
}

/// The rows of a CSV spine.
pub(super) fn reader(path: &Path, schema: &SchemaRef) -> Result<Reader<File>> {
    ReaderBuilder::new(Arc::clone(schema))
        .with_header(true)
        .with_batch_size(BATCH)
        .build(open(path)?)
        .map_err(|error| {
            OfflineError::Data(format!(
                "spine {} cannot be read: {}",
                path.display(),
                first_line(&error.to_string())
            ))
        })
}

/// What every value of a column, so far, is written as.
#[derive(Debug, Clone)]
struct Guess {
    seen: bool,
    int: bool,
    float: bool,
    bool: bool,
}

impl Default for Guess {
    fn default() -> Self {
        Self {
            seen: false,
            int: true,
            float: true,
            bool: true,
        }
    }
}

impl Guess {
    fn see(&mut self, text: &str) {
        self.seen = true;
        self.int = self.int && text.parse::<i64>().is_ok_and(|value| value.to_string() == text);
        self.float = self.float && is_plain_float(text);
        self.bool = self.bool && matches!(text, "true" | "false");
    }

    fn data_type(&self) -> DataType {
        match self {
            Self { seen: false, .. } => DataType::Utf8,
            Self { int: true, .. } => DataType::Int64,
            Self { float: true, .. } => DataType::Float64,
            Self { bool: true, .. } => DataType::Boolean,
            _ => DataType::Utf8,
        }
    }
}

/// A decimal number of at most 15 digits, without leading zeros or a plus sign.
fn is_plain_float(text: &str) -> bool {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, _) = unsigned.split_once(['.', 'e', 'E']).unwrap_or((unsigned, ""));
    let plain = whole == "0" || (!whole.starts_with('0') && whole.bytes().all(|b| b.is_ascii_digit()));
    // More digits than a float64 holds would be lost.
    let digits = unsigned.bytes().filter(u8::is_ascii_digit).count();
    !whole.is_empty() && plain && digits <= 15 && text.parse::<f64>().is_ok_and(f64::is_finite)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_taken_only_where_nothing_is_lost() {
        let check = |texts: &[&str], expect: DataType| {
            let mut guess = Guess::default();
            texts.iter().for_each(|text| guess.see(text));
            assert_eq!(guess.data_type(), expect, "{texts:?}");
        };
        check(&["1", "-20", "0"], DataType::Int64);
        check(&["1", "2.5", "-0.1", "1e3"], DataType::Float64);
        check(&["007", "12"], DataType::Utf8);
        check(&["00.5"], DataType::Utf8);
        check(&["+1"], DataType::Utf8);
        check(&["NaN"], DataType::Utf8);
        check(&["9223372036854775808"], DataType::Utf8);
        check(&["9007199254740993", "0.5"], DataType::Utf8);
        check(&["true", "false"], DataType::Boolean);
        check(&["true", "1"], DataType::Utf8);
        check(&[], DataType::Utf8);
    }
}
