//! The ledger of runs, as it is told to others.

use std::collections::HashMap;

use asof_core::name::ProjectName;
use asof_core::registry::{RegistryError, RegistryStore, Run, RunKind, Version};
use asof_core::time::Timestamp;
use asof_proto::convert::run_to_proto;
use asof_proto::v1;

use crate::process::ran_since;

/// Among how many runs of its name that of a view is looked for: a source may have the same one.
const LOOKED_AT: u32 = 20;

/// A run as it is told; one that has not ended, of a process of this machine that is gone, was cut short.
pub fn told(run: Run) -> v1::Run {
    let run = run_to_proto(run);
    let is_gone = run.state() == v1::RunState::Running
        && !ran_since(run.pid, Timestamp::from_micros(run.started_at_micros));
    let state = if is_gone {
        v1::RunState::CutShort
    } else {
        run.state()
    };
    v1::Run {
        state: state.into(),
        ..run
    }
}

/// The newest materialization of each view, or rollback.
///
/// # Errors
///
/// The registry cannot be read.
pub async fn last_runs<R: RegistryStore>(
    registry: &R,
    project: &ProjectName,
    version: &Version,
) -> Result<HashMap<String, v1::Run>, RegistryError> {
    let mut last = HashMap::new();
    for view in version.definitions.views.keys() {
        let runs = registry.runs(project, Some(view.as_str()), LOOKED_AT).await?;
        let is_of_view = |run: &Run| matches!(run.kind, RunKind::Materialize | RunKind::Rollback);
        if let Some(run) = runs.into_iter().find(is_of_view) {
            last.insert(view.to_string(), told(run));
        }
    }
    Ok(last)
}
