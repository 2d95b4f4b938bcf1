//! The online store of a project, of whichever kind its configuration names.

use asof_core::aggregate::tiles::FoldedEvents;
use asof_core::cancel::Cancellation;
use asof_core::definition::StoredShape;
use asof_core::key::EntityKey;
use asof_core::online::intake::{Intake, IntakeLog, SourceAddress, StreamMark};
use asof_core::online::{
    Counts, Generation, GenerationState, OnlineReader, OnlineRow, OnlineStore, ReadSet, SortedRows, Staged,
    StoreError, StoreMetric, Survey, ViewAddress, ViewSlot, ViewState,
};
use asof_core::row::RowSchema;
use asof_core::time::Timestamp;
use asof_online::RocksStore;
use asof_redis::RedisStore;

/// The online store of a project.
#[derive(Debug)]
pub enum ProjectStore {
    /// In a directory.
    Rocks(RocksStore),
    /// On servers.
    Redis(RedisStore),
}

/// Makes a call of whichever it is.
macro_rules! either {
    ($on:expr, $store:ident => $call:expr) => {
        match $on {
            ProjectStore::Rocks($store) => $call,
            ProjectStore::Redis($store) => $call,
        }
    };
}

impl OnlineStore for ProjectStore {
    fn is_remote(&self) -> bool {
        either!(self, store => store.is_remote())
    }

    fn metrics(&self) -> Vec<StoreMetric> {
        either!(self, store => store.metrics())
    }

    fn open_view(&self, address: &ViewAddress) -> Result<ViewSlot, StoreError> {
        either!(self, store => store.open_view(address))
    }

    fn views(&self) -> Result<Vec<(ViewAddress, ViewSlot, ViewState)>, StoreError> {
        either!(self, store => store.views())
    }

    fn view_state(&self, slot: ViewSlot) -> Result<ViewState, StoreError> {
        either!(self, store => store.view_state(slot))
    }

    fn begin_generation(
        &self,
        slot: ViewSlot,
        shape: StoredShape,
        schema: RowSchema,
    ) -> Result<Generation, StoreError> {
        either!(self, store => store.begin_generation(slot, shape, schema))
    }

    fn begin_layer(&self, slot: ViewSlot, generation: Generation) -> Result<Generation, StoreError> {
        either!(self, store => store.begin_layer(slot, generation))
    }

    fn fold(&self, slot: ViewSlot, generation: Generation, layer: Generation) -> Result<(), StoreError> {
        either!(self, store => store.fold(slot, generation, layer))
    }

    fn add_schema(
        &self,
        slot: ViewSlot,
        generation: Generation,
        schema: &RowSchema,
    ) -> Result<u32, StoreError> {
        either!(self, store => store.add_schema(slot, generation, schema))
    }

    fn write(
        &self,
        slot: ViewSlot,
        generation: Generation,
        now: Timestamp,
        rows: &[OnlineRow],
        state: Option<&GenerationState>,
    ) -> Result<(), StoreError> {
        either!(self, store => store.write(slot, generation, now, rows, state))
    }

    fn stage(
        &self,
        slot: ViewSlot,
        generation: Generation,
        rows: &SortedRows,
        progress: &[u8],
    ) -> Result<Staged, StoreError> {
        either!(self, store => store.stage(slot, generation, rows, progress))
    }

    fn stage_events(
        &self,
        slot: ViewSlot,
        generation: Generation,
        events: &FoldedEvents,
        pending: &[OnlineRow],
        progress: &[u8],
    ) -> Result<Staged, StoreError> {
        either!(self, store => store.stage_events(slot, generation, events, pending, progress))
    }

    fn take_in(&self, staged: Staged) -> Result<(), StoreError> {
        either!(self, store => store.take_in(staged))
    }

    fn loaded(&self, slot: ViewSlot, generation: Generation) -> Result<Option<Vec<u8>>, StoreError> {
        either!(self, store => store.loaded(slot, generation))
    }

    fn serve(&self, slot: ViewSlot, generation: Generation) -> Result<(), StoreError> {
        either!(self, store => store.serve(slot, generation))
    }

