//! The keys and times of a spine's rows.

use datafusion::arrow::array::{Array, ArrayRef, RecordBatch, TimestampMicrosecondArray};

use asof_core::data_type::KeyType;
use asof_core::key::KeyColumns;
use asof_core::service::CallerColumn;

use super::{Format, Spine, csv, missing_key};
use crate::column::{self, ColumnError, Holder};
use crate::error::{OfflineError, Result};
use crate::time_column::{TimeRules, instants};

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

    /// A key column as its declared type.
    fn key(&self, column: &ArrayRef, key: &CallerColumn) -> std::result::Result<ArrayRef, ColumnError> {
        let declared = key.key_type.data_type();
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

    fn key_place(&self, key: &CallerColumn) -> Result<usize> {
        let found = self.schema.index_of(&key.name);
        found.map_err(|_| missing_key(&self.label, key, &self.schema))
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
        let of_row =
            |row: Option<usize>| row.map_or(String::new(), |row| format!(" (row {})", first_row + row));
        let label = spine.label();
        let name = spine.time_column();
        let times = instants(batch.column(self.time), spine.rules).map_err(|error| {
            let row = of_row(error.row());
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
            let array = spine.key(batch.column(*place), key).map_err(|error| {
                OfflineError::Data(format!(
                    "{label}: key column {:?} {}{}",
                    key.name,
                    error.told_to(Holder::Spine),
                    of_row(error.row())
                ))
            })?;
            arrays.push(array);
            types.push(key.key_type.clone());
        }
        let keys = KeyColumns::try_new(&types, &arrays)
            .map_err(|error| OfflineError::Internal(error.to_string()))?;
        Ok((keys, times))
    }
}
