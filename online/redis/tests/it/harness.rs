//! Stores on servers of their own, and how much to try.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use asof_core::online::{Generation, OnlineStore, ViewSlot, conformance};
use asof_redis::{RedisOptions, RedisStore};

/// Options with a short lease, so that a store whose holder was killed is soon another's.
pub(crate) fn options(url: &str) -> RedisOptions {
    RedisOptions {
        lease: Duration::from_millis(600),
        ..RedisOptions::new(url)
    }
}

pub(crate) fn open(url: &str) -> RedisStore {
    RedisStore::open(&options(url)).unwrap()
}

/// A store under a name that none had before.
pub(crate) fn fresh(url: &str) -> RedisStore {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let namespace = format!("fresh{}", COUNT.fetch_add(1, Ordering::Relaxed));
    RedisStore::open(&RedisOptions {
        namespace,
        ..options(url)
    })
    .unwrap()
}

/// A view of entity `a` with keys of one text, and a first generation, which serves.
pub(crate) fn serving(store: &dyn OnlineStore, view: &str) -> (ViewSlot, Generation) {
    let slot = store
        .open_view(&conformance::address("a", "string", view))
        .unwrap();
    let generation = store
        .begin_generation(slot, conformance::shape(view), conformance::schema())
        .unwrap();
    store.serve(slot, generation).unwrap();
    (slot, generation)
}

/// How many cases to try: `ASOF_CASES` per cent of `usual`.
pub(crate) fn cases(usual: usize) -> usize {
    let percent = std::env::var("ASOF_CASES").map_or(100, |text| text.parse().unwrap());
    (usual * percent / 100).max(1)
}

/// The seed of this run, which a failing test shows; `ASOF_SEED` repeats it.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("ASOF_SEED").ok().map(|text| text.parse().unwrap());
    let seed = given.unwrap_or_else(rand::random);
    println!("ASOF_SEED={seed}");
    seed
}
