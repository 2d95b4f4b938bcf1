//! Whole runs of the binary.

use std::path::Path;
use std::process::Command;

/// Runs the bench on a small generated set, and returns what it printed.
fn bench(data: &Path, options: &[&str]) -> String {
    let spec = [
        "--rows=3000",
        "--keys=200",
        "--spine-rows=400",
        "--files=8",
        "--set=generated",
    ];
    let run = Command::new(env!("CARGO_BIN_EXE_asof-benches"))
        .args(["run", "--seconds=0.04", "--connections=2"])
        .arg("--data")
        .arg(data)
        .args(spec)
        .args(options)
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    String::from_utf8(run.stdout).unwrap()
}

/// The table's lines: measure with unit, and median, least and greatest.
fn figures(page: &str) -> Vec<(String, [f64; 3])> {
    let line = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let number = |at: usize| cells[at].replace(',', "").parse::<f64>().ok();
        let numbers = [number(4)?, number(5)?, number(6)?];
        Some((format!("{} ({})", cells[2], cells[3]), numbers))
    };
    page.lines()
        .filter(|text| text.starts_with("| "))
        .filter_map(line)
        .collect()
}

#[test]
fn every_stage_gives_its_figures() {
    let data = tempfile::tempdir().unwrap();
    let results = data.path().join("RESULTS.md");
    let page = bench(
        data.path(),
        &[
            "--runs=1",
            "--fact=commit=abc",
            "--results",
            results.to_str().unwrap(),
        ],
    );

    assert_eq!(std::fs::read_to_string(&results).unwrap(), page);
    assert!(page.contains("- commit: abc\n"), "{page}");
    // row_id, user_id, event_timestamp, label and the ten features.
    assert!(
        page.contains("extract: 400 spine rows, 3,000 source rows read, 14 columns out"),
        "{page}"
    );
    assert!(
        page.contains(
            "materialize: 1 view into an empty store, 3,000 rows read, 3,000 written, 200 keys held"
        ),
        "{page}"
    );
    assert!(page.contains("GetFeatures: 10 features of 1 view, "), "{page}");
    let (own, online) = page
        .split_once("## Online, beside an echo, Redis and Feast")
        .unwrap();
    let (online, compared) = online.split_once("## Beside DuckDB and Polars").unwrap();
    assert!(online.contains("held against"), "{online}");
    assert!(compared.contains("held against"), "{compared}");
    let figures = figures(own);
    let measures: Vec<&str> = figures.iter().map(|(measure, _)| measure.as_str()).collect();
    let mut expected: Vec<String> = [
        "extract (s)",
        "extract, spine rows (rows/s)",
        "extract, source rows (rows/s)",
        "extract, peak memory (MiB)",
        "materialize (s)",
        "materialize, source rows (rows/s)",
        "materialize, peak memory (MiB)",
        "extract with five expressions (s)",
        "extract with five expressions / without (×)",
    ]
    .map(ToString::to_string)
    .into();
    for connections in ["1 connection", "2 connections"] {
        let load = format!("GetFeatures with five expressions, 100 entities, {connections}");
        expected.extend([
            format!("{load} (requests/s)"),
            format!("{load}, p50 (µs)"),
            format!("{load}, p99 (µs)"),
            format!("{load} / without (×)"),
        ]);
    }
    for entities in ["1 entity", "100 entities"] {
        for connections in ["1 connection", "2 connections"] {
            for served in ["GetFeatures", "echo of the same size"] {
                let load = format!("{served}, {entities}, {connections}");
                expected.extend([
                    format!("{load} (requests/s)"),
                    format!("{load}, p50 (µs)"),
                    format!("{load}, p99 (µs)"),
                ]);
            }
            expected.push(format!("GetFeatures / echo, {entities}, {connections} (×)"));
        }
    }
    for durability in ["process", "sync"] {
        for connections in ["1 connection", "2 connections"] {
            let load = format!("push, {durability}, 100 rows a request, {connections}");
            expected.extend([
                format!("{load} (rows/s)"),
                format!("{load}, p50 (µs)"),
                format!("{load}, p99 (µs)"),
            ]);
        }
    }
    assert_eq!(measures, expected);
    for (measure, numbers) in &figures {
        assert!(
            numbers.iter().all(|number| *number > 0.0),
            "{measure}: {numbers:?}"
        );
    }
}

