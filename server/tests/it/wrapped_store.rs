//! A store with something of a test's own around its calls.

use asof_core::aggregate::tiles::FoldedEvents;
use asof_core::cancel::Cancellation;
use asof_core::definition::StoredShape;
use asof_core::key::EntityKey;
use asof_core::online::intake::{Intake, IntakeLog, SourceAddress, StreamMark};
use asof_core::online::{
    Counts, Generation, GenerationState, OnlineReader, OnlineRow, OnlineStore, ReadSet, SortedRows, Staged,
    StoreError, Survey, ViewAddress, ViewSlot, ViewState, Visit,
};
use asof_core::row::RowSchema;
use asof_core::time::Timestamp;

/// What happens around the calls of a store; by itself nothing.
pub(crate) trait Around: Send + Sync {
    /// Makes a call that changes the store.
    fn change<T>(&self, call: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        call()
    }

    /// What a count is told as.
    fn counted(&self, counts: Counts) -> Counts {
        counts
    }

    /// Comes before so many generations are counted in one pass.
    fn before_survey(&self, _generations: usize, _cancellation: &Cancellation) {}

    /// Comes after the intake log was trimmed, which had this as its last entry.
    fn trimmed(&self, _log: &dyn IntakeLog, _source: &SourceAddress, _last: Option<(u64, Vec<u8>)>) {}

    /// Comes before a key is read.
    fn before_read(&self, _key: &EntityKey) -> Result<(), StoreError> {
        Ok(())
    }
}

/// A store, and what happens around its calls.
#[derive(Debug, Default)]
pub(crate) struct Wrapped<S, A> {
    pub(crate) inner: S,
    pub(crate) around: A,
}

impl<S: OnlineStore, A: Around> OnlineStore for Wrapped<S, A> {
    fn open_view(&self, address: &ViewAddress) -> Result<ViewSlot, StoreError> {
        self.around.change(|| self.inner.open_view(address))
    }

    fn views(&self) -> Result<Vec<(ViewAddress, ViewSlot, ViewState)>, StoreError> {
        self.inner.views()
    }

    fn view_state(&self, slot: ViewSlot) -> Result<ViewState, StoreError> {
        self.inner.view_state(slot)
    }

    fn begin_generation(
        &self,
        slot: ViewSlot,
        shape: StoredShape,
        schema: RowSchema,
    ) -> Result<Generation, StoreError> {
        self.around
            .change(|| self.inner.begin_generation(slot, shape, schema))
    }

    fn begin_layer(&self, slot: ViewSlot, generation: Generation) -> Result<Generation, StoreError> {
        self.around.change(|| self.inner.begin_layer(slot, generation))
    }

    fn fold(&self, slot: ViewSlot, generation: Generation, layer: Generation) -> Result<(), StoreError> {
        self.around.change(|| self.inner.fold(slot, generation, layer))
    }

    fn add_schema(
        &self,
        slot: ViewSlot,
        generation: Generation,
        schema: &RowSchema,
    ) -> Result<u32, StoreError> {
        self.around
            .change(|| self.inner.add_schema(slot, generation, schema))
    }

    fn exchange(&self, slot: ViewSlot, states: &[GenerationState]) -> Result<(), StoreError> {
        self.around.change(|| self.inner.exchange(slot, states))
    }

    fn forget_kept(&self, slot: ViewSlot) -> Result<(), StoreError> {
        self.around.change(|| self.inner.forget_kept(slot))
    }

    fn write(
        &self,
        slot: ViewSlot,
        generation: Generation,
        now: Timestamp,
        rows: &[OnlineRow],
        state: Option<&GenerationState>,
    ) -> Result<(), StoreError> {
        self.around
            .change(|| self.inner.write(slot, generation, now, rows, state))
    }

    fn stage(
        &self,
        slot: ViewSlot,
        generation: Generation,
        rows: &SortedRows,
        progress: &[u8],
    ) -> Result<Staged, StoreError> {
        self.around
            .change(|| self.inner.stage(slot, generation, rows, progress))
    }

    fn stage_events(
        &self,
        slot: ViewSlot,
        generation: Generation,
        events: &FoldedEvents,
        pending: &[OnlineRow],
        progress: &[u8],
    ) -> Result<Staged, StoreError> {
        self.around.change(|| {
            self.inner
                .stage_events(slot, generation, events, pending, progress)
        })
    }

    fn take_in(&self, staged: Staged) -> Result<(), StoreError> {
        self.around.change(|| self.inner.take_in(staged))
    }

