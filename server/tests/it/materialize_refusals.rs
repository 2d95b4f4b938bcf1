//! What is refused, and in which words.

use std::sync::Arc;
use std::sync::mpsc;

use asof_core::online::OnlineStore;
use asof_core::online::memory::MemoryStore;
use asof_core::registry::RunState;
use asof_core::time::Timestamp;
use asof_server::error::JobError;
use asof_server::jobs::{Jobs, Materialization};
use asof_server::materialize::Request;

use crate::materialize_project::{ALL, FileRow, Key, Project, VIEWS, definitions};

fn key() -> Key {
    (Some("a".into()), Some(1))
}

fn row(event: i64, created: i64, n: i64) -> FileRow {
    FileRow {
        key: key(),
        event: Some(event),
        created: Some(created),
        deleted: false,
        values: (None, Some(n), None),
    }
}

async fn project() -> Project<MemoryStore> {
    let mut project = Project::new("p", Arc::new(MemoryStore::new()), [None, None]).await;
    project.put_file("1.parquet", &[row(10, 10, 7)]);
    project
}

async fn refused(project: &Project<MemoryStore>, at: i64) -> (tonic::Code, String) {
    let error = project.read("of_files", &[key()], at).await.unwrap_err();
    (error.code(), error.to_string())
}

#[tokio::test]
async fn a_view_that_cannot_answer_says_why() {
    let mut project = project().await;
    let precondition = |text: &str| (tonic::Code::FailedPrecondition, text.to_owned());
    assert_eq!(
        refused(&project, 20).await,
        precondition("view \"of_files\" was never materialized: run `asof materialize of_files`")
    );

    project.run("of_files", 20, false).await.unwrap();
    assert_eq!(
        refused(&project, 19).await,
        precondition(
            "view \"of_files\" was materialized as of 1970-01-01T00:00:00.000020Z, after the clock at \
             1970-01-01T00:00:00.000019Z: give a later --now, or run `asof materialize of_files --as-of \
             1970-01-01T00:00:00.000019Z --full`"
        )
    );
    assert_eq!(
        project.read("of_files", &[key()], 20).await.unwrap()[0].values.1,
        Some(7)
    );

    let text = definitions([None, None], ALL);
    let more = definitions(
        [None, None],
        &format!("{ALL}w = {{ type = \"float64\", column = \"x\" }}\n"),
    );
    project.define(&more).await;
    assert_eq!(
        refused(&project, 20).await,
        precondition(
            "feature \"of_files:w\" is not in what was materialized of its view: run `asof materialize of_files`"
        )
    );

    project
        .define(&text.replace("deleted = \"gone\"\n\n[[source]]", "\n[[source]]"))
        .await;
    assert_eq!(
        refused(&project, 20).await,
        precondition(
            "view \"of_files\" was redefined since it was materialized: run `asof materialize of_files`"
        )
    );
}

#[tokio::test]
async fn an_earlier_instant_needs_full() {
    let mut project = project().await;
    project.put_file("1.parquet", &[row(10, 10, 7), row(15, 15, 8)]);
    project.run("of_files", 20, false).await.unwrap();
    let refused = "view of_files is materialized as of 1970-01-01T00:00:00.000020Z already, later than \
                   1970-01-01T00:00:00.000012Z: give --as-of 1970-01-01T00:00:00.000020Z or later, or --full to build it anew";
    assert_eq!(
        project.run("of_files", 12, false).await.unwrap_err().to_string(),
        refused
    );
    // Nor by way of a generation that is needed anyway.
    project.put_file("0.parquet", &[row(9, 9, 6)]);
    assert_eq!(
        project.run("of_files", 12, false).await.unwrap_err().to_string(),
        refused
    );
    let ledger = project.ledger().await;
    assert_eq!(
        ledger[0].state,
        RunState::Failed {
            error: refused.into()
        }
    );
    assert_eq!(
        project.read("of_files", &[key()], 20).await.unwrap()[0].values.1,
        Some(8)
    );

    project.run("of_files", 12, true).await.unwrap();
    assert_eq!(
        project.read("of_files", &[key()], 12).await.unwrap()[0].values.1,
        Some(7)
    );
}

#[tokio::test]
async fn the_same_again_does_nothing() {
    let mut project = project().await;
    project.put_file("1.parquet", &[row(10, 10, 7), row(10, 90, 8), row(80, 80, 9)]);
    project
        .ingest(&[row(10, 10, 1), row(10, 90, 2), row(80, 80, 3)])
        .await;
    project.run_all(20).await;
    let before = (project.store.changes(), project.store.views().unwrap());
    for view in VIEWS {
        let done = project.run(view, 20, false).await.unwrap();
        assert_eq!((done.rows_read, done.rows_written), (0, 0));
        assert_eq!((done.counts.keys, done.counts.pending), (1, 2));
    }
    assert_eq!((project.store.changes(), project.store.views().unwrap()), before);

    // Onward: nothing is read again, and what was ahead falls due.
    for (at, told) in [(79, [7, 1]), (80, [9, 3]), (90, [9, 3])] {
        for (view, told) in VIEWS.into_iter().zip(told) {
            let done = project.run(view, at, false).await.unwrap();
            assert_eq!(done.rows_read, 0, "{view} at {at}");
            assert_eq!(
                project.read(view, &[key()], at).await.unwrap()[0].values.1,
                Some(told)
            );
        }
    }
    assert_eq!(project.store.views().unwrap().len(), 2);
}

