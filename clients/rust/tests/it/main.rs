//! The client against the real server on 127.0.0.1, over the memory store.

#![allow(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests, also where they are not in a test function: they fail by panicking"
)]

mod calls;
mod examples;
mod harness;
mod retries;
mod uploads;
