//! The project of the command line.

use std::path::Path;
use std::sync::Arc;

use asof_core::time::{Clock, FixedClock, Timestamp};
use asof_server::clock::SystemClock;
use asof_server::project::{Project, Surroundings};

use crate::exit::Failure;
use crate::output;

/// Opens the project in `directory`.
pub fn open(directory: &Path) -> Result<Project, Failure> {
    let surroundings = Surroundings {
        environment,
        warn: output::note,
    };
    Ok(Project::open(directory, surroundings)?)
}

#[allow(
    clippy::disallowed_methods,
    reason = "the binary reads the environment for the libraries"
)]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The clock, or one frozen at an instant that the user gave.
pub fn clock(now: Option<&str>) -> Result<Arc<dyn Clock>, Failure> {
    Ok(match now {
        Some(text) => Arc::new(FixedClock(Timestamp::parse(text)?)),
        None => Arc::new(SystemClock),
    })
}
