//! No gaps: whatever the schedule of runs, late rows and changes of files and definitions, the answers are
//! those of one full run into an empty store.

use std::sync::Arc;

use asof_core::definition::{Definitions, StoredShape};
use asof_core::online::memory::MemoryStore;
use asof_core::online::{OnlineStore, ViewState};
use asof_server::materialize::MaterializeError;

use crate::materialize_project::{ALL, Project, Random, VIEWS, definitions, keys, run, seeds};

/// How many schedules.
const SCHEDULES: u64 = 300;
/// How many steps each has.
const STEPS: u64 = 8;

#[tokio::test]
async fn any_schedule_ends_where_one_full_run_does() {
    let (mut runs, mut generations) = (0, 0);
    let seeds = seeds(SCHEDULES);
    for seed in &seeds {
        println!("seed {seed}: run it alone with ASOF_SEED={seed}");
        let done = schedule(*seed).await;
        runs += done.0;
        generations += done.1;
    }
    println!(
        "{} schedules, {runs} runs, {generations} generations",
        seeds.len()
    );
}

/// What a step of a schedule changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Nothing,
    LateRows,
    PushedRows,
    NewFile,
    ChangedFile,
    RemovedFile,
    AddedFeature,
    DroppedFeature,
    Compaction,
}

use Change::{
    AddedFeature, ChangedFile, Compaction, DroppedFeature, LateRows, NewFile, Nothing, PushedRows,
    RemovedFile,
};

async fn schedule(seed: u64) -> (u64, u64) {
    let mut random = Random::new(seed ^ 0x5eed);
    let mut project = Project::new("p", Arc::new(MemoryStore::new()), [Some(9), None]).await;
    // Files for three of four schedules: those of tables take their time.
    let view = VIEWS[usize::from(seed.is_multiple_of(4))];
    let files = view == VIEWS[0];
    let (mut now, mut runs, mut wide) = (100, 0, false);
    first(&mut project, &mut random, files, now).await;
    project.run(view, now, false).await.unwrap();
    for step in 1..=STEPS {
        let ahead = i64::try_from(random.below(7)).unwrap();
        let changes: &[Change] = if files {
            &[
                Nothing,
                NewFile,
                NewFile,
                ChangedFile,
                RemovedFile,
                AddedFeature,
                DroppedFeature,
            ]
        } else {
            &[
                Nothing,
                LateRows,
                LateRows,
                PushedRows,
                PushedRows,
                Compaction,
                Compaction,
                AddedFeature,
                DroppedFeature,
            ]
        };
        let change = changes[usize::try_from(random.below(changes.len() as u64)).unwrap()];
        let change = possible(change, &project, wide);
        make(change, &mut project, &mut random, (step, now)).await;
        wide = (wide || change == AddedFeature) && change != DroppedFeature;
        if random.one_in(4) {
            // Several changes before one run.
            continue;
        }
        if random.one_in(3) {
            refused(&project, view, now).await;
        }
        now += ahead;
        project.run(view, now, false).await.unwrap();
        runs += 1;
        assert_eq!(state(&project).building, None);
        same_as_full(&project, view, now, seed).await;
    }
    let generation = state(&project).serving.unwrap().generation.0;
    (runs, u64::from(generation))
}

async fn first(project: &mut Project<MemoryStore>, random: &mut Random, files: bool, now: i64) {
    let rows = random.rows(15, now);
    if files {
        project.put_file("500.parquet", &rows);
    } else {
        project.ingest(&rows).await;
    }
}

/// The change, unless it cannot be made.
fn possible(change: Change, project: &Project<MemoryStore>, wide: bool) -> Change {
    match change {
        RemovedFile if project.files.len() < 2 => Nothing,
        AddedFeature if wide => Nothing,
        DroppedFeature if !wide => Nothing,
        change => change,
    }
}

