//! What the caller gets for bad input: one error that says what, where and what to do, and an exit code.

use std::process::{Command, Stdio};

use crate::project::Project;

#[test]
fn commands_and_flags() {
    let project = Project::starter();
    let refused = |args: &[&str], error: &str| {
        project.refused(
            args,
            2,
            &format!("{error}\n\nFor more information, try '--help'."),
        );
    };
    refused(
        &["materialise"],
        "unrecognized subcommand 'materialise'\n\n  tip: a similar subcommand exists: 'materialize'\n\n\
         Usage: asof [OPTIONS] <COMMAND>",
    );
    refused(
        &["extract", "--servise", "x"],
        "unexpected argument '--servise' found\n\n  tip: a similar argument exists: '--service'\n\n\
         Usage: asof extract --out <FILE> <--service <SERVICE>|--features <FEATURES>> <--spine <FILE>|--at <T>|--from <A>|--to <B>|--every <D>>",
    );
    refused(
        &["runs", "--limit", "0"],
        "invalid value '0' for '--limit <LIMIT>': 0 is not in 1..=1000",
    );
}

#[test]
fn help_offers_a_server_where_there_is_one_to_ask() {
    let project = Project::starter();
    for (command, offers) in [
        ("verify", false),
        ("ingest", false),
        ("status", true),
        ("push", true),
    ] {
        let help = project.done(&[command, "--help"]).stdout;
        assert_eq!(help.contains("--server <URL>"), offers, "{help}");
        assert!(help.contains("--project <DIR>"), "{help}");
    }
    project.refused(
        &["verify", "--server", "http://127.0.0.1:1"],
        2,
        "`asof verify` works on the project's directory, not yet through a server: run it there, without --server",
    );
}

#[test]
fn no_project_and_nothing_applied() {
    let project = Project::starter();
    project.refused(
        &["--project", "data", "plan"],
        2,
        "data is not a project: it has no asof.toml; run `asof init` there to start one, or name a project with --project DIR",
    );
    project.refused(&["list"], 3, "nothing is registered yet: run `asof apply` first");
    project.refused(
        &["init", "."],
        2,
        "asof.toml exists: `asof init` starts a new project and replaces nothing; give an empty directory",
    );
}

#[test]
fn definitions() {
    let project = Project::starter();
    let ran = project.asof(&["apply"]);
    assert_eq!(ran.code, 2);
    assert_eq!(
        ran.stderr,
        "error: nobody is there to confirm: give --yes to apply without asking\n"
    );
    let view = |name: &str, entity: &str, data_type: &str| {
        format!(
            "[[view]]\nname = \"{name}\"\nentity = \"{entity}\"\nsource = \"orders\"\n\
             [view.features]\nitems = \"{data_type}\"\n"
        )
    };
    let text = view("v", "custommer", "int64") + &view("w", "customer", "int46");
    project.write("features/more.toml", &text);
    project.refused(
        &["plan"],
        3,
        "features/more.toml:3:10: unknown entity \"custommer\"; did you mean \"customer\"?\n\
         features/more.toml:12:9: unknown type \"int46\"; did you mean \"int64\"? the types are bool, int32, int64, float32, float64, string, bytes, date, timestamp, decimal(p,s), list<T>, embedding(n), struct<name: T, …>, map<string,T>, json",
    );
}

#[test]
fn definitions_that_do_not_fit_their_source() {
    let project = Project::starter();
    let text = project.read("features/orders.toml");
    project.write(
        "features/orders.toml",
        &text.replace("items = \"int64\"", "itemz = \"int64\""),
    );
    project.refused(
        &["plan"],
        3,
        "source orders: there is no column \"itemz\" (feature last_order:itemz); did you mean \"items\"?; the columns are customer_id, ordered_at, loaded_at, amount, items",
    );
    project.write(
        "features/orders.toml",
        &text.replace("data/orders.csv", "data/none.csv"),
    );
    project.refused(&["plan"], 4, "source orders: data/none.csv does not exist");
    project.write(
        "features/orders.toml",
        &text.replace("data/orders.csv", "data/*.parquet"),
    );
    project.refused(
        &["plan"],
        4,
        "source orders: the glob \"data/*.parquet\" matches no file",
    );
}

