//! `asof serve` as a process: others find it, it stops when told, and its death holds nobody up.

use std::time::{Duration, Instant};

use crate::project::Project;
use crate::server::Server;

/// A server whose clock stands still.
fn start(project: &Project) -> Server {
    Server::start(project, &["--now", "2026-02-01T00:00:00Z"])
}

const GET: [&str; 6] = [
    "get",
    "--service",
    "reorder_v1",
    "--key",
    "customer_id=1",
    "--json",
];

#[test]
fn commands_find_the_server_that_holds_the_store() {
    let project = Project::applied();
    let mut server = start(&project);
    project.done(&["materialize", "--json"]);
    let got = project.done(&GET).json();
    assert_eq!(got["as_of"], "2026-02-01T00:00:00Z");
    assert_eq!(got["columns"][0]["values"][0], 7.5);
    let status = project.done(&["status", "--json"]).json();
    assert_eq!(status["views"][0]["materialized_to"], "2026-02-01T00:00:00Z");
    project.refused(
        &[
            "get",
            "--service",
            "reorder_v1",
            "--key",
            "customer_id=1",
            "--now",
            "2026-02-01T00:00:00Z",
        ],
        2,
        "a running server has a clock of its own: give --now to `asof serve`, or stop the server first",
    );
    project.refused(
        &["serve", "--listen", "127.0.0.1:0"],
        5,
        &format!(
            "the online store at .asof/online is in use: process {} holds it; stop it, or send the request to it",
            server.child.id()
        ),
    );

    server.signal("-TERM");
    assert!(server.wait().success());
    let got = project
        .done(&[&GET[..], &["--now", "2026-02-01T00:00:00Z"]].concat())
        .json();
    assert_eq!(got["columns"][0]["values"][0], 7.5);
}

#[test]
fn a_project_elsewhere_is_reached_by_url() {
    let project = Project::applied();
    let server = start(&project);
    let elsewhere = Project::starter();
    let remote = |args: &[&str]| elsewhere.done(&[&["--server", &server.url], args].concat());
    remote(&["materialize", "--json"]);
    assert_eq!(remote(&GET).json()["columns"][0]["values"][0], 7.5);
    assert_eq!(
        remote(&["list", "views", "--json"]).json()["definitions"][0]["name"],
        "last_order"
    );
    assert!(remote(&["show", "last_order"]).stdout.contains("ttl = \"30d\""));
    assert_eq!(
        remote(&["search", "euros", "--json"]).json()["definitions"][0]["name"],
        "last_order:amount"
    );
    assert_eq!(remote(&["runs", "--json"]).json()["runs"][0]["state"], "done");
    assert!(remote(&["plan"]).stdout.starts_with("No changes"));
    let text = elsewhere.read("features/orders.toml");
    elsewhere.write(
        "features/orders.toml",
        &text.replace("ttl = \"30d\"", "ttl = \"60d\""),
    );
    let broken = elsewhere.asof(&["--server", &server.url, "apply", "--yes"]);
    assert_eq!(
        (broken.code, &*broken.stderr),
        (
            3,
            "error: 1 breaking change: view last_order breaks service reorder_v1 (column last_order__amount has ttl 60d \
             instead of 30d, column last_order__items has ttl 60d instead of 30d); apply with --allow-breaking\n"
        )
    );
    remote(&["apply", "--yes", "--allow-breaking"]);
    assert!(remote(&["show", "last_order"]).stdout.contains("ttl = \"60d\""));
}

