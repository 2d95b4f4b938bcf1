//! What every implementation of [`RegistryStore`] must do. Each case gets an empty store of its own;
//! a case that is not met panics.

// A suite that panics is what tests call; it is compiled for them alone.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use asof_core::data_type::KeyType;
use asof_core::definition::{Definitions, Entity, KeyColumn, Notes};
use asof_core::name::{EntityName, ProjectName};
use asof_core::registry::{NewRun, RegistryError, RegistryStore, Run, RunEnd, RunKind, RunState};
use asof_core::time::Timestamp;

/// Runs every case, each on a store from `make`.
pub async fn run<S: RegistryStore>(mut make: impl AsyncFnMut() -> S) {
    nothing_was_applied(&make().await).await;
    versions_count_up_and_are_kept(&make().await).await;
    equal_definitions_are_not_stored_again(&make().await).await;
    a_stale_commit_is_refused_and_changes_nothing(&make().await).await;
    projects_do_not_meet(&make().await).await;
    runs_are_kept_newest_first(&make().await).await;
    a_run_that_was_never_started_cannot_end(&make().await).await;
}

fn project(name: &str) -> ProjectName {
    ProjectName::parse(name).unwrap()
}

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

/// Definitions of one entity that has `owner`.
fn definitions(name: &str, owner: &str) -> Arc<Definitions> {
    let entity = Entity {
        name: EntityName::parse("user").unwrap(),
        keys: vec![KeyColumn {
            name: "user id".into(),
            key_type: KeyType::parse("int64").unwrap(),
        }],
        notes: Notes {
            owner: Some(owner.into()),
            ..Notes::default()
        },
    };
    let mut definitions = Definitions::empty(project(name));
    definitions.entities.insert(entity.name.clone(), entity);
    Arc::new(definitions)
}

async fn nothing_was_applied<S: RegistryStore>(store: &S) {
    let p = project("p");
    assert_eq!(store.head(&p).await.unwrap(), None);
    assert_eq!(store.version(&p, 1).await.unwrap(), None);
    assert_eq!(store.version(&p, u64::MAX).await.unwrap(), None);
    assert_eq!(store.history(&p).await.unwrap(), vec![]);
    assert_eq!(store.runs(&p, None, 10).await.unwrap(), vec![]);
}

async fn versions_count_up_and_are_kept<S: RegistryStore>(store: &S) {
    let p = project("p");
    let first = store.commit(0, definitions("p", "ann"), at(10)).await.unwrap();
    let second = store.commit(1, definitions("p", "bob"), at(5)).await.unwrap();
    assert_eq!((first.number, second.number), (1, 2));
    assert_eq!(first.applied_at, at(10));
    assert_eq!(*first.definitions, *definitions("p", "ann"));
    assert_eq!(first.digest.len(), "sha256:".len() + 64);
    assert_ne!(first.digest, second.digest);
    assert_eq!(store.head(&p).await.unwrap(), Some(second.clone()));
    assert_eq!(store.version(&p, 1).await.unwrap(), Some(first.clone()));
    assert_eq!(store.version(&p, 2).await.unwrap(), Some(second.clone()));
    assert_eq!(store.version(&p, 3).await.unwrap(), None);
    let history = vec![(1, at(10), first.digest), (2, at(5), second.digest)];
    assert_eq!(store.history(&p).await.unwrap(), history);
}

async fn equal_definitions_are_not_stored_again<S: RegistryStore>(store: &S) {
    let first = store.commit(0, definitions("p", "ann"), at(1)).await.unwrap();
    // Whatever version was expected: there is nothing to change.
    for expected in [0, 1, 7] {
        let again = store
            .commit(expected, definitions("p", "ann"), at(2))
            .await
            .unwrap();
        assert_eq!(again, first);
    }
    assert_eq!(store.history(&project("p")).await.unwrap().len(), 1);
    // What was defined before is a new version when it comes again.
    store.commit(1, definitions("p", "bob"), at(3)).await.unwrap();
    let third = store.commit(2, definitions("p", "ann"), at(4)).await.unwrap();
    assert_eq!((third.number, third.digest), (3, first.digest));
}

async fn a_stale_commit_is_refused_and_changes_nothing<S: RegistryStore>(store: &S) {
    let p = project("p");
    store.commit(0, definitions("p", "ann"), at(1)).await.unwrap();
    store.commit(1, definitions("p", "bob"), at(2)).await.unwrap();
    let before = store.head(&p).await.unwrap();
    for expected in [0, 1, 3] {
        let refused = store.commit(expected, definitions("p", "eve"), at(3)).await;
        match refused {
            Err(RegistryError::Conflict { expected: e, found }) => assert_eq!((e, found), (expected, 2)),
            other => panic!("expected a conflict, got {other:?}"),
        }
    }
    assert_eq!(store.head(&p).await.unwrap(), before);
}

