//! The join of two sorted sides for a view of aggregates.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, RecordBatch, UInt64Array};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::error::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::MemoryReservation;

use asof_core::status::Verdict;
use asof_core::time::Timestamp;

use super::super::answers::AnswersBuilder;
use super::super::leaf::external;
use super::side::{self, Questions, Rows, Side};
use crate::error::OfflineError;
use crate::gather::{Located, gather};
use crate::windows::{Answered, AskedKey, EventColumns, Pending, Windows};

/// Keys are answered together until they have so many events, or a batch of questions.
const TOGETHER: usize = 16_384;

/// The join under way.
pub(super) struct WindowJoin {
    schema: SchemaRef,
    questions: Side<Questions>,
    rows: Side<Rows>,
    windows: Windows,
    batch_size: usize,
    /// For the events of keys that are answered together, and their questions.
    memory: MemoryReservation,
    ready: VecDeque<RecordBatch>,
}

/// Keys that are answered together, one after the other.
#[derive(Default)]
struct Together {
    keys: Vec<Key>,
    /// The instants that are asked about, those of a key side by side, each once.
    instants: Vec<Timestamp>,
    /// Per question the number of its instant, and its row of the spine.
    questions: Vec<(usize, u64)>,
    events: Pending,
    /// The inputs of the events, as they came.
    chunks: Vec<Vec<ArrayRef>>,
    bytes: usize,
}

struct Key {
    instants: Range<usize>,
    events: Range<usize>,
}

impl WindowJoin {
    pub(super) fn new(
        schema: SchemaRef,
        questions: SendableRecordBatchStream,
        rows: SendableRecordBatchStream,
        windows: Windows,
        batch_size: usize,
        memory: MemoryReservation,
    ) -> Self {
        Self {
            schema,
            questions: Side::new(questions, side::questions),
            rows: Side::new(rows, side::rows),
            windows,
            batch_size: batch_size.max(1),
            memory,
            ready: VecDeque::new(),
        }
    }

    /// The next answers.
    pub(super) async fn next(&mut self) -> Result<Option<RecordBatch>> {
        // A sort that is asked once reads all of its input: rows are counted, and bad ones found, whether or
        // not there are questions.
        self.rows.fill().await?;
        if self.ready.is_empty() {
            let mut together = Together::default();
            while together.events.len() < TOGETHER && together.questions.len() < self.batch_size {
                let Some(key) = self.ask(&mut together).await? else {
                    break;
                };
                self.collect(&key, &mut together).await?;
            }
            if together.keys.is_empty() {
                return Ok(None);
            }
            let answers = self.answer(&mut together)?;
            let starts = (0..answers.num_rows()).step_by(self.batch_size);
            let batches =
                starts.map(|start| answers.slice(start, self.batch_size.min(answers.num_rows() - start)));
            self.ready = batches.collect();
            self.memory.free();
        }
        Ok(self.ready.pop_front())
    }

    /// Takes in all questions about the next key, and gives it.
    async fn ask(&mut self, together: &mut Together) -> Result<Option<Vec<u8>>> {
        let mut key: Option<Vec<u8>> = None;
        let first = together.instants.len();
        while self.questions.fill().await? {
            let Some(asked) = self.questions.columns() else {
                break;
            };
            let place = self.questions.row;
            let own = asked.keys.value(place);
            if key.as_deref().is_some_and(|key| key != own) {
                break;
            }
            key.get_or_insert_with(|| own.to_vec());
            let at = Timestamp::from_micros(asked.at.value(place));
            if together.instants.get(first..).and_then(<[_]>::last) != Some(&at) {
                together.instants.push(at);
            }
            let instant = together.instants.len().saturating_sub(1);
            together.questions.push((instant, asked.rows.value(place)));
            self.questions.row += 1;
        }
        if key.is_some() {
            let events = together.events.len();
            together.keys.push(Key {
                instants: first..together.instants.len(),
                events: events..events,
            });
            self.hold(together)?;
        }
        Ok(key)
    }

    /// Takes in the events of a key, whose questions were taken in before.
    async fn collect(&mut self, key: &[u8], together: &mut Together) -> Result<()> {
        while self.rows.fill().await? {
            let Some(rows) = self.rows.columns() else { break };
            let (from, all) = (self.rows.row, rows.keys.len());
            let mut counting: Vec<u64> = Vec::new();
            let mut next = from;
            while next < all {
                match rows.keys.value(next).cmp(key) {
                    Ordering::Greater => break,
                    Ordering::Equal if together.counts(&self.windows, rows, next) => {
                        counting.push(next as u64)
                    }
                    Ordering::Less | Ordering::Equal => {}
                }
                next += 1;
            }
            together.keep(rows, counting)?;
            self.rows.row = next;
            self.hold(together)?;
            if next < all {
                break;
            }
        }
        Ok(())
    }

