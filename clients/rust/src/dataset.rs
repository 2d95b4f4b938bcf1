//! Rows as they come from a server.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arrow_array::RecordBatch;
use arrow_flight::FlightData;
use arrow_flight::decode::{DecodedPayload, FlightDataDecoder};
use arrow_flight::error::FlightError;
use arrow_schema::{Schema, SchemaRef};
use futures::StreamExt;
use serde::Deserialize;
use serde_json::Value;
use tonic::Streaming;

use crate::Error;
use crate::call::End;

/// A dataset that a server makes while its rows are taken. Dropped, it ends the server's work.
pub struct Dataset {
    schema: SchemaRef,
    messages: FlightDataDecoder,
    /// What was said behind the last row.
    last: Arc<Mutex<Option<Value>>>,
    /// Why the spine broke off, where it did.
    failed: Arc<OnceLock<String>>,
    /// When its rows have to be there.
    end: End,
    ended: bool,
}

/// What a server says of a dataset behind its last row.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Told {
    /// The number of the run in the server's ledger.
    pub run: u64,
    /// What was found: rows, and counts for each view and feature.
    pub summary: Value,
    /// From what, and by which rules, the dataset was made.
    pub provenance: Value,
}

impl Dataset {
    pub(crate) async fn begin(
        answer: Streaming<FlightData>,
        failed: Arc<OnceLock<String>>,
        end: End,
    ) -> Result<Self, Error> {
        let last = Arc::new(Mutex::new(None));
        let seen = Arc::clone(&last);
        // What is said behind the rows has no data, which the decoder would take for damage.
        let messages = answer.filter_map(move |message| {
            let kept = match message {
                Ok(message) if message.data_header.is_empty() => {
                    *seen.lock().unwrap_or_else(PoisonError::into_inner) =
                        serde_json::from_slice(&message.app_metadata).ok();
                    None
                }
                Ok(message) => Some(Ok(message)),
                Err(status) => Some(Err(FlightError::from(status))),
            };
            futures::future::ready(kept)
        });
        let mut dataset = Self {
            schema: Arc::new(Schema::empty()),
            messages: FlightDataDecoder::new(messages),
            last,
            failed,
            end,
            ended: false,
        };
        match dataset.payload().await? {
            Some(DecodedPayload::Schema(schema)) => dataset.schema = schema,
            _ => return Err(Error::Cut("it has no schema".into())),
        }
        Ok(dataset)
    }

    /// The columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The next rows; `None` behind the last ones.
    ///
    /// # Errors
    ///
    /// What the server found amid its work; [`Error::Rows`] where the spine broke off, and [`Error::Cut`] where the
    /// answer did.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>, Error> {
        while !self.ended {
            match self.payload().await? {
                Some(DecodedPayload::RecordBatch(batch)) => return Ok(Some(batch)),
                Some(DecodedPayload::Schema(_) | DecodedPayload::None) => {}
                None if self.said().is_some() => self.ended = true,
                None => return Err(Error::Cut("what stands behind its last row did not come".into())),
            }
        }
        Ok(None)
    }

    /// What was said behind the last row, once that has come; of a dataset that was kept, [`Self::manifest`].
    pub fn told(&self) -> Option<Told> {
        serde_json::from_value(self.said()?).ok()
    }

    /// The manifest of a dataset that was kept, once its last row has come.
    pub fn manifest(&self) -> Option<Value> {
        Some(self.said()?.get("manifest")?.clone())
    }

    fn said(&self) -> Option<Value> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn payload(&mut self) -> Result<Option<DecodedPayload>, Error> {
        let next = self.end.in_time(self.messages.next()).await?;
        if let Some(error) = self.failed.get() {
            return Err(Error::Rows(error.clone()));
        }
        match next.transpose() {
            Ok(next) => Ok(next.map(|data| data.payload)),
            Err(FlightError::Tonic(status)) => Err((*status).into()),
            Err(error) => Err(Error::Cut(error.to_string())),
        }
    }
}
