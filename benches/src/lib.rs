//! What the figures are measured on, and how.
//!
//! ```text
//! suite ──> sets      the sets to measure on, made where they are not there yet
//!       ──> child     each stage in a process of its own, so that its memory is its own
//!             └─ stage::{extract, materialize, serve, ingest, floor, calls}
//!       ──> stage::load   the clients of the server, in this process
//!       ──> compare   extracts beside those of DuckDB and Polars, cases, and what was wanted of them
//!       ──> online    reads beside an echo, Redis and Feast, and what was wanted of them
//!       ──> python    the Python package beside the command, the Rust client, an echo and Feast
//!       ──> report    the medians as a table
//! ```

pub mod child;
pub mod compare;
pub mod generate;
pub mod machine;
pub mod online;
pub mod python;
mod random;
pub mod report;
pub mod sets;
pub mod spread;
pub mod stage;
pub mod streams;
pub mod suite;
pub mod verdict;
pub mod workload;
