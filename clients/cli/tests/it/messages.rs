//! What commands say of arguments, and of what they did.

use crate::project::Project;

const CLICKS: &str = "[[source]]\nname = \"clicks\"\nschema = { customer_id = \"int64\", at = \"timestamp\" }\nevent_time = \"at\"\n";

fn clicks() -> Project {
    let project = Project::starter();
    project.write("features/clicks.toml", CLICKS);
    project.done(&["apply", "--yes"]);
    project.write("a.csv", "customer_id,at\n1,2026-01-01T00:00:00Z\n");
    project.write("b.csv", "customer_id,at\n2,2026-01-01T00:00:00Z\n");
    project
}

#[test]
fn ids_of_ingests() {
    let project = clicks();
    for id in ["", "  "] {
        project.refused(
            &["ingest", "clicks", "a.csv", "--id", id],
            2,
            "--id is empty: an id tells an ingest from others, so that one that is repeated changes nothing; give one \
             such as --id 2026-02-01, or leave --id out to tell ingests by their files' contents",
        );
    }
    let monday = |file| ["ingest", "clicks", file, "--id", "monday"];
    let first = project.done(&monday("a.csv")).stdout;
    assert!(
        first.starts_with("Ingested 1 row into clicks (run 1, "),
        "{first}"
    );
    assert_eq!(
        project.done(&monday("a.csv")).stdout,
        "Nothing to do: 1 row was ingested into clicks before, under the id monday. To ingest it again, give another --id.\n"
    );
    project.refused(
        &monday("b.csv"),
        4,
        "id \"monday\" was used for other files, of 1 row, in an earlier ingest into clicks: nothing was changed; give \
         these another --id, or none",
    );
}

#[test]
fn orphans_are_told_of() {
    let project = clicks();
    project.done(&["ingest", "clicks", "a.csv"]);
    project.done(&["compact"]);
    let orphan = project.write(
        ".asof/offline/clicks/part-00000000000000000009-abcdef.parquet",
        "x",
    );
    assert_eq!(
        project.done(&["compact"]).stdout,
        "clicks: nothing to do (1 file).\n",
        "it may still be written to"
    );
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
    let file = std::fs::File::options().write(true).open(&orphan).unwrap();
    file.set_modified(old).unwrap();
    assert_eq!(
        project.done(&["compact"]).stdout,
        "clicks: nothing to do (1 file).\n\
         clicks: removed 1 file (1 B) that no version of the table names, left by writers that were killed.\n"
    );
    assert!(!orphan.exists());
    let told = project.done(&["compact", "--json"]).json();
    assert_eq!(told["sources"][0]["orphans_removed"], 0);
}

#[test]
fn what_has_not_run() {
    let project = Project::applied();
    let says = |args: &[&str], text: &str| assert_eq!(project.done(args).stdout, text, "{args:?}");
    says(&["runs"], "Nothing has run yet.\n");
    project.done(&["materialize", "--as-of", "2026-02-01T00:00:00Z"]);
    says(&["runs", "orders"], "Source orders has not run yet.\n");
    says(&["runs", "reorder_v1"], "Service reorder_v1 has not run yet.\n");
    says(
        &["runs", "last_order:items"],
        "No extract of last_order:items has run yet.\n",
    );
    let runs = project.done(&["runs", "orders", "--json"]).json();
    assert_eq!(runs, serde_json::json!({ "runs": [] }));
    let refused = |name: &str, error: &str| project.refused(&["runs", name], 2, error);
    refused(
        "last_orders",
        "unknown view, source or service \"last_orders\"; did you mean \"last_order\"?",
    );
    refused("customer", "unknown view, source or service \"customer\"");
}

#[test]
fn key_values() {
    let project = Project::applied();
    project.done(&["materialize", "--as-of", "2026-02-01T00:00:00Z"]);
    let get = |key: &str, error: &str| {
        let args = [
            "get",
            "--service",
            "reorder_v1",
            "--now",
            "2026-02-01T00:00:00Z",
            "--key",
            key,
        ];
        project.refused(&args, 2, error);
    };
    get(
        "customer_id=1.5",
        "--key \"customer_id=1.5\" is no whole number, the key is int64",
    );
    get(
        &format!("customer_id={}", "x".repeat(1_000)),
        &format!(
            "--key \"customer_id={}…\" is no whole number, the key is int64",
            "x".repeat(64 - "customer_id=".len())
        ),
    );
    get(
        "customer_id=\u{1b}[31m",
        "--key \"customer_id=\\u{1b}[31m\" is no whole number, the key is int64",
    );
    get(
        "customer_id=9223372036854775808",
        "--key \"customer_id=9223372036854775808\" is 9223372036854775808, out of range for int64",
    );
}

#[test]
fn rows_to_extract() {
    let project = Project::applied();
    let extract = |more: &[&str]| project.asof(&[&["extract", "--out", "t.csv"], more].concat());
    let nothing = extract(&[]);
    assert_eq!(nothing.code, 2);
    let first: Vec<&str> = nothing.stderr.lines().take(3).collect();
    assert_eq!(
        first,
        [
            "error: the following required arguments were not provided:",
            "  <--service <SERVICE>|--features <FEATURES>>",
            "  <--spine <FILE>|--at <T>|--from <A>|--to <B>|--every <D>>",
        ]
    );
    let refused = |more: &[&str], error: &str| {
        let service = ["extract", "--out", "t.csv", "--service", "reorder_v1"];
        project.refused(&[&service[..], more].concat(), 2, error);
    };
    refused(
        &[
            "--from",
            "2026-02-02T00:00:00Z",
            "--to",
            "2026-02-01T00:00:00Z",
            "--every",
            "1d",
        ],
        "the grid ends at 2026-02-01T00:00:00Z, before it begins at 2026-02-02T00:00:00Z: --from must not be after --to",
    );
    refused(
        &[
            "--from",
            "2026-02-01T00:00:00Z",
            "--to",
            "2026-02-02T00:00:00Z",
            "--every",
            "1us",
        ],
        "the grid has 86400000001 times, one every 1us from 2026-02-01T00:00:00Z to 2026-02-02T00:00:00Z, and at most \
         10000000 are taken: give a longer --every, or extract a shorter range at a time",
    );
    refused(
        &["--at", "2026-01-20 20:00:00"],
        "--at: \"2026-01-20 20:00:00\" has no time zone: write it as 2013-06-01T12:00:00Z or with an offset such as +02:00",
    );
}

