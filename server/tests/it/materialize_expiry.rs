//! Rows that expired long ago: counted, reclaimed, and never missed when a ttl grows.

use std::collections::HashMap;

use asof_core::cancel::Cancellation;
use asof_core::online::OnlineStore;
use asof_core::status::Status;
use asof_online::RocksStore;
use asof_server::status::status;

use crate::materialize_project::{ALL, FileRow, Key, Project, VIEWS, definitions, rocks};

const DAY: i64 = 86_400_000_000;
const TTL: i64 = 3_600_000_000;

fn key(number: i64) -> Key {
    (Some("a".into()), Some(number))
}

fn row(number: i64, event: i64) -> FileRow {
    FileRow {
        key: key(number),
        event: Some(event),
        created: Some(event),
        deleted: false,
        values: (None, Some(number), None),
    }
}

async fn statuses(project: &Project<RocksStore>, at: i64) -> Vec<Status> {
    let keys: Vec<_> = (0..4).map(key).collect();
    let told = project.read(VIEWS[0], &keys, at).await.unwrap();
    told.iter().map(|told| told.statuses[1]).collect()
}

async fn counts(project: &Project<RocksStore>, at: i64) -> (u64, u64, u64) {
    project.clock.set(at);
    let version = asof_core::registry::RegistryStore::head(&*project.registry, &project.name)
        .await
        .unwrap()
        .unwrap();
    let at = asof_core::time::Timestamp::from_micros(at);
    let config = asof_registry::ProjectConfig::new(project.directory.path(), project.name.clone());
    let cancellation = Cancellation::default();
    let told = status(
        &*project.store,
        &config,
        &version,
        at,
        HashMap::new(),
        &cancellation,
    )
    .unwrap();
    let view = told.views.into_iter().find(|view| view.view == VIEWS[0]).unwrap();
    let counts = (view.rows, view.expired_rows, view.pending_rows);
    (counts.0.unwrap(), counts.1.unwrap(), counts.2.unwrap())
}

#[tokio::test]
async fn what_expired_long_ago_goes_and_a_longer_ttl_brings_it_back() {
    use Status::{Expired, NotFound, Present};
    let (_directory, store) = rocks();
    let mut project = Project::new("p", store, [Some(TTL), None]).await;
    let now = 100 * DAY;
    // Long gone, expired, expired but for a microsecond, fresh.
    let rows = [
        row(0, now - TTL - 7 * DAY - 1),
        row(1, now - TTL - 1),
        row(2, now - TTL),
        row(3, now),
    ];
    project.put_file("0.parquet", &rows);
    // A clock that has not come so far keeps everything.
    project.clock.set(now - 90 * DAY);
    project.run(VIEWS[0], now, false).await.unwrap();
    project.store.reclaim().unwrap();
    assert_eq!(
        statuses(&project, now).await,
        [Expired, Expired, Present, Present]
    );
    assert_eq!(counts(&project, now).await, (4, 2, 0));

    let done = project.run(VIEWS[0], now + 1, false).await.unwrap();
    assert_eq!(done.counts.keys, 4);
    project.store.reclaim().unwrap();
    assert_eq!(
        statuses(&project, now + 1).await,
        [NotFound, Expired, Expired, Present]
    );
    assert_eq!(counts(&project, now + 1).await, (3, 2, 0));
    // Nothing is missed, with nothing to write and with late rows that are gone at once.
    project.run(VIEWS[0], now + 1, false).await.unwrap();
    project.put_file("1.parquet", &[row(0, now - 9 * DAY), row(1, now - 50 * DAY)]);
    project.run(VIEWS[0], now + 2, false).await.unwrap();
    project.store.reclaim().unwrap();
    project.run(VIEWS[0], now + 3, false).await.unwrap();
    assert_eq!(
        statuses(&project, now + 3).await,
        [NotFound, Expired, Expired, Present]
    );

    // A longer ttl makes rows fresh that are gone: the view says so until it is built anew.
    for ttl in [Some(60 * DAY), None] {
        project.ttls[0] = ttl;
        project.define(&definitions(project.ttls, ALL)).await;
        let refused = project.read(VIEWS[0], &[key(0)], now + 4).await.unwrap_err();
        assert_eq!(
            refused.to_string(),
            "view \"of_files\" was redefined since it was materialized: run `asof materialize of_files`"
        );
        project.clock.set(now + 4);
        project.run(VIEWS[0], now + 4, false).await.unwrap();
        let keys: Vec<_> = (0..4).map(key).collect();
        let told = project.read(VIEWS[0], &keys, now + 4).await.unwrap();
        for (key, told) in keys.iter().zip(told) {
            assert_eq!(told, project.expected(VIEWS[0], key, now + 4));
            assert_eq!(told.statuses[1], Present);
        }
    }
    let (_, _, state) = project.store.views().unwrap().remove(0);
    assert_eq!(state.serving.unwrap().reclaimed, None);
}
