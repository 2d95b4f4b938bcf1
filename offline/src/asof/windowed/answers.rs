//! The features of a view of aggregates for all spine rows.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::DataType as ArrowType;

use asof_core::status::Verdict;

use super::super::contest::RowAnswer;
use super::super::questions::Questions;
use super::super::values::Values;
use crate::error::Result;

/// The answers to all spine rows about one view of aggregates.
pub(crate) struct WindowAnswers {
    questions: Arc<Questions>,
    values: Values,
    /// Per question whether rule 2 left out an event that a window covers.
    held_back: Vec<bool>,
    /// Per question whether a feature would have another value without rule 2.
    corrected: Vec<bool>,
}

impl WindowAnswers {
    /// Features of the given types in chunks, all questions after the other.
    pub(super) fn new(
        questions: Arc<Questions>,
        types: Vec<ArrowType>,
        chunks: Vec<Vec<ArrayRef>>,
        held_back: Vec<bool>,
        corrected: Vec<bool>,
        threads: usize,
    ) -> Result<Self> {
        let own = (0_u32..).take(questions.len()).collect();
        Ok(Self {
            values: Values::new(types, chunks, own, threads)?,
            questions,
            held_back,
            corrected,
        })
    }

    /// What the contract says of the view for a spine row: every whole key has an answer.
    pub(crate) fn answer(&self, row: usize) -> RowAnswer {
        let Some(question) = self.questions.of_row(row) else {
            return RowAnswer::NOTHING;
        };
        RowAnswer {
            verdict: Verdict::Fresh,
            event_time: None,
            held_back_winner: self.held_back.get(question).copied().unwrap_or(false),
        }
    }

    /// Whether a feature would have another value for a spine row without rule 2.
    pub(crate) fn would_be_corrected(&self, row: usize) -> bool {
        let question = self.questions.of_row(row);
        question.is_some_and(|question| self.corrected.get(question) == Some(&true))
    }

    /// The features for spine rows.
    pub(crate) fn columns(&self, rows: Range<usize>) -> Result<Vec<ArrayRef>> {
        self.values.columns(rows.map(|row| self.questions.of_row(row)))
    }
}
