//! The registry's port: every applied version of a project's definitions, and the ledger of runs.

use std::future::Future;
use std::sync::Arc;

use crate::definition::Definitions;
use crate::name::{ProjectName, ServiceName};
use crate::time::Timestamp;

/// One applied version.
#[derive(Debug, Clone, PartialEq)]
pub struct Version {
    /// 0 before anything was applied, then counted up by one.
    pub number: u64,
    /// When it was applied.
    pub applied_at: Timestamp,
    /// A digest of the definitions: equal for equal definitions, `sha256:…`.
    pub digest: String,
    /// What was defined.
    pub definitions: Arc<Definitions>,
    /// For each service, the version that last changed its columns.
    pub services: Vec<(ServiceName, u64)>,
}

/// What a run did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunKind {
    /// Rows were appended to a managed table.
    Ingest,
    /// Rows were moved to the online store.
    Materialize,
    /// A dataset was written.
    Extract,
    /// The files of a managed table were rewritten.
    Compact,
    /// A run that moved rows to the online store was undone.
    Rollback,
}

/// How a run stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunState {
    /// It was started and has not been seen to end.
    Running,
    /// It ended well.
    Done,
    /// It ended with an error.
    Failed {
        /// The first line of the error.
        error: String,
    },
}

/// One entry of the run ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Counted up from 1 within the project.
    pub id: u64,
    /// What it did.
    pub kind: RunKind,
    /// What it did it to: a view, a source, or a service.
    pub subject: String,
    /// When it was started.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// The process that runs it.
    pub pid: u32,
    /// How it stands.
    pub state: RunState,
    /// The instant as of which it worked, where it has one.
    pub as_of: Option<Timestamp>,
    /// Rows read.
    pub rows_read: u64,
    /// Rows written.
    pub rows_written: u64,
    /// Rows skipped because their key or event time is null.
    pub rows_skipped: u64,
}

/// What is known of a run when it is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRun {
    /// What it will do.
    pub kind: RunKind,
    /// To what.
    pub subject: String,
    /// When.
    pub started_at: Timestamp,
    /// The process that runs it.
    pub pid: u32,
    /// As of which instant.
    pub as_of: Option<Timestamp>,
}

/// What is known of a run when it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunEnd {
    /// When.
    pub finished_at: Timestamp,
    /// How.
    pub state: RunState,
    /// Rows read.
    pub rows_read: u64,
    /// Rows written.
    pub rows_written: u64,
    /// Rows skipped because their key or event time is null.
    pub rows_skipped: u64,
}

impl NewRun {
    /// The run as it is started, under its number.
    pub fn run(self, id: u64) -> Run {
        let Self {
            kind,
            subject,
            started_at,
            pid,
            as_of,
        } = self;
        Run {
            id,
            kind,
            subject,
            started_at,
            finished_at: None,
            pid,
            state: RunState::Running,
            as_of,
            rows_read: 0,
            rows_written: 0,
            rows_skipped: 0,
        }
    }
}

impl Run {
    /// Ends it.
    pub fn end(&mut self, end: RunEnd) {
        self.finished_at = Some(end.finished_at);
        self.state = end.state;
        self.rows_read = end.rows_read;
        self.rows_written = end.rows_written;
        self.rows_skipped = end.rows_skipped;
    }
}

/// Why the registry did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// Somebody else applied first.
    #[error("the registry moved from v{expected} to v{found}: plan again")]
    Conflict {
        /// The version on which the change was planned.
        expected: u64,
        /// The version found.
        found: u64,
    },
    /// What is stored cannot be read.
    #[error("the registry at {place} is damaged: {reason}")]
    Damaged {
        /// File or URL.
        place: String,
        /// What was found.
        reason: String,
    },
    /// A newer Asof wrote it.
    #[error("the registry at {place} has format {found}, this version reads up to {known}: use a newer asof")]
    Newer {
        /// File or URL.
        place: String,
        /// Its format.
        found: u64,
        /// The newest format known here.
        known: u64,
    },
    /// It cannot be reached, or is held by another process for too long.
    #[error("the registry at {place} cannot be used: {reason}")]
    Unavailable {
        /// File or URL.
        place: String,
        /// What happened.
        reason: String,
    },
}

/// Where versions and runs are kept.
///
/// Every call is one transaction. Versions are kept for ever and count up without gaps. Several
/// processes may use one registry at once.
pub trait RegistryStore: Send + Sync {
    /// The newest version of a project, or `None` where nothing was applied yet.
    fn head(
        &self,
        project: &ProjectName,
    ) -> impl Future<Output = Result<Option<Version>, RegistryError>> + Send;

    /// One version of a project.
    fn version(
        &self,
        project: &ProjectName,
        number: u64,
    ) -> impl Future<Output = Result<Option<Version>, RegistryError>> + Send;

    /// Every version of a project, oldest first: number, time of applying and digest.
    fn history(
        &self,
        project: &ProjectName,
    ) -> impl Future<Output = Result<Vec<(u64, Timestamp, String)>, RegistryError>> + Send;

    /// Stores `definitions` as the version after `expected`, or fails with
    /// [`RegistryError::Conflict`] where `expected` is not the newest.
    ///
    /// Definitions equal to the newest version's are not stored again: that version is returned.
    fn commit(
        &self,
        expected: u64,
        definitions: Arc<Definitions>,
        at: Timestamp,
    ) -> impl Future<Output = Result<Version, RegistryError>> + Send;

    /// Enters a run, which gets the next id of the project.
    fn start_run(
        &self,
        project: &ProjectName,
        run: NewRun,
    ) -> impl Future<Output = Result<u64, RegistryError>> + Send;

    /// Notes how a run ended.
    fn end_run(
        &self,
        project: &ProjectName,
        id: u64,
        end: RunEnd,
    ) -> impl Future<Output = Result<(), RegistryError>> + Send;

    /// One run.
    fn run(
        &self,
        project: &ProjectName,
        id: u64,
    ) -> impl Future<Output = Result<Option<Run>, RegistryError>> + Send;

    /// The newest runs, newest first, at most `limit`; of one subject where given.
    fn runs(
        &self,
        project: &ProjectName,
        subject: Option<&str>,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<Run>, RegistryError>> + Send;
}