#[test]
fn a_change_that_breaks_a_service() {
    let project = Project::applied();
    let text = project.read("features/orders.toml");
    project.write(
        "features/orders.toml",
        &text.replace("items = \"int64\"", "items = \"float64\""),
    );
    let ran = project.asof(&["apply", "--yes"]);
    assert_eq!(
        (ran.code, &*ran.stderr),
        (
            3,
            "error: 1 breaking change: view last_order breaks service reorder_v1 (column last_order__items is retyped int64 -> float64); apply with --allow-breaking\n"
        )
    );
    project.done(&["apply", "--yes", "--allow-breaking"]);
}

#[test]
fn spines_and_outputs() {
    let project = Project::applied();
    let extract = |spine: &'static str, out: &'static str| {
        [
            "extract",
            "--service",
            "reorder_v1",
            "--spine",
            spine,
            "--out",
            out,
        ]
    };
    project.refused(&extract("none.csv", "t.csv"), 4, "spine none.csv does not exist");
    project.refused(
        &extract("data", "t.csv"),
        4,
        "spine data is a directory: give one file",
    );
    project.refused(&extract("/dev/null", "t.csv"), 4, "spine /dev/null is not a file");
    project.refused(
        &extract("spine.csv", "t.xlsx"),
        4,
        "output t.xlsx has an unknown format: its name should end in .parquet, .csv or .arrow",
    );
    project.refused(
        &extract("spine.csv", "no/t.csv"),
        4,
        "output no/t.csv: the directory no does not exist",
    );
    project.write("t.csv", "mine");
    project.refused(
        &extract("spine.csv", "t.csv"),
        2,
        "t.csv exists: give --overwrite to replace it, or another --out",
    );
    assert_eq!(project.read("t.csv"), "mine");
    let into = |out: &'static str| [&extract("spine.csv", out)[..], &["--overwrite"]].concat();
    project.refused(
        &into("spine.csv"),
        2,
        "spine.csv is the spine: it is not replaced by what is made from it; give another --out",
    );
    project.refused(
        &into("data/orders.csv"),
        2,
        "data/orders.csv is a file of source orders: it is not replaced by what is made from it; give another --out",
    );
    project.write("twice.csv", "customer_id,event_timestamp,customer_id\n");
    project.refused(
        &extract("twice.csv", "v.csv"),
        4,
        "spine twice.csv has two columns named \"customer_id\": rename one of them",
    );
    project.write("empty.csv", "customer_id,event_timestamp\n");
    project.done(&extract("empty.csv", "none.csv"));
    assert_eq!(
        project.read("none.csv"),
        "customer_id,event_timestamp,last_order__amount,last_order__items\n"
    );
    project.write(
        "zoneless.csv",
        "customer_id,event_timestamp\n1,2026-01-10 00:00:00\n",
    );
    project.refused(
        &extract("zoneless.csv", "u.csv"),
        4,
        "spine zoneless.csv: time column \"event_timestamp\" cannot be read: \"2026-01-10 00:00:00\" has no time zone: write it as 2013-06-01T12:00:00Z or with an offset such as +02:00 (row 0)",
    );
    let mut zoned = extract("zoneless.csv", "u.csv").to_vec();
    zoned.extend(["--timezone", "Europe/Paris"]);
    project.done(&zoned);
    *zoned.last_mut().unwrap() = "Europe/Pariss";
    project.refused(
        &zoned,
        2,
        "unknown time zone \"Europe/Pariss\": use an IANA name such as \"UTC\" or \"America/New_York\"",
    );
}

