//! Managed tables: Delta tables of ours, one a source, in a directory of its name.
//!
//! Beside the declared columns a table holds two of its own: `__asof_seq`, the order of acceptance
//! counted up from 1 within the table, and `__asof_known`, when a row became known, null where that is its
//! event time. The next seq stands in the log as an application transaction, so that it moves with the
//! rows or not at all.
//!
//! Rows that are pushed are numbered when they are accepted, with seqs that were taken from the log before, and
//! appended later.
//!
//! An ingest is one file, its rows in the order in which they were accepted. A compaction rewrites files by key
//! and time; a row keeps its seq, so that no answer depends on where it stands.

mod commit;
mod compact;
mod durable;
mod ingest;
mod layout;
mod part;
mod pushed;
mod read_back;
mod sums;
mod whole;

pub use compact::{CompactRequest, Compacted};
pub use ingest::{IngestRequest, Ingested};
pub use pushed::{
    Flushed, MOST_REJECTED, MessageReader, PushInput, PushReader, PushedMessages, PushedRows, Refused,
    RejectedRow, Reserved, entry_of,
};
pub use read_back::TableRead;
pub(crate) use sums::{Compared, check as check_log};
pub(crate) use whole::{WholeFiles, compare as compare_digest};

use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType as ArrowType, Field, Schema};
use deltalake::kernel::engine::arrow_conversion::TryIntoKernel as _;
use deltalake::kernel::{StructField, StructType};
use deltalake::logstore::LogStore;
use deltalake::protocol::SaveMode;
use deltalake::{DeltaTable, DeltaTableBuilder, DeltaTableError};
use url::Url;

use asof_core::data_type::DataType;
use asof_core::definition::Source;

use self::durable::DurableFileSystem;
use crate::blocking::blocking;
use crate::engine::Engine;
use crate::error::{OfflineError, Result, first_line};

/// The hidden column of a row's order of acceptance.
pub(crate) const SEQ: &str = "__asof_seq";
/// The hidden column of the time at which a row became known, null where that is its event time.
pub(crate) const KNOWN: &str = "__asof_known";
/// The application transaction whose version is the next seq.
const SEQ_APP: &str = "asof.seq";

/// The type under which Delta keeps values of a declared type: it has no lists of fixed length.
pub(crate) fn stored_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Embedding(_) => DataType::List(Box::new(DataType::Float32)),
        DataType::List(item) => DataType::List(Box::new(stored_type(item))),
        DataType::Map(value) => DataType::Map(Box::new(stored_type(value))),
        DataType::Struct(fields) => DataType::Struct(
            fields
                .iter()
                .map(|(name, field)| (name.clone(), stored_type(field)))
                .collect(),
        ),
        plain => plain.clone(),
    }
}

/// The Arrow schema of a managed table's files.
pub(crate) fn table_schema(schema: &[(String, DataType)]) -> Arc<Schema> {
    let declared = schema
        .iter()
        .map(|(name, t)| Field::new(name, stored_type(t).to_arrow(), true));
    let hidden = [
        Field::new(SEQ, ArrowType::Int64, true),
        Field::new(KNOWN, DataType::Timestamp.to_arrow(), true),
    ];
    Arc::new(Schema::new(declared.chain(hidden).collect::<Vec<_>>()))
}

pub(crate) fn directory(engine: &Engine, source: &Source) -> PathBuf {
    engine.tables.join(source.name.as_str())
}

fn delta_error(source: &Source, error: &DeltaTableError) -> OfflineError {
    OfflineError::Unavailable {
        place: format!("managed table {}", source.name),
        reason: first_line(&error.to_string()),
    }
}

/// The version of an application's last transaction in a table's log.
async fn transaction(table: &DeltaTable, source: &Source, app: &str) -> Result<Option<i64>> {
    let log: &dyn LogStore = &*table.log_store();
    let state = table.snapshot().map_err(|error| delta_error(source, &error))?;
    state
        .transaction_version(log, app)
        .await
        .map_err(|error| delta_error(source, &error))
}

