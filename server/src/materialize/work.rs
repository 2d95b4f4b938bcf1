//! What a run has to do: into which generation its rows go, and which of them are new to it.

use asof_core::definition::{BoundView, StoredShape};
use asof_core::duration::Duration;
use asof_core::name::ProjectName;
use asof_core::online::{GenerationState, OnlineStore, ViewAddress, ViewSlot, ViewState, row_schema};
use asof_core::row::RowSchema;
use asof_core::status::{reclaimable_before, tiles_needed_from};
use asof_core::time::Timestamp;
use asof_offline::Snapshot;

use super::MaterializeError;
use super::chunk::version;
use super::progress::Mark;
use super::resume::Loading;
use super::tally::{Expected, Tally};
use crate::intake::Folded;

/// What a run has to read, and where it goes.
pub(super) struct Work {
    pub(super) slot: ViewSlot,
    pub(super) state: GenerationState,
    /// What the generation that serves has, and as of when, where the rows go into it.
    pub(super) before: Option<(Mark, Timestamp)>,
    pub(super) building: bool,
    pub(super) ttl: Option<Duration>,
    /// How many rows had been pushed to the source when what the generation held was last known.
    pub(super) pushed: u64,
    /// Which pushed rows it has, where it has tiles.
    pub(super) folded: Folded,
    /// What was written.
    pub(super) tally: Tally,
}

impl Work {
    /// Decides into which generation the rows go; `pushed` rows were pushed to the source, and are in the snapshot.
    pub(super) fn plan<S: OnlineStore>(
        store: &S,
        project: &ProjectName,
        bound: &BoundView,
        snapshot: &Snapshot,
        pushed: u64,
        as_of: Timestamp,
        full: bool,
    ) -> Result<Self, MaterializeError> {
        let slot = store.open_view(&ViewAddress::of(project, bound))?;
        let (shape, schema) = (bound.stored_shape(), row_schema(bound));
        let ViewState { serving, building } = store.view_state(slot)?;
        if let Some(serving) = serving.filter(|_| !full) {
            let (mark, last) = reached(&serving, bound, as_of)?;
            let whole = serving.has_fresh(bound.view.ttl, as_of);
            let whole = whole && !is_lost(store, slot, &serving, Some(&mark), snapshot)?;
            if whole && serving.shape.takes(&shape) && mark.grew_into(snapshot) {
                let before = (mark, last);
                // Of a run that was cut short, and that nobody goes on with.
                if building.is_some() {
                    store.give_up(slot)?;
                }
                return Ok(Self::onward(slot, bound, serving, before, shape, schema));
            }
        }
        if let Some(building) = building
            && resumes(&building, &shape, &schema, snapshot, as_of)
            && !is_lost(store, slot, &building, None, snapshot)?
        {
            let pushed = Mark::parse(&building.progress)?.pushed();
            return Ok(Self::anew(slot, bound, building, pushed));
        }
        let generation = store.begin_generation(slot, shape.clone(), schema.clone())?;
        let state = GenerationState {
            generation,
            shape,
            schemas: vec![schema],
            as_of: None,
            progress: Mark::of(snapshot, as_of, pushed).to_bytes(),
            reclaimed: None,
        };
        Ok(Self::anew(slot, bound, state, pushed))
    }

    /// On with the generation that serves.
    fn onward(
        slot: ViewSlot,
        bound: &BoundView,
        serving: GenerationState,
        before: (Mark, Timestamp),
        shape: StoredShape,
        schema: RowSchema,
    ) -> Self {
        let mut state = GenerationState { shape, ..serving };
        if state.schemas.last() != Some(&schema) {
            state.schemas.push(schema);
        }
        Self {
            slot,
            state,
            pushed: before.0.pushed(),
            before: Some(before),
            building: false,
            ttl: bound.view.ttl,
            folded: Folded::default(),
            tally: Tally::default(),
        }
    }

    fn anew(slot: ViewSlot, bound: &BoundView, state: GenerationState, pushed: u64) -> Self {
        Self {
            slot,
            state,
            pushed,
            before: None,
            building: true,
            ttl: bound.view.ttl,
            folded: Folded::default(),
            tally: Tally::default(),
        }
    }

    /// What the generation must be counted to hold after what was written.
    pub(super) fn expected(&self) -> Expected {
        match &self.before {
            Some((mark, _)) => self.tally.beside(mark.held(), self.reclaims()),
            None => self.tally.alone(),
        }
    }