/// What is written in a CSV file is taken exactly, or refused without anything else of its row.
#[test]
fn csv_values() {
    let project = Project::applied();
    let extract = [
        "extract",
        "--service",
        "reorder_v1",
        "--spine",
        "one.csv",
        "--out",
        "t.csv",
    ];
    project.write(
        "one.csv",
        "customer_id,event_timestamp,appver\n01,2026-01-10T00:00:00Z,1.10\n",
    );
    let done = project.done(&extract);
    assert!(
        done.stdout.starts_with("t.csv: 1 row, 5 columns, "),
        "{}",
        done.stdout
    );
    assert_eq!(
        project.read("t.csv"),
        "customer_id,event_timestamp,appver,last_order__amount,last_order__items\n\
         01,2026-01-10T00:00:00Z,1.10,19.9,2\n"
    );
    let extract = [&extract[..], &["--overwrite"]].concat();
    project.write(
        "one.csv",
        "customer_id,event_timestamp,secret\n1.5,2026-01-10T00:00:00Z,hush\n",
    );
    project.refused(
        &extract,
        4,
        "spine one.csv: key column \"customer_id\" has \"1.5\", which is not exactly int64: correct it in the spine (row 0)",
    );
    let orders = "customer_id,ordered_at,loaded_at,amount,items\n";
    project.write("one.csv", "customer_id,event_timestamp\n1,2026-01-10T00:00:00Z\n");
    project.write(
        "data/orders.csv",
        &format!("{orders}1,2026-01-05T10:00:00Z,2026-01-05T10:05:00Z,19.90,two\n"),
    );
    project.refused(
        &extract,
        4,
        "source orders: data/orders.csv: column \"items\" has \"two\", which is not exactly int64: correct it in the file, \
         or declare the column as another type (row 0 of the file)",
    );
    project.write(
        "data/orders.csv",
        &format!("{orders}1,,2026-01-05T10:05:00Z,19.90,2\n"),
    );
    project.refused(
        &extract,
        4,
        "source orders: column \"ordered_at\" (event_time) is null in every row, and a row without an event time is never \
         found: name the column that holds the times, or correct the data",
    );
    project.write(
        "features/clicks.toml",
        "[[source]]\nname = \"clicks\"\nschema = { customer_id = \"int64\", at = \"timestamp\" }\nevent_time = \"at\"\n",
    );
    project.write("clicks.csv", "customer_id,at\none,2026-01-01T00:00:00Z\n");
    let ingest = ["ingest", "clicks", "clicks.csv"];
    project.write("data/orders.csv", orders);
    project.done(&["apply", "--yes"]);
    project.refused(
        &ingest,
        4,
        "clicks.csv: column \"customer_id\" has \"one\", which is not exactly int64: correct it in the file (row 0 of the \
         file)",
    );
    project.write("clicks.csv", "customer_id,at\n1.0,2026-01-01T00:00:00Z\n");
    let done = project.done(&ingest);
    assert!(
        done.stdout.starts_with("Ingested 1 row into clicks (run "),
        "{}",
        done.stdout
    );
    let done = project.done(&ingest);
    assert!(
        done.stdout
            .starts_with("Nothing to do: 1 row was ingested into clicks before, under the id "),
        "{}",
        done.stdout
    );
}

#[test]
fn unknown_names() {
    let project = Project::applied();
    let refused = |args: &[&str], error: &str| project.refused(args, 2, error);
    refused(
        &[
            "extract",
            "--service",
            "reorder",
            "--spine",
            "spine.csv",
            "--out",
            "t.csv",
        ],
        "unknown service \"reorder\"; did you mean \"reorder_v1\"?",
    );
    refused(
        &["materialize", "last_ordr"],
        "unknown view \"last_ordr\"; did you mean \"last_order\"?; the views are last_order",
    );
    refused(
        &["ingest", "order", "data/orders.csv"],
        "unknown source \"order\"; did you mean \"orders\"?",
    );
    refused(
        &["list", "things"],
        "unknown kind \"things\": the kinds are entities, sources, views, features and services",
    );
    refused(
        &["compact", "order"],
        "unknown source \"order\"; did you mean \"orders\"?",
    );
    refused(
        &["compact", "--server", "http://127.0.0.1:1"],
        "`asof compact` works on the project's directory, not yet through a server: run it there, without --server",
    );
    project.refused(
        &["compact", "orders"],
        3,
        "source orders is read in place from its path, and its files are never written: only a managed source (one \
         with a schema and no path) is compacted",
    );
    project.refused(
        &["ingest", "orders", "data/orders.csv"],
        3,
        "source orders is read in place from its path: only a managed source (one with a schema and no path) takes rows",
    );
}

