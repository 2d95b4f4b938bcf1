//! I18 of the registry: damage is named, and nothing wrong is read; files of earlier formats stay readable.

use std::path::Path;

use asof_core::registry::{NewRun, RegistryError, RegistryStore, RunEnd, RunKind, RunState};
use asof_core::time::Timestamp;
use asof_registry::SqliteRegistry;
use sqlx::Connection;

use crate::files_on_disk::flights;
use crate::support::{WEATHER, plan_on};

/// How often a file is damaged.
const CASES: usize = 500;
const SUBJECTS: [&str; 3] = ["weather", "traffic", "a_view_that_is_read_seldom"];
const RUNS: u64 = 60;

/// `ASOF_CASES` per cent of them.
#[allow(clippy::disallowed_methods, reason = "tests are scaled by the environment")]
fn cases() -> usize {
    let percent = std::env::var("ASOF_CASES").map_or(100, |text| text.parse().unwrap());
    (CASES * percent / 100).max(1)
}

/// What decides how a file is damaged; `ASOF_SEED` gives another.
#[allow(clippy::disallowed_methods, reason = "tests are repeated by the environment")]
fn seed() -> u64 {
    let seed = std::env::var("ASOF_SEED").map_or(18, |text| text.parse().unwrap());
    eprintln!("ASOF_SEED={seed}");
    seed
}

/// A registry with two versions, and a ledger that takes several pages, closed.
async fn build(path: &Path) {
    let store = SqliteRegistry::open(path).await.unwrap();
    let first = plan_on(None, WEATHER).unwrap().definitions().clone();
    let version = store.commit(0, first, Timestamp::EPOCH).await.unwrap();
    let second = format!("{WEATHER}gusts = \"float64\"\n");
    let second = plan_on(Some(&version), &second).unwrap().definitions().clone();
    store.commit(1, second, Timestamp::from_micros(7)).await.unwrap();
    for number in 1..=RUNS {
        let at = i64::try_from(number).unwrap() * 1_000;
        let run = NewRun {
            kind: [RunKind::Materialize, RunKind::Ingest, RunKind::Rollback][number as usize % 3],
            subject: SUBJECTS[number as usize % 7 % 3].into(),
            started_at: Timestamp::from_micros(at),
            pid: 77,
            as_of: (number % 4 > 0).then_some(Timestamp::from_micros(at - 1)),
        };
        let id = store.start_run(&flights(), run).await.unwrap();
        assert_eq!(id, number);
        let state = match number % 5 {
            0 => RunState::Failed {
                error: format!("source of run {number} does not exist"),
            },
            _ => RunState::Done,
        };
        let end = RunEnd {
            finished_at: Timestamp::from_micros(at + 5),
            state,
            rows_read: number * 3,
            rows_written: number * 2,
            rows_skipped: number % 2,
        };
        if number % 9 > 0 {
            store.end_run(&flights(), id, end).await.unwrap();
        }
    }
    store.close().await;
}

/// All that there is, by all ways of asking.
async fn read_all(path: &Path) -> Result<Vec<String>, RegistryError> {
    let store = SqliteRegistry::open(path).await?;
    let read = async {
        let project = flights();
        let mut all = vec![
            format!("{:?}", store.head(&project).await?),
            format!("{:?}", store.history(&project).await?),
            format!("{:?}", store.version(&project, 1).await?),
            format!("{:?}", store.runs(&project, None, 20).await?),
            format!("{:?}", store.runs(&project, None, 1_000).await?),
        ];
        for subject in SUBJECTS {
            all.push(format!("{:?}", store.runs(&project, Some(subject), 5).await?));
        }
        for id in 1..=RUNS + 1 {
            all.push(format!("{:?}", store.run(&project, id).await?));
        }
        Ok(all)
    };
    let all = read.await;
    store.close().await;
    all
}

/// Damages the file in many ways; every answer must be the right one or an error that names it.
#[tokio::test]
async fn a_damaged_file_gives_the_right_answer_or_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registry.db");
    build(&path).await;
    let good = std::fs::read(&path).unwrap();
    let expect = read_all(&path).await.unwrap();
    assert!(good.len() > 10 * 4_096, "{}", good.len());
    let (cases, mut random) = (cases(), seed());
    let mut errors = 0;
    for case in 0..cases {
        let mut draw = |below: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) as usize % below
        };
        let mut bytes = good.clone();
        let at = draw(bytes.len());
        let told = match draw(6) {
            0 => {
                bytes.truncate(at);
                format!("case {case}: cut at {at}")
            }
            1 => {
                let end = (at + 1 + draw(4_096)).min(bytes.len());
                bytes[at..end].fill(0);
                format!("case {case}: {at}..{end} zeroed")
            }
            2 => {
                let (from, to) = (draw(bytes.len() / 4_096) * 4_096, at / 4_096 * 4_096);
                bytes.copy_within(from..from + 4_096, to);
                format!("case {case}: page at {from} written to {to}")
            }
            _ => {
                let bit = draw(8);
                bytes[at] ^= 1 << bit;
                format!("case {case}: bit {bit} of byte {at}")
            }
        };
        let changed = bytes != good;
        std::fs::write(&path, bytes).unwrap();
        match read_all(&path).await {
            Ok(all) => assert_eq!(all, expect, "{told}"),
            Err(error) => {
                assert!(changed, "{told}: {error}");
                let message = error.to_string();
                assert!(message.contains(&path.display().to_string()), "{told}: {message}");
                errors += 1;
            }
        }
    }
    eprintln!("figure: {errors} of {cases} damaged registries gave an error, the others the right answer");
    assert!(errors * 3 > cases, "{errors} of {cases}");
}

