//! A run is undone without reading anything again: what it brought is gone, what was pushed stays, and no later run brings it
//! back unless it is told to.

use std::collections::BTreeSet;
use std::sync::Arc;

use asof_core::online::memory::MemoryStore;
use asof_core::online::{OnlineStore, ViewState};
use asof_core::registry::{RegistryStore, RunEnd, RunKind, RunState};
use asof_core::time::Timestamp;
use asof_server::materialize::{MaterializeError, Request, RolledBack};

use crate::materialize_project::{
    ALL, FileRow, Key, Project, Random, Told, VIEWS, definitions, keys, rocks, run_one, seeds,
};

/// What a view must serve, by the seqs of its rows.
#[derive(Default)]
struct Model {
    /// Those that runs took.
    taken: BTreeSet<u64>,
    /// Those that came to the store when they were pushed.
    pushed: BTreeSet<u64>,
    /// Those of runs that were rolled back.
    held: BTreeSet<u64>,
    /// Whether there is such a run, with rows or without.
    is_held: bool,
    as_of: Option<i64>,
    /// The last run, with what was visible and what was complete before it.
    last: Option<(u64, BTreeSet<u64>, Option<i64>)>,
}

impl Model {
    fn visible(&self) -> BTreeSet<u64> {
        let taken = self.taken.difference(&self.held).copied();
        taken.chain(self.pushed.iter().copied()).collect()
    }

    fn ran(&mut self, run: u64, at: i64, all: BTreeSet<u64>, brings_back: bool) {
        let before = (self.visible(), self.as_of);
        if brings_back {
            self.held.clear();
            self.is_held = false;
        }
        self.taken = all;
        if !self.is_held {
            self.as_of = Some(at);
        }
        self.last = Some((run, before.0, before.1));
    }

    fn rolled_back(&mut self) -> u64 {
        let (run, before, as_of) = self.last.take().unwrap();
        self.held = self.taken.difference(&before).copied().collect();
        self.is_held = true;
        self.as_of = as_of;
        run
    }
}

/// A project, and what is materialized and rolled back in it.
struct Trial<S> {
    project: Project<S>,
    view: &'static str,
    model: Model,
    /// The seqs of all rows that there are.
    all: BTreeSet<u64>,
    at: i64,
}

impl<S: OnlineStore + 'static> Trial<S> {
    async fn new(name: &str, store: Arc<S>, view: &'static str, ttl: Option<i64>) -> Self {
        Self {
            project: Project::new(name, store, [ttl, ttl]).await,
            view,
            model: Model::default(),
            all: BTreeSet::new(),
            at: 1_000,
        }
    }

    async fn run(&mut self, full: bool, redo: bool) -> Result<u64, MaterializeError> {
        let request = Request {
            definitions: &self.project.definitions,
            views: &[self.view.to_owned()],
            as_of: Timestamp::from_micros(self.at),
            full,
            redo,
        };
        let (run, result) = run_one(&self.project.materializer, request).await;
        result?;
        self.model.ran(run, self.at, self.all.clone(), full || redo);
        Ok(run)
    }

    async fn roll_back(&mut self, run: u64) -> Result<RolledBack, MaterializeError> {
        let definitions = &self.project.definitions;
        self.project.materializer.roll_back(definitions, run).await
    }

    /// New rows in the source: a file, or an ingest.
    async fn add(&mut self, rows: &[FileRow]) {
        if self.view == VIEWS[0] {
            let file = self.project.files.len();
            self.project.put_file(&format!("{file:03}.parquet"), rows);
            let seqs = (0..rows.len()).map(|row| asof_core::order::file_seq(file, row as u64).unwrap());
            self.all.extend(seqs);
        } else {
            let first = self.project.table.len() as u64 + 1;
            self.project.ingest(rows).await;
            self.all.extend(first..first + rows.len() as u64);
        }
    }

    async fn push(&mut self, rows: &[FileRow]) {
        let first = self.project.table.len() as u64 + 1;
        self.project.push(rows, self.at).await;
        let seqs = first..=self.project.table.len() as u64;
        self.all.extend(seqs.clone());
        self.model.pushed.extend(seqs);
    }

    fn state(&self) -> ViewState {
        let views = self.project.store.views().unwrap();
        let (_, _, state) = views
            .into_iter()
            .find(|(address, _, _)| address.view.as_str() == self.view)
            .unwrap();
        state
    }

    async fn check(&self, what: &str) {
        let keys = keys();
        let visible = self.model.visible();
        for at in [self.at, self.at + 7] {
            let told = self.project.read(self.view, &keys, at).await.unwrap();
            for (key, told) in keys.iter().zip(told) {
                let expected = self
                    .project
                    .expected_of(self.view, key, at, |seq| visible.contains(&seq));
                assert_eq!(told, expected, "{what}: {key:?} at {at}");
            }
        }
        let as_of = self.state().serving.unwrap().as_of.map(Timestamp::micros);
        assert_eq!(as_of, self.model.as_of, "{what}");
    }
}