async fn projects_do_not_meet<S: RegistryStore>(store: &S) {
    store.commit(0, definitions("a", "ann"), at(1)).await.unwrap();
    let other = store.commit(0, definitions("a_b", "ann"), at(1)).await.unwrap();
    assert_eq!(other.number, 1);
    assert_eq!(store.history(&project("a")).await.unwrap().len(), 1);
    let id = store.start_run(&project("a"), new_run("v", 1)).await.unwrap();
    assert_eq!(
        store.start_run(&project("a_b"), new_run("v", 1)).await.unwrap(),
        id
    );
    store
        .end_run(&project("a"), id, end(2, RunState::Done))
        .await
        .unwrap();
    let other = store.runs(&project("a_b"), None, 10).await.unwrap();
    assert_eq!(other[0].state, RunState::Running);
}

fn new_run(subject: &str, started_at: i64) -> NewRun {
    NewRun {
        kind: RunKind::Materialize,
        subject: subject.into(),
        started_at: at(started_at),
        pid: 4_294_967_295,
        as_of: Some(at(-7)),
    }
}

fn end(finished_at: i64, state: RunState) -> RunEnd {
    RunEnd {
        finished_at: at(finished_at),
        state,
        rows_read: 30,
        rows_written: 20,
        rows_skipped: 10,
    }
}

async fn runs_are_kept_newest_first<S: RegistryStore>(store: &S) {
    let p = project("p");
    for (id, kind) in [
        (1, RunKind::Materialize),
        (2, RunKind::Ingest),
        (3, RunKind::Extract),
        (4, RunKind::Compact),
        (5, RunKind::Rollback),
    ] {
        let run = NewRun {
            kind,
            subject: match id {
                2 | 4 => "clicks".into(),
                5 => "sales".into(),
                _ => "weather".into(),
            },
            ..new_run("", id)
        };
        assert_eq!(store.start_run(&p, run).await.unwrap(), id as u64);
    }
    let failed = RunState::Failed {
        error: "the disk is full".into(),
    };
    store.end_run(&p, 1, end(8, failed.clone())).await.unwrap();
    store.end_run(&p, 2, end(9, RunState::Done)).await.unwrap();
    let first = Run {
        id: 1,
        kind: RunKind::Materialize,
        subject: "weather".into(),
        started_at: at(1),
        finished_at: Some(at(8)),
        pid: 4_294_967_295,
        state: failed,
        as_of: Some(at(-7)),
        rows_read: 30,
        rows_written: 20,
        rows_skipped: 10,
    };
    let second = Run {
        id: 2,
        kind: RunKind::Ingest,
        subject: "clicks".into(),
        started_at: at(2),
        finished_at: Some(at(9)),
        state: RunState::Done,
        ..first.clone()
    };
    let third = Run {
        id: 3,
        kind: RunKind::Extract,
        started_at: at(3),
        finished_at: None,
        state: RunState::Running,
        rows_read: 0,
        rows_written: 0,
        rows_skipped: 0,
        ..first.clone()
    };
    let fourth = Run {
        id: 4,
        kind: RunKind::Compact,
        subject: "clicks".into(),
        started_at: at(4),
        ..third.clone()
    };
    let fifth = Run {
        id: 5,
        kind: RunKind::Rollback,
        subject: "sales".into(),
        started_at: at(5),
        ..third.clone()
    };
    assert_eq!(store.run(&p, 2).await.unwrap().as_ref(), Some(&second));
    assert_eq!(store.run(&p, 6).await.unwrap(), None);
    assert_eq!(store.run(&project("q"), 2).await.unwrap(), None);
    let all = store.runs(&p, None, 10).await.unwrap();
    assert_eq!(
        all,
        vec![
            fifth.clone(),
            fourth.clone(),
            third.clone(),
            second.clone(),
            first.clone()
        ]
    );
    assert_eq!(
        store.runs(&p, None, 2).await.unwrap(),
        vec![fifth, fourth.clone()]
    );
    assert_eq!(
        store.runs(&p, Some("clicks"), 10).await.unwrap(),
        vec![fourth, second]
    );
    assert_eq!(
        store.runs(&p, Some("weather"), 10).await.unwrap(),
        vec![third, first]
    );
    assert_eq!(store.runs(&p, Some("nothing"), 10).await.unwrap(), vec![]);
}

async fn a_run_that_was_never_started_cannot_end<S: RegistryStore>(store: &S) {
    let p = project("p");
    assert!(store.end_run(&p, 1, end(1, RunState::Done)).await.is_err());
    store.start_run(&p, new_run("v", 1)).await.unwrap();
    assert!(store.end_run(&p, 2, end(1, RunState::Done)).await.is_err());
    assert_eq!(
        store.runs(&p, None, 10).await.unwrap()[0].state,
        RunState::Running
    );
}
