//! `ingest`: files into a managed table, all of their rows or none.

use std::path::PathBuf;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, new_null_array};
use datafusion::arrow::datatypes::SchemaRef;
use deltalake::kernel::transaction::CommitProperties;
use deltalake::kernel::{Action, Transaction};
use deltalake::protocol::{DeltaOperation, SaveMode};
use futures::StreamExt;

use asof_core::data_type::DataType;
use asof_core::definition::{Location, Source};
use asof_core::time::Timestamp;

use super::commit::{ATTEMPTS, Commit, outrun};
use super::part::{Part, Writing};
use super::{SEQ_APP, directory, layout, next_seq, open, stored_type, table_schema, transaction};
use crate::column::{self, ColumnError, Holder};
use crate::digest::Digest;
use crate::engine::Engine;
use crate::error::{OfflineError, Result};
use crate::files::SourceFile;
use crate::snapshot::Snapshot;
use crate::time_column::{self, Side, TimeRules};

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
    /// Whether that one is known to have had the same files; `true` where there was none.
    pub compared: bool,
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
        let contents = contents(&files)?;
        let id = request.id.map_or_else(|| contents.clone(), ToOwned::to_owned);
        for _ in 0..ATTEMPTS {
            let table = open(self, source, schema).await?;
            if let Some(rows) = transaction(&table, source, &id_app(&id)).await? {
                let rows = u64::try_from(rows).unwrap_or(0);
                let held = transaction(&table, source, &contents_app(&id)).await?;
                if held.is_some_and(|held| held != number(&contents)) {
                    return Err(other_files(source, &id, rows));
                }
                return Ok(Ingested {
                    compared: held.is_some() || id == contents,
                    id,
                    rows,
                    repeated: true,
                    version: table.version().unwrap_or(0),
                });
            }
            let first = next_seq(&table, source).await?;
            let first = i64::try_from(first)
                .map_err(|_| OfflineError::Internal("the table's seqs are used up".into()))?;
            let (part, next) = self.write_rows(source, schema, &files, first).await?;
            let rows = part.rows;
            let commit = commit(&part, next, (&id, &contents), request.at);
            if let Some(version) = commit.make(&table, source, vec![part]).await? {
                return Ok(Ingested {
                    id,
                    rows,
                    repeated: false,
                    compared: true,
                    version,
                });
            }
        }
        Err(outrun(source))
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

    /// Writes the rows of all files into one new file of the table, numbered from `first`; returns the next
    /// number, too.
    async fn write_rows(
        &self,
        source: &Source,
        schema: &[(String, DataType)],
        files: &[SourceFile],
        first: i64,
    ) -> Result<(Part, i64)> {
        let mut numbering = Numbering {
            schema: table_schema(schema),
            next: first,
        };
        let properties = layout::as_accepted()?;
        let mut writing = Writing::create(&directory(self, source), first, &numbering.schema, properties)?;
        let columns: Vec<String> = schema.iter().map(|(name, _)| name.clone()).collect();
        for file in files {
            let snapshot = self.ingest_snapshot(source, schema, file).await?;
            let mut stream = self.open_file(&snapshot, file, &columns).await?;
            let mut row = 0;
            while let Some(batch) = stream.next().await {
                let batch = batch.map_err(|error| OfflineError::engine(&file.path, &error))?;
                let arrays = convert_batch(source, schema, &file.path, row, &batch)?;
                writing.append(&numbering.number(arrays, batch.num_rows())?)?;
                row += batch.num_rows();
            }
        }
        Ok((writing.finish()?, numbering.next))
    }

    /// A file to ingest as a snapshot of one file, whose columns are exactly the declared ones.
    async fn ingest_snapshot(
        &self,
        source: &Source,
        schema: &[(String, DataType)],
        file: &SourceFile,
    ) -> Result<Snapshot> {
        let snapshot = self.plain_snapshot(source, schema, file).await?;
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
            convert_column(source, name, data_type, array).map_err(|(row, what)| {
                let row = row.map_or(String::new(), |row| {
                    format!(" (row {} of the file)", first_row + row)
                });
                OfflineError::Data(format!("{path}: column {name:?} {what}{row}"))
            })
        })
        .collect()
}

