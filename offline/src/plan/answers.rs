//! The columns in which answers travel: the number of the spine row, then for each read the verdict on its
//! view, the winner's event time, whether rule 2 excluded another winner, whether the answer would be
//! another one without rule 2, and the features.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, AsArray, BooleanArray, RecordBatch, TimestampMicrosecondArray, UInt8Array,
};
use datafusion::arrow::datatypes::{DataType, Field, UInt8Type};

use asof_core::data_type::DataType as AsofType;
use asof_core::status::Verdict;

use super::questions::ROW;
use super::spec::JoinRead;
use crate::error::{OfflineError, Result};

/// How many columns stand before the features of a read.
const BEFORE: usize = 4;

/// The columns of answers to a read.
pub(crate) fn answer_columns(number: usize, read: &JoinRead) -> Vec<Field> {
    let name = |what: &str| format!("{number}.{what}");
    let mut fields = vec![
        Field::new(name("verdict"), DataType::UInt8, false),
        Field::new(name("event_time"), AsofType::Timestamp.to_arrow(), true),
        Field::new(name("held_back"), DataType::Boolean, false),
        Field::new(name("corrected"), DataType::Boolean, false),
    ];
    let features = read.bound.view.features().iter();
    fields.extend(
        features.map(|feature| Field::new(name(feature.name.as_str()), feature.data_type.to_arrow(), true)),
    );
    fields
}

/// The column of the number of the spine row.
pub(super) fn row_column() -> Field {
    Field::new(ROW, DataType::UInt64, false)
}

/// Answers without the features, being put into columns.
#[derive(Debug, Default)]
pub(super) struct AnswersBuilder {
    verdicts: Vec<u8>,
    event_times: Vec<Option<i64>>,
    held_back: Vec<bool>,
    corrected: Vec<bool>,
}

impl AnswersBuilder {
    /// Adds the answer for the next row, with the event time of the winner unless it says that there is nothing;
    /// gives whether the winner's features are served.
    pub(super) fn push(
        &mut self,
        verdict: Verdict,
        event_time: Option<i64>,
        held_back: bool,
        corrected: bool,
    ) -> bool {
        self.verdicts.push(code(verdict));
        self.event_times.push(event_time);
        self.held_back.push(held_back);
        self.corrected.push(corrected);
        verdict == Verdict::Fresh
    }

    /// The columns before the features.
    pub(super) fn finish(self) -> Vec<ArrayRef> {
        vec![
            Arc::new(UInt8Array::from(self.verdicts)),
            Arc::new(TimestampMicrosecondArray::from(self.event_times).with_timezone("UTC")),
            Arc::new(BooleanArray::from(self.held_back)),
            Arc::new(BooleanArray::from(self.corrected)),
        ]
    }
}

const VERDICTS: [Verdict; 4] = [
    Verdict::NotFound,
    Verdict::Fresh,
    Verdict::Expired,
    Verdict::HeldBack,
];

fn code(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::NotFound => 0,
        Verdict::Fresh => 1,
        Verdict::Expired => 2,
        Verdict::HeldBack => 3,
    }
}

/// The answers to a read in a batch.
pub(crate) struct AnswerColumns {
    verdicts: UInt8Array,
    /// The winners' event times, expired ones included.
    pub(crate) event_times: ArrayRef,
    held_back: BooleanArray,
    corrected: BooleanArray,
    /// How often each of [`VERDICTS`] was given.
    counts: [u64; VERDICTS.len()],
    /// The features, null where nothing is served.
    pub(crate) features: Vec<ArrayRef>,
}

impl AnswerColumns {
    /// The answers to reads with so many features each, whose columns are the last of the batch.
    pub(crate) fn of(batch: &RecordBatch, features: &[usize]) -> Result<Vec<Self>> {
        let count: usize = features.iter().map(|features| features + BEFORE).sum();
        let first = batch.num_columns().checked_sub(count);
        let mut columns = first
            .and_then(|first| batch.columns().get(first..))
            .ok_or_else(wrong)?
            .iter();
        features
            .iter()
            .map(|features| {
                let mut next = || columns.next().cloned().ok_or_else(wrong);
                let (verdicts, event_times) = (next()?, next()?);
                let (held_back, corrected) = (next()?, next()?);
                let verdicts = verdicts.as_primitive_opt::<UInt8Type>().ok_or_else(wrong)?;
                Ok(Self {
                    counts: VERDICTS.map(|verdict| {
                        let codes = verdicts.values().iter();
                        codes.filter(|found| **found == code(verdict)).count() as u64
                    }),
                    verdicts: verdicts.clone(),
                    event_times,
                    held_back: held_back.as_boolean_opt().ok_or_else(wrong)?.clone(),
                    corrected: corrected.as_boolean_opt().ok_or_else(wrong)?.clone(),
                    features: (0..*features).map(|_| next()).collect::<Result<_>>()?,
                })
            })
            .collect()
    }

    /// What the contract says of the view for a row.
    pub(crate) fn verdict(&self, row: usize) -> Verdict {
        let code = usize::from(self.verdicts.value(row));
        VERDICTS.get(code).copied().unwrap_or(Verdict::NotFound)
    }

    /// How many rows have a verdict.
    pub(crate) fn with_verdict(&self, verdict: Verdict) -> u64 {
        self.counts.get(usize::from(code(verdict))).copied().unwrap_or(0)
    }

    /// For how many rows rule 2 excluded the row that would have won without it.
    pub(crate) fn held_back_winners(&self) -> u64 {
        self.held_back.true_count() as u64
    }

    /// For how many rows the answer would be another one without rule 2.
    pub(crate) fn corrected_rows(&self) -> u64 {
        self.corrected.true_count() as u64
    }
}

fn wrong() -> OfflineError {
    OfflineError::Internal("answers came in other columns".into())
}

/// The event time of a row that has no answer is null, its verdict that there is nothing.
pub(super) fn nothing(fields: &[Field], rows: usize) -> Vec<ArrayRef> {
    fields
        .iter()
        .map(|field| match field.data_type() {
            DataType::UInt8 if !field.is_nullable() => {
                Arc::new(UInt8Array::from(vec![code(Verdict::NotFound); rows])) as ArrayRef
            }
            DataType::Boolean if !field.is_nullable() => Arc::new(BooleanArray::from(vec![false; rows])),
            other => datafusion::arrow::array::new_null_array(other, rows),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_round_trip() {
        for verdict in VERDICTS {
            assert_eq!(VERDICTS[usize::from(code(verdict))], verdict);
        }
    }
}
