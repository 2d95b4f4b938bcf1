//! Stores in temporary directories, and how much to try.

use std::path::Path;

use asof_core::online::{Generation, OnlineStore, StoreError, ViewSlot, conformance};
use asof_online::{Durability, RocksOptions, RocksStore};

/// Small buffers, so that a test reaches files and not only memory.
pub(crate) fn options() -> RocksOptions {
    RocksOptions {
        durability: Durability::Process,
        cache_bytes: 8 << 20,
        row_cache_bytes: 1 << 20,
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

/// How many cases to try: `ASOF_CASES` per cent of `usual`.
pub(crate) fn cases(usual: usize) -> usize {
    let percent = std::env::var("ASOF_CASES").map_or(100, |text| text.parse().unwrap());
    (usual * percent / 100).max(1)
}

/// The seed that `ASOF_SEED` gives, to run a failing case again.
pub(crate) fn given_seed() -> Option<u64> {
    std::env::var("ASOF_SEED").ok().map(|text| text.parse().unwrap())
}

/// The seed of this run, which a failing test shows; `ASOF_SEED` repeats it.
pub(crate) fn seed() -> u64 {
    let seed = given_seed().unwrap_or_else(rand::random);
    println!("ASOF_SEED={seed}");
    seed
}
