//! The as-of join: for each spine row the row of a view that the point-in-time contract names.
//!
//! The spine's questions are grouped by key and sorted by time ([`Questions`]). The source's rows come in
//! any order: each finds, by binary search, the first question that it can answer ([`Pass`]) and competes
//! there under the total order ([`Contest`]); one pass per key then carries winners forward to the later
//! questions. Since the order is total, neither the order of arrival nor the cut of batches matters.
//!
//! Only keys and times are read for that. Features are read when it is known whose are served ([`Fetch`]).
//!
//! Views of aggregates have no winners: what counts for a question are all events of its windows. One more pass over
//! their sources finds these by the same questions ([`windowed`]), and [`crate::windows`] computes of them.

mod arena;
mod contest;
mod fetch;
mod index;
mod indexed;
mod memory;
mod metrics;
mod pass;
mod prune;
mod questions;
mod reading;
mod served;
mod source;
mod values;
mod windowed;

pub(crate) use index::KeyIndex;
pub(crate) use indexed::{Answers, join_indexed};
pub(crate) use memory::Memory;
pub(crate) use metrics::JoinMetrics;
pub(crate) use questions::{Questions, QuestionsBuilder};
pub(crate) use source::SourceFiles;
