//! Many rows at once, and how far the loading has come.
//!
//! Rows compete, so those of a load that was cut short are written again. Events are folded: before the first one of a
//! load it is noted that one has begun, and what is told of a generation whose load was cut short is no progress that a
//! loader knows, so that it builds the generation anew.

use asof_core::aggregate::tiles::FoldedEvents;
use asof_core::online::{Generation, OnlineRow, SortedRows, Staged, StoreError, ViewSlot};
use asof_core::order::RowOrder;

use super::generations::nothing;
use super::plan::TileChange;
use super::{RedisStore, State};
use crate::commit::Commit;
use crate::names::{Meta, generation_field};

/// Rows that are ready to be taken in.
pub(super) struct Ready {
    slot: ViewSlot,
    generation: Generation,
    rows: Rows,
    progress: Vec<u8>,
}

enum Rows {
    /// Those that compete.
    Sorted(Vec<(Vec<u8>, Vec<u8>)>),
    /// Events that were folded, and those that wait.
    Folded(Vec<TileChange>),
}

/// How many rows are written before it is looked whether the store is still held.
const STEP: usize = 10_000;
/// What is told of a load that was cut short.
const CUT_SHORT: &[u8] = b"a load was cut short";
/// The first byte of what is noted of loads.
const BEGUN: u8 = b'b';
const DONE: u8 = b'd';

impl RedisStore {
    pub(super) fn stage_rows(
        &self,
        slot: ViewSlot,
        generation: Generation,
        rows: &SortedRows,
        progress: &[u8],
    ) -> Result<Staged, StoreError> {
        let (state, _) = self.begin()?;
        state.catalogue.live(slot, generation)?;
        let rows = rows.iter().map(|(key, row)| (key.to_vec(), row.to_vec()));
        Ok(Staged::new(Ready {
            slot,
            generation,
            rows: Rows::Sorted(rows.collect()),
            progress: progress.to_vec(),
        }))
    }

    pub(super) fn stage_folded(
        &self,
        slot: ViewSlot,
        generation: Generation,
        events: &FoldedEvents,
        pending: &[OnlineRow],
        progress: &[u8],
    ) -> Result<Staged, StoreError> {
        let (state, _) = self.begin()?;
        state.catalogue.live(slot, generation)?;
        let mut changes = match state.layout(slot.view, generation) {
            Some(layout) => Self::changes_of(slot, generation, events.chunks(layout)),
            None => Vec::new(),
        };
        let mut waiting: Vec<&OnlineRow> = pending.iter().collect();
        waiting.sort_by(|a, b| a.key.as_bytes().cmp(b.key.as_bytes()));
        for same in waiting.chunk_by(|a, b| a.key == b.key) {
            let Some(first) = same.first() else { continue };
            let key = first.key.as_bytes();
            let rows: Vec<(RowOrder, Vec<u8>)> =
                same.iter().map(|row| (row.order, row.bytes.clone())).collect();
            match changes.binary_search_by(|change| change.key.as_slice().cmp(key)) {
                Ok(at) => {
                    if let Some(change) = changes.get_mut(at) {
                        change.pending = rows;
                    }
                }
                Err(at) => changes.insert(
                    at,
                    TileChange {
                        slot,
                        generation,
                        key: key.to_vec(),
                        chunks: Vec::new(),
                        pending: rows,
                        due: Vec::new(),
                    },
                ),
            }
        }
        Ok(Staged::new(Ready {
            slot,
            generation,
            rows: Rows::Folded(changes),
            progress: progress.to_vec(),
        }))
    }

    pub(super) fn take_staged(&self, ready: Ready) -> Result<(), StoreError> {
        let (slot, generation) = (ready.slot, ready.generation);
        let (state, _writing, _) = self.begin_writing(&[(slot, generation)])?;
        match ready.rows {
            Rows::Sorted(rows) => {
                for rows in rows.chunks(STEP) {
                    // Many of them may take longer than the store stays held.
                    self.lease.check(self.servers.deadline())?;
                    let keys = rows.iter().map(|(key, _)| key.as_slice());
                    self.servers
                        .ask_all(self.note_layer(&state, slot, generation, keys), None)?;
                    let rows = rows.iter();
                    let requests = rows.map(|(key, row)| self.row_request(slot, generation, key, row));
                    self.servers.ask_all(requests, None)?;
                }
            }
            Rows::Folded(changes) if changes.is_empty() => {}
            Rows::Folded(changes) => self.take_folded(&state, slot, generation, changes)?,
        }
        let done = [&[DONE], ready.progress.as_slice()].concat();
        self.note_load(&state, slot, generation, &done)
    }

    /// Folds the events of a load in.
    fn take_folded(
        &self,
        state: &State,
        slot: ViewSlot,
        generation: Generation,
        changes: Vec<TileChange>,
    ) -> Result<(), StoreError> {
        let field = generation_field(slot, generation);
        let noted = self.meta_field(Meta::Loads, &field)?;
        if noted.is_some_and(|noted| noted.first() == Some(&BEGUN)) {
            return Err(self.failed("a load before was cut short: the generation is to be built anew"));
        }
        self.note_load(state, slot, generation, &[BEGUN])?;
        let pending = changes.iter().flat_map(|change| {
            let pending = change.pending.iter();
            pending.map(|(order, _)| (*order, change.key.as_slice()))
        });
        let due = self.note_due(slot, generation, false, pending);
        let keys = changes.iter().map(|change| change.key.as_slice());
        self.servers
            .ask_all(self.note_layer(state, slot, generation, keys), None)?;
        self.servers.ask_all(due.iter().cloned(), None)?;
        let number = self.commits.begin();
        self.change_tiles(state, changes, number.number, None)?;
        // Who merges what is due may have cleared it before the rows were there.
        self.servers.ask_all(due, None).map(drop)
    }

    fn note_load(
        &self,
        state: &State,
        slot: ViewSlot,
        generation: Generation,
        noted: &[u8],
    ) -> Result<(), StoreError> {
        let mut commit = Commit::new(&self.names);
        commit.set(Meta::Loads, &generation_field(slot, generation), noted);
        self.carry_out(state, commit, &nothing(), self.servers.deadline())
            .map(drop)
    }

    pub(super) fn load_progress(
        &self,
        slot: ViewSlot,
        generation: Generation,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let (state, _) = self.begin()?;
        state.catalogue.live(slot, generation)?;
        let noted = self.meta_field(Meta::Loads, &generation_field(slot, generation))?;
        match noted.as_deref().map(<[u8]>::split_first) {
            None => Ok(None),
            Some(Some((&DONE, progress))) => Ok(Some(progress.to_vec())),
            Some(Some((&BEGUN, _))) => Ok(Some(CUT_SHORT.to_vec())),
            Some(_) => Err(StoreError::Damaged {
                place: self.servers.place().into(),
                reason: "what is noted of a load cannot be read".into(),
            }),
        }
    }
}