async fn schedule<S: OnlineStore + 'static>(seed: u64, store: Arc<S>) {
    let view = VIEWS[(seed % 2) as usize];
    let mut random = Random::new(seed);
    let ttl = [None, Some(20)][(seed / 2 % 2) as usize];
    let mut trial = Trial::new("shop", store, view, ttl).await;
    let at = trial.at;
    trial.add(&random.rows(12, at)).await;
    // So that there is a generation to go back to.
    trial.run(false, false).await.unwrap();
    trial.at += 1;
    trial.run(false, false).await.unwrap();
    for step in 0..14 {
        trial.at += 1 + random.below(4) as i64;
        let (at, what) = (trial.at, format!("seed {seed}, step {step}"));
        match random.below(9) {
            0 | 1 => trial.add(&random.rows(9, at)).await,
            2 | 3 if view == VIEWS[1] => {
                let rows: Vec<FileRow> = random
                    .rows(5, at)
                    .into_iter()
                    .filter(|row| row.event.is_some())
                    .collect();
                trial.push(&rows).await;
            }
            4 => {
                trial.run(random.one_in(3), false).await.unwrap();
            }
            5 => {
                trial.run(false, true).await.unwrap();
            }
            _ if trial.model.last.is_some() => {
                let (last, ..) = *trial.model.last.as_ref().unwrap();
                let undone = trial.roll_back(last).await.unwrap();
                trial.model.rolled_back();
                assert_eq!(undone.as_of.map(Timestamp::micros), trial.model.as_of, "{what}");
                let again = trial.roll_back(last).await.unwrap_err();
                assert!(
                    again.to_string().contains("rolled back already"),
                    "{what}: {again}"
                );
            }
            _ => {
                trial.run(false, false).await.unwrap();
            }
        }
        trial.check(&what).await;
    }
    trial.at += 1;
    trial.run(false, true).await.unwrap();
    assert_eq!(trial.model.visible(), trial.all);
    trial.check(&format!("seed {seed}, in the end")).await;
}

#[tokio::test]
async fn what_is_served_is_what_was_taken_and_not_rolled_back() {
    for seed in seeds(40) {
        schedule(seed, Arc::new(MemoryStore::new())).await;
    }
}

#[tokio::test]
async fn the_same_on_disk() {
    for seed in seeds(8) {
        let (_directory, store) = rocks();
        schedule(seed, store).await;
    }
}

fn row(number: i64, event: i64, n: i64) -> FileRow {
    FileRow {
        key: (Some("a".into()), Some(number)),
        event: Some(event),
        created: Some(event),
        deleted: false,
        values: (None, Some(n), None),
    }
}

fn key(number: i64) -> Key {
    (Some("a".into()), Some(number))
}

fn values(told: Result<Vec<Told>, asof_server::error::ServerError>) -> Vec<Option<i64>> {
    told.unwrap().into_iter().map(|told| told.values.1).collect()
}

/// A view of the table with two runs, and a row that is pushed after them.
async fn two_runs() -> (Trial<MemoryStore>, u64, u64) {
    let mut trial = Trial::new("shop", Arc::new(MemoryStore::new()), VIEWS[1], None).await;
    trial.add(&[row(1, 10, 1), row(2, 10, 2)]).await;
    let first = trial.run(false, false).await.unwrap();
    trial.at = 1_010;
    trial.add(&[row(1, 20, 11), row(3, 20, 13)]).await;
    let second = trial.run(false, false).await.unwrap();
    // One that the second run overtakes, one that overtakes it, and one that comes after it.
    trial.push(&[row(1, 15, 5), row(3, 25, 6)]).await;
    (trial, first, second)
}

