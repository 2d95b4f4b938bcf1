//! The stages, one module each, and what a child process is asked to do of them.

pub mod extract;
pub mod load;
pub mod materialize;
pub mod requests;
pub mod serve;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::workload::Workload;

/// A stage that can be measured alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Stage {
    /// The spine in, the dataset out.
    Extract,
    /// From the sources to an empty online store.
    Materialize,
    /// Features over gRPC.
    Serve,
}

impl Stage {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Extract, Self::Materialize, Self::Serve];
}

/// What a child process does.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Task {
    /// One extract.
    Extract(Workload),
    /// One materialization of all views into an empty store.
    Materialize(Workload),
    /// A server on what was materialized, until its standard input ends.
    Serve(Workload),
}