    fn exchange(&self, slot: ViewSlot, states: &[GenerationState]) -> Result<(), StoreError> {
        either!(self, store => store.exchange(slot, states))
    }

    fn forget_kept(&self, slot: ViewSlot) -> Result<(), StoreError> {
        either!(self, store => store.forget_kept(slot))
    }

    fn give_up(&self, slot: ViewSlot) -> Result<(), StoreError> {
        either!(self, store => store.give_up(slot))
    }

    fn remove_given_up(&self) -> Result<(), StoreError> {
        either!(self, store => store.remove_given_up())
    }

    fn apply_due(&self, slot: ViewSlot, generation: Generation, now: Timestamp) -> Result<u64, StoreError> {
        either!(self, store => store.apply_due(slot, generation, now))
    }

    fn reader<'a>(
        &'a self,
        set: &'a ReadSet,
        at: Timestamp,
    ) -> Result<Box<dyn OnlineReader + 'a>, StoreError> {
        either!(self, store => store.reader(set, at))
    }

    fn survey(&self, generations: &[Survey], cancellation: &Cancellation) -> Result<Vec<Counts>, StoreError> {
        either!(self, store => store.survey(generations, cancellation))
    }

    fn drop_view(&self, slot: ViewSlot) -> Result<u64, StoreError> {
        either!(self, store => store.drop_view(slot))
    }

    fn place(&self) -> String {
        either!(self, store => store.place())
    }

    fn changes(&self) -> Option<u64> {
        either!(self, store => store.changes())
    }
}

impl IntakeLog for ProjectStore {
    fn accept(&self, source: &SourceAddress, intake: Intake<'_>) -> Result<(), StoreError> {
        either!(self, store => store.accept(source, intake))
    }

    fn noted(&self, slot: ViewSlot, generation: Generation) -> Result<Option<Vec<u8>>, StoreError> {
        either!(self, store => store.noted(slot, generation))
    }

    fn apply_pushed(
        &self,
        slot: ViewSlot,
        generation: Generation,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        either!(self, store => store.apply_pushed(slot, generation, now))
    }

    fn marks(&self, source: &SourceAddress) -> Result<Vec<StreamMark>, StoreError> {
        either!(self, store => store.marks(source))
    }

    fn settle(&self) -> Result<(), StoreError> {
        either!(self, store => store.settle())
    }

    fn answered(&self, source: &SourceAddress, id: &str) -> Result<Option<Vec<u8>>, StoreError> {
        either!(self, store => store.answered(source, id))
    }

    fn accepted(&self, source: &SourceAddress) -> Result<u64, StoreError> {
        either!(self, store => store.accepted(source))
    }

    fn entries(&self, source: &SourceAddress, bytes: usize) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        either!(self, store => store.entries(source, bytes))
    }

    fn last_entry(&self, source: &SourceAddress) -> Result<Option<u64>, StoreError> {
        either!(self, store => store.last_entry(source))
    }

    fn waiting(&self, source: &SourceAddress) -> Result<u64, StoreError> {
        either!(self, store => store.waiting(source))
    }

    fn waiting_sources(&self) -> Result<Vec<SourceAddress>, StoreError> {
        either!(self, store => store.waiting_sources())
    }

    fn trim(&self, source: &SourceAddress, through: u64) -> Result<(), StoreError> {
        either!(self, store => store.trim(source, through))
    }

    fn forget_answers(&self, before: Timestamp) -> Result<u64, StoreError> {
        either!(self, store => store.forget_answers(before))
    }

    fn known_events(&self, source: &SourceAddress, ids: &[EntityKey]) -> Result<Vec<bool>, StoreError> {
        either!(self, store => store.known_events(source, ids))
    }

    fn note_events(
        &self,
        source: &SourceAddress,
        ids: &[EntityKey],
        indexed: Option<&[u8]>,
    ) -> Result<(), StoreError> {
        either!(self, store => store.note_events(source, ids, indexed))
    }

    fn indexed_events(&self, source: &SourceAddress) -> Result<Option<Vec<u8>>, StoreError> {
        either!(self, store => store.indexed_events(source))
    }

    fn forget_events(&self, source: &SourceAddress) -> Result<(), StoreError> {
        either!(self, store => store.forget_events(source))
    }
}
