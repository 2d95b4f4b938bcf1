//! Newest wins, as RocksDB's merge operator.

use asof_core::online::newer_row;
use rocksdb::MergeOperands;

/// The operator's name, stored in every table file: stable.
pub(crate) const NAME: &str = "asof.newest_row.1";

/// The newest of the rows there are, for full and partial merges alike: the order in which RocksDB
/// gives them does not matter.
///
/// Always gives bytes, whatever the rows are: a merge that fails is accepted at first and then leaves a
/// database that does not open. What is not a row loses to any row, and is found damaged when it is read.
pub(crate) fn newest(_key: &[u8], existing: Option<&[u8]>, operands: &MergeOperands) -> Option<Vec<u8>> {
    let newest = existing.into_iter().chain(operands).reduce(newer_row);
    Some(newest.unwrap_or_default().to_vec())
}
