//! Rows that are pushed: checked as an ingest would, read as an extract will, and appended to their table later.
//!
//! A push is accepted row by row. What is wrong with one row refuses that row; what is wrong with the columns
//! refuses all.

mod avro;
mod checks;
mod entry;
mod flush;
mod json;
mod messages;

pub use entry::entry_of;
pub use flush::{Flushed, Reserved};
pub use messages::{MessageReader, PushedMessages, Refused};

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, TimestampMicrosecondArray,
};
use datafusion::arrow::compute::{filter_record_batch, nullif};
use datafusion::arrow::datatypes::SchemaRef;

use asof_core::data_type::DataType;
use asof_core::definition::{BoundView, Location, Source};
use asof_core::key::EntityKey;
use asof_core::time::Timestamp;

use super::ingest::convert_column;
use super::{SEQ, table_schema};
use crate::engine::Engine;
use crate::error::{OfflineError, Result};
use crate::events::EventId;
use crate::rows::{PUSHED, RowReader, SourceRows};

/// So many rows of a push may be refused one by one; where more are bad, all are refused.
pub const MOST_REJECTED: usize = 100;

/// Rows as they are pushed.
#[derive(Debug, Clone)]
pub enum PushInput {
    /// Columns of one length, with their names.
    Columns(Vec<(String, ArrayRef)>),
    /// JSON objects, one a line; blank lines are none.
    JsonLines(Vec<u8>),
    /// An Arrow IPC stream.
    ArrowStream(Vec<u8>),
}

/// Reads what is pushed to a source.
#[derive(Debug)]
pub struct PushReader {
    source: Source,
    columns: Vec<(String, DataType)>,
    schema: SchemaRef,
    views: Option<RowReader>,
    table_id: Option<String>,
    event_id: Option<EventId>,
}

/// Rows that were accepted. They are numbered from 0 until they have their seqs.
#[derive(Debug)]
pub struct PushedRows {
    batch: RecordBatch,
    /// Per row the id of its event, where the source has ids and the row has one.
    pub events: Vec<Option<EntityKey>>,
    /// The rows as each of the views has them, in the order in which they were given.
    pub views: Vec<SourceRows>,
    /// The rows that were not.
    pub rejected: Vec<RejectedRow>,
}

/// A row that was not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedRow {
    /// Its place in the push.
    pub row: usize,
    /// What is wrong with it.
    pub reason: String,
}

impl Engine {
    /// Binds a managed source, and the views of it, to what is pushed.
    pub async fn push_reader(&self, source: &Source, views: &[&BoundView]) -> Result<PushReader> {
        let Location::Managed { schema, .. } = &source.location else {
            return Err(OfflineError::Definition(format!(
                "source {} is read in place from its path: only a managed source (one with a schema and no path) \
                 takes rows",
                source.name
            )));
        };
        let (views, table_id) = match views.first() {
            Some(first) => {
                let snapshot = self.snapshot(first).await?;
                (Some(RowReader::bind_all(views, &snapshot)?), snapshot.table_id)
            }
            None => (None, None),
        };
        Ok(PushReader {
            source: source.clone(),
            columns: schema.clone(),
            schema: table_schema(schema),
            views,
            table_id,
            event_id: EventId::of(source)?,
        })
    }
}

impl PushReader {
    /// The id of the source's table, where it has views.
    pub fn table_id(&self) -> Option<&str> {
        self.table_id.as_deref()
    }

    /// What the source's events are known by, where it has ids: another text where ids of before are none of these.
    pub fn event_id(&self) -> Option<String> {
        self.event_id.as_ref().map(EventId::description)
    }

