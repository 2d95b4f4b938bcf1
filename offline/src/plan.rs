//! The as-of join as DataFusion plans it: one logical node, and two physical strategies for it.
//!
//! ```text
//! AttachExec                        the spine's rows, each with its answers
//! ├─ SpineExec                      all columns of the spine
//! └─ IndexedJoinExec                by an index of the spine in memory
//!    ├─ SpineExec                   keys and times
//!    └─ SourceExec …                one a source, for all views of it
//!
//! AttachExec
//! ├─ SpineExec
//! └─ SortPreservingMergeExec …      one a read: answers back in the order of the spine
//!    └─ SortExec
//!       └─ MergeJoinExec            by sorting both sides, where neither fits
//!          ├─ SortExec ─ RepartitionExec ─ QuestionsExec ─ SpineExec
//!          └─ SortExec ─ RepartitionExec ─ SourceExec    one scan of a source for all views of it
//! ```

mod answers;
mod attach;
mod indexed;
mod leaf;
mod logical;
mod merge;
mod planner;
mod questions;
mod shared;
mod source;
mod spec;
mod spine;

pub(crate) use answers::AnswerColumns;
pub(crate) use planner::{Planned, plan};
pub use spec::Strategy;
pub(crate) use spec::{JoinRead, JoinSource, JoinSpec};
