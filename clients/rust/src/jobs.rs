//! Materialization, runs, and what is served.

use std::time::Duration;

use asof_proto::v1;

use crate::{Client, Error};

/// How long rows may be counted: all of them are read.
const COUNTING: Duration = Duration::from_secs(3_600);

impl Client {
    /// Begins to bring to the online store what is new of some views, or of all where none is named. The answer comes
    /// when the runs have begun, or ended where the request says `wait`.
    ///
    /// # Errors
    ///
    /// Views that are not defined or are being materialized; an instant before that of the last run.
    pub async fn materialize(&self, request: v1::MaterializeRequest) -> Result<Vec<v1::Run>, Error> {
        // Not made again: what was begun by an answer that was lost would be in its own way.
        let mut jobs = self.clients().jobs;
        Ok(jobs.materialize(self.request(request)).await?.into_inner().runs)
    }

    /// Undoes the last run of a view, by its number: what it brought is held back until a materialization brings it back that
    /// says `redo`.
    ///
    /// # Errors
    ///
    /// A run that is not there, or not the last completed one of a view; a view that is being materialized.
    pub async fn rollback(&self, run: u64) -> Result<v1::RollbackResponse, Error> {
        // Not made again: it would be refused, as what an answer that was lost had undone.
        let mut jobs = self.clients().jobs;
        let request = v1::RollbackRequest { run };
        Ok(jobs.rollback(self.request(request)).await?.into_inner())
    }

    /// The runs of what is named, or of all where the subject is empty, the newest first: up to `limit`, or as many as
    /// the server gives where it is 0.
    pub async fn runs(&self, subject: impl Into<String>, limit: u32) -> Result<Vec<v1::Run>, Error> {
        let request = v1::ListRunsRequest {
            subject: subject.into(),
            limit,
        };
        let response = self.repeated(&request, |mut clients, request| async move {
            clients.jobs.list_runs(request).await
        });
        Ok(response.await?.runs)
    }

    /// Copies the online store and the registry to a directory of the server's machine, which is not there yet or is
    /// empty; the answer comes when all is on its disk.
    ///
    /// # Errors
    ///
    /// A path that is relative, or where something is; a store or a registry that is damaged; a full disk.
    pub async fn backup(&self, directory: impl Into<String>) -> Result<v1::BackupResponse, Error> {
        self.copy_to(directory.into(), false).await
    }

    /// The same to see that all can be read: the copy is not kept, and does not count as a backup.
    ///
    /// # Errors
    ///
    /// As of [`Client::backup`].
    pub async fn try_backup(&self, directory: impl Into<String>) -> Result<v1::BackupResponse, Error> {
        self.copy_to(directory.into(), true).await
    }

    async fn copy_to(&self, directory: String, is_trial: bool) -> Result<v1::BackupResponse, Error> {
        let request = v1::BackupRequest { directory, is_trial };
        // Not made again: what an answer that was lost had made would be in its way.
        let mut jobs = self.clients().jobs;
        Ok(jobs.backup(self.request(request)).await?.into_inner())
    }

    /// What is served of each view, and how far behind it is.
    pub async fn status(&self) -> Result<v1::GetStatusResponse, Error> {
        let request = v1::GetStatusRequest {};
        self.repeated_for(
            self.again(),
            COUNTING,
            &request,
            |mut clients, request| async move { clients.jobs.get_status(request).await },
        )
        .await
    }
}