    /// Reads what arrives at an instant: up to `most` rows, and one at least.
    ///
    /// # Errors
    ///
    /// [`OfflineError::Data`] where a column is unknown, missing or of a wrong type, there are no or too many rows,
    /// or more than [`MOST_REJECTED`] of them are bad.
    pub fn read(&self, input: &PushInput, most: usize, at: Timestamp) -> Result<PushedRows> {
        let counted = |rows: usize| {
            if (1..=most).contains(&rows) {
                return Ok(Rejected::new(rows));
            }
            Err(OfflineError::Data(format!(
                "{rows} rows were given, one push takes 1 to {most}"
            )))
        };
        match input {
            PushInput::Columns(columns) => {
                let rejected = counted(same_length(columns)?)?;
                self.accept(self.in_order(columns)?, rejected, at)
            }
            PushInput::ArrowStream(bytes) => {
                let columns = entry::columns_of(bytes)?;
                let rejected = counted(same_length(&columns)?)?;
                self.accept(self.in_order(&columns)?, rejected, at)
            }
            PushInput::JsonLines(bytes) => {
                let text = std::str::from_utf8(bytes).map_err(|error| {
                    let place = error.valid_up_to();
                    OfflineError::Data(format!("the JSON lines are not UTF-8 at byte {place}"))
                })?;
                let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
                let mut rejected = counted(lines.len())?;
                let columns = json::columns(&lines, &self.source, &self.columns, &mut rejected)?;
                self.accept(columns, rejected, at)
            }
        }
    }

    /// Takes in columns in the order of the schema.
    fn accept(&self, arrays: Vec<ArrayRef>, mut rejected: Rejected, at: Timestamp) -> Result<PushedRows> {
        let rows = rejected.reasons.len();
        let mut converted = Vec::with_capacity(self.columns.len() + 2);
        for ((name, data_type), array) in self.columns.iter().zip(&arrays) {
            converted.push(self.convert(name, data_type, array, &mut rejected)?);
        }
        checks::times(&self.source, &self.columns, &converted, at, &mut rejected)?;
        let arrived = self.source.created_time.is_none().then_some(at.micros());
        converted.push(Arc::new(Int64Array::from_iter_values((0_i64..).take(rows))));
        converted.push(Arc::new(
            TimestampMicrosecondArray::from(vec![arrived; rows]).with_timezone("UTC"),
        ));
        let all = RecordBatch::try_new(SchemaRef::clone(&self.schema), converted)?;
        let mut batch = renumbered(&all, &rejected)?;
        let views = match self.views_of(&batch) {
            Ok(views) => views,
            Err(_) => {
                for row in (0..rows).filter(|row| !rejected.has(*row)).collect::<Vec<_>>() {
                    if let Err(error) = self.views_of(&all.slice(row, 1)) {
                        rejected.add(row, without_place(&error))?;
                    }
                }
                batch = renumbered(&all, &rejected)?;
                self.views_of(&batch)?
            }
        };
        let events = match &self.event_id {
            Some(event_id) => event_id.of_rows(&batch)?,
            None => Vec::new(),
        };
        Ok(PushedRows {
            batch,
            events,
            views,
            rejected: rejected.finish(),
        })
    }

    /// The columns in the order of the schema: exactly those that it has.
    fn in_order(&self, columns: &[(String, ArrayRef)]) -> Result<Vec<ArrayRef>> {
        let source = &self.source.name;
        let unknown = columns
            .iter()
            .find(|(name, _)| self.columns.iter().all(|(known, _)| known != name));
        if let Some((unknown, _)) = unknown {
            return Err(OfflineError::Data(format!(
                "column {unknown:?} is not in the schema of source {source}: declare it, or leave it out"
            )));
        }
        let in_order = self.columns.iter().map(|(name, _)| {
            let mut found = columns.iter().filter(|(given, _)| given == name);
            match (found.next(), found.next()) {
                (Some((_, array)), None) => Ok(Arc::clone(array)),
                (Some(_), Some(_)) => Err(OfflineError::Data(format!("column {name:?} is given twice"))),
                (None, _) => Err(OfflineError::Data(format!(
                    "column {name:?} of source {source} is missing: rows are taken whole, nothing is filled in"
                ))),
            }
        });
        in_order.collect()
    }

