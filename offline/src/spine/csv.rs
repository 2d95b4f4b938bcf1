//! Spines in CSV files, which have text and no types.
//!
//! A column becomes `int64`, `float64` or `bool` only where every value is written exactly as such a value
//! is written again, so that a code such as `007` or a version such as `1.10` stays what it is; everything
//! else is text, the times too. An empty field is a null.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::csv::{Reader, ReaderBuilder};
use arrow::datatypes::{DataType as ArrowType, Field, Float64Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use asof_core::data_type::DataType;

use super::{BATCH, Batches, open};
use crate::column::{ColumnError, text};
use crate::error::{OfflineError, Result, first_line};
use crate::time_column::TimeRules;

/// The types that a column can turn out to be of; where none fits, it is text.
const GUESSES: [DataType; 3] = [DataType::Int64, DataType::Float64, DataType::Bool];

/// The schema of a CSV spine, found by reading all of it.
pub(super) fn schema(path: &Path, time_column: &str, times: TimeRules) -> Result<SchemaRef> {
    let unreadable = |reason: String| {
        OfflineError::Data(format!(
            "spine {} is not a readable CSV file: {}",
            path.display(),
            first_line(&reason)
        ))
    };
    let header: SchemaRef = Arc::new(text::header(open(path)?).map_err(unreadable)?);
    let mut guesses = vec![Guess::default(); header.fields().len()];
    for batch in reader(path, &header, None)? {
        let batch = batch.map_err(|error| unreadable(error.to_string()))?;
        for (guess, column) in guesses.iter_mut().zip(batch.columns()) {
            guess.see(column, times);
        }
    }
    let fields = header.fields().iter().zip(guesses).map(|(field, guess)| {
        let data_type = match field.name() {
            name if name == time_column => ArrowType::Utf8,
            _ => guess.data_type(),
        };
        Field::new(field.name(), data_type, true)
    });
    Ok(Arc::new(Schema::new(fields.collect::<Vec<_>>())))
}

/// The rows of a CSV spine: all columns, or those at the given places, in that order.
pub(super) fn batches(
    path: &Path,
    schema: &SchemaRef,
    columns: Option<&[usize]>,
    times: TimeRules,
) -> Result<Batches> {
    let typed = match columns {
        None => Arc::clone(schema),
        Some(columns) => Arc::new(schema.project(columns)?),
    };
    let rows = reader(path, schema, columns)?;
    Ok(Box::new(
        rows.map(move |batch| as_guessed(&batch?, &typed, times)),
    ))
}

/// The rows as text, of a file whose columns have the names of `schema`.
fn reader(path: &Path, schema: &SchemaRef, columns: Option<&[usize]>) -> Result<Reader<File>> {
    let text = schema.fields().iter();
    let text = text.map(|field| Field::new(field.name(), ArrowType::Utf8, true));
    let mut builder = ReaderBuilder::new(Arc::new(Schema::new(text.collect::<Vec<_>>())))
        .with_header(true)
        .with_batch_size(BATCH);
    if let Some(columns) = columns {
        builder = builder.with_projection(columns.to_vec());
    }
    builder.build(open(path)?).map_err(|error| {
        OfflineError::Data(format!(
            "spine {} cannot be read: {}",
            path.display(),
            first_line(&error.to_string())
        ))
    })
}

fn as_guessed(
    batch: &RecordBatch,
    typed: &SchemaRef,
    times: TimeRules,
) -> std::result::Result<RecordBatch, ArrowError> {
    let columns = typed.fields().iter().zip(batch.columns()).map(|(field, column)| {
        let guessed = GUESSES
            .iter()
            .find(|guess| guess.to_arrow() == *field.data_type());
        let Some(guessed) = guessed else {
            return Ok(Arc::clone(column));
        };
        // All of them were, when the type was found.
        text::parse(column, guessed, times).map_err(|_| {
            let name = field.name();
            ArrowError::ParseError(format!("column {name:?} was changed while it was read"))
        })
    });
    let columns = columns.collect::<std::result::Result<Vec<_>, _>>()?;
    RecordBatch::try_new(Arc::clone(typed), columns)
}

/// A column of a CSV spine, as it is guessed, as the declared type: by its text.
pub(super) fn declared(
    column: &ArrayRef,
    declared: &DataType,
    times: TimeRules,
) -> std::result::Result<ArrayRef, ColumnError> {
    if *column.data_type() == declared.to_arrow() {
        return Ok(Arc::clone(column));
    }
    // A type is guessed only where its values are written as the text was.
    match cast(column, &ArrowType::Utf8) {
        Ok(texts) => text::parse(&texts, declared, times),
        Err(_) => text::parse(column, declared, times),
    }
}

/// What every value of a column, so far, can be.
#[derive(Debug, Clone)]
struct Guess {
    /// Whether there was a value.
    seen: bool,
    /// Of [`GUESSES`], those that lose nothing.
    open: [bool; GUESSES.len()],
}

impl Default for Guess {
    fn default() -> Self {
        Self {
            seen: false,
            open: [true; GUESSES.len()],
        }
    }
}

impl Guess {
    fn see(&mut self, texts: &ArrayRef, times: TimeRules) {
        self.seen |= texts.null_count() < texts.len();
        for (open, guess) in self.open.iter_mut().zip(&GUESSES) {
            *open = *open && is_kept_by(guess, texts, times);
        }
    }

    fn data_type(&self) -> ArrowType {
        let mut open = self.open.iter().zip(&GUESSES).filter(|(open, _)| **open);
        match open.next().filter(|_| self.seen) {
            Some((_, guess)) => guess.to_arrow(),
            None => ArrowType::Utf8,
        }
    }
}

/// Whether values of a type are written as all of these texts are.
fn is_kept_by(guess: &DataType, texts: &ArrayRef, times: TimeRules) -> bool {
    let Ok(typed) = text::parse(texts, guess, times) else {
        return false;
    };
    // Words such as NaN are rather words than numbers.
    let floats = typed.as_primitive_opt::<Float64Type>();
    let finite = floats.is_none_or(|floats| floats.iter().flatten().all(f64::is_finite));
    finite && cast(&typed, &ArrowType::Utf8).is_ok_and(|written| written.as_ref() == texts.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time_column::Side;
    use arrow::array::StringArray;

    const TIMES: TimeRules = TimeRules {
        zone: None,
        dates: None,
        side: Side::Spine,
    };

    #[test]
    fn a_type_is_taken_only_where_nothing_is_lost() {
        let check = |texts: &[&str], expect: ArrowType| {
            let mut guess = Guess::default();
            for text in texts {
                let batch: ArrayRef = Arc::new(StringArray::from(vec![None, Some(*text)]));
                guess.see(&batch, TIMES);
            }
            assert_eq!(guess.data_type(), expect, "{texts:?}");
        };
        check(&["1", "-20", "0", "9223372036854775807"], ArrowType::Int64);
        check(
            &[
                "1.0", "2.5", "-0.1", "-0.0", "100000.0", "1e16", "0.00001", "1e-7",
            ],
            ArrowType::Float64,
        );
        check(&["true", "false"], ArrowType::Boolean);
        for texts in [
            &["1", "2.5"][..],
            &["007", "12"],
            &["1.10", "1.1"],
            &["1e5"],
            &["-0"],
            &["00.5"],
            &["+1"],
            &[" 1"],
            &["NaN"],
            &["inf"],
            &["9223372036854775808"],
            &["9007199254740993.0"],
            &["0.1000000000000000055"],
            &["TRUE"],
            &["true", "1"],
            &["2020-01-01T00:00:00.000000001Z"],
            &[],
        ] {
            check(texts, ArrowType::Utf8);
        }
    }

    #[test]
    fn a_column_of_nulls_is_text() {
        let mut guess = Guess::default();
        guess.see(
            &(Arc::new(StringArray::from(vec![None::<&str>; 3])) as ArrayRef),
            TIMES,
        );
        assert_eq!(guess.data_type(), ArrowType::Utf8);
    }

    #[test]
    fn a_guessed_column_is_converted_by_its_text() {
        let text: ArrayRef = Arc::new(StringArray::from(vec!["1.50", "2.25"]));
        let numbers: ArrayRef = Arc::new(arrow::array::Float64Array::from(vec![1.5, 2.25]));
        let decimal = DataType::parse("decimal(6,2)").unwrap();
        let expect: ArrayRef = Arc::new(
            arrow::array::Decimal128Array::from(vec![150, 225])
                .with_precision_and_scale(6, 2)
                .unwrap(),
        );
        assert_eq!(&declared(&text, &decimal, TIMES).unwrap(), &expect);
        assert_eq!(&declared(&numbers, &decimal, TIMES).unwrap(), &expect);
        let number: ArrayRef = Arc::new(arrow::array::Int64Array::from(vec![Some(7), None]));
        let word: ArrayRef = Arc::new(StringArray::from(vec![Some("7"), None]));
        assert_eq!(&declared(&number, &DataType::String, TIMES).unwrap(), &word);
    }
}
