//! Clusters whose slots move, and whose replicas take over, while they are read and written.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use asof_core::key::EntityKey;
use asof_core::online::OnlineStore;
use asof_core::online::conformance::{key, order, read_one, row};
use asof_core::time::Timestamp;

use crate::harness;
use crate::servers::{Cluster, Server};

const NOW: Timestamp = Timestamp::from_micros(i64::MAX - 1);

fn id(server: &Server) -> String {
    let answer = server.ask("CLUSTER MYID");
    answer.lines().nth(1).unwrap().to_owned()
}

/// Writes and reads keys one after the other while something happens; every call must succeed.
fn goes_on(cluster: &Cluster, trouble: impl FnOnce()) {
    let store = harness::open(&cluster.url());
    let (slot, generation) = harness::serving(&store, "v");
    let keys: Vec<EntityKey> = (0..100).map(|k| key(&k.to_string())).collect();
    let write = |n: i64| {
        let rows: Vec<_> = keys.iter().map(|k| row(k, order(n, 0, 1), n)).collect();
        store.write(slot, generation, NOW, &rows, None).unwrap();
    };
    let check = |n: i64| {
        for k in &keys {
            assert_eq!(
                read_one(&store, slot, generation, k, NOW.micros()).unwrap().0,
                Some(n)
            );
        }
    };
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let others = scope.spawn(|| {
            let mut n = 0;
            while n < 3 || !is_over.load(Ordering::SeqCst) {
                n += 1;
                write(n);
                check(n);
            }
            n
        });
        thread::sleep(Duration::from_millis(50));
        trouble();
        thread::sleep(Duration::from_millis(50));
        is_over.store(true, Ordering::SeqCst);
        let n = others.join().unwrap();
        check(n);
        assert_eq!(store.count(slot, generation).unwrap().keys, 100);
    });
}

#[test]
fn slots_may_move() {
    let cluster = Cluster::start();
    let [from, to] = [&cluster.servers[0], &cluster.servers[1]];
    goes_on(&cluster, || {
        let mut moved = 0;
        for slot in 0..5_461 {
            let count = from.ask(&format!("CLUSTER COUNTKEYSINSLOT {slot}"));
            let count: usize = count.trim().trim_start_matches(':').parse().unwrap();
            // Those that have more than a mark.
            if count < 2 {
                continue;
            }
            assert!(
                to.ask(&format!("CLUSTER SETSLOT {slot} IMPORTING {}", id(from)))
                    .starts_with("+OK")
            );
            assert!(
                from.ask(&format!("CLUSTER SETSLOT {slot} MIGRATING {}", id(to)))
                    .starts_with("+OK")
            );
            // One key at a time, so that half of them are elsewhere for a while.
            while let Some(key) = from.key_in_slot(slot) {
                from.migrate(to.port, &key);
                thread::sleep(Duration::from_millis(3));
            }
            for server in &cluster.servers {
                assert!(
                    server
                        .ask(&format!("CLUSTER SETSLOT {slot} NODE {}", id(to)))
                        .starts_with("+OK")
                );
            }
            moved += 1;
            if moved == 5 {
                break;
            }
        }
        assert_eq!(moved, 5);
    });
}

#[test]
fn a_replica_may_take_over() {
    let cluster = Cluster::of(4);
    let [master, replica] = [&cluster.servers[0], &cluster.servers[3]];
    assert!(
        replica
            .ask(&format!("CLUSTER REPLICATE {}", id(master)))
            .starts_with("+OK")
    );
    let until = Instant::now() + Duration::from_secs(20);
    while !replica.ask("INFO replication").contains("master_link_status:up") {
        assert!(Instant::now() < until, "the replica does not follow");
        thread::sleep(Duration::from_millis(20));
    }
    goes_on(&cluster, || {
        assert!(replica.ask("CLUSTER FAILOVER").starts_with("+OK"));
        while !replica.ask("INFO replication").contains("role:master") {
            assert!(Instant::now() < until, "the replica does not take over");
            thread::sleep(Duration::from_millis(20));
        }
    });
}
