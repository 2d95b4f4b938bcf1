//! The feature values of the rows that are served.

use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::arrow::compute::concat;
use datafusion::arrow::datatypes::DataType as ArrowType;

use super::index::NONE;
use super::served::Corrections;
use crate::error::Result;
use crate::fan_out::fan_out;
use crate::gather::{Located, NOWHERE, gather};

/// How many questions are compared at once.
const COMPARED: usize = 4_096;

/// The features of served rows, in the order of their places, in chunks as they were read.
#[derive(Debug)]
pub(crate) struct Values {
    types: Vec<ArrowType>,
    chunks: Vec<Vec<ArrayRef>>,
    /// Where each chunk begins, and the last one ends.
    starts: Vec<usize>,
    /// Per question the number of its row, [`NONE`] where nothing is served.
    of_question: Vec<u32>,
}

impl Values {
    /// Chunks of columns of the given types, none of them empty.
    ///
    /// Where no feature is of a size of its own, the chunks are made one, by several threads: rows are then
    /// taken from it faster.
    pub(crate) fn new(
        types: Vec<ArrowType>,
        mut chunks: Vec<Vec<ArrayRef>>,
        of_question: Vec<u32>,
        threads: usize,
    ) -> Result<Self> {
        if chunks.len() > 1 && types.iter().all(ArrowType::is_primitive) {
            let features = (0..types.len()).collect();
            let whole = fan_out(threads, features, |feature: usize| {
                let arrays = chunks.iter().filter_map(|chunk| chunk.get(feature));
                let arrays: Vec<&dyn Array> = arrays.map(AsRef::as_ref).collect();
                concat(&arrays)
            })?;
            chunks = vec![whole];
        }
        let mut starts = vec![0];
        let mut end = 0;
        for chunk in &chunks {
            end += chunk.first().map_or(0, |array| array.len());
            starts.push(end);
        }
        Ok(Self {
            types,
            chunks,
            starts,
            of_question,
        })
    }

    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        self.starts.last().copied().unwrap_or(0)
    }

    /// The questions that would be answered otherwise without rule 2, ascending.
    pub(crate) fn corrected(&self, corrections: &Corrections, threads: usize) -> Result<Vec<u32>> {
        let chunks = corrections.compared.chunks(COMPARED).collect();
        let differing = fan_out(threads, chunks, |compared: &[(u32, u32)]| {
            self.differing(compared)
        })?;
        let mut corrected = corrections.certain.clone();
        corrected.extend(differing.into_iter().flatten());
        corrected.sort_unstable();
        Ok(corrected)
    }

    /// Of questions, given with another row, those for which that row has other features than are served.
    fn differing(&self, compared: &[(u32, u32)]) -> Result<Vec<u32>> {
        let served = |question: u32| self.of_question.get(question as usize).copied();
        let now: Vec<_> = compared
            .iter()
            .map(|(question, _)| self.locate_row(served(*question)))
            .collect();
        let then: Vec<_> = compared
            .iter()
            .map(|(_, row)| self.locate_row(Some(*row)))
            .collect();
        let mut differs = vec![false; compared.len()];
        for (feature, data_type) in self.types.iter().enumerate() {
            let now = self.column(feature, data_type, &now)?.to_data();
            let then = self.column(feature, data_type, &then)?.to_data();
            for (row, differs) in differs.iter_mut().enumerate() {
                *differs = *differs || now.slice(row, 1) != then.slice(row, 1);
            }
        }
        let questions = compared.iter().zip(differs).filter(|(_, differs)| *differs);
        Ok(questions.map(|((question, _), _)| *question).collect())
    }

    /// Where the values for a question are: its chunk and row, [`NOWHERE`] where there are none.
    fn locate(&self, question: Option<usize>) -> Located {
        self.locate_row(question.and_then(|question| self.of_question.get(question).copied()))
    }

    /// Where the row of that number is.
    fn locate_row(&self, number: Option<u32>) -> Located {
        let Some(number) = number.filter(|number| *number != NONE) else {
            return NOWHERE;
        };
        let number = number as usize;
        let after = self.starts.partition_point(|start| *start <= number);
        let start = after
            .checked_sub(1)
            .and_then(|chunk| self.starts.get(chunk))
            .copied();
        (after, number - start.unwrap_or(0))
    }

    /// All features for the given questions, null where nothing is served.
    pub(crate) fn columns(&self, questions: impl Iterator<Item = Option<usize>>) -> Result<Vec<ArrayRef>> {
        let located: Vec<Located> = questions.map(|question| self.locate(question)).collect();
        let features = self.types.iter().enumerate();
        features
            .map(|(feature, data_type)| self.column(feature, data_type, &located))
            .collect()
    }

    /// A feature of located rows.
    fn column(&self, feature: usize, data_type: &ArrowType, located: &[Located]) -> Result<ArrayRef> {
        let chunks = self.chunks.iter().filter_map(|chunk| chunk.get(feature));
        gather(data_type, chunks, located)
    }
}
