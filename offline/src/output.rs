//! Datasets out: Parquet, CSV or Arrow, whole or not at all.
//!
//! The rows go to a temporary file beside the output, which is synced and then takes the output's name in
//! one step; until then the output is what it was, and whatever ends the process early leaves it so.

mod parquet;

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::csv::Writer as CsvWriter;
use arrow::ipc::writer::FileWriter;
use datafusion::arrow::array::{RecordBatch, make_array};
use datafusion::arrow::compute::BatchCoalescer;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use tempfile::NamedTempFile;

use self::parquet::ParquetWriter;
use crate::column::type_name;
use crate::digest::Digesting;
use crate::error::{OfflineError, Result, first_line, is_full_disk};

/// The format of a dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputFormat {
    /// Apache Parquet, zstd.
    Parquet,
    /// Comma-separated values with a header line.
    Csv,
    /// The Arrow IPC file format.
    Arrow,
}

impl OutputFormat {
    /// The format that the ending of a name says.
    pub fn of(path: &Path) -> Result<Self> {
        let extension = path
            .extension()
            .and_then(|extension| extension.to_str())
            .unwrap_or_default();
        match extension.to_ascii_lowercase().as_str() {
            "parquet" | "pq" => Ok(Self::Parquet),
            "csv" => Ok(Self::Csv),
            "arrow" | "feather" | "ipc" => Ok(Self::Arrow),
            _ => Err(OfflineError::Data(format!(
                "output {} has an unknown format: its name should end in .parquet, .csv or .arrow",
                path.display()
            ))),
        }
    }

    /// Its name in manifests.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
            Self::Arrow => "arrow",
        }
    }
}

/// How many rows are encoded at once.
const BATCH: usize = 8192;

type Sink = Digesting<BufWriter<File>>;

enum Encoder {
    Parquet(Box<ParquetWriter<Sink>>),
    Csv(Box<CsvWriter<Sink>>),
    Arrow(Box<FileWriter<Sink>>),
}

/// A dataset being written.
pub struct Output {
    path: PathBuf,
    overwrite: bool,
    temporary: NamedTempFile,
    encoder: Encoder,
    /// Rows that are not written yet: the bytes of a file do not depend on how its rows came.
    rows: BatchCoalescer,
}

/// A dataset as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenOutput {
    /// The digest of its bytes.
    pub digest: String,
    /// Its size.
    pub bytes: u64,
}

impl Output {
    /// Starts a dataset, which up to `threads` threads encode; refuses a path that exists, unless told to
    /// overwrite it.
    pub fn create(path: &Path, overwrite: bool, schema: &SchemaRef, threads: usize) -> Result<Self> {
        let format = OutputFormat::of(path)?;
        check_target(path, overwrite)?;
        if format == OutputFormat::Csv
            && let Some(field) = schema.fields().iter().find(|field| is_nested(field.data_type()))
        {
            return Err(OfflineError::Data(format!(
                "column {:?} is {}, which CSV cannot hold: write .parquet or .arrow",
                field.name(),
                type_name(field.data_type())
            )));
        }
        let temporary = temporary_in(directory_of(path), ".asof-", ".tmp")?;
        let file = temporary
            .reopen()
            .map_err(|error| OfflineError::io(path, &error))?;
        let sink = Digesting::new(BufWriter::new(file));
        let encoder = encoder(format, sink, schema, threads).map_err(|reason| unwritable(path, &reason))?;
        Ok(Self {
            path: path.to_owned(),
            overwrite,
            temporary,
            encoder,
            rows: BatchCoalescer::new(SchemaRef::clone(schema), BATCH),
        })
    }

    /// Appends rows.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if self.rows.is_empty() && batch.num_rows() == BATCH {
            return self.encode(batch);
        }
        let pushed = self.rows.push_batch(batch.clone());
        pushed.map_err(|error| self.failed(&error.to_string()))?;
        self.encode_completed()
    }

    fn encode_completed(&mut self) -> Result<()> {
        while let Some(batch) = self.rows.next_completed_batch() {
            self.encode(&batch)?;
        }
        Ok(())
    }

    fn encode(&mut self, batch: &RecordBatch) -> Result<()> {
        let batch = &without_idle_nulls(batch)?;
        let result = match &mut self.encoder {
            Encoder::Parquet(writer) => writer.write(batch).map_err(|error| error.to_string()),
            Encoder::Csv(writer) => writer.write(batch).map_err(|error| error.to_string()),
            Encoder::Arrow(writer) => writer.write(batch).map_err(|error| error.to_string()),
        };
        result.map_err(|reason| self.failed(&reason))
    }

    /// Ends the dataset and gives it its name.
    pub fn finish(mut self) -> Result<WrittenOutput> {
        let finished = self.rows.finish_buffered_batch();
        finished.map_err(|error| self.failed(&error.to_string()))?;
        self.encode_completed()?;
        let written = self.written();
        let Self {
            path,
            overwrite,
            temporary,
            encoder,
            rows: _,
        } = self;
        let failed = |reason: String| space_or_other(&path, written, &reason);
        let sink = match encoder {
            Encoder::Parquet(writer) => writer.into_inner().map_err(|error| failed(error.to_string()))?,
            Encoder::Csv(writer) => writer.into_inner(),
            Encoder::Arrow(writer) => writer.into_inner().map_err(|error| failed(error.to_string()))?,
        };
        let (buffer, digest, bytes) = sink.finish();
        let file = buffer
            .into_inner()
            .map_err(|error| failed(error.error().to_string()))?;
        file.sync_all().map_err(|error| failed(error.to_string()))?;
        publish(temporary, &path, overwrite)?;
        Ok(WrittenOutput { digest, bytes })
    }

    fn written(&self) -> u64 {
        match &self.encoder {
            Encoder::Parquet(writer) => writer.inner().written(),
            Encoder::Csv(_) | Encoder::Arrow(_) => self
                .temporary
                .as_file()
                .metadata()
                .map_or(0, |metadata| metadata.len()),
        }
    }

    fn failed(&self, reason: &str) -> OfflineError {
        if reason.contains("Dictionary replacement") {
            return OfflineError::Data(format!(
                "output {}: an Arrow file holds one dictionary per column, and a dictionary column of the spine comes \
                 with several: write .parquet, or give the spine plain text",
                self.path.display()
            ));
        }
        space_or_other(&self.path, self.written(), reason)
    }
}

