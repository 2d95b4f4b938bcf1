//! What was read of keys lately, in memory, so that the next read of a key needs no search.
//!
//! # Coherence
//!
//! A read that begins after a write returned sees it, and no read sees something older than what a read that
//! ended before it saw. To that end keys are told apart by hashes into many *shards*, each with the number of
//! writes under way and the tick at which the last one ended:
//!
//! - a write holds the shards of its keys from before it commits until after, and then sets their ticks;
//! - what is cached is used only where no write of its shard is under way, and none ended since it was read;
//! - what is read is cached only where none is under way, and none ended after the snapshot that it was read
//!   from was taken.
//!
//! A reader has one snapshot for all of its keys, and uses of what is cached only what is in it.
//!
//! Loads, which write keys without number, hold all shards at once by a counter of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use moka::sync::Cache;

use crate::key_rows::KeyRows;

/// A power of two: 512 KiB of numbers, each of which may make one key in so many be read again.
const SHARDS: usize = 1 << 16;
/// Keys with more than these bytes of rows are not kept.
const LARGEST: usize = 256 << 10;
/// The low bits of a shard count the writes under way; the others are the tick.
const UNDER_WAY: u64 = (1 << 16) - 1;
const TICK: u64 = 1 << 16;

/// Rows of keys that were read lately.
#[derive(Debug)]
pub(crate) struct KeyCache {
    keys: Cache<Vec<u8>, Arc<Cached>>,
    shards: Box<[AtomicU64]>,
    /// The same of all keys at once.
    all: AtomicU64,
    /// Counted up by every write that ends.
    ticks: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// What is cached of a key.
#[derive(Debug)]
pub(crate) struct Cached {
    stamp: Stamp,
    pub(crate) rows: KeyRows,
}

impl Cached {
    /// Whether it is what a snapshot has of the key that was taken then: nothing was written since.
    pub(crate) fn is_in(&self, taken: Taken) -> bool {
        self.stamp.last_write() <= taken.0
    }
}

/// The state of what a key's rows depend on, with no write under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    shard: u64,
    all: u64,
    /// The catalogue's number; see [`OnlineStore::changes`](asof_core::online::OnlineStore::changes).
    changes: u64,
}

impl Stamp {
    /// The tick at which the last write ended.
    fn last_write(&self) -> u64 {
        (self.shard / TICK).max(self.all / TICK)
    }
}

/// When a snapshot was taken, in ticks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken(u64);

