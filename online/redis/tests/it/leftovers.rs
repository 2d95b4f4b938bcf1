//! What is given up while it is written leaves nothing behind.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use asof_core::online::conformance::{address, key, order, row, schema, shape, sorted, tiled};
use asof_core::online::{OnlineStore, StoreError};
use asof_core::time::Timestamp;

use crate::harness;
use crate::servers::Server;

const NOW: Timestamp = Timestamp::from_micros(1_000);

#[test]
fn what_is_given_up_while_it_is_written_leaves_nothing() {
    let server = Server::start();
    let store = harness::open(&server.url());
    let keys = || -> u64 {
        server
            .ask("DBSIZE")
            .trim()
            .trim_start_matches(':')
            .parse()
            .unwrap()
    };
    let slots = ["rows", "tiles"].map(|view| store.open_view(&address("a", "string", view)).unwrap());
    let empty = keys();
    let is_over = AtomicBool::new(false);
    let begin = |of: usize| {
        let shape = if of == 0 { shape("v") } else { tiled("v") };
        store.begin_generation(slots[of], shape, schema()).unwrap()
    };
    thread::scope(|scope| {
        for (of, slot) in slots.into_iter().enumerate() {
            let (store, is_over) = (&store, &is_over);
            for writer in 0..2_u64 {
                scope.spawn(move || {
                    let mut written = 0;
                    for n in 0.. {
                        if is_over.load(Ordering::SeqCst) {
                            break;
                        }
                        let Some(building) = store.view_state(slot).unwrap().building else {
                            continue;
                        };
                        let k = key(&(n % 30).to_string());
                        let rows = [
                            row(&k, order(n, 0, writer), n),
                            row(&k, order(5_000, n, writer), n),
                        ];
                        // Many at once, so that a generation is given up in the middle of them.
                        let many = || -> Vec<_> {
                            let keys = (0..1_500).map(|k| key(&format!("many {k}")));
                            keys.map(|k| row(&k, order(n, 0, writer), n)).collect()
                        };
                        let outcome = match (of, writer) {
                            (0, 0) => store.load(slot, building.generation, &sorted(&many()), b"on"),
                            (1, 0) => store.write(slot, building.generation, NOW, &many(), None),
                            _ => store.write(slot, building.generation, NOW, &rows, None),
                        };
                        match outcome {
                            Ok(()) => written += 1,
                            Err(StoreError::NoGeneration { .. }) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                    assert!(written > 0);
                });
            }
        }
        for _ in 0..harness::cases(14) {
            begin(0);
            begin(1);
            thread::sleep(std::time::Duration::from_millis(3));
            store.remove_given_up().unwrap();
        }
        is_over.store(true, Ordering::SeqCst);
    });
    for slot in slots {
        store.drop_view(slot).unwrap();
    }
    // Nothing but the marks, the catalogue and the lease, and no more in the catalogue than there was.
    assert_eq!(keys(), empty);
    let removals = server.ask("HKEYS asof:asof:{asof}:catalogue");
    assert!(!removals.contains("x:"), "{removals}");
}
