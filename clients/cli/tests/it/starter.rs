//! The starter project, from `asof init` to an answer.

use crate::project::Project;

const EXTRACT: [&str; 7] = [
    "extract",
    "--service",
    "reorder_v1",
    "--spine",
    "spine.csv",
    "--out",
    "train.csv",
];
const GET: [&str; 7] = [
    "get",
    "--service",
    "reorder_v1",
    "--key",
    "customer_id=1",
    "--now",
    "2026-02-01T00:00:00Z",
];

#[test]
fn the_starter_project_runs() {
    let project = Project::starter();
    let applied = project.done(&["apply", "--yes"]);
    assert_eq!(
        applied.stdout,
        "+ entity customer\n+ source orders\n+ view last_order\n+ service reorder_v1\n\
         Plan: 4 to add, 0 to change, 0 to remove.\nApplied: the registry is at v1.\n"
    );
    let again = project.done(&["apply", "--yes"]);
    assert_eq!(
        again.stdout,
        "No changes: the registry is at v1 and matches the definitions.\n"
    );

    // Customer 1 ordered on the 5th (known five minutes later) and on the 20th at 18:00, which became known
    // only on the 21st at 03:00: the question of the 20th at 20:00 must not see it. Customer 2's order of
    // January 6th is older than 30 days on March 1st. Customer 3's amount is null. Nobody knows customer 4.
    project.done(&EXTRACT);
    assert_eq!(
        project.read("train.csv"),
        "customer_id,event_timestamp,reordered,last_order__amount,last_order__items\n\
         1,2026-01-10T00:00:00Z,true,19.9,2\n\
         1,2026-01-20T20:00:00Z,true,19.9,2\n\
         1,2026-01-21T12:00:00Z,false,7.5,1\n\
         2,2026-03-01T00:00:00Z,false,,\n\
         3,2026-02-02T00:00:00Z,false,,4\n\
         4,2026-02-02T00:00:00Z,false,,\n"
    );

    project.done(&["materialize", "--as-of", "2026-02-01T00:00:00Z"]);
    let got = project.done(&[&GET[..], &["--json"]].concat()).json();
    assert_eq!(got["columns"][0]["name"], "last_order__amount");
    assert_eq!(got["columns"][0]["values"][0], 7.5);
    assert_eq!(got["columns"][1]["values"][0], 1);
    assert_eq!(got["views"][0]["event_times"][0], "2026-01-20T18:00:00Z");
}

#[test]
fn every_command_speaks_json() {
    let project = Project::starter();
    let planned = project.done(&["plan", "--json"]).json();
    assert_eq!(planned["add"], 4);
    let applied = project.done(&["apply", "--yes", "--json"]).json();
    assert_eq!(
        (&applied["version"], &applied["changed"]),
        (&1.into(), &true.into())
    );
    let listed = project.done(&["list", "views", "--json"]).json();
    assert_eq!(listed["definitions"][0]["name"], "last_order");
    let shown = project.done(&["show", "last_order", "--json"]).json();
    assert!(shown[0]["toml"].as_str().unwrap().contains("ttl = \"30d\""));
    let found = project.done(&["search", "euros", "--json"]).json();
    assert_eq!(found["definitions"][0]["name"], "last_order:amount");
    let extracted = project.done(&[&EXTRACT[..], &["--json"]].concat()).json();
    assert_eq!(extracted["rows"], 6);
    let counts = &extracted["features"][0]["counts"];
    assert_eq!(
        counts,
        &serde_json::json!({ "present": 3, "null": 1, "not_found": 1, "expired": 1, "held_back": 0 })
    );
    assert_eq!(extracted["views"][0]["held_back_winners"], 1);
    let moved = project
        .done(&["materialize", "--as-of", "2026-02-01T00:00:00Z", "--json"])
        .json();
    // The order of February 1st at noon has not happened yet, and falls due by itself.
    let run = &moved["runs"][0];
    let (taken, keys, pending) = (&run["rows_written"], &run["keys"], &run["pending"]);
    assert_eq!((taken, keys, pending), (&4.into(), &2.into(), &1.into()));
    for (now, status) in [
        ("2026-02-01T11:59:59Z", "NOT_FOUND"),
        ("2026-02-01T12:00:00Z", "HELD_BACK"),
        ("2026-02-01T12:05:00Z", "PRESENT"),
    ] {
        let features = ["get", "--features", "last_order:items", "--key", "customer_id=3"];
        let got = project
            .done(&[&features[..], &["--now", now, "--json"]].concat())
            .json();
        assert_eq!(got["columns"][0]["statuses"][0], status, "at {now}");
    }
    let status = project.done(&["status", "--json"]).json();
    assert_eq!(status["views"][0]["materialized_to"], "2026-02-01T00:00:00Z");
    let runs = project.done(&["runs", "--json"]).json();
    assert_eq!(runs["runs"].as_array().unwrap().len(), 2);
    let refused = project.asof(&["show", "last_ordr", "--json"]);
    assert_eq!(refused.code, 2);
    assert_eq!(
        refused.stderr,
        "{\"error\":\"unknown name \\\"last_ordr\\\"; did you mean \\\"last_order\\\"?\"}\n"
    );
}

