//! The project of the command line.

use std::path::Path;
use std::sync::Arc;

use asof_client::Access;
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

/// What is shown to any server: the token of this shell, and the authority that the user named.
pub fn access(ca: Option<&Path>) -> Result<Access, Failure> {
    let access = match ca {
        Some(ca) => Access::default()
            .authority(ca)
            .map_err(|error| Failure::from(error).reworded(|text| format!("--ca, or ASOF_CA: {text}")))?,
        None => Access::default(),
    };
    Ok(match environment("ASOF_TOKEN") {
        Some(token) => access.token(&token)?,
        None => access,
    })
}

/// What is shown to the server of a project: the token that it has itself, where this shell has it, too; and its
/// certificate is known.
pub fn access_of(project: &Project, ca: Option<&Path>) -> Result<Access, Failure> {
    let config = &project.config;
    let token = config.token_variable.as_deref().and_then(environment);
    let access = match token {
        Some(token) => access(ca)?.token(&token)?,
        None => access(ca)?,
    };
    Ok(match (&config.tls, ca) {
        (Some(files), None) => access.pinned(&files.certificate)?,
        _ => access,
    })
}

/// The clock, or one frozen at an instant that the user gave.
pub fn clock(now: Option<&str>) -> Result<Arc<dyn Clock>, Failure> {
    Ok(match now {
        Some(text) => Arc::new(FixedClock(Timestamp::parse(text)?)),
        None => Arc::new(SystemClock),
    })
}
