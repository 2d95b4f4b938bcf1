//! Ctrl-C in the middle of work: the exit code, what to type, and that nothing half done is left.

use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::project::Project;

const MESSAGE: &str =
    "error: interrupted: nothing half done was left behind; run the same command again to resume\n";

/// Starts a command, interrupts it once `begun` says so, and expects it to end as it should.
fn interrupted(project: &Project, args: &[&str], begun: impl Fn() -> bool) {
    let mut child = project
        .command(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let started = Instant::now();
    while !begun() {
        assert_eq!(
            child.try_wait().unwrap(),
            None,
            "it ended before it was interrupted"
        );
        assert!(started.elapsed() < Duration::from_secs(60), "it does not begin");
        std::thread::sleep(Duration::from_millis(2));
    }
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), MESSAGE);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    assert_eq!(output.status.code(), Some(130));
}

fn names(directory: &Path) -> Vec<String> {
    let entries = directory.read_dir().unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn last_run(project: &Project) -> serde_json::Value {
    project.done(&["runs", "--json"]).json()["runs"][0].clone()
}

#[test]
fn an_extract_leaves_no_file() {
    let project = Project::applied();
    let mut spine = String::from("customer_id,event_timestamp\n");
    for row in 0..600_000 {
        writeln!(spine, "{},2026-01-20T20:00:00Z", row % 5).unwrap();
    }
    project.write("long.csv", &spine);
    std::fs::create_dir(project.path().join("out")).unwrap();
    let out = project.path().join("out");
    for file in ["out/train.csv", "out/train.parquet"] {
        let args = [
            "extract",
            "--service",
            "reorder_v1",
            "--spine",
            "long.csv",
            "--out",
            file,
        ];
        // The dataset is written to a temporary file first.
        interrupted(&project, &args, || !names(&out).is_empty());
        assert_eq!(names(&out), Vec::<String>::new(), "{file}");
        assert_eq!(last_run(&project)["state"], "cut short");
    }
}

#[test]
fn a_materialization_is_resumed_by_the_same_command() {
    let project = Project::applied();
    let mut rows = String::from("customer_id,ordered_at,loaded_at,amount,items\n");
    for id in 0..200_000 {
        writeln!(rows, "{id},2026-01-02T00:00:00Z,2026-01-02T00:00:00Z,1.5,1").unwrap();
    }
    project.write("data/orders.csv", &rows);
    let materialize = ["materialize", "--as-of", "2026-02-01T00:00:00Z"];
    // Rows are written to a file of their own first, which the store takes in when it is whole.
    let loads = project.path().join(".asof/online/asof.load");
    interrupted(&project, &materialize, || {
        loads.is_dir() && !names(&loads).is_empty()
    });
    assert_eq!(last_run(&project)["state"], "cut short");
    let status = project.done(&["status"]).stdout;
    let advice = format!(
        "run {} was cut short: asof materialize last_order",
        last_run(&project)["id"]
    );
    assert!(status.contains(&advice), "{status}");
    let get = [
        "get",
        "--service",
        "reorder_v1",
        "--key",
        "customer_id=199999",
        "--now",
        "2026-02-01T00:00:00Z",
    ];
    project.refused(
        &get,
        5,
        "view \"last_order\" is being materialized for the first time: wait for that run, or run `asof materialize last_order` \
         if it stopped",
    );
    let again = project.done(&[&materialize[..], &["--json"]].concat()).json();
    assert_eq!(again["runs"][0]["keys"], 200_000);
    let got = project.done(&[&get[..], &["--json"]].concat()).json();
    assert_eq!(got["columns"][0]["values"][0], 1.5);
}
