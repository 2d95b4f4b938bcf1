//! What a command does, entered in the ledger of runs.

use asof_core::registry::{NewRun, RegistryStore, RunEnd, RunKind, RunState};
use asof_core::time::Clock;
use asof_registry::SqliteRegistry;
use asof_server::clock::SystemClock;
use asof_server::project::Project;

use crate::exit::Failure;

/// A run that has begun.
pub(crate) struct Entry<'a> {
    project: &'a Project,
    registry: &'a SqliteRegistry,
    id: u64,
}

/// How many rows a run read, wrote and skipped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RowCounts {
    pub(crate) read: u64,
    pub(crate) written: u64,
    pub(crate) skipped: u64,
}

impl<'a> Entry<'a> {
    /// Enters a run that begins, of the view, source or service `subject`.
    pub(crate) async fn begin(
        project: &'a Project,
        registry: &'a SqliteRegistry,
        kind: RunKind,
        subject: String,
    ) -> Result<Self, Failure> {
        let run = NewRun {
            kind,
            subject,
            started_at: SystemClock.now(),
            pid: std::process::id(),
            as_of: None,
        };
        let id = registry.start_run(project.name(), run).await?;
        Ok(Self {
            project,
            registry,
            id,
        })
    }

    /// Notes how it ended, with its rows or the text of its error, and gives its number.
    pub(crate) async fn end(self, outcome: Result<RowCounts, String>) -> Result<u64, Failure> {
        let rows = outcome.as_ref().copied().unwrap_or_default();
        let end = RunEnd {
            finished_at: SystemClock.now(),
            state: match outcome {
                Ok(_) => RunState::Done,
                Err(error) => RunState::Failed { error },
            },
            rows_read: rows.read,
            rows_written: rows.written,
            rows_skipped: rows.skipped,
        };
        self.registry.end_run(self.project.name(), self.id, end).await?;
        Ok(self.id)
    }
}
