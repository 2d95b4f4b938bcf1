//! Materialization as a server's job: beside reads, to which it gives way.

use std::collections::BTreeMap;
use std::sync::Arc;

use asof_core::online::OnlineStore;
use asof_core::registry::{RegistryError, RegistryStore};
use async_trait::async_trait;

use super::{Ended, MaterializeError, Materializer, Request, views};
use crate::error::JobError;
use crate::jobs::{Jobs, Materialization, ViewRun};

#[async_trait]
impl<S: OnlineStore + 'static, R: RegistryStore + 'static> Jobs for Materializer<S, R> {
    async fn materialize(&self, what: Materialization) -> Result<Vec<ViewRun>, JobError> {
        let unavailable = |error: RegistryError| JobError::Unavailable(error.to_string());
        let inner = &self.inner;
        let head = inner.registry.head(&inner.project).await.map_err(unavailable)?;
        let definitions = head
            .map(|version| version.definitions)
            .ok_or_else(|| JobError::from(MaterializeError::Nothing))?;
        let views = views(&definitions, &what.views)?;
        let as_of = what.as_of.unwrap_or_else(|| inner.clock.now());
        let request = Request {
            definitions: &definitions,
            views: &views,
            as_of,
            full: what.full,
        };
        let ids = inner.start(request).await?;
        let (inner, started) = (Arc::clone(&self.inner), ids.clone());
        let threads = self.inner.background.threads();
        let threads =
            threads.map_err(|error| JobError::Unavailable(format!("no run can be started: {error}")))?;
        let work = tokio::spawn(async move {
            let request = Request {
                definitions: &definitions,
                views: &views,
                as_of,
                full: what.full,
            };
            let mut ended = BTreeMap::new();
            for Ended { run, view, result } in inner.run(started, request, None, &threads).await {
                if let Err(error) = &result {
                    tracing::error!(view, run, %error, "materialization failed");
                }
                ended.insert(run, result.map(|done| done.counts).map_err(JobError::from));
            }
            ended
        });
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
            .map_err(unavailable)?;
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
}
