//! The features of given keys, as they are served.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_schema::{Field, Schema};
use asof_core::online::OnlineStore;
use asof_core::registry::RegistryStore;
use asof_core::status::Status;
use asof_core::time::Timestamp;
use bytes::Bytes;
use serde_json::json;

use super::download::{Outlet, send};
use super::upload::Refused;
use crate::app::App;
use crate::error::ServerError;
use crate::features::keys::Keys;
use crate::features::{Answer, Prepared};

/// Sends the key columns and the features of keys, as of the server's clock.
pub(super) async fn of_keys<S, R, J>(
    app: Arc<App<S, R, J>>,
    prepared: Arc<Prepared>,
    keys: Keys,
    status: bool,
    outlet: Outlet,
) -> Result<(), Refused>
where
    S: OnlineStore + 'static,
    R: RegistryStore,
{
    let given: Vec<ArrayRef> = keys.columns().iter().chain(keys.request()).cloned().collect();
    let answer = app.reader.read(prepared, keys).await?;
    app.metrics.answered(&answer);
    let batch = batch_of(given, &answer, status)?;
    let last = Bytes::from(json!({ "as_of": answer.as_of.to_string(), "rows": answer.rows() }).to_string());
    send(&outlet, batch.schema(), |batches| async move {
        // One who went away needs no rows.
        let _ = batches.send(Ok(batch)).await;
        Ok(last)
    })
    .await
}

/// The columns of a dataset for one row per key.
fn batch_of(given: Vec<ArrayRef>, answer: &Answer, status: bool) -> Result<RecordBatch, ServerError> {
    let plan = &answer.prepared.plan;
    let mut columns: Vec<(Field, ArrayRef)> = Vec::new();
    let mut add = |name: String, array: ArrayRef| {
        columns.push((Field::new(name, array.data_type().clone(), true), array));
    };
    let keys = plan.caller_columns.iter().map(|key| &key.name);
    let request = plan.request_columns.iter().map(|column| &column.name);
    for (name, array) in keys.chain(request).zip(given) {
        add(name.clone(), array);
    }
    for (number, column) in plan.columns.iter().enumerate() {
        add(column.name.clone(), answer.array(number)?);
        if status {
            let words = answer.statuses(number).map(Status::as_str);
            let words: StringArray = words.map(Some).collect();
            add(format!("{}__status", column.name), Arc::new(words));
        }
    }
    if status {
        for (number, read) in plan.reads.iter().take(plan.returned_reads).enumerate() {
            let times = answer.event_times_of(number).iter();
            let times: TimestampMicrosecondArray = times.map(|time| time.map(Timestamp::micros)).collect();
            add(
                format!("{}__event_time", read.label()),
                Arc::new(times.with_timezone("UTC")),
            );
        }
    }
    let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = columns.into_iter().unzip();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays);
    batch.map_err(|error| ServerError::Bug(error.to_string()))
}