    /// Tells the pool what is held.
    fn hold(&self, together: &Together) -> Result<()> {
        let questions = together.questions.len() * size_of::<(usize, u64)>();
        let instants = together.instants.len() * size_of::<Timestamp>();
        let bytes = together.bytes + questions + instants;
        self.memory.try_resize(bytes).map_err(|_| {
            external(OfflineError::Memory(format!(
                "the memory limit is too small to hold the events of one key that count ({} MiB so far): raise the \
                 limit, or cut the source",
                bytes >> 20
            )))
        })
    }

    fn answer(&self, together: &mut Together) -> Result<RecordBatch> {
        let answered = together.answer(&self.windows).map_err(external)?;
        let mut builder = AnswersBuilder::default();
        for (instant, _) in &together.questions {
            let is = |of: &[bool]| of.get(*instant) == Some(&true);
            let (held_back, corrected) = (is(&answered.held_back), is(&answered.corrected));
            builder.push(Verdict::Fresh, None, held_back, corrected);
        }
        let rows = together.questions.iter().map(|(_, row)| *row);
        let mut columns: Vec<ArrayRef> = vec![Arc::new(rows.collect::<UInt64Array>())];
        columns.extend(builder.finish());
        // The features are the only array, which is counted from 1.
        let located: Vec<Located> = together
            .questions
            .iter()
            .map(|(instant, _)| (1, *instant))
            .collect();
        for feature in &answered.features {
            let one = std::iter::once(feature);
            columns.push(gather(feature.data_type(), one, &located).map_err(external)?);
        }
        Ok(RecordBatch::try_new(SchemaRef::clone(&self.schema), columns)?)
    }
}

impl Together {
    /// Whether a row is an event that counts for a question about the last key.
    fn counts(&self, windows: &Windows, rows: &Rows, row: usize) -> bool {
        let Some(Key { instants, .. }) = self.keys.last() else {
            return false;
        };
        let event_time = Timestamp::from_micros(rows.events.value(row));
        let asked = self.instants.get(instants.clone()).unwrap_or_default();
        let first = asked.partition_point(|at| *at < event_time);
        // Tails only go forward: if the first question behind an event does not reach it, none does.
        let is_reached = asked.get(first).is_some_and(|at| windows.reach(event_time, *at));
        is_reached && !rows.deleted.value(row)
    }

    /// Keeps rows of a batch, which are events of the last key.
    fn keep(&mut self, rows: &Rows, counting: Vec<u64>) -> Result<()> {
        if counting.is_empty() {
            return Ok(());
        }
        let orders: Vec<_> = counting
            .iter()
            .map(|row| rows.order(usize::try_from(*row).unwrap_or(usize::MAX)))
            .collect();
        let places = UInt64Array::from(counting);
        let columns = rows.features.columns().iter();
        let columns = columns.map(|column| take(column, &places, None));
        let columns = columns.collect::<std::result::Result<Vec<_>, _>>()?;
        self.bytes += columns
            .iter()
            .map(|column| column.get_array_memory_size())
            .sum::<usize>();
        self.bytes += orders.len() * Pending::EACH;
        self.chunks.push(columns);
        // The arrays are counted from 1.
        let chunk = self.chunks.len();
        for (row, order) in orders.into_iter().enumerate() {
            self.events.push(order, (chunk, row));
        }
        let end = self.events.len();
        if let Some(key) = self.keys.last_mut() {
            key.events.end = end;
        }
        Ok(())
    }

    /// The answers to all questions, which take the events.
    fn answer(&mut self, windows: &Windows) -> crate::error::Result<Answered> {
        let chunks: Vec<&[ArrayRef]> = self.chunks.iter().map(Vec::as_slice).collect();
        let columns = EventColumns::of(windows.aggregates(), std::mem::take(&mut self.events), &chunks)?;
        let keys = self.keys.iter().map(|key| AskedKey {
            events: key.events.clone(),
            instants: self.instants.get(key.instants.clone()).unwrap_or_default(),
        });
        windows.answer(&columns, keys)
    }
}
