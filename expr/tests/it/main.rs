//! The crate from outside: what is refused and how it is said, what values mean, and what always holds.

mod fixture;
mod limits;
mod properties;
mod refusals;
mod schemas;
mod values;
