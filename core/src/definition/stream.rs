//! Streams that fill sources.

use std::fmt;

use super::{Location, Notes, Source};
use crate::data_type::DataType;
use crate::name::{ProjectName, SourceName};

/// A stream whose messages are rows of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// What is read.
    pub broker: Broker,
    /// Where its servers are.
    pub servers: Servers,
    /// What messages hold.
    pub format: MessageFormat,
    /// Where reading begins that nobody has read before.
    pub start: StreamStart,
}

/// A broker, and what of it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broker {
    /// NATS JetStream.
    Nats {
        /// The subject, which may have wildcards.
        subject: String,
        /// The JetStream stream; absent means the one that has the subject.
        stream: Option<String>,
    },
    /// Kafka.
    Kafka {
        /// The topic.
        topic: String,
        /// The consumer group.
        group: String,
    },
}

/// Where the servers of a broker are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Servers {
    /// These, as the broker's clients take them.
    At(String),
    /// Those that an environment variable names where the stream is read.
    Environment(String),
}

/// What a message holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageFormat {
    /// JSON objects, usually one.
    Json,
    /// One Avro record.
    Avro {
        /// The text of its schema.
        schema: String,
        /// What goes before it.
        framing: AvroFraming,
    },
    /// One Arrow IPC stream.
    Arrow,
}

/// What goes before an Avro record in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AvroFraming {
    /// Nothing: the message is the record.
    None,
    /// The header of Avro's single-object encoding, with the fingerprint of the schema.
    SingleObject,
    /// The header of Confluent's registry of schemas, with this id of the schema.
    Confluent(u32),
}

/// Where reading begins that nobody has read before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamStart {
    /// At the first message that there is.
    Earliest,
    /// Behind the last message that there is.
    Latest,
}

impl Broker {
    /// The consumer group that is taken where a definition names none.
    pub fn default_group(project: &ProjectName, source: &SourceName) -> String {
        format!("asof.{project}.{source}")
    }
}

impl StreamStart {
    /// As definitions write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Earliest => "earliest",
            Self::Latest => "latest",
        }
    }
}

impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nats { subject, .. } => write!(f, "nats {subject}"),
            Self::Kafka { topic, .. } => write!(f, "kafka {topic}"),
        }
    }
}

/// The columns of a table of dead letters, and their types.
const DEAD_LETTERS: [(&str, DataType); 7] = [
    (ARRIVED_AT, DataType::Timestamp),
    ("lane", DataType::String),
    ("position", DataType::Int64),
    ("row", DataType::Int64),
    ("reason", DataType::String),
    ("payload", DataType::Bytes),
    ("payload_bytes", DataType::Int64),
];
const ARRIVED_AT: &str = "arrived_at";

impl Source {
    /// The table of what could not be taken in from the stream of this source: when it arrived, the lane of the stream
    /// and the position there, the row where only one of the message is bad, the reason, the first bytes of the payload
    /// and how many it has.
    #[must_use]
    pub fn dead_letters(&self) -> Self {
        let schema = DEAD_LETTERS.map(|(name, data_type)| (name.to_owned(), data_type));
        Self {
            name: self.name.dead_letters(),
            location: Location::Managed {
                schema: schema.to_vec(),
                event_id: None,
                stream: None,
            },
            event_time: ARRIVED_AT.to_owned(),
            created_time: None,
            timezone: None,
            dates: None,
            deleted: None,
            sql: None,
            notes: Notes::default(),
        }
    }

    /// The stream that fills it.
    pub fn stream(&self) -> Option<&Stream> {
        match &self.location {
            Location::Managed { stream, .. } => stream.as_ref(),
            Location::InPlace { .. } => None,
        }
    }
}
