//! Rows on their way to a server.

use std::sync::{Arc, OnceLock};

use arrow_array::RecordBatch;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::{FlightData, FlightDescriptor};
use arrow_schema::{FieldRef, SchemaRef};
use asof_proto::upload::END;
use futures::{Stream, StreamExt, stream};
use tokio::sync::mpsc;

/// How many batches are read ahead.
const AHEAD: usize = 2;

/// Batches as a stream, read on a thread that may wait. It belongs into a Tokio runtime.
pub fn batches(
    batches: impl Iterator<Item = Result<RecordBatch, String>> + Send + 'static,
) -> impl Stream<Item = Result<RecordBatch, String>> + Send + 'static {
    let (sender, receiver) = mpsc::channel(AHEAD);
    let reading = tokio::task::spawn_blocking(move || {
        for batch in batches {
            if sender.blocking_send(batch).is_err() {
                return;
            }
        }
    });
    stream::unfold((receiver, Some(reading)), |(mut receiver, reading)| async move {
        if let Some(batch) = receiver.recv().await {
            return Some((batch, (receiver, reading)));
        }
        // A reader that panicked did not come to the end of its rows.
        let failed = reading?.await.err()?;
        Some((Err(failed.to_string()), (receiver, None)))
    })
}

/// The messages of rows that go with a command, and why they broke off, where they did. Behind rows that did not stands
/// the message that says so.
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
    let (failing, at_end) = (Arc::clone(&failed), Arc::clone(&failed));
    let columns = Arc::clone(&schema);
    let rows = rows.map(move |batch| batch.and_then(|batch| of_columns(batch, &columns)));
    let messages = FlightDataEncoderBuilder::new()
        .with_schema(schema)
        .with_flight_descriptor(Some(FlightDescriptor::new_cmd(command)))
        .build(rows.map(|batch| batch.map_err(|error| FlightError::ExternalError(error.into()))));
    let messages = messages.scan((), move |(), message| {
        let message = message.map_err(|error| failing.get_or_init(|| error.to_string()).clone());
        futures::future::ready(message.ok())
    });
    let end = stream::once(async move { at_end.get().is_none().then(end) });
    (messages.chain(end.filter_map(futures::future::ready)), failed)
}

fn end() -> FlightData {
    FlightData::new().with_app_metadata(END)
}

/// A batch, where it has the columns that were announced.
fn of_columns(batch: RecordBatch, announced: &SchemaRef) -> Result<RecordBatch, String> {
    let names = |schema: &SchemaRef| {
        let fields = schema.fields().iter();
        let fields = fields.map(|field| format!("{} {}", field.name(), field.data_type()));
        fields.collect::<Vec<_>>().join(", ")
    };
    let same = |(ours, theirs): (&FieldRef, &FieldRef)| {
        ours.name() == theirs.name() && ours.data_type() == theirs.data_type()
    };
    let (found, expected) = (batch.schema_ref(), announced);
    if found.fields().len() == expected.fields().len()
        && found.fields().iter().zip(expected.fields()).all(same)
    {
        return Ok(batch);
    }
    Err(format!(
        "a batch has the columns {}, expected {}",
        names(found),
        names(expected)
    ))
}
