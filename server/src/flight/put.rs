//! Rows that come to stay: pushed, or ingested.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use arrow_flight::PutResult;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{DataType, Field, Schema};
use asof_core::online::OnlineStore;
use asof_core::registry::RegistryStore;
use asof_offline::{IngestRequest, OfflineError, PushInput};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tonic::Status;

use super::command::PutCommand;
use super::upload::{Refused, Upload};
use crate::app::App;
use crate::error::ServerError;
use crate::intake::{MAX_ROWS, Push, source_of};

/// The most bytes of a column of text of one part.
const MAX_PART_BYTES: usize = 64 << 20;

/// Where what became of rows is told.
pub(super) type Told = mpsc::Sender<Result<PutResult, Status>>;

/// Takes the rows that come.
pub(super) async fn put<S, R, J>(
    app: &App<S, R, J>,
    command: PutCommand,
    upload: Upload,
    told: &Told,
) -> Result<(), Refused>
where
    S: OnlineStore + 'static,
    R: RegistryStore,
{
    app.watch.refresh().await?;
    match command {
        PutCommand::Push { source, request_id } => push(app, source, &request_id, upload, told).await,
        PutCommand::Ingest { source, id } => ingest(app, &source, id.as_deref(), upload, told).await,
    }
}

/// Pushes rows in parts, each under an id of its own, and tells of each what became of it.
async fn push<S, R, J>(
    app: &App<S, R, J>,
    source: String,
    request_id: &str,
    mut upload: Upload,
    told: &Told,
) -> Result<(), Refused>
where
    S: OnlineStore + 'static,
    R: RegistryStore,
{
    let version = app.watch.current();
    source_of(&version.definitions, &source)?;
    let mut first = 0;
    while let Some(batch) = upload.next().await? {
        for start in (0..batch.num_rows()).step_by(MAX_ROWS) {
            let part = batch.slice(start, MAX_ROWS.min(batch.num_rows() - start));
            let stream = ipc_stream(&written_out(&part)?)?;
            let push = Push {
                source: source.clone(),
                id: (!request_id.is_empty()).then(|| format!("{request_id}/{first}")),
                digest: Sha256::digest(&stream).into(),
                bytes: stream.len(),
                rows: PushInput::ArrowStream(stream),
            };
            let answer = app.intake.push(&version, push, app.wall.now()).await?;
            let rejected = answer.rejected.iter();
            let rejected = rejected.map(|row| json!({ "row": first + row.row, "reason": row.reason }));
            let answer = json!({
                "first_row": first, "rows": part.num_rows(), "accepted": answer.accepted,
                "rejected": rejected.collect::<Vec<_>>(), "already_accepted": answer.repeated,
            });
            tell(told, &answer).await;
            first += part.num_rows();
        }
    }
    Ok(())
}

/// Appends rows to a table in one commit, under an id, or under a digest of them.
async fn ingest<S, R, J>(
    app: &App<S, R, J>,
    source: &str,
    id: Option<&str>,
    upload: Upload,
    told: &Told,
) -> Result<(), Refused>
where
    S: OnlineStore + 'static,
    R: RegistryStore,
{
    let version = app.watch.current();
    let source = source_of(&version.definitions, source)?;
    let spooled = upload.spool("rows.parquet").await?;
    let files = [spooled.path().to_owned()];
    let request = IngestRequest {
        source,
        files: &files,
        id,
        at: app.wall.now(),
    };
    let done = app
        .intake
        .engine()
        .ingest(request)
        .await
        .map_err(|error| match error {
            OfflineError::Data(text) => {
                let path = spooled.path().display().to_string();
                OfflineError::Data(text.replace(&path, "the rows"))
            }
            other => other,
        })?;
    let answer = json!({
        "rows": spooled.rows, "accepted": done.rows, "already_accepted": done.repeated, "id": done.id,
        "table_version": done.version,
    });
    tell(told, &answer).await;
    Ok(())
}

async fn tell(told: &Told, answer: &serde_json::Value) {
    let app_metadata = answer.to_string().into();
    // Who went away is told nothing; what was taken stays taken.
    let _ = told.send(Ok(PutResult { app_metadata })).await;
}

/// A batch in whose text and bytes each value has a place of its own, as the log keeps them.
fn written_out(batch: &RecordBatch) -> Result<RecordBatch, ServerError> {
    let mut fields: Vec<Arc<Field>> = batch.schema_ref().fields().iter().cloned().collect();
    let mut columns = batch.columns().to_vec();
    for (field, column) in fields.iter_mut().zip(&mut columns) {
        let (bytes, plain) = match column.data_type() {
            DataType::Utf8View => (column.as_string_view().total_buffer_bytes_used(), DataType::Utf8),
            DataType::BinaryView => (
                column.as_binary_view().total_buffer_bytes_used(),
                DataType::Binary,
            ),
            _ => continue,
        };
        let wrong =
            |problem: String| ServerError::argument(format!("rows, column {:?}", field.name()), problem);
        if bytes > MAX_PART_BYTES {
            return Err(wrong(format!(
                "{} rows of it have {bytes} bytes, expected {MAX_PART_BYTES} at most: push fewer rows at once",
                batch.num_rows()
            )));
        }
        *column = arrow_cast::cast(column, &plain).map_err(|error| wrong(error.to_string()))?;
        *field = Arc::new(field.as_ref().clone().with_data_type(plain));
    }
    let written_out = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns);
    written_out.map_err(|error| ServerError::argument("rows", error.to_string()))
}

fn ipc_stream(batch: &RecordBatch) -> Result<Vec<u8>, ServerError> {
    let written = || {
        let mut writer = StreamWriter::try_new(Vec::new(), batch.schema_ref())?;
        writer.write(batch)?;
        writer.into_inner()
    };
    written().map_err(|error: arrow_schema::ArrowError| ServerError::argument("rows", error.to_string()))
}
