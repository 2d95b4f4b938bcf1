//! Materialization as a server's job: beside reads, to which it gives way.

use std::collections::BTreeMap;
use std::sync::Arc;

use asof_core::definition::Definitions;
use asof_core::online::OnlineStore;
use asof_core::registry::RegistryStore;
use async_trait::async_trait;
use tokio::sync::oneshot;
use tonic::Code;

use super::{Ended, MaterializeError, Materializer, Request, RolledBack, views};
use crate::background::Threads;
use crate::error::JobError;
use crate::jobs::{Jobs, Materialization, ViewRun};

impl<S: OnlineStore + 'static, R: RegistryStore + 'static> Materializer<S, R> {
    /// The definitions in force.
    async fn definitions(&self) -> Result<Arc<Definitions>, MaterializeError> {
        let inner = &self.inner;
        let head = inner.registry.head(&inner.project).await?;
        head.map(|version| version.definitions)
            .ok_or(MaterializeError::NotApplied)
    }

    fn threads(&self) -> Result<Threads, JobError> {
        let threads = self.inner.background.threads();
        threads.map_err(|error| JobError::Unavailable(format!("no run can be started: {error}")))
    }
}

#[async_trait]
impl<S: OnlineStore + 'static, R: RegistryStore + 'static> Jobs for Materializer<S, R> {
    async fn materialize(&self, what: Materialization) -> Result<Vec<ViewRun>, JobError> {
        let definitions = self.definitions().await?;
        let views = views(&definitions, &what.views)?;
        let as_of = what.as_of.unwrap_or_else(|| self.inner.clock.now());
        let threads = self.threads()?;
        let (starting, started) = oneshot::channel();
        let inner = Arc::clone(&self.inner);
        // On its own from the first entry in the ledger on: a caller that goes away leaves none without an end.
        let work = tokio::spawn(async move {
            let request = Request {
                definitions: &definitions,
                views: &views,
                as_of,
                full: what.full,
                redo: what.redo,
            };
            let mut ended = BTreeMap::new();
            let started = match inner.start(request).await {
                Ok(started) => started,
                Err(error) => {
                    // Nobody is told who went away.
                    let _ = starting.send(Err(error));
                    return ended;
                }
            };
            let _ = starting.send(Ok(started.iter().map(|started| started.run).collect()));
            for Ended { run, view, result } in inner.run(started, request, None, &threads).await {
                let result = result.map_err(JobError::from);
                match &result {
                    Ok(_) => {}
                    Err(error @ (JobError::Refused(_) | JobError::Busy(_))) => {
                        tracing::warn!(view, run, %error, "materialization refused");
                    }
                    Err(error) => tracing::error!(view, run, %error, "materialization failed"),
                }
                ended.insert(run, result);
            }
            ended
        });
        let cut_short = |_| JobError::Unavailable("the run was cut short".into());
        let ids: Vec<u64> = started.await.map_err(cut_short)??;
        let mut ended = match what.wait {
            true => work
                .await
                .map_err(|error| JobError::Unavailable(format!("the run was cut short: {error}")))?,
            false => BTreeMap::new(),
        };
        let limit = u32::try_from(ids.len()).unwrap_or(u32::MAX).saturating_add(100);
        let runs = self
            .inner
            .registry
            .runs(&self.inner.project, None, limit)
            .await
            .map_err(MaterializeError::from)?;
        let runs = runs.into_iter().filter(|run| ids.contains(&run.id));
        let mut runs: Vec<ViewRun> = runs
            .map(|run| ViewRun {
                ended: ended.remove(&run.id),
                run,
            })
            .collect();
        runs.sort_by_key(|view| view.run.id);
        Ok(runs)
    }

    async fn roll_back(&self, run: u64) -> Result<RolledBack, JobError> {
        let definitions = self.definitions().await?;
        let threads = self.threads()?;
        let inner = Arc::clone(&self.inner);
        // On its own, so that a caller that goes away leaves no entry in the ledger without an end.
        let work = tokio::spawn(async move { inner.roll_back(&definitions, run, &threads).await });
        let rolled_back = work
            .await
            .map_err(|error| JobError::Unavailable(format!("the rollback was cut short: {error}")))?;
        Ok(rolled_back?)
    }

    fn code_of(&self, run: u64) -> Option<Code> {
        self.inner.failures.code_of(run)
    }
}
