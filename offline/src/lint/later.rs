//! The next value of a feature: that of the first row of the view after a row of the spine.
//!
//! This is the contest of the as-of join turned around. A row of the source competes at the last question
//! before it; the earliest wins there, and of several at one event time the greatest, which is what that
//! time's value is once all is known. A question without a row of its own takes that of the next question.

use std::cmp::Reverse;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, UInt32Array, new_null_array};
use datafusion::arrow::compute::{interleave, take};
use datafusion::arrow::datatypes::DataType as ArrowType;

use asof_core::duration::Duration;
use asof_core::order::RowOrder;
use asof_core::time::Timestamp;

use super::sample::Sample;
use crate::asof::{Questions, QuestionsBuilder};
use crate::error::{OfflineError, Result};
use crate::plan::JoinSpec;
use crate::rows::{RowReader, SourceRows};
use crate::scan::Scan;
use crate::spine::KeyReader;

/// Values that are held for no question any more are dropped when there are so many more than questions.
const SPARE: usize = 1 << 16;

/// Per row of the sample the next row of a view.
pub(super) struct NextValues {
    features: Vec<ArrayRef>,
    /// Per row of the sample the place in `features`, null where there is none.
    places: UInt32Array,
}

impl NextValues {
    /// Reads the source of a read once more, for what comes after the rows of the sample.
    pub(super) async fn find(
        spec: &JoinSpec,
        number: usize,
        sample: &Sample,
        horizon: Duration,
    ) -> Result<Self> {
        let lost = || OfflineError::Internal(format!("read {number} was not bound"));
        let read = spec.reads.get(number).ok_or_else(lost)?;
        let source = spec.sources.get(read.source).ok_or_else(lost)?;
        let spine = &spec.spine;
        let columns: Vec<usize> = (0..sample.batch.num_columns()).collect();
        let (keys, times) = KeyReader::new(spine, &read.keys, &columns)?.read(spine, &sample.batch, 0)?;
        let mut questions = QuestionsBuilder::default();
        questions.push(&keys, &times)?;
        let questions = questions.finish();

        let snapshot = &source.files.snapshot;
        let reader = Arc::new(RowReader::bind(&read.bound, snapshot)?);
        let mut scan = Scan::start(&spec.engine, snapshot, &reader, 0..snapshot.files.len());
        let types = read
            .bound
            .view
            .features()
            .iter()
            .map(|feature| feature.data_type.to_arrow());
        let mut next = NextRows::new(&questions, types.collect());
        while let Some(rows) = scan.next().await? {
            next.compete(&rows)?;
        }
        next.finish(times.len(), horizon)
    }

    /// For how many rows there is a later row.
    pub(super) fn rows_with_later(&self) -> u64 {
        (self.places.len() - self.places.null_count()) as u64
    }

    /// The next values of a feature.
    pub(super) fn feature(&self, feature: usize) -> Result<ArrayRef> {
        let lost = || OfflineError::Internal(format!("feature {feature} was not read"));
        let values = self.features.get(feature).ok_or_else(lost)?;
        Ok(take(values, &self.places, None)?)
    }
}

/// A row that is the first after a question, as far as is known.
#[derive(Debug, Clone, Copy)]
struct Next {
    order: RowOrder,
    deleted: bool,
    /// Which chunk has its values, `None` while they are in the batch at hand; and its row there.
    chunk: Option<usize>,
    row: usize,
}

impl Next {
    /// Among rows after one question the least is the next row.
    fn rank(&self) -> (Timestamp, Reverse<RowOrder>) {
        (self.order.event_time, Reverse(self.order))
    }
}

struct NextRows<'a> {
    questions: &'a Questions,
    types: Vec<ArrowType>,
    nexts: Vec<Option<Next>>,
    /// Values of rows that were the next of some question, in chunks as they were read.
    chunks: Vec<Vec<ArrayRef>>,
    held: usize,
}

impl<'a> NextRows<'a> {
    fn new(questions: &'a Questions, types: Vec<ArrowType>) -> Self {
        Self {
            nexts: vec![None; questions.len()],
            questions,
            types,
            chunks: Vec::new(),
            held: 0,
        }
    }

    fn compete(&mut self, rows: &SourceRows) -> Result<()> {
        let mut groups = Vec::new();
        self.questions.groups(&rows.keys, &mut groups);
        let mut touched = Vec::new();
        for head in &rows.heads {
            let group = groups.get(head.row).copied();
            let question = group.and_then(|group| self.questions.last_before(group, head.order.event_time));
            let Some(question) = question.map(|question| question as usize) else {
                continue;
            };
            let row = Next {
                order: head.order,
                deleted: head.deleted,
                chunk: None,
                row: head.row,
            };
            if let Some(slot) = self.nexts.get_mut(question)
                && slot.is_none_or(|other| row.rank() < other.rank())
            {
                *slot = Some(row);
                touched.push(question);
            }
        }
        self.keep(rows, &touched)?;
        if self.held > 2 * self.nexts.len() + SPARE {
            self.compact()?;
        }
        Ok(())
    }

    /// Keeps the values of the rows of a batch that are the next of a question.
    fn keep(&mut self, rows: &SourceRows, touched: &[usize]) -> Result<()> {
        let mut places = Vec::new();
        for question in touched {
            let slot = self.nexts.get_mut(*question).and_then(Option::as_mut);
            if let Some(next) = slot.filter(|next| next.chunk.is_none()) {
                places.push(u32::try_from(next.row).unwrap_or(u32::MAX));
                next.chunk = Some(self.chunks.len());
                next.row = places.len() - 1;
            }
        }
        if places.is_empty() {
            return Ok(());
        }
        self.held += places.len();
        let places = UInt32Array::from(places);
        let values = rows
            .features
            .iter()
            .map(|values| Ok(take(values, &places, None)?));
        self.chunks.push(values.collect::<Result<_>>()?);
        Ok(())
    }

    /// Puts the values that are still of use into one chunk.
    fn compact(&mut self) -> Result<()> {
        let mut located = Vec::new();
        for next in self.nexts.iter_mut().flatten() {
            located.push((next.chunk.unwrap_or(0), next.row));
            (next.chunk, next.row) = (Some(0), located.len() - 1);
        }
        self.held = located.len();
        let values = |(feature, data_type): (usize, &ArrowType)| {
            let chunks: Vec<&dyn Array> = self
                .chunks
                .iter()
                .filter_map(|chunk| chunk.get(feature))
                .map(AsRef::as_ref)
                .collect();
            match chunks.is_empty() {
                true => Ok(new_null_array(data_type, 0)),
                false => Ok(interleave(&chunks, &located)?),
            }
        };
        let values = self.types.iter().enumerate().map(values).collect::<Result<_>>()?;
        self.chunks = vec![values];
        Ok(())
    }

    fn finish(mut self, rows: usize, horizon: Duration) -> Result<NextValues> {
        self.compact()?;
        for range in self.questions.ranges(0..self.questions.keys()) {
            let mut following = None;
            for question in range.rev() {
                if let Some(slot) = self.nexts.get_mut(question) {
                    following = slot.or(following);
                    *slot = following;
                }
            }
        }
        let place = |row: usize| {
            let question = self.questions.of_row(row)?;
            let next = (*self.nexts.get(question)?)?;
            let last = self.questions.time(question).checked_add(horizon);
            let is_near = last.is_none_or(|last| next.order.event_time <= last);
            (is_near && !next.deleted).then(|| u32::try_from(next.row).ok())?
        };
        Ok(NextValues {
            places: (0..rows).map(place).collect(),
            features: self.chunks.pop().unwrap_or_default(),
        })
    }
}
