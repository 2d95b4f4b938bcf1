//! The caller's rows: read once for their keys and times, and once more for the dataset, whose columns
//! they keep untouched.

mod csv;

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, RecordBatch, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::error::ArrowError;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use asof_core::service::{CallerColumn, did_you_mean, nearest};
use asof_core::time::{DateInstant, Zone};

use crate::column;
use crate::error::{OfflineError, Result, first_line};
use crate::time_column::{Side, TimeRules, instants};

/// How many rows of a spine are handled at once; fixed, so that the bytes of a dataset repeat.
pub const BATCH: usize = 65_536;
/// How many bad rows an error lists.
const LISTED: usize = 5;

/// A spine in a file.
#[derive(Debug, Clone)]
pub struct Spine {
    path: PathBuf,
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
    pub fn open(
        path: &Path,
        time_column: &str,
        timezone: Option<Zone>,
        keys: &[CallerColumn],
    ) -> Result<Self> {
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
        let format = format_of(path)?;
        let schema = match format {
            Format::Csv => csv::schema(path, time_column, keys)?,
            Format::Parquet => Arc::clone(parquet(path)?.schema()),
            Format::Arrow => arrow_file(path)?.schema(),
        };
        no_duplicates(path, &schema)?;
        let time_column = schema
            .index_of(time_column)
            .map_err(|_| missing(path, time_column, &schema))?;
        // A date asks at the start of its day: it cannot see what the day brings.
        let rules = TimeRules {
            zone: timezone,
            dates: Some(DateInstant::Start),
            side: Side::Spine,
        };
        Ok(Self {
            path: path.to_owned(),
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

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name of its time column.
    pub fn time_column(&self) -> &str {
        self.schema.field(self.time_column).name()
    }

    /// Its rows, from the first to the last.
    pub fn batches(&self) -> Result<Batches> {
        Ok(match self.format {
            Format::Parquet => Box::new(
                parquet(&self.path)?
                    .with_batch_size(BATCH)
                    .build()
                    .map_err(|error| self.unreadable(&error.to_string()))?,
            ),
            Format::Csv => Box::new(csv::reader(&self.path, &self.schema)?),
            Format::Arrow => Box::new(arrow_file(&self.path)?),
        })
    }

    /// An error of reading it.
    pub fn unreadable(&self, reason: &str) -> OfflineError {
        OfflineError::Data(format!(
            "spine {} cannot be read: {}",
            self.path.display(),
            first_line(reason)
        ))
    }

    /// The places of the caller's key columns.
    pub fn key_places(&self, keys: &[CallerColumn]) -> Result<Vec<usize>> {
        keys.iter()
            .map(|key| {
                self.schema
                    .index_of(&key.name)
                    .map_err(|_| missing_key(&self.path, key, &self.schema))
            })
            .collect()
    }

    /// The key columns of a batch as their declared types.
    pub fn keys(
        &self,
        batch: &RecordBatch,
        first_row: usize,
        places: &[usize],
        keys: &[CallerColumn],
    ) -> Result<Vec<ArrayRef>> {
        let convert = |(place, key): (&usize, &CallerColumn)| {
            column::convert(batch.column(*place), key.key_type.data_type()).map_err(|error| {
                let row = error
                    .row()
                    .map_or(String::new(), |row| format!(" (row {})", first_row + row));
                OfflineError::Data(format!(
                    "spine {}: key column {:?} {error}{row}",
                    self.path.display(),
                    key.name
                ))
            })
        };
        places.iter().zip(keys).map(convert).collect()
    }

    /// The instants of a batch's rows; none is null.
    pub fn times(&self, batch: &RecordBatch, first_row: usize) -> Result<TimestampMicrosecondArray> {
        let array = batch.column(self.time_column);
        let name = self.time_column();
        let shown = self.path.display();
        let times = instants(array, self.rules).map_err(|error| {
            let row = error
                .row()
                .map_or(String::new(), |row| format!(" (row {})", first_row + row));
            OfflineError::Data(format!("spine {shown}: time column {name:?} {error}{row}"))
        })?;
        let nulls: Vec<String> = (0..array.len())
            .filter(|row| times.is_null(*row))
            .take(LISTED)
            .map(|row| (first_row + row).to_string())
            .collect();
        if !nulls.is_empty() {
            let rows = if nulls.len() == 1 { "row" } else { "rows" };
            return Err(OfflineError::Data(format!(
                "spine {shown}: time column {name:?} is null in {rows} {}: every row needs a time; drop those rows or fill it in",
                nulls.join(", ")
            )));
        }
        Ok(times)
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
        .map_err(|_| unreadable("its decoder failed: the file is probably damaged"))?
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
fn no_duplicates(path: &Path, schema: &SchemaRef) -> Result<()> {
    let names = column_names(schema);
    let mut seen = std::collections::HashSet::new();
    match names.iter().find(|name| !seen.insert(**name)) {
        None => Ok(()),
        Some(name) => Err(OfflineError::Data(format!(
            "spine {} has two columns named {name:?}: rename one of them",
            path.display()
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

fn missing(path: &Path, name: &str, schema: &SchemaRef) -> OfflineError {
    let names = column_names(schema);
    OfflineError::Data(format!(
        "spine {} has no time column {name:?}{}; its columns are {}: name the time column with --time-column",
        path.display(),
        did_you_mean(&nearest(name, &names)),
        names.join(", ")
    ))
}

fn missing_key(path: &Path, key: &CallerColumn, schema: &SchemaRef) -> OfflineError {
    let names = column_names(schema);
    OfflineError::Data(format!(
        "spine {} has no column {:?} ({}), which the features are looked up by{}; its columns are {}",
        path.display(),
        key.name,
        key.key_type,
        did_you_mean(&nearest(&key.name, &names)),
        names.join(", ")
    ))
}
