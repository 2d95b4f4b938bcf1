//! What the page on operating a server says, against a server.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;

use crate::project::Project;
use crate::server::Server;

fn get(server: &Server, path: &str) -> String {
    let address = server.url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    body.to_owned()
}

/// The names in backticks that begin the rows of a table.
fn documented(page: &str) -> BTreeSet<String> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `asof_"));
    rows.map(|row| format!("asof_{}", row.split_once('`').unwrap().0))
        .collect()
}

/// Those that are there once there is something to tell: a stream, or a value that could not be computed.
const LATER: [&str; 7] = [
    "asof_expression_failures_total",
    "asof_stream_dead_letters_total",
    "asof_stream_delay_seconds",
    "asof_stream_lag_messages",
    "asof_stream_lost_messages_total",
    "asof_stream_messages_total",
    "asof_stream_up",
];

#[test]
fn every_metric_is_documented_and_every_documented_metric_is_there() {
    let project = Project::applied();
    project.done(&["materialize"]);
    let server = Server::start(&project, &[]);
    let key = ["get", "--service", "reorder_v1", "--key", "customer_id=1"];
    project.done(&key);
    let text = get(&server, "/metrics");
    let told = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let told: BTreeSet<String> = told
        .map(|line| match line.split_once(' ').unwrap() {
            (name, "counter") => format!("{name}_total"),
            (name, _) => name.to_owned(),
        })
        .collect();
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operations.md");
    let page = std::fs::read_to_string(page).unwrap();
    let table = page
        .split_once("## Metrics")
        .unwrap()
        .1
        .split_once("## What to be woken")
        .unwrap()
        .0;
    let told: BTreeSet<String> = told.into_iter().chain(LATER.map(str::to_owned)).collect();
    assert_eq!(told, documented(table));
    // What the alerts ask of is there, too.
    for name in page
        .split(['`', '(', '{', '[', ' ', '='])
        .filter(|word| word.starts_with("asof_"))
    {
        assert!(told.contains(name), "{name}");
    }
    // What happened just now has been counted.
    for line in [
        "asof_requests_total{method=\"POST /v1/get-features\",code=\"OK\"} 1",
        "asof_read_stage_duration_seconds_count{stage=\"read\"} 1",
        "asof_read_stage_duration_seconds_count{stage=\"encode\"} 1",
        "asof_key_cache_misses_total 1.0",
        "asof_calls_shed_total 0",
        "asof_rocksdb_background_errors_total 0.0",
    ] {
        assert!(text.lines().any(|told| told == line), "{line}\n{text}");
    }
}