    /// A column as its table stores it, null where a row is refused.
    fn convert(
        &self,
        name: &str,
        data_type: &DataType,
        array: &ArrayRef,
        rejected: &mut Rejected,
    ) -> Result<ArrayRef> {
        let mut array = Arc::clone(array);
        loop {
            match convert_column(&self.source, name, data_type, &array) {
                Ok(converted) => return Ok(converted),
                Err((Some(row), what)) => {
                    rejected.add(row, format!("column {name:?} {what}"))?;
                    let is_bad: BooleanArray = (0..array.len()).map(|at| Some(at == row)).collect();
                    array = nullif(&array, &is_bad)?;
                }
                Err((None, what)) => {
                    return Err(OfflineError::Data(format!("column {name:?} {what}")));
                }
            }
        }
    }

    fn views_of(&self, batch: &RecordBatch) -> Result<Vec<SourceRows>> {
        self.views
            .as_ref()
            .map_or_else(|| Ok(Vec::new()), |reader| reader.read_pushed(batch))
    }
}

/// The rows that are not refused, numbered from 0.
fn renumbered(all: &RecordBatch, rejected: &Rejected) -> Result<RecordBatch> {
    let kept = filter_record_batch(all, &rejected.kept())?;
    let numbers = (0_i64..).take(kept.num_rows());
    entry::with_seqs(&kept, Arc::new(Int64Array::from_iter_values(numbers)))
}

/// How many rows columns have.
fn same_length(columns: &[(String, ArrayRef)]) -> Result<usize> {
    let rows = columns.first().map_or(0, |(_, array)| array.len());
    match columns.iter().find(|(_, array)| array.len() != rows) {
        Some((name, array)) => Err(OfflineError::Data(format!(
            "column {name:?} has {} rows where the columns before it have {rows}",
            array.len()
        ))),
        None => Ok(rows),
    }
}

/// What an error about one row says, without where it stands.
fn without_place(error: &OfflineError) -> String {
    let text = error.to_string();
    let start = format!("{PUSHED}: ");
    let text = text.strip_prefix(&start).unwrap_or(&text);
    text.trim_end_matches(" (row 0 of the file)").to_owned()
}

impl PushedRows {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.batch.num_rows()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keeps rows from the views that repeat an event: those of which it is told so.
    pub fn leave_out(&mut self, repeats: &[bool]) {
        for view in &mut self.views {
            let repeats = |number: u64| {
                let row = usize::try_from(number).ok();
                row.and_then(|row| repeats.get(row)) == Some(&true)
            };
            view.heads.retain(|head| !repeats(head.number));
        }
    }

    /// The rows as their table stores them, with their seqs from `first` on.
    pub fn numbered(&self, first: u64) -> Result<RecordBatch> {
        let used_up = || OfflineError::Internal("the table's seqs are used up".into());
        let first = i64::try_from(first).map_err(|_| used_up())?;
        let seqs = (first..).take(self.len());
        entry::with_seqs(&self.batch, Arc::new(Int64Array::from_iter_values(seqs)))
    }
}

/// Rows that are refused.
#[derive(Debug)]
struct Rejected {
    /// Per row the first thing that is wrong with it.
    reasons: Vec<Option<String>>,
    count: usize,
}

impl Rejected {
    fn new(rows: usize) -> Self {
        Self {
            reasons: vec![None; rows],
            count: 0,
        }
    }

    fn has(&self, row: usize) -> bool {
        self.reasons.get(row).is_some_and(Option::is_some)
    }

    fn add(&mut self, row: usize, reason: String) -> Result<()> {
        let Some(known @ None) = self.reasons.get_mut(row) else {
            return Ok(());
        };
        if self.count == MOST_REJECTED {
            return Err(OfflineError::Data(format!(
                "more than {MOST_REJECTED} rows are bad, and none was accepted; such as row {row}: {reason}"
            )));
        }
        *known = Some(reason);
        self.count += 1;
        Ok(())
    }

    fn kept(&self) -> BooleanArray {
        self.reasons.iter().map(|reason| Some(reason.is_none())).collect()
    }

    fn finish(self) -> Vec<RejectedRow> {
        let reasons = self.reasons.into_iter().enumerate();
        reasons
            .filter_map(|(row, reason)| Some(RejectedRow { row, reason: reason? }))
            .collect()
    }
}
