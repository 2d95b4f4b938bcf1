//! The `asof` binary as its users meet it.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests fail by panicking, also outside of test functions"
)]

mod applying;
mod bad_input;
mod disks;
mod explaining;
mod interrupts;
mod linting;
mod memory;
mod messages;
mod project;
mod replaying;
mod serving;
mod starter;