async fn execute(path: &Path, sql: &'static str) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_run_that_was_changed_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registry.db");
    for change in [
        "UPDATE runs SET subject = 'other' WHERE id = 7",
        "UPDATE runs SET state = 'failed' WHERE id = 7",
        "UPDATE runs SET as_of = as_of + 1 WHERE id = 7",
        "UPDATE runs SET rows_written = 0 WHERE id = 7",
        "UPDATE runs SET checksum = '' WHERE id = 7",
    ] {
        let _ = std::fs::remove_file(&path);
        build(&path).await;
        execute(&path, change).await;
        let store = SqliteRegistry::open(&path).await.unwrap();
        let expect = format!(
            "the registry at {} is damaged: run 7 differs from its checksum",
            path.display()
        );
        let found = store.run(&flights(), 7).await.unwrap_err();
        assert_eq!(found.to_string(), expect, "{change}");
        let found = store.runs(&flights(), None, 100).await.unwrap_err();
        assert_eq!(found.to_string(), expect, "{change}");
        // Those beside it are read.
        assert_eq!(store.run(&flights(), 8).await.unwrap().unwrap().id, 8);
    }
}

/// A file that a version of Asof wrote which kept no checksums of runs: five runs, two of which failed, one with a rollback.
const FORMAT_1: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/format-1.db");

#[tokio::test]
async fn a_file_of_format_1_is_brought_to_this_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registry.db");
    std::fs::copy(FORMAT_1, &path).unwrap();
    let project = asof_core::name::ProjectName::parse("p").unwrap();
    // As a copy it is read as it is.
    let copy = SqliteRegistry::open_copy(&path).await.unwrap();
    let before = copy.runs(&project, None, 10).await.unwrap();
    assert_eq!(copy.read_back(&project).await.unwrap(), 1);
    copy.close().await;
    assert_eq!(std::fs::read(&path).unwrap(), std::fs::read(FORMAT_1).unwrap());
    assert_eq!(before.len(), 5);
    assert_eq!(before[0].kind, RunKind::Rollback);
    let RunState::Failed { error } = &before[3].state else {
        panic!("{before:?}");
    };
    assert_eq!(error, "source orders: data/orders.csv does not exist");

    // Two at once, of which one brings it to the new format.
    let (a, b) = tokio::join!(SqliteRegistry::open(&path), SqliteRegistry::open(&path));
    for store in [a.unwrap(), b.unwrap()] {
        assert_eq!(store.runs(&project, None, 10).await.unwrap(), before);
        assert_eq!(store.read_back(&project).await.unwrap(), 1);
        store.close().await;
    }
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "no log is left: {left:?}");
    execute(&path, "UPDATE runs SET rows_read = 5 WHERE id = 3").await;
    let store = SqliteRegistry::open(&path).await.unwrap();
    assert!(
        store
            .run(&project, 3)
            .await
            .unwrap_err()
            .to_string()
            .contains("run 3 differs")
    );
}

#[tokio::test]
async fn a_file_of_format_1_that_is_in_use_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registry.db");
    std::fs::copy(FORMAT_1, &path).unwrap();
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
    let mut other = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    let read = "SELECT count(*) FROM runs";
    assert_eq!(
        sqlx::query_scalar::<_, i64>(read)
            .fetch_one(&mut other)
            .await
            .unwrap(),
        5
    );
    let refused = SqliteRegistry::open(&path).await.unwrap_err().to_string();
    assert_eq!(
        refused,
        format!(
            "the registry at {} cannot be used: it is of an earlier version, which still has it open: stop that first",
            path.display()
        )
    );
    assert_eq!(
        sqlx::query_scalar::<_, i64>(read)
            .fetch_one(&mut other)
            .await
            .unwrap(),
        5
    );
    other.close().await.unwrap();
    SqliteRegistry::open(&path).await.unwrap();
}
