//! What is refused, and what is told of it.

use std::time::{Duration, Instant};

use asof_core::online::conformance::{address, key, order, read_one, row};
use asof_core::online::{Generation, IntakeLog, OnlineStore, StoreError, ViewSlot};
use asof_core::time::Timestamp;
use asof_redis::{Durability, RedisOptions, RedisStore};

use crate::harness;
use crate::servers::{Cluster, Server, free_port};

const NOW: Timestamp = Timestamp::from_micros(1_000);

/// Asserts that a store is refused with an error that says something of why.
fn refused(options: &RedisOptions, says: &str) -> StoreError {
    let error = RedisStore::open(options).expect_err(says);
    assert!(error.to_string().contains(says), "{error}, expected {says:?}");
    error
}

#[test]
fn servers_that_do_not_keep_what_they_acknowledge_are_refused() {
    let server = Server::start();
    let options = harness::options(&server.url());
    let sync = RedisOptions {
        durability: Durability::Sync,
        ..options.clone()
    };
    server.ask("CONFIG SET appendfsync no");
    refused(&options, "set everysec or always");
    server.ask("CONFIG SET appendfsync everysec");
    refused(&sync, "set appendfsync always");
    drop(RedisStore::open(&options).unwrap());
    server.ask("CONFIG SET appendfsync always");
    drop(RedisStore::open(&sync).unwrap());
    for policy in ["allkeys-lru", "allkeys-random"] {
        server.ask(&format!("CONFIG SET maxmemory-policy {policy}"));
        refused(&options, "set noeviction");
    }
    server.ask("CONFIG SET maxmemory-policy volatile-ttl");
    drop(RedisStore::open(&options).unwrap());
    server.ask("CONFIG SET appendonly no");
    refused(&options, "set appendonly yes");
}

#[test]
fn no_secret_is_told() {
    let server = Server::with(&["--requirepass", "right"]);
    let url = |user: &str| format!("redis://{user}127.0.0.1:{}", server.port);
    for user in [":wr0ng@", "wr0ng:wr0ng@", ""] {
        let options = harness::options(&url(user));
        let error = RedisStore::open(&options).unwrap_err();
        let told = format!("{error} {error:?} {options:?}");
        assert!(!told.contains("wr0ng"), "{told}");
        assert!(told.contains("refuses") || told.contains("NOAUTH"), "{told}");
    }
    let store = harness::open(&url(":right@"));
    let told = format!("{store:?} {}", store.place());
    assert!(!told.contains("right"), "{told}");
    assert!(told.contains(&server.port.to_string()), "{told}");
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let port = free_port();
    let options = harness::options(&format!("redis://127.0.0.1:{port}"));
    let began = Instant::now();
    let error = refused(&options, "no server listens there");
    assert!(error.to_string().contains(&port.to_string()), "{error}");
    assert!(began.elapsed() < Duration::from_secs(3));

    let single = Server::start();
    let url = single.url().replace("redis://", "redis+cluster://");
    refused(&harness::options(&url), "no server of a cluster");
}

