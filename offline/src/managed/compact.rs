//! `compact`: many small files of a managed table become few large ones, and no answer changes.
//!
//! The rows are the same, each with its seq, and the old files stay for those who ask for an older version of
//! the table. Rows that are ingested meanwhile stand beside it; of two compactions at once one is refused, and
//! looks again at what is left to do.

use std::sync::Arc;

use arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::Expr;
use deltalake::DeltaTable;
use deltalake::kernel::transaction::CommitProperties;
use deltalake::kernel::{Action, Remove, Transaction};
use deltalake::protocol::DeltaOperation;
use futures::StreamExt;

use asof_core::data_type::DataType;
use asof_core::definition::{Location, Source};
use asof_core::time::Timestamp;

use super::commit::{ATTEMPTS, Commit, outrun};
use super::layout::Layout;
use super::part::{Part, Writing};
use super::{delta_error, directory, open, table_schema, transaction};
use crate::engine::Engine;
use crate::error::{OfflineError, Result};
use crate::files::SourceFile;
use crate::parquet_file::ParquetFile;
use crate::snapshot::{as_in_log, delta_files};

/// The application transaction of compactions: of two that began at once the second is refused for it.
const APP: &str = "asof.compact";
/// A file that is at least one part in so many of the wanted size, and sorted, is left as it is.
const SMALL: u64 = 4;

/// What to compact.
#[derive(Debug, Clone)]
pub struct CompactRequest<'a> {
    /// The managed source.
    pub source: &'a Source,
    /// The key columns of each entity whose views read it, those first that are asked for most.
    pub keys: &'a [Vec<String>],
    /// About how many bytes a file is to have.
    pub file_bytes: u64,
    /// When it is done, for the table's log.
    pub at: Timestamp,
}

impl CompactRequest<'_> {
    /// How many bytes a file usually has.
    pub const FILE_BYTES: u64 = 256 << 20;
}

/// What a compaction did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compacted {
    /// How many files the table had.
    pub files_before: usize,
    /// How many it has: where that says so, the same, nothing was left to do.
    pub files_after: usize,
    /// How many of them are new.
    pub files_written: usize,
    /// How many rows were moved into those.
    pub rows: u64,
    /// How many bytes the table's files had.
    pub bytes_before: u64,
    /// How many they have.
    pub bytes_after: u64,
    /// The version of the table after it.
    pub version: u64,
}

impl Engine {
    /// Rewrites small files of a managed table, and those that are not sorted, in one commit.
    pub async fn compact(&self, request: CompactRequest<'_>) -> Result<Compacted> {
        let source = request.source;
        let Location::Managed { schema, .. } = &source.location else {
            return Err(OfflineError::Definition(format!(
                "source {} is read in place from its path, and its files are never written: only a managed source \
                 (one with a schema and no path) is compacted",
                source.name
            )));
        };
        for _ in 0..ATTEMPTS {
            let table = open(self, source, schema).await?;
            let files = delta_files(&table, source.name.as_str())?;
            let schema = whole_schema(&table, source, schema)?;
            let layout = Layout::new(&schema, request.keys, &source.event_time);
            let old = outdated(source, &files, &layout, request.file_bytes)?;
            let mut done = Compacted {
                files_before: files.len(),
                files_after: files.len(),
                files_written: 0,
                rows: old.rows,
                bytes_before: bytes(&files),
                bytes_after: bytes(&files),
                version: table.version().unwrap_or(0),
            };
            if old.files.is_empty() {
                return Ok(done);
            }
            for file in &old.files {
                self.check_whole(place_of(source, file), file.clone()).await?;
            }
            let rows = self.sorted(&table, source, &old.files, &schema, &layout).await?;
            let rewriting = Rewriting {
                engine: self,
                request: &request,
                schema,
                layout,
            };
            let parts = rewriting.write(rows, old.rows).await?;
            done.files_written = parts.len();
            done.files_after = done.files_before - old.files.len() + parts.len();
            let written: u64 = parts.iter().map(|part| part.bytes).sum();
            done.bytes_after = done.bytes_before - bytes(&old.files) + written;
            let commit = commit(&table, source, &old.files, &parts, &request).await?;
            if let Some(version) = commit.make(&table, source, parts).await? {
                return Ok(Compacted { version, ..done });
            }
        }
        Err(outrun(source))
    }

    /// The rows of files of a table, with all of their columns, in the order of a layout.
    async fn sorted(
        &self,
        table: &DeltaTable,
        source: &Source,
        files: &[SourceFile],
        schema: &Schema,
        layout: &Layout,
    ) -> Result<SendableRecordBatchStream> {
        let paths = files.iter().map(|file| as_in_log(&file.path));
        let provider = table.table_provider().with_file_paths(paths).await;
        let columns = schema.fields().iter();
        let columns = columns.map(|field| Expr::Column(datafusion::common::Column::from_name(field.name())));
        let sorted = async {
            let frame = self.context.read_table(provider?)?;
            frame
                .select(columns.collect::<Vec<_>>())?
                .sort(layout.order())?
                .execute_stream()
                .await
        };
        sorted
            .await
            .map_err(|error| OfflineError::engine(&place(source), &error))
    }
}