#[tokio::test]
async fn what_is_pushed_stays_whether_it_won_or_lost() {
    let (mut trial, first, second) = two_runs().await;
    let keys = [key(1), key(2), key(3)];
    assert_eq!(
        values(trial.project.read(VIEWS[1], &keys, 1_010).await),
        [Some(11), Some(2), Some(6)]
    );
    let not_last = trial.roll_back(first).await.unwrap_err().to_string();
    assert_eq!(
        not_last,
        format!(
            "run {first} cannot be rolled back: run {second} of view of_table was completed after it, and only the last one \
             can be"
        )
    );
    let undone = trial.roll_back(second).await.unwrap();
    trial.model.rolled_back();
    assert_eq!(
        (undone.view.as_str(), undone.as_of),
        (VIEWS[1], Some(Timestamp::from_micros(1_000)))
    );
    assert_eq!(
        values(trial.project.read(VIEWS[1], &keys, 1_010).await),
        [Some(5), Some(2), Some(6)]
    );
    let ledger = trial.project.ledger().await;
    assert_eq!(
        (
            ledger[0].id,
            ledger[0].kind,
            &ledger[0].state,
            ledger[0].subject.as_str()
        ),
        (undone.run, RunKind::Rollback, &RunState::Done, VIEWS[1])
    );
    // Neither the run before it, nor itself once more.
    let gone = trial.roll_back(first).await.unwrap_err().to_string();
    assert!(gone.contains("it is not the last run of view of_table"), "{gone}");
    let rollback = trial.roll_back(undone.run).await.unwrap_err().to_string();
    assert!(
        rollback.contains("only runs that materialized a view can be"),
        "{rollback}"
    );
    assert_eq!(
        trial.roll_back(99).await.unwrap_err().to_string(),
        "there is no run 99: `asof runs` lists them"
    );

    // A later run brings what is new and nothing of what is held back, as often as it is made.
    trial.at = 1_020;
    trial.add(&[row(2, 30, 22)]).await;
    for _ in 0..2 {
        trial.run(false, false).await.unwrap();
        trial.check("held back").await;
        trial.at += 1;
    }
    assert_eq!(
        values(trial.project.read(VIEWS[1], &keys, 1_030).await),
        [Some(5), Some(22), Some(6)]
    );
    trial.run(false, true).await.unwrap();
    trial.check("brought back").await;
    assert_eq!(
        values(trial.project.read(VIEWS[1], &keys, 1_030).await),
        [Some(11), Some(22), Some(6)]
    );
    let (last, ..) = trial.model.last.take().unwrap();
    let nothing = trial.run(false, false).await.unwrap();
    assert_eq!(
        trial.roll_back(nothing).await.unwrap_err().to_string(),
        format!(
            "run {nothing} cannot be rolled back: it changed nothing of view of_table, run {last} was the last that did"
        )
    );
}

#[tokio::test]
async fn the_first_run_leaves_nothing_that_serves() {
    let mut trial = Trial::new("shop", Arc::new(MemoryStore::new()), VIEWS[0], None).await;
    trial.add(&[row(1, 10, 1)]).await;
    let run = trial.run(false, false).await.unwrap();
    assert_eq!(trial.roll_back(run).await.unwrap().as_of, None);
    let refused = trial.project.read(VIEWS[0], &[key(1)], 1_000).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!(
            "view \"of_files\" serves nothing, as run {run} was rolled back: run `asof materialize of_files --redo` to bring \
             it back, or with --full to read everything again"
        )
    );
    let held = trial.run(false, false).await.unwrap_err().to_string();
    assert_eq!(
        held,
        format!(
            "run {run} of view of_files was rolled back, and what it read cannot be left out, as the view has to be built \
             anew: `asof materialize of_files --redo` brings it back, --full reads everything again"
        )
    );
    trial.run(false, true).await.unwrap();
    assert_eq!(
        values(trial.project.read(VIEWS[0], &[key(1)], 1_000).await),
        [Some(1)]
    );
    // With what it brought back it is undone again.
    let last = trial.model.last.as_ref().unwrap().0;
    assert_eq!(trial.roll_back(last).await.unwrap().as_of, None);
    trial.run(true, false).await.unwrap();
    assert_eq!(
        values(trial.project.read(VIEWS[0], &[key(1)], 1_000).await),
        [Some(1)]
    );
}

