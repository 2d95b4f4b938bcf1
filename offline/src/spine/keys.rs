//! The keys and times of a spine's rows.

use datafusion::arrow::array::{Array, ArrayRef, RecordBatch, TimestampMicrosecondArray};

use asof_core::data_type::{DataType, KeyType};
use asof_core::definition::RequestColumn;
use asof_core::key::KeyColumns;
use asof_core::service::CallerColumn;

use super::{Format, Spine, csv, missing_column};
use crate::column::{self, ColumnError, Holder};
use crate::error::{OfflineError, Result};
use crate::time_column::{TimeRules, instants};

/// What keys are there for, in messages.
const LOOKED_UP: &str = "which the features are looked up by";
/// What request columns are there for, in messages.
const COMPUTED: &str = "which on-demand features are computed of";
/// How many bad rows an error lists.
const LISTED: usize = 5;

/// Reads one set of key columns, and the times, out of batches of some of a spine's columns.
#[derive(Debug)]
pub(crate) struct KeyReader {
    keys: Vec<(CallerColumn, usize)>,
    time: usize,
}

impl Spine {
    /// The places of the caller's key columns and of the time column, each once, ascending.
    pub(crate) fn asking_columns(&self, keys: &[CallerColumn]) -> Result<Vec<usize>> {
        let mut places = vec![self.time_column];
        for key in keys {
            places.push(self.key_place(key)?);
        }
        places.sort_unstable();
        places.dedup();
        Ok(places)
    }

    /// A column as the type that is declared of it.
    fn declared(&self, column: &ArrayRef, declared: &DataType) -> std::result::Result<ArrayRef, ColumnError> {
        if self.format != Format::Csv {
            return column::convert(column, declared);
        }
        // Which instant a date means is said of the times only.
        let times = TimeRules {
            dates: None,
            ..self.rules
        };
        csv::declared(column, declared, times)
    }

    /// A column of a batch that starts at `first_row`, as the type that is declared of it; `what` it is called.
    pub(crate) fn given(
        &self,
        batch: &RecordBatch,
        place: usize,
        (what, name, data_type): (&str, &str, &DataType),
        first_row: usize,
    ) -> Result<ArrayRef> {
        self.declared(batch.column(place), data_type).map_err(|error| {
            OfflineError::Data(format!(
                "{}: {what} {name:?} {}{}",
                self.label(),
                error.told_to(Holder::Spine),
                of_row(error.row(), first_row)
            ))
        })
    }

    /// The place of a request column.
    pub(crate) fn request_place(&self, column: &RequestColumn) -> Result<usize> {
        let found = self.schema.index_of(&column.name);
        found.map_err(|_| {
            missing_column(
                &self.label,
                &column.name,
                &column.data_type,
                COMPUTED,
                &self.schema,
            )
        })
    }

    pub(crate) fn key_place(&self, key: &CallerColumn) -> Result<usize> {
        let found = self.schema.index_of(&key.name);
        let data_type = key.key_type.data_type();
        found.map_err(|_| missing_column(&self.label, &key.name, data_type, LOOKED_UP, &self.schema))
    }
}

impl KeyReader {
    /// A reader of batches that have the spine's columns at the places `columns`.
    pub(crate) fn new(spine: &Spine, keys: &[CallerColumn], columns: &[usize]) -> Result<Self> {
        let within = |place: usize| {
            let found = columns.iter().position(|column| *column == place);
            found.ok_or_else(|| OfflineError::Internal(format!("column {place} of the spine was not read")))
        };
        let keys = keys
            .iter()
            .map(|key| Ok((key.clone(), within(spine.key_place(key)?)?)))
            .collect::<Result<_>>()?;
        Ok(Self {
            keys,
            time: within(spine.time_column)?,
        })
    }

    /// The keys and the instants of a batch that starts at `first_row`; no instant is null.
    pub(crate) fn read(
        &self,
        spine: &Spine,
        batch: &RecordBatch,
        first_row: usize,
    ) -> Result<(KeyColumns, TimestampMicrosecondArray)> {
        let label = spine.label();
        let name = spine.time_column();
        let times = instants(batch.column(self.time), spine.rules).map_err(|error| {
            let row = of_row(error.row(), first_row);
            OfflineError::Data(format!("{label}: time column {name:?} {error}{row}"))
        })?;
        let nulls: Vec<String> = (0..times.len())
            .filter(|row| times.is_null(*row))
            .take(LISTED)
            .map(|row| (first_row + row).to_string())
            .collect();
        if !nulls.is_empty() {
            let rows = if nulls.len() == 1 { "row" } else { "rows" };
            return Err(OfflineError::Data(format!(
                "{label}: time column {name:?} is null in {rows} {}: every row needs a time; drop those rows \
                 or fill it in",
                nulls.join(", ")
            )));
        }
        let mut arrays = Vec::with_capacity(self.keys.len());
        let mut types: Vec<KeyType> = Vec::with_capacity(self.keys.len());
        for (key, place) in &self.keys {
            let column = ("key column", key.name.as_str(), key.key_type.data_type());
            arrays.push(spine.given(batch, *place, column, first_row)?);
            types.push(key.key_type.clone());
        }
        let keys = KeyColumns::try_new(&types, &arrays)
            .map_err(|error| OfflineError::Internal(error.to_string()))?;
        Ok((keys, times))
    }
}

fn of_row(row: Option<usize>, first_row: usize) -> String {
    row.map_or(String::new(), |row| format!(" (row {})", first_row + row))
}
