//! `ingest`: files into a managed table, all of their rows or none.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, new_null_array};
use datafusion::arrow::datatypes::Schema;
use deltalake::DeltaTable;
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties, TransactionError};
use deltalake::kernel::{Action, Add, Transaction};
use deltalake::protocol::{DeltaOperation, SaveMode};
use futures::StreamExt;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use asof_core::data_type::DataType;
use asof_core::definition::{Location, Source};
use asof_core::time::Timestamp;

use super::{SEQ_APP, delta_error, directory, next_seq, open, stored_type, table_schema, transaction};
use crate::column;
use crate::digest::Digest;
use crate::engine::Engine;
use crate::error::{OfflineError, Result, first_line};
use crate::files::SourceFile;
use crate::output::temporary_in;
use crate::snapshot::Snapshot;
use crate::time_column::{self, Side, TimeRules};

/// How often a commit is tried again when somebody else committed first.
const ATTEMPTS: usize = 10;
/// How many rows a row group of a managed table holds.
const ROW_GROUP: usize = 131_072;

/// What to ingest.
#[derive(Debug, Clone)]
pub struct IngestRequest<'a> {
    /// The managed source.
    pub source: &'a Source,
    /// The files, in the order in which their rows are accepted.
    pub files: &'a [PathBuf],
    /// What tells this ingest from others: repeated with the same id it changes nothing. Without one,
    /// the contents of the files do.
    pub id: Option<&'a str>,
    /// When it is done, for the table's log.
    pub at: Timestamp,
}

/// What an ingest did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingested {
    /// The id under which it was done.
    pub id: String,
    /// Rows accepted: by this call, or by the earlier one of the same id.
    pub rows: u64,
    /// Whether an earlier ingest of the same id had done it already.
    pub repeated: bool,
    /// The version of the table after it.
    pub version: u64,
}

impl Engine {
    /// Appends the rows of files to a managed table in one commit.
    pub async fn ingest(&self, request: IngestRequest<'_>) -> Result<Ingested> {
        let source = request.source;
        let Location::Managed { schema, .. } = &source.location else {
            return Err(OfflineError::Definition(format!(
                "source {} is read in place from its path: only a managed source (one with a schema and no path) \
                 takes rows",
                source.name
            )));
        };
        if request.files.is_empty() {
            return Err(OfflineError::Data(format!(
                "source {}: no files to ingest were given",
                source.name
            )));
        }
        let files = self.ingest_files(request.files)?;
        let id = match request.id {
            Some(id) => id.to_owned(),
            None => contents_id(&files)?,
        };
        for _ in 0..ATTEMPTS {
            let table = open(self, source, schema).await?;
            if let Some(rows) = transaction(&table, source, &id_app(&id)).await? {
                let version = table.version().unwrap_or(0);
                let rows = u64::try_from(rows).unwrap_or(0);
                return Ok(Ingested {
                    id,
                    rows,
                    repeated: true,
                    version,
                });
            }
            let first = next_seq(&table, source).await?;
            let first = i64::try_from(first)
                .map_err(|_| OfflineError::Internal("the table's seqs are used up".into()))?;
            let written = self.write_rows(source, schema, &files, first).await?;
            match commit(&table, source, &written, &id, request.at).await {
                Ok(version) => {
                    return Ok(Ingested {
                        id,
                        rows: written.rows,
                        repeated: false,
                        version,
                    });
                }
                Err(Commit::Again) => written.remove(),
                Err(Commit::Failed(error)) => {
                    written.remove();
                    return Err(error);
                }
            }
        }
        Err(OfflineError::Conflict(format!(
            "managed table {}: other writers committed first {ATTEMPTS} times in a row: try again",
            source.name
        )))
    }

    fn ingest_files(&self, paths: &[PathBuf]) -> Result<Vec<SourceFile>> {
        paths
            .iter()
            .map(|path| {
                let canonical = path.canonicalize().map_err(|error| match error.kind() {
                    std::io::ErrorKind::NotFound => {
                        OfflineError::Data(format!("{} does not exist", path.display()))
                    }
                    _ => OfflineError::io(path, &error),
                })?;
                let mut file = self.roots.source_file(canonical)?;
                file.path = path.display().to_string();
                Ok(file)
            })
            .collect()
    }

    /// Writes the rows of all files into one new file of the table, numbered from `first`.
    async fn write_rows(
        &self,
        source: &Source,
        schema: &[(String, DataType)],
        files: &[SourceFile],
        first: i64,
    ) -> Result<Part> {
        let target = table_schema(schema);
        let mut writing = Writing::create(directory(self, source), first, &target)?;
        let appended = self.append_files(source, schema, files, &mut writing).await;
        writing.finish(appended)
    }

