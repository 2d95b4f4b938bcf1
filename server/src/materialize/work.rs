//! What a run has to do: into which generation its rows go, and which of them are new to it.

use asof_core::definition::{BoundView, StoredShape};
use asof_core::duration::Duration;
use asof_core::name::ProjectName;
use asof_core::online::{
    Generation, GenerationState, Layer, OnlineStore, Survey, ViewAddress, ViewSlot, ViewState, row_schema,
};
use asof_core::row::RowSchema;
use asof_core::status::{reclaimable_before, tiles_needed_from};
use asof_core::time::Timestamp;
use asof_offline::Snapshot;

use super::MaterializeError;
use super::chunk::version;
use super::progress::Mark;
use super::resume::Loading;
use super::tally::{Expected, Tally};
use super::undo::{HeldBack, Undo, Way, held_back};
use crate::intake::Folded;

/// What a run has to read, and where it goes.
pub(super) struct Work {
    pub(super) slot: ViewSlot,
    pub(super) state: GenerationState,
    /// Where the rows go: a layer of the generation that serves, or one that is being built.
    pub(super) target: Generation,
    /// What the generation that serves has, and as of when, where the rows go to a layer of it.
    pub(super) before: Option<(Mark, Option<Timestamp>)>,
    pub(super) ttl: Option<Duration>,
    /// How many rows had been pushed to the source when what the generation held was last known.
    pub(super) pushed: u64,
    /// Which pushed rows it has, where it has tiles.
    pub(super) folded: Folded,
    /// What was brought back before.
    redone: Redone,
    /// What was written.
    pub(super) tally: Tally,
}

/// What a run works on.
#[derive(Clone, Copy)]
pub(super) struct Task<'a> {
    pub(super) project: &'a ProjectName,
    pub(super) bound: &'a BoundView,
    pub(super) snapshot: &'a Snapshot,
    /// How many rows were pushed to the source; they are in the snapshot.
    pub(super) pushed: u64,
    pub(super) as_of: Timestamp,
    pub(super) full: bool,
    pub(super) redo: bool,
}

impl Work {
    /// Decides into which generation or layer the rows go.
    pub(super) fn plan<S: OnlineStore>(store: &S, task: Task<'_>) -> Result<Self, MaterializeError> {
        let Task {
            project,
            bound,
            snapshot,
            pushed,
            as_of,
            full,
            redo,
        } = task;
        let slot = store.open_view(&ViewAddress::of(project, bound))?;
        let (shape, schema) = (bound.stored_shape(), row_schema(bound));
        let state = store.view_state(slot)?;
        let held_back = held_back(&state);
        let building = state.building.clone();
        let brings_back = redo && !held_back.is_empty();
        // Of what was rolled back, nothing is brought back before it is known that it is gone on with.
        if let Some(on) = gone_on_with(&state, brings_back)?.filter(|_| !full) {
            let mark = Mark::parse(&on.progress)?;
            reached(on, &mark, bound, as_of)?;
            is_not_behind(&mark, bound, snapshot)?;
            let whole = on.has_fresh(bound.view.ttl, as_of);
            let whole = whole && !was_cut_short(store, slot, on, &mark)?;
            if whole && on.shape.takes(&shape) && mark.grew_into(snapshot) {
                // Of a run that was cut short, and that nobody goes on with.
                if building.is_some() {
                    store.give_up(slot)?;
                }
                let (serving, redone) = match brings_back {
                    true => Redone::of(store, slot, &state)?,
                    false => (on.clone(), Redone::default()),
                };
                let mark = Mark::parse(&serving.progress)?;
                return Ok(Self {
                    redone,
                    ..Self::onward(slot, bound, serving, mark, shape, schema)
                });
            }
        }
        if let (Some(run), false) = (held_back.first(), full || redo) {
            return Err(MaterializeError::HeldBack {
                view: bound.view.name.to_string(),
                run: *run,
            });
        }
        if let Some(building) = building
            && resumes(&building, &shape, &schema, snapshot, as_of)
            && !is_lost(store, slot, &building, snapshot)?
        {
            let pushed = Mark::parse(&building.progress)?.pushed();
            return Ok(Self::anew(slot, bound, building, pushed));
        }
        let generation = store.begin_generation(slot, shape.clone(), schema.clone())?;
        let state = GenerationState {
            progress: Mark::of(snapshot, as_of, pushed).to_bytes(),
            ..GenerationState::begun(generation, shape, schema)
        };
        Ok(Self::anew(slot, bound, state, pushed))
    }

