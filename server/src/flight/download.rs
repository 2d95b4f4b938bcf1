//! Rows that are sent to a caller: in messages of about a mebibyte, a few ahead of what it has taken.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, cast::AsArray};
use arrow_flight::FlightData;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_schema::{DataType, SchemaRef};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::upload::Refused;
use crate::error::ServerError;

/// Bytes of rows in one message, about.
const MESSAGE_BYTES: usize = 1 << 20;
/// How many messages are ready before they are taken.
const AHEAD: usize = 4;
/// How long a call goes on after the server was told to stop.
const LAST_CALL: Duration = Duration::from_secs(5);

/// What is sent.
pub(super) type Messages = Pin<Box<dyn Stream<Item = Result<FlightData, Status>> + Send>>;

/// Where a call's work puts its messages.
pub(super) type Outlet = mpsc::Sender<Result<FlightData, Status>>;

/// Where a call's work puts its rows.
pub(super) type Batches = mpsc::Sender<Result<RecordBatch, FlightError>>;

/// When a call ends, whether its work is done or not.
pub(super) struct Until {
    pub(super) deadline: Option<Duration>,
    pub(super) stopping: CancellationToken,
}

/// The messages that a call's work makes on a runtime.
pub(super) fn messages<F>(
    runtime: &tokio::runtime::Handle,
    until: Until,
    work: impl FnOnce(Outlet) -> F,
) -> Messages
where
    F: Future<Output = Result<(), Refused>> + Send + 'static,
{
    let (outlet, inlet) = mpsc::channel(AHEAD);
    let failing = outlet.clone();
    let work = work(outlet);
    // It is not cut off where nobody takes its messages any more: it sees that, and ends what it has begun.
    runtime.spawn(async move {
        if let Err(refused) = work.await {
            let _ = failing.send(Err(status_of(refused))).await;
        }
    });
    let Until { deadline, stopping } = until;
    let end = deadline.map(|deadline| (Instant::now() + deadline, deadline));
    let state = Some((inlet, stopping, end));
    let messages = stream::unfold(state, |state| async move {
        let (mut inlet, stopping, end) = state?;
        let next = tokio::select! {
            biased;
            over = over(end) => Err(over),
            next = inlet.recv() => next?,
            stopped = stopped(&stopping) => Err(stopped),
        };
        let goes_on = next.is_ok();
        Some((next, goes_on.then_some((inlet, stopping, end))))
    });
    messages.boxed()
}

async fn over(end: Option<(Instant, Duration)>) -> Status {
    match end {
        Some((end, deadline)) => {
            tokio::time::sleep_until(end).await;
            Status::deadline_exceeded(format!(
                "the request took longer than its deadline of {deadline:?}"
            ))
        }
        None => std::future::pending().await,
    }
}

async fn stopped(stopping: &CancellationToken) -> Status {
    stopping.cancelled().await;
    tokio::time::sleep(LAST_CALL).await;
    Status::unavailable("the server stops: call it again when it is back")
}

pub(super) fn status_of(refused: Refused) -> Status {
    match refused {
        Refused::Error(error) => error.into(),
        Refused::Cut(status) => *status,
    }
}

/// Sends a schema and the rows that `produce` makes, and last what it returns, as metadata of the application.
pub(super) async fn send<F>(
    outlet: &Outlet,
    schema: SchemaRef,
    produce: impl FnOnce(Batches) -> F,
) -> Result<(), Refused>
where
    F: Future<Output = Result<Bytes, ServerError>>,
{
    let (batches, rows) = mpsc::channel::<Result<RecordBatch, FlightError>>(1);
    let rows = ReceiverStream::new(rows).flat_map(|batch| stream::iter(portions(batch)));
    let mut encoder = FlightDataEncoderBuilder::new()
        .with_schema(schema)
        // The rows come in portions already.
        .with_max_flight_data_size(usize::MAX)
        .build(rows);
    let sending = async {
        while let Some(data) = encoder.next().await {
            let data = data.map_err(|error| ServerError::Bug(format!("rows cannot be sent: {error}")))?;
            if outlet.send(Ok(data)).await.is_err() {
                break;
            }
        }
        Ok::<_, ServerError>(())
    };
    let (produced, sent) = tokio::join!(produce(batches), sending);
    let last = produced?;
    sent?;
    let last = FlightData {
        app_metadata: last,
        ..FlightData::default()
    };
    // One who went away needs no end.
    let _ = outlet.send(Ok(last)).await;
    Ok(())
}

/// A batch in parts of about one message, each with no more than its own rows.
fn portions(batch: Result<RecordBatch, FlightError>) -> Vec<Result<RecordBatch, FlightError>> {
    let batch = match batch {
        Ok(batch) => batch,
        Err(error) => return vec![Err(error)],
    };
    let rows = batch.num_rows();
    let of_column = |column: &ArrayRef| {
        let data = column.to_data();
        let text = match column.data_type() {
            DataType::Utf8View => column.as_string_view().total_buffer_bytes_used(),
            DataType::BinaryView => column.as_binary_view().total_buffer_bytes_used(),
            _ => 0,
        };
        let rest = data.get_slice_memory_size();
        text + rest.unwrap_or_else(|_| data.get_array_memory_size())
    };
    let bytes: usize = batch.columns().iter().map(of_column).sum();
    let of_row = bytes.div_ceil(rows.max(1)).max(1);
    let portion = (MESSAGE_BYTES / of_row).max(1);
    let starts = (0..rows).step_by(portion);
    starts
        .map(|start| own_rows(&batch.slice(start, portion.min(rows - start))))
        .collect()
}

/// The rows of a slice without those beside it: views are sent with all the text that they were cut from.
fn own_rows(batch: &RecordBatch) -> Result<RecordBatch, FlightError> {
    let columns = batch.columns().iter().map(|column| match column.data_type() {
        DataType::Utf8View => Arc::new(column.as_string_view().gc()) as ArrayRef,
        DataType::BinaryView => Arc::new(column.as_binary_view().gc()) as ArrayRef,
        _ => Arc::clone(column),
    });
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let own = RecordBatch::try_new_with_options(batch.schema(), columns.collect(), &options);
    Ok(own?)
}
