//! Datasets of a spine, or of every key.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_flight::Ticket;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_schema::SchemaRef;
use futures::Stream;
use serde::Serialize;

use crate::{Client, Dataset, Error, Transport, upload};

/// The most bytes of one message.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// What to extract for the rows of a spine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Extract {
    #[serde(skip_serializing_if = "String::is_empty")]
    service: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    features: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_column: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timezone: Option<String>,
    as_corrected: bool,
    status: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    save: Option<String>,
}

impl Extract {
    /// The features of a service.
    pub fn of_service(service: impl Into<String>) -> Self {
        Self {
            service: service.into(),
            ..Self::default()
        }
    }

    /// These features, each `view:feature` or `view:*`.
    pub fn of_features(features: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            features: features.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }

    /// The spine's column of instants; `event_timestamp` where none is named.
    #[must_use]
    pub fn time_column(self, name: impl Into<String>) -> Self {
        Self {
            time_column: Some(name.into()),
            ..self
        }
    }

    /// The zone of times that carry none, such as `Europe/Berlin`.
    #[must_use]
    pub fn timezone(self, zone: impl Into<String>) -> Self {
        Self {
            timezone: Some(zone.into()),
            ..self
        }
    }

    /// Whether a row counts from its event time on, whenever it became known.
    #[must_use]
    pub fn as_corrected(self, as_corrected: bool) -> Self {
        Self { as_corrected, ..self }
    }

    /// Whether to add a column of statuses for each feature, and of event times for each view.
    #[must_use]
    pub fn status(self, status: bool) -> Self {
        Self { status, ..self }
    }

    /// The name under which the server keeps the dataset as well, in place of what it kept under it; see
    /// [`Client::saved`].
    #[must_use]
    pub fn save(self, name: impl Into<String>) -> Self {
        Self {
            save: Some(name.into()),
            ..self
        }
    }
}

/// What to read of every key that is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Read {
    #[serde(flatten)]
    what: Extract,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    every: Option<String>,
}

impl Read {
    /// As of the server's clock. The columns of a spine have no say here, and the server keeps none.
    pub fn now(what: Extract) -> Self {
        Self {
            what: Extract {
                time_column: None,
                timezone: None,
                save: None,
                ..what
            },
            at: None,
            from: None,
            to: None,
            every: None,
        }
    }

    /// As of one instant, such as `2026-11-22T10:00:00Z`.
    pub fn at(what: Extract, at: impl Into<String>) -> Self {
        Self {
            at: Some(at.into()),
            ..Self::now(what)
        }
    }

    /// At each time from one instant to another, such as every `1h`.
    pub fn every(
        what: Extract,
        from: impl Into<String>,
        to: impl Into<String>,
        every: impl Into<String>,
    ) -> Self {
        Self {
            from: Some(from.into()),
            to: Some(to.into()),
            every: Some(every.into()),
            ..Self::now(what)
        }
    }
}

/// What asks for a dataset that was kept.
#[derive(Debug, Serialize)]
struct Saved<'a> {
    extract: &'a str,
}

impl Client {
    /// Sends a spine, and gives its dataset: the rows of the spine in their order, with their features behind them.
    ///
    /// # Errors
    ///
    /// What the server refuses; more may come with the dataset's rows.
    pub async fn extract<S>(&self, extract: &Extract, schema: SchemaRef, spine: S) -> Result<Dataset, Error>
    where
        S: Stream<Item = Result<RecordBatch, String>> + Send + 'static,
    {
        // The dataset of rows that broke off is never given.
        let (messages, failed) = upload::messages(json(extract)?, schema, spine);
        let end = self.end();
        let mut flight = self.flight();
        let answer = end
            .in_time(flight.do_exchange(self.request_with_end(messages)))
            .await;
        if let Some(error) = failed.get() {
            return Err(Error::Rows(error.clone()));
        }
        Dataset::begin(answer??.into_inner(), failed, end).await
    }

    /// The features of every key that is known, sorted by key, then time.
    ///
    /// # Errors
    ///
    /// What the server refuses; more may come with the rows.
    pub async fn read(&self, read: &Read) -> Result<Dataset, Error> {
        self.get(json(read)?).await
    }

    /// A dataset that the server kept under a name.
    ///
    /// # Errors
    ///
    /// None of that name; more may come with the rows.
    pub async fn saved(&self, name: &str) -> Result<Dataset, Error> {
        self.get(json(&Saved { extract: name })?).await
    }

    async fn get(&self, ticket: String) -> Result<Dataset, Error> {
        let ticket = Ticket::new(ticket);
        let end = self.end();
        let answer = end.in_time(self.flight().do_get(self.request(ticket))).await??;
        Dataset::begin(answer.into_inner(), Arc::default(), end).await
    }

    pub(crate) fn flight(&self) -> FlightServiceClient<Transport> {
        FlightServiceClient::new(self.transport())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }
}

fn json(what: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(what).map_err(|error| Error::Rows(error.to_string()))
}
