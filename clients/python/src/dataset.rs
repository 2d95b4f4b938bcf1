//! Datasets as they come.

use std::path::PathBuf;
use std::sync::Arc;

use arrow_schema::SchemaRef;
use asof_client::Dataset;
use asof_core::time::Clock;
use asof_offline::{DatasetWriter, EngineOptions, ExtractSummary, Provenance, Target};
use asof_server::clock::SystemClock;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::failure::Failure;
use crate::input::Upload;
use crate::run::give;
use crate::store::Inner;
use crate::table::{self, Table};

type Keeps = (Arc<Inner>, Option<Upload>);

/// A dataset whose rows are taken once.
#[pyclass(frozen)]
pub(crate) struct NativeDataset {
    schema: SchemaRef,
    incoming: Arc<Mutex<Dataset>>,
    /// The file that its spine was read from.
    spine: Option<PathBuf>,
    /// Keeps its store open, and ends the sending of its spine with it.
    keeps: Keeps,
    aio: bool,
}

impl NativeDataset {
    pub(crate) fn of(dataset: Dataset, spine: Option<PathBuf>, keeps: Keeps, aio: bool) -> Self {
        Self {
            schema: Arc::clone(dataset.schema()),
            incoming: Arc::new(Mutex::new(dataset)),
            spine,
            keeps,
            aio,
        }
    }

    /// What comes, to the process that asked for it.
    fn incoming(&self) -> Result<Arc<Mutex<Dataset>>, Failure> {
        self.keeps.0.check_process()?;
        Ok(Arc::clone(&self.incoming))
    }
}

#[pymethods]
impl NativeDataset {
    #[getter]
    fn column_names(&self) -> Vec<String> {
        table::names(&self.schema)
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        table::schema_capsule(py, &self.schema)
    }

    /// The next rows, or nothing behind the last ones.
    fn next<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let incoming = self.incoming()?;
        give(py, self.aio, async move {
            let batch = incoming.lock().await.next().await?;
            Ok(batch.map(|batch| Table::new(batch.schema(), vec![batch])))
        })
    }

    /// The rows of tables that were taken, as one.
    fn joined(&self, tables: Vec<Py<Table>>) -> Table {
        Table::joined(Arc::clone(&self.schema), tables.iter().map(Py::get))
    }

    /// Writes all rows that were not taken yet, or those that were kept, and the manifest; says what was written.
    fn write<'py>(
        &self,
        py: Python<'py>,
        path: PathBuf,
        overwrite: bool,
        kept: Option<Table>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (incoming, spine) = (self.incoming()?, self.spine.clone());
        give(py, self.aio, async move {
            let mut incoming = incoming.lock().await;
            let target = Target {
                path: &path,
                overwrite,
            };
            let threads = EngineOptions::default().readers;
            let mut writer = DatasetWriter::create(target, incoming.schema(), threads)?;
            for batch in kept.iter().flat_map(Table::batches) {
                writer.write(batch)?;
            }
            while let Some(batch) = incoming.next().await? {
                writer.write(&batch)?;
            }
            let told = incoming
                .told()
                .ok_or_else(|| Failure::bug("a dataset ended without its summary"))?;
            let summary: ExtractSummary = read(told.summary)?;
            let provenance: Provenance = read(told.provenance)?;
            let provenance = match &spine {
                Some(spine) => provenance.of_spine(spine)?,
                None => provenance,
            };
            let written = writer.finish(summary, provenance, SystemClock.now())?;
            let told = serde_json::json!({
                "output": written.output, "manifest": written.manifest, "bytes": written.bytes,
                "digest": written.digest,
            });
            Ok(told.to_string())
        })
    }

    /// What was said behind the last row, once it was taken.
    fn told<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let incoming = self.incoming()?;
        give(py, self.aio, async move {
            let told = incoming.lock().await.told();
            Ok(told.map(|told| {
                serde_json::json!({ "run": told.run, "summary": told.summary, "provenance": told.provenance })
                    .to_string()
            }))
        })
    }
}

/// Refuses a file that a dataset cannot be written to.
#[pyfunction]
pub(crate) fn check_target(path: PathBuf, overwrite: bool) -> PyResult<()> {
    let target = Target {
        path: &path,
        overwrite,
    };
    Ok(target.check().map_err(Failure::from)?)
}

fn read<T: DeserializeOwned>(value: Value) -> Result<T, Failure> {
    serde_json::from_value(value).map_err(|error| {
        Failure::unavailable(format!(
            "the server says in another way than this version what a dataset was made from ({error}): use the same \
             version of asof on both sides"
        ))
    })
}
