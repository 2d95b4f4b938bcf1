//! The rows of a run, from their files to the store.

use std::sync::Arc;

use asof_core::definition::BoundView;
use asof_core::online::{GenerationState, OnlineStore};
use asof_offline::{Engine, RowReader, Scan, Snapshot, SourceRows};

use super::chunk::Chunk;
use super::loader::{Loader, Target};
use super::progress::Mark;
use super::resume::Loading;
use super::tally::Tally;
use super::{Limits, MaterializeError, Materialized, OnRows};
use crate::background::Threads;
use crate::intake::Folded;

/// What a run reads and where it writes it.
pub(super) struct Reading<S> {
    pub(super) engine: Engine,
    pub(super) store: Arc<S>,
    pub(super) threads: Threads,
    pub(super) limits: Limits,
    pub(super) bound: Arc<BoundView>,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) reader: Arc<RowReader>,
    pub(super) target: Target,
    pub(super) state: GenerationState,
    /// What the generation has already.
    pub(super) start: Option<Mark>,
    /// Which pushed rows it has, where it has tiles.
    pub(super) folded: Folded,
    pub(super) on_rows: Option<OnRows>,
}

impl<S: OnlineStore + 'static> Reading<S> {
    /// Reads what is left to read, and writes what is new of it.
    pub(super) async fn run(self) -> Result<(Materialized, Tally), MaterializeError> {
        let Self { store, snapshot, .. } = &self;
        let (target, start) = (self.target, self.start.as_ref());
        let record = store.loaded(target.slot, target.generation)?;
        let version = super::chunk::version(&self.state);
        let mut loading = Loading::resume(record.as_deref(), start, version, snapshot);
        let tally = Tally::after(loading.earlier());
        let mut loader = Loader::new(
            Arc::clone(store),
            self.threads.clone(),
            target,
            self.limits,
            tally,
        );
        let settled = start.map_or(0, |mark| mark.settled(snapshot));
        let files: Vec<(usize, u64)> = loading.left(settled).collect();
        let total = match self.on_rows {
            Some(_) => self.engine.rows_left(snapshot, &files).await,
            None => None,
        };
        let mut scan = Scan::start_behind(&self.engine, snapshot, &self.reader, files);
        let mut chunk = Chunk::new(&self.bound, &self.state);
        let done = async {
            let mut done = Materialized::default();
            while let Some(rows) = scan.next().await? {
                done.rows_read += rows.heads.len() as u64;
                done.rows_skipped += rows.skipped;
                let wanted = new_rows(&rows, start, &self.folded);
                done.rows_written += chunk.add(&rows, wanted, target.as_of)?;
                loading.note(&rows);
                if chunk.is_full(self.limits.chunk_bytes) {
                    loader.write(chunk.take(), loading.clone()).await?;
                }
                if let Some(on_rows) = &self.on_rows {
                    on_rows(self.bound.view.name.as_str(), done.rows_read, total);
                }
                // Lets whoever waits for an interrupt have its turn.
                tokio::task::yield_now().await;
            }
            loader.write(chunk.take(), loading.clone()).await?;
            Ok::<_, MaterializeError>(done)
        }
        .await;
        // Where the reading failed, too: nothing goes on writing after the run has ended.
        let tally = loader.written().await;
        Ok((done?, tally?))
    }
}

/// The rows of a batch that the generation does not have, as far as its mark says and what was folded when it was pushed.
fn new_rows<'a>(
    rows: &'a SourceRows,
    mark: Option<&'a Mark>,
    folded: &'a Folded,
) -> impl Iterator<Item = usize> + 'a {
    rows.heads.iter().enumerate().filter_map(move |(place, head)| {
        let has = folded.has(head.order.seq) || mark.is_some_and(|mark| mark.has(rows.file, head.order));
        (!has).then_some(place)
    })
}
