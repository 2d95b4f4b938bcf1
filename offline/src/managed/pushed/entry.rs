//! Entries of the intake log: rows as their table stores them, as an Arrow IPC stream.

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::buffer::Buffer;
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::{DataType as ArrowType, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::ipc::reader::StreamDecoder;
use datafusion::arrow::ipc::root_as_message;
use datafusion::arrow::ipc::writer::StreamWriter;

use super::SEQ;
use crate::column::type_name;
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
///
/// What takes more room than it has bytes is refused: compressed buffers, and columns that say one value once for many
/// rows.
pub(super) fn columns_of(bytes: &[u8]) -> Result<Vec<(String, ArrayRef)>> {
    if is_compressed(bytes) {
        return Err(OfflineError::Data(
            "the Arrow IPC stream is compressed: write it without compression".into(),
        ));
    }
    let read = stream(bytes);
    let (schema, batches) =
        read.map_err(|reason| OfflineError::Data(format!("the Arrow IPC stream cannot be read: {reason}")))?;
    if let Some(field) = schema.fields().iter().find(|field| !is_plain(field.data_type())) {
        return Err(OfflineError::Data(format!(
            "column {:?} of the Arrow IPC stream has the type {}, in which one value stands for many: write plain values",
            field.name(),
            type_name(field.data_type())
        )));
    }
    let whole = concat_batches(&schema, &batches)?;
    let names = schema.fields().iter().map(|field| field.name().clone());
    Ok(names.zip(whole.columns().iter().cloned()).collect())
}

/// Whether every value of a type has a place of its own.
fn is_plain(data_type: &ArrowType) -> bool {
    match data_type {
        ArrowType::Dictionary(..)
        | ArrowType::RunEndEncoded(..)
        | ArrowType::Utf8View
        | ArrowType::BinaryView
        | ArrowType::ListView(_)
        | ArrowType::LargeListView(_)
        | ArrowType::Union(..) => false,
        ArrowType::List(item)
        | ArrowType::LargeList(item)
        | ArrowType::FixedSizeList(item, _)
        | ArrowType::Map(item, _) => is_plain(item.data_type()),
        ArrowType::Struct(fields) => fields.iter().all(|field| is_plain(field.data_type())),
        _ => true,
    }
}

/// Whether any message of a stream says that its buffers are compressed. What is no stream is not.
fn is_compressed(mut bytes: &[u8]) -> bool {
    const CONTINUED: [u8; 4] = [0xff; 4];
    loop {
        bytes = bytes.strip_prefix(&CONTINUED).unwrap_or(bytes);
        let Some((length, rest)) = bytes.split_first_chunk::<4>() else {
            return false;
        };
        let length = usize::try_from(i32::from_le_bytes(*length)).unwrap_or(0);
        let Some((message, body)) = rest.split_at_checked(length).filter(|_| length > 0) else {
            return false;
        };
        let Ok(message) = root_as_message(message) else {
            return false;
        };
        let dictionary = message.header_as_dictionary_batch();
        let batch = message
            .header_as_record_batch()
            .or_else(|| dictionary.and_then(|dictionary| dictionary.data()));
        if batch.is_some_and(|batch| batch.compression().is_some()) {
            return true;
        }
        let length = usize::try_from(message.bodyLength()).unwrap_or(usize::MAX);
        match body.get(length..) {
            Some(rest) => bytes = rest,
            None => return false,
        }
    }
}

/// Reads a stream. What reads by and by takes the lengths for true that a stream claims to have, and makes room for them; this
/// one has all there is.
fn stream(bytes: &[u8]) -> std::result::Result<(SchemaRef, Vec<RecordBatch>), String> {
    // The decoder panics on some damage.
    let read = std::panic::catch_unwind(|| {
        let (mut decoder, mut left) = (StreamDecoder::new(), Buffer::from(bytes));
        let mut batches = Vec::new();
        while let Some(batch) = decoder.decode(&mut left)? {
            batches.push(batch);
        }
        let schema = decoder.schema();
        decoder.finish()?;
        let schema = schema.ok_or_else(|| ArrowError::IpcError("it has no schema".into()))?;
        Ok::<_, ArrowError>((schema, batches))
    });
    let read = read.map_err(|_| "it cannot be decoded".to_owned())?;
    read.map_err(|error| first_line(&error.to_string()))
}
