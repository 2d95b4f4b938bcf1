//! Applying a plan.

use asof_core::registry::{RegistryError, RegistryStore, Version};
use asof_core::time::Timestamp;

use crate::plan::{Breaking, Plan, describe};

/// Why a plan was not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// It would break services, and that was not allowed.
    #[error("{}", describe(.0))]
    Breaking(Vec<Breaking>),
    /// The registry did not take it.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// Makes what was planned the newest version, and returns that version.
///
/// One transaction, compare-and-set on the version on which the plan was made. A registry that already
/// has these definitions stays as it is: applying twice is applying once.
pub async fn apply<S: RegistryStore>(
    store: &S,
    plan: &Plan,
    allow_breaking: bool,
    at: Timestamp,
) -> Result<Version, ApplyError> {
    if !allow_breaking && !plan.breaking().is_empty() {
        return Err(ApplyError::Breaking(plan.breaking().to_vec()));
    }
    let definitions = plan.definitions().clone();
    Ok(store.commit(plan.base(), definitions, at).await?)
}