#[tokio::test]
async fn one_run_at_a_time_for_each_view() {
    let project = project().await;
    let request = Request {
        definitions: &project.definitions,
        views: &["of_files".to_owned()],
        as_of: Timestamp::from_micros(20),
        full: false,
        redo: false,
    };
    let (inside, wait) = (mpsc::sync_channel::<()>(1), std::sync::Mutex::new(None));
    // The first run calls this amid its rows, and the second starts there.
    let (sender, receiver) = inside;
    let materializer = project.materializer.clone();
    let definitions = project.definitions.clone();
    let during = move |_: &str, _: u64, _: Option<u64>| {
        let (materializer, definitions) = (materializer.clone(), definitions.clone());
        let second = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(crate::materialize_project::run(
                &materializer,
                &definitions,
                "of_files",
                30,
                true,
            ))
        });
        *wait.lock().unwrap() = Some(second.join().unwrap());
        sender.try_send(()).unwrap();
        let second = wait.lock().unwrap().take().unwrap();
        assert_eq!(
            second.unwrap_err().to_string(),
            "view of_files is being materialized by another run: wait for it to end (`asof runs`)"
        );
    };
    let mut ended = project
        .materializer
        .run(request, Some(Arc::new(during)))
        .await
        .unwrap();
    let first = ended.pop().unwrap();
    receiver.try_recv().expect("the second run was tried");
    first.result.unwrap();
    let ledger = project.ledger().await;
    let states: Vec<_> = ledger
        .iter()
        .map(|run| (run.id == first.run, run.state.clone()))
        .collect();
    assert_eq!(states, [(true, RunState::Done)], "the second was not begun");
    project
        .run("of_files", 20, false)
        .await
        .expect("the view is free again");
}

#[tokio::test]
async fn jobs_run_what_was_asked_for_and_say_how_it_ended() {
    let mut project = project().await;
    project.ingest(&[row(10, 10, 1)]).await;
    let what = |views: &[&str], as_of| Materialization {
        views: views.iter().map(ToString::to_string).collect(),
        as_of: Some(Timestamp::from_micros(as_of)),
        full: false,
        redo: false,
        wait: true,
    };
    let runs = project.materializer.materialize(what(&[], 20)).await.unwrap();
    let ended: Vec<_> = runs
        .iter()
        .map(|view| (view.run.subject.as_str(), &view.run.state, view.run.rows_read))
        .collect();
    assert_eq!(
        ended,
        [("of_files", &RunState::Done, 1), ("of_table", &RunState::Done, 1)]
    );
    let keys: Vec<_> = runs
        .iter()
        .map(|view| Some(view.ended.as_ref()?.as_ref().ok()?.counts.keys))
        .collect();
    assert_eq!(keys, [Some(1), Some(1)]);
    let runs = project
        .materializer
        .materialize(what(&["of_files", "of_files"], 5))
        .await
        .unwrap();
    assert_eq!(runs.len(), 1);
    let error = "view of_files is materialized as of 1970-01-01T00:00:00.000020Z already, later than \
                 1970-01-01T00:00:00.000005Z: give --as-of 1970-01-01T00:00:00.000020Z or later, or --full to build it anew";
    assert_eq!(runs[0].run.state, RunState::Failed { error: error.into() });
    assert!(matches!(runs[0].ended, Some(Err(JobError::Refused(_)))));
    let error = project
        .materializer
        .materialize(what(&["of_file"], 20))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "unknown view \"of_file\"; did you mean \"of_files\"?; the views are of_files, of_table"
    );
}

#[tokio::test]
async fn the_rows_of_views_that_are_defined_no_more_go() {
    let mut project = project().await;
    project.ingest(&[row(10, 10, 1)]).await;
    project.run_all(20).await;
    let names = |project: &Project<MemoryStore>| -> Vec<String> {
        let views = project.store.views().unwrap().into_iter();
        views.map(|(address, ..)| address.view.to_string()).collect()
    };
    assert_eq!(names(&project), VIEWS);
    let mut definitions = asof_core::definition::Definitions::clone(&project.definitions);
    definitions.views.remove(VIEWS[1]);
    let request = Request {
        definitions: &definitions,
        views: &[VIEWS[0].to_owned()],
        as_of: Timestamp::from_micros(21),
        full: false,
        redo: false,
    };
    project.materializer.run(request, None).await.unwrap();
    assert_eq!(names(&project), VIEWS[..1]);
    let told = project.read(VIEWS[0], &[key()], 21).await.unwrap();
    assert_eq!(told[0].values.1, Some(7), "the rows beside them stay");
}
