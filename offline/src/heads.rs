//! What the contract needs to know of a row beside its key and its features: its place in the total order,
//! and whether it says that there is nothing any more.

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, TimestampMicrosecondArray,
};

use asof_core::definition::{BoundView, Source};
use asof_core::order::{RowOrder, file_seq};
use asof_core::time::Timestamp;

use crate::columns::Selected;
use crate::error::{OfflineError, Result};
use crate::managed::{KNOWN, SEQ};
use crate::parquet_file::RowNumbers;
use crate::places::ViewPlaces;
use crate::snapshot::Snapshot;
use crate::time_column::{Side, TimeColumnError, TimeRules, instant, instants};

/// How the times of a source are understood.
pub(crate) fn time_rules(source: &Source) -> TimeRules {
    TimeRules {
        zone: source.timezone,
        dates: source.dates,
        side: Side::Source,
    }
}

/// Which columns the heads of a source are made of.
#[derive(Debug, Clone)]
pub(crate) struct HeadColumns {
    event_time: String,
    created_time: Option<String>,
    has_deleted: bool,
    managed: bool,
    rules: TimeRules,
}

/// A batch of rows as they stand in a file, for messages and for the order of rows read in place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stand<'a> {
    /// What errors name.
    pub(crate) place: &'a str,
    /// The file's number among the snapshot's files.
    pub(crate) file: usize,
    /// The numbers in the file of the rows of the batch.
    pub(crate) rows: &'a RowNumbers,
}

/// The heads of a batch of rows.
#[derive(Debug)]
pub(crate) struct Heads {
    event_times: TimestampMicrosecondArray,
    created_times: Option<TimestampMicrosecondArray>,
    deleted: Option<BooleanArray>,
    /// In managed tables.
    stored: Option<Stored>,
}

/// What a managed table keeps with its rows, per row of the file's batch.
#[derive(Debug)]
struct Stored {
    /// Neither null nor negative.
    seqs: Int64Array,
    known: Option<TimestampMicrosecondArray>,
}

impl HeadColumns {
    pub(crate) fn of(bound: &BoundView, snapshot: &Snapshot) -> Self {
        let source = &bound.source;
        Self {
            event_time: source.event_time.clone(),
            created_time: source.created_time.clone(),
            has_deleted: source.deleted.is_some(),
            managed: snapshot.is_managed(),
            rules: time_rules(source),
        }
    }

    /// The column of event times.
    pub(crate) fn event_time(&self) -> &str {
        &self.event_time
    }

    /// Whether rows say no more than when they were true.
    pub(crate) fn are_plain(&self) -> bool {
        self.created_time.is_none() && !self.has_deleted && !self.managed
    }

    /// How times are understood.
    pub(crate) fn rules(&self) -> TimeRules {
        self.rules
    }

    /// The places, among a view's, of the columns to select: in this order, before any others.
    pub(crate) fn places(places: &ViewPlaces) -> Vec<usize> {
        std::iter::once(places.event_time)
            .chain(places.created_time)
            .chain(places.deleted)
            .collect()
    }

    /// The columns to read past `sql`, before any others.
    pub(crate) fn hidden(&self) -> Vec<String> {
        if self.managed {
            vec![SEQ.to_owned(), KNOWN.to_owned()]
        } else {
            Vec::new()
        }
    }

