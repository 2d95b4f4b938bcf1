//! Pushed rows on their way to their tables.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use asof_core::definition::{Definitions, Location, Source};
use asof_core::name::SourceName;
use asof_core::online::{OnlineStore, StoreError};
use asof_core::registry::Version;
use asof_core::time::Timestamp;

use super::{Inner, Intake, IntakeError, Lane};

/// How often what was pushed is appended to its tables.
const INTERVAL: Duration = Duration::from_secs(1);
/// Bytes of entries that are appended by one commit, about.
const STEP: usize = 32 << 20;
/// How long answers are remembered, in microseconds: 7 days.
const REMEMBERED: i64 = 7 * 24 * 3_600 * 1_000_000;
/// How many intervals there are between two times at which what fell due is merged.
const MERGING: u32 = 5;
/// How many intervals there are between two times at which answers are forgotten: an hour.
const FORGETTING: u32 = 3_600;

impl<S: OnlineStore + 'static> Intake<S> {
    /// Appends to their tables what was pushed by now to the sources that are defined, of those `wanted` where it
    /// names any; returns how many rows.
    ///
    /// # Errors
    ///
    /// The first of the tables that cannot be written; the others were.
    pub async fn flush(
        &self,
        definitions: &Definitions,
        wanted: &[SourceName],
        at: Timestamp,
    ) -> Result<u64, IntakeError> {
        let inner = Arc::clone(&self.inner);
        let waiting = blocking(move || inner.store.waiting_sources()).await?;
        let own = waiting.into_iter().filter(|address| {
            let is_wanted = wanted.is_empty() || wanted.iter().any(|wanted| address.is_of(wanted));
            address.project == self.inner.project && is_wanted
        });
        // Of a source that is not defined any more, rows wait until it is again.
        let sources = own.filter_map(|address| table_of(definitions, &address.source));
        let flushes = sources.map(|source| async move {
            let lane = self.lane(&source.name)?;
            self.inner.flush_lane(&lane, &source, at).await
        });
        // One after the other and each to its end: a table that cannot be written holds up no other.
        let mut result = Ok(0);
        for flush in flushes {
            result = match (result, flush.await) {
                (Ok(before), Ok(rows)) => Ok(before + rows),
                (Err(error), _) | (Ok(_), Err(error)) => Err(error),
            };
        }
        result
    }

    /// Flushes again and again, merges what fell due by `due`, and forgets what was answered long ago, until it is dropped.
    pub async fn keep_flushing(
        &self,
        version: impl Fn() -> Arc<Version> + Send + Sync,
        now: impl Fn() -> Timestamp + Send + Sync,
        due: impl Fn() -> Timestamp + Send + Sync,
    ) {
        let (mut failing, mut unmerged) = (BTreeSet::new(), None);
        for tick in 0_u32.. {
            if tick % FORGETTING == 0 {
                let before = Timestamp::from_micros(now().micros().saturating_sub(REMEMBERED));
                if let Err(error) = self.forget(before).await {
                    tracing::warn!(%error, "the answers to pushes of long ago could not be forgotten");
                }
            }
            match self.flush(&version().definitions, &[], now()).await {
                Ok(_) => failing.clear(),
                // Once a failure, not once a second.
                Err(error) => {
                    if failing.insert(error.to_string()) {
                        tracing::error!(%error, "pushed rows could not be appended to their table; it will be tried again");
                    }
                }
            }
            if tick % MERGING == 0 {
                let failed = self.merge_due(due()).await.err().map(|error| error.to_string());
                if let Some(error) = failed.as_ref().filter(|_| failed != unmerged) {
                    tracing::error!(%error, "pushed rows that fell due could not be merged; it will be tried again");
                }
                unmerged = failed;
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Merges those of the pushed rows that fell due by now, in what serves: until then, each read of their keys looks at
    /// them one by one. Returns how many; while views are materialized none, as runs do the same.
    ///
    /// What materialization left pending stays so until a run, as reads may go by a clock that stands still at its instant.
    ///
    /// # Errors
    ///
    /// The first of the views that cannot be merged; the others were.
    pub async fn merge_due(&self, at: Timestamp) -> Result<u64, IntakeError> {
        let Ok(_alone) = self.inner.merging.try_write() else {
            return Ok(0);
        };
        let inner = Arc::clone(&self.inner);
        let merge = move || {
            let own = inner.store.views()?.into_iter();
            let own = own.filter(|(address, ..)| address.project == inner.project);
            let serving = own.filter_map(|(_, slot, state)| Some((slot, state.serving?.generation)));
            let mut merged = Ok(0);
            for (slot, generation) in serving {
                merged = match (merged, inner.store.apply_pushed(slot, generation, at)) {
                    (Ok(before), Ok(rows)) => Ok(before + rows),
                    // It was given up meanwhile.
                    (before, Err(StoreError::NoGeneration { .. })) => before,
                    (Err(error), _) | (Ok(_), Err(error)) => Err(error),
                };
            }
            merged
        };
        blocking(move || Ok::<_, IntakeError>(merge()?)).await
    }

    /// Held by a run for as long as it counts on what it wrote.
    pub(crate) async fn runs(&self) -> tokio::sync::RwLockReadGuard<'_, ()> {
        self.inner.merging.read().await
    }

    async fn forget(&self, before: Timestamp) -> Result<u64, IntakeError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.store.forget_answers(before)).await
    }
}

impl<S: OnlineStore + 'static> Inner<S> {
    /// Appends what was pushed to a source by now to its table, and trims the log; returns how many rows.
    pub(super) async fn flush_lane(
        self: &Arc<Self>,
        lane: &Arc<Lane>,
        source: &Source,
        at: Timestamp,
    ) -> Result<u64, IntakeError> {
        let _alone = lane.flushing.lock().await;
        let (inner, of) = (Arc::clone(self), Arc::clone(lane));
        let last = blocking(move || inner.store.last_entry(&of.address)).await?;
        let mut rows = 0;
        loop {
            let (inner, of) = (Arc::clone(self), Arc::clone(lane));
            let entries = blocking(move || {
                let entries = inner.store.entries(&of.address, STEP)?;
                // What is in the table must not be forgotten with a power cut: it would be brought again and count twice.
                if !entries.is_empty() {
                    inner.store.settle()?;
                }
                Ok::<_, StoreError>(entries)
            });
            let entries = entries.await?;
            // What comes meanwhile is for the next time.
            if entries.first().is_none_or(|(number, _)| Some(*number) > last) {
                return Ok(rows);
            }
            let flushed = self.engine.flush_entries(source, entries, at).await?;
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

/// The table of a source that is defined, or of the dead letters of one.
fn table_of<'a>(definitions: &'a Definitions, name: &SourceName) -> Option<Cow<'a, Source>> {
    let managed = |source: &&Source| matches!(source.location, Location::Managed { .. });
    if let Some(source) = definitions.sources.get(name) {
        return Some(source).filter(managed).map(Cow::Borrowed);
    }
    let mut managed = definitions.sources.values().filter(managed);
    let source = managed.find(|source| source.name.dead_letters() == *name)?;
    Some(Cow::Owned(source.dead_letters()))
}

/// Makes a call to the store where it may wait.
pub(super) async fn blocking<T, E, F>(call: F) -> Result<T, IntakeError>
where
    T: Send + 'static,
    E: Into<IntakeError> + Send + 'static,
    F: FnOnce() -> Result<T, E> + Send + 'static,
{
    let done = tokio::task::spawn_blocking(call).await;
    let done = done.map_err(|error| IntakeError::Bug(format!("a call to the store ended early: {error}")))?;
    done.map_err(Into::into)
}