/// A batch in which only columns with nulls say which values are null: what says that none is, is encoded in other bytes
/// than what says nothing.
fn without_idle_nulls(batch: &RecordBatch) -> Result<RecordBatch> {
    let columns = batch.columns().iter().map(|column| match column.nulls() {
        Some(nulls) if nulls.null_count() == 0 => {
            let data = column.to_data().into_builder().nulls(None).build()?;
            Ok(make_array(data))
        }
        _ => Ok(Arc::clone(column)),
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    Ok(RecordBatch::try_new(batch.schema(), columns)?)
}

/// Writes a small text file whole or not at all.
pub fn write_text(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    let mut temporary = temporary_in(directory_of(path), ".asof-", ".tmp")?;
    temporary
        .write_all(text.as_bytes())
        .and_then(|()| temporary.as_file().sync_all())
        .map_err(|error| space_or_other(path, 0, &error.to_string()))?;
    publish(temporary, path, true)
}

/// Refuses an output that is in the way, or is nothing that can be replaced.
pub fn check_target(path: &Path, overwrite: bool) -> Result<()> {
    let directory = directory_of(path);
    if !directory.is_dir() {
        return Err(OfflineError::Data(format!(
            "output {}: the directory {} does not exist",
            path.display(),
            directory.display()
        )));
    }
    let Ok(metadata) = path.symlink_metadata() else {
        return Ok(());
    };
    if metadata.is_dir() {
        return Err(OfflineError::Data(format!(
            "output {} is a directory: give a file's name",
            path.display()
        )));
    }
    if !metadata.is_file() && !metadata.is_symlink() {
        return Err(OfflineError::Data(format!(
            "output {} is not a plain file",
            path.display()
        )));
    }
    if overwrite {
        return Ok(());
    }
    Err(OfflineError::OutputExists {
        path: path.display().to_string(),
    })
}

fn encoder(
    format: OutputFormat,
    sink: Sink,
    schema: &SchemaRef,
    threads: usize,
) -> std::result::Result<Encoder, String> {
    Ok(match format {
        OutputFormat::Parquet => {
            let writer = ParquetWriter::try_new(sink, schema, threads);
            Encoder::Parquet(Box::new(writer.map_err(|error| error.to_string())?))
        }
        OutputFormat::Csv => {
            let mut writer = CsvWriter::new(sink);
            // The header is written with the first batch: a dataset of no rows has one, too.
            writer
                .write(&RecordBatch::new_empty(schema.clone()))
                .map_err(|error| error.to_string())?;
            Encoder::Csv(Box::new(writer))
        }
        OutputFormat::Arrow => {
            let writer = FileWriter::try_new(sink, schema);
            Encoder::Arrow(Box::new(writer.map_err(|error| error.to_string())?))
        }
    })
}

fn publish(temporary: NamedTempFile, path: &Path, overwrite: bool) -> Result<()> {
    let persisted = if overwrite {
        temporary.persist(path)
    } else {
        // Somebody may have made the output meanwhile: it is not replaced.
        temporary.persist_noclobber(path)
    };
    match persisted {
        Ok(_) => Ok(()),
        Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => {
            Err(OfflineError::OutputExists {
                path: path.display().to_string(),
            })
        }
        Err(error) => Err(OfflineError::io(path, &error.error)),
    }
}

/// A new file of a name of its own, with the mode of an ordinary file; dropped, it is gone.
pub(crate) fn temporary_in(directory: &Path, prefix: &str, suffix: &str) -> Result<NamedTempFile> {
    use std::os::unix::fs::PermissionsExt;
    tempfile::Builder::new()
        .prefix(prefix)
        .suffix(suffix)
        .permissions(std::fs::Permissions::from_mode(0o666))
        .tempfile_in(directory)
        .map_err(|error| OfflineError::io(directory, &error))
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn is_nested(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::List(_)
            | DataType::LargeList(_)
            | DataType::FixedSizeList(..)
            | DataType::Struct(_)
            | DataType::Map(..)
    )
}

fn unwritable(path: &Path, reason: &str) -> OfflineError {
    OfflineError::Unavailable {
        place: format!("output {}", path.display()),
        reason: first_line(reason),
    }
}

/// A writer's error, which is text by the time it gets here: a full disk is told apart by the system's
/// words for it.
fn space_or_other(path: &Path, written: u64, reason: &str) -> OfflineError {
    if !is_full_disk(reason) {
        return unwritable(path, reason);
    }
    let free = match rustix::fs::statvfs(directory_of(path)) {
        Ok(disk) => format!(
            "{} bytes are free now: free some space or give another --out",
            disk.f_bavail * disk.f_frsize
        ),
        Err(_) => "free some space or give another --out".to_owned(),
    };
    OfflineError::NoSpace {
        path: path.display().to_string(),
        written,
        free,
    }
}
