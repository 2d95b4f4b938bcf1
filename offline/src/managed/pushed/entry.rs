//! Entries of the intake log: rows as their table stores them, as an Arrow IPC stream.

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::ipc::reader::StreamReader;
use datafusion::arrow::ipc::writer::StreamWriter;

use super::SEQ;
use crate::error::{OfflineError, Result, first_line};

/// Rows with other seqs.
pub(super) fn with_seqs(batch: &RecordBatch, seqs: ArrayRef) -> Result<RecordBatch> {
    let schema = batch.schema();
    let place = schema.index_of(SEQ)?;
    let mut columns = batch.columns().to_vec();
    if let Some(column) = columns.get_mut(place) {
        *column = seqs;
    }
    Ok(RecordBatch::try_new(schema, columns)?)
}

/// An entry of rows of one schema.
pub fn entry_of(batches: &[RecordBatch]) -> Result<Vec<u8>> {
    let first = batches.first();
    let schema = first.ok_or_else(|| OfflineError::Internal("an entry without rows".into()))?;
    let mut writer = StreamWriter::try_new(Vec::new(), &schema.schema())?;
    for batch in batches {
        writer.write(batch)?;
    }
    Ok(writer.into_inner()?)
}

/// The rows of an entry, which was written here.
pub(super) fn rows_of(bytes: &[u8]) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    stream(bytes)
        .map_err(|reason| OfflineError::Data(format!("an entry of the intake log cannot be read: {reason}")))
}

/// The columns of a stream that anybody may have written.
pub(super) fn columns_of(bytes: &[u8]) -> Result<Vec<(String, ArrayRef)>> {
    let read = stream(bytes);
    let (schema, batches) =
        read.map_err(|reason| OfflineError::Data(format!("the Arrow IPC stream cannot be read: {reason}")))?;
    let whole = concat_batches(&schema, &batches)?;
    let names = schema.fields().iter().map(|field| field.name().clone());
    Ok(names.zip(whole.columns().iter().cloned()).collect())
}

fn stream(bytes: &[u8]) -> std::result::Result<(SchemaRef, Vec<RecordBatch>), String> {
    // The decoder panics on some damage.
    let read = std::panic::catch_unwind(|| {
        let reader = StreamReader::try_new(bytes, None)?;
        let schema = reader.schema();
        let batches = reader.collect::<std::result::Result<Vec<_>, _>>()?;
        Ok::<_, ArrowError>((schema, batches))
    });
    let read = read.map_err(|_| "it cannot be decoded".to_owned())?;
    read.map_err(|error| first_line(&error.to_string()))
}
