//! `stream = { … }` of a source.

use asof_core::data_type::DataType;
use asof_core::definition::{AvroFraming, Broker, MessageFormat, Servers, Stream, StreamStart};
use asof_core::name::{ProjectName, SourceName};

use super::{avro, field};
use crate::document::{Table, Text};
use crate::problem::{Problem, Problems, shown};

/// How a stream is written.
const EXAMPLE: &str =
    "stream = { nats = \"nats://host:4222\", subject = \"…\" } or { kafka = \"host:9092\", topic = \"…\" }";
const KEYS: [&str; 10] = [
    "nats",
    "subject",
    "stream",
    "kafka",
    "topic",
    "group",
    "format",
    "avro_schema",
    "avro_header",
    "from",
];
/// The longest text that names servers, in bytes.
const MAX_SERVERS: usize = 1_024;
/// The longest name of a thing of a broker, in bytes.
const MAX_NAME: usize = 249;

/// Reads the stream of a source, where it has one.
pub(super) fn stream(
    source: &Table<'_>,
    problems: &mut Problems,
    project: &ProjectName,
    schema: &[(String, DataType)],
) -> Option<Stream> {
    let label = format!("the stream of {}", source.label());
    let mut table = source.table(problems, "stream", label)?;
    table.only(problems, &KEYS);
    let broker = broker(&table, problems, || {
        let name = source.string(&mut Problems::default(), "name")?;
        Some(Broker::default_group(
            project,
            &SourceName::parse(name.text).ok()?,
        ))
    });
    let format = format(&table, problems, schema);
    let start = match table.string(problems, "from") {
        Some(text) => text.parse(problems, start),
        None => Some(StreamStart::Earliest),
    };
    let (broker, servers) = broker?;
    Some(Stream {
        broker,
        servers,
        format: format?,
        start: start?,
    })
}

fn broker(
    table: &Table<'_>,
    problems: &mut Problems,
    default_group: impl FnOnce() -> Option<String>,
) -> Option<(Broker, Servers)> {
    let (own, others) = match (table.get("nats"), table.get("kafka")) {
        (Some(_), None) => ("nats", ["topic", "group"]),
        (None, Some(_)) => ("kafka", ["subject", "stream"]),
        (None, None) => {
            let what = format!("{} has no broker", table.label());
            problems.push(Problem::new(
                table.place().clone(),
                what,
                format!("expected {EXAMPLE}"),
            ));
            return None;
        }
        (Some(_), Some(kafka)) => {
            let what = format!("{} has two brokers", table.label());
            problems.push(Problem::new(kafka.place(), what, format!("expected {EXAMPLE}")));
            return None;
        }
    };
    for other in others {
        if let Some(value) = table.get(other) {
            let what = format!("{} is of {own} and has a {other:?}", table.label());
            problems.push(Problem::new(value.place(), what, format!("expected {EXAMPLE}")));
        }
    }
    let servers = table
        .string(problems, own)
        .and_then(|text| text.parse(problems, |text| servers(text, own)));
    let broker = if own == "nats" {
        let subject = table.required(problems, "subject", "subject = \"orders.placed\"");
        let subject = subject.and_then(|text| text.parse(problems, subject_of));
        let stream = optional(table, problems, "stream", |text| {
            named(text, "a JetStream stream", b"-_")
        })?;
        Broker::Nats {
            subject: subject?,
            stream,
        }
    } else {
        let topic = table.required(problems, "topic", "topic = \"orders\"");
        let topic = topic.and_then(|text| text.parse(problems, |text| named(text, "a Kafka topic", b"-_.")));
        let group = optional(table, problems, "group", |text| {
            named(text, "a Kafka consumer group", b"-_.:/@")
        })?;
        Broker::Kafka {
            topic: topic?,
            group: group.or_else(default_group)?,
        }
    };
    Some((broker, servers?))
}

/// A text that may be there: `None` where it is wrong.
fn optional(
    table: &Table<'_>,
    problems: &mut Problems,
    key: &str,
    parse: impl Fn(&str) -> Result<String, field::Reason>,
) -> Option<Option<String>> {
    match table.string(problems, key) {
        Some(text) => text.parse(problems, parse).map(Some),
        None => table.get(key).is_none().then_some(None),
    }
}

