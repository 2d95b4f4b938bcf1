//! A dataset that is read from its first row to its last.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::csv::ReaderBuilder;
use arrow::ipc::reader::FileReader;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use asof_core::service::{did_you_mean, nearest};

use super::lost;
use crate::column::text;
use crate::error::{DECODER_FAILED, OfflineError, Result, first_line};
use crate::output::OutputFormat;
use crate::spine::{BATCH, Batches};

/// A dataset in a file.
pub(super) struct Dataset {
    path: PathBuf,
    format: OutputFormat,
    schema: SchemaRef,
    batches: Batches,
    /// Rows that were read and not taken yet; never an empty batch.
    waiting: Option<RecordBatch>,
}

impl Dataset {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let shown = path.display();
        let metadata = path.metadata().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => OfflineError::Data(format!("dataset {shown} does not exist")),
            _ => OfflineError::io(path, &error),
        })?;
        if !metadata.is_file() {
            return Err(OfflineError::Data(format!("dataset {shown} is not a file")));
        }
        let format = OutputFormat::of(path).map_err(|_| {
            OfflineError::Data(format!(
                "dataset {shown} has an unknown format: its name should end in .parquet, .csv or .arrow"
            ))
        })?;
        let file = File::open(path).map_err(|error| OfflineError::io(path, &error))?;
        // The decoders of Parquet footers and of Arrow schemas panic on some damage.
        let opened = std::panic::catch_unwind(move || open(format, file));
        let opened = opened.unwrap_or_else(|_| Err(DECODER_FAILED.into()));
        let (schema, batches) = opened.map_err(|reason| unreadable(path, &reason))?;
        let mut seen = std::collections::HashSet::new();
        if let Some(twice) = schema.fields().iter().find(|field| !seen.insert(field.name())) {
            return Err(OfflineError::Data(format!(
                "dataset {shown} has two columns named {:?}: which of them to compare cannot be told",
                twice.name()
            )));
        }
        Ok(Self {
            path: path.to_owned(),
            format,
            schema,
            batches,
            waiting: None,
        })
    }

    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Whether its columns have types of their own.
    pub(super) fn is_typed(&self) -> bool {
        self.format != OutputFormat::Csv
    }

    /// The place of a column.
    pub(super) fn column(&self, name: &str) -> Option<usize> {
        self.schema.index_of(name).ok()
    }

    /// The place of a column that must be there.
    pub(super) fn key_column(&self, name: &str) -> Result<usize> {
        self.column(name).ok_or_else(|| {
            let fields = self.schema.fields().iter();
            let names: Vec<&str> = fields.map(|field| field.name().as_str()).collect();
            OfflineError::Data(format!(
                "dataset {} has no column {name:?} to match rows by{}; its columns are {}",
                self.path.display(),
                did_you_mean(&nearest(name, &names)),
                names.join(", ")
            ))
        })
    }

    /// How many rows can be taken at once; `None` at the end.
    pub(super) fn waiting(&mut self) -> Result<Option<usize>> {
        while self.waiting.is_none() {
            match self.batches.next() {
                None => return Ok(None),
                Some(Ok(batch)) if batch.num_rows() == 0 => {}
                Some(Ok(batch)) => self.waiting = Some(batch),
                Some(Err(error)) => return Err(unreadable(&self.path, &error.to_string())),
            }
        }
        Ok(self.waiting.as_ref().map(RecordBatch::num_rows))
    }

    /// The next rows, at most as many as are waiting.
    pub(super) fn take(&mut self, rows: usize) -> Result<RecordBatch> {
        let batch = self.waiting.take().ok_or_else(|| lost("a batch"))?;
        if rows < batch.num_rows() {
            self.waiting = Some(batch.slice(rows, batch.num_rows() - rows));
        }
        Ok(batch.slice(0, rows.min(batch.num_rows())))
    }
}

fn open(format: OutputFormat, file: File) -> std::result::Result<(SchemaRef, Batches), String> {
    match format {
        OutputFormat::Parquet => {
            let builder =
                ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| error.to_string())?;
            let schema = Arc::clone(builder.schema());
            let reader = builder.with_batch_size(BATCH).build();
            Ok((schema, Box::new(reader.map_err(|error| error.to_string())?)))
        }
        OutputFormat::Arrow => {
            let reader = FileReader::try_new_buffered(file, None).map_err(|error| error.to_string())?;
            Ok((reader.schema(), Box::new(reader)))
        }
        OutputFormat::Csv => csv(file),
    }
}

/// A CSV file as text.
fn csv(mut file: File) -> std::result::Result<(SchemaRef, Batches), String> {
    use std::io::{Seek, SeekFrom};
    let schema = Arc::new(text::header(&file)?);
    file.seek(SeekFrom::Start(0)).map_err(|error| error.to_string())?;
    let reader = ReaderBuilder::new(Arc::clone(&schema))
        .with_header(true)
        .with_batch_size(BATCH)
        .build(file)
        .map_err(|error| error.to_string())?;
    Ok((schema, Box::new(reader)))
}

fn unreadable(path: &Path, reason: &str) -> OfflineError {
    OfflineError::Data(format!(
        "dataset {} cannot be read: {}",
        path.display(),
        first_line(reason)
    ))
}
