//! Callers that mean no good (I21): whatever they do, others are served in time, memory and connections stay within bounds,
//! and the server stops in time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
use asof_client::{Client, Extract};
use asof_proto::v1;
use asof_proto::v1::ingest_service_client::IngestServiceClient;
use asof_proto::v1::online_service_client::OnlineServiceClient;
use futures::{StreamExt, stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tonic::Code;

use crate::project::Project;
use crate::pushing;
use crate::server::Server;

/// How long each abuse lasts, of which `ASOF_CASES` per cent are done, and two seconds at the least.
const LASTS: Duration = Duration::from_secs(10);
/// How many connections do the same.
const MANY: usize = 200;
/// How much the server's memory may grow.
const GROWTH: u64 = 400 << 20;
/// How long a good caller may wait, but for one call in a hundred.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a connection may say nothing.
const SILENCE: Duration = Duration::from_secs(5);
/// How many connections a server has at the most.
const CONNECTIONS: u64 = 1_024;

/// How a server says when to come back, in milliseconds.
const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// A client of HTTP/2 that has introduced itself.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

fn address(server: &Server) -> SocketAddr {
    server.url.strip_prefix("http://").unwrap().parse().unwrap()
}

/// Says this and nothing more, again and again when the connection is closed, which is counted.
async fn say(address: SocketAddr, said: &'static [u8], closed: Arc<AtomicUsize>) {
    loop {
        if let Ok(mut stream) = TcpStream::connect(address).await
            && stream.write_all(said).await.is_ok()
        {
            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
            closed.fetch_add(1, Ordering::Relaxed);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Says `head`, then a byte each tenth of a second, again and again.
async fn drip(address: SocketAddr, head: &'static str) {
    loop {
        if let Ok(mut stream) = TcpStream::connect(address).await {
            let mut said = stream.write_all(head.as_bytes()).await;
            while said.is_ok() {
                tokio::time::sleep(Duration::from_millis(100)).await;
                said = stream.write_all(b"x").await;
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A request over HTTP/1 with a body.
fn post(body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST /v1/get-features HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// Asks for more than the buffers of a connection hold, and takes no answer.
async fn take_nothing(address: SocketAddr) {
    let keys: Vec<String> = (0..2_000).map(|customer| customer.to_string()).collect();
    let keys = keys.join(",");
    let request = post(&format!(
        r#"{{"service": "reorder_v1", "keys": {{"customer_id": [{keys}]}}}}"#
    ));
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    stream.write_all(&request).await.unwrap();
    std::future::pending().await
}

/// Customers from 0 on, at an instant each.
fn spine(rows: i64) -> RecordBatch {
    let times = TimestampMicrosecondArray::from_iter_values((0..rows).map(|row| 1_770_000_000_000_000 + row));
    RecordBatch::try_from_iter([
        (
            "customer_id",
            Arc::new(Int64Array::from_iter_values(0..rows)) as ArrayRef,
        ),
        ("event_timestamp", Arc::new(times.with_timezone("UTC"))),
    ])
    .unwrap()
}

/// Asks for a large dataset, and takes its first rows.
async fn take_a_little(url: String) {
    let client = Client::connect(&url).await.unwrap();
    let batch = spine(8_192);
    let rows = stream::iter(vec![Ok(batch.clone()); 12]);
    let extract = Extract::of_service("reorder_v1");
    // It may be refused, as there are many.
    if let Ok(mut dataset) = client.extract(&extract, batch.schema(), rows).await {
        let _ = dataset.next().await;
        std::future::pending::<()>().await;
    }
}

/// Sends the rows of a dataset that never come to their end.
async fn upload_without_end(url: String) {
    let client = Client::connect(&url).await.unwrap();
    let batch = spine(8_192);
    let schema = batch.schema();
    let rows = stream::repeat(batch).then(async |batch| {
        tokio::time::sleep(Duration::from_millis(5)).await;
        Ok(batch)
    });
    let _ = client
        .extract(&Extract::of_service("reorder_v1"), schema, rows.boxed())
        .await;
}

/// Pushes without end, and takes the answers or none of them.
async fn push_without_end(url: String, caller: i64, takes_answers: bool) {
    let mut client = IngestServiceClient::connect(url).await.unwrap();
    let requests = stream::iter(0..).map(move |number: i64| {
        let customer = caller * 100_000_000 + number;
        pushing::request(&format!("endless-{customer}"), customer, 1.0)
    });
    let Ok(answers) = client.push_stream(requests).await else {
        return;
    };
    let mut answers = answers.into_inner();
    while takes_answers && answers.message().await.is_ok() {}
    std::future::pending().await
}

/// Sends messages of 16 MiB, over gRPC and over HTTP, again and again.
async fn send_too_much(url: String, address: SocketAddr) {
    let request = v1::GetFeaturesRequest {
        service: "x".repeat(16 << 20),
        ..v1::GetFeaturesRequest::default()
    };
    let body = post(&"x".repeat(16 << 20));
    loop {
        if let Ok(mut client) = OnlineServiceClient::connect(url.clone()).await {
            let status = client.get_features(request.clone()).await.unwrap_err();
            let code = status.code();
            assert!(
                code != Code::Ok && !status.message().contains("a bug"),
                "{status:?}"
            );
        }
        if let Ok(mut stream) = TcpStream::connect(address).await {
            // It is answered before it is taken.
            let _ = stream.write_all(&body).await;
            let mut answer = [0; 12];
            if stream.read_exact(&mut answer).await.is_ok() {
                assert_eq!(&answer, b"HTTP/1.1 413");
            }
        }
    }
}

/// What the process has in memory, in bytes.
pub(crate) fn memory(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let kibibytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kibibytes * 1_024
}

/// How many connections are open, as `/metrics` has it.
async fn connections(address: SocketAddr) -> u64 {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let line = answer
        .lines()
        .find_map(|line| line.strip_prefix("asof_connections "));
    line.unwrap_or_else(|| panic!("{answer}")).parse().unwrap()
}

/// Somebody who asks for one customer's features, again and again.
struct GoodCaller {
    client: OnlineServiceClient<tonic::transport::Channel>,
    request: v1::GetFeaturesRequest,
}

impl GoodCaller {
    async fn new(url: &str) -> Self {
        let batch =
            RecordBatch::try_from_iter([("customer_id", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]);
        let selection = asof_client::Selection::Service("reorder_v1".into());
        Self {
            client: OnlineServiceClient::connect(url.to_owned()).await.unwrap(),
            request: selection.request(&batch.unwrap()).unwrap(),
        }
    }

    /// Is answered for so long; gives how long each answer took.
    async fn ask(&mut self, lasts: Duration, told: &str) -> Vec<Duration> {
        let end = Instant::now() + lasts;
        let mut took = Vec::new();
        while Instant::now() < end {
            let started = Instant::now();
            loop {
                match self.client.get_features(self.request.clone()).await {
                    Ok(answer) => break assert_eq!(answer.into_inner().rows, 1),
                    // Too much is asked for at the moment: the server says when to come back.
                    Err(status) if status.metadata().get(PUSHBACK).is_some_and(|wait| wait == "200") => {
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                    Err(status) => panic!("{told}: call {}: {status:?}", took.len()),
                }
            }
            took.push(started.elapsed());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        took
    }
}

/// Does these things for so long, and checks that others do not suffer.
async fn abuse(server: &Server, told: &str, lasts: Duration, all: &mut JoinSet<()>) {
    let before = memory(server);
    let mut good = GoodCaller::new(&server.url).await;
    let watched = async {
        let (mut most, mut open) = (0, 0);
        let end = Instant::now() + lasts;
        while Instant::now() < end {
            most = most.max(memory(server));
            open = open.max(connections(address(server)).await);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        (most, open)
    };
    let (mut took, (most, open)) = tokio::join!(good.ask(lasts, told), watched);
    took.sort();
    let p99 = took[took.len() * 99 / 100];
    let growth = most.saturating_sub(before);
    eprintln!(
        "figure: {told}: {} calls of others, p99 {p99:.1?}, {} MiB more, {open} connections",
        took.len(),
        growth >> 20
    );
    assert!(took.len() > 10, "{told}: {} calls", took.len());
    assert!(p99 < PATIENCE, "{told}: {p99:?}");
    assert!(growth < GROWTH, "{told}: {growth} bytes");
    assert!(open <= CONNECTIONS, "{told}: {open} connections");
    // What one of them found wrong is told.
    while let Some(ended) = all.try_join_next() {
        ended.unwrap();
    }
}

#[test]
fn others_are_served_beside_abuse_and_the_server_stops_in_time() {
    let percent: u32 = std::env::var("ASOF_CASES").map_or(100, |text| text.parse().unwrap());
    let lasts = (LASTS * percent / 100).max(Duration::from_secs(2));
    let project = pushing::project_in(&std::env::temp_dir(), "process");
    project.done(&["materialize"]);
    pushing::runtime().block_on(run(&project, lasts));
}

async fn run(project: &Project, lasts: Duration) {
    let mut server = Server::start(project, &[]);
    let address = address(&server);
    let url = || server.url.clone();

    let closed = Arc::new(AtomicUsize::new(0));
    let mut silent = JoinSet::new();
    for said in [&b""[..], b"PRI * HT", PREFACE] {
        for _ in 0..MANY {
            silent.spawn(say(address, said, closed.clone()));
        }
    }
    abuse(
        &server,
        "idle, mute and half-mute connections",
        lasts,
        &mut silent,
    )
    .await;
    // On a machine that has much else to do it takes longer.
    let until = Instant::now() + 4 * SILENCE;
    while closed.load(Ordering::Relaxed) < 2 * MANY {
        let closed = closed.load(Ordering::Relaxed);
        assert!(Instant::now() < until, "{closed} silent connections were closed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(silent);

    let mut slow = JoinSet::new();
    for head in [
        "POST /v1/get-features HTTP/1.1\r\nhost: ",
        "POST /v1/get-features HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n",
    ] {
        for _ in 0..MANY / 2 {
            slow.spawn(drip(address, head));
        }
    }
    for _ in 0..MANY / 8 {
        slow.spawn(take_nothing(address));
    }
    for _ in 0..4 {
        slow.spawn(take_a_little(url()));
    }
    abuse(&server, "slow senders and readers", lasts, &mut slow).await;
    drop(slow);

    let mut large = JoinSet::new();
    for _ in 0..4 {
        large.spawn(send_too_much(url(), address));
    }
    abuse(&server, "messages of 16 MiB", lasts, &mut large).await;
    drop(large);

    let mut endless = JoinSet::new();
    for caller in 1..3 {
        endless.spawn(upload_without_end(url()));
        endless.spawn(push_without_end(url(), caller, caller == 1));
    }
    abuse(&server, "uploads and pushes without end", lasts, &mut endless).await;
    drop(endless);

    let mut staying = JoinSet::new();
    staying.spawn(push_without_end(url(), 3, false));
    staying.spawn(upload_without_end(url()));
    staying.spawn(take_a_little(url()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    for said in [
        &b""[..],
        b"PRI * HT",
        PREFACE,
        b"POST /v1/get-features HTTP/1.1\r\ncontent-length: 9\r\nhost: x\r\n\r\n{",
    ] {
        for _ in 0..MANY / 2 {
            staying.spawn(say(address, said, closed.clone()));
        }
    }
    // Those that are closed come again a moment later, so that some are always away.
    let until = Instant::now() + SILENCE;
    while connections(address).await < MANY as u64 {
        assert!(Instant::now() < until, "the silent do not come in time");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let started = Instant::now();
    server.signal("-TERM");
    let status = server.wait();
    let took = started.elapsed();
    eprintln!("figure: stopped within {took:.1?}");
    assert_eq!(status.code(), Some(0), "{status}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    drop(staying);
}