#[tokio::test]
async fn a_source_that_was_replaced_serves_as_it_was_before() {
    let mut trial = Trial::new("shop", Arc::new(MemoryStore::new()), VIEWS[0], None).await;
    trial.add(&[row(1, 10, 1)]).await;
    trial.run(false, false).await.unwrap();
    trial
        .project
        .put_file("000.parquet", &[row(1, 10, 666), row(2, 10, 667)]);
    let bad = trial.run(false, false).await.unwrap();
    let keys = [key(1), key(2), key(3)];
    assert_eq!(
        values(trial.project.read(VIEWS[0], &keys, 1_000).await),
        [Some(666), Some(667), None]
    );
    trial.roll_back(bad).await.unwrap();
    assert_eq!(
        values(trial.project.read(VIEWS[0], &keys, 1_000).await),
        [Some(1), None, None]
    );
    // Files that come after those that are held back are taken over.
    trial.project.put_file("001.parquet", &[row(3, 10, 3)]);
    trial.at += 1;
    trial.run(false, false).await.unwrap();
    assert_eq!(
        values(trial.project.read(VIEWS[0], &keys, 1_001).await),
        [Some(1), None, Some(3)]
    );
    // Where they are replaced, what is held back cannot be left out.
    trial.project.put_file("000.parquet", &[row(1, 10, 7)]);
    let held = trial.run(false, false).await.unwrap_err();
    assert!(
        matches!(held, MaterializeError::HeldBack { run, .. } if run == bad),
        "{held}"
    );
    trial.run(false, true).await.unwrap();
    assert_eq!(
        values(trial.project.read(VIEWS[0], &keys, 1_001).await),
        [Some(7), None, Some(3)]
    );
    // It was built anew without what was held back: to undo it serves what was there before.
    let (last, ..) = trial.model.last.take().unwrap();
    trial.roll_back(last).await.unwrap();
    assert_eq!(
        values(trial.project.read(VIEWS[0], &keys, 1_001).await),
        [Some(1), None, Some(3)]
    );
}

#[tokio::test]
async fn a_view_that_is_defined_otherwise_is_not_brought_back_without_what_was_pushed() {
    let mut trial = Trial::new("shop", Arc::new(MemoryStore::new()), VIEWS[1], None).await;
    trial
        .project
        .define(&definitions([None, None], "n = \"int64\"\n"))
        .await;
    trial.add(&[row(1, 10, 1)]).await;
    trial.run(false, false).await.unwrap();
    trial.project.define(&definitions([None, None], ALL)).await;
    let wider = trial.run(false, false).await.unwrap();
    trial.push(&[row(2, 20, 2)]).await;
    let refused = trial.roll_back(wider).await.unwrap_err().to_string();
    assert!(
        refused.contains("view of_table was defined otherwise before"),
        "{refused}"
    );
    trial.check("still there").await;
    assert!(trial.state().kept.is_none(), "it lacks what was pushed");
}

#[tokio::test]
async fn a_redo_that_is_refused_or_fails_brings_nothing_back_for_good() {
    let (mut trial, _, second) = two_runs().await;
    let keys = [key(1), key(2), key(3)];
    let without = [Some(5), Some(2), Some(6)];
    trial.roll_back(second).await.unwrap();
    trial.at = 1_005;
    let refused = trial.run(false, true).await.unwrap_err();
    assert!(matches!(refused, MaterializeError::Begun { .. }), "{refused}");
    assert_eq!(values(trial.project.read(VIEWS[1], &keys, 1_010).await), without);

    // One that fails behind that may be rolled back as before.
    trial.at = 1_030;
    let table = trial.project.directory.path().join("tables").join("table");
    trial.add(&[row(2, 30, 22)]).await;
    let parquet = |entry: &std::fs::DirEntry| entry.path().extension().is_some_and(|end| end == "parquet");
    let files = std::fs::read_dir(&table)
        .unwrap()
        .map(Result::unwrap)
        .filter(parquet);
    let newest = files.max_by_key(|file| file.metadata().unwrap().modified().unwrap());
    let newest = newest.unwrap().path();
    let bytes = std::fs::read(&newest).unwrap();
    std::fs::write(&newest, b"not parquet").unwrap();
    trial.run(false, true).await.unwrap_err();
    std::fs::write(&newest, bytes).unwrap();
    trial.roll_back(second).await.unwrap();
    assert_eq!(values(trial.project.read(VIEWS[1], &keys, 1_030).await), without);
    trial.run(false, false).await.unwrap();
    assert_eq!(
        values(trial.project.read(VIEWS[1], &keys, 1_030).await),
        [Some(5), Some(22), Some(6)]
    );
}