    /// On with the generation that serves.
    fn onward(
        slot: ViewSlot,
        bound: &BoundView,
        serving: GenerationState,
        mark: Mark,
        shape: StoredShape,
        schema: RowSchema,
    ) -> Self {
        let mut state = GenerationState { shape, ..serving };
        if state.schemas.last() != Some(&schema) {
            state.schemas.push(schema);
        }
        Self {
            slot,
            target: state.generation,
            pushed: mark.pushed(),
            before: Some((mark, state.as_of)),
            state,
            ttl: bound.view.ttl,
            folded: Folded::default(),
            redone: Redone::default(),
            tally: Tally::default(),
        }
    }

    /// Lets the rows go to the layer of a run that was cut short, where this one goes on with it, or to a new one.
    fn take_layer<S: OnlineStore>(&mut self, store: &S, snapshot: &Snapshot) -> Result<(), MaterializeError> {
        let unfinished = self.unfinished();
        let mut known = None;
        for layer in &unfinished {
            let record = store.loaded(self.slot, *layer)?;
            let start = self.before.as_ref().map(|(mark, _)| mark);
            if Loading::goes_on(record.as_deref(), start, version(&self.state), snapshot) {
                known = Some(*layer);
            }
        }
        self.target = match known {
            Some(layer) => layer,
            None => {
                let layer = store.begin_layer(self.slot, self.state.generation)?;
                self.state.layers.push(Layer {
                    generation: layer,
                    is_shown: false,
                });
                layer
            }
        };
        let given_up = unfinished.into_iter().filter(|layer| *layer != self.target);
        let given_up: Vec<Generation> = given_up.collect();
        self.state
            .layers
            .retain(|layer| !given_up.contains(&layer.generation));
        Ok(())
    }

    /// The layers of runs that did not end.
    fn unfinished(&self) -> Vec<Generation> {
        let held_back = self.before.iter().flat_map(|(mark, _)| mark.held_back());
        let held_back: Vec<u32> = held_back.flat_map(|held| held.layers.clone()).collect();
        let layers = self.state.layers.iter().filter(|layer| !layer.is_shown);
        let layers = layers.map(|layer| layer.generation);
        layers.filter(|layer| !held_back.contains(&layer.0)).collect()
    }

    fn anew(slot: ViewSlot, bound: &BoundView, state: GenerationState, pushed: u64) -> Self {
        Self {
            slot,
            target: state.generation,
            state,
            pushed,
            before: None,
            ttl: bound.view.ttl,
            folded: Folded::default(),
            redone: Redone::default(),
            tally: Tally::default(),
        }
    }

