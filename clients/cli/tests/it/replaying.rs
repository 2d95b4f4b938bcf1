//! Datasets made again from their manifests, and compared.

use crate::project::{Project, Ran};

const EXTRACT: [&str; 6] = [
    "extract",
    "--service",
    "reorder_v1",
    "--spine",
    "spine.csv",
    "--out",
];
const MANIFEST: &str = "train.csv.manifest.json";

/// The starter project with `train.csv`, made by v1; v2 lets orders count for a day only.
fn trained() -> Project {
    let project = Project::applied();
    project.done(&[&EXTRACT[..], &["train.csv"]].concat());
    let text = project.read("features/orders.toml");
    project.write(
        "features/orders.toml",
        &text.replace("ttl = \"30d\"", "ttl = \"1d\""),
    );
    project.done(&["apply", "--yes", "--allow-breaking"]);
    project
}

fn replay<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["replay", MANIFEST, "--out", out], more].concat()
}

fn manifest(project: &Project, name: &str) -> serde_json::Value {
    serde_json::from_str(&project.read(name)).unwrap()
}

fn text(value: &serde_json::Value) -> &str {
    value.as_str().unwrap()
}

#[test]
fn a_dataset_is_made_again_by_the_definitions_of_its_time() {
    let project = trained();
    let digest = manifest(&project, MANIFEST)["content"]["output"]["digest"].clone();
    let ran = project.done(&replay("again.csv", &[]));
    assert_eq!(
        ran.stdout,
        format!(
            "again.csv: the same bytes as the dataset of {MANIFEST}: 6 rows, 5 columns, {}\n",
            text(&digest)
        )
    );
    assert_eq!(project.read("again.csv"), project.read("train.csv"));
    let (again, first) = (
        manifest(&project, "again.csv.manifest.json"),
        manifest(&project, MANIFEST),
    );
    assert_eq!(again["content"], first["content"]);
    assert_eq!(again["digest"], first["digest"]);

    // Paths in a manifest are the project's, wherever the command runs.
    let elsewhere = tempfile::tempdir().unwrap();
    let (directory, manifest) = (project.path(), project.path().join(MANIFEST));
    let arguments = [
        "--project",
        directory.to_str().unwrap(),
        "replay",
        manifest.to_str().unwrap(),
    ];
    let ran = project
        .command(&[&arguments[..], &["--out", "x.csv", "--json"]].concat())
        .current_dir(elsewhere.path())
        .output()
        .unwrap();
    let told: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!(
        (&told["same"], &told["extract"]["digest"]),
        (&true.into(), &digest)
    );
    let x = std::fs::read_to_string(elsewhere.path().join("x.csv")).unwrap();
    assert_eq!(x, project.read("train.csv"));
}

