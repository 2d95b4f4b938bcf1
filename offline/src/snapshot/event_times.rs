//! Whether a source has any event time at all.

use std::panic::AssertUnwindSafe;

use datafusion::arrow::array::Array;
use futures::{FutureExt, StreamExt};

use asof_core::definition::Source;

use super::Snapshot;
use crate::columns::SourceColumns;
use crate::engine::Engine;
use crate::error::{OfflineError, Result};

impl Engine {
    /// Refuses a source with rows of which none has an event time: no question could find any. Reading ends
    /// at the first time there is, which is hardly ever far.
    pub(super) async fn check_event_times(&self, source: &Source, snapshot: &Snapshot) -> Result<()> {
        let looked = AssertUnwindSafe(self.event_times(source, snapshot)).catch_unwind();
        // What cannot be read, or is not there, is told with more detail by whoever reads it all.
        match looked.await {
            Ok(Ok(Found::OnlyNulls)) => Err(OfflineError::Data(format!(
                "source {}: column {:?} (event_time) is null in every row, and a row without an event time is never \
                 found: name the column that holds the times, or correct the data",
                source.name, source.event_time
            ))),
            _ => Ok(()),
        }
    }

    async fn event_times(&self, source: &Source, snapshot: &Snapshot) -> Result<Found> {
        let columns = SourceColumns::bind(source, snapshot)?;
        let Ok(place) = columns.schema().index_of(&source.event_time) else {
            return Ok(Found::Nothing);
        };
        let selection = columns.select(&[place], &[])?;
        let mut found = Found::Nothing;
        for file in &snapshot.files {
            let name = snapshot.place(file);
            let mut stream = self.open_file(snapshot, file, selection.read()).await?;
            while let Some(batch) = stream.next().await {
                let batch = batch.map_err(|error| OfflineError::engine(&name, &error))?;
                let selected = selection.evaluate(&batch, &name)?;
                let times = selected.columns.first().filter(|times| !times.is_empty());
                match times {
                    None => {}
                    Some(times) if times.logical_null_count() < times.len() => return Ok(Found::Times),
                    Some(_) => found = Found::OnlyNulls,
                }
            }
        }
        Ok(found)
    }
}

/// What event times there are.
enum Found {
    /// No row.
    Nothing,
    /// Rows without any.
    OnlyNulls,
    /// At least one.
    Times,
}
