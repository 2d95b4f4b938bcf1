//! Features as JSON, and what is refused of it.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Server, row};

/// Sends one HTTP/1 request and gives the status line's code and the body.
pub(crate) async fn http(server: &Server, method: &str, path: &str, body: &str) -> (u16, String) {
    http_to(server.address, method, path, body).await
}

/// The same of a server that is known by its address.
pub(crate) async fn http_to(address: SocketAddr, method: &str, path: &str, body: &str) -> (u16, String) {
    let (head, body) = exchange(address, method, path, body.as_bytes()).await;
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body)
}

/// The same with the whole head of the answer.
pub(crate) async fn exchange(address: SocketAddr, method: &str, path: &str, body: &[u8]) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // A server that refuses early may close before it has read everything.
    let _ = stream.write_all(body).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

async fn check(server: &Server, body: &str, status: u16, expect: &str) {
    let answer = http(server, "POST", "/v1/get-features", body).await;
    assert_eq!(
        answer,
        (status, expect.to_owned()),
        "{}",
        body.get(..200).unwrap_or(body)
    );
}

fn invalid(message: &str) -> String {
    serde_json::json!({ "error": { "code": "INVALID_ARGUMENT", "message": message } }).to_string()
}

#[tokio::test]
async fn features_come_as_exact_json() {
    let server = Server::start().await;
    server.clock.set(1_500_000);
    let rows = [row("JFK", 1_000_000, 9_007_199_254_740_993), row("", 0, i64::MIN)];
    server.load("lasting", 1_000_000, &rows, true).await;
    check(
        &server,
        r#"{"features": ["lasting:code", "lasting:temp"], "keys": {"origin": ["JFK", null, ""]}}"#,
        200,
        concat!(
            r#"{"service":null,"service_version":null,"registry_version":1,"as_of":"1970-01-01T00:00:01.500Z","rows":3,"#,
            r#""columns":[{"name":"lasting__code","values":[9007199254740993,null,-9223372036854775808],"#,
            r#""statuses":["PRESENT","NOT_FOUND","PRESENT"]},"#,
            r#"{"name":"lasting__temp","values":[0.5,null,0.5],"statuses":["PRESENT","NOT_FOUND","PRESENT"]}],"#,
            r#""views":[{"view":"lasting","prefix":null,"#,
            r#""event_times":["1970-01-01T00:00:01Z",null,"1970-01-01T00:00:00Z"],"#,
            r#""materialized_to":"1970-01-01T00:00:01Z"}]}"#
        ),
    )
    .await;
}

