//! What the contract needs to know of a row beside its key and its features: its place in the total order,
//! and whether it says that there is nothing any more.

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{Int64Type, TimestampMicrosecondType};

use asof_core::definition::{BoundView, Source};
use asof_core::order::{RowOrder, file_seq};

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
    /// In managed tables, per row of the file's batch.
    stored: Option<(ArrayRef, ArrayRef)>,
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

    /// How many columns that is.
    pub(crate) fn len(&self) -> usize {
        1 + usize::from(self.created_time.is_some()) + usize::from(self.has_deleted)
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
            (true, [seqs, known, ..]) => Some((ArrayRef::clone(seqs), ArrayRef::clone(known))),
            (true, _) => return Err(OfflineError::Internal("seqs were not read".into())),
        };
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

    /// The place of a row in the total order, `None` where it has no event time.
    pub(crate) fn order(
        &self,
        row: usize,
        selected: &Selected,
        stand: Stand<'_>,
    ) -> Result<Option<RowOrder>> {
        let Some(event_time) = instant(&self.event_times, row) else {
            return Ok(None);
        };
        let created = self.created_times.as_ref().and_then(|times| instant(times, row));
        let input = selected.input_row(row);
        let (known, seq) = match &self.stored {
            None => (None, file_seq(stand.file, stand.rows.get(input))),
            Some((seqs, known)) => (
                known
                    .as_primitive_opt::<TimestampMicrosecondType>()
                    .and_then(|known| instant(known, input)),
                seqs.as_primitive_opt::<Int64Type>()
                    .filter(|seqs| !seqs.is_null(input))
                    .and_then(|seqs| u64::try_from(seqs.value(input)).ok()),
            ),
        };
        Ok(Some(RowOrder {
            event_time,
            created_time: created.or(known).unwrap_or(event_time),
            seq: seq.ok_or_else(|| {
                OfflineError::Data(format!(
                    "{}: row {} has no place in the order of rows",
                    stand.place,
                    stand.rows.get(input)
                ))
            })?,
        }))
    }

    /// Whether the row says that there is nothing any more.
    pub(crate) fn is_deleted(&self, row: usize) -> bool {
        self.deleted
            .as_ref()
            .is_some_and(|deleted| !deleted.is_null(row) && deleted.value(row))
    }
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
