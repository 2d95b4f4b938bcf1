//! What the store tells of itself.

use asof_core::online::StoreMetric;

use super::RocksStore;
use crate::keys::Family;

/// Properties of RocksDB that are numbers of each column family: what they are called, what they say, and the property.
const OF_FAMILIES: [(&str, &str, &str); 6] = [
    (
        "rocksdb_memtable_bytes",
        "Memory of rows that are not in files yet",
        "rocksdb.cur-size-all-mem-tables",
    ),
    (
        "rocksdb_table_bytes",
        "Size of the files that are in use",
        "rocksdb.live-sst-files-size",
    ),
    (
        "rocksdb_pending_compaction_bytes",
        "What compaction has to read to be done, estimated; writes slow down at 64 GiB",
        "rocksdb.estimate-pending-compaction-bytes",
    ),
    (
        "rocksdb_level0_files",
        "Files that were not compacted yet; writes slow down at 20 of one column family",
        "rocksdb.num-files-at-level0",
    ),
    (
        "rocksdb_immutable_memtables",
        "Memory tables that wait to be written to files",
        "rocksdb.num-immutable-mem-table",
    ),
    (
        "rocksdb_keys",
        "Stored keys, estimated",
        "rocksdb.estimate-num-keys",
    ),
];

/// The same of the whole database.
const OF_ALL: [(&str, &str, &str); 3] = [
    (
        "rocksdb_running_compactions",
        "Compactions that are running",
        "rocksdb.num-running-compactions",
    ),
    (
        "rocksdb_writes_stopped",
        "1 while all writes wait for compaction",
        "rocksdb.is-write-stopped",
    ),
    (
        "rocksdb_block_cache_bytes",
        "Memory of the cache of blocks, indexes and filters",
        "rocksdb.block-cache-usage",
    ),
];

#[expect(
    clippy::cast_precision_loss,
    reason = "who watches needs no more digits than these"
)]
fn gauge(name: &'static str, help: &'static str, value: u64) -> StoreMetric {
    StoreMetric {
        name,
        help,
        value: value as f64,
        is_counter: false,
    }
}

impl RocksStore {
    pub(super) fn all_metrics(&self) -> Vec<StoreMetric> {
        let of = |family: Family, property: &str| {
            let value = self
                .family(family)
                .map(|family| self.db.property_int_value_cf(family, property));
            // What a version of RocksDB does not know is left at zero.
            value.ok().and_then(Result::ok).flatten().unwrap_or(0)
        };
        let families = OF_FAMILIES.iter().map(|(name, help, property)| {
            let sum = Family::ALL.into_iter().map(|family| of(family, property)).sum();
            gauge(name, help, sum)
        });
        let all = OF_ALL
            .iter()
            .map(|(name, help, property)| gauge(name, help, of(Family::Rows, property)));
        let (hits, misses) = self.cache.asked();
        let counter = |name, help, value| StoreMetric {
            is_counter: true,
            ..gauge(name, help, value)
        };
        let counters = [
            counter(
                "rocksdb_background_errors",
                "Errors of compaction and of writing files since the start",
                of(Family::Rows, "rocksdb.background-errors"),
            ),
            counter("key_cache_hits", "Reads of a key that the cache answered", hits),
            counter("key_cache_misses", "Reads of a key that went to RocksDB", misses),
            gauge(
                "key_cache_bytes",
                "Memory of the cache of keys",
                self.cache.size(),
            ),
        ];
        families.chain(all).chain(counters).collect()
    }
}
