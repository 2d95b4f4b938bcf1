//! `asof.v1.JobService`.

use std::sync::Arc;

use asof_core::definition::BoundView;
use asof_core::online::{OnlineStore, ViewAddress, ViewState};
use asof_core::registry::{RegistryStore, Run, RunKind, RunState};
use asof_core::time::Timestamp;
use asof_proto::v1;
use asof_proto::v1::job_service_server::JobService;
use tonic::{Request, Response, Status};

use crate::app::App;
use crate::error::ServerError;
use crate::jobs::{Jobs, Materialization};
use crate::metrics::materialized_to;

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
            } = request.into_inner();
            let what = Materialization {
                views,
                as_of: as_of_micros.map(Timestamp::from_micros),
                full,
                wait,
            };
            let runs = self.0.jobs.materialize(what).await?;
            Ok(v1::MaterializeResponse {
                runs: runs.into_iter().map(run_to_proto).collect(),
            })
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
            Ok(v1::ListRunsResponse {
                runs: runs.into_iter().map(run_to_proto).collect(),
            })
        };
        self.0.call("asof.v1.JobService/ListRuns", call).await
    }

    async fn get_status(
        &self,
        _request: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        let call = async { self.0.status() };
        self.0.call("asof.v1.JobService/GetStatus", call).await
    }
}

impl<S: OnlineStore, R: RegistryStore, J> App<S, R, J> {
    fn status(&self) -> Result<v1::GetStatusResponse, ServerError> {
        let version = self.watch.current();
        let now = self.clock.now();
        let states = self.store.views()?;
        let project = self.watch.project();
        let mut views = Vec::new();
        for name in version.definitions.views.keys() {
            let Some(bound) = version.definitions.bound_view(name.as_str()) else {
                continue;
            };
            let address = ViewAddress::of(project, &bound);
            let state = states.iter().find(|(other, _, _)| *other == address);
            let state = state.map(|(_, _, state)| state.clone()).unwrap_or_default();
            views.push(view_status(&bound, &state, now));
        }
        Ok(v1::GetStatusResponse {
            project: project.to_string(),
            registry_version: version.number,
            now_micros: now.micros(),
            views,
        })
    }
}

fn view_status(bound: &BoundView, state: &ViewState, now: Timestamp) -> v1::ViewStatus {
    let shape = bound.stored_shape();
    let to = materialized_to(state);
    v1::ViewStatus {
        view: bound.view.name.to_string(),
        serving_generation: state.serving.as_ref().map_or(0, |serving| serving.generation.0),
        materialized_to_micros: to.map(Timestamp::micros),
        lag_micros: to.map(|to| now.micros().saturating_sub(to.micros())),
        building_generation: state
            .building
            .as_ref()
            .map_or(0, |building| building.generation.0),
        current: state
            .serving
            .as_ref()
            .is_some_and(|serving| serving.shape.serves(&shape)),
    }
}

fn run_to_proto(run: Run) -> v1::Run {
    let kind = match run.kind {
        RunKind::Ingest => v1::RunKind::Ingest,
        RunKind::Materialize => v1::RunKind::Materialize,
        RunKind::Extract => v1::RunKind::Extract,
    };
    let (state, error) = match run.state {
        RunState::Running => (v1::RunState::Running, String::new()),
        RunState::Done => (v1::RunState::Done, String::new()),
        RunState::Failed { error } => (v1::RunState::Failed, error),
    };
    v1::Run {
        id: run.id,
        kind: kind.into(),
        subject: run.subject,
        started_at_micros: run.started_at.micros(),
        finished_at_micros: run.finished_at.map(Timestamp::micros),
        pid: run.pid,
        state: state.into(),
        error,
        as_of_micros: run.as_of.map(Timestamp::micros),
        rows_read: run.rows_read,
        rows_written: run.rows_written,
        rows_skipped: run.rows_skipped,
    }
}
