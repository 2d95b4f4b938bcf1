//! The caller's rows: read once for their keys and times, and once more for the dataset, whose columns
//! they keep untouched.

mod csv;
mod keys;

pub(crate) use keys::KeyReader;

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, RecordBatch};
use datafusion::arrow::datatypes::{DataType as ArrowType, SchemaRef};
use datafusion::arrow::error::ArrowError;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use asof_core::data_type::DataType;
use asof_core::service::{did_you_mean, nearest};
use asof_core::time::{DateInstant, Zone};

use crate::column::text;
use crate::error::{DECODER_FAILED, OfflineError, Result, first_line};
use crate::time_column::{Side, TimeRules};

/// How many rows of a spine are handled at once; fixed, so that the bytes of a dataset repeat.
pub const BATCH: usize = 65_536;

/// A spine in a file.
#[derive(Debug, Clone)]
pub struct Spine {
    path: PathBuf,
    /// What errors call it.
    label: String,
    format: Format,
    schema: SchemaRef,
    time_column: usize,
    rules: TimeRules,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Parquet,
    Csv,
    Arrow,
}

/// Batches of a spine.
pub type Batches = Box<dyn Iterator<Item = std::result::Result<RecordBatch, ArrowError>> + Send>;

impl Spine {
    /// Opens a spine: Parquet, CSV or Arrow (IPC file) by the ending of its name.
    pub fn open(path: &Path, time_column: &str, timezone: Option<Zone>) -> Result<Self> {
        let shown = path.display();
        let metadata = path.metadata().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound if path.is_symlink() => {
                OfflineError::Data(format!("spine {shown} is a link to nothing"))
            }
            std::io::ErrorKind::NotFound => OfflineError::Data(format!("spine {shown} does not exist")),
            _ => OfflineError::io(path, &error),
        })?;
        if metadata.is_dir() {
            return Err(OfflineError::Data(format!(
                "spine {shown} is a directory: give one file"
            )));
        }
        if !metadata.is_file() {
            return Err(OfflineError::Data(format!("spine {shown} is not a file")));
        }
        Self::labelled(format!("spine {shown}"), path, time_column, timezone)
    }

    /// Opens one that a caller sent and that lies in a file of ours, which errors do not name.
    pub fn uploaded(path: &Path, time_column: &str, timezone: Option<Zone>) -> Result<Self> {
        Self::labelled("the spine".to_owned(), path, time_column, timezone)
    }

    fn labelled(label: String, path: &Path, time_column: &str, timezone: Option<Zone>) -> Result<Self> {
        let format = format_of(path)?;
        // A date asks at the start of its day: it cannot see what the day brings.
        let rules = TimeRules {
            zone: timezone,
            dates: Some(DateInstant::Start),
            side: Side::Spine,
        };
        let schema = match format {
            Format::Csv => csv::schema(path, time_column, rules)?,
            Format::Parquet => Arc::clone(parquet(path)?.schema()),
            Format::Arrow => arrow_file(path)?.schema(),
        };
        no_duplicates(&label, &schema)?;
        let time_column = schema
            .index_of(time_column)
            .map_err(|_| missing(&label, time_column, &schema))?;
        Ok(Self {
            path: path.to_owned(),
            label,
            format,
            schema,
            time_column,
            rules,
        })
    }

    /// Its columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// What errors call it, such as "spine data/spine.parquet".
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name of its time column.
    pub fn time_column(&self) -> &str {
        self.schema.field(self.time_column).name()
    }

    /// Its rows, from the first to the last: all columns, or those at the given places, in that order.
    pub fn batches(&self, columns: Option<&[usize]>) -> Result<Batches> {
        let whole: Batches = match self.format {
            Format::Parquet => {
                let mut builder = parquet(&self.path)?.with_batch_size(BATCH);
                if let Some(columns) = columns {
                    let mask = ProjectionMask::roots(builder.parquet_schema(), columns.iter().copied());
                    builder = builder.with_projection(mask);
                }
                let reader = builder.build();
                Box::new(reader.map_err(|error| self.unreadable(&error.to_string()))?)
            }
            Format::Csv => return csv::batches(&self.path, &self.schema, columns, self.rules),
            Format::Arrow => Box::new(arrow_file(&self.path)?),
        };
        let Some(columns) = columns else {
            return Ok(whole);
        };
        // Parquet has read no more than these, in the order of the file.
        let places: Vec<usize> = if self.format == Format::Parquet {
            let rank = |column: &usize| columns.iter().filter(|other| *other < column).count();
            columns.iter().map(rank).collect()
        } else {
            columns.to_vec()
        };
        Ok(Box::new(whole.map(move |batch| batch?.project(&places))))
    }

    /// About how many rows it has: by its footer, or by its size.
    pub(crate) fn about_rows(&self) -> u64 {
        let size = || self.path.metadata().map_or(0, |metadata| metadata.len());
        match self.format {
            Format::Parquet => parquet(&self.path).map_or(0, |file| {
                file.metadata().file_metadata().num_rows().unsigned_abs()
            }),
            Format::Csv => size() / 24,
            Format::Arrow => size() / 16,
        }
    }

    /// The numbers of a column of a CSV file that is text only because they are written in another way than
    /// they would be written again, as `1.10` is.
    pub(crate) fn numbers(&self, column: &ArrayRef) -> Option<ArrayRef> {
        let may_be = self.format == Format::Csv && *column.data_type() == ArrowType::Utf8;
        let numbers = || text::parse(column, &DataType::Float64, self.rules).ok();
        may_be.then(numbers).flatten()
    }

    /// An error of reading it.
    pub fn unreadable(&self, reason: &str) -> OfflineError {
        OfflineError::Data(format!("{} cannot be read: {}", self.label, first_line(reason)))
    }
}

