//! `stream = { … }` of a source: what it means, and what is refused of it.

use asof_core::definition::{AvroFraming, Broker, MessageFormat, Servers, StreamStart};

use crate::support::{applied, parse, plan_on};

const SCHEMA: &str = "{ \"type\": \"record\", \"name\": \"click\", \"fields\": [ \
    { \"name\": \"user_id\", \"type\": \"long\" }, { \"name\": \"at\", \"type\": { \"type\": \"long\", \
    \"logicalType\": \"timestamp-micros\" } }, { \"name\": \"amount\", \"type\": [\"null\", \"double\"] } ] }";

fn source(stream: &str) -> String {
    format!(
        "[[entity]]\nname = \"user\"\nkeys = {{ user_id = \"int64\" }}\n\n[[source]]\nname = \"clicks\"\n\
         schema = {{ user_id = \"int64\", at = \"timestamp\", amount = \"float64\" }}\nevent_time = \"at\"\n\
         stream = {{ {stream} }}\n\n[[view]]\nname = \"click\"\nentity = \"user\"\nsource = \"clicks\"\n\
         owner = \"o\"\n[view.features]\namount = \"float64\"\n"
    )
}

/// Of a stream on line 9, where its value begins at column 10.
fn check(stream: &str, expect: &str) {
    assert_eq!(parse(source(stream)).unwrap_err().to_string(), expect, "{stream}");
}

#[test]
fn a_stream_means_what_it_says() {
    let read = |stream: &str| {
        let definitions = applied(&source(stream)).definitions;
        definitions.sources["clicks"].stream().unwrap().clone()
    };
    let nats = read("nats = \"nats://a:4222,b:4222\", subject = \"clicks.*.>\"");
    assert_eq!(nats.servers, Servers::At("nats://a:4222,b:4222".into()));
    let (subject, stream) = ("clicks.*.>".to_owned(), None);
    assert_eq!(nats.broker, Broker::Nats { subject, stream });
    assert_eq!(
        (nats.format, nats.start),
        (MessageFormat::Json, StreamStart::Earliest)
    );
    let kafka = read("kafka = \"env:KAFKA\", topic = \"clicks\", format = \"arrow\", from = \"latest\"");
    assert_eq!(kafka.servers, Servers::Environment("KAFKA".into()));
    let (topic, group) = ("clicks".to_owned(), "asof.flights.clicks".to_owned());
    assert_eq!(kafka.broker, Broker::Kafka { topic, group });
    assert_eq!(
        (kafka.format, kafka.start),
        (MessageFormat::Arrow, StreamStart::Latest)
    );
    for (header, framing) in [
        ("", AvroFraming::None),
        (", avro_header = \"none\"", AvroFraming::None),
        (", avro_header = \"single_object\"", AvroFraming::SingleObject),
        (", avro_header = \"confluent:7\"", AvroFraming::Confluent(7)),
    ] {
        let avro = read(&format!(
            "kafka = \"k:9092\", topic = \"t\", format = \"avro\", avro_schema = '{SCHEMA}'{header}"
        ));
        let schema = SCHEMA.to_owned();
        assert_eq!(avro.format, MessageFormat::Avro { schema, framing }, "{header}");
    }
}

#[test]
fn another_stream_changes_no_column() {
    let before = applied(&source("nats = \"a:4222\", subject = \"clicks\""));
    for after in [
        "nats = \"b:4222\", subject = \"other\"",
        "kafka = \"k:9092\", topic = \"t\"",
    ] {
        let plan = plan_on(Some(&before), &source(after)).unwrap();
        assert!(!plan.is_empty() && plan.breaking().is_empty(), "{after}");
    }
}