    /// The heads of a batch in which those columns were selected.
    pub(crate) fn read(&self, selected: &Selected, stand: Stand<'_>) -> Result<Heads> {
        let mut columns = selected.columns.iter();
        let mut times = |name: &str| {
            let lost = || OfflineError::Internal(format!("column {name:?} was not read"));
            let array = columns.next().ok_or_else(lost)?;
            instants(array, self.rules).map_err(|error| time_error(stand, name, &error, selected))
        };
        let event_times = times(&self.event_time)?;
        let created_times = self.created_time.as_deref().map(times).transpose()?;
        let deleted = if self.has_deleted { columns.next() } else { None };
        let stored = match (self.managed, selected.hidden.as_slice()) {
            (false, _) => None,
            (true, [seqs, known, ..]) => Some(Stored {
                seqs: ordered(seqs, stand)?,
                known: known.as_primitive_opt().cloned(),
            }),
            (true, _) => return Err(OfflineError::Internal("seqs were not read".into())),
        };
        let last = selected.rows.checked_sub(1).map(|row| selected.input_row(row));
        if last.is_some_and(|last| file_seq(stand.file, stand.rows.get(last)).is_none()) {
            return Err(OfflineError::Data(format!(
                "{}: it has too many rows",
                stand.place
            )));
        }
        Ok(Heads {
            event_times,
            created_times,
            // A column of nothing but nulls may have no type.
            deleted: deleted.and_then(|array| array.as_boolean_opt().cloned()),
            stored,
        })
    }
}

impl Heads {
    /// When the rows were true, null for rows that are skipped.
    pub(crate) fn event_times(&self) -> &TimestampMicrosecondArray {
        &self.event_times
    }

    /// Whether every row counts as known at its event time.
    pub(crate) fn are_known_at_once(&self) -> bool {
        let known = self.stored.as_ref().and_then(|stored| stored.known.as_ref());
        self.created_times.is_none() && known.is_none_or(|known| known.null_count() == known.len())
    }

    /// The place of a row in the total order, `None` where it has no event time.
    pub(crate) fn order(&self, row: usize, selected: &Selected, stand: Stand<'_>) -> Option<RowOrder> {
        let event_time = instant(&self.event_times, row)?;
        let input = selected.input_row(row);
        Some(RowOrder {
            event_time,
            created_time: self.created_time(row, input).unwrap_or(event_time),
            seq: match &self.stored {
                None => packed(stand.file, stand.rows.get(input)),
                Some(stored) => stored.seqs.value(input).unsigned_abs(),
            },
        })
    }

    /// When a row became known, `None` where that is at its event time.
    fn created_time(&self, row: usize, input: usize) -> Option<Timestamp> {
        let created = self.created_times.as_ref().and_then(|times| instant(times, row));
        created.or_else(|| instant(self.stored.as_ref()?.known.as_ref()?, input))
    }

    /// Whether the row says that there is nothing any more.
    pub(crate) fn is_deleted(&self, row: usize) -> bool {
        self.deleted
            .as_ref()
            .is_some_and(|deleted| !deleted.is_null(row) && deleted.value(row))
    }
}

/// The place of a row in its source, which was seen to have one.
pub(crate) fn packed(file: usize, row: u64) -> u64 {
    file_seq(file, row).unwrap_or(u64::MAX)
}

/// The seqs of a managed table, which every row must have.
fn ordered(seqs: &ArrayRef, stand: Stand<'_>) -> Result<Int64Array> {
    let none = |row: usize| {
        OfflineError::Data(format!(
            "{}: row {} has no place in the order of rows",
            stand.place,
            stand.rows.get(row)
        ))
    };
    let seqs: &Int64Array = seqs.as_primitive_opt().ok_or_else(|| none(0))?;
    let bad = seqs.iter().position(|seq| seq.is_none_or(i64::is_negative));
    bad.map_or_else(|| Ok(seqs.clone()), |row| Err(none(row)))
}

fn time_error(stand: Stand<'_>, column: &str, error: &TimeColumnError, selected: &Selected) -> OfflineError {
    OfflineError::Data(format!(
        "{}: column {column:?} {error}{}",
        stand.place,
        row_of_file(error.row(), selected, stand)
    ))
}

/// How messages name the row of a value.
pub(crate) fn row_of_file(row: Option<usize>, selected: &Selected, stand: Stand<'_>) -> String {
    row.map_or(String::new(), |row| {
        format!(" (row {} of the file)", stand.rows.get(selected.input_row(row)))
    })
}
