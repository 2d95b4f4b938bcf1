//! The disk shape of streams.

use asof_core::definition::{AvroFraming, Broker, MessageFormat, Servers, Stream, StreamStart};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DiskStream {
    broker: DiskBroker,
    servers: DiskServers,
    format: DiskFormat,
    start: DiskStart,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum DiskBroker {
    Nats { subject: String, stream: Option<String> },
    Kafka { topic: String, group: String },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum DiskServers {
    At(String),
    Environment(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum DiskFormat {
    Json,
    Arrow,
    Avro { schema: String, framing: DiskFraming },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum DiskFraming {
    None,
    SingleObject,
    Confluent(u32),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum DiskStart {
    Earliest,
    Latest,
}

impl DiskStream {
    pub(super) fn of(stream: &Stream) -> Self {
        let Stream {
            broker,
            servers,
            format,
            start,
        } = stream.clone();
        Self {
            broker: match broker {
                Broker::Nats { subject, stream } => DiskBroker::Nats { subject, stream },
                Broker::Kafka { topic, group } => DiskBroker::Kafka { topic, group },
            },
            servers: match servers {
                Servers::At(servers) => DiskServers::At(servers),
                Servers::Environment(variable) => DiskServers::Environment(variable),
            },
            format: match format {
                MessageFormat::Json => DiskFormat::Json,
                MessageFormat::Arrow => DiskFormat::Arrow,
                MessageFormat::Avro { schema, framing } => DiskFormat::Avro {
                    schema,
                    framing: match framing {
                        AvroFraming::None => DiskFraming::None,
                        AvroFraming::SingleObject => DiskFraming::SingleObject,
                        AvroFraming::Confluent(id) => DiskFraming::Confluent(id),
                    },
                },
            },
            start: match start {
                StreamStart::Earliest => DiskStart::Earliest,
                StreamStart::Latest => DiskStart::Latest,
            },
        }
    }

    pub(super) fn into_domain(self) -> Stream {
        let Self {
            broker,
            servers,
            format,
            start,
        } = self;
        Stream {
            broker: match broker {
                DiskBroker::Nats { subject, stream } => Broker::Nats { subject, stream },
                DiskBroker::Kafka { topic, group } => Broker::Kafka { topic, group },
            },
            servers: match servers {
                DiskServers::At(servers) => Servers::At(servers),
                DiskServers::Environment(variable) => Servers::Environment(variable),
            },
            format: match format {
                DiskFormat::Json => MessageFormat::Json,
                DiskFormat::Arrow => MessageFormat::Arrow,
                DiskFormat::Avro { schema, framing } => MessageFormat::Avro {
                    schema,
                    framing: match framing {
                        DiskFraming::None => AvroFraming::None,
                        DiskFraming::SingleObject => AvroFraming::SingleObject,
                        DiskFraming::Confluent(id) => AvroFraming::Confluent(id),
                    },
                },
            },
            start: match start {
                DiskStart::Earliest => StreamStart::Earliest,
                DiskStart::Latest => StreamStart::Latest,
            },
        }
    }
}
