//! Pushed rows on their way to their tables.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use asof_core::definition::{Definitions, Location, Source};
use asof_core::online::OnlineStore;
use asof_core::registry::Version;
use asof_core::time::Timestamp;

use super::{Inner, Intake, IntakeError, Lane};

/// How often what was pushed is appended to its tables.
const INTERVAL: Duration = Duration::from_secs(1);
/// Bytes of entries that are appended by one commit, about.
const STEP: usize = 32 << 20;
/// How long answers are remembered, in microseconds: 7 days.
const REMEMBERED: i64 = 7 * 24 * 3_600 * 1_000_000;
/// How many intervals there are between two times at which answers are forgotten: an hour.
const FORGETTING: u32 = 3_600;

impl<S: OnlineStore + 'static> Intake<S> {
    /// Appends to their tables what was pushed to the sources that are defined; returns how many rows.
    pub async fn flush(&self, definitions: &Definitions, at: Timestamp) -> Result<u64, IntakeError> {
        let waiting = self.inner.store.waiting_sources()?;
        let own = waiting
            .into_iter()
            .filter(|address| address.project == self.inner.project);
        let mut rows = 0;
        for address in own {
            let source = definitions.sources.get(&address.source);
            // Of a source that is not defined any more, rows wait until it is again.
            let source = source.filter(|source| matches!(source.location, Location::Managed { .. }));
            if let Some(source) = source {
                let lane = self.lane(&source.name)?;
                rows += self.inner.flush_lane(&lane, source, at).await?;
            }
        }
        Ok(rows)
    }

    /// Flushes again and again, and forgets what was answered long ago, until it is dropped.
    pub async fn keep_flushing(
        &self,
        version: impl Fn() -> Arc<Version> + Send + Sync,
        now: impl Fn() -> Timestamp + Send + Sync,
    ) {
        let mut failing = BTreeSet::new();
        for tick in 0_u32.. {
            if tick % FORGETTING == 0 {
                let before = Timestamp::from_micros(now().micros().saturating_sub(REMEMBERED));
                if let Err(error) = self.forget(before).await {
                    tracing::warn!(%error, "the answers to pushes of long ago could not be forgotten");
                }
            }
            match self.flush(&version().definitions, now()).await {
                Ok(_) => failing.clear(),
                // Once a failure, not once a second.
                Err(error) => {
                    if failing.insert(error.to_string()) {
                        tracing::error!(%error, "pushed rows could not be appended to their table; it will be tried again");
                    }
                }
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    async fn forget(&self, before: Timestamp) -> Result<u64, IntakeError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.store.forget_answers(before)).await
    }
}

impl<S: OnlineStore + 'static> Inner<S> {
    /// Appends what was pushed to a source to its table, and trims the log; returns how many rows.
    pub(super) async fn flush_lane(
        self: &Arc<Self>,
        lane: &Arc<Lane>,
        source: &Source,
        at: Timestamp,
    ) -> Result<u64, IntakeError> {
        let _alone = lane.flushing.lock().await;
        let mut rows = 0;
        loop {
            let (inner, of) = (Arc::clone(self), Arc::clone(lane));
            let entries = blocking(move || inner.store.entries(&of.address, STEP)).await?;
            if entries.is_empty() {
                return Ok(rows);
            }
            let flushed = self.engine.flush_entries(source, &entries, at).await?;
            rows += flushed.rows;
            let (inner, of) = (Arc::clone(self), Arc::clone(lane));
            let left = blocking(move || {
                inner.store.trim(&of.address, flushed.through)?;
                inner.store.waiting(&of.address)
            });
            lane.waiting.store(left.await?, Ordering::Relaxed);
        }
    }
}

async fn blocking<T, E, F>(call: F) -> Result<T, IntakeError>
where
    T: Send + 'static,
    E: Into<IntakeError> + Send + 'static,
    F: FnOnce() -> Result<T, E> + Send + 'static,
{
    let done = tokio::task::spawn_blocking(call).await;
    let done = done.map_err(|error| IntakeError::Bug(format!("a call to the store ended early: {error}")))?;
    done.map_err(Into::into)
}
