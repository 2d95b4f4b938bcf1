//! One pass over both sorted sides.

use std::cmp::Ordering;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::error::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::MemoryReservation;

use asof_core::duration::Duration;
use asof_core::status::Winner;
use asof_core::time::Timestamp;

use super::super::answers::AnswersBuilder;
use super::super::leaf::external;
use super::side::{self, Questions, Rows, Side};
use super::state::{Features, KeyState, Standing};
use crate::gather::{Located, NOWHERE, gather};

/// Batches that answers under way point to, at most.
const HELD: usize = 64;

/// The join under way.
pub(super) struct Sweep {
    schema: SchemaRef,
    questions: Side<Questions>,
    rows: Side<Rows>,
    ttl: Option<Duration>,
    as_corrected: bool,
    batch_size: usize,
    key: Option<Vec<u8>>,
    state: KeyState,
    /// For rows that are held beyond their batch.
    memory: MemoryReservation,
}

impl Sweep {
    pub(super) fn new(
        schema: SchemaRef,
        questions_side: SendableRecordBatchStream,
        rows_side: SendableRecordBatchStream,
        ttl: Option<Duration>,
        as_corrected: bool,
        batch_size: usize,
        memory: MemoryReservation,
    ) -> Self {
        Self {
            schema,
            questions: Side::new(questions_side, side::questions),
            rows: Side::new(rows_side, side::rows),
            ttl,
            as_corrected,
            batch_size: batch_size.max(1),
            key: None,
            state: KeyState::default(),
            memory,
        }
    }

    /// The next answers.
    pub(super) async fn next(&mut self) -> Result<Option<RecordBatch>> {
        // A sort that is asked once reads all of its input: rows are counted, and bad ones found, whether or
        // not there are questions.
        self.fill_rows().await?;
        let mut answers = Answers::default();
        while answers.rows.len() < self.batch_size && answers.held.len() < HELD {
            if !self.questions.fill().await? {
                break;
            }
            let Some(asked) = self.questions.columns() else {
                break;
            };
            let place = self.questions.row;
            let (key, at) = (
                asked.keys.value(place),
                Timestamp::from_micros(asked.at.value(place)),
            );
            let row = asked.rows.value(place);
            if self.key.as_deref() != Some(key) {
                self.key = Some(key.to_vec());
                self.state = KeyState::default();
            }
            self.questions.row += 1;
            self.catch_up(at).await?;
            answers.push(row, &self.state, self.ttl, at);
        }
        if answers.rows.is_empty() {
            return Ok(None);
        }
        answers.finish(&self.schema).map(Some)
    }

    /// Makes the current row of the source one that is there. A batch that is done with is let go.
    async fn fill_rows(&mut self) -> Result<bool> {
        if let Some(rows) = self.rows.spent() {
            self.state.copy_out(&rows.features, &self.memory)?;
        }
        self.rows.fill().await
    }

    /// Lets all rows of the current key enter that happened by `at`.
    async fn catch_up(&mut self, at: Timestamp) -> Result<()> {
        while self.fill_rows().await? {
            let (Some(rows), Some(key)) = (self.rows.columns(), self.key.as_deref()) else {
                break;
            };
            let place = self.rows.row;
            match rows.keys.value(place).cmp(key) {
                Ordering::Less => {}
                Ordering::Greater => break,
                Ordering::Equal if rows.events.value(place) > at.micros() => break,
                Ordering::Equal => {
                    let order = rows.order(place);
                    let winner = Winner {
                        order,
                        deleted: rows.deleted.value(place),
                    };
                    let due = if self.as_corrected {
                        order.event_time
                    } else {
                        order.due()
                    };
                    let standing = Standing {
                        winner,
                        features: Arc::clone(&rows.features),
                        row: place,
                    };
                    self.state.enter(standing, due, at);
                }
            }
            self.rows.row += 1;
        }
        self.state.advance(at);
        Ok(())
    }
}

/// Answers under way.
#[derive(Default)]
struct Answers {
    rows: Vec<u64>,
    answers: AnswersBuilder,
    /// The batches to which `places` point.
    held: Vec<Arc<Features>>,
    /// Per answer where its features are among those.
    places: Vec<Located>,
}

impl Answers {
    fn push(&mut self, row: u64, state: &KeyState, ttl: Option<Duration>, at: Timestamp) {
        let (verdict, known, held_back, corrected) = state.answer(ttl, at);
        let winner = known.map(|known| known.winner);
        let shown = winner.filter(|winner| !winner.deleted);
        let event_time = shown.map(|winner| winner.order.event_time.micros());
        let served = self.answers.push(verdict, event_time, held_back, corrected);
        let place = match known.filter(|_| served) {
            None => NOWHERE,
            Some(known) => {
                if self
                    .held
                    .last()
                    .is_none_or(|last| !Arc::ptr_eq(last, &known.features))
                {
                    self.held.push(Arc::clone(&known.features));
                }
                (self.held.len(), known.row)
            }
        };
        self.rows.push(row);
        self.places.push(place);
    }

    fn finish(self, schema: &SchemaRef) -> Result<RecordBatch> {
        let mut columns: Vec<ArrayRef> = vec![Arc::new(UInt64Array::from(self.rows))];
        columns.extend(self.answers.finish());
        let features = schema.fields().iter().skip(columns.len());
        for (feature, field) in features.enumerate() {
            let held = self.held.iter().filter_map(|held| held.columns().get(feature));
            columns.push(gather(field.data_type(), held, &self.places).map_err(external)?);
        }
        Ok(RecordBatch::try_new(SchemaRef::clone(schema), columns)?)
    }
}
