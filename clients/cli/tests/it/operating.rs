//! What the page on operating a server says, against a server.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;

use crate::abuse::memory;
use crate::project::{Project, Ran};
use crate::server::Server;

pub(crate) fn get(server: &Server, path: &str) -> String {
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

/// What the online store has lost is told of by whoever is asked, until it is accepted.
#[test]
fn what_was_lost_is_told_until_it_is_accepted() {
    let project = Project::applied();
    project.done(&["materialize"]);
    let online = project.path().join(".asof/online");
    let logs = std::fs::read_dir(&online)
        .unwrap()
        .map(|file| file.unwrap().path());
    for log in logs.filter(|path| path.extension().is_some_and(|end| end == "log")) {
        std::fs::remove_file(log).unwrap();
    }
    let is_told = |ran: &Ran, code: i32| {
        assert_eq!(ran.code, code, "{ran:?}");
        let told = "the online store has lost ";
        let advice = "run `asof materialize --full`, and then `asof verify --accept-loss`";
        let all = format!("{}{}", ran.stdout, ran.stderr);
        let counts = (all.matches(told).count(), all.matches(advice).count());
        assert_eq!(counts, (1, 1), "{ran:?}");
    };
    for _ in 0..2 {
        is_told(&project.asof(&["verify"]), 4);
    }
    let status = project.asof(&["status"]);
    is_told(&status, 0);
    assert!(
        status.stdout.contains("\nLOST: the online store has lost "),
        "{status:?}"
    );
    let server = Server::start(&project, &[]);
    is_told(&project.asof(&["verify"]), 4);
    let lost = project.done(&["status", "--json"]).json()["lost_writes"].clone();
    assert!(
        lost["changes"].as_u64() > Some(0) && lost["found_at"].is_string(),
        "{lost}"
    );
    let metric = |value| format!("\nasof_online_lost_writes {value}\n");
    assert!(get(&server, "/metrics").contains(&metric(1)));
    project.done(&["materialize", "--full"]);
    // A copy of it has lost the same, and what is only tried is no backup.
    project.done(&["backup", "copy"]);
    let last = project.done(&["status", "--json"]).json()["last_backup"].clone();
    assert!(project.path().join("copy/online/asof.lost").is_file());
    is_told(&project.asof(&["verify"]), 4);
    assert_eq!(project.done(&["status", "--json"]).json()["last_backup"], last);
    let accepted = project.done(&["verify", "--accept-loss"]);
    assert!(accepted.stdout.contains("is accepted"), "{accepted:?}");
    assert_eq!(accepted.stderr, "");
    assert!(get(&server, "/metrics").contains(&metric(0)));
    let status = project.done(&["status", "--json"]).json();
    assert_eq!(status["lost_writes"], serde_json::Value::Null);
    drop(server);
    assert_eq!(project.done(&["verify"]).stderr, "");
}

/// A view whose last run failed says so, and what to do.
#[test]
fn a_failed_run_is_in_the_status_of_its_view() {
    let project = Project::applied();
    project.done(&["materialize"]);
    let orders = project.read("data/orders.csv");
    project.write("data/orders.csv", &orders.replacen("customer_id", "customer", 1));
    let failed = project.asof(&["materialize", "last_order"]);
    assert_eq!(failed.code, 3, "{failed:?}");
    for with_server in [false, true] {
        let _server = with_server.then(|| Server::start(&project, &[]));
        let status = project.done(&["status"]).stdout;
        let run = project.done(&["runs", "--json"]).json()["runs"][0].clone();
        let (id, error) = (&run["id"], run["error"].as_str().unwrap());
        let state = format!("serving, run {id} failed, see below: asof materialize last_order");
        assert!(status.contains(&state), "{status}");
        assert!(
            status.contains(&format!("\nlast_order: run {id} failed: {error}\n")),
            "{status}"
        );
        let told = project.done(&["status", "--json"]).json();
        let views = told["views"].as_array().unwrap();
        let view = views.iter().find(|view| view["view"] == "last_order").unwrap();
        assert_eq!(view["last_run"], run);
    }
    project.write("data/orders.csv", &orders);
    project.done(&["materialize", "last_order"]);
    let status = project.done(&["status"]).stdout;
    assert!(!status.contains("failed"), "{status}");
}

/// What cannot be a directory of tables is told when the server starts, not when a table is needed.
#[test]
fn a_file_in_the_place_of_the_tables_is_refused_at_start() {
    let project = Project::applied();
    std::fs::remove_dir_all(project.path().join(".asof/offline")).unwrap_or_default();
    project.write(".asof/offline", "");
    let ran = project.asof(&["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(ran.code, 5, "{ran:?}");
    let told =
        ".asof/offline: it is no directory, as managed tables need one: name another in [offline] root\n";
    assert!(ran.stderr.ends_with(told), "{ran:?}");
}

/// The names in backticks that begin the rows of a table.
fn documented(page: &str) -> BTreeSet<String> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| row.split_once('`').unwrap().0.to_owned())
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
    let resident = text
        .lines()
        .find_map(|line| line.strip_prefix("process_resident_memory_bytes "));
    let resident: u64 = resident.unwrap().parse().unwrap();
    assert!(resident.abs_diff(memory(&server)) < 64 << 20, "{resident}");
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
