//! The windows of a view of aggregates for one key at one instant: what each covers, and what comes of it.
//!
//! The reference says which events count, and they are added one by one.

use datafusion::arrow::array::ArrayRef;

use asof_core::aggregate::Values;
use asof_core::definition::{Aggregates, Windowed};
use asof_core::key::KeyValue;
use asof_core::reference::{HistoryRow, in_window};
use asof_core::row::ColumnBuilder;
use asof_core::time::Timestamp;
use asof_core::window::Window;

use crate::error::{OfflineError, Result};

/// What the window of one feature covers.
#[derive(Debug, Clone)]
pub struct ExplainedWindow {
    /// Which events it covers.
    pub window: Window,
    /// The instant after which it does, where it has one.
    pub after: Option<Timestamp>,
    /// Which of the stored columns the feature is computed of.
    pub input: usize,
    /// How many events it covers.
    pub events: u64,
    /// How many of them count: the input is not null, and the filter is true.
    pub values: u64,
    /// How many more would count, which rule 2 leaves out.
    pub left_out: u64,
    /// The feature, as an array of one value.
    pub value: ArrayRef,
}

/// A key asked about.
pub(super) struct Asked<'a> {
    /// The rows of the key, whose values are their numbers.
    pub(super) history: &'a [HistoryRow<usize>],
    pub(super) key: &'a [Option<KeyValue>],
    pub(super) at: Timestamp,
    pub(super) as_corrected: bool,
}

impl Asked<'_> {
    /// The window of each feature, of inputs that are given as columns.
    pub(super) fn windows(
        &self,
        aggregates: &Aggregates,
        inputs: &[ArrayRef],
    ) -> Result<Vec<ExplainedWindow>> {
        let values = aggregates.inputs().iter().zip(inputs);
        let values: Option<Vec<Values>> = values
            .map(|(input, array)| Values::of(&input.data_type, array))
            .collect();
        let values = values.ok_or_else(lost)?;
        let windowed = aggregates.windowed().iter();
        windowed
            .map(|feature| self.window(feature, aggregates, &values))
            .collect()
    }

    fn window(
        &self,
        feature: &Windowed,
        aggregates: &Aggregates,
        inputs: &[Values],
    ) -> Result<ExplainedWindow> {
        let covered = |as_corrected| in_window(self.history, self.key, self.at, feature.window, as_corrected);
        let counting = covered(self.as_corrected);
        let (input, state) = aggregates.states().get(feature.state).ok_or_else(lost)?;
        let values = inputs.get(*input).ok_or_else(lost)?;
        let mut partial = state.init();
        let mut bytes = Vec::new();
        let has_value = |row: &HistoryRow<usize>| !values.is_null(row.values);
        for (order, row) in counting.iter().filter(|(_, row)| has_value(row)) {
            partial.add(values.get(*state, row.values, &mut bytes), *order);
        }
        let with_value = |as_corrected| {
            covered(as_corrected)
                .iter()
                .filter(|(_, row)| has_value(row))
                .count() as u64
        };
        let count = with_value(self.as_corrected);
        let mut column = ColumnBuilder::new(&feature.aggregation.output());
        let mut bytes = Vec::new();
        let is_whole = self.key.iter().all(Option::is_some);
        match is_whole
            && feature
                .aggregation
                .finish(&partial, &mut bytes)
                .map_err(internal)?
        {
            true => column.push(&mut bytes.as_slice()).map_err(internal)?,
            false => column.push_null(),
        }
        Ok(ExplainedWindow {
            window: feature.window,
            after: feature.window.after(self.at),
            input: *input,
            events: counting.len() as u64,
            values: count,
            left_out: with_value(true) - count,
            value: column.finish().map_err(internal)?,
        })
    }
}

fn lost() -> OfflineError {
    OfflineError::Internal("an input of a feature was not read".into())
}

fn internal(error: impl std::fmt::Display) -> OfflineError {
    OfflineError::Internal(error.to_string())
}
