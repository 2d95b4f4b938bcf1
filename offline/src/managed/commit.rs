//! Commits to a managed table's log: a commit names files that are there, or none of them stays.

use deltalake::kernel::Action;
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties, TransactionError};
use deltalake::protocol::DeltaOperation;
use deltalake::{DeltaTable, DeltaTableError};

use asof_core::definition::Source;

use super::delta_error;
use super::part::{Kept, Part};
use crate::error::{OfflineError, Result};

/// How often a change is made anew when somebody else committed first.
pub(super) const ATTEMPTS: usize = 10;

/// A commit to be.
pub(super) struct Commit {
    pub(super) actions: Vec<Action>,
    pub(super) properties: CommitProperties,
    pub(super) operation: DeltaOperation,
}

impl Commit {
    /// Commits on top of a table as it was read, with the files that `actions` adds. Returns the new version,
    /// or `None` where somebody else committed first what this one cannot stand beside.
    pub(super) async fn make(
        self,
        table: &DeltaTable,
        source: &Source,
        parts: Vec<Part>,
    ) -> Result<Option<u64>> {
        let state = table.snapshot().map_err(|error| delta_error(source, &error))?;
        let failed = |error: DeltaTableError| delta_error(source, &error);
        // From here on the log may name them, whatever becomes of this call.
        let kept = parts.into_iter().map(Part::keep).collect::<Result<Vec<_>>>()?;
        let builder = CommitBuilder::from(self.properties).with_actions(self.actions);
        let commit = builder.build(Some(state), table.log_store(), self.operation);
        let committed = match commit.into_prepared_commit_future().await.map_err(failed)?.await {
            Ok(committed) => committed,
            Err(DeltaTableError::Transaction {
                source:
                    TransactionError::VersionAlreadyExists(_)
                    | TransactionError::CommitConflict(_)
                    | TransactionError::MaxCommitAttempts(_),
            }) => {
                kept.into_iter().for_each(Kept::remove);
                return Ok(None);
            }
            // Whether the log names the files is not known: they stay.
            Err(error) => return Err(failed(error)),
        };
        let version = committed.version;
        if let Err(error) = committed.await {
            // The commit stands; a checkpoint only makes the next opening faster.
            tracing::warn!(source = %source.name, version, %error, "no checkpoint of a managed table was written");
        }
        Ok(Some(version))
    }
}

/// The error where others were faster every time.
pub(super) fn outrun(source: &Source) -> OfflineError {
    OfflineError::Conflict(format!(
        "managed table {}: other writers committed first {ATTEMPTS} times in a row: try again",
        source.name
    ))
}
