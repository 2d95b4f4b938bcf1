//! The registry as its callers see it.

// Clippy's leave for tests does not reach the functions that they share.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

mod aggregates;
mod applying;
mod configuration;
mod conformance;
mod corruption;
mod definition_files;
mod files_on_disk;
mod fuzz;
mod on_demand;
mod planning;
mod references;
mod round_trip;
mod searching;
mod streams;
