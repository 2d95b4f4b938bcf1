//! Changes of the catalogue: views are opened and dropped, generations begin and take over.
//!
//! Each is decided and written by one call at a time, then published. What is given up is noted with it, and its rows are
//! removed afterwards: a kill in between leaves rows that nobody reads and that the next one removes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use asof_core::definition::StoredShape;
use asof_core::online::{Generation, GenerationState, StoreError, ViewAddress, ViewSlot};
use asof_core::row::RowSchema;
use asof_core::time::Timestamp;

use super::{RedisStore, State};
use crate::catalogue::{Catalogue, Removal};
use crate::commit::Commit;
use crate::deadline::Deadline;
use crate::names::{Meta, generation_field};
use crate::work::Work;

impl RedisStore {
    pub(super) fn open_slot(&self, address: &ViewAddress) -> Result<ViewSlot, StoreError> {
        let (state, _) = self.begin()?;
        match state.catalogue.find(address) {
            Some(view) => Ok(view.slot),
            None => self.change(|catalogue| Ok(catalogue.open(address))),
        }
    }

    pub(super) fn begin_building(
        &self,
        slot: ViewSlot,
        shape: StoredShape,
        schema: RowSchema,
    ) -> Result<Generation, StoreError> {
        self.change(|catalogue| {
            let view = catalogue.view_mut(slot)?;
            view.begun += 1;
            let generation = Generation(view.begun);
            let given_up = view.state.give_up();
            view.state.building = Some(GenerationState::begun(generation, shape, schema));
            remove_later(catalogue, slot, given_up);
            Ok(generation)
        })
    }

    pub(super) fn begin_layer_of(
        &self,
        slot: ViewSlot,
        generation: Generation,
    ) -> Result<Generation, StoreError> {
        self.change(|catalogue| {
            catalogue.live(slot, generation)?;
            let view = catalogue.view_mut(slot)?;
            view.begun += 1;
            let layer = Generation(view.begun);
            view.state.begin_layer(generation, layer)?;
            Ok(layer)
        })
    }

    pub(super) fn add_schema_to(
        &self,
        slot: ViewSlot,
        generation: Generation,
        schema: &RowSchema,
    ) -> Result<u32, StoreError> {
        self.change(|catalogue| {
            catalogue.live(slot, generation)?;
            catalogue.view_mut(slot)?.state.add_schema(generation, schema)
        })
    }

    pub(super) fn switch(&self, slot: ViewSlot, generation: Generation) -> Result<(), StoreError> {
        self.change(|catalogue| {
            catalogue.live(slot, generation)?;
            let given_up = catalogue.view_mut(slot)?.state.serve(generation);
            remove_later(catalogue, slot, given_up);
            Ok(())
        })
    }

    pub(super) fn exchange_kept(&self, slot: ViewSlot, states: &[GenerationState]) -> Result<(), StoreError> {
        self.change(|catalogue| {
            let view = catalogue.view_mut(slot)?;
            let mut given_up = Vec::new();
            for state in states {
                given_up.extend(view.state.update(state.generation, state)?);
            }
            view.state.exchange();
            remove_later(catalogue, slot, given_up);
            Ok(())
        })
    }

    pub(super) fn give_up_kept(&self, slot: ViewSlot) -> Result<(), StoreError> {
        self.change(|catalogue| {
            let given_up = catalogue.view_mut(slot)?.state.forget_kept();
            remove_later(catalogue, slot, given_up);
            Ok(())
        })
    }

    pub(super) fn give_up_building(&self, slot: ViewSlot) -> Result<(), StoreError> {
        self.change(|catalogue| {
            let given_up = catalogue.view_mut(slot)?.state.give_up();
            remove_later(catalogue, slot, given_up);
            Ok(())
        })
    }

    /// Takes a layer without rows out of its generation.
    pub(super) fn end_layer(
        &self,
        slot: ViewSlot,
        generation: Generation,
        layer: Generation,
    ) -> Result<(), StoreError> {
        let forget = |_: &State, commit: &mut Commit| {
            let field = generation_field(slot, layer);
            commit.unset(Meta::Loads, &field);
            commit.unset(Meta::Notes, &field);
            Ok(())
        };
        self.change_with(self.servers.deadline(), forget, &nothing(), |catalogue| {
            catalogue.live(slot, generation)?;
            catalogue.view_mut(slot)?.state.end_layer(generation, layer);
            Ok(())
        })
    }

    pub(super) fn drop_slot(&self, slot: ViewSlot) -> Result<u64, StoreError> {
        let serving = self.change(|catalogue| {
            let state = catalogue.view(slot)?.state.clone();
            catalogue.views.remove(&slot.view);
            let numbers = state.generations().flat_map(GenerationState::numbers).collect();
            remove_later(catalogue, slot, numbers);
            Ok(state.serving.map(|state| state.generation))
        })?;
        let removed = self.remove(|removal| removal.slot() == slot)?;
        let serving = serving.map(|generation| Removal::of(slot, generation));
        Ok(serving
            .and_then(|serving| removed.get(&serving).copied())
            .unwrap_or_default())
    }

    /// Changes the catalogue.
    fn change<T>(&self, edit: impl FnOnce(&mut Catalogue) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.change_with(self.servers.deadline(), |_, _| Ok(()), &nothing(), edit)
    }