async fn make(change: Change, project: &mut Project<MemoryStore>, random: &mut Random, when: (u64, i64)) {
    let (step, now) = when;
    let any_file = |project: &Project<MemoryStore>, random: &mut Random| {
        let place = usize::try_from(random.below(project.files.len() as u64)).unwrap();
        project.files.keys().nth(place).unwrap().clone()
    };
    let wide = format!("{ALL}twice = {{ type = \"int64\", column = \"n\" }}\n");
    match change {
        Nothing => {}
        LateRows => {
            let rows = random.rows(8, now);
            project.ingest(&rows).await;
        }
        PushedRows => {
            let rows = random.rows(8, now);
            project.push(&rows, now).await;
        }
        NewFile => {
            let rows = random.rows(8, now);
            project.put_file(&format!("{}.parquet", 500 + step), &rows);
        }
        ChangedFile => {
            let name = any_file(project, random);
            let rows = random.rows(9, now);
            project.put_file(&name, &rows);
        }
        RemovedFile => {
            let name = any_file(project, random);
            project.remove_file(&name);
        }
        AddedFeature => project.define(&definitions(project.ttls, &wide)).await,
        DroppedFeature => project.define(&definitions(project.ttls, ALL)).await,
        Compaction => project.compact().await,
    }
}

fn state(project: &Project<MemoryStore>) -> ViewState {
    project.store.views().unwrap().remove(0).2
}

/// A run as of an instant before the last one is refused, and changes nothing.
async fn refused(project: &Project<MemoryStore>, view: &str, now: i64) {
    let before = project.store.changes();
    let refused = run(&project.materializer, &project.definitions, view, now - 1, false).await;
    let earlier = MaterializeError::Earlier {
        view: view.into(),
        asked: asof_core::time::Timestamp::from_micros(now - 1),
        last: asof_core::time::Timestamp::from_micros(now),
    };
    assert_eq!(refused.unwrap_err().to_string(), earlier.to_string());
    assert_eq!(project.store.changes(), before);
}

async fn same_as_full(project: &Project<MemoryStore>, view: &str, now: i64, seed: u64) {
    let keys = keys();
    let fresh = Arc::new(MemoryStore::new());
    let full = run(
        &project.over(fresh.clone()),
        &project.definitions,
        view,
        now,
        true,
    )
    .await
    .unwrap();
    let told = project.read(view, &keys, now).await.unwrap();
    assert_eq!(
        told,
        project.read_from(&fresh, view, &keys, now).await.unwrap(),
        "seed {seed} at {now}"
    );
    for (key, told) in keys.iter().zip(&told) {
        assert_eq!(
            *told,
            project.expected(view, key, now),
            "seed {seed}, key {key:?} at {now}"
        );
    }
    // What is not due yet is there as well.
    let (_, slot, state) = project.store.views().unwrap().remove(0);
    let counts = project
        .store
        .count(slot, state.serving.unwrap().generation)
        .unwrap();
    assert_eq!(
        (counts.keys, counts.pending),
        (full.counts.keys, full.counts.pending),
        "seed {seed} at {now}"
    );
}

#[tokio::test]
async fn growth_stays_in_its_generation_and_other_changes_do_not() {
    let mut random = Random::new(1);
    let mut project = Project::new("p", Arc::new(MemoryStore::new()), [None, None]).await;
    let view = VIEWS[0];
    let mut now = 100;
    first(&mut project, &mut random, true, now).await;
    project.put_file("300.parquet", &random.rows(5, now));
    project.run(view, now, false).await.unwrap();
    let expected = [
        (Nothing, false),
        (NewFile, false),
        (ChangedFile, true),
        (RemovedFile, true),
        (AddedFeature, true),
        (NewFile, false),
        (DroppedFeature, false),
        (NewFile, false),
        (AddedFeature, true),
    ];
    let generation = |project: &Project<MemoryStore>| state(project).serving.unwrap().generation;
    for (step, (change, is_new)) in (1..).zip(expected) {
        let before = generation(&project);
        make(change, &mut project, &mut random, (step, now)).await;
        // Until the run, the one that serves answers for all that it has.
        if change != AddedFeature {
            project.read(view, &keys(), now).await.unwrap();
        }
        old_serves(&project.definitions, &project).await;
        now += 2;
        project.run(view, now, false).await.unwrap();
        assert_eq!(generation(&project) > before, is_new, "after {change:?}");
        same_as_full(&project, view, now, 0).await;
    }
    // A file that sorts before the others changes the order of acceptance.
    project.put_file("100.parquet", &random.rows(5, now));
    let before = generation(&project);
    project.run(view, now, false).await.unwrap();
    assert!(generation(&project) > before);
    same_as_full(&project, view, now, 0).await;
}

