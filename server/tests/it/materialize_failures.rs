//! A store that fails at one call: whatever the call, running again ends where a run without failure does.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use asof_core::cancel::Cancellation;
use asof_core::definition::{Definitions, Location};
use asof_core::name::{SourceName, ViewName};
use asof_core::online::memory::MemoryStore;
use asof_core::online::{Counts, OnlineStore, StoreError};
use asof_core::registry::RunState;
use asof_core::time::Timestamp;
use asof_server::jobs::{Jobs, Materialization};
use asof_server::materialize::Request;

use crate::materialize_project::{FileRow, Project, Random, Told, VIEWS, keys, run};
use crate::wrapped_store::{Around, Wrapped};

/// The nth changing call of a store fails, before or after it did what it was asked for.
pub(crate) struct Failing {
    /// How many more calls go well.
    pub(crate) left: AtomicI64,
    after: bool,
    /// How many keys are not there any more when they are counted.
    lost: AtomicU64,
    /// How many generations were counted in each pass.
    surveys: Mutex<Vec<usize>>,
}

impl Around for Failing {
    fn change<T>(&self, call: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        let fails = self.left.fetch_sub(1, Ordering::SeqCst) == 0;
        if fails && !self.after {
            return Err(broken());
        }
        let result = call();
        if fails { Err(broken()) } else { result }
    }

    fn counted(&self, counts: Counts) -> Counts {
        Counts {
            keys: counts.keys - self.lost.load(Ordering::SeqCst),
            ..counts
        }
    }

    fn before_survey(&self, generations: usize, _: &Cancellation) {
        self.surveys.lock().unwrap().push(generations);
    }
}

fn broken() -> StoreError {
    StoreError::Failed {
        place: "here".into(),
        reason: "a wire was cut".into(),
    }
}

/// A memory store of which a call fails.
pub(crate) type Store = Wrapped<MemoryStore, Failing>;

pub(crate) fn failing(nth: i64, after: bool) -> Arc<Store> {
    Arc::new(Wrapped {
        inner: MemoryStore::new(),
        around: Failing {
            left: AtomicI64::new(nth),
            after,
            lost: AtomicU64::new(0),
            surveys: Mutex::default(),
        },
    })
}

/// A view's runs, as of when, and whether a file that was there is exchanged before.
type Steps = &'static [(i64, bool)];

/// Of files: a first generation, on with it, and another one because a file is not what it was.
const OF_FILES: Steps = &[(100, false), (106, false), (110, true)];
const OF_TABLE: Steps = &[(100, false), (106, false)];

#[tokio::test]
async fn whichever_call_fails_running_again_makes_it_good() {
    // To begin, to write down what is coming, rows, what is due, the end; of a new generation also its
    // beginning and that it serves.
    for (view, steps, least) in [(VIEWS[0], OF_FILES, 18), (VIEWS[1], OF_TABLE, 11)] {
        for after in [false, true] {
            let mut nth = 0;
            while scenario(view, steps, nth, after).await {
                nth += 1;
            }
            println!(
                "{view}: {nth} calls failed, {}",
                if after { "after the fact" } else { "before it" }
            );
            assert!(nth >= least, "only {nth} calls");
        }
    }
}