/// 20:00 in Berlin is 19:00 UTC in January.
#[test]
fn times_of_a_grid_take_the_zone_that_is_given() {
    let project = Project::applied();
    let out = |time: &str, more: &[&str]| {
        let args = [
            "extract",
            "--service",
            "reorder_v1",
            "--out",
            "t.csv",
            "--overwrite",
            "--at",
            time,
        ];
        project.done(&[&args[..], more].concat());
        project.read("t.csv")
    };
    let berlin = out("2026-01-20 20:00:00", &["--timezone", "Europe/Berlin"]);
    assert!(berlin.contains(",2026-01-20T19:00:00Z,"), "{berlin}");
    assert_eq!(
        berlin,
        out("2026-01-20T19:00:00Z", &["--timezone", "Europe/Berlin"])
    );
}

#[test]
fn one_row_is_one_row() {
    let project = Project::applied();
    project.write("one.csv", "customer_id,event_timestamp\n1,2026-01-10T00:00:00Z\n");
    let args = [
        "extract",
        "--service",
        "reorder_v1",
        "--spine",
        "one.csv",
        "--out",
        "t.csv",
    ];
    let told = project.done(&args).stdout;
    assert!(told.starts_with("t.csv: 1 row, 4 columns, "), "{told}");
    project.write(
        "data/orders.csv",
        "customer_id,ordered_at,loaded_at,amount,items\n,2026-01-05T10:00:00Z,2026-01-05T10:05:00Z,19.9,2\n\
         1,2026-01-05T10:00:00Z,2026-01-05T10:05:00Z,19.9,2\n",
    );
    let told = project.done(&[&args[..], &["--overwrite"]].concat()).stdout;
    assert!(
        told.ends_with("note: last_order: 1 row skipped in its source: its key or event time is null\n"),
        "{told}"
    );
}

#[test]
fn a_service_is_shown_with_the_columns_that_it_is_frozen_as() {
    let project = Project::applied();
    let text = project.read("features/orders.toml");
    let grown = text.replace(
        "items = \"int64\"",
        "items = \"int64\"\nid = { type = \"int64\", column = \"customer_id\" }",
    );
    project.write("features/orders.toml", &grown);
    project.done(&["apply", "--yes"]);
    let shown = project.done(&["show", "reorder_v1"]).stdout;
    assert!(
        shown.ends_with(
            "\n\n# The columns that it is frozen as:\n\
             #   last_order__amount  float64  last_order:amount\n\
             #   last_order__items   int64    last_order:items\n"
        ),
        "{shown}"
    );
    let shown = project.done(&["show", "service", "reorder_v1", "--json"]).json();
    assert_eq!(
        shown[0]["columns"],
        serde_json::json!([
            { "name": "last_order__amount", "feature": "last_order:amount", "type": "float64" },
            { "name": "last_order__items", "feature": "last_order:items", "type": "int64" },
        ])
    );
}

#[test]
fn a_service_that_is_removed() {
    let project = Project::applied();
    let text = project.read("features/orders.toml");
    let (rest, _) = text.split_once("# What a model asks for").unwrap();
    project.write("features/orders.toml", rest);
    let ran = project.asof(&["apply", "--yes"]);
    assert_eq!(
        (ran.code, &*ran.stderr),
        (
            3,
            "error: 1 breaking change: service reorder_v1 is removed (column last_order__amount, column last_order__items); \
             apply with --allow-breaking\n"
        )
    );
}

#[test]
fn secrets_in_urls_are_not_repeated() {
    let project = Project::applied();
    project.refused(
        &["--server", "http://u:secret@127.0.0.1:1", "list"],
        5,
        "no server answers at http://***@127.0.0.1:1: start one with `asof serve`",
    );
    project.write(
        "asof.toml",
        "project = \"shop\"\n[registry]\nurl = \"postgres://u:secret@h/db\"\n",
    );
    project.refused(
        &["list"],
        3,
        "asof.toml:3:7: \"postgres://***@h/db\" is not supported by this version of asof; expected sqlite:// and a path",
    );
}

/// Two at once: one commits first, and what the table's library says of the other's next try is no concern.
#[test]
fn ingests_at_once_are_quiet() {
    let project = clicks();
    let files: Vec<String> = (0..6).map(|n| format!("{n}.csv")).collect();
    for file in &files {
        project.write(
            file,
            &format!("customer_id,at\n{file},2026-01-01T00:00:00Z\n").replace(".csv", ""),
        );
    }
    let started: Vec<_> = files
        .iter()
        .map(|file| {
            let mut command = project.command(&["ingest", "clicks", file]);
            command
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::piped());
            command.spawn().unwrap()
        })
        .collect();
    for child in started {
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        assert!(output.status.success());
    }
}
