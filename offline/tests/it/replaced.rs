//! Files that somebody replaces while they are read: an error, never rows of both.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
use asof_core::time::{FixedClock, Timestamp};
use asof_offline::{EngineOptions, ExtractRequest, Origin, Phase, Progress, Rows, Target};

use crate::project::{Project, batch, in_place, write_csv, write_parquet_groups};

/// More rows than wait between the reader and the join.
const ROWS: i64 = 20_000;

/// Once the first rows of a view were taken, does what it was given to do.
struct Meanwhile<F> {
    done: AtomicBool,
    act: F,
}

impl<F: Fn() + Send + Sync> Progress for Meanwhile<F> {
    fn advance(&self, phase: &Phase, done: u64, _total: Option<u64>) {
        if *phase == Phase::Sources && !self.done.swap(true, Ordering::SeqCst) {
            assert!(done < 1_000, "the rest is still to be read");
            (self.act)();
        }
    }
}

fn rows(value: i64) -> RecordBatch {
    let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from_iter_values(0..ROWS).with_timezone("UTC"));
    batch(vec![
        ("k", Arc::new(Int64Array::from(vec![1; ROWS as usize]))),
        ("at", times),
        ("x", Arc::new(Int64Array::from(vec![value; ROWS as usize]))),
    ])
}

fn write(path: &Path, rows: &RecordBatch) {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("csv") => write_csv(path, rows),
        _ => write_parquet_groups(path, rows, 500),
    }
}

/// A project over one file of this name, and a spine.
fn over(name: &str) -> Project {
    let mut project = Project::new();
    project
        .entity("thing", &[("k", "int64")])
        .source(in_place("s", name))
        .view("v", "thing", "s", None, &[("x", "int64")]);
    write(&project.path(name), &rows(1));
    std::fs::write(
        project.path("spine.csv"),
        "k,event_timestamp\n1,2000-01-01T00:00:00Z\n",
    )
    .unwrap();
    project
}

/// What an extract says in which this happens after the first rows of the view; there is no output then.
async fn refused(project: &Project, act: impl Fn() + Send + Sync + 'static) -> String {
    let engine = project.engine_with(EngineOptions {
        readers: 1,
        batch_size: 100,
        ..EngineOptions::default()
    });
    let (spine, out): (PathBuf, PathBuf) = (project.path("spine.csv"), project.path("out.csv"));
    let progress = Meanwhile {
        done: AtomicBool::new(false),
        act,
    };
    let request = ExtractRequest {
        plan: &project.plan(&["v:*"]),
        origin: Origin {
            project: "proof".into(),
            registry_version: 1,
            definitions_digest: "sha256:00".into(),
            service: None,
        },
        rows: Rows::Spine {
            path: &spine,
            time_column: "event_timestamp",
            timezone: None,
        },
        as_corrected: false,
        status: false,
        clock: &FixedClock(Timestamp::EPOCH),
        progress: Arc::new(progress),
    };
    let error = engine
        .extract(
            request,
            Target {
                path: &out,
                overwrite: false,
            },
        )
        .await
        .unwrap_err()
        .to_string();
    assert!(!out.exists());
    let directory = project.path("").canonicalize().unwrap();
    error.replace(directory.to_str().unwrap(), "DIR")
}

#[tokio::test]
async fn a_source_file_that_another_takes_the_place_of() {
    for name in ["a.csv", "a.parquet"] {
        let project = over(name);
        let (path, other) = (project.path(name), project.path("other").join(name));
        std::fs::create_dir(project.path("other")).unwrap();
        write(&other, &rows(22));
        let error = refused(&project, move || std::fs::rename(&other, &path).unwrap()).await;
        assert_eq!(
            error,
            format!("source s: {name} was changed while it was read: run this again when its writer is done")
        );
    }
}

#[tokio::test]
async fn a_source_file_that_grows() {
    let project = over("a.csv");
    let path = project.path("a.csv");
    let error = refused(&project, move || {
        use std::io::Write;
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"1,1970-01-01T00:00:01Z,3\n").unwrap();
    })
    .await;
    assert_eq!(
        error,
        "source s: a.csv was changed while it was read: run this again when its writer is done"
    );
}

#[tokio::test]
async fn a_source_file_that_is_removed() {
    let project = over("a.csv");
    let path = project.path("a.csv");
    let error = refused(&project, move || std::fs::remove_file(&path).unwrap()).await;
    assert_eq!(error, "DIR/a.csv: No such file or directory (os error 2)");
}

#[tokio::test]
async fn a_spine_that_another_takes_the_place_of() {
    let project = over("a.csv");
    let spine = project.path("spine.csv");
    let replaced = spine.clone();
    let error = refused(&project, move || {
        std::fs::write(&replaced, "k,event_timestamp\n2,2000-01-01T00:00:00Z\n").unwrap();
    })
    .await;
    assert_eq!(
        error.replace(spine.to_str().unwrap(), "SPINE"),
        "spine DIR/spine.csv was changed while it was read: run this again when its writer is done"
    );
}
