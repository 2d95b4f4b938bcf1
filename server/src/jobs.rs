//! The jobs that a server runs, as its services call them.

use asof_core::registry::Run;
use asof_core::time::Timestamp;
use async_trait::async_trait;
use tonic::Code;

use crate::error::JobError;
use crate::materialize::{Materialized, RolledBack};

/// What to materialize.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Materialization {
    /// The views; all where none is named.
    pub views: Vec<String>,
    /// As of which instant; the clock where absent.
    pub as_of: Option<Timestamp>,
    /// Whether to build the views anew.
    pub full: bool,
    /// Whether to bring back first what was rolled back.
    pub redo: bool,
    /// Whether to return when the runs have ended, rather than when they have started.
    pub wait: bool,
}

/// The run of one view.
#[derive(Debug)]
pub struct ViewRun {
    /// Its entry in the ledger, as it stands.
    pub run: Run,
    /// How it ended, where that was waited for: what it did, or why it failed.
    pub ended: Option<Result<Materialized, JobError>>,
}

/// Whoever runs jobs.
///
/// A run that was started goes on when the caller goes away. A run that ends badly is not an error of
/// [`Jobs::materialize`]: its entry in the ledger says so.
#[async_trait]
pub trait Jobs: Send + Sync + 'static {
    /// Starts one run for each view, and returns them as they stand.
    async fn materialize(&self, what: Materialization) -> Result<Vec<ViewRun>, JobError>;

    /// Undoes the last run of a view, by its number.
    async fn roll_back(&self, run: u64) -> Result<RolledBack, JobError>;

    /// The code that a call would have failed with as a run of this process did, while that is remembered.
    fn code_of(&self, run: u64) -> Option<Code>;
}
