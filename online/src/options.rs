//! How RocksDB is set up, and why.
//!
//! Tried and left out, as reads beside a bulk load and the load itself took as long, give or take what one run
//! differs from the next: ribbon filters, or none, in place of Bloom filters (which only point reads ask: those of
//! pending rows and of how far a load has come); direct I/O (which takes the page cache from cold reads); a limit of
//! 64 MiB a second for what runs in the background, which gives way to reads by its priority already.

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, DBRecoveryMode, Env, Options,
    ReadOptions, WriteOptions,
};

use crate::expiry::Expiry;
use crate::keys::Family;
use crate::merge;

/// What a write that was acknowledged survives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Durability {
    /// The death of the process, not that of the machine.
    #[default]
    Process,
    /// A power cut: the log is on the disk before a write returns; concurrent writes share one sync.
    Sync,
}

/// What a caller decides about a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RocksOptions {
    /// What a write that was acknowledged survives.
    pub durability: Durability,
    /// Bytes of memory for uncompressed blocks, indexes and filters.
    pub cache_bytes: usize,
    /// Bytes of memory for what was read of keys lately.
    pub row_cache_bytes: usize,
    /// Bytes of memory for rows that are not in files yet, over all column families.
    pub write_buffer_bytes: usize,
}

impl Default for RocksOptions {
    fn default() -> Self {
        Self {
            durability: Durability::default(),
            cache_bytes: 256 << 20,
            row_cache_bytes: 256 << 20,
            write_buffer_bytes: 64 << 20,
        }
    }
}

/// After so many seconds at the latest a file of rows is compacted, so that what expired in it goes: a week.
const PERIOD: u64 = 7 * 24 * 3_600;

/// Options of the whole database.
pub(crate) fn database(options: &RocksOptions, create: bool) -> Options {
    let mut database = Options::default();
    // A store is created where there is none, and never where one has lost its CURRENT file.
    database.create_if_missing(create);
    database.create_missing_column_families(true);
    // The default (point-in-time) stops silently at the first damage in a log and opens an older store.
    // This mode refuses damage and accepts the torn tail that a kill leaves; it needs logs that are
    // never written over.
    database.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    database.set_recycle_log_file_num(0);
    // Without it, a log that is missing or cut short in the middle goes unnoticed.
    database.set_track_and_verify_wals_in_manifest(true);
    database.set_paranoid_checks(true);
    // One bound over all column families; the oldest buffer is written out when it is reached.
    database.set_db_write_buffer_size(options.write_buffer_bytes);
    // Families that are seldom written would otherwise keep old logs for ever.
    database.set_max_total_wal_size(4 * options.write_buffer_bytes as u64);
    database.set_max_background_jobs(2);
    // Compaction has the processors when reads leave them.
    if let Ok(mut env) = Env::new() {
        env.lower_thread_pool_cpu_priority();
        database.set_env(&env);
    }
    // Smooth write-back instead of one burst at the end of a file.
    database.set_bytes_per_sync(1 << 20);
    // RocksDB's own log is bounded.
    database.set_max_log_file_size(4 << 20);
    database.set_keep_log_file_num(4);
    database
}

/// The column families with their options.
///
/// There is no prefix extractor: a read is one iteration between two bounds, which is always in total
/// order, and an iterator cannot miss a key for want of a prefix.
pub(crate) fn families(
    options: &RocksOptions,
    expiry: &Expiry,
) -> Result<Vec<ColumnFamilyDescriptor>, rocksdb::Error> {
    let cache = Cache::new_lru_cache(options.cache_bytes);
    let family_of = |family: Family| {
        let mut set = family_options(family, options, Some(&cache))?;
        if family == Family::Rows {
            set.set_compaction_filter_factory(expiry.clone());
            // Files that nothing is written over are looked at, too.
            set.set_periodic_compaction_seconds(PERIOD);
        }
        Ok(ColumnFamilyDescriptor::new(family.name(), set))
    };
    Family::ALL.into_iter().map(family_of).collect()
}

/// For table files of rows that are written outside the database.
///
/// They are compressed fast: compaction writes them again.
pub(crate) fn load_file(options: &RocksOptions) -> Result<Options, rocksdb::Error> {
    let mut set = family_options(Family::Rows, options, None)?;
    set.set_bottommost_compression_type(DBCompressionType::Lz4);
    Ok(set)
}

/// So many merges into one key lie one on the other in memory before they are merged by the next: a read of a key that is
/// pushed to all the time merges no more than these.
const SUCCESSIVE_MERGES: usize = 32;

/// That merge reads what is below in a file, too. By default it does so only where the block is cached; where it is not, as
/// after a restart, merges into a key pile up, and each further one walks over all of them. The wrapper has no setter.
const MERGE_WITH_FILES: &str = "strict_max_successive_merges=true";

fn family_options(
    family: Family,
    options: &RocksOptions,
    cache: Option<&Cache>,
) -> Result<Options, rocksdb::Error> {
    let mut table = BlockBasedOptions::default();
    if let Some(cache) = cache {
        table.set_block_cache(cache);
    }
    // Filters and indexes count towards the cache, so that memory is bounded by it.
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_bloom_filter(10.0, false);
    table.set_format_version(6);

    let mut set = match family {
        Family::Rows => Options::default().get_options_from_string(MERGE_WITH_FILES)?,
        Family::Due | Family::Catalogue | Family::Intake | Family::Events => Options::default(),
    };
    set.set_block_based_table_factory(&table);
    set.set_write_buffer_size(options.write_buffer_bytes);
    // Fast where data is young and read most, small at the bottom.
    set.set_compression_type(DBCompressionType::Lz4);
    set.set_bottommost_compression_type(DBCompressionType::Zstd);
    if family == Family::Rows {
        set.set_merge_operator_associative(merge::NAME, merge::merge);
        set.set_max_successive_merges(SUCCESSIVE_MERGES);
    }
    Ok(set)
}

/// For reads of one key.
pub(crate) fn point_read(range: (Vec<u8>, Vec<u8>)) -> ReadOptions {
    let mut read = ReadOptions::default();
    read.set_verify_checksums(true);
    read.set_iterate_lower_bound(range.0);
    read.set_iterate_upper_bound(range.1);
    read
}

/// For scans, which neither fill the cache nor wait for every block by itself.
pub(crate) fn scan(range: (Vec<u8>, Vec<u8>)) -> ReadOptions {
    let mut read = point_read(range);
    read.fill_cache(false);
    read.set_readahead_size(2 << 20);
    read
}

/// For writes that are acknowledged to callers.
pub(crate) fn write(durability: Durability) -> WriteOptions {
    let mut write = WriteOptions::default();
    write.set_sync(match durability {
        Durability::Process => false,
        Durability::Sync => true,
    });
    write
}