#[test]
fn one_stage_is_measured_alone_and_as_often_as_asked_for() {
    let data = tempfile::tempdir().unwrap();
    let page = bench(data.path(), &["--runs=3", "--only=extract"]);
    let figures = figures(&page);
    assert_eq!(figures.len(), 4, "{page}");
    for (measure, [median, min, max]) in figures {
        assert!(min <= median && median <= max, "{measure} in {page}");
    }
}

/// Case, what it is held against, what is wanted and the word for it, of each line that judges.
fn verdicts(page: &str) -> Vec<[String; 4]> {
    let line = |line: &str| {
        let cells: Vec<String> = line.split('|').map(|cell| cell.trim().to_owned()).collect();
        let against = cells[3]
            .rsplit_once(' ')
            .map_or(String::new(), |(name, _)| name.to_owned());
        (cells.len() == 9).then(|| [cells[1].clone(), against, cells[6].clone(), cells[7].clone()])
    };
    page.lines()
        .filter(|text| text.starts_with("| "))
        .filter_map(line)
        .skip(1)
        .collect()
}

#[test]
fn without_peers_the_engine_is_held_against_itself() {
    let data = tempfile::tempdir().unwrap();
    let page = bench(data.path(), &["--runs=1", "--only=compare"]);
    assert!(
        page.contains("- peers: not measured: no --python with DuckDB and Polars was named\n"),
        "{page}"
    );
    let found = verdicts(&page);
    let expected = [
        ["1 view, 400 spine rows", "decode and encode", "≤ 1.35"],
        ["growth, 2 × 375 rows", "1 ×", "≤ 2"],
        ["growth, 4 × 375 rows", "1 ×", "≤ 4"],
        ["growth, 8 × 375 rows", "1 ×", "≤ 8"],
        ["1 view, 400 spine rows, string keys", "int64 keys", "≤ 1.5"],
        ["1 view, 400 spine rows, composite keys", "int64 keys", "≤ 1.5"],
    ];
    let shown: Vec<[&str; 3]> = found.iter().map(|[a, b, c, _]| [a.as_str(), b, c]).collect();
    assert_eq!(shown, expected, "{page}");
    assert!(
        found.iter().all(|[.., word]| word == "met" || word == "missed"),
        "{page}"
    );
    // Of the small spines only figures are left, also of the managed table with the same rows.
    for measure in [
        "1 view, 4 spine rows spread evenly: asof (s)",
        "managed table, ingest (rows/s)",
        "managed table, compact (rows/s)",
        "1 view, 4 spine rows of 1 keys: asof, managed table (s)",
        "1 view, 4 spine rows of one day: asof, managed table (s)",
        "3 views, 400 spine rows: asof, peak memory (MiB)",
        "3 aggregates × 3 windows, 400 spine rows, 100 keys: asof (s)",
        "3 aggregates × 3 windows, 400 spine rows, 200 keys: asof (s)",
    ] {
        assert!(
            figures(&page).iter().any(|(name, _)| name == measure),
            "{measure} in {page}"
        );
    }
    // What only a case needed is gone, and the sets are left.
    let left = std::fs::read_dir(data.path().join("scratch")).unwrap().count();
    assert_eq!(left, 0);
    let sets = std::fs::read_dir(data.path()).unwrap().count() - 1;
    assert_eq!(sets, 3, "one for each view");
}