    async fn append_files(
        &self,
        source: &Source,
        schema: &[(String, DataType)],
        files: &[SourceFile],
        writing: &mut Writing,
    ) -> Result<()> {
        let columns: Vec<String> = schema.iter().map(|(name, _)| name.clone()).collect();
        for file in files {
            let snapshot = self.ingest_snapshot(source, schema, file).await?;
            let mut stream = self.open_file(&snapshot, file, &columns).await?;
            let mut row = 0;
            while let Some(batch) = stream.next().await {
                let batch = batch.map_err(|error| OfflineError::engine(&file.path, &error))?;
                let arrays = convert_batch(source, schema, &file.path, row, &batch)?;
                writing.append(arrays, batch.num_rows())?;
                row += batch.num_rows();
            }
        }
        Ok(())
    }

    /// A file to ingest as a snapshot of one file, whose columns are exactly the declared ones.
    async fn ingest_snapshot(
        &self,
        source: &Source,
        schema: &[(String, DataType)],
        file: &SourceFile,
    ) -> Result<Snapshot> {
        let snapshot = self.plain_snapshot(source.name.as_str(), file, schema).await?;
        let found = &snapshot.schema;
        if let Some(unknown) = found
            .fields()
            .iter()
            .find(|field| schema.iter().all(|(name, _)| name != field.name()))
        {
            return Err(OfflineError::Data(format!(
                "{}: column {:?} is not in the schema of source {}: declare it, or leave it out of the file",
                file.path,
                unknown.name(),
                source.name
            )));
        }
        if let Some((missing, _)) = schema
            .iter()
            .find(|(name, _)| found.field_with_name(name).is_err())
        {
            return Err(OfflineError::Data(format!(
                "{}: column {missing:?} of source {} is missing: rows are taken whole, nothing is filled in",
                file.path, source.name
            )));
        }
        Ok(snapshot)
    }
}

fn convert_batch(
    source: &Source,
    schema: &[(String, DataType)],
    path: &str,
    first_row: usize,
    batch: &RecordBatch,
) -> Result<Vec<ArrayRef>> {
    schema
        .iter()
        .zip(batch.columns())
        .map(|((name, data_type), array)| {
            convert_column(source, data_type, array).map_err(|(row, what)| {
                let row = row.map_or(String::new(), |row| {
                    format!(" (row {} of the file)", first_row + row)
                });
                OfflineError::Data(format!("{path}: column {name:?} {what}{row}"))
            })
        })
        .collect()
}

type ColumnProblem = (Option<usize>, String);

fn convert_column(
    source: &Source,
    data_type: &DataType,
    array: &ArrayRef,
) -> std::result::Result<ArrayRef, ColumnProblem> {
    if *data_type == DataType::Timestamp {
        let rules = TimeRules {
            zone: source.timezone,
            dates: source.dates,
            side: Side::Source,
        };
        let instants =
            time_column::instants(array, rules).map_err(|error| (error.row(), error.to_string()))?;
        return Ok(Arc::new(instants.with_timezone("UTC")));
    }
    let converted = column::convert(array, data_type).map_err(|error| (error.row(), error.to_string()))?;
    let stored = stored_type(data_type);
    if stored == *data_type {
        return Ok(converted);
    }
    arrow::compute::cast(&converted, &stored.to_arrow()).map_err(|error| (None, error.to_string()))
}

/// A file of a managed table that is being written.
struct Writing {
    part: Part,
    schema: Arc<Schema>,
    writer: ArrowWriter<std::fs::File>,
}

/// A file of a managed table that no commit names yet.
struct Part {
    path: PathBuf,
    name: String,
    first: i64,
    rows: u64,
    size: u64,
}

