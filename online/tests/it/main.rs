//! The RocksDB store against its contract, its twin, kills and damage.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests, also where they are not in a test function: they fail by panicking, and are scaled by the environment"
)]

mod clocks;
mod conformance;
mod corruption;
mod directory;
mod expiry;
mod formats;
mod harness;
mod hot_key;
mod in_doubt;
mod intake;
mod kills;
mod newest_wins;
mod schemas;
mod whole_rows;
mod windows;
