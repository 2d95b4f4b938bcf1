//! Features being put into columns.

use datafusion::arrow::array::ArrayRef;

use asof_core::definition::Feature;
use asof_core::row::{ColumnBuilder, RowCorrupt};

use crate::error::{OfflineError, Result};

/// The features of questions.
#[derive(Debug)]
pub(crate) struct Answered {
    /// Per feature its values.
    pub(crate) features: Vec<ArrayRef>,
    /// Per question whether rule 2 left out an event that a window covers.
    pub(crate) held_back: Vec<bool>,
    /// Per question whether a feature would have another value without rule 2.
    pub(crate) corrected: Vec<bool>,
}

/// The features of questions as they come: of one key after the other, at one instant after the other.
pub(super) struct Answering {
    columns: Vec<ColumnBuilder>,
    held_back: Vec<bool>,
    corrected: Vec<bool>,
    /// The first question of the key.
    first: usize,
    /// What is expected of the key's features, in the order in which they come.
    expected: Expected,
}

/// Values one behind the other, with where each ends; `None` of a null.
#[derive(Default)]
struct Expected {
    bytes: Vec<u8>,
    ends: Vec<Option<usize>>,
    /// How many were compared, and where the next begins.
    next: usize,
    start: usize,
}

impl Answering {
    pub(super) fn new(features: &[Feature]) -> Self {
        Self {
            columns: features
                .iter()
                .map(|feature| ColumnBuilder::new(&feature.data_type))
                .collect(),
            held_back: Vec::new(),
            corrected: Vec::new(),
            first: 0,
            expected: Expected::default(),
        }
    }

    /// The next value of the key as corrected, at an instant at which an event is left out.
    pub(super) fn expect(&mut self, value: Option<&[u8]>) {
        self.expected.bytes.extend_from_slice(value.unwrap_or_default());
        let end = self.expected.bytes.len();
        self.expected.ends.push(value.map(|_| end));
    }

    /// Begins with the questions of a key.
    pub(super) fn begin(&mut self, held_back: &[bool]) {
        self.first = self.held_back.len();
        self.held_back.extend_from_slice(held_back);
        self.corrected.resize(self.held_back.len(), false);
    }

    /// The next value of the key, at one of its instants.
    pub(super) fn push(&mut self, instant: usize, feature: usize, value: Option<&[u8]>) -> Result<()> {
        let question = self.first + instant;
        if self.held_back.get(question) == Some(&true)
            && !self.expected.is_next(value)
            && let Some(corrected) = self.corrected.get_mut(question)
        {
            *corrected = true;
        }
        let Some(column) = self.columns.get_mut(feature) else {
            return Ok(());
        };
        match value {
            None => column.push_null(),
            Some(mut value) => column.push(&mut value).map_err(corrupt)?,
        }
        Ok(())
    }

    /// Ends with a key.
    pub(super) fn end(&mut self) {
        self.expected = Expected::default();
    }

    pub(super) fn finish(self) -> Result<Answered> {
        let columns = self.columns.into_iter().map(ColumnBuilder::finish);
        Ok(Answered {
            features: columns.collect::<std::result::Result<_, _>>().map_err(corrupt)?,
            held_back: self.held_back,
            corrected: self.corrected,
        })
    }
}

impl Expected {
    /// Whether the next value is that one.
    fn is_next(&mut self, value: Option<&[u8]>) -> bool {
        let Some(end) = self.ends.get(self.next).copied() else {
            return false;
        };
        self.next += 1;
        let expected = end.and_then(|end| self.bytes.get(self.start..end));
        self.start = end.unwrap_or(self.start);
        expected == value
    }
}

fn corrupt(error: RowCorrupt) -> OfflineError {
    OfflineError::Internal(error.to_string())
}
