//! Newest wins, and tiles add up: RocksDB's merge operator of rows.

use asof_core::aggregate::tiles::merge_chunks;
use asof_core::online::newer_row;
use rocksdb::MergeOperands;

use crate::keys::RowKey;

/// The operator's name, stored in every table file: stable.
pub(crate) const NAME: &str = "asof.newest_row.1";

/// What stands in the place of tiles of which one was damaged: no chunk, and so found damaged when it is read.
const DAMAGED: &[u8] = b"damaged";

/// The newest of the rows there are, or the sum of the tiles, for full and partial merges alike: the order in which
/// RocksDB gives them does not matter.
///
/// Always gives bytes, whatever it is given: a merge that fails is accepted at first and then leaves a database that does
/// not open. What is not a row loses to any row, and is found damaged when it is read, as are tiles of which one is damaged.
pub(crate) fn merge(key: &[u8], existing: Option<&[u8]>, operands: &MergeOperands) -> Option<Vec<u8>> {
    let all = existing.into_iter().chain(operands);
    if RowKey::is_of_tiles(key) {
        return Some(merge_chunks(all).unwrap_or_else(|_| DAMAGED.to_vec()));
    }
    Some(all.reduce(newer_row).unwrap_or_default().to_vec())
}