#[test]
fn reads_are_held_against_an_echo_and_redis() {
    let setup = Command::new("../scripts/setup.sh").arg("redis").output().unwrap();
    assert!(
        setup.status.success(),
        "{}",
        String::from_utf8_lossy(&setup.stderr)
    );
    let data = tempfile::tempdir().unwrap();
    let page = bench(
        data.path(),
        &["--runs=1", "--only=online", "--redis=redis-server"],
    );
    assert!(
        page.contains("- feast: not measured: no Python with Feast was named\n"),
        "{page}"
    );
    // Redis was seen to have as many.
    assert!(
        page.contains("- few keys: 200 keys, 99.2 % of the values there\n"),
        "{page}"
    );
    let found = verdicts(&page);
    let expected = [
        ["1 entity × 250 features, 1 connection", "echo", "≥ 0.6"],
        ["1 entity × 250 features, 2 connections", "echo", "≥ 0.6"],
        ["1 entity × 250 features at half load", "limit", "≤ 1"],
        ["100 entities × 250 features, 1 connection", "echo", "≥ 0.25"],
        ["100 entities × 250 features, 2 connections", "echo", "≥ 0.25"],
        ["100 entities × 250 features at half load", "limit", "≤ 1"],
        [
            "1 entity × 250 features of 200 keys, 1 connection",
            "200 keys",
            "≥ 0.8",
        ],
        [
            "1 entity × 250 features of 200 keys, 2 connections",
            "200 keys",
            "≥ 0.8",
        ],
        ["1 entity × 10 features, 1 connection", "echo", "≥ 0.85"],
        ["1 entity × 10 features, 2 connections", "echo", "≥ 0.85"],
        ["bulk load of 3,000 rows", "limit", "≥ 1"],
        ["a row of 10 features of 8 bytes, with its key", "limit", "≤ 1"],
        [
            "1 entity × 10 features at half load, beside a bulk load",
            "quiet",
            "≤ 3",
        ],
        [
            "10 entities × 9 windowed features, 100 events a day of 3 keys, 1 connection",
            "echo",
            "≥ 0.3",
        ],
        [
            "10 entities × 9 windowed features, 100 events a day of 3 keys, 2 connections",
            "echo",
            "≥ 0.3",
        ],
        [
            "10 entities × 9 windowed features, 1 connection, 10,000 events a day",
            "1 event a day",
            "≥ 0.8",
        ],
        [
            "10 entities × 9 windowed features, 2 connections, 10,000 events a day",
            "1 event a day",
            "≥ 0.8",
        ],
        ["push into 3 aggregates × 3 windows, 1 connection", "limit", "≥ 1"],
        [
            "push into 3 aggregates × 3 windows, 2 connections",
            "limit",
            "≥ 1",
        ],
    ];
    let shown: Vec<[&str; 3]> = found.iter().map(|[a, b, c, _]| [a.as_str(), b, c]).collect();
    assert_eq!(shown, expected, "{page}");
    let figures = figures(&page);
    for measure in [
        "1 entity × 250 features, 2 connections: redis (requests/s)",
        "100 entities × 250 features, 1 connection: redis, p99 (ms)",
        "100 entities × 250 features, 2 connections: blocks cached (requests/s)",
        "1 entity × 250 features of 200 keys, 2 connections, cold (requests/s)",
    ] {
        let figure = figures.iter().find(|(name, _)| name == measure);
        assert!(
            figure.is_some_and(|(_, numbers)| numbers[0] > 0.0),
            "{measure} in {page}"
        );
    }
    let left = std::fs::read_dir(data.path().join("scratch")).unwrap().count();
    assert_eq!(left, 0);
}

#[test]
fn parts_of_files_are_refused() {
    let data = tempfile::tempdir().unwrap();
    let run = Command::new(env!("CARGO_BIN_EXE_asof-benches"))
        .args(["run", "--set=generated", "--only=compare", "--case=growth"])
        .args(["--rows=300", "--keys=100", "--spine-rows=10", "--files=3"])
        .arg("--data")
        .arg(data.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(!run.status.success());
    assert!(
        said.contains("for parts of the files their number must be a multiple of 8; got 3"),
        "{said}"
    );
}

#[test]
fn a_project_that_is_not_there_fails_by_its_name() {
    let data = tempfile::tempdir().unwrap();
    let run = Command::new(env!("CARGO_BIN_EXE_asof-benches"))
        .args([
            "run",
            "--set=flights",
            "--only=extract",
            "--flights",
            "no/such/project",
        ])
        .arg("--data")
        .arg(data.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(!run.status.success());
    assert!(said.contains("no/such/project"), "{said}");
    assert!(run.stdout.is_empty());
}