#[tokio::test]
async fn a_run_that_the_ledger_does_not_know_to_have_ended_is_undone_where_the_store_does() {
    let (mut trial, _, second) = two_runs().await;
    let end = RunEnd {
        finished_at: Timestamp::EPOCH,
        state: RunState::Failed {
            error: "it was killed behind its last write".into(),
        },
        rows_read: 0,
        rows_written: 0,
        rows_skipped: 0,
    };
    let project = &trial.project;
    project
        .registry
        .end_run(&project.name, second, end.clone())
        .await
        .unwrap();
    trial.roll_back(second).await.unwrap();
    let keys = [key(1), key(2), key(3)];
    assert_eq!(
        values(trial.project.read(VIEWS[1], &keys, 1_010).await),
        [Some(5), Some(2), Some(6)]
    );
    // One that failed, and that the store knows nothing of.
    trial.at = 1_020;
    let third = trial.run(false, true).await.unwrap();
    trial.at = 1_030;
    trial.run(false, false).await.unwrap();
    let project = &trial.project;
    project.registry.end_run(&project.name, third, end).await.unwrap();
    let refused = trial.roll_back(third).await.unwrap_err().to_string();
    assert!(
        refused.contains("it failed, and nothing of it is served"),
        "{refused}"
    );
}

#[tokio::test]
async fn what_a_run_wrote_that_failed_is_not_shown_after_a_rollback() {
    let mut trial = Trial::new("shop", Arc::new(MemoryStore::new()), VIEWS[0], None).await;
    trial.add(&[row(1, 10, 1)]).await;
    trial.run(false, false).await.unwrap();
    // Written row by row, as they are long and of two keys, and behind them a file that cannot be read.
    let long = |number| FileRow {
        values: (None, Some(666), Some("x".repeat(400))),
        ..row(number, 20, 666)
    };
    let bad: Vec<FileRow> = (0..60).map(|n| long([2, 5][n % 2])).collect();
    trial.project.put_file("001.parquet", &bad);
    let broken = trial.project.directory.path().join("data").join("002.parquet");
    trial.project.put_file("002.parquet", &bad);
    let mut bytes = std::fs::read(&broken).unwrap();
    bytes[4..24].fill(0xff);
    std::fs::write(&broken, bytes).unwrap();
    trial.at += 1;
    // The file that cannot be read may be found so before anything was written.
    let mut written = 0;
    for _ in 0..200 {
        trial.run(false, false).await.unwrap_err();
        let serving = trial.state().serving.unwrap();
        let slot = trial.project.store.views().unwrap()[0].1;
        let layer = serving.layers.last().unwrap().generation;
        written = trial.project.store.count(slot, layer).unwrap().keys;
        if written > 0 {
            break;
        }
    }
    assert_ne!(written, 0);
    trial.project.remove_file("002.parquet");
    trial.project.put_file("001.parquet", &[row(3, 20, 3)]);
    trial.at += 1;
    let anew = trial.run(true, false).await.unwrap();
    trial.roll_back(anew).await.unwrap();
    trial.project.put_file("002.parquet", &[row(4, 20, 4)]);
    trial.at += 1;
    trial.run(false, false).await.unwrap();
    let keys = [key(1), key(2), key(3), key(4)];
    assert_eq!(
        values(trial.project.read(VIEWS[0], &keys, trial.at).await),
        [Some(1), None, None, Some(4)]
    );
}