#[tokio::test]
async fn a_run_that_nobody_waited_for_is_listed_with_its_code() {
    let mut project = Project::new("p", failing(1, false), [Some(9), None]).await;
    project.put_file("0.parquet", &Random::new(7).rows(12, 100));
    let what = Materialization {
        views: vec![VIEWS[0].into()],
        as_of: Some(Timestamp::from_micros(100)),
        full: false,
        redo: false,
        wait: false,
    };
    let begun = project.materializer.materialize(what).await.unwrap();
    while project.ledger().await[0].state == RunState::Running {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let code = project.materializer.code_of(begun[0].run.id);
    assert_eq!(code, Some(tonic::Code::Unavailable));
}

/// Whether the nth call was made, which failed.
async fn scenario(view: &str, steps: Steps, nth: i64, after: bool) -> bool {
    let mut project = Project::new("p", failing(nth, after), [Some(9), None]).await;
    let (mut random, keys) = (Random::new(7), keys());
    let mut before: Option<(i64, Vec<Told>)> = None;
    let mut failed = false;
    for (step, (at, exchanged)) in steps.iter().copied().enumerate() {
        let rows = random.rows(12, at);
        if view == VIEWS[0] {
            project.put_file(&format!("{step}.parquet"), &rows);
        } else {
            project.ingest(&rows).await;
        }
        if exchanged {
            project.put_file("0.parquet", &random.rows(12, at));
        }
        if let Err(error) = project.run(view, at, false).await {
            assert!(!failed, "call {nth} failed alone");
            failed = true;
            let text = "the online store at here failed: a wire was cut";
            assert_eq!(error.to_string(), text);
            let ledger = project.ledger().await;
            assert_eq!(ledger[0].state, RunState::Failed { error: text.into() });
            if let Some((then, told)) = &before {
                still_serves(&project, view, *then, told, at).await;
            }
            project.run(view, at, false).await.unwrap();
        }
        let told = project.read(view, &keys, at).await.unwrap();
        for (key, told) in keys.iter().zip(&told) {
            let expected = project.expected(view, key, at);
            assert_eq!(*told, expected, "call {nth}, view {view}, key {key:?} at {at}");
        }
        before = Some((at, told));
    }
    // A failure to remove what was given up fails no run.
    let made = project.store.around.left.load(Ordering::SeqCst) < 0;
    if made {
        nothing_is_left_behind(&project, view, steps[steps.len() - 1].0).await;
    }
    made
}

/// The store holds what one run into an empty store would have put there, and nothing is under way.
async fn nothing_is_left_behind(project: &Project<Store>, view: &str, last: i64) {
    let mut views = project.store.views().unwrap();
    let (_, slot, state) = views.remove(0);
    assert!(views.is_empty());
    assert_eq!(state.building, None);
    let counts = project
        .store
        .count(slot, state.serving.unwrap().generation)
        .unwrap();
    let materializer = project.over(Arc::new(MemoryStore::new()));
    let fresh = run(&materializer, &project.definitions, view, last, false)
        .await
        .unwrap()
        .counts;
    assert_eq!((counts.keys, counts.pending), (fresh.keys, fresh.pending));
}

/// What served goes on serving, as it was or onward to the instant of the run that failed.
async fn still_serves(project: &Project<Store>, view: &str, then: i64, told: &[Told], at: i64) {
    let keys = keys();
    let answers = project.read(view, &keys, at).await.expect("the view answers");
    assert_eq!(answers.len(), told.len());
    let materialized = project
        .answer(&project.store, &[&format!("{view}:*")], &keys, at)
        .await
        .unwrap();
    let to = materialized.materialized_to[0].micros();
    assert!(to == then || to == at, "materialized to {to}");
    // At its own instant it says what it said, or that it holds later rows: never anything else.
    match project.read(view, &keys, then).await {
        Ok(answers) => assert_eq!(answers, told),
        Err(error) => assert_eq!(error.code(), tonic::Code::FailedPrecondition),
    }
}

#[tokio::test]
async fn nothing_goes_back_behind_a_run_that_was_cut_short() {
    let store = failing(3, true);
    let mut project = Project::new("p", store.clone(), [None, None]).await;
    let (view, keys, mut random) = (VIEWS[0], keys(), Random::new(3));
    project.put_file("0.parquet", &random.rows(40, 100));
    // The rows of a first build as of 107 are there, and no more: one as of 100 builds anew.
    project.run(view, 107, false).await.unwrap_err();
    project.run(view, 100, false).await.unwrap();
    let told = project.read(view, &keys, 100).await.unwrap();
    let expected: Vec<_> = keys.iter().map(|key| project.expected(view, key, 100)).collect();
    assert_eq!(told, expected);

    // What is coming is written, and rows as of 107 are: one as of 103 would hold them, and not say so.
    project.put_file("1.parquet", &random.rows(40, 100));
    store.around.left.store(3, Ordering::SeqCst);
    project.run(view, 107, false).await.unwrap_err();
    let refused = project.run(view, 103, false).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "a run of view of_files as of 1970-01-01T00:00:00.000107Z did not end, and what it wrote is later than \
         1970-01-01T00:00:00.000103Z: give --as-of 1970-01-01T00:00:00.000107Z or later, or --full to build the \
         view anew"
    );
    project.run(view, 103, true).await.unwrap();
    for at in [103, 107] {
        project.run(view, at, false).await.unwrap();
        let told = project.read(view, &keys, at).await.unwrap();
        let expected: Vec<_> = keys.iter().map(|key| project.expected(view, key, at)).collect();
        assert_eq!(told, expected, "at {at}");
    }
}

