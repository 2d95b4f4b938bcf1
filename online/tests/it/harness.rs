//! Stores in temporary directories, and how much to try.

use std::path::Path;

use asof_core::online::{Generation, OnlineStore, StoreError, ViewSlot, conformance};
use asof_online::{Durability, RocksOptions, RocksStore};

/// Small buffers, so that a test reaches files and not only memory.
pub(crate) fn options() -> RocksOptions {
    RocksOptions {
        durability: Durability::Process,
        cache_bytes: 8 << 20,
        write_buffer_bytes: 1 << 20,
    }
}

pub(crate) fn open(path: &Path) -> Result<RocksStore, StoreError> {
    RocksStore::open(path, &options())
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

/// How many cases to try: the variable's value, or else `default`.
pub(crate) fn scale(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |value| value.parse().unwrap())
}

/// The seed of this run, which a failing test shows; `ASOF_SEED` repeats it.
pub(crate) fn seed() -> u64 {
    let seed = std::env::var("ASOF_SEED").map_or_else(|_| rand::random(), |value| value.parse().unwrap());
    println!("ASOF_SEED={seed}");
    seed
}