#[test]
fn one_process_holds_a_store_at_a_time() {
    let server = Server::start();
    let options = harness::options(&server.url());
    let store = RedisStore::open(&options).unwrap();
    let error = RedisStore::open(&options).unwrap_err();
    assert!(matches!(error, StoreError::Held { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains(&format!("process {}", std::process::id())),
        "{text}"
    );
    let other = RedisOptions {
        namespace: "other".into(),
        ..options.clone()
    };
    drop(RedisStore::open(&other).unwrap());
    drop(store);
    let began = Instant::now();
    drop(RedisStore::open(&options).unwrap());
    assert!(began.elapsed() < options.lease, "it was given back");
}

/// A holder that was paused for longer than its lease changes nothing any more, and answers nothing.
#[test]
fn who_lost_a_store_neither_writes_nor_reads() {
    let server = Server::start();
    let options = harness::options(&server.url());
    let before = RedisStore::open(&options).unwrap();
    let (slot, generation) = harness::serving(&before, "v");
    let k = key("k");
    // As if this process had been paused: its lease ran out, and another took the store.
    server.ask("DEL asof:asof:{asof}:lease");
    let after = RedisStore::open(&options).unwrap();
    let rows = [row(&k, order(1, 1, 1), 1)];
    let later = [row(&k, order(2, 2, 2), 2)];
    after.write(slot, generation, NOW, &rows, None).unwrap();
    let state = before.view_state(slot).and_then(|state| {
        let mut state = state.serving.unwrap();
        state.progress = b"on".to_vec();
        before.write(slot, generation, NOW, &later, Some(&state))
    });
    let deadline = Instant::now() + Duration::from_secs(3);
    let mut outcomes = vec![state, before.open_view(&address("a", "string", "new")).map(drop)];
    while read_one(&before, slot, generation, &k, 1_000).is_ok() {
        assert!(Instant::now() < deadline, "it does not notice");
        std::thread::sleep(Duration::from_millis(10));
    }
    outcomes.push(read_one(&before, slot, generation, &k, 1_000).map(drop));
    outcomes.push(before.write(slot, generation, NOW, &later, None));
    for outcome in &outcomes {
        assert!(matches!(outcome, Err(StoreError::Held { .. })), "{outcomes:?}");
    }
    assert_eq!(after.views().unwrap().len(), 1);
    drop(before);
    assert!(
        after.open_view(&address("a", "string", "new")).is_ok(),
        "it still holds the store"
    );
}

/// What was there and is gone is not "nothing there".
#[test]
fn a_server_that_came_up_empty_is_named() {
    let mut server = Server::start();
    let store = harness::open(&server.url());
    let (slot, generation) = harness::serving(&store, "v");
    let k = key("k");
    store
        .write(slot, generation, NOW, &[row(&k, order(1, 1, 1), 1)], None)
        .unwrap();
    server.kill();
    server.wipe();
    server.restart();
    let port = server.port.to_string();
    let gone = |outcome: Result<(), StoreError>| {
        assert!(matches!(outcome, Err(StoreError::Damaged { .. })), "{outcome:?}");
        let text = outcome.unwrap_err().to_string();
        assert!(text.contains(&port), "{text}");
    };
    let all_gone = |k| {
        gone(read_one(&store, slot, generation, k, 1_000).map(drop));
        gone(store.write(slot, generation, NOW, &[row(k, order(2, 2, 2), 2)], None));
        gone(store.count(slot, generation).map(drop));
        gone(store.open_view(&address("a", "string", "new")).map(drop));
    };
    all_gone(&k);
    all_gone(&key("other"));
}

#[test]
fn what_is_removed_while_it_is_open_is_named() {
    let server = Server::start();
    let store = harness::open(&server.url());
    let (slot, generation) = harness::serving(&store, "v");
    server.ask("FLUSHALL");
    let read = read_one(&store, slot, generation, &key("k"), 1_000);
    assert!(matches!(read, Err(StoreError::Damaged { .. })), "{read:?}");
}

#[test]
fn a_part_of_a_cluster_that_came_up_empty_is_named() {
    let mut cluster = Cluster::start();
    let options = harness::options(&cluster.url());
    let store = RedisStore::open(&options).unwrap();
    let (slot, generation) = harness::serving(&store, "v");
    let keys: Vec<_> = (0..60).map(|k| key(&k.to_string())).collect();
    let rows: Vec<_> = keys.iter().map(|k| row(k, order(1, 1, 1), 1)).collect();
    store.write(slot, generation, NOW, &rows, None).unwrap();
    let emptied = &mut cluster.servers[1];
    let port = emptied.port.to_string();
    emptied.kill();
    emptied.wipe();
    emptied.restart();
    cluster.wait();
    let mut damaged = 0;
    for k in &keys {
        match read_one(&store, slot, generation, k, 1_000) {
            Ok(found) => assert_eq!(found.0, Some(1)),
            Err(StoreError::Damaged { place, .. }) => {
                assert!(place.contains(&port), "{place}");
                damaged += 1;
            }
            Err(StoreError::Failed { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert!(damaged > 5, "{damaged} keys are on the server that came up empty");
    assert!(matches!(
        store.count(slot, generation),
        Err(StoreError::Damaged { .. })
    ));
    drop(store);
    let refused = RedisStore::open(&options);
    assert!(matches!(refused, Err(StoreError::Damaged { .. })), "{refused:?}");
}

/// A server whose memory is full says so; what it has is read on, and when it has room again it goes on.
#[test]
fn a_server_that_is_full_is_told_apart() {
    let server = Server::start();
    let store = harness::open(&server.url());
    let (slot, generation) = harness::serving(&store, "v");
    let write = |n: i64| {
        let rows = [row(&key("k"), order(n, n, 1), n)];
        store.write(slot, generation, NOW, &rows, None)
    };
    write(1).unwrap();
    server.ask("CONFIG SET maxmemory 1");
    let full = write(2);
    assert!(matches!(full, Err(StoreError::Full { .. })), "{full:?}");
    let full = store.open_view(&address("a", "string", "new"));
    assert!(matches!(full, Err(StoreError::Full { .. })), "{full:?}");
    assert_eq!(
        read_one(&store, slot, generation, &key("k"), 1_000),
        Ok((Some(1), true))
    );
    server.ask("CONFIG SET maxmemory 0");
    write(3).unwrap();
    assert_eq!(
        read_one(&store, slot, generation, &key("k"), 1_000),
        Ok((Some(3), true))
    );
}

#[test]
fn a_newer_store_is_refused() {
    let server = Server::start();
    drop(harness::open(&server.url()));
    server.ask("HSET asof:asof:{asof}:catalogue format 2");
    let newer = RedisStore::open(&harness::options(&server.url()));
    assert!(
        matches!(
            newer,
            Err(StoreError::Newer {
                found: 2,
                known: 1,
                ..
            })
        ),
        "{newer:?}"
    );
}

/// A server that writes to its disk by and by is waited for.
#[test]
fn what_was_accepted_is_settled() {
    let server = Server::with(&["--appendfsync", "everysec"]);
    let store = harness::open(&server.url());
    let began = Instant::now();
    store.settle().unwrap();
    assert!(
        began.elapsed() > Duration::from_secs(1),
        "a server does so once a second"
    );
    server.ask("CONFIG SET appendfsync always");
    let began = Instant::now();
    store.settle().unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "it was there before it was acknowledged"
    );
    server.ask("CONFIG SET appendfsync no");
    assert!(store.settle().is_err());
}

/// A user that may do no more than the page says: the settings of the server are not looked up.
#[test]
fn a_user_without_the_right_to_ask_for_settings_opens() {
    let server = Server::start();
    let user = "ACL SETUSER features on >word ~asof:* -@all +@read +@write +@scripting +scan +info +select +client +ping";
    assert!(server.ask(user).starts_with("+OK"));
    let url = server.url().replace("redis://", "redis://features:word@");
    let store = harness::open(&url);
    let (slot, generation) = harness::serving(&store, "v");
    let rows = [row(&key("k"), order(1, 1, 1), 1)];
    store.write(slot, generation, NOW, &rows, None).unwrap();
    assert_eq!(
        read_one(&store, slot, generation, &key("k"), 1_000),
        Ok((Some(1), true))
    );
    assert_eq!(store.count(slot, generation).unwrap().keys, 1);
    store.settle().unwrap();
}

/// Scripts that a server forgot are given to it again.
#[test]
fn scripts_are_given_again() {
    let server = Server::start();
    let store = harness::open(&server.url());
    let (slot, generation): (ViewSlot, Generation) = harness::serving(&store, "v");
    server.ask("SCRIPT FLUSH");
    let rows = [row(&key("k"), order(1, 1, 1), 1)];
    store.write(slot, generation, NOW, &rows, None).unwrap();
    assert_eq!(
        read_one(&store, slot, generation, &key("k"), 1_000),
        Ok((Some(1), true))
    );
}

/// A server that came up with less than it acknowledged, as one does whose disk was behind, or a replica that took over:
/// an error where the durability says that this cannot be, else a warning and what there is.
#[test]
fn acknowledged_changes_that_are_gone_are_told() {
    for durability in [Durability::Sync, Durability::Process] {
        let mut server = Server::start();
        let options = RedisOptions {
            durability,
            ..harness::options(&server.url())
        };
        let store = RedisStore::open(&options).unwrap();
        let (slot, generation) = harness::serving(&store, "v");
        let copy = server.copy();
        let next = store
            .begin_generation(
                slot,
                asof_core::online::conformance::shape("v"),
                asof_core::online::conformance::schema(),
            )
            .unwrap();
        server.kill();
        server.put_back(&copy);
        server.restart();
        let mut begun = store.open_view(&address("a", "string", "new"));
        if durability == Durability::Sync {
            assert!(matches!(begun, Err(StoreError::Damaged { .. })), "{begun:?}");
            continue;
        }
        // Once it is seen that the catalogue is another one, it is read anew.
        for _ in 0..2 {
            begun = begun.or_else(|_| store.open_view(&address("a", "string", "new")));
        }
        begun.unwrap();
        let state = store.view_state(slot).unwrap();
        assert_eq!(state.serving.unwrap().generation, generation);
        assert_eq!(state.building, None, "{next:?} is gone");
    }
}
