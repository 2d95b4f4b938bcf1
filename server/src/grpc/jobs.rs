//! `asof.v1.JobService`.

use std::path::Path;
use std::sync::Arc;

use asof_core::online::OnlineStore;
use asof_core::registry::RegistryStore;
use asof_core::time::Timestamp;
use asof_proto::convert::run_to_proto;
use asof_proto::v1;
use asof_proto::v1::job_service_server::JobService;
use tonic::{Request, Response, Status};

use crate::app::App;
use crate::cancel::blocking;
use crate::error::{ServerError, job_code};
use crate::jobs::{Jobs, Materialization, ViewRun};
use crate::materialize::RolledBack;
use crate::runs::{last_runs, told};
use crate::status::status_of_server;

/// How many runs are listed where the caller does not say, and at most.
const DEFAULT_RUNS: u32 = 100;
const MAX_RUNS: u32 = 1000;

pub(crate) struct JobCalls<S, R, J>(pub(crate) Arc<App<S, R, J>>);

#[tonic::async_trait]
impl<S, R, J> JobService for JobCalls<S, R, J>
where
    S: OnlineStore + 'static,
    R: RegistryStore + 'static,
    J: Jobs,
{
    async fn materialize(
        &self,
        request: Request<v1::MaterializeRequest>,
    ) -> Result<Response<v1::MaterializeResponse>, Status> {
        let call = async {
            let v1::MaterializeRequest {
                views,
                as_of_micros,
                full,
                wait,
                redo,
            } = request.into_inner();
            let what = Materialization {
                views,
                // The server's clock may be frozen; the ledger's never is.
                as_of: Some(as_of_micros.map_or_else(|| self.0.clock.now(), Timestamp::from_micros)),
                full,
                redo,
                wait,
            };
            // What is pushed from now on is read under the definitions that the run has.
            self.0.watch.refresh().await?;
            let runs = self.0.jobs.materialize(what).await?;
            let runs = runs.into_iter().map(|view| {
                let run = view_run(view);
                // One that was not waited for may have ended, too.
                let code = || self.0.jobs.code_of(run.id).map(i32::from);
                v1::Run {
                    error_code: run.error_code.or_else(code),
                    ..run
                }
            });
            Ok(v1::MaterializeResponse { runs: runs.collect() })
        };
        self.0.call("asof.v1.JobService/Materialize", call).await
    }

    async fn list_runs(
        &self,
        request: Request<v1::ListRunsRequest>,
    ) -> Result<Response<v1::ListRunsResponse>, Status> {
        let call = async {
            let v1::ListRunsRequest { subject, limit } = request.into_inner();
            let limit = match limit {
                0 => DEFAULT_RUNS,
                1..=MAX_RUNS => limit,
                _ => {
                    return Err(ServerError::argument(
                        "limit",
                        format!("is {limit}, at most {MAX_RUNS}"),
                    ));
                }
            };
            let subject = (!subject.is_empty()).then_some(subject.as_str());
            let runs = self
                .0
                .watch
                .registry()
                .runs(self.0.watch.project(), subject, limit)
                .await?;
            let runs = runs.into_iter().map(|run| v1::Run {
                error_code: self.0.jobs.code_of(run.id).map(i32::from),
                ..told(run)
            });
            Ok(v1::ListRunsResponse { runs: runs.collect() })
        };
        self.0.work("asof.v1.JobService/ListRuns", call).await
    }

    async fn rollback(
        &self,
        request: Request<v1::RollbackRequest>,
    ) -> Result<Response<v1::RollbackResponse>, Status> {
        let call = async {
            let RolledBack { run, view, as_of } = self.0.jobs.roll_back(request.into_inner().run).await?;
            Ok(v1::RollbackResponse {
                run,
                view,
                as_of_micros: as_of.map(Timestamp::micros),
            })
        };
        self.0.call("asof.v1.JobService/Rollback", call).await
    }

    async fn backup(
        &self,
        request: Request<v1::BackupRequest>,
    ) -> Result<Response<v1::BackupResponse>, Status> {
        let call = async {
            let v1::BackupRequest { directory, is_trial } = request.into_inner();
            let backups = self.0.backups.as_ref().ok_or_else(|| {
                ServerError::Bug("this server is of no project that could be copied".to_owned())
            })?;
            let at = self.0.wall.now();
            let backup = backups.take(Path::new(&directory), at, is_trial).await?;
            Ok(backup.to_wire(at))
        };
        self.0.call("asof.v1.JobService/Backup", call).await
    }

    async fn get_status(
        &self,
        _request: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        let call = async {
            let app = Arc::clone(&self.0);
            let version = app.watch.current();
            let runs = last_runs(app.watch.registry(), app.watch.project(), &version).await?;
            let counting = blocking(move |cancellation| {
                let (now, states) = (app.clock.now(), app.stream_states());
                status_of_server(
                    &*app.store,
                    &app.config,
                    &version,
                    now,
                    runs,
                    states,
                    cancellation,
                )
            });
            counting
                .await
                .map_err(|error| ServerError::Bug(format!("a count ended early: {error}")))?
        };
        self.0.call("asof.v1.JobService/GetStatus", call).await
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

fn view_run(view: ViewRun) -> v1::Run {
    let (done, error) = match view.ended {
        Some(Ok(done)) => (Some(done), None),
        Some(Err(error)) => (None, Some(error)),
        None => (None, None),
    };
    let run = run_to_proto(view.run);
    let text = error.as_ref().map(|error| first_line(&error.to_string()));
    v1::Run {
        error: text.unwrap_or_else(|| run.error.clone()),
        keys: done.as_ref().map(|done| done.counts.keys),
        pending: done.as_ref().map(|done| done.counts.pending),
        error_code: error.map(|error| i32::from(job_code(&error))),
        held_back_runs: done.map(|done| done.held_back).unwrap_or_default(),
        ..run
    }
}