#[test]
fn times_and_keys() {
    let project = Project::applied();
    project.refused(
        &["materialize", "--as-of", "2026-02-01"],
        2,
        "\"2026-02-01\" is not a time: write it as 2013-06-01T12:00:00Z",
    );
    project.refused(
        &["materialize", "--as-of", "2026-02-01T00:00:00"],
        2,
        "\"2026-02-01T00:00:00\" has no time zone: write it as 2013-06-01T12:00:00Z or with an offset such as +02:00",
    );
    project.refused(
        &["get", "--service", "reorder_v1", "--key", "customer_id"],
        2,
        "--key \"customer_id\" is not NAME=VALUE: write it as --key origin=JFK",
    );
    project.refused(
        &["get", "--service", "reorder_v1", "--key", "customer_id=1"],
        5,
        "view \"last_order\" was never materialized: run `asof materialize last_order`",
    );
    project.done(&["materialize", "--as-of", "2026-02-01T00:00:00Z"]);
    project.refused(
        &["materialize", "--as-of", "2026-01-01T00:00:00Z"],
        2,
        "view last_order is materialized as of 2026-02-01T00:00:00Z already, later than 2026-01-01T00:00:00Z: give --as-of 2026-02-01T00:00:00Z or later, or --full to build it anew",
    );
    project.refused(
        &[
            "get",
            "--service",
            "reorder_v1",
            "--key",
            "customer_id=1",
            "--now",
            "2026-01-01T00:00:00Z",
        ],
        5,
        "view \"last_order\" was materialized as of 2026-02-01T00:00:00Z, after the clock at 2026-01-01T00:00:00Z: \
         give a later --now, or run `asof materialize last_order --as-of 2026-01-01T00:00:00Z --full`",
    );
}

