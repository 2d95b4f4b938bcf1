//! The `asof` binary as its users meet it.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests fail by panicking, also outside of test functions"
)]

mod abuse;
mod access;
mod applying;
mod backup;
mod bad_input;
mod disks;
mod explaining;
mod failing_disk;
mod interrupts;
mod linting;
mod memory;
mod messages;
#[path = "../../../../streams/tests/it/nats_server.rs"]
#[expect(dead_code, reason = "the tests of the crate of brokers use all of it")]
mod nats_server;
mod on_demand;
mod operating;
mod power;
mod project;
mod pushing;
mod redis;
mod replaying;
mod rolling_back;
mod server;
mod serving;
mod soak;
mod starter;
mod stopping;
mod streaming;