    /// Whether rows that were there may be gone, as they expired long ago.
    fn reclaims(&self) -> bool {
        self.state.reclaimed.is_some()
    }

    /// What it must be counted to hold where nothing had to be written.
    pub(super) fn expected_unchanged(&self) -> Expected {
        let held = self.before.as_ref().and_then(|(mark, _)| mark.held());
        held.map_or_else(
            || self.expected(),
            |held| Expected::unchanged(held, self.reclaims()),
        )
    }

    /// Whether the generation that serves has all of the snapshot as of that very instant.
    pub(super) fn is_done(&self, snapshot: &Snapshot, as_of: Timestamp) -> bool {
        self.before
            .as_ref()
            .is_some_and(|(mark, last)| *last == as_of && mark.reached() == as_of && mark.is_of(snapshot))
    }

    /// Looks up what was pushed to the generation, and writes down what is coming, before any row: the schema that the rows have, the files that they may
    /// come from, and the instant that they may be of.
    pub(super) fn begin<S: OnlineStore>(
        &mut self,
        store: &S,
        snapshot: &Snapshot,
        as_of: Timestamp,
    ) -> Result<(), MaterializeError> {
        if self.state.shape.tiles.is_some() {
            let note = store.noted(self.slot, self.state.generation)?;
            let bug = || MaterializeError::Bug("what a generation was noted to have cannot be read".into());
            self.folded = Folded::parse(note.as_deref()).ok_or_else(bug)?;
        }
        let mark = Mark::parse(&self.state.progress)?.beginning(snapshot, as_of);
        self.state.progress = mark.to_bytes();
        store.write(self.slot, self.state.generation, as_of, &[], Some(&self.state))?;
        Ok(())
    }

    /// Moves the mark and the instant, in one write, and lets a new generation take over; no row is pushed to the
    /// source meanwhile. What has expired for long at `known` may be reclaimed from now on.
    pub(super) fn end<S: OnlineStore>(
        self,
        store: &S,
        mark: &Mark,
        as_of: Timestamp,
        known: Timestamp,
    ) -> Result<(), MaterializeError> {
        let Self { slot, mut state, .. } = self;
        state.as_of = Some(as_of);
        let reclaimed = match &state.shape.tiles {
            Some(_) => Some(tiles_needed_from(known)),
            None => self.ttl.map(|ttl| reclaimable_before(ttl, known)),
        };
        state.reclaimed = state.reclaimed.max(reclaimed);
        state.progress = mark.to_bytes();
        // Rows may have been pushed since it began under a schema that came later.
        if let Some(now) = store.view_state(slot)?.generation(state.generation) {
            state.schemas.clone_from(&now.schemas);
        }
        store.write(slot, state.generation, as_of, &[], Some(&state))?;
        if self.building {
            store.serve(slot, state.generation)?;
        }
        Ok(())
    }
}

/// What the generation that serves has, and as of when: nothing later than what is asked for.
fn reached(
    serving: &GenerationState,
    bound: &BoundView,
    asked: Timestamp,
) -> Result<(Mark, Timestamp), MaterializeError> {
    let mark = Mark::parse(&serving.progress)?;
    let as_of = serving.as_of.unwrap_or(Timestamp::MIN);
    let view = bound.view.name.to_string();
    if asked < as_of {
        let last = as_of;
        return Err(MaterializeError::Earlier { view, asked, last });
    }
    if asked < mark.reached() {
        let begun = mark.reached();
        return Err(MaterializeError::Begun { view, asked, begun });
    }
    Ok((mark, as_of))
}

/// Whether what a run before loaded into a generation with tiles cannot be told from what it did not load.
fn is_lost<S: OnlineStore>(
    store: &S,
    slot: ViewSlot,
    state: &GenerationState,
    start: Option<&Mark>,
    snapshot: &Snapshot,
) -> Result<bool, MaterializeError> {
    if state.shape.tiles.is_none() {
        return Ok(false);
    }
    let record = store.loaded(slot, state.generation)?;
    Ok(Loading::is_lost(
        record.as_deref(),
        start,
        version(state),
        snapshot,
    ))
}

/// Whether a build that was cut short goes on: its rows are written again, which changes nothing.
fn resumes(
    building: &GenerationState,
    shape: &StoredShape,
    schema: &RowSchema,
    snapshot: &Snapshot,
    as_of: Timestamp,
) -> bool {
    let same = building.shape == *shape && building.schemas.last() == Some(schema);
    same && Mark::parse(&building.progress).is_ok_and(|mark| mark.is_of(snapshot) && mark.reached() <= as_of)
}