fn place(source: &Source) -> String {
    format!("managed table {}", source.name)
}

fn place_of(source: &Source, file: &SourceFile) -> String {
    format!("{}, file {}", place(source), file.path)
}

fn bytes(files: &[SourceFile]) -> u64 {
    files.iter().map(|file| file.size).sum()
}

/// The schema of a table's files: what is declared, then columns that are declared no more.
fn whole_schema(table: &DeltaTable, source: &Source, declared: &[(String, DataType)]) -> Result<SchemaRef> {
    let declared = table_schema(declared);
    let state = table.snapshot().map_err(|error| delta_error(source, &error))?;
    let stored = state.snapshot().arrow_schema();
    let known = |field: &&Arc<Field>| declared.field_with_name(field.name()).is_err();
    let fields = declared
        .fields()
        .iter()
        .chain(stored.fields().iter().filter(known));
    Ok(Arc::new(Schema::new(fields.cloned().collect::<Vec<_>>())))
}

/// Files to rewrite.
struct Outdated {
    files: Vec<SourceFile>,
    rows: u64,
}

/// The files that are small or not sorted; none where that is one small file, which would become itself.
fn outdated(source: &Source, files: &[SourceFile], layout: &Layout, file_bytes: u64) -> Result<Outdated> {
    let mut old = Outdated {
        files: Vec::new(),
        rows: 0,
    };
    let mut unsorted = 0;
    // What another program has marked as deleted in a file is not ours to take away.
    for file in files.iter().filter(|file| file.tag.is_none()) {
        let parquet = ParquetFile::open(place_of(source, file), file.location.clone())?;
        let sorted = layout.is_of(&parquet);
        if !sorted || file.size < file_bytes / SMALL {
            unsorted += usize::from(!sorted);
            old.files.push(file.clone());
            old.rows += parquet.groups().map(|rows| rows.end - rows.start).sum::<u64>();
        }
    }
    if old.files.len() == 1 && unsorted == 0 {
        (old.files, old.rows) = (Vec::new(), 0);
    }
    Ok(old)
}

/// Rows on their way into new files.
struct Rewriting<'a> {
    engine: &'a Engine,
    request: &'a CompactRequest<'a>,
    schema: SchemaRef,
    layout: Layout,
}

impl Rewriting<'_> {
    /// Writes all rows, of which there must be `expected`.
    async fn write(&self, mut rows: SendableRecordBatchStream, expected: u64) -> Result<Vec<Part>> {
        let place = place(self.request.source);
        let mut parts = Vec::new();
        let mut open: Option<Writing> = None;
        while let Some(batch) = rows.next().await {
            let batch = batch.map_err(|error| OfflineError::engine(&place, &error))?;
            let batch = typed(&batch, &self.schema)?;
            let mut writing = match open.take() {
                Some(writing) => writing,
                None => self.begin()?,
            };
            writing.append(&batch)?;
            if writing.bytes() < self.request.file_bytes {
                open = Some(writing);
            } else {
                parts.push(writing.finish()?);
            }
        }
        if let Some(writing) = open {
            parts.push(writing.finish()?);
        }
        let found: u64 = parts.iter().map(|part| part.rows).sum();
        if found == expected {
            return Ok(parts);
        }
        Err(OfflineError::Internal(format!(
            "{place}: of {expected} rows {found} were read: nothing was changed"
        )))
    }

    fn begin(&self) -> Result<Writing> {
        let directory = directory(self.engine, self.request.source);
        let properties = self.layout.properties(&self.schema)?;
        Writing::create(&directory, 0, &self.schema, properties)
    }
}

/// A batch with its columns as a schema types them, which hold the same values.
fn typed(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let columns = schema
        .fields()
        .iter()
        .zip(batch.columns())
        .map(|(field, column)| {
            if column.data_type() == field.data_type() {
                return Ok(Arc::clone(column));
            }
            cast_with_options(column, field.data_type(), &options)
        });
    let columns: Vec<ArrayRef> = columns.collect::<std::result::Result<_, _>>()?;
    Ok(RecordBatch::try_new(SchemaRef::clone(schema), columns)?)
}

/// The commit that takes the old files out and the new ones in.
async fn commit(
    table: &DeltaTable,
    source: &Source,
    old: &[SourceFile],
    parts: &[Part],
    request: &CompactRequest<'_>,
) -> Result<Commit> {
    let removed = old.iter().map(|file| {
        Action::Remove(Remove {
            path: file.path.clone(),
            data_change: false,
            deletion_timestamp: Some(request.at.micros() / 1_000),
            extended_file_metadata: Some(true),
            partition_values: Some(std::collections::HashMap::new()),
            size: i64::try_from(file.size).ok(),
            ..Remove::default()
        })
    });
    let added = parts.iter().map(|part| Action::Add(part.add(request.at, false)));
    let earlier = transaction(table, source, APP).await?.unwrap_or(0);
    Ok(Commit {
        actions: removed.chain(added).collect(),
        properties: CommitProperties::default()
            .with_application_transaction(Transaction::new(APP, earlier + 1)),
        operation: DeltaOperation::Optimize {
            predicate: None,
            target_size: i64::try_from(request.file_bytes).unwrap_or(i64::MAX),
        },
    })
}
