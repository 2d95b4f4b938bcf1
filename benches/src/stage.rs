//! The stages, one module each, and what a child process is asked to do of them.

pub mod calls;
pub mod echo;
pub mod extract;
pub mod flight_echo;
pub mod floor;
pub mod ingest;
pub mod load;
pub mod materialize;
pub mod push;
pub mod requests;
pub mod serve;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::stage::calls::Calls;
use crate::stage::echo::Echo;
use crate::stage::flight_echo::FlightEcho;
use crate::stage::floor::Floor;
use crate::stage::ingest::Ingest;
use crate::stage::serve::Served;
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
    /// On-demand features, in extracts and over gRPC.
    Computed,
    /// Rows over gRPC into a managed source.
    Push,
    /// Rows as messages of JetStream, beside rows over gRPC.
    Stream,
    /// Features over gRPC beside an echo, Redis and Feast.
    Online,
    /// The Python package beside the command, the Rust client, an echo and Feast.
    Python,
    /// Extracts beside DuckDB and Polars.
    Compare,
}

impl Stage {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Extract,
        Self::Materialize,
        Self::Serve,
        Self::Computed,
        Self::Push,
        Self::Stream,
        Self::Online,
        Self::Python,
        Self::Compare,
    ];
}

/// What a child process does.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Task {
    /// One extract.
    Extract(Workload),
    /// One materialization of all views into an empty store.
    Materialize(Workload),
    /// A server on what was materialized or will be pushed, until its standard input ends.
    Serve(Served),
    /// A server that gives one answer, until its standard input ends.
    Echo(Echo),
    /// A server that sends batches, until its standard input ends.
    FlightEcho(FlightEcho),
    /// Calls of one caller.
    Calls(Calls),
    /// The files of a project into its managed tables.
    Ingest(Ingest),
    /// What no extract can do without.
    Floor(Floor),
}

impl Task {
    /// How many threads work on it, where it says so.
    pub fn threads(&self) -> Option<usize> {
        match self {
            Self::Extract(workload) | Self::Materialize(workload) => workload.threads,
            Self::Serve(served) => served.workload.threads,
            Self::Ingest(ingest) => ingest.workload.threads,
            Self::Floor(floor) => Some(floor.threads),
            Self::Echo(_) | Self::FlightEcho(_) | Self::Calls(_) => None,
        }
    }
}
