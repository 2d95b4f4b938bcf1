//! The bench itself, at a scale at which its figures mean nothing, so that it stays able to run.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests may"
)]

mod flights;
mod runs;
