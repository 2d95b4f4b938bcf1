//! Chunks of rows to the store, one after the other, while the next one is gathered.

use std::sync::Arc;

use asof_core::key::EntityKey;
use asof_core::online::{Generation, OnlineRow, OnlineStore, SortedRows, Staged, StoreError, ViewSlot};
use asof_core::order::RowOrder;
use asof_core::row::order_bytes;
use asof_core::time::Timestamp;
use tokio::task::JoinHandle;

use super::chunk::ChunkRows;
use super::resume::Loading;
use super::tally::Tally;
use super::{Limits, MaterializeError};
use crate::background::Threads;

/// How many rows of a load are read back one by one, evenly spread; those of a smaller chunk all are.
const READ_BACK: usize = 1_024;

/// Where rows go, and as of when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    pub(super) slot: ViewSlot,
    pub(super) generation: Generation,
    pub(super) as_of: Timestamp,
    /// Whether it has tiles. What is written to it counts as often as it is written: always in one step with the progress.
    pub(super) has_tiles: bool,
    /// See [`GenerationState::reclaimed`](asof_core::online::GenerationState::reclaimed).
    pub(super) reclaimed: Option<Timestamp>,
}

impl Target {
    /// Whether a row may be gone as soon as it is written.
    fn may_be_gone(&self, row: &[u8]) -> bool {
        Some(order(row).event_time) < self.reclaimed
    }
}

/// Writes chunks, each beside whoever gathers the next one.
pub(super) struct Loader<S> {
    store: Arc<S>,
    threads: Threads,
    target: Target,
    limits: Limits,
    tally: Option<Tally>,
    under_way: Option<JoinHandle<Result<Tally, MaterializeError>>>,
}

impl<S: OnlineStore + 'static> Loader<S> {
    pub(super) fn new(store: Arc<S>, threads: Threads, target: Target, limits: Limits, tally: Tally) -> Self {
        Self {
            store,
            threads,
            target,
            limits,
            tally: Some(tally),
            under_way: None,
        }
    }

    /// Writes a chunk, once the one before it is written. `loading` says how far all of them have come.
    pub(super) async fn write(&mut self, rows: ChunkRows, loading: Loading) -> Result<(), MaterializeError> {
        let tally = self.written().await?;
        let (store, target, limits) = (Arc::clone(&self.store), self.target, self.limits);
        let threads = self.threads.clone();
        self.under_way = Some(tokio::spawn(async move {
            let preparing = Arc::clone(&store);
            let prepare = move || Prepared::of(rows, &*preparing, target, limits, &loading, tally);
            let prepared = threads.prepare(prepare).await?;
            threads.write(move || prepared.write(&*store, target)).await
        }));
        Ok(())
    }

    /// Waits until all chunks are written; returns what they held.
    pub(super) async fn written(&mut self) -> Result<Tally, MaterializeError> {
        let before = self.tally.take().unwrap_or_default();
        match self.under_way.take() {
            None => Ok(before),
            Some(writing) => writing.await.map_err(|error| {
                MaterializeError::Bug(format!("the writing of rows ended early: {error}"))
            })?,
        }
    }
}

/// A chunk that is ready to be written.
struct Prepared {
    pending: Vec<OnlineRow>,
    due: SortedRows,
    /// Those that are due, made ready by the store, where they are many.
    staged: Option<Staged>,
    tally: Tally,
}

impl Prepared {
    /// Sorts a chunk, and notes what is in it.
    fn of<S: OnlineStore>(
        rows: ChunkRows,
        store: &S,
        target: Target,
        limits: Limits,
        loading: &Loading,
        mut tally: Tally,
    ) -> Result<Self, MaterializeError> {
        let ChunkRows {
            due,
            folded,
            mut pending,
        } = rows;
        pending.sort_unstable_by(|a, b| (&a.key, a.order).cmp(&(&b.key, b.order)));
        pending
            .iter()
            .for_each(|row| tally.note_pending(&row.key, row.order));
        if target.has_tiles {
            folded
                .keys()
                .for_each(|key| tally.note_key(key, target.reclaimed.is_some()));
            let is_empty = folded.is_empty() && pending.is_empty();
            let staged = match is_empty {
                true => None,
                false => {
                    let progress = loading.to_bytes(&tally);
                    Some(store.stage_events(target.slot, target.generation, &folded, &pending, &progress)?)
                }
            };
            return Ok(Self {
                pending: Vec::new(),
                due: SortedRows::default(),
                staged,
                tally,
            });
        }
        let due = due.sort();
        due.iter()
            .for_each(|(key, row)| tally.note_key(key, target.may_be_gone(row)));
        tally.were_different(due.len() as u64);
        let staged = match due.len() >= limits.load_rows {
            true => Some(store.stage(target.slot, target.generation, &due, &loading.to_bytes(&tally))?),
            false => None,
        };
        Ok(Self {
            pending,
            due,
            staged,
            tally,
        })
    }

    /// Writes it and reads it back: a run is done only when its rows are seen to be there.
    fn write<S: OnlineStore>(self, store: &S, target: Target) -> Result<Tally, MaterializeError> {
        let Target {
            slot,
            generation,
            as_of,
            ..
        } = target;
        // Before those that are due: with these, what is said of how far the loading has come is true.
        if !self.pending.is_empty() {
            store.write(slot, generation, as_of, &self.pending, None)?;
        }
        let step = if let Some(staged) = self.staged {
            store.take_in(staged)?;
            self.due.len().div_ceil(READ_BACK).max(1)
        } else {
            let rows = self.due.iter().map(|(key, bytes)| online_row(key, bytes));
            let rows: Vec<OnlineRow> = rows.collect();
            if !rows.is_empty() {
                store.write(slot, generation, as_of, &rows, None)?;
            }
            1
        };
        read_back(store, target, &self.due, step)?;
        Ok(self.tally)
    }
}

fn read_back<S: OnlineStore>(
    store: &S,
    target: Target,
    rows: &SortedRows,
    step: usize,
) -> Result<(), MaterializeError> {
    for (key, bytes) in rows.iter().step_by(step) {
        let row = online_row(key, &[]);
        let mut stored = None;
        store.read(
            target.slot.entity,
            &row.key,
            &[(target.slot.view, target.generation)],
            target.as_of,
            &mut |_, found| {
                stored = found.winner.map(|winner| winner.order);
                Ok::<_, StoreError>(())
            },
        )?;
        if stored < Some(order(bytes)) && !target.may_be_gone(bytes) {
            return Err(MaterializeError::NotReadBack { place: store.place() });
        }
    }
    Ok(())
}

fn online_row(key: &[u8], bytes: &[u8]) -> OnlineRow {
    OnlineRow {
        key: EntityKey::from_encoded(key),
        order: order(bytes),
        bytes: bytes.to_vec(),
    }
}

/// The order of a row that was encoded here, and so begins with it.
fn order(bytes: &[u8]) -> RowOrder {
    let order = order_bytes(bytes).first_chunk().copied();
    RowOrder::from_bytes(order.unwrap_or_default())
}