/// A dataset is the same wherever it is made.
#[test]
fn an_extract_through_a_server_is_the_same_dataset() {
    let project = Project::applied();
    let server = start(&project);
    let elsewhere = Project::starter();
    let spine = [
        "extract",
        "--service",
        "reorder_v1",
        "--spine",
        "spine.csv",
        "--status",
    ];
    let grid = [
        "extract",
        "--features",
        "last_order:amount",
        "--from",
        "2026-01-10T00:00:00Z",
        "--to",
        "2026-02-10T00:00:00Z",
        "--every",
        "7d",
    ];
    for (name, args) in [("spine", &spine[..]), ("grid", &grid[..])] {
        for ending in ["csv", "parquet", "arrow"] {
            let out = format!("of_{name}.{ending}");
            let out = ["--out", &out, "--json"];
            let here = project.done(&[args, &out].concat()).json();
            let there = elsewhere
                .done(&[&["--server", &server.url], args, &out].concat())
                .json();
            for told in ["rows", "columns", "views", "features", "digest"] {
                assert_eq!(here[told], there[told], "{told} of {out:?}");
            }
        }
    }
    let manifest: serde_json::Value =
        serde_json::from_str(&elsewhere.read("of_spine.csv.manifest.json")).unwrap();
    let spine = elsewhere.path().canonicalize().unwrap().join("spine.csv");
    assert_eq!(manifest["content"]["spine"]["path"], spine.to_str().unwrap());

    let remote = |more: &[&str]| {
        let base = ["--server", &server.url, "extract", "--out", "t.csv"];
        elsewhere.asof(&[&base[..], more].concat())
    };
    elsewhere.write("no_time.csv", "customer_id\n1\n");
    elsewhere.write("no_key.csv", "event_timestamp\n2026-01-10T00:00:00Z\n");
    for (more, code, text) in [
        (
            ["--service", "reorder_v9", "--spine", "spine.csv"],
            2,
            "unknown service \"reorder_v9\"",
        ),
        (
            ["--service", "reorder_v1", "--spine", "nothing.csv"],
            4,
            "spine nothing.csv does not exist",
        ),
        (
            ["--service", "reorder_v1", "--spine", "no_time.csv"],
            4,
            "has no time column \"event_timestamp\"",
        ),
        (
            ["--service", "reorder_v1", "--spine", "no_key.csv"],
            4,
            "has no column \"customer_id\"",
        ),
    ] {
        let refused = remote(&more);
        assert!(refused.stderr.contains(text), "{refused:?}");
        assert_eq!(refused.code, code, "{refused:?}");
    }
    let refused = remote(&[
        "--service",
        "reorder_v1",
        "--spine",
        "spine.csv",
        "--memory",
        "64",
    ]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(!elsewhere.path().join("t.csv").exists());
}

#[test]
fn a_failed_materialization_ends_alike_here_and_through_a_server() {
    let project = Project::applied();
    project.done(&["materialize", "--as-of", "2026-02-01T00:00:00Z"]);
    let good = project.read("data/orders.csv");
    let bad_row = good.clone() + "1,not a time,2026-02-02T00:00:00Z,1.5,1\n";
    let no_column = good.replacen("amount", "price", 1);
    let cases = [
        (
            &good,
            "2026-01-01T00:00:00Z",
            2,
            "is materialized as of 2026-02-01T00:00:00Z already",
        ),
        (&no_column, "2026-02-03T00:00:00Z", 3, "amount"),
        (
            &bad_row,
            "2026-02-03T00:00:00Z",
            4,
            "\"not a time\" is not a time",
        ),
    ];
    let run_all = || {
        cases.map(|(rows, as_of, code, text)| {
            project.write("data/orders.csv", rows);
            let failed = project.asof(&["materialize", "--as-of", as_of]);
            assert_eq!(failed.code, code, "{failed:?}");
            assert!(failed.stderr.contains(text), "{failed:?}");
            failed.stderr
        })
    };
    let here = run_all();
    let _server = start(&project);
    assert_eq!(run_all(), here);
}

#[test]
fn the_rows_of_a_dropped_view_go() {
    let project = Project::applied();
    let features = project.read("features/orders.toml");
    let without = &features[..features.find("# The features of the latest order").unwrap()];
    let served = |expected: bool| {
        let status = project.done(&["status", "--json"]).json();
        let to = &status["views"][0]["materialized_to"];
        assert_eq!(!to.is_null(), expected, "{status}");
    };
    let drop_and_define = |wait: fn()| {
        project.done(&["materialize"]);
        served(true);
        project.write("features/orders.toml", without);
        project.done(&["apply", "--yes", "--allow-breaking"]);
        wait();
        project.write("features/orders.toml", &features);
        project.done(&["apply", "--yes"]);
        served(false);
    };
    drop_and_define(|| ());
    let _server = Server::start(&project, &[]);
    // A server looks at the registry once a second.
    drop_and_define(|| std::thread::sleep(std::time::Duration::from_secs(4)));
}

#[test]
fn a_killed_server_holds_nobody_up() {
    let project = Project::applied();
    let mut server = start(&project);
    project.done(&["materialize", "--json"]);
    server.signal("-KILL");
    server.wait();
    let got = project
        .done(&[&GET[..], &["--now", "2026-02-01T00:00:00Z"]].concat())
        .json();
    assert_eq!(got["columns"][0]["values"][0], 7.5);
}

#[test]
fn nobody_answers() {
    let project = Project::applied();
    project.refused(
        &["--server", "http://127.0.0.1:1", "status"],
        5,
        "no server answers at http://127.0.0.1:1: start one with `asof serve`",
    );
}

/// What programs read is the same, whoever does the work.
#[test]
fn json_has_one_shape_here_and_through_a_server() {
    let (here, there) = (Project::starter(), Project::starter());
    let mut server = start(&there);
    let both = |args: &[&str]| {
        let through = [&["--server", &server.url], args].concat();
        (
            here.done(&[args, &["--json"]].concat()).json(),
            there.done(&[&through, &["--json"][..]].concat()).json(),
        )
    };
    let same = |args: &[&str]| {
        let (here, there) = both(args);
        assert_eq!(here, there, "{args:?}");
    };
    same(&["plan"]);
    same(&["apply", "--yes"]);
    same(&["show", "reorder_v1"]);
    same(&["materialize", "--as-of", "2026-02-01T00:00:00Z"]);
    for project in [&here, &there] {
        let text = project.read("features/orders.toml");
        project.write(
            "features/orders.toml",
            &text
                .replace("ttl = \"30d\"", "ttl = \"60d\"")
                .replace("items = \"int64\"", ""),
        );
    }
    same(&["plan"]);
    same(&["apply", "--yes", "--allow-breaking"]);
    same(&["list"]);
    let (text_here, text_there) = (
        here.done(&["materialize", "--as-of", "2026-02-02T00:00:00Z"])
            .stdout,
        there
            .done(&[
                "--server",
                &server.url,
                "materialize",
                "--as-of",
                "2026-02-02T00:00:00Z",
            ])
            .stdout,
    );
    assert_eq!(text_here, text_there);
    assert!(
        text_here.ends_with("\nMaterialized as of 2026-02-02T00:00:00Z.\n"),
        "{text_here}"
    );
    server.signal("-TERM");
    server.wait();
}

#[test]
fn a_server_that_is_stopped_is_told_of_and_not_waited_for() {
    let project = Project::applied();
    let server = start(&project);
    server.signal("-STOP");
    let (url, pid) = (&server.url, server.child.id());
    let advice = format!("resume it with `kill -CONT {pid}`, or end it with `kill -9 {pid}`");
    let started = Instant::now();
    project.refused(
        &GET[..5],
        5,
        &format!(
            "process {pid} holds the online store as a server at {url}, and took the connection and said nothing for 5 s: \
             it is stopped or overloaded; {advice}"
        ),
    );
    project.refused(
        &["list", "--server", url],
        5,
        &format!(
            "the server at {url} (process {pid}) took the connection and said nothing for 5 s: it is stopped or \
             overloaded; {advice}"
        ),
    );
    assert!(started.elapsed() < Duration::from_secs(20));
    let elsewhere = Project::starter();
    elsewhere.refused(
        &["list", "--server", url],
        5,
        &format!(
            "the server at {url} took the connection and said nothing for 5 s: it is stopped or overloaded; resume it, or \
             end it and start another with `asof serve`"
        ),
    );
    server.signal("-CONT");
    project.done(&["list", "--server", url]);
}

/// An HTTP server that is none of ours.
#[test]
fn a_foreign_server_is_told_of() {
    use std::io::{Read, Write};
    let project = Project::applied();
    let answers = |mut stream: std::net::TcpStream| {
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
    };
    for serve in [answers, |stream| drop(stream)] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                serve(stream.unwrap());
            }
        });
        for command in [&["list"][..], &["status"], &["plan"]] {
            project.refused(
                &[&["--server", &format!("http://{address}")], command].concat(),
                5,
                &format!(
                    "http://{address} does not speak gRPC: is it an asof server? One that speaks TLS is reached at https://…"
                ),
            );
        }
    }
}

#[test]
fn commands_of_a_directory_refuse_a_server() {
    let project = Project::applied();
    let commands: [&[&str]; 9] = [
        &["init", "other"],
        &["ingest", "clicks", "a.csv"],
        &["compact"],
        &[
            "explain",
            "--service",
            "reorder_v1",
            "--key",
            "customer_id=1",
            "--at",
            "2026-01-01T00:00:00Z",
        ],
        &["lint", "spine.csv", "--service", "reorder_v1"],
        &["replay", "t.csv.manifest.json", "--out", "u.csv"],
        &["diff", "t.csv", "u.csv"],
        &["serve"],
        &["demo"],
    ];
    for command in commands {
        project.refused(
            &[command, &["--server", "http://127.0.0.1:1"]].concat(),
            2,
            &format!(
                "`asof {}` works on the project's directory, not yet through a server: run it there, without --server",
                command[0]
            ),
        );
    }
    assert!(!project.path().join("other").exists());
}