#[test]
fn what_is_no_stream_is_refused() {
    let example = "expected stream = { nats = \"nats://host:4222\", subject = \"…\" } or { kafka = \"host:9092\", topic = \"…\" }";
    check(
        "topic = \"t\"",
        &format!("features/a.toml:9:10: the stream of [[source]] \"clicks\" has no broker; {example}"),
    );
    check(
        "nats = \"a\", subject = \"s\", kafka = \"k\", topic = \"t\"",
        &format!("features/a.toml:9:47: the stream of [[source]] \"clicks\" has two brokers; {example}"),
    );
    check(
        "nats = \"a\", subject = \"s\", topic = \"t\"",
        &format!(
            "features/a.toml:9:47: the stream of [[source]] \"clicks\" is of nats and has a \"topic\"; {example}"
        ),
    );
    check(
        "nats = \"a\", subjct = \"s\"",
        "features/a.toml:9:24: unknown key \"subjct\" in the stream of [[source]] \"clicks\"; did you mean \"subject\"?",
    );
    check(
        "kafka = \"k:1\"",
        "features/a.toml:9:10: the stream of [[source]] \"clicks\" has no \"topic\"; expected topic = \"orders\"",
    );
    check(
        "nats = \"nats://user:secret@a\", subject = \"s\"",
        "features/a.toml:9:19: the servers of a stream have a user in them, and definitions are read by everybody; put \
         all of it into an environment variable of the server, and write \"env:NAME\" here",
    );
    check(
        "nats = \"tls://a\", subject = \"s\"",
        "features/a.toml:9:19: the servers of a stream are asked for over TLS, which this version of asof does not \
         speak to brokers; expected servers without it, in a network that is safe",
    );
    check(
        "kafka = \"http://a\", topic = \"t\"",
        "features/a.toml:9:20: \"http://a\" is not where a kafka server is; expected \"host:9092\", several with commas \
         between them",
    );
    for servers in ["", "a b", "a\\u0007"] {
        check(
            &format!("kafka = \"{servers}\", topic = \"t\""),
            &format!(
                "features/a.toml:9:20: \"{}\" is not where a broker is; expected a host and a port, several with commas \
                 between them",
                servers.replace("\\u0007", "\\u{7}")
            ),
        );
    }
    check(
        "nats = \"env:A-B\", subject = \"s\"",
        "features/a.toml:9:19: \"env:A-B\" names no environment variable; expected \"env:NAME\" of letters, digits and _",
    );
    for subject in ["", "a..b", "a b", ">.a", "a*", ".a"] {
        check(
            &format!("nats = \"a\", subject = \"{subject}\""),
            &format!(
                "features/a.toml:9:34: \"{subject}\" is not a subject; expected tokens with dots between them, such as \
                 \"orders.placed\", \"orders.*\" or \"orders.>\""
            ),
        );
    }
    check(
        "nats = \"a\", subject = \"s\", stream = \"a.b\"",
        "features/a.toml:9:48: \"a.b\" is not the name of a JetStream stream; expected up to 249 letters, digits and -_",
    );
    check(
        "kafka = \"a\", topic = \"..\"",
        "features/a.toml:9:33: \"..\" is not the name of a Kafka topic; expected up to 249 letters, digits and -_.",
    );
    check(
        "kafka = \"a\", topic = \"t\", format = \"xml\", from = \"now\"",
        "features/a.toml:9:47: unknown \"format\" \"xml\"; expected \"json\", \"avro\" or \"arrow\"\n\
         features/a.toml:9:61: unknown \"from\" \"now\"; expected \"earliest\", all that there is, or \"latest\", what comes \
         from now on",
    );
    check(
        "kafka = \"a\", topic = \"t\", avro_header = \"none\"",
        "features/a.toml:9:52: the stream of [[source]] \"clicks\" has an \"avro_header\" and is not of Avro; expected \
         format = \"avro\", or remove it",
    );
    let in_place = source("nats = \"a\", subject = \"s\"").replace(
        "schema = { user_id = \"int64\", at = \"timestamp\", amount = \"float64\" }",
        "path = \"a.parquet\"",
    );
    assert_eq!(
        parse(in_place).unwrap_err().to_string(),
        "features/a.toml:9:10: [[source]] \"clicks\" is read in place and has a \"stream\"; streams are of managed sources, \
         which have a schema and no path"
    );
}

#[test]
fn an_avro_schema_has_the_columns_and_an_end() {
    let avro = |schema: &str, expect: &str| {
        let stream = format!("kafka = \"k\", topic = \"t\", format = \"avro\", avro_schema = '{schema}'");
        check(
            &stream,
            &format!("features/a.toml:9:69: the Avro schema {expect}"),
        );
    };
    avro(
        "{",
        "is not JSON: EOF while parsing an object at line 1 column 1; expected what an .avsc file holds",
    );
    let record =
        "is no record with fields; expected { \"type\": \"record\", \"name\": \"…\", \"fields\": […] }";
    for schema in [
        "\"string\"",
        "{ \"type\": \"record\" }",
        "[]",
        "{ \"type\": \"record\", \"fields\": [] }",
    ] {
        avro(schema, record);
    }
    let names = "its fields are the columns of the source, by name:";
    avro(
        &SCHEMA.replace("user_id", "user"),
        &format!("has no field \"user_id\"; {names} rename one of them"),
    );
    avro(
        &SCHEMA.replace("[ ", "[ { \"name\": \"more\", \"type\": \"int\" }, "),
        &format!(
            "has a field \"more\", which is not in the source; {names} add it to the schema of the source"
        ),
    );
    let amount = |schema: &str| SCHEMA.replace("[\"null\", \"double\"]", schema);
    let endless = "an element that takes no byte could be repeated without end";
    let empty =
        "{ \"type\": \"record\", \"name\": \"r\", \"fields\": [{ \"name\": \"n\", \"type\": \"null\" }] }";
    for items in ["\"null\"", "{ \"type\": \"null\" }", empty] {
        avro(
            &amount(&format!("{{ \"type\": \"array\", \"items\": {items} }}")),
            &format!("repeats null; {endless}"),
        );
    }
    avro(
        &amount("{ \"type\": \"map\", \"values\": \"null\" }"),
        &format!("repeats null; {endless}"),
    );
    let expected = "expected a schema as Avro has it";
    avro(
        &amount(
            "{ \"type\": \"array\", \"items\": { \"type\": \"record\", \"name\": \"r\", \"fields\": [] } }",
        ),
        &format!("has a record without fields; {expected}"),
    );
    avro(
        &amount("{ \"type\": \"fixed\", \"name\": \"f\", \"size\": 0 }"),
        &format!("has a \"fixed\" of no size; {expected}"),
    );
    avro(
        &amount("{ \"type\": \"array\" }"),
        &format!("has an array or a map without elements; {expected}"),
    );
    let recursion =
        "within itself; columns are of a depth that is known: expected a schema without recursion";
    for name in ["click", "some.space.click"] {
        avro(
            &amount(&format!(
                "[\"null\", {{ \"type\": \"array\", \"items\": \"{name}\" }}]"
            )),
            &format!("has \"{name}\" {recursion}"),
        );
    }
    let deep = format!("{}\"int\"{}", "[".repeat(200), "]".repeat(200));
    let text = parse(source(&format!(
        "kafka = \"k\", topic = \"t\", format = \"avro\", avro_schema = '{}'",
        amount(&deep)
    )));
    assert!(text.unwrap_err().to_string().contains("recursion limit exceeded"));
}
