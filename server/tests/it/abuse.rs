//! Callers that mean no good, or are gone: limits, time-outs, and a clean stop.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use asof_server::{BindError, CallLimits, Limits, Listening};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;

use crate::harness::{Server, of_features, row, text_column};

fn impatient() -> Limits {
    Limits {
        first_byte: Duration::from_millis(300),
        drain: Duration::from_millis(500),
        ..Limits::default()
    }
}

/// How long the server keeps a connection on which `said` and nothing more is said, and what it answers.
async fn closed_after(server: &Server, said: &[u8]) -> (Duration, Vec<u8>) {
    let started = Instant::now();
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(said).await.unwrap();
    let mut answer = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
    assert!(closed.is_ok(), "still open after 5 s");
    (started.elapsed(), answer)
}

#[tokio::test]
async fn silent_and_half_silent_connections_are_closed() {
    let server = Server::empty(impatient()).await;
    for said in ["", "PRI * HT", "GET /healthz HTTP/1.1\r\nhost:"] {
        let (after, _) = closed_after(&server, said.as_bytes()).await;
        assert!(
            after >= Duration::from_millis(250) && after < Duration::from_secs(2),
            "{said:?}: {after:?}"
        );
    }
}

#[tokio::test]
async fn garbage_and_tls_are_answered_and_closed_at_once() {
    let server = Server::empty(Limits::default()).await;
    let tls_hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03aaaaaaaaaaaaaaaaaaaaaaaa";
    for said in [
        &b"\0\0\0 garbage \r\n\r\n"[..],
        tls_hello,
        b"GET / SPDY/9\r\n\r\n",
    ] {
        let (after, answer) = closed_after(&server, said).await;
        assert!(after < Duration::from_secs(2), "{after:?}");
        assert!(
            answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"),
            "{answer:?}"
        );
    }
    // And everybody else is served.
    assert_eq!(crate::json::http(&server, "GET", "/healthz", "").await.0, 200);
}

#[tokio::test]
async fn a_message_above_the_limit_names_both_sizes() {
    let server = Server::start().await;
    let long = "k".repeat(5 * 1024 * 1024);
    let request = of_features(&["lasting:code"], vec![text_column("origin", &[Some(&long)])]);
    let size = request.encoded_len();
    let error = server.online().await.get_features(request).await.unwrap_err();
    let expect =
        format!("Error, decoded message length too large: found {size} bytes, the limit is: 4194304 bytes");
    assert_eq!((error.code(), error.message()), (Code::OutOfRange, &*expect));
}