#[tokio::test]
async fn integer_keys_are_exact_or_refused() {
    let server = Server::start().await;
    server.load("leg_facts", 0, &[], true).await;
    let body = |number: &str| {
        format!(r#"{{"service": "legs_v1", "keys": {{"tail": ["a"], "number": [{number}]}}}}"#)
    };
    for good in [
        "1",
        "1.0",
        "-9223372036854775808",
        "9007199254740993",
        "\"9007199254740993\"",
        "null",
    ] {
        let (status, answer) = http(&server, "POST", "/v1/get-features", &body(good)).await;
        assert_eq!(status, 200, "{good}: {answer}");
    }
    let bad = [
        ("1.5", "keys[\"number\"][0]: is 1.5, not a value of int64"),
        (
            "9007199254740994.0",
            "keys[\"number\"][0]: is a floating-point number beyond 2^53, which may not be exact: give an integer",
        ),
        (
            "9223372036854775808",
            "keys[\"number\"][0]: is 9223372036854775808, out of range for int64",
        ),
        ("true", "keys[\"number\"][0]: is true or false, the key is int64"),
        (
            "\"one\"",
            "keys[\"number\"][0]: is no whole number, the key is int64",
        ),
        (
            "1e400",
            "keys[\"number\"][0]: number out of range at line 1 column 63",
        ),
        (
            "NaN",
            "keys[\"number\"][0]: is NaN, which JSON does not have: expected value at line 1 column 59; where a float is \
             wanted, give it as text",
        ),
        (
            "1, -Infinity",
            "keys[\"number\"][1]: is -Infinity, which JSON does not have: invalid number at line 1 column 63; where a \
             float is wanted, give it as text",
        ),
    ];
    for (number, message) in bad {
        check(&server, &body(number), 400, &invalid(message)).await;
    }
    // One value where a list belongs, of any kind.
    for (value, kind) in [
        ("5", "integer `5`"),
        ("5.5", "floating point `5.5`"),
        ("\"N1\"", "string \"N1\""),
        ("null", "null"),
        ("true", "boolean `true`"),
        ("{}", "map"),
    ] {
        for (columns, field) in [("keys", "keys"), ("request", "request")] {
            let body =
                format!(r#"{{"service": "legs_v1", "{columns}": {{"tail": ["a"], "number": {value}}}}}"#);
            let (status, answer) = http(&server, "POST", "/v1/get-features", &body).await;
            let told = serde_json::from_str::<serde_json::Value>(&answer).unwrap();
            let message = told["error"]["message"].as_str().unwrap();
            let expected = format!(
                "{field}[\"number\"]: invalid type: {kind}, expected a list with a value for each row at line 1"
            );
            assert!(
                status == 400 && message.starts_with(&expected),
                "{status} {message}"
            );
        }
    }
    let long = "x".repeat(1 << 20);
    let body = format!(r#"{{"service": "legs_v1", "keys": {{"number": "{long}", "tail": ["a"]}}}}"#);
    let (status, answer) = http(&server, "POST", "/v1/get-features", &body).await;
    assert!(
        status == 400 && answer.len() < 300 && answer.contains("keys[\\\"number\\\"]: "),
        "{answer:.600}"
    );
}

#[tokio::test]
async fn malformed_bodies_are_refused_with_line_and_column() {
    let server = Server::start().await;
    let nested = format!("{{\"keys\": {{\"origin\": {}", "[".repeat(10_000));
    let value = "a value: text, a number, true, false or null";
    let object = r#"expected an object such as {"service": "model_v1", "keys": {"origin": ["JFK"]}}"#;
    let cases = [
        ("", format!("body: is empty, {object}")),
        ("[]", format!("body: is a list, {object}")),
        (r#" ["model_v1", [], {}]"#, format!("body: is a list, {object}")),
        (r#""model_v1""#, format!("body: is text, {object}")),
        ("null", format!("body: is no object, {object}")),
        (
            r#"{"keys": {"a": [1], "a": [2]}}"#,
            "keys: duplicate column \"a\" at line 1 column 23".to_owned(),
        ),
        (r#"{"service": "a", "service": "b"}"#, "body: duplicate field `service` at line 1 column 26".to_owned()),
        (
            r#"{"entities": {}}"#,
            "body: unknown field `entities`, expected one of `service`, `features`, `keys`, `request` at line 1 column 11".to_owned(),
        ),
        (
            r#"{"\u001b[31m": {}}"#,
            r"body: unknown field `\u{1b}[31m`, expected one of `service`, `features`, `keys`, `request` at line 1 column 13".to_owned(),
        ),
        (
            nested.as_str(),
            format!("keys[\"origin\"][0][0]: invalid type: sequence, expected {value} at line 1 column 23"),
        ),
        (r#"{"service": "model_v1"}"#, r#"keys: 2 columns are missing: give "origin" of string, the key of view fleeting; "dest" of string, the key of view dest_lasting"#.to_owned()),
    ];
    for (body, message) in cases {
        check(&server, body, 400, &invalid(&message)).await;
    }
    let deep = format!("{{\"keys\": {}", "{\"a\": ".repeat(10_000));
    let (status, _) = http(&server, "POST", "/v1/get-features", &deep).await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn statuses_and_messages_go_with_the_grpc_codes() {
    let server = Server::start().await;
    let keys = r#""keys": {"origin": ["JFK"]}"#;
    let unknown = r#"{"error":{"code":"NOT_FOUND","message":"unknown service \"x\""}}"#;
    check(&server, &format!(r#"{{"service": "x", {keys}}}"#), 404, unknown).await;
    let never = r#"{"error":{"code":"FAILED_PRECONDITION","message":"view \"lasting\" was never materialized: run `asof materialize lasting`"}}"#;
    check(
        &server,
        &format!(r#"{{"features": ["lasting:code"], {keys}}}"#),
        400,
        never,
    )
    .await;
    let nowhere = r#"{"error":{"code":"NOT_FOUND","message":"there is no /nowhere here; there are POST /v1/get-features, /healthz, /readyz and /metrics"}}"#;
    let (status, body) = http(&server, "GET", "/nowhere", "").await;
    assert_eq!((status, body.as_str()), (404, nowhere));
    // At once, before any of it was sent.
    let refused = r#"{"error":{"code":"OUT_OF_RANGE","message":"the request has more than 4194304 bytes"}}"#;
    for length in [4 * 1024 * 1024 + 1, 1_u64 << 40] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let head = format!("POST /v1/get-features HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer);
        let read = tokio::time::timeout(Duration::from_secs(5), read).await;
        read.expect("an answer at once").unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 413 ") && answer.ends_with(refused),
            "{answer}"
        );
    }
    // What does not say how long it is is read up to there.
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = "POST /v1/get-features HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n400001\r\n";
    let large = format!("{head}{}\r\n0\r\n\r\n", " ".repeat(4 * 1024 * 1024 + 1));
    stream.write_all(large.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 413 ") && answer.ends_with(refused),
        "{answer}"
    );
}

#[tokio::test]
async fn a_method_that_a_path_does_not_take_is_refused_with_those_that_it_takes() {
    let server = Server::start().await;
    let cases = [
        ("GET", "/v1/get-features", "POST", "POST"),
        ("PUT", "/v1/get-features", "POST", "POST"),
        ("POST", "/readyz", "GET,HEAD", "GET"),
    ];
    for (method, path, allow, takes) in cases {
        let (head, body) = exchange(server.address, method, path, b"").await;
        assert!(head.starts_with("HTTP/1.1 405 "), "{head}");
        let allows = head.lines().find_map(|line| line.strip_prefix("allow: "));
        assert_eq!(allows, Some(allow), "{head}");
        let message = format!("{path} does not take the method {method}: use {takes}");
        let error = serde_json::json!({ "error": { "code": "UNIMPLEMENTED", "message": message } });
        assert_eq!(body, error.to_string());
    }
}

#[tokio::test]
async fn missing_key_columns_are_told_together_and_no_features_as_such() {
    let server = Server::start().await;
    let cases = [
        (
            r#"{"service": "legs_v1", "keys": {}}"#,
            "keys: 2 columns are missing: give \"tail\" of string, the key of view leg_facts; \
             \"number\" of int64, the key of view leg_facts",
        ),
        (
            r#"{"service": "legs_v1", "keys": {"number": [1]}}"#,
            "keys[\"tail\"]: is missing: give a column of string, the key of view leg_facts",
        ),
        (
            r#"{"features": [], "keys": {"origin": ["JFK"]}}"#,
            "service, features: both are empty: name a service, or list features such as \"view:feature\"",
        ),
    ];
    for (body, message) in cases {
        check(&server, body, 400, &invalid(message)).await;
    }
}
