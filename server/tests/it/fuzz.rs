//! No request ends the server, or makes it answer as if it had failed (I22): JSON, the messages of gRPC, and Arrow data.

use arrow_flight::FlightData;
use asof_core::fuzz;
use asof_proto::v1;
use bytes::Bytes;
use futures::{StreamExt, stream};
use prost::Message;
use serde_json::json;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request};

use crate::flight::{client, messages, server as flight_server, table_or_nothing};
use crate::flight_damage::batches;
use crate::harness::{Server, of_features, of_service, row, text_column};
use crate::json::exchange;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

/// Whether it is the request that is refused.
fn is_of_the_request(code: Code) -> bool {
    matches!(
        code,
        Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::ResourceExhausted
            | Code::Unimplemented
    )
}

#[test]
fn json_requests() {
    let runtime = runtime();
    let server = runtime.block_on(async {
        let server = Server::start().await;
        server.clock.set(1_500_000);
        server
            .load("lasting", 1_000_000, &[row("JFK", 1_000_000, 7)], true)
            .await;
        server.load("leg_facts", 0, &[], true).await;
        server
    });
    let corpus = [
        r#"{"features": ["lasting:code", "lasting:temp"], "keys": {"origin": ["JFK", null, ""]}}"#,
        r#"{"service": "legs_v1", "keys": {"tail": ["a"], "number": [9007199254740993]}}"#,
        r#"{"service": "legs_v1", "keys": {"tail": ["a"]}, "request": {"number": ["1.0"]}}"#,
    ];
    let words = [
        "\"features\":",
        "\"service\":",
        "\"keys\":",
        "\"request\":",
        "\"origin\"",
        "\"number\"",
        "\"lasting:*\"",
        "\"lasting:code\"",
        "null",
        "true",
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        "\"",
        "1e400",
        "-0.0",
        "\\u0000",
        "\\ud800",
        "\u{ff}",
        "[[[[[[[[",
    ];
    fuzz::run("JSON requests", corpus, &words, |input| {
        let answer = exchange(server.address, "POST", "/v1/get-features", input);
        let (head, body) = runtime.block_on(answer);
        let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
        let told: serde_json::Value = serde_json::from_str(&body).unwrap();
        if status == 200 {
            return format!("{} rows", told["rows"].as_u64().unwrap().min(4));
        }
        assert!((400..500).contains(&status), "{head} {body}");
        fuzz::kind_of(told["error"]["message"].as_str().unwrap())
    });
}

#[test]
fn grpc_messages() {
    let runtime = runtime();
    let server = runtime.block_on(flight_server());
    let channel = runtime.block_on(server.channel());
    let paths = [
        "/asof.v1.OnlineService/GetFeatures",
        "/asof.v1.IngestService/Push",
        "/asof.v1.RegistryService/Plan",
        "/asof.v1.RegistryService/Search",
    ];
    let keys = || vec![text_column("origin", &[Some("JFK"), None])];
    let push = v1::PushRequest {
        source: "clicks".into(),
        request_id: "id".into(),
        rows: Some(v1::push_request::Rows::JsonLines(
            br#"{"origin": "JFK", "at": "2026-01-01T00:00:00Z", "clicks": 1}"#.to_vec(),
        )),
    };
    let plan = v1::PlanRequest {
        files: crate::harness::files("[[entity]]\nname = \"a\"\nkeys = { b = \"int64\" }\n"),
    };
    let search = v1::SearchRequest {
        query: "clicks".into(),
    };
    let corpus = [
        (0, of_features(&["lasting:temp"], keys()).encode_to_vec()),
        (0, of_service("none", keys()).encode_to_vec()),
        (1, push.encode_to_vec()),
        (2, plan.encode_to_vec()),
        (3, search.encode_to_vec()),
    ];
    let corpus = corpus.map(|(call, message)| [&[call], &message[..]].concat());
    let words = [
        "lasting:temp",
        "clicks",
        "origin",
        "\u{a}",
        "\0\0\0\0",
        "{\"origin\": null}",
        "ARROW1",
    ];
    fuzz::run("gRPC messages", corpus, &words, |input| {
        let (call, message) = input.split_first().unwrap_or((&0, &[]));
        let path = paths[usize::from(*call) % paths.len()];
        let ended = runtime.block_on(async {
            let mut grpc = Grpc::new(channel.clone());
            grpc.ready().await.unwrap();
            let codec = Raw;
            let request = Request::new(Bytes::copy_from_slice(message));
            grpc.unary(request, PathAndQuery::from_static(path), codec).await
        });
        match ended {
            Ok(_) => (path, String::new()),
            // What is no message of protobuf: the library has a code of its own for it.
            Err(status) if status.message().starts_with("failed to decode Protobuf message") => {
                (path, "no message".into())
            }
            Err(status) => {
                assert!(is_of_the_request(status.code()), "{status:?}");
                (path, fuzz::kind_of(status.message()))
            }
        }
    });
}

#[test]
fn arrow_data() {
    let runtime = runtime();
    let server = runtime.block_on(flight_server());
    let client = runtime.block_on(client(&server));
    let commands = [
        json!({ "features": ["lasting:temp"] }),
        json!({ "push": { "source": "clicks", "request_id": "fuzz" } }),
    ];
    let corpus = commands.each_ref().map(|command| {
        let sent: Vec<FlightData> = runtime.block_on(messages(command, batches()).collect());
        sent.iter()
            .flat_map(Message::encode_length_delimited_to_vec)
            .collect::<Vec<u8>>()
    });
    let words = [
        "\0\0\0\0",
        "\u{1}\0\0\0\0\0\0\0",
        "lasting:temp",
        "\"push\"",
        "origin",
        "{\"features\": []}",
    ];
    fuzz::run("Arrow data", corpus, &words, |input| {
        let (mut rest, mut sent) = (input, Vec::new());
        while let Ok(message) = FlightData::decode_length_delimited(&mut rest) {
            sent.push(message);
            if rest.is_empty() {
                break;
            }
        }
        let mut client = client.clone();
        let ended = runtime.block_on(async {
            let answer = client.do_exchange(stream::iter(sent)).await?;
            table_or_nothing(answer.into_inner()).await
        });
        ended.map_err(|status| {
            assert!(is_of_the_request(status.code()), "{status:?}");
            fuzz::kind_of(status.message())
        })
    });
}

/// Messages as bytes, whatever they are.
#[derive(Clone, Copy)]
pub(crate) struct Raw;

impl tonic::codec::Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl tonic::codec::Encoder for Raw {
    type Item = Bytes;
    type Error = tonic::Status;

    fn encode(&mut self, item: Bytes, into: &mut tonic::codec::EncodeBuf<'_>) -> Result<(), tonic::Status> {
        bytes::BufMut::put(into, item);
        Ok(())
    }
}

impl tonic::codec::Decoder for Raw {
    type Item = Bytes;
    type Error = tonic::Status;

    fn decode(&mut self, from: &mut tonic::codec::DecodeBuf<'_>) -> Result<Option<Bytes>, tonic::Status> {
        let length = bytes::Buf::remaining(from);
        Ok(Some(bytes::Buf::copy_to_bytes(from, length)))
    }
}