/// The seq that the next row of a table will have, counted from 1.
pub(crate) async fn next_seq(table: &DeltaTable, source: &Source) -> Result<u64> {
    let next = transaction(table, source, SEQ_APP).await?.unwrap_or(1);
    u64::try_from(next).map_err(|_| {
        OfflineError::Data(format!(
            "managed table {}: its log has a next seq of {next}",
            source.name
        ))
    })
}

fn fields(schema: &[(String, DataType)]) -> Result<Vec<StructField>> {
    let kernel: StructType = table_schema(schema)
        .as_ref()
        .try_into_kernel()
        .map_err(|error: datafusion::arrow::error::ArrowError| OfflineError::Internal(error.to_string()))?;
    Ok(kernel.fields().cloned().collect())
}

/// Compares the log of a source's table with what was written.
async fn check_log_of(source: &Source, directory: &Path, compared: Compared) -> Result<()> {
    let (name, directory) = (source.name.to_string(), directory.to_owned());
    blocking(move || check_log(&directory, &name, compared)).await
}

/// Opens the table of a managed source, made where it does not exist, with every declared column.
pub(crate) async fn open(
    engine: &Engine,
    source: &Source,
    schema: &[(String, DataType)],
) -> Result<DeltaTable> {
    let directory = directory(engine, source);
    check_log_of(source, &directory, Compared::Newest).await?;
    std::fs::create_dir_all(&directory).map_err(|error| OfflineError::io(&directory, &error))?;
    let url = Url::from_directory_path(&directory)
        .map_err(|()| OfflineError::Internal(format!("{} has no file URL", directory.display())))?;
    let found = async || {
        let store = Arc::new(DurableFileSystem::new(engine.tables.clone()));
        let builder = DeltaTableBuilder::from_url(url.clone());
        let built = builder.and_then(|builder| builder.with_storage_backend(store, url.clone()).build());
        let mut table = built.map_err(|error| delta_error(source, &error))?;
        match table.load().await {
            // There may be none yet.
            Ok(()) | Err(DeltaTableError::NotATable(_)) => Ok(table),
            Err(error) => Err(delta_error(source, &error)),
        }
    };
    let mut table = found().await?;
    if table.version().is_none() {
        if let Some(part) = a_part(&directory) {
            return Err(OfflineError::Damaged(format!(
                "managed table {}: its log {} is gone, and there are files of rows ({part}): restore the directory of the \
                 table from a copy, or remove it to begin with none",
                source.name,
                directory.join(sums::LOG).display()
            )));
        }
        let created = table
            .create()
            .with_table_name(source.name.as_str())
            .with_columns(fields(schema)?)
            .with_save_mode(SaveMode::Ignore)
            .await;
        table = match created {
            Ok(table) => table,
            Err(error) => {
                // Somebody else may have been faster.
                let table = found().await?;
                table.version().ok_or_else(|| delta_error(source, &error))?;
                table
            }
        };
    }
    with_every_column(source, schema, table).await
}

/// The name of a file of rows in a table's directory.
fn a_part(directory: &Path) -> Option<String> {
    let names = directory
        .read_dir()
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.file_name()));
    let mut names = names.map(|name| name.to_string_lossy().into_owned());
    names.find(|name| whole::is_of_rows(name))
}

/// Adds declared columns that the table does not have yet; refuses those of another type.
async fn with_every_column(
    source: &Source,
    schema: &[(String, DataType)],
    table: DeltaTable,
) -> Result<DeltaTable> {
    let state = table.snapshot().map_err(|error| delta_error(source, &error))?;
    let stored = state.schema();
    let mut missing = Vec::new();
    for field in fields(schema)? {
        match stored.field(field.name()) {
            None => missing.push(field),
            Some(stored) if stored.data_type() != field.data_type() => {
                return Err(OfflineError::Definition(format!(
                    "managed table {}: column {:?} is stored as {} and declared as {}: a column of a managed \
                     table keeps its type; declare another column",
                    source.name,
                    field.name(),
                    stored.data_type(),
                    field.data_type(),
                )));
            }
            Some(_) => {}
        }
    }
    if missing.is_empty() {
        return Ok(table);
    }
    table
        .add_columns()
        .with_fields(missing)
        .await
        .map_err(|error| delta_error(source, &error))
}