/// A generation that was begun anew, and not ended, is taken up by the next run that builds anew, and given up by one
/// that goes on with the generation that serves.
#[tokio::test]
async fn a_full_run_that_was_cut_short_leaves_nothing_behind() {
    for full in [true, false] {
        let store = failing(i64::MAX, false);
        let mut project = Project::new("p", store.clone(), [None, None]).await;
        let (view, keys, mut random) = (VIEWS[0], keys(), Random::new(5));
        project.put_file("0.parquet", &random.rows(40, 100));
        project.run(view, 100, false).await.unwrap();
        // The view is opened, the generation begun, what is coming written down, and then no row.
        store.around.left.store(3, Ordering::SeqCst);
        project.run(view, 101, true).await.unwrap_err();
        let state = || store.views().unwrap().remove(0).2;
        let cut = state().building.unwrap().generation;

        project.run(view, 102, full).await.unwrap();
        assert_eq!(state().building, None);
        assert_eq!(state().serving.unwrap().generation == cut, full);
        let told = project.read(view, &keys, 102).await.unwrap();
        let expected: Vec<_> = keys.iter().map(|key| project.expected(view, key, 102)).collect();
        assert_eq!(told, expected);
    }
}

#[tokio::test]
async fn a_run_that_was_cut_short_goes_on_behind_its_last_chunk() {
    for (view, grown) in [
        (VIEWS[0], false),
        (VIEWS[0], true),
        (VIEWS[1], false),
        (VIEWS[1], true),
    ] {
        let store = failing(i64::MAX, false);
        let mut project = Project::new("p", store.clone(), [None, None]).await;
        let (keys, mut random) = (keys(), Random::new(11));
        let files = view == VIEWS[0];
        let mut rows = 0;
        for step in 0..3 {
            let at = 100 + step;
            let new = random.rows(40, at);
            rows += new.len() as u64;
            match files {
                true => project.put_file(&format!("{step}.parquet"), &new),
                false => project.ingest(&new).await,
            }
            // Into a new generation, or on with one that has the first rows.
            if grown && step == 0 {
                project.run(view, at, false).await.unwrap();
                rows = 0;
            }
        }
        let whole = project.over(Arc::new(MemoryStore::new()));
        let whole = run(&whole, &project.definitions, view, 120, false).await.unwrap();
        // What comes before the first rows, then loads and writes of some chunks.
        let before = if grown { 2 } else { 3 };
        let mut read = Vec::new();
        for cut in 0..17 {
            store.around.left.store(before + cut % 6, Ordering::SeqCst);
            // Later from run to run, so that pending rows fall due in between.
            match project.run(view, 103 + cut, false).await {
                Ok(done) => {
                    read.push(done.rows_read);
                    break;
                }
                Err(error) => assert_eq!(
                    error.to_string(),
                    "the online store at here failed: a wire was cut"
                ),
            }
        }
        store.around.left.store(i64::MAX, Ordering::SeqCst);
        if read.is_empty() {
            read.push(project.run(view, 120, false).await.unwrap().rows_read);
        }
        assert!(
            read[0] * 2 < rows,
            "{} of {rows} rows were read at last, {view}, grown {grown}",
            read[0]
        );
        project.run(view, 120, false).await.unwrap();
        let told = project.read(view, &keys, 120).await.unwrap();
        let expected: Vec<_> = keys.iter().map(|key| project.expected(view, key, 120)).collect();
        assert_eq!(told, expected, "{view}, grown {grown}");
        let (_, slot, state) = store.views().unwrap().remove(0);
        let counts = store.count(slot, state.serving.unwrap().generation).unwrap();
        assert_eq!(
            (counts.keys, counts.pending),
            (whole.counts.keys, whole.counts.pending)
        );
    }
}