    /// Changes the catalogue, in one step with what is added to its commit and what that means for buckets; `before` is
    /// done first.
    pub(super) fn change_with<T>(
        &self,
        deadline: Deadline,
        before: impl FnOnce(&State, &mut Commit) -> Result<(), StoreError>,
        work: &Work<'_>,
        edit: impl FnOnce(&mut Catalogue) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.ready(deadline)?;
        let _turn = self.turn(&self.changing, deadline)?;
        // By who had the turn before.
        self.finish(deadline)?;
        self.reload(deadline)?;
        let state = self.state();
        let mut next = state.catalogue.clone();
        let edited = edit(&mut next)?;
        let mut commit = Commit::new(&self.names);
        before(&state, &mut commit)?;
        for (field, value) in next.fields_since(&state.catalogue)? {
            match value {
                Some(value) => commit.set(Meta::Catalogue, &field, &value),
                None => commit.unset(Meta::Catalogue, &field),
            }
        }
        if commit.is_empty() && work.is_empty() {
            return Ok(edited);
        }
        commit.of_version(state.catalogue.version);
        next.version += 1;
        let carried_out = self.carry_out(&state, commit, work, deadline);
        if carried_out.is_ok() {
            self.publish(next);
        } else {
            // It may be made, though not all that it means is applied.
            self.is_stale.store(true, std::sync::atomic::Ordering::Release);
        }
        carried_out.map(|_| edited)
    }

    /// Removes the rows of all that was given up.
    pub(super) fn sweep(&self) -> Result<(), StoreError> {
        self.remove(|_| true).map(drop)
    }

    /// Removes the rows of generations that were given up; returns how many keys each had.
    fn remove(&self, wanted: impl Fn(&Removal) -> bool) -> Result<BTreeMap<Removal, u64>, StoreError> {
        let (state, deadline) = self.begin()?;
        let is_wanted = |state: &State| -> BTreeSet<Removal> {
            state.catalogue.removals.iter().copied().filter(&wanted).collect()
        };
        if is_wanted(&state).is_empty() {
            return Ok(BTreeMap::new());
        }
        let _turn = self.turn(&self.sweeping, deadline)?;
        let given_up = is_wanted(&self.state());
        if given_up.is_empty() {
            return Ok(BTreeMap::new());
        }
        let of: Vec<_> = given_up
            .iter()
            .map(|removal| (removal.view, removal.generation))
            .collect();
        if !self.writers.wait(&of, deadline) {
            return Err(self.failed("rows of a generation that was given up are still being written"));
        }
        let removed = self.remove_rows(&given_up)?;
        let forget = |_: &State, commit: &mut Commit| {
            for removal in &given_up {
                let field = generation_field(removal.slot(), removal.generation);
                commit.unset(Meta::Loads, &field);
                commit.unset(Meta::Notes, &field);
            }
            Ok(())
        };
        self.change_with(self.servers.deadline(), forget, &nothing(), |catalogue| {
            catalogue.removals.retain(|removal| !given_up.contains(removal));
            Ok(())
        })?;
        Ok(removed)
    }

    /// Writes rows, with the state of their generation where one is given.
    pub(super) fn write_rows(
        &self,
        slot: ViewSlot,
        generation: Generation,
        now: Timestamp,
        rows: &[asof_core::online::OnlineRow],
        new: Option<&GenerationState>,
    ) -> Result<(), StoreError> {
        let (state, _writing, deadline) = self.begin_writing(&[(slot, generation)])?;
        let group = crate::work::Group {
            slot,
            generation,
            pushed: false,
            rows,
        };
        let work = Work {
            at: now,
            groups: vec![group],
            events: None,
        };
        let is_tiled = state.layout(slot.view, generation).is_some();
        let Some(new) = new else {
            if rows.is_empty() {
                return Ok(());
            }
            return match is_tiled {
                // Folded twice, an event would count twice: it takes a commit to know that it was.
                true => self
                    .carry_out(&state, Commit::new(&self.names), &work, deadline)
                    .map(drop),
                false => self.write_competing(&state, &work, deadline),
            };
        };
        let edit = |catalogue: &mut Catalogue| {
            catalogue.live(slot, generation)?;
            let given_up = catalogue.view_mut(slot)?.state.update(generation, new)?;
            remove_later(catalogue, slot, given_up);
            Ok(())
        };
        // Refused before a row is written.
        edit(&mut state.catalogue.clone())?;
        if is_tiled {
            return self.change_with(deadline, |_, _| Ok(()), &work, edit);
        }
        // Rows first: without the progress that follows them they are written again, which changes nothing.
        self.write_competing(&state, &work, deadline)?;
        let deadline = match rows.len() <= MANY {
            true => deadline,
            false => self.servers.deadline(),
        };
        self.change_with(deadline, |_, _| Ok(()), &nothing(), edit)
    }

    /// Writes rows that change nothing when they are written twice.
    fn write_competing(
        &self,
        state: &Arc<State>,
        work: &Work<'_>,
        deadline: Deadline,
    ) -> Result<(), StoreError> {
        let plan = self.plan(state, work)?;
        let rows: usize = work.groups.iter().map(|group| group.rows.len()).sum();
        self.apply_rows(plan, (rows <= MANY).then_some(deadline))
    }
}

/// How many rows are written within the deadline of one call; of more, each step has its own.
const MANY: usize = 2_000;

fn remove_later(catalogue: &mut Catalogue, slot: ViewSlot, given_up: Vec<Generation>) {
    let removals = given_up
        .into_iter()
        .map(|generation| Removal::of(slot, generation));
    catalogue.removals.extend(removals);
}

/// No work.
pub(super) fn nothing() -> Work<'static> {
    Work {
        at: Timestamp::MIN,
        groups: Vec::new(),
        events: None,
    }
}
