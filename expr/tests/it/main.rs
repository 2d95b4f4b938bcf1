//! The crate from outside: what is refused and how it is said, what values mean, and what always holds.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod expressions;
mod features;
mod fixture;
mod functions;
mod fuzz;
mod limits;
mod lists;
mod properties;
mod refusals;
mod schemas;
mod values;
