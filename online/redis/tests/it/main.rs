//! The Redis store against its contract, its twin, and servers that die, stop, are cut off and come up empty.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests, also where they are not in a test function: they fail by panicking, and are scaled by the environment"
)]

mod conformance;
mod expiry;
mod harness;
mod histories;
mod kills;
mod leftovers;
mod newest_wins;
mod outages;
mod refusals;
mod servers;
mod tiles;
mod tls;
mod topology;