    /// What is to be counted: the generation with what was written.
    pub(super) fn survey(&self) -> Survey {
        let Self {
            slot, state, target, ..
        } = self;
        Survey {
            layer: (*target != state.generation).then_some(*target),
            ..Survey::as_stored(*slot, state.generation)
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
        let nothing_redone = self.redone == Redone::default();
        nothing_redone
            && self.before.as_ref().is_some_and(|(mark, last)| {
                *last == Some(as_of) && mark.reached() == as_of && mark.is_of(snapshot)
            })
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
        if self.before.is_some() {
            self.take_layer(store, snapshot)?;
        }
        let mark = Mark::parse(&self.state.progress)?.beginning(snapshot, as_of);
        self.state.progress = mark.to_bytes();
        store.write(self.slot, self.state.generation, as_of, &[], Some(&self.state))?;
        Ok(())
    }

    /// The runs that are held back, also when it has come to its end.
    pub(super) fn held_back(&self) -> Vec<u64> {
        let before = self.before.iter();
        before
            .flat_map(|(mark, _)| mark.held_back())
            .map(|held| held.run)
            .collect()
    }

    /// Moves the mark and the instant, in one write, and shows the layer or lets a new generation take over, for a run of
    /// that number; no row is pushed to the source meanwhile. What has expired for long at `known` may be reclaimed from
    /// now on. Returns the layers that are to be folded, as the runs that they are of cannot be undone any more.
    pub(super) fn end<S: OnlineStore>(
        self,
        store: &S,
        run: u64,
        mark: Mark,
        as_of: Timestamp,
        known: Timestamp,
    ) -> Result<Vec<Generation>, MaterializeError> {
        let Self {
            slot,
            mut state,
            target,
            before,
            redone,
            ..
        } = self;
        let reclaimed = match &state.shape.tiles {
            Some(_) => Some(tiles_needed_from(known)),
            None => self.ttl.map(|ttl| reclaimable_before(ttl, known)),
        };
        state.reclaimed = state.reclaimed.max(reclaimed);
        let now = store.view_state(slot)?;
        // Rows may have been pushed since it began under a schema that came later.
        if let Some(now) = now.generation(state.generation) {
            state.schemas.clone_from(&now.schemas);
        }
        let Some((before, last)) = before else {
            state.as_of = Some(as_of);
            let way = match now.serving {
                Some(_) => Way::Kept,
                None => Way::Nothing,
            };
            state.progress = mark.with_runs(Some(Undo { run, way }), Vec::new()).to_bytes();
            store.write(slot, state.generation, as_of, &[], Some(&state))?;
            store.serve(slot, state.generation)?;
            return Ok(Vec::new());
        };
        let held_back = before.held_back().to_vec();
        // As long as something is held back, the view is not complete later than without it.
        state.as_of = match held_back.is_empty() {
            true => Some(as_of),
            false => last,
        };
        for layer in &mut state.layers {
            layer.is_shown |= layer.generation == target;
        }
        let way = match (redone.kept, &now.kept) {
            (true, Some(_)) => Way::Kept,
            (true, None) => Way::Nothing,
            (false, _) => Way::Layers {
                layers: redone.layers.iter().copied().chain([target.0]).collect(),
                as_of: last.map(Timestamp::micros),
                held: before.held().map(|held| (held.keys, held.pending)),
                pushed: before.pushed(),
            },
        };
        let stays_kept = redone.kept || held_back.iter().any(HeldBack::is_kept);
        let undone: Vec<u32> = match &way {
            Way::Layers { layers, .. } => layers.clone(),
            Way::Kept | Way::Nothing => vec![target.0],
        };
        state.progress = mark.with_runs(Some(Undo { run, way }), held_back).to_bytes();
        store.write(slot, state.generation, as_of, &[], Some(&state))?;
        if !stays_kept {
            store.forget_kept(slot)?;
        }
        let folded = state.shown().filter(|layer| !undone.contains(&layer.0));
        Ok(folded.collect())
    }
}

/// What a run brought back of what was held back, before anything else.
#[derive(Debug, Default, PartialEq, Eq)]
struct Redone {
    /// Whether the generation that was kept serves again.
    kept: bool,
    layers: Vec<u32>,
}

impl Redone {
    /// Brings back what is held back; gives the generation that serves then. A run that does not come to its end leaves it
    /// so, and it can be rolled back as before.
    fn of<S: OnlineStore>(
        store: &S,
        slot: ViewSlot,
        state: &ViewState,
    ) -> Result<(GenerationState, Self), MaterializeError> {
        let none = || MaterializeError::Bug("what is brought back is not there".into());
        if has_kept(state)? {
            store.exchange(slot, &[])?;
            let redone = Self {
                kept: true,
                layers: Vec::new(),
            };
            return Ok((state.kept.clone().ok_or_else(none)?, redone));
        }
        let mut serving = state.serving.clone().ok_or_else(none)?;
        let mark = Mark::parse(&serving.progress)?;
        let held_back = mark.held_back().iter();
        let layers: Vec<u32> = held_back.flat_map(|held| held.layers.clone()).collect();
        for layer in &mut serving.layers {
            layer.is_shown |= layers.contains(&layer.generation.0);
        }
        let undo = mark.held_back().last().map(|held| Undo {
            run: held.run,
            way: Way::Layers {
                layers: layers.clone(),
                as_of: serving.as_of.map(Timestamp::micros),
                held: mark.held().map(|held| (held.keys, held.pending)),
                pushed: mark.pushed(),
            },
        });
        // What was counted is not known with them: at least as much as without.
        serving.progress = mark.with_runs(undo, Vec::new()).holding(None, 0).to_bytes();
        store.write(slot, serving.generation, Timestamp::MIN, &[], Some(&serving))?;
        Ok((serving, Self { kept: false, layers }))
    }
}

/// Whether the generation that is kept has rows that are held back.
fn has_kept(state: &ViewState) -> Result<bool, MaterializeError> {
    let Some(serving) = &state.serving else {
        return Ok(state.kept.is_some());
    };
    let mark = Mark::parse(&serving.progress)?;
    Ok(mark.held_back().iter().any(HeldBack::is_kept))
}

/// The generation that a run goes on with where it can: the one that serves, or the one that is kept where what it has is
/// brought back.
fn gone_on_with(state: &ViewState, brings_back: bool) -> Result<Option<&GenerationState>, MaterializeError> {
    Ok(match brings_back && has_kept(state)? {
        true => state.kept.as_ref(),
        false => state.serving.as_ref(),
    })
}

/// Refuses an instant before that of what a generation has.
fn reached(
    serving: &GenerationState,
    mark: &Mark,
    bound: &BoundView,
    asked: Timestamp,
) -> Result<(), MaterializeError> {
    let view = bound.view.name.to_string();
    if let Some(last) = serving.as_of.filter(|last| asked < *last) {
        return Err(MaterializeError::Earlier { view, asked, last });
    }
    if asked < mark.reached() {
        let begun = mark.reached();
        return Err(MaterializeError::Begun { view, asked, begun });
    }
    Ok(())
}

/// Whether a run of an earlier version, which knew no layers, was cut short after it had added to the tiles of a generation.
fn was_cut_short<S: OnlineStore>(
    store: &S,
    slot: ViewSlot,
    serving: &GenerationState,
    mark: &Mark,
) -> Result<bool, MaterializeError> {
    if serving.shape.tiles.is_none() {
        return Ok(false);
    }
    let record = store.loaded(slot, serving.generation)?;
    Ok(record.is_some_and(|record| Loading::is_from(&record, Some(mark), version(serving))))
}

/// Whether what a run before loaded into a generation with tiles that is being built cannot be told from what it did not
/// load.
fn is_lost<S: OnlineStore>(
    store: &S,
    slot: ViewSlot,
    building: &GenerationState,
    snapshot: &Snapshot,
) -> Result<bool, MaterializeError> {
    if building.shape.tiles.is_none() {
        return Ok(false);
    }
    let record = store.loaded(slot, building.generation)?;
    Ok(!Loading::goes_on(
        record.as_deref(),
        None,
        version(building),
        snapshot,
    ))
}

/// Refuses a table that has fewer rows than a view of it: one that was lost, or restored from an older copy.
fn is_not_behind(mark: &Mark, bound: &BoundView, snapshot: &Snapshot) -> Result<(), MaterializeError> {
    match (mark.next_seq(), snapshot.next_seq()) {
        (Some(before), Some(now)) if now < before => Err(MaterializeError::Behind {
            view: bound.view.name.to_string(),
            source_name: bound.source.name.to_string(),
            before,
            now,
        }),
        _ => Ok(()),
    }
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