#[test]
fn single_features_are_made_again_too() {
    let project = Project::applied();
    let spine = ["--spine", "spine.csv", "--status", "--out", "f.arrow"];
    project.done(
        &[
            &["extract", "--features", "last_order:items,last_order:amount"],
            &spine[..],
        ]
        .concat(),
    );
    project.done(&["replay", "f.arrow.manifest.json", "--out", "g.arrow"]);
    let read = |name: &str| std::fs::read(project.path().join(name)).unwrap();
    assert!(read("f.arrow") == read("g.arrow"));
    let runs = project.done(&["runs", "--json"]).json();
    let runs: Vec<&str> = runs["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| text(&run["subject"]))
        .collect();
    assert_eq!(runs, ["last_order:items,last_order:amount"; 2]);
}

#[test]
fn windows_are_made_again_too() {
    let project = Project::applied();
    let orders = project.read("features/orders.toml");
    let spent = |window: &str| {
        format!(
            "{orders}\n[[view]]\nname = \"spent\"\nentity = \"customer\"\nsource = \"orders\"\n\
             [[view.aggregate]]\ninput = \"amount\"\nfunction = \"mean\"\nwindows = [\"{window}\", \"all\"]\n"
        )
    };
    project.write("features/orders.toml", &spent("30d"));
    project.done(&["apply", "--yes"]);
    let extract = [
        "extract",
        "--features",
        "spent:amount_mean_30d,spent:amount_mean_all",
    ];
    let spine = ["--spine", "spine.csv", "--status", "--out", "w.csv"];
    project.done(&[&extract[..], &spine[..]].concat());
    assert!(project.read("w.csv").lines().nth(1).unwrap().contains("PRESENT"));
    // By the windows of its time.
    project.write("features/orders.toml", &spent("1d"));
    project.done(&["apply", "--yes", "--allow-breaking"]);
    project.done(&["replay", "w.csv.manifest.json", "--out", "again.csv"]);
    assert_eq!(project.read("again.csv"), project.read("w.csv"));
    project.write(
        "data/orders.csv",
        &format!("{}\n", project.read("data/orders.csv")),
    );
    let ran = project.asof(&["replay", "w.csv.manifest.json", "--out", "third.csv"]);
    assert_eq!(ran.code, 4);
    assert!(
        ran.stderr.contains("data/orders.csv was changed"),
        "{}",
        ran.stderr
    );
}

#[test]
fn what_stands_in_the_way_is_named() {
    let project = trained();
    project.write("spine.csv", "customer_id,event_timestamp,reordered\n");
    let orders = project.read("data/orders.csv");
    std::fs::remove_file(project.path().join("data/orders.csv")).unwrap();
    let digest = manifest(&project, MANIFEST)["content"]["definitions_digest"].clone();
    let inputs = |definitions: &str| {
        format!(
            "{definitions}\n  spine: spine.csv was changed: it has 38 bytes, and had 210\n  \
             source orders: data/orders.csv is gone"
        )
    };
    let refused =
        "the dataset of train.csv.manifest.json cannot be made again, and again.csv was not written: ";
    project.refused(
        &replay("again.csv", &[]),
        4,
        &format!("{refused}2 inputs are gone or changed{}", inputs("")),
    );
    // A registry made anew has another v1.
    std::fs::remove_file(project.path().join(".asof/registry.db")).unwrap();
    let path = project.write("data/orders.csv", &orders);
    project.done(&["apply", "--yes"]);
    std::fs::remove_file(path).unwrap();
    let ran = project.asof(&replay("again.csv", &["--json"]));
    assert_eq!(ran.code, 4);
    let told = ran.json();
    assert_eq!(told["same"], false);
    let told: Vec<&str> = told["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| text(&change["input"]))
        .collect();
    assert_eq!(told, ["definitions", "spine", "source orders"]);
    let error: serde_json::Value = serde_json::from_str(&ran.stderr).unwrap();
    let start = format!(
        "{refused}3 inputs are gone or changed\n  definitions: v1 had digest {}, and has sha256:",
        text(&digest)
    );
    assert!(text(&error["error"]).starts_with(&start), "{error}");
    assert!(
        text(&error["error"]).ends_with(&inputs(" in the registry at .asof/registry.db: it was made anew")),
        "{error}"
    );
    assert!(!project.path().join("again.csv").exists());
}

#[test]
fn manifests_and_outputs_that_will_not_do() {
    let project = trained();
    project.refused(
        &["replay", "train.csv", "--out", "again.csv"],
        4,
        "train.csv is no manifest of an extract: did you mean train.csv.manifest.json?",
    );
    project.refused(
        &["replay", "none.json", "--out", "again.csv"],
        4,
        "manifest none.json does not exist",
    );
    project.refused(
        &replay("again.parquet", &[]),
        4,
        "output again.parquet would be parquet, and the dataset of train.csv.manifest.json is csv: give an --out \
         that ends in .csv",
    );
    project.refused(
        &replay("train.csv", &["--overwrite"]),
        2,
        "train.csv is the dataset of train.csv.manifest.json: it is not replaced by what is made from it; give \
         another --out",
    );
    project.write("again.csv", "mine");
    project.refused(
        &replay("again.csv", &[]),
        2,
        "again.csv exists: give --overwrite to replace it, or another --out",
    );
    project.refused(
        &["--server", "http://127.0.0.1:1", "replay", MANIFEST, "--out", "again.csv"],
        2,
        "`asof replay` works on the project's directory, not yet through a server: run it there, without --server",
    );
    let config = project.read("asof.toml");
    project.write("asof.toml", &config.replace("project = \"", "project = \"other_"));
    let name = manifest(&project, MANIFEST)["content"]["project"].clone();
    project.refused(
        &replay("again.csv", &["--overwrite"]),
        2,
        &format!(
            "manifest train.csv.manifest.json is of project {name}, and this is project \"other_{}\": name the \
             directory of that project with --project DIR",
            text(&name)
        ),
    );
}

/// What was printed, with one space where there are several.
fn squeezed(ran: &Ran) -> String {
    let squeeze = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    ran.stdout.lines().map(squeeze).collect::<Vec<_>>().join("\n")
}

#[test]
fn datasets_are_compared() {
    let project = trained();
    project.done(&replay("again.csv", &[]));
    let ran = project.done(&["diff", "train.csv", "again.csv"]);
    assert_eq!(
        ran.stdout,
        "train.csv: 6 rows, 5 columns\nagain.csv: 6 rows, 5 columns\nThe same rows and columns.\n"
    );

    // Of the orders that were found only those of January 20th and of February 1st are younger than a day.
    project.done(&[&EXTRACT[..], &["now.parquet"]].concat());
    let diff = ["diff", "train.csv", "now.parquet"];
    let ran = project.asof(&diff);
    let digest = |name: &str| text(&manifest(&project, name)["content"]["definitions_digest"]).to_owned();
    assert_eq!(
        squeezed(&ran),
        format!(
            "train.csv: 6 rows, 5 columns\n\
             now.parquet: 6 rows, 5 columns\n\
             \n\
             in the manifests train.csv now.parquet\n\
             definitions v1 {} v2 {}\n\
             \n\
             column rows that differ\n\
             last_order__amount 2\n\
             last_order__items 2\n\
             \n\
             column row of train.csv now.parquet\n\
             last_order__amount 0 customer_id=1, event_timestamp=2026-01-10T00:00:00Z 19.9 null\n\
             last_order__amount 1 customer_id=1, event_timestamp=2026-01-20T20:00:00Z 19.9 null\n\
             last_order__items 0 customer_id=1, event_timestamp=2026-01-10T00:00:00Z 2 null\n\
             last_order__items 1 customer_id=1, event_timestamp=2026-01-20T20:00:00Z 2 null",
            digest(MANIFEST),
            digest("now.parquet.manifest.json")
        )
    );
    assert_eq!(ran.code, 4);
    assert_eq!(
        ran.stderr,
        "error: train.csv and now.parquet differ: 2 columns with other values\n"
    );
    let ran = project.asof(
        &[
            &diff[..],
            &["--key", "customer_id", "--key", "event_timestamp", "--json"],
        ]
        .concat(),
    );
    assert_eq!(ran.code, 4);
    let told = ran.json();
    assert_eq!(
        (&told["same"], &told["columns"][3]["rows"]),
        (&false.into(), &2.into())
    );
    assert_eq!(
        told["columns"][3]["examples"][1]["values"],
        serde_json::json!(["19.9", null])
    );

    project.write("less.csv", "customer_id,reordered\n1,true\n4,false\n9,true\n");
    let ran = project.asof(&["diff", "train.csv", "less.csv", "--key", "customer_id"]);
    assert_eq!(
        squeezed(&ran),
        "train.csv: 6 rows, 5 columns\n\
         less.csv: 3 rows, 2 columns\n\
         only in train.csv: event_timestamp, last_order__amount, last_order__items\n\
         only in train.csv: 4 rows: row 1 (customer_id=1), row 2 (customer_id=1), row 3 (customer_id=2), …\n\
         only in less.csv: 1 row: row 2 (customer_id=9)"
    );
    assert_eq!(
        ran.stderr,
        "error: train.csv and less.csv differ: 3 columns of only one of them, 5 rows of only one of them\n"
    );
    project.refused(
        &["diff", "train.csv", "none.csv"],
        4,
        "dataset none.csv does not exist",
    );
}