#[test]
fn a_managed_source_is_filled_once() {
    let project = Project::applied();
    project.write(
        "features/clicks.toml",
        "[[source]]\nname = \"clicks\"\nschema = { customer_id = \"int64\", at = \"timestamp\", n = \"int64\" }\n\
         event_time = \"at\"\n\n[[view]]\nname = \"last_click\"\nentity = \"customer\"\nsource = \"clicks\"\n\
         [view.features]\nn = \"int64\"\n",
    );
    project.done(&["apply", "--yes"]);
    project.write(
        "clicks.csv",
        "customer_id,at,n\n1,2026-01-09T00:00:00Z,1\n1,2026-01-09T00:00:00Z,2\n",
    );
    let first = project.done(&["ingest", "clicks", "clicks.csv", "--json"]).json();
    assert_eq!((&first["rows"], &first["repeated"]), (&2.into(), &false.into()));
    let second = project.done(&["ingest", "clicks", "clicks.csv", "--json"]).json();
    assert_eq!((&second["rows"], &second["repeated"]), (&2.into(), &true.into()));
    // Of two rows of one key and time the one accepted later wins.
    project.done(&[
        "extract",
        "--features",
        "last_click:n",
        "--spine",
        "spine.csv",
        "--out",
        "clicks_out.csv",
    ]);
    assert!(
        project
            .read("clicks_out.csv")
            .contains("1,2026-01-10T00:00:00Z,true,2\n")
    );
}

#[test]
fn the_zone_of_the_machine_does_not_matter() {
    let expected = "1,2026-01-20T20:00:00Z,true,19.9,2\n";
    for zone in [
        "UTC",
        "America/New_York",
        "Asia/Kathmandu",
        "Pacific/Kiritimati",
        "Antarctica/Troll",
    ] {
        let project = Project::applied();
        let ran = project.command(&EXTRACT).env("TZ", zone).output().unwrap();
        assert!(ran.status.success(), "{zone}");
        assert!(project.read("train.csv").contains(expected), "{zone}");
    }
}

