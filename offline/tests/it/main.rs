//! Extracts, ingests and sources through the real engine, against the reference and against bad input.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests fail by panicking"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "the environment scales the tests and repeats a seed"
)]

mod compaction;
mod contract;
mod damaged_tables;
mod diff;
mod explain;
mod flights;
mod fuzz;
mod grids;
mod history;
mod lint;
mod managed;
mod messages;
mod plans;
mod project;
mod pruned;
mod random;
mod replaced;
mod replay;
mod sources;
mod spines;
mod windowed;
mod windows;