pub(super) type ColumnProblem = (Option<usize>, String);

pub(super) fn convert_column(
    source: &Source,
    name: &str,
    data_type: &DataType,
    array: &ArrayRef,
) -> std::result::Result<ArrayRef, ColumnProblem> {
    let told = |error: ColumnError| (error.row(), error.told_to(Holder::Ingested));
    if *data_type == DataType::Timestamp {
        // The times of rows are rounded so that nothing leaks; other times are what they are.
        let is_of_row = source.event_time == name || source.created_time.as_deref() == Some(name);
        if let Some(row) = time_column::first_too_fine(array).filter(|_| !is_of_row) {
            let declared = data_type.to_string();
            return Err(told(ColumnError::Value { row, declared }));
        }
        let rules = TimeRules {
            zone: source.timezone,
            dates: source.dates,
            side: Side::Source,
        };
        let instants =
            time_column::instants(array, rules).map_err(|error| (error.row(), error.to_string()))?;
        return Ok(Arc::new(instants.with_timezone("UTC")));
    }
    let converted = column::convert(array, data_type).map_err(told)?;
    let stored = stored_type(data_type);
    if stored == *data_type {
        return Ok(converted);
    }
    arrow::compute::cast(&converted, &stored.to_arrow()).map_err(|error| (None, error.to_string()))
}

/// Numbers rows as they are accepted.
struct Numbering {
    schema: SchemaRef,
    next: i64,
}

impl Numbering {
    /// The rows of declared columns, with the hidden ones.
    fn number(&mut self, mut arrays: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
        let used_up = || OfflineError::Internal("the table's seqs are used up".into());
        let first = self.next;
        let count = i64::try_from(rows).map_err(|_| used_up())?;
        self.next = first.checked_add(count).ok_or_else(used_up)?;
        arrays.push(Arc::new(Int64Array::from_iter_values(first..self.next)));
        arrays.push(new_null_array(&DataType::Timestamp.to_arrow(), rows));
        Ok(RecordBatch::try_new(SchemaRef::clone(&self.schema), arrays)?)
    }
}

fn commit(part: &Part, next: i64, (id, contents): (&str, &str), at: Timestamp) -> Commit {
    let actions = if part.rows == 0 {
        Vec::new()
    } else {
        vec![Action::Add(part.add(at, true))]
    };
    let rows = i64::try_from(part.rows).unwrap_or(i64::MAX);
    let properties = CommitProperties::default()
        .with_max_retries(0)
        .with_application_transaction(Transaction::new(SEQ_APP, next))
        .with_application_transaction(Transaction::new(id_app(id), rows))
        .with_application_transaction(Transaction::new(contents_app(id), number(contents)));
    Commit {
        actions,
        properties,
        operation: DeltaOperation::Write {
            mode: SaveMode::Append,
            partition_by: None,
            predicate: None,
        },
    }
}

fn id_app(id: &str) -> String {
    format!("asof.ingest.{id}")
}

/// The application whose version says what the files of an ingest held.
fn contents_app(id: &str) -> String {
    format!("asof.contents.{id}")
}

/// A digest as the version of an application: its first 60 bits.
fn number(digest: &str) -> i64 {
    let digits = Digest::hex(digest).get(..15);
    i64::from_str_radix(digits.unwrap_or_default(), 16).unwrap_or(0)
}

fn other_files(source: &Source, id: &str, rows: u64) -> OfflineError {
    let rows = match rows {
        1 => "1 row".to_owned(),
        rows => format!("{rows} rows"),
    };
    OfflineError::Data(format!(
        "id {id:?} was used for other files, of {rows}, in an earlier ingest into {}: nothing was changed; give \
         these another --id, or none",
        source.name
    ))
}

/// A digest of what the files hold, in their order.
fn contents(files: &[SourceFile]) -> Result<String> {
    let mut all = Digest::new();
    for file in files {
        all.update(Digest::of_file(&file.location)?.as_bytes());
    }
    Ok(all.finish())
}