#[test]
fn what_a_failed_run_wrote_is_not_served() {
    let project = Project::starter();
    let text = project
        .read("features/orders.toml")
        .replace("data/orders.csv", "data/*.csv");
    project.write("features/orders.toml", &text);
    project.done(&["apply", "--yes"]);
    project.done(&["materialize", "--as-of", "2026-02-01T00:00:00Z"]);
    // A file whose last row cannot be read, after enough rows that some of them were written.
    let header = "customer_id,ordered_at,loaded_at,amount,items\n";
    let row = |id: usize| format!("{id},2026-02-02T00:00:00Z,2026-02-02T00:00:00Z,1.5,1\n");
    let mut rows: String = (1_000..41_000).map(row).collect();
    rows.insert_str(0, header);
    rows.push_str("1,not a time,2026-02-02T00:00:00Z,1.5,1\n");
    let bad = project.write("data/orders_2.csv", &rows);
    let failed = project.asof(&["materialize", "--as-of", "2026-02-03T00:00:00Z"]);
    assert_eq!(failed.code, 4, "{failed:?}");
    assert_eq!(
        failed.stderr,
        "error: source orders: data/orders_2.csv: column \"ordered_at\" cannot be read: \"not a time\" is not a time: \
         write it as 2013-06-01T12:00:00Z (row 40000 of the file)\n"
    );
    std::fs::remove_file(bad).unwrap();
    let again = project
        .done(&["materialize", "--as-of", "2026-02-03T00:00:00Z", "--json"])
        .json();
    // Customers 1, 2 and 3, and none of those that only the removed file knew.
    assert_eq!(again["runs"][0]["keys"], 3);
    let get = [
        "get",
        "--service",
        "reorder_v1",
        "--key",
        "customer_id=1000",
        "--now",
        "2026-02-03T00:00:00Z",
        "--json",
    ];
    assert_eq!(
        project.done(&get).json()["columns"][0]["statuses"][0],
        "NOT_FOUND"
    );
}

#[test]
fn a_managed_source_is_compacted() {
    let project = Project::applied();
    let nothing = project.done(&["compact"]).stdout;
    assert_eq!(
        nothing,
        "Nothing to do: no source is managed (has a schema and no path).\n"
    );
    project.write(
        "features/clicks.toml",
        "[[source]]\nname = \"clicks\"\nschema = { customer_id = \"int64\", at = \"timestamp\", n = \"int64\" }\n\
         event_time = \"at\"\n\n[[view]]\nname = \"last_click\"\nentity = \"customer\"\nsource = \"clicks\"\n\
         [view.features]\nn = \"int64\"\n",
    );
    project.done(&["apply", "--yes"]);
    assert_eq!(
        project.done(&["compact"]).stdout,
        "clicks: nothing to do (no files).\n"
    );
    for n in 1..=3 {
        // Of one time in all three: the one that was accepted last wins, also when they stand in one file.
        let file = format!("{n}.csv");
        project.write(
            &file,
            &format!("customer_id,at,n\n1,2026-01-09T00:00:00Z,{n}\n2,2026-01-0{n}T00:00:00Z,{n}\n"),
        );
        project.done(&["ingest", "clicks", &file]);
    }
    let extract = |out: &str| {
        project.done(&[
            "extract",
            "--features",
            "last_click:n",
            "--spine",
            "spine.csv",
            "--out",
            out,
        ]);
        project.read(out)
    };
    let before = extract("before.csv");
    assert!(before.contains("1,2026-01-10T00:00:00Z,true,3\n"), "{before}");
    let done = project.done(&["compact", "clicks", "--json"]).json();
    let done = &done["sources"][0];
    assert_eq!(done["source"], "clicks");
    assert_eq!(
        [
            &done["files_before"],
            &done["files_after"],
            &done["files_written"],
            &done["rows"]
        ],
        [&3.into(), &1.into(), &1.into(), &6.into()] as [&serde_json::Value; 4]
    );
    assert_eq!(extract("after.csv"), before);
    assert_eq!(
        project.done(&["compact"]).stdout,
        "clicks: nothing to do (1 file).\n"
    );
    project.write("4.csv", "customer_id,at,n\n3,2026-01-09T00:00:00Z,4\n");
    project.done(&["ingest", "clicks", "4.csv"]);
    let told = project.done(&["compact", "clicks", "clicks"]).stdout;
    let words: Vec<&str> = told.split_whitespace().collect();
    assert_eq!(
        words[..6],
        ["source", "files", "rows", "moved", "bytes", "table"],
        "{told}"
    );
    assert_eq!(words[7..12], ["clicks", "2", "->", "1", "7"], "{told}");
    let runs = project.done(&["runs", "clicks", "--json"]).json();
    let (last, first) = (&runs["runs"][0], &runs["runs"][3]);
    assert_eq!(
        (&last["kind"], &last["rows_written"]),
        (&"compact".into(), &7.into())
    );
    assert_eq!((&first["id"], &first["rows_written"]), (&done["run"], &6.into()));
}
