//! The as-of join: for each spine row the row of a view that the point-in-time contract names.
//!
//! The spine's questions are grouped by key and sorted by time ([`Questions`]). The source's rows come in
//! any order: each finds, by binary search, the first question that it can answer and competes there
//! under the total order ([`Contest`]); one pass per key then carries winners forward to the later
//! questions. Since the order is total, neither the order of arrival nor the cut of batches matters.

mod contest;
mod questions;
mod values;

pub use contest::{Contest, Outcome, RowAnswer};
pub use questions::{Questions, QuestionsBuilder};
