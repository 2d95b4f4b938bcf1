//! What the next version is, whichever store keeps it.

use std::sync::Arc;

use asof_core::definition::Definitions;
use asof_core::name::ServiceName;
use asof_core::registry::{RegistryError, Version};
use asof_core::time::Timestamp;

use crate::columns::served;
use crate::disk::{self, DiskError};

/// What a commit comes to.
pub(crate) enum Next {
    /// The definitions are those of the newest version.
    Unchanged(Version),
    /// A new version, with its definitions as text.
    New(Version, String),
}

/// Works out the version after `head`, which must be version `expected` unless nothing changes.
pub(crate) fn next(
    head: Option<Version>,
    expected: u64,
    definitions: Arc<Definitions>,
    at: Timestamp,
    place: &str,
) -> Result<Next, RegistryError> {
    let text = disk::to_disk(&definitions).map_err(|error| registry_error(error, place))?;
    let digest = disk::digest(&text);
    let head = match head {
        Some(head) if head.digest == digest => return Ok(Next::Unchanged(head)),
        head => head,
    };
    let found = head.as_ref().map_or(0, |head| head.number);
    if found != expected {
        return Err(RegistryError::Conflict { expected, found });
    }
    let number = found + 1;
    let version = Version {
        number,
        applied_at: at,
        digest,
        services: services(head.as_ref(), &definitions, number),
        definitions,
    };
    Ok(Next::New(version, text))
}

/// For each service, the version that last changed its columns.
fn services(head: Option<&Version>, definitions: &Definitions, number: u64) -> Vec<(ServiceName, u64)> {
    let unchanged_since = |name: &ServiceName| {
        let head = head?;
        let old = head.definitions.services.get(name)?;
        let new = definitions.services.get(name)?;
        let (_, since) = head.services.iter().find(|(other, _)| other == name)?;
        (served(&head.definitions, old) == served(definitions, new)).then_some(*since)
    };
    let names = definitions.services.keys();
    names
        .map(|name| (name.clone(), unchanged_since(name).unwrap_or(number)))
        .collect()
}

/// What a reader of `place` is told of definitions that cannot be read.
pub(crate) fn registry_error(error: DiskError, place: &str) -> RegistryError {
    let place = place.to_owned();
    match error {
        DiskError::Newer(found) => RegistryError::Newer {
            place,
            found,
            known: disk::FORMAT,
        },
        DiskError::Damaged(reason) => RegistryError::Damaged { place, reason },
    }
}
