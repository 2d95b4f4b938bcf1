//! Streams as a file would write them.

use asof_core::definition::{AvroFraming, Broker, MessageFormat, Servers, Stream};

use super::{inline, string};

/// The value of `stream`.
pub(super) fn value(stream: &Stream) -> String {
    let Stream {
        broker,
        servers,
        format,
        start,
    } = stream;
    let servers = match servers {
        Servers::At(servers) => string(servers),
        Servers::Environment(variable) => string(&format!("env:{variable}")),
    };
    let mut fields = match broker {
        Broker::Nats { subject, stream } => {
            let stream = stream.iter().map(|stream| ("stream", string(stream)));
            let mut fields = vec![("nats", servers), ("subject", string(subject))];
            fields.extend(stream);
            fields
        }
        Broker::Kafka { topic, group } => {
            vec![
                ("kafka", servers),
                ("topic", string(topic)),
                ("group", string(group)),
            ]
        }
    };
    match format {
        MessageFormat::Json => fields.push(("format", string("json"))),
        MessageFormat::Arrow => fields.push(("format", string("arrow"))),
        MessageFormat::Avro { schema, framing } => {
            let header = match framing {
                AvroFraming::None => "none".to_owned(),
                AvroFraming::SingleObject => "single_object".to_owned(),
                AvroFraming::Confluent(id) => format!("confluent:{id}"),
            };
            fields.push(("format", string("avro")));
            fields.push(("avro_schema", string(schema)));
            fields.push(("avro_header", string(&header)));
        }
    }
    fields.push(("from", string(start.name())));
    inline(fields)
}