fn format_of(path: &Path) -> Result<Format> {
    let extension = path
        .extension()
        .and_then(|extension| extension.to_str())
        .unwrap_or_default();
    match extension.to_ascii_lowercase().as_str() {
        "parquet" | "pq" => Ok(Format::Parquet),
        "csv" => Ok(Format::Csv),
        "arrow" | "feather" | "ipc" => Ok(Format::Arrow),
        _ => Err(OfflineError::Data(format!(
            "spine {} has an unknown format: its name should end in .parquet, .csv or .arrow",
            path.display()
        ))),
    }
}

fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|error| OfflineError::io(path, &error))
}

fn parquet(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    let unreadable = |reason: &str| {
        OfflineError::Data(format!(
            "spine {} is not a readable Parquet file: {}",
            path.display(),
            first_line(reason)
        ))
    };
    let file = open(path)?;
    // The decoder of the Arrow schema in a Parquet footer panics on some damage.
    std::panic::catch_unwind(|| ParquetRecordBatchReaderBuilder::try_new(file))
        .map_err(|_| unreadable(DECODER_FAILED))?
        .map_err(|error| unreadable(&error.to_string()))
}

fn arrow_file(path: &Path) -> Result<arrow::ipc::reader::FileReader<BufReader<File>>> {
    arrow::ipc::reader::FileReader::try_new_buffered(open(path)?, None).map_err(|error| {
        OfflineError::Data(format!(
            "spine {} is not a readable Arrow file: {}",
            path.display(),
            first_line(&error.to_string())
        ))
    })
}

/// A column that comes twice could be read as either.
fn no_duplicates(label: &str, schema: &SchemaRef) -> Result<()> {
    let names = column_names(schema);
    let mut seen = std::collections::HashSet::new();
    match names.iter().find(|name| !seen.insert(**name)) {
        None => Ok(()),
        Some(name) => Err(OfflineError::Data(format!(
            "{label} has two columns named {name:?}: rename one of them"
        ))),
    }
}

fn column_names(schema: &SchemaRef) -> Vec<&str> {
    schema
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect()
}

fn missing(label: &str, name: &str, schema: &SchemaRef) -> OfflineError {
    let names = column_names(schema);
    OfflineError::Data(format!(
        "{label} has no time column {name:?}{}; its columns are {}: name the time column with --time-column",
        did_you_mean(&nearest(name, &names)),
        names.join(", ")
    ))
}

fn missing_column(
    label: &str,
    name: &str,
    data_type: &DataType,
    needed_for: &str,
    schema: &SchemaRef,
) -> OfflineError {
    let names = column_names(schema);
    OfflineError::Data(format!(
        "{label} has no column {name:?} ({data_type}), {needed_for}{}; its columns are {}",
        did_you_mean(&nearest(name, &names)),
        names.join(", ")
    ))
}
