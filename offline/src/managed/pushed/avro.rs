//! Messages of Avro records.
//!
//! The schema is the one that the stream declares; nothing is looked up in a registry of schemas.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow_avro::reader::{Decoder, ReaderBuilder};
use arrow_avro::schema::{AvroSchema, Fingerprint, FingerprintAlgorithm, SchemaStore};
use datafusion::arrow::array::RecordBatch;

use asof_core::definition::AvroFraming;

use super::messages::Content;
use crate::error::{OfflineError, Result, first_line};

/// The number that the schema has for the decoder, which wants one before each record: a zero byte and the number.
const SCHEMA: u32 = 1;
const PREFIX: [u8; 5] = [0, 0, 0, 0, 1];
/// What a record in the single-object encoding begins with, before the fingerprint of its schema.
const SINGLE_OBJECT: [u8; 2] = [0xc3, 0x01];

/// Reads records of one schema.
#[derive(Debug)]
pub struct AvroReader {
    schemas: SchemaStore,
    /// What each message begins with, before its record.
    header: Vec<u8>,
}

impl AvroReader {
    /// Reads by a schema, given as text.
    ///
    /// # Errors
    ///
    /// [`OfflineError::Definition`] where it is none.
    pub(super) fn new(schema: &str, framing: AvroFraming) -> Result<Self> {
        let wrong = |error: &dyn std::fmt::Display| {
            OfflineError::Definition(format!("the Avro schema: {}", first_line(&error.to_string())))
        };
        let schema = AvroSchema::new(schema.to_owned());
        let header = match framing {
            AvroFraming::None => Vec::new(),
            AvroFraming::Confluent(id) => [&[0][..], &id.to_be_bytes()].concat(),
            AvroFraming::SingleObject => match schema.fingerprint(FingerprintAlgorithm::Rabin) {
                Ok(Fingerprint::Rabin(fingerprint)) => {
                    [&SINGLE_OBJECT[..], &fingerprint.to_le_bytes()].concat()
                }
                Ok(_) => {
                    return Err(OfflineError::Internal(
                        "an Avro fingerprint of another kind".into(),
                    ));
                }
                Err(error) => return Err(wrong(&error)),
            },
        };
        let mut schemas = SchemaStore::new_with_type(FingerprintAlgorithm::Id);
        let set = schemas.set(Fingerprint::Id(SCHEMA), schema);
        set.map_err(|error| wrong(&error))?;
        let reader = Self { schemas, header };
        reader.decoder(1).map_err(|error| wrong(&error))?;
        Ok(reader)
    }

    /// The records of messages, in their order.
    pub(super) fn read(&self, payloads: &[Option<&[u8]>]) -> Vec<Content> {
        let mut contents = Vec::new();
        self.read_range(payloads, 0..payloads.len(), &mut contents);
        contents
    }

    /// A decoder that met a bad record has columns of different lengths: it is given up, and the messages are read in
    /// halves.
    fn read_range(&self, payloads: &[Option<&[u8]>], range: Range<usize>, contents: &mut Vec<Content>) {
        let these = payloads.get(range.clone()).unwrap_or_default();
        if these.is_empty() {
            return;
        }
        // The decoder panics on some damage.
        let decoded = catch_unwind(AssertUnwindSafe(|| self.decode(these)));
        match decoded.unwrap_or_else(|_| Err("cannot be decoded".into())) {
            Ok(batch) => {
                let names = batch
                    .schema_ref()
                    .fields()
                    .iter()
                    .map(|field| field.name().clone());
                let columns = names.zip(batch.columns().iter().cloned()).collect();
                contents.push((range, Ok(columns)));
            }
            Err(reason) if these.len() == 1 => contents.push((range, Err(reason))),
            Err(_) => {
                let middle = range.start + these.len() / 2;
                self.read_range(payloads, range.start..middle, contents);
                self.read_range(payloads, middle..range.end, contents);
            }
        }
    }

    fn decode(&self, payloads: &[Option<&[u8]>]) -> std::result::Result<RecordBatch, String> {
        let wrong = |error: &dyn std::fmt::Display| {
            format!("is no record of the schema: {}", first_line(&error.to_string()))
        };
        let mut decoder = self.decoder(payloads.len()).map_err(|error| wrong(&error))?;
        let mut framed = Vec::new();
        for payload in payloads {
            let payload = payload.ok_or("has no payload")?;
            let record = payload.strip_prefix(self.header.as_slice()).ok_or_else(|| {
                format!(
                    "does not begin with the {} bytes that name its schema",
                    self.header.len()
                )
            })?;
            framed.clear();
            framed.extend_from_slice(&PREFIX);
            framed.extend_from_slice(record);
            let rows = decoder.capacity();
            let read = decoder.decode(&framed).map_err(|error| wrong(&error))?;
            if decoder.capacity() + 1 != rows {
                return Err("ends before its record does".into());
            }
            if read != framed.len() {
                let more = framed.len() - read;
                return Err(format!("has {more} bytes behind its record"));
            }
        }
        let batch = decoder.flush().map_err(|error| wrong(&error))?;
        batch.ok_or_else(|| "holds no record".into())
    }

    fn decoder(&self, rows: usize) -> std::result::Result<Decoder, datafusion::arrow::error::ArrowError> {
        ReaderBuilder::new()
            .with_batch_size(rows)
            .with_writer_schema_store(self.schemas.clone())
            .build_decoder()
    }
}