#[test]
fn a_closed_pipe_is_quiet() {
    let project = Project::applied();
    let mut child = project
        .command(&["list"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

/// What the command shows on a terminal, where `script` is there to be one.
fn on_a_terminal(project: &Project, command: &str, no_color: &str) -> Option<String> {
    let command = format!("'{}' {command}", env!("CARGO_BIN_EXE_asof"));
    let shown = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .current_dir(project.path())
        .env("NO_COLOR", no_color)
        .stdin(Stdio::null())
        .output();
    match shown {
        Ok(output) => Some(String::from_utf8(output.stdout).unwrap()),
        Err(error) => {
            eprintln!("not run: there is no `script` to stand in for a terminal: {error}");
            None
        }
    }
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let project = Project::starter();
    let message = "nothing is registered yet: run `asof apply` first";
    let Some(coloured) = on_a_terminal(&project, "list", "") else {
        return;
    };
    assert_eq!(coloured, format!("\u{1b}[1;31merror:\u{1b}[0m {message}\r\n"));
    let plain = on_a_terminal(&project, "list", "1").unwrap();
    assert_eq!(plain, format!("error: {message}\r\n"));
    project.refused(&["list"], 3, message);
}

#[test]
fn addresses() {
    let project = Project::applied();
    project.refused(
        &["serve", "--listen", "0.0.0.0:2763"],
        2,
        "0.0.0.0:2763 can be reached from other machines, and a token and TLS are missing: set token, tls_cert and tls_key in [serve] of asof.toml, or listen on 127.0.0.1; in a network that is safe, `insecure = true` in [serve] lets everybody in",
    );
    project.refused(
        &["serve", "--listen", "127.0.0.1:99999"],
        2,
        "port 99999 is out of range; expected 0 to 65535",
    );
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    project.refused(
        &["serve", "--listen", &address],
        5,
        &format!("{address} is in use by another process: stop it, or listen elsewhere with --listen 127.0.0.1:PORT"),
    );
}

#[test]
fn files_to_ingest() {
    let project = Project::starter();
    project.write(
        "features/clicks.toml",
        "[[source]]\nname = \"clicks\"\nschema = { customer_id = \"int64\", at = \"timestamp\" }\nevent_time = \"at\"\n",
    );
    project.done(&["apply", "--yes"]);
    std::os::unix::fs::symlink("nowhere", project.path().join("link.csv")).unwrap();
    let refused = |file: &str, error: &str| project.refused(&["ingest", "clicks", file], 4, error);
    refused("none.csv", "none.csv does not exist");
    refused("link.csv", "link.csv does not exist");
    refused("data", "data is not a file");
    refused("/dev/null", "/dev/null is not a file");
    refused("asof.toml", "asof.toml is not a .parquet or .csv file");
}

#[test]
fn a_store_that_is_not_for_this_process() {
    let project = Project::applied();
    let get = ["get", "--service", "reorder_v1", "--key", "customer_id=1"];
    // A server that is alive, as far as its note goes, and does not answer.
    let us = std::process::id();
    let note = project.write(
        ".asof/server.json",
        &format!("{{\"pid\":{us},\"url\":\"http://127.0.0.1:1\"}}"),
    );
    project.refused(
        &get,
        5,
        &format!(
            "process {us} holds the online store as a server, and does not answer at http://127.0.0.1:1: \
             wait for it to start or stop, or end it with `kill {us}`"
        ),
    );
    std::fs::remove_file(note).unwrap();
    project.done(&["materialize", "--as-of", "2026-02-01T00:00:00Z"]);
    project.write(".asof/online/asof.format", "asof online store, format 9\n");
    project.refused(
        &get,
        5,
        "the online store at .asof/online has format 9, this version reads up to 5: use a newer asof",
    );
}

#[test]
fn data_directories_that_cannot_be_used() {
    let project = Project::starter();
    project.write(".asof", "a file");
    project.refused(
        &["list"],
        5,
        "the registry at .asof/registry.db cannot be used: its directory .asof cannot be made: File exists (os error 17): \
         check what is there, and who owns it",
    );
    let project = Project::applied();
    project.write(".asof/online", "a file");
    project.refused(
        &["materialize", "--as-of", "2026-02-01T00:00:00Z"],
        5,
        "the online store at .asof/online failed: File exists (os error 17)",
    );
    project.write(
        "features/clicks.toml",
        "[[source]]\nname = \"clicks\"\nschema = { customer_id = \"int64\", at = \"timestamp\" }\nevent_time = \"at\"\n",
    );
    project.done(&["apply", "--yes"]);
    project.write(".asof/offline", "a file");
    project.write("clicks.csv", "customer_id,at\n1,2026-01-01T00:00:00Z\n");
    let tables = project.path().canonicalize().unwrap().join(".asof/offline");
    project.refused(
        &["ingest", "clicks", "clicks.csv"],
        5,
        &format!(
            "{}: it is no directory, as managed tables need one: name another in [offline] root",
            tables.display()
        ),
    );
}

#[test]
fn configuration() {
    let project = Project::starter();
    project.write(
        "asof.toml",
        "project = \"shop\"\nregistri = 1\n[serve]\nlisten = \"env:ASOF_TEST_NOT_SET\"\n",
    );
    project.refused(
        &["list"],
        3,
        "asof.toml:2:1: unknown key \"registri\" in the file; did you mean \"registry\"?\n\
         asof.toml:4:10: the environment variable \"ASOF_TEST_NOT_SET\" is not set; set it, or write the value here",
    );
}