/// Servers, or the variable that names them: what anybody may read holds no password.
fn servers(text: &str, broker: &str) -> Result<Servers, field::Reason> {
    if let Some(variable) = text.strip_prefix("env:") {
        let fits = !variable.is_empty() && variable.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        return match fits {
            true => Ok(Servers::Environment(variable.to_owned())),
            false => Err((
                format!("{} names no environment variable", shown(text)),
                "expected \"env:NAME\" of letters, digits and _".into(),
            )),
        };
    }
    let refuse = |what: &str, help: &str| Err((what.to_owned(), help.to_owned()));
    let host = "a host and a port";
    if text.is_empty() || text.len() > MAX_SERVERS || text.chars().any(|c| c.is_control() || c == ' ') {
        let what = format!("{} is not where a broker is", shown(text));
        return Err((what, format!("expected {host}, several with commas between them")));
    }
    if text.contains('@') {
        return refuse(
            "the servers of a stream have a user in them, and definitions are read by everybody",
            "put all of it into an environment variable of the server, and write \"env:NAME\" here",
        );
    }
    let schemes = text
        .split(',')
        .map(|server| server.split_once("://").map(|(scheme, _)| scheme));
    for scheme in schemes {
        match (broker, scheme) {
            ("nats", None | Some("nats")) | ("kafka", None) => {}
            (_, Some("tls")) => {
                return refuse(
                    "the servers of a stream are asked for over TLS, which this version of asof does not speak to brokers",
                    "expected servers without it, in a network that is safe",
                );
            }
            _ => {
                let what = format!("{} is not where a {broker} server is", shown(text));
                let example = match broker {
                    "nats" => "\"nats://host:4222\"",
                    _ => "\"host:9092\"",
                };
                return Err((
                    what,
                    format!("expected {example}, several with commas between them"),
                ));
            }
        }
    }
    Ok(Servers::At(text.to_owned()))
}

/// A subject, whose tokens may be wildcards.
fn subject_of(text: &str) -> Result<String, field::Reason> {
    let tokens: Vec<&str> = text.split('.').collect();
    let is_token = |(place, token): (usize, &&str)| match *token {
        ">" => place + 1 == tokens.len(),
        "*" => true,
        token => {
            !token.is_empty()
                && !token.contains(|c: char| c.is_whitespace() || c.is_control() || "*>".contains(c))
        }
    };
    if text.len() <= MAX_NAME && tokens.iter().enumerate().all(is_token) {
        return Ok(text.to_owned());
    }
    Err((
        format!("{} is not a subject", shown(text)),
        "expected tokens with dots between them, such as \"orders.placed\", \"orders.*\" or \"orders.>\""
            .into(),
    ))
}

/// A name of letters, digits and `also`.
fn named(text: &str, kind: &str, also: &[u8]) -> Result<String, field::Reason> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || also.contains(&b);
    if (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(fits) && !matches!(text, "." | "..") {
        return Ok(text.to_owned());
    }
    Err((
        format!("{} is not the name of {kind}", shown(text)),
        format!(
            "expected up to {MAX_NAME} letters, digits and {}",
            String::from_utf8_lossy(also)
        ),
    ))
}

fn start(text: &str) -> Result<StreamStart, field::Reason> {
    let known = [StreamStart::Earliest, StreamStart::Latest];
    known
        .into_iter()
        .find(|start| start.name() == text)
        .ok_or_else(|| {
            (
                format!("unknown \"from\" {}", shown(text)),
                "expected \"earliest\", all that there is, or \"latest\", what comes from now on".into(),
            )
        })
}

fn format(
    table: &Table<'_>,
    problems: &mut Problems,
    schema: &[(String, DataType)],
) -> Option<MessageFormat> {
    let format = match table.string(problems, "format") {
        Some(text) => text,
        None if table.get("format").is_some() => return None,
        None => Text {
            text: "json",
            place: table.place().clone(),
        },
    };
    if format.text != "avro" {
        for key in ["avro_schema", "avro_header"] {
            if let Some(value) = table.get(key) {
                let what = format!("{} has an {key:?} and is not of Avro", table.label());
                problems.push(Problem::new(
                    value.place(),
                    what,
                    "expected format = \"avro\", or remove it",
                ));
                return None;
            }
        }
    }
    match format.text {
        "json" => Some(MessageFormat::Json),
        "arrow" => Some(MessageFormat::Arrow),
        "avro" => {
            let text = table.required(
                problems,
                "avro_schema",
                "avro_schema = '''{ \"type\": \"record\", … }'''",
            );
            let text = text.and_then(|text| text.parse(problems, |text| avro::check(text, schema)));
            let framing = match table.string(problems, "avro_header") {
                Some(header) => header.parse(problems, framing),
                None => table.get("avro_header").is_none().then_some(AvroFraming::None),
            };
            Some(MessageFormat::Avro {
                schema: text?,
                framing: framing?,
            })
        }
        other => {
            let what = format!("unknown \"format\" {}", shown(other));
            let help = "expected \"json\", \"avro\" or \"arrow\"";
            problems.push(Problem::new(format.place, what, help));
            None
        }
    }
}

fn framing(text: &str) -> Result<AvroFraming, field::Reason> {
    match text {
        "none" => Ok(AvroFraming::None),
        "single_object" => Ok(AvroFraming::SingleObject),
        other => {
            let id = other.strip_prefix("confluent:").and_then(|id| id.parse().ok());
            id.map(AvroFraming::Confluent).ok_or_else(|| {
                (
                    format!("unknown \"avro_header\" {}", shown(other)),
                    "expected \"none\", \"single_object\", or \"confluent:7\" with the id that the schema has in the \
                     registry"
                        .into(),
                )
            })
        }
    }
}