#[tokio::test]
async fn a_run_is_not_done_where_what_it_wrote_is_not_all_there() {
    let store = failing(i64::MAX, false);
    let mut project = Project::new("p", store.clone(), [None, None]).await;
    let view = VIEWS[0];
    let row = |number: i64, event: i64, created: i64| FileRow {
        key: (Some("a".into()), Some(number)),
        event: Some(event),
        created: Some(created),
        deleted: false,
        values: (None, Some(event), None),
    };
    let refused = |found: &str, expected: &str| {
        format!(
            "the online store at memory holds {found} of view of_files, and {expected} were written: check the \
             disk, and build the view anew with --full"
        )
    };
    // Three keys, one of them with two rows, and a row of the second that becomes known later.
    let rows = [
        row(1, 10, 10),
        row(2, 10, 10),
        row(3, 10, 10),
        row(1, 11, 11),
        row(2, 12, 90),
    ];
    project.put_file("1.parquet", &rows);
    store.around.lost.store(1, Ordering::SeqCst);
    let error = project.run(view, 20, false).await.unwrap_err().to_string();
    let text = refused("2 keys and 1 pending rows", "3 keys and 1 pending rows");
    assert_eq!(error, text);
    assert_eq!(project.ledger().await[0].state, RunState::Failed { error: text });
    assert!(
        project.store.views().unwrap()[0].2.serving.is_none(),
        "it does not serve"
    );

    // Seen again, they are all there; gone later, the next run says so, with something to write or nothing.
    store.around.lost.store(0, Ordering::SeqCst);
    let done = project.run(view, 20, false).await.unwrap();
    assert_eq!((done.counts.keys, done.counts.pending), (3, 1));
    store.around.lost.store(1, Ordering::SeqCst);
    let error = project.run(view, 20, false).await.unwrap_err().to_string();
    assert_eq!(
        error,
        refused("2 keys and 1 pending rows", "3 to 4 keys and 0 to 1 pending rows")
    );
    project.put_file("2.parquet", &[row(3, 20, 20)]);
    let error = project.run(view, 30, false).await.unwrap_err().to_string();
    assert_eq!(
        error,
        refused("2 keys and 1 pending rows", "3 to 5 keys and 0 to 1 pending rows")
    );
    store.around.lost.store(0, Ordering::SeqCst);
    project.run(view, 30, false).await.unwrap();
}

/// Views of one entity stand side by side, so that each count reads the rows of all.
#[tokio::test]
async fn views_are_counted_together_and_one_that_fails_is_in_the_way_of_none() {
    let store = failing(i64::MAX, false);
    let mut project = Project::new("p", store.clone(), [None, None]).await;
    let row = FileRow {
        key: (Some("a".into()), Some(1)),
        event: Some(10),
        created: Some(10),
        deleted: false,
        values: (None, Some(10), None),
    };
    project.put_file("1.parquet", &[row]);
    let mut definitions = Definitions::clone(&project.definitions);
    let (view, mut gone) = (
        definitions.views[VIEWS[0]].clone(),
        definitions.sources["files"].clone(),
    );
    gone.name = SourceName::parse("gone").unwrap();
    gone.location = Location::InPlace {
        path: "nowhere/*.parquet".into(),
    };
    definitions.sources.insert(gone.name.clone(), gone);
    let names: Vec<String> = (0..12).map(|number| format!("view_{number:02}")).collect();
    for (number, name) in names.iter().enumerate() {
        let mut view = view.clone();
        view.name = ViewName::parse(name).unwrap();
        if number == 4 {
            view.source = SourceName::parse("gone").unwrap();
        }
        definitions.views.insert(view.name.clone(), view);
    }
    let request = Request {
        definitions: &definitions,
        views: &names,
        as_of: Timestamp::from_micros(20),
        full: false,
        redo: false,
    };
    let ended = project.materializer.run(request, None).await.unwrap();

    let views: Vec<&str> = ended.iter().map(|ended| ended.view.as_str()).collect();
    assert_eq!(views, names, "in the order that was asked for");
    for (number, ended) in ended.iter().enumerate() {
        let done = ended.result.as_ref().map(|done| done.counts.keys);
        assert_eq!(done.ok(), (number != 4).then_some(1), "{}", ended.view);
    }
    // Eleven views, each time one more than before.
    assert_eq!(*store.around.surveys.lock().unwrap(), [1, 2, 4, 4]);
    let ledger = project.ledger().await;
    let failed = ledger.iter().filter(|run| run.state != RunState::Done);
    assert_eq!(
        failed.map(|run| run.subject.as_str()).collect::<Vec<_>>(),
        ["view_04"]
    );
    let serving = store
        .views()
        .unwrap()
        .into_iter()
        .filter(|view| view.2.serving.is_some());
    assert_eq!(serving.count(), 11);
}