/// Calls GetFeatures with a deadline that the client leaves to the server, and gives the head of the answer.
async fn with_deadline(server: &Server, timeout: &str, keys: usize) -> String {
    let keys = vec![text_column("origin", &vec![Some("slow"); keys])];
    let message = of_features(&["lasting:code"], keys).encode_to_vec();
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = format!(
        "POST /asof.v1.OnlineService/GetFeatures HTTP/1.1\r\nhost: x\r\ncontent-type: application/grpc\r\n\
         te: trailers\r\ngrpc-timeout: {timeout}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n\0",
        message.len() + 5
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    stream.write_all(&[&length[..], &message].concat()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn deadlines_are_kept() {
    let server = Server::start().await;
    server.load("lasting", 0, &[row("JFK", 0, 1)], true).await;
    let in_time = with_deadline(&server, "10S", 1).await;
    assert!(!in_time.contains("grpc-status: 4"), "{in_time}");
    let past = with_deadline(&server, "0n", 1).await;
    assert!(past.contains("grpc-status: 4"), "{past}");
    // 1,000 keys of 20 ms each would take 20 s.
    let started = Instant::now();
    let soon = with_deadline(&server, "200m", 1000).await;
    assert!(soon.contains("grpc-status: 4"), "{soon}");
    assert!(
        soon.contains("grpc-message: the%20request%20took%20longer%20than%20its%20deadline%20of%20200ms"),
        "{soon}"
    );
    assert!(started.elapsed() < Duration::from_secs(2));
    // The read behind it stops with the next key.
    tokio::time::sleep(Duration::from_millis(60)).await;
    let reads = server.store.around.count.load(Ordering::SeqCst);
    assert!(reads < 100, "{reads}");
    let (_, metrics) = crate::json::http(&server, "GET", "/metrics", "").await;
    let ended = |code: &str| {
        let line =
            format!("asof_requests_total{{method=\"asof.v1.OnlineService/GetFeatures\",code=\"{code}\"}} 1");
        metrics.lines().any(|told| told == line)
    };
    // The one that was over before it began did not begin.
    assert!(ended("OK") && ended("DEADLINE_EXCEEDED"), "{metrics}");
    assert!(!metrics.contains("CANCELLED"), "{metrics}");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(server.store.around.count.load(Ordering::SeqCst), reads);
}

#[tokio::test]
async fn the_server_stops_in_time_with_mute_clients() {
    let server = Server::empty(impatient()).await;
    let address = server.address;
    let mute = TcpStream::connect(address).await.unwrap();
    let idle = server.channel().await;
    let mut half = TcpStream::connect(address).await.unwrap();
    half.write_all(b"POST /v1/get-features HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let started = Instant::now();
    let drained = server.stop().await;
    // The request whose body never ends is cut, and nothing else has to be.
    assert_eq!(drained.cut, 1);
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
    assert!(
        TcpStream::connect(address).await.is_err(),
        "nobody listens any more"
    );
    drop((mute, idle, half));
}

#[tokio::test]
async fn addresses_that_cannot_be_listened_on_say_why() {
    let taken = Listening::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let error = Listening::bind(taken.address()).await.unwrap_err();
    let expect = format!(
        "{} is in use by another process: stop it, or listen elsewhere with --listen 127.0.0.1:PORT",
        taken.address()
    );
    assert_eq!(error.to_string(), expect);
    let error = Listening::bind("0.0.0.0:0".parse().unwrap()).await.unwrap_err();
    assert!(matches!(error, BindError::Unprotected { .. }));
}

#[tokio::test]
async fn a_connection_without_calls_is_closed_and_one_that_waits_for_an_answer_is_not() {
    let limits = Limits {
        idle: Duration::from_millis(400),
        ..Limits::default()
    };
    let server = Server::empty(limits).await;
    server.apply(crate::harness::DEFINITIONS, 0).await;
    server.load("lasting", 0, &[row("JFK", 0, 1)], true).await;
    let started = Instant::now();
    // 50 keys of 20 ms each take longer than a connection may be idle.
    let keys = vec![text_column("origin", &vec![Some("slow"); 50])];
    let answer = server
        .online()
        .await
        .get_features(of_features(&["lasting:code"], keys))
        .await;
    assert_eq!(answer.unwrap().into_inner().rows, 50);
    assert!(
        started.elapsed() > Duration::from_millis(900),
        "{:?}",
        started.elapsed()
    );
    // A client of HTTP/2 that says nothing more than its preface and its settings.
    let said = [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
        &[0, 0, 0, 4, 0, 0, 0, 0, 0],
    ]
    .concat();
    let started = Instant::now();
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(&said).await.unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 1024];
    // It is told to go away, by a frame of type 7.
    while !answer.windows(5).any(|frame| frame == [0, 0, 8, 7, 0]) {
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut buffer)).await;
        let read = read.unwrap().unwrap();
        assert!(read > 0, "{answer:?}");
        answer.extend_from_slice(&buffer[..read]);
    }
    assert!(
        started.elapsed() >= Duration::from_millis(350),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn the_connection_that_was_idle_for_longest_gives_way() {
    let limits = Limits {
        connections: 3,
        ..Limits::default()
    };
    let server = Server::empty(limits).await;
    let mut idle = Vec::new();
    for _ in 0..3 {
        idle.push(server.channel().await);
    }
    let started = Instant::now();
    let answer = crate::json::http(&server, "GET", "/healthz", "");
    let answer = tokio::time::timeout(Duration::from_secs(20), answer).await;
    assert_eq!(answer.unwrap().0, 200);
    // It had to be idle for a second.
    let waited = started.elapsed();
    assert!(
        waited > Duration::from_millis(500) && waited < Duration::from_secs(4),
        "{waited:?}"
    );
}

#[tokio::test]
async fn an_answer_that_is_not_taken_is_given_up() {
    let limits = Limits {
        untaken: Duration::from_millis(500),
        ..Limits::default()
    };
    let server = Server::empty(limits).await;
    server.apply(crate::harness::DEFINITIONS, 0).await;
    server.load("lasting", 0, &[row("JFK", 0, 1)], true).await;
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", server.address)).unwrap();
    let endpoint = endpoint
        .initial_stream_window_size(16_384)
        .initial_connection_window_size(16_384);
    let call = async |after: Duration| {
        let mut grpc = tonic::client::Grpc::new(endpoint.connect().await.unwrap());
        grpc.ready().await.unwrap();
        let keys = vec![text_column("origin", &vec![Some("JFK"); 10_000])];
        let request = tonic::Request::new(of_features(&["lasting:*"], keys).encode_to_vec().into());
        let path = tonic::codegen::http::uri::PathAndQuery::from_static("/asof.v1.OnlineService/GetFeatures");
        let answer = grpc
            .server_streaming(request, path, crate::fuzz::Raw)
            .await
            .unwrap();
        tokio::time::sleep(after).await;
        answer.into_inner().message().await
    };
    assert!(call(Duration::ZERO).await.unwrap().unwrap().len() > 100_000);
    let status = call(Duration::from_secs(2)).await.unwrap_err();
    assert!(
        matches!(status.code(), Code::Unknown | Code::Unavailable | Code::Internal),
        "{status:?}"
    );
}

#[tokio::test]
async fn calls_beyond_what_is_worked_on_are_told_when_to_come_back() {
    let limits = Limits {
        calls: CallLimits {
            at_once: 1,
            queue: 1,
            ..CallLimits::default()
        },
        ..Limits::default()
    };
    let server = Server::empty(limits).await;
    server.apply(crate::harness::DEFINITIONS, 0).await;
    server.load("lasting", 0, &[row("JFK", 0, 1)], true).await;
    // Of 20 ms each, on a thread of their own.
    let slow = || {
        of_features(
            &["lasting:code"],
            vec![text_column("origin", &vec![Some("slow"); 300])],
        )
    };
    let quick = || of_features(&["lasting:code"], vec![text_column("origin", &[Some("JFK")])]);
    let (mut first, mut client) = (server.online().await, server.online().await);
    let running = tokio::spawn(async move { first.get_features(slow()).await.map(drop) });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let started = Instant::now();
    let refused = client.get_features(quick()).await.unwrap_err();
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(
        (refused.code(), refused.message()),
        (
            Code::ResourceExhausted,
            "the server is overloaded: it works on 1 calls, and others wait"
        )
    );
    assert_eq!(refused.metadata().get("grpc-retry-pushback-ms").unwrap(), "200");
    let body = r#"{"features": ["lasting:code"], "keys": {"origin": ["JFK"]}}"#;
    let (head, _) = crate::json::exchange(server.address, "POST", "/v1/get-features", body.as_bytes()).await;
    assert!(
        head.starts_with("HTTP/1.1 429 ") && head.contains("\r\nretry-after: 1"),
        "{head}"
    );
    // Whether it lives is told to everybody.
    assert_eq!(crate::json::http(&server, "GET", "/readyz", "").await.0, 200);
    running.abort();
    // The read behind it stops with its caller, and makes room.
    tokio::time::sleep(Duration::from_millis(200)).await;
    client.get_features(quick()).await.unwrap();
}
