//! The real server on 127.0.0.1, asked by real clients, over the memory store.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests, also where they are not in a test function: they fail by panicking, print their seeds, and are scaled by the environment"
)]

mod abuse;
mod cancelled;
mod errors;
mod flight;
mod flight_cancel;
mod flight_damage;
mod fuzz;
mod harness;
mod json;
mod materialize_expiry;
mod materialize_failures;
mod materialize_project;
mod materialize_reference;
mod materialize_refusals;
mod materialize_schedules;
mod on_demand;
mod push_streams;
mod pushes;
mod registry;
mod rollback;
mod statuses;
mod streams;
mod surfaces;
mod windows;
mod wrapped_store;
