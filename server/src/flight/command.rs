//! What a Flight call asks for: a JSON object in the command of a descriptor, or in a ticket.

use arrow_flight::FlightDescriptor;
use arrow_flight::flight_descriptor::DescriptorType;
use asof_core::duration::Duration;
use asof_core::time::{Timestamp, Zone};
use asof_offline::Grid;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::ServerError;
use crate::features::Selection;
use crate::http::request::Columns;
use crate::json;

/// The most bytes of a command or a ticket.
const MAX_BYTES: usize = 1 << 20;

/// What `DoExchange` does with the rows that are sent.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExtractCommand {
    /// The service; or single features.
    #[serde(default)]
    service: String,
    #[serde(default)]
    features: Vec<String>,
    /// The column of instants of the rows.
    #[serde(default = "event_timestamp")]
    pub(super) time_column: String,
    /// The zone of its times that carry none.
    timezone: Option<String>,
    #[serde(default)]
    pub(super) as_corrected: bool,
    /// Whether to add a column of statuses for each feature and of event times for each view.
    #[serde(default)]
    pub(super) status: bool,
    /// Under which name the server keeps the dataset as well.
    pub(super) save: Option<String>,
}

/// What `DoPut` does with the rows that are sent.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum PutCommand {
    /// Accepts them at once, and serves them.
    Push {
        source: String,
        #[serde(default)]
        request_id: String,
    },
    /// Appends them to the source's table, in one commit.
    Ingest { source: String, id: Option<String> },
}

/// What `DoGet` returns.
pub(super) enum GetTicket {
    /// The features of entities.
    Read(Box<ReadTicket>),
    /// A dataset that the server kept, by its name.
    Extract(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExtractTicket {
    extract: String,
}

/// The features of a service or a list, or of a view, of all keys or of some.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReadTicket {
    #[serde(default)]
    service: String,
    #[serde(default)]
    features: Vec<String>,
    view: Option<String>,
    /// As of when; the server's clock where absent.
    at: Option<String>,
    /// Or at each time of a grid.
    from: Option<String>,
    to: Option<String>,
    every: Option<String>,
    #[serde(default)]
    pub(super) as_corrected: bool,
    /// Of which keys: columns of one length, by name. All that are known where absent.
    pub(super) keys: Option<Columns>,
    #[serde(default)]
    pub(super) status: bool,
}

fn event_timestamp() -> String {
    "event_timestamp".to_owned()
}

impl ExtractCommand {
    pub(super) fn selection(&self) -> Result<Selection, ServerError> {
        Selection::of(self.service.clone(), self.features.clone())
    }

    pub(super) fn timezone(&self) -> Result<Option<Zone>, ServerError> {
        let zone = self.timezone.as_deref().map(Zone::parse).transpose();
        zone.map_err(|error| ServerError::argument("timezone", error.to_string()))
    }
}

impl ReadTicket {
    pub(super) fn selection(&self) -> Result<Selection, ServerError> {
        match &self.view {
            None => Selection::of(self.service.clone(), self.features.clone()),
            Some(view) if self.service.is_empty() && self.features.is_empty() => {
                Ok(Selection::Features(vec![format!("{view}:*")]))
            }
            Some(_) => Err(ServerError::argument(
                "view",
                "must not be given beside a service or features: give one of them",
            )),
        }
    }

    /// The times that are asked for; `None` for now.
    pub(super) fn times(&self) -> Result<Option<Grid>, ServerError> {
        let time = |field: &str, text: &str| {
            Timestamp::parse(text).map_err(|error| ServerError::argument(field, error.to_string()))
        };
        match (&self.at, &self.from, &self.to, &self.every) {
            (None, None, None, None) => Ok(None),
            (Some(at), None, None, None) => Ok(Some(Grid::at(time("at", at)?))),
            (None, Some(from), Some(to), Some(every)) => {
                let step = Duration::parse(every)
                    .map_err(|error| ServerError::argument("every", error.to_string()))?;
                Ok(Some(Grid::every(time("from", from)?, time("to", to)?, step)?))
            }
            _ => Err(ServerError::argument(
                "at, from, to, every",
                "do not go together: give at, or from, to and every, or none of them",
            )),
        }
    }
}

impl GetTicket {
    pub(super) fn parse(ticket: &[u8]) -> Result<Self, ServerError> {
        if let Ok(ExtractTicket { extract }) = parse("ticket", ticket) {
            return Ok(Self::Extract(extract));
        }
        parse("ticket", ticket).map(|read| Self::Read(Box::new(read)))
    }
}

/// The command of a descriptor.
pub(super) fn of_descriptor<T: DeserializeOwned>(descriptor: &FlightDescriptor) -> Result<T, ServerError> {
    if descriptor.r#type() != DescriptorType::Cmd {
        return Err(ServerError::argument(
            "descriptor",
            "is no command: give a JSON object as its command, such as {\"service\": \"…\"}",
        ));
    }
    parse("descriptor.cmd", &descriptor.cmd)
}

/// A JSON object.
pub(super) fn parse<T: DeserializeOwned>(field: &str, bytes: &[u8]) -> Result<T, ServerError> {
    if bytes.len() > MAX_BYTES {
        let problem = format!("has {} bytes, at most {MAX_BYTES} are taken", bytes.len());
        return Err(ServerError::argument(field, problem));
    }
    json::parse(field, bytes)
}
