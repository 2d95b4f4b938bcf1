//! Files of a managed table, written before a commit names them.

use std::fs::File;
use std::path::{Path, PathBuf};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use deltalake::kernel::Add;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use tempfile::TempPath;

use asof_core::time::Timestamp;

use super::whole;
use crate::digest::Digesting;
use crate::error::{OfflineError, Result, first_line};
use crate::output::temporary_in;

/// A file that is being written; dropped, it is gone.
pub(super) struct Writing {
    part: Part,
    writer: ArrowWriter<Digesting<File>>,
}

/// A file that was written and synced, and that no commit names; dropped, it is gone.
pub(super) struct Part {
    path: TempPath,
    name: String,
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

impl Writing {
    /// Begins a file in a table's directory, with a name that sorts by `place`.
    ///
    /// Ingests place their files by their first seq, compactions at 0, before all others: so that of a table
    /// what is new stands last.
    pub(super) fn create(
        directory: &Path,
        place: i64,
        schema: &SchemaRef,
        properties: WriterProperties,
    ) -> Result<Self> {
        let prefix = format!("part-{place:020}-");
        let (file, path) = temporary_in(directory, &prefix, whole::EXTENSION)?.into_parts();
        let file = Digesting::new(file);
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let writer = ArrowWriter::try_new(file, SchemaRef::clone(schema), Some(properties))
            .map_err(|error| parquet_error(&path, &error))?;
        let part = Part {
            path,
            name,
            rows: 0,
            bytes: 0,
        };
        Ok(Self { part, writer })
    }

    pub(super) fn append(&mut self, batch: &RecordBatch) -> Result<()> {
        self.writer
            .write(batch)
            .map_err(|error| parquet_error(&self.part.path, &error))?;
        self.part.rows += batch.num_rows() as u64;
        Ok(())
    }

    /// About how many bytes the file has.
    pub(super) fn bytes(&self) -> u64 {
        (self.writer.bytes_written() + self.writer.in_progress_size()) as u64
    }

    /// Ends the file, and gives it the name that tells its digest.
    pub(super) fn finish(self) -> Result<Part> {
        let Self { mut part, writer } = self;
        let file = writer
            .into_inner()
            .map_err(|error| parquet_error(&part.path, &error))?;
        let (file, digest, bytes) = file.finish();
        let directory = part.path.parent().unwrap_or(Path::new(".")).to_owned();
        (part.name, part.bytes) = (whole::name(&part.name, &digest), bytes);
        let path = directory.join(&part.name);
        let io = |error: std::io::Error| OfflineError::io(&path, &error);
        part.path.persist(&path).map_err(|error| io(error.error))?;
        part.path = TempPath::try_from_path(&path).map_err(io)?;
        file.sync_all().map_err(io)?;
        File::open(&directory)
            .and_then(|names| names.sync_all())
            .map_err(io)?;
        Ok(part)
    }
}

impl Part {
    /// What names it in a commit.
    ///
    /// Of its values the log is told nothing: what it says of floats leaves out NaN, and readers trust it.
    pub(super) fn add(&self, at: Timestamp, data_change: bool) -> Add {
        Add {
            path: self.name.clone(),
            size: i64::try_from(self.bytes).unwrap_or(i64::MAX),
            modification_time: at.micros() / 1_000,
            data_change,
            stats: Some(format!("{{\"numRecords\":{}}}", self.rows)),
            ..Add::default()
        }
    }

    /// Lets the file stay, as it must before a commit names it.
    pub(super) fn keep(self) -> Result<Kept> {
        let io = |error: tempfile::PathPersistError| OfflineError::io(&error.path, &error.error);
        Ok(Kept(self.path.keep().map_err(io)?))
    }
}

/// A file that a commit may name.
pub(super) struct Kept(PathBuf);

impl Kept {
    /// Takes the file away again, which no commit has named; one that stays behind does no harm.
    pub(super) fn remove(self) {
        let _ = std::fs::remove_file(self.0);
    }
}

fn parquet_error(path: &Path, error: &parquet::errors::ParquetError) -> OfflineError {
    OfflineError::Unavailable {
        place: path.display().to_string(),
        reason: first_line(&error.to_string()),
    }
}