impl Writing {
    fn create(directory: PathBuf, first: i64, schema: &Arc<Schema>) -> Result<Self> {
        let unique = temporary_in(&directory, &format!("part-{first:020}-"), ".parquet")?;
        let (file, path) = unique
            .keep()
            .map_err(|error| OfflineError::io(&directory, &error.error))?;
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let level = ZstdLevel::try_new(1).map_err(|error| OfflineError::Internal(error.to_string()))?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(level))
            .set_max_row_group_row_count(Some(ROW_GROUP))
            .build();
        let writer = ArrowWriter::try_new(file, Arc::clone(schema), Some(properties))
            .map_err(|error| parquet_error(&path, &error))?;
        Ok(Self {
            part: Part {
                path,
                name,
                first,
                rows: 0,
                size: 0,
            },
            schema: Arc::clone(schema),
            writer,
        })
    }

    fn append(&mut self, mut arrays: Vec<ArrayRef>, rows: usize) -> Result<()> {
        let start = self
            .part
            .next_seq()
            .ok_or_else(|| OfflineError::Internal("the table's seqs are used up".into()))?;
        let seqs = (0..rows).map(|row| start + i64::try_from(row).unwrap_or(0));
        arrays.push(Arc::new(Int64Array::from_iter_values(seqs)));
        arrays.push(new_null_array(&DataType::Timestamp.to_arrow(), rows));
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), arrays)?;
        self.writer
            .write(&batch)
            .map_err(|error| parquet_error(&self.part.path, &error))?;
        self.part.rows += u64::try_from(rows).unwrap_or(0);
        Ok(())
    }

    /// Ends the file, or takes it away where its rows could not be written.
    fn finish(self, appended: Result<()>) -> Result<Part> {
        let Self { mut part, writer, .. } = self;
        match appended.and_then(|()| part.close(writer)) {
            Ok(()) => Ok(part),
            Err(error) => {
                part.remove();
                Err(error)
            }
        }
    }
}

impl Part {
    fn close(&mut self, writer: ArrowWriter<std::fs::File>) -> Result<()> {
        let file = writer
            .into_inner()
            .map_err(|error| parquet_error(&self.path, &error))?;
        file.sync_all()
            .map_err(|error| OfflineError::io(&self.path, &error))?;
        self.size = file
            .metadata()
            .map_err(|error| OfflineError::io(&self.path, &error))?
            .len();
        Ok(())
    }

    /// Takes the file away again; one that stays behind is not named by the table and does no harm.
    fn remove(&self) {
        let _ = std::fs::remove_file(&self.path);
    }

    fn next_seq(&self) -> Option<i64> {
        self.first.checked_add(i64::try_from(self.rows).ok()?)
    }
}

fn parquet_error(path: &Path, error: &parquet::errors::ParquetError) -> OfflineError {
    OfflineError::Unavailable {
        place: path.display().to_string(),
        reason: first_line(&error.to_string()),
    }
}

/// Why a commit did not take place.
enum Commit {
    /// Somebody else committed first.
    Again,
    Failed(OfflineError),
}

async fn commit(
    table: &DeltaTable,
    source: &Source,
    written: &Part,
    id: &str,
    at: Timestamp,
) -> std::result::Result<u64, Commit> {
    let failed = |error: &deltalake::DeltaTableError| Commit::Failed(delta_error(source, error));
    let next = written
        .next_seq()
        .ok_or_else(|| Commit::Failed(OfflineError::Internal("the table's seqs are used up".into())))?;
    let add = Add {
        path: written.name.clone(),
        size: i64::try_from(written.size).unwrap_or(i64::MAX),
        modification_time: at.micros() / 1_000,
        data_change: true,
        stats: Some(format!("{{\"numRecords\":{}}}", written.rows)),
        ..Add::default()
    };
    let actions = if written.rows == 0 {
        Vec::new()
    } else {
        vec![Action::Add(add)]
    };
    let properties = CommitProperties::default()
        .with_max_retries(0)
        .with_application_transaction(Transaction::new(SEQ_APP, next))
        .with_application_transaction(Transaction::new(
            id_app(id),
            i64::try_from(written.rows).unwrap_or(i64::MAX),
        ));
    let operation = DeltaOperation::Write {
        mode: SaveMode::Append,
        partition_by: None,
        predicate: None,
    };
    let state = table.snapshot().map_err(|error| failed(&error))?;
    let builder = CommitBuilder::from(properties).with_actions(actions);
    match builder.build(Some(state), table.log_store(), operation).await {
        Ok(done) => Ok(done.version()),
        Err(deltalake::DeltaTableError::Transaction {
            source:
                TransactionError::VersionAlreadyExists(_)
                | TransactionError::CommitConflict(_)
                | TransactionError::MaxCommitAttempts(_),
        }) => Err(Commit::Again),
        Err(error) => Err(failed(&error)),
    }
}

fn id_app(id: &str) -> String {
    format!("asof.ingest.{id}")
}

/// An id made of what the files hold, in their order.
fn contents_id(files: &[SourceFile]) -> Result<String> {
    let mut all = Digest::new();
    for file in files {
        all.update(Digest::of_file(&file.location)?.as_bytes());
    }
    Ok(all.finish())
}
