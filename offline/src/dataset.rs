//! A dataset in a file, with its manifest beside it.

use std::path::{Path, PathBuf};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;

use asof_core::time::Timestamp;

use crate::error::{OfflineError, Result};
use crate::manifest::{self, OutputRecord, Provenance};
use crate::output::{Output, OutputFormat, check_target, write_text};
use crate::summary::ExtractSummary;

/// Where a dataset is written.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The file: Parquet, CSV or Arrow by the ending of its name.
    pub path: &'a Path,
    /// Whether it may replace one that exists.
    pub overwrite: bool,
}

impl Target<'_> {
    /// Refuses a path that cannot be written, before any work is done.
    pub fn check(&self) -> Result<()> {
        check_target(self.path, self.overwrite)?;
        OutputFormat::of(self.path).map(drop)
    }
}

/// A dataset that was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// The dataset.
    pub output: PathBuf,
    /// Its manifest.
    pub manifest: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// The digest of its bytes.
    pub digest: String,
    /// What the extract found.
    pub summary: ExtractSummary,
}

/// A dataset being written. Dropped before it is finished, it leaves nothing behind.
pub struct DatasetWriter {
    output: Output,
    path: PathBuf,
    columns: usize,
    rows: u64,
}

impl DatasetWriter {
    /// Starts a dataset, which up to `threads` threads encode.
    pub fn create(target: Target<'_>, schema: &SchemaRef, threads: usize) -> Result<Self> {
        Ok(Self {
            output: Output::create(target.path, target.overwrite, schema, threads)?,
            path: target.path.to_owned(),
            columns: schema.fields().len(),
            rows: 0,
        })
    }

    /// Appends rows.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.rows += batch.num_rows() as u64;
        self.output.write(batch)
    }

    /// Gives the dataset its name, and writes its manifest.
    pub fn finish(
        self,
        summary: ExtractSummary,
        provenance: Provenance,
        finished_at: Timestamp,
    ) -> Result<Dataset> {
        if self.rows != summary.rows {
            return Err(OfflineError::Internal(format!(
                "{} rows were extracted, and {} written",
                summary.rows, self.rows
            )));
        }
        let written = self.output.finish()?;
        let manifest = manifest::path_of(&self.path);
        let output = OutputRecord {
            format: OutputFormat::of(&self.path)?.as_str().to_owned(),
            rows: self.rows,
            columns: self.columns,
            bytes: written.bytes,
            digest: written.digest.clone(),
        };
        write_text(&manifest, &provenance.seal(output, finished_at)?)?;
        Ok(Dataset {
            output: self.path,
            manifest,
            bytes: written.bytes,
            digest: written.digest,
            summary,
        })
    }
}