impl KeyCache {
    /// A cache of so many bytes of memory.
    pub(crate) fn new(bytes: usize) -> Self {
        let weight = |key: &Vec<u8>, cached: &Arc<Cached>| {
            // Of the cache's own for each key, about so much.
            const OWN: usize = 150;
            u32::try_from(key.len() + cached.rows.size() + OWN).unwrap_or(u32::MAX)
        };
        Self {
            keys: Cache::builder()
                .weigher(weight)
                .max_capacity(bytes as u64)
                .build(),
            shards: (0..SHARDS).map(|_| AtomicU64::new(0)).collect(),
            all: AtomicU64::new(0),
            ticks: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    fn shard(&self, key: &[u8]) -> Option<&AtomicU64> {
        self.shards.get(place(key))
    }

    /// `None` while a write is under way.
    fn stamp(&self, key: &[u8], changes: u64) -> Option<Stamp> {
        let all = self.all.load(Ordering::SeqCst);
        let shard = self.shard(key)?.load(Ordering::SeqCst);
        ((shard | all) & UNDER_WAY == 0).then_some(Stamp { shard, all, changes })
    }

    /// What is cached of a stored key's start, as long as it is what the store has.
    pub(crate) fn get(&self, key: &[u8], changes: u64) -> Option<Arc<Cached>> {
        let stamp = self.stamp(key, changes);
        let found = stamp.and_then(|stamp| self.keys.get(key).filter(|cached| cached.stamp == stamp));
        let counter = if found.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    /// How often something was found, and how often not.
    pub(crate) fn asked(&self) -> (u64, u64) {
        (
            self.hits.load(Ordering::Relaxed),
            self.misses.load(Ordering::Relaxed),
        )
    }

    /// Bytes of memory that it has, about.
    pub(crate) fn size(&self) -> u64 {
        self.keys.weighted_size()
    }

    /// Must be called before a snapshot is taken whose rows are to be cached.
    pub(crate) fn before_snapshot(&self) -> Taken {
        Taken(self.ticks.load(Ordering::SeqCst))
    }

    /// Caches what a snapshot has of a key, where that is still what the store has; returns the rows.
    pub(crate) fn insert(&self, key: &[u8], rows: KeyRows, taken: Taken, changes: u64) -> Arc<Cached> {
        let stamp = self
            .stamp(key, changes)
            .filter(|stamp| stamp.last_write() <= taken.0);
        let nothing = Stamp {
            shard: UNDER_WAY,
            all: UNDER_WAY,
            changes,
        };
        let cached = Arc::new(Cached {
            stamp: stamp.unwrap_or(nothing),
            rows: rows.fitted(),
        });
        if stamp.is_some() && cached.rows.size() <= LARGEST {
            self.keys.insert(key.into(), Arc::clone(&cached));
        }
        cached
    }

    /// Holds the shards of keys while they are written, until dropped.
    pub(crate) fn hold<'a, K: AsRef<[u8]>>(&'a self, keys: impl IntoIterator<Item = K>) -> Hold<'a> {
        let mut shards: Vec<_> = keys.into_iter().map(|key| place(key.as_ref())).collect();
        // Each once: the count of writes under way has room for so many writes, not for so many keys.
        shards.sort_unstable();
        shards.dedup();
        Hold::new(
            self,
            shards
                .into_iter()
                .filter_map(|place| self.shards.get(place))
                .collect(),
        )
    }

    /// Holds all shards.
    pub(crate) fn hold_all(&self) -> Hold<'_> {
        Hold::new(self, vec![&self.all])
    }
}

/// The shard of a key.
fn place(key: &[u8]) -> usize {
    crc32c::crc32c(key) as usize % SHARDS
}

/// A write that is under way.
pub(crate) struct Hold<'a> {
    cache: &'a KeyCache,
    shards: Vec<&'a AtomicU64>,
}

impl<'a> Hold<'a> {
    fn new(cache: &'a KeyCache, shards: Vec<&'a AtomicU64>) -> Self {
        for shard in &shards {
            shard.fetch_add(1, Ordering::SeqCst);
        }
        Self { cache, shards }
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        let tick = self.cache.ticks.fetch_add(1, Ordering::SeqCst) + 1;
        for shard in &self.shards {
            let ended = |state: u64| Some((state / TICK).max(tick) * TICK + (state & UNDER_WAY) - 1);
            // Never refused: `ended` always gives a state.
            let _ = shard.fetch_update(Ordering::SeqCst, Ordering::SeqCst, ended);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cached(cache: &KeyCache, taken: Taken) -> Option<()> {
        cache.insert(b"k", KeyRows::default(), taken, 1);
        cache.get(b"k", 1).map(drop)
    }

    #[test]
    fn what_is_cached_is_what_the_store_has() {
        let cache = KeyCache::new(1 << 20);
        assert!(cache.get(b"k", 1).is_none());
        assert!(cached(&cache, cache.before_snapshot()).is_some());
        assert!(cache.get(b"k", 2).is_none(), "the catalogue has changed");

        for all in [false, true] {
            let hold = || match all {
                true => cache.hold_all(),
                // Twice the same shard.
                false => cache.hold([b"k", b"k"]),
            };
            let before = cache.before_snapshot();
            let write = hold();
            assert!(cache.get(b"k", 1).is_none(), "a write is under way");
            let during = cache.before_snapshot();
            assert!(cached(&cache, during).is_none());
            drop(write);
            assert!(cache.get(b"k", 1).is_none(), "a write has ended");
            assert!(cached(&cache, before).is_none(), "read before it");
            assert!(
                cached(&cache, during).is_none(),
                "it may have been read before it"
            );
            assert!(cached(&cache, cache.before_snapshot()).is_some());
        }
        drop(cache.hold([b"another key"]));
        assert!(cache.get(b"k", 1).is_some());
    }
}