    fn loaded(&self, slot: ViewSlot, generation: Generation) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.loaded(slot, generation)
    }

    fn serve(&self, slot: ViewSlot, generation: Generation) -> Result<(), StoreError> {
        self.around.change(|| self.inner.serve(slot, generation))
    }

    fn give_up(&self, slot: ViewSlot) -> Result<(), StoreError> {
        self.around.change(|| self.inner.give_up(slot))
    }

    fn remove_given_up(&self) -> Result<(), StoreError> {
        self.around.change(|| self.inner.remove_given_up())
    }

    fn apply_due(&self, slot: ViewSlot, generation: Generation, now: Timestamp) -> Result<u64, StoreError> {
        self.around.change(|| self.inner.apply_due(slot, generation, now))
    }

    fn reader<'a>(
        &'a self,
        set: &'a ReadSet,
        at: Timestamp,
    ) -> Result<Box<dyn OnlineReader + 'a>, StoreError> {
        Ok(Box::new(WrappedReader {
            inner: self.inner.reader(set, at)?,
            around: &self.around,
        }))
    }

    fn survey(&self, generations: &[Survey], cancellation: &Cancellation) -> Result<Vec<Counts>, StoreError> {
        self.around.before_survey(generations.len(), cancellation);
        let counts = self.inner.survey(generations, cancellation)?.into_iter();
        Ok(counts.map(|counts| self.around.counted(counts)).collect())
    }

    fn drop_view(&self, slot: ViewSlot) -> Result<u64, StoreError> {
        self.around.change(|| self.inner.drop_view(slot))
    }

    fn place(&self) -> String {
        self.inner.place()
    }

    fn changes(&self) -> Option<u64> {
        self.inner.changes()
    }
}

impl<S: OnlineStore, A: Around> IntakeLog for Wrapped<S, A> {
    fn accept(&self, source: &SourceAddress, intake: Intake<'_>) -> Result<(), StoreError> {
        self.around.change(|| self.inner.accept(source, intake))
    }

    fn noted(&self, slot: ViewSlot, generation: Generation) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.noted(slot, generation)
    }

    fn apply_pushed(
        &self,
        slot: ViewSlot,
        generation: Generation,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        self.around
            .change(|| self.inner.apply_pushed(slot, generation, now))
    }

    fn known_events(&self, source: &SourceAddress, ids: &[EntityKey]) -> Result<Vec<bool>, StoreError> {
        self.inner.known_events(source, ids)
    }

    fn note_events(
        &self,
        source: &SourceAddress,
        ids: &[EntityKey],
        indexed: Option<&[u8]>,
    ) -> Result<(), StoreError> {
        self.around
            .change(|| self.inner.note_events(source, ids, indexed))
    }

    fn indexed_events(&self, source: &SourceAddress) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.indexed_events(source)
    }

    fn forget_events(&self, source: &SourceAddress) -> Result<(), StoreError> {
        self.around.change(|| self.inner.forget_events(source))
    }

    fn marks(&self, source: &SourceAddress) -> Result<Vec<StreamMark>, StoreError> {
        self.inner.marks(source)
    }

    fn settle(&self) -> Result<(), StoreError> {
        self.around.change(|| self.inner.settle())
    }

    fn answered(&self, source: &SourceAddress, id: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.answered(source, id)
    }

    fn accepted(&self, source: &SourceAddress) -> Result<u64, StoreError> {
        self.inner.accepted(source)
    }

    fn entries(&self, source: &SourceAddress, bytes: usize) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        self.inner.entries(source, bytes)
    }

    fn last_entry(&self, source: &SourceAddress) -> Result<Option<u64>, StoreError> {
        self.inner.last_entry(source)
    }

    fn waiting(&self, source: &SourceAddress) -> Result<u64, StoreError> {
        self.inner.waiting(source)
    }

    fn waiting_sources(&self) -> Result<Vec<SourceAddress>, StoreError> {
        self.inner.waiting_sources()
    }

    fn trim(&self, source: &SourceAddress, through: u64) -> Result<(), StoreError> {
        let last = self.inner.entries(source, usize::MAX)?.pop();
        self.around.change(|| self.inner.trim(source, through))?;
        self.around.trimmed(&self.inner, source, last);
        Ok(())
    }

    fn forget_answers(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.around.change(|| self.inner.forget_answers(before))
    }
}

struct WrappedReader<'a, A> {
    inner: Box<dyn OnlineReader + 'a>,
    around: &'a A,
}

impl<A: Around> OnlineReader for WrappedReader<'_, A> {
    fn read(&mut self, key: &[u8], visit: Visit<'_>) -> Result<(), StoreError> {
        self.around.before_read(&EntityKey::from_encoded(key))?;
        self.inner.read(key, visit)
    }
}