#[tokio::test]
async fn a_table_in_the_place_of_another_is_read_whole() {
    let mut random = Random::new(2);
    let mut project = Project::new("p", Arc::new(MemoryStore::new()), [None, None]).await;
    let view = VIEWS[1];
    first(&mut project, &mut random, false, 100).await;
    project.run(view, 100, false).await.unwrap();
    let served = |project: &Project<MemoryStore>| {
        let (_, _, state) = project.store.views().unwrap().pop().unwrap();
        (state.serving.unwrap().generation.0, state.building)
    };
    assert_eq!(served(&project), (1, None));
    // The other has more rows, so that by its seqs alone it would seem to have grown.
    for place in ["table", "_asof_heads"] {
        std::fs::remove_dir_all(project.directory.path().join("tables").join(place)).unwrap();
    }
    project.table.clear();
    project.ingest(&random.rows(25, 101)).await;
    let done = project.run(view, 101, false).await.unwrap();
    assert_eq!(done.rows_read, 25);
    assert_eq!(served(&project), (2, None));
    for (key, told) in keys().iter().zip(project.read(view, &keys(), 101).await.unwrap()) {
        assert_eq!(told, project.expected(view, key, 101), "{key:?}");
    }
    // The same table again goes on in its generation.
    project.ingest(&random.rows(5, 102)).await;
    project.run(view, 102, false).await.unwrap();
    assert_eq!(served(&project), (2, None));
}

/// To a view a compaction is nothing: no row is new, and none is read again but once, with what else is new.
#[tokio::test]
async fn a_compaction_changes_nothing_for_a_view() {
    let mut random = Random::new(3);
    let mut project = Project::new("p", Arc::new(MemoryStore::new()), [None, None]).await;
    let view = VIEWS[1];
    let served = |project: &Project<MemoryStore>| {
        let (_, _, state) = project.store.views().unwrap().pop().unwrap();
        (state.serving.unwrap().generation.0, state.building)
    };
    for _ in 0..3 {
        project.ingest(&random.rows(10, 100)).await;
    }
    // As of an instant that all rows have come to: there is nothing to wait for.
    let now = 1_000;
    project.run(view, now, false).await.unwrap();
    let before = project.read(view, &keys(), now).await.unwrap();
    for at in [now, now, now + 1] {
        project.compact().await;
        let done = project.run(view, at, false).await.unwrap();
        assert_eq!((done.rows_read, done.rows_written), (0, 0), "{at}");
        assert_eq!(served(&project), (1, None));
        assert_eq!(project.read(view, &keys(), now + 1).await.unwrap(), before);
    }
    // With new rows beside it, the new file is read, and only its rows are written.
    project.ingest(&random.rows(5, 100)).await;
    let done = project.run(view, now + 2, false).await.unwrap();
    assert_eq!(
        (done.rows_read + done.rows_skipped, done.rows_written),
        (5, done.rows_read)
    );
    project.compact().await;
    project.ingest(&random.rows(5, 100)).await;
    let done = project.run(view, now + 3, false).await.unwrap();
    assert_eq!(done.rows_read + done.rows_skipped, 40);
    assert!(done.rows_written <= 5);
    assert_eq!(served(&project), (1, None));
    same_as_full(&project, view, now + 3, 3).await;
}

/// The features that what is stored has are answered, also where the definitions have more.
async fn old_serves(definitions: &Definitions, project: &Project<MemoryStore>) {
    let stored: &StoredShape = &state(project).serving.unwrap().shape;
    assert!(definitions.bound_view(VIEWS[0]).unwrap().stored_shape().rows == stored.rows);
    let clock = state(project).serving.unwrap().as_of.unwrap().micros();
    let answer = project
        .answer(&project.store, &["of_files:x", "of_files:s"], &keys(), clock)
        .await;
    assert_eq!(answer.unwrap().prepared.plan.columns.len(), 2);
}
