//! The RocksDB store against its contract, its twin, kills and damage.
#![allow(
    clippy::disallowed_methods,
    reason = "the environment scales the tests, and they measure real time"
)]

mod conformance;
mod corruption;
mod directory;
mod harness;
mod kills;
mod newest_wins;
mod schemas;
mod whole_rows;
