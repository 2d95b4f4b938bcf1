//! Features of a few entities.

use asof_client::Features;
use pyo3::prelude::*;

use crate::failure::Failure;
use crate::table::Table;

/// What was answered.
#[pyclass(frozen)]
pub(crate) struct NativeFeatures {
    features: Features,
}

impl NativeFeatures {
    pub(crate) fn of(features: Features) -> Self {
        Self { features }
    }
}

#[pymethods]
impl NativeFeatures {
    fn __len__(&self) -> usize {
        self.features.len()
    }

    #[getter]
    fn names(&self) -> Vec<&str> {
        self.features.names().collect()
    }

    #[getter]
    fn as_of_micros(&self) -> i64 {
        self.features.as_of().micros()
    }

    /// The keys and the features, a row an entity.
    fn table(&self) -> PyResult<Table> {
        let batch = self.features.to_record_batch().map_err(Failure::from)?;
        Ok(Table::new(batch.schema(), vec![batch]))
    }

    /// The statuses of a feature, where it was asked for.
    fn statuses(&self, name: &str) -> Option<Vec<&'static str>> {
        let statuses = self.features.statuses(name)?;
        Some(statuses.iter().map(|status| status.as_str()).collect())
    }

    /// When the values of a feature were true.
    fn event_times_micros(&self, name: &str) -> Option<Vec<Option<i64>>> {
        let times = self.features.event_times(name)?;
        Some(times.iter().map(|time| time.map(|time| time.micros())).collect())
    }

    /// The instant up to which a feature's view is complete.
    fn materialized_to_micros(&self, name: &str) -> Option<i64> {
        Some(self.features.materialized_to(name)?.micros())
    }
}
