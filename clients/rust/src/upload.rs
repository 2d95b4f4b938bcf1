//! Rows on their way to a server.

use std::sync::{Arc, OnceLock};

use arrow_array::RecordBatch;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::{FlightData, FlightDescriptor};
use arrow_schema::SchemaRef;
use futures::{Stream, StreamExt, stream};
use tokio::sync::mpsc;

/// How many batches are read ahead.
const AHEAD: usize = 2;

/// Batches as a stream, read on a thread that may wait. It belongs into a Tokio runtime.
pub fn batches(
    batches: impl Iterator<Item = Result<RecordBatch, String>> + Send + 'static,
) -> impl Stream<Item = Result<RecordBatch, String>> + Send + 'static {
    let (sender, receiver) = mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || {
        for batch in batches {
            if sender.blocking_send(batch).is_err() {
                return;
            }
        }
    });
    stream::unfold(receiver, |mut receiver| async move {
        let batch = receiver.recv().await?;
        Some((batch, receiver))
    })
}

/// The messages of rows that go with a command, and why they broke off, where they did: a call has no way to say so.
pub(crate) fn messages<S>(
    command: String,
    schema: SchemaRef,
    rows: S,
) -> (
    impl Stream<Item = FlightData> + Send + 'static,
    Arc<OnceLock<String>>,
)
where
    S: Stream<Item = Result<RecordBatch, String>> + Send + 'static,
{
    let failed = Arc::new(OnceLock::new());
    let failing = Arc::clone(&failed);
    let messages = FlightDataEncoderBuilder::new()
        .with_schema(schema)
        .with_flight_descriptor(Some(FlightDescriptor::new_cmd(command)))
        .build(rows.map(|batch| batch.map_err(|error| FlightError::ExternalError(error.into()))));
    let messages = messages.scan((), move |(), message| {
        let message = message.map_err(|error| failing.get_or_init(|| error.to_string()).clone());
        futures::future::ready(message.ok())
    });
    (messages, failed)
}
