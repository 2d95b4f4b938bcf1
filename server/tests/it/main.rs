//! The real server on 127.0.0.1, asked by real clients, over the memory store.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests may"
)]

mod abuse;
mod errors;
mod harness;
mod json;
mod registry;
mod statuses;
mod surfaces;
