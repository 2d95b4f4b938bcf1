//! The generations that take pushed rows.

use asof_core::definition::BoundView;
use asof_core::name::ProjectName;
use asof_core::online::intake::IntakeRows;
use asof_core::online::{
    Generation, GenerationState, OnlineRow, OnlineStore, StoreError, ViewAddress, ViewSlot, row_schema,
};
use asof_core::row::{RowEncoder, RowSchema};
use asof_offline::SourceRows;

use super::IntakeError;
use crate::materialize::{NEVER, nothing_materialized, taken_before};

/// Where the rows of a view go.
pub(super) struct Targets {
    slot: ViewSlot,
    schema: RowSchema,
    /// The generations, each with the number under which it knows the schema.
    generations: Vec<(GenerationState, u32)>,
}

impl Targets {
    /// The generations of a view that take rows of it as it is defined. Where none serves, nor is being
    /// materialized, one begins that serves at once, provided that its source `is_new`: of one that has rows already,
    /// it would say that they are not there.
    pub(super) fn of<S: OnlineStore>(
        store: &S,
        project: &ProjectName,
        bound: &BoundView,
        table: Option<&str>,
        is_new: bool,
    ) -> Result<Self, StoreError> {
        let slot = store.open_view(&ViewAddress::of(project, bound))?;
        let (shape, schema) = (bound.stored_shape(), row_schema(bound));
        let mut state = store.view_state(slot)?;
        let has_other = state.kept.as_ref().is_some_and(|kept| !kept.shape.takes(&shape));
        // Where none serves, it holds what was rolled back, and says so.
        if has_other && state.serving.is_some() {
            // It would serve without what is pushed from now on.
            store.forget_kept(slot)?;
            state.kept = None;
        }
        let has_none = state.serving.is_none() && state.kept.is_none();
        if is_new && has_none && !state.building.as_ref().is_some_and(is_materialized) {
            let generation = store.begin_generation(slot, shape.clone(), schema.clone())?;
            let begun = GenerationState {
                as_of: Some(NEVER),
                progress: nothing_materialized(table),
                ..GenerationState::begun(generation, shape.clone(), schema.clone())
            };
            store.write(slot, generation, NEVER, &[], Some(&begun))?;
            store.serve(slot, generation)?;
            state = store.view_state(slot)?;
        }
        let generations = [state.serving, state.building, state.kept].into_iter().flatten();
        let generations = generations.filter(|state| state.shape.takes(&shape));
        let generations = generations.map(|state| {
            // Where a feature was dropped since: what has all that is asked for takes rows without it.
            let version = store.add_schema(slot, state.generation, &schema)?;
            Ok((state, version))
        });
        Ok(Self {
            slot,
            generations: generations.collect::<Result<_, StoreError>>()?,
            schema,
        })
    }

    /// Of one of its generations that has tiles, the seq before which materialization has taken rows to it.
    pub(super) fn taken_to_tiles(&self, (slot, generation): (ViewSlot, Generation)) -> Option<u64> {
        let mut generations = self.generations.iter().map(|(state, _)| state);
        let state = generations.find(|state| self.slot == slot && state.generation == generation)?;
        state.shape.tiles.as_ref().map(|_| taken_before(&state.progress))
    }

    /// The rows of pushes, each with the first of its seqs, for each of the generations.
    pub(super) fn rows<'a>(
        &self,
        pushes: impl Iterator<Item = (&'a SourceRows, u64)> + Clone,
    ) -> Result<Vec<IntakeRows>, IntakeError> {
        let generations = self.generations.iter();
        generations
            .map(|(state, version)| {
                let mut rows = Vec::new();
                for (pushed, first) in pushes.clone() {
                    self.encode(pushed, first, *version, &mut rows)?;
                }
                Ok(IntakeRows {
                    slot: self.slot,
                    generation: state.generation,
                    rows,
                    note: None,
                })
            })
            .collect()
    }

    fn encode(
        &self,
        pushed: &SourceRows,
        first: u64,
        version: u32,
        rows: &mut Vec<OnlineRow>,
    ) -> Result<(), IntakeError> {
        let encoder = RowEncoder::try_new(&self.schema, version, &pushed.features)
            .map_err(|error| IntakeError::Bug(error.to_string()))?;
        for head in &pushed.heads {
            let Some(key) = pushed.keys.key(head.row) else {
                continue;
            };
            let mut order = head.order;
            order.seq += first;
            let mut bytes = Vec::new();
            encoder.encode(head.row, order, head.deleted, &mut bytes);
            rows.push(OnlineRow { key, order, bytes });
        }
        Ok(())
    }
}

/// Whether a run writes a generation that is being built, or did until it was cut short: one that was only begun has
/// no progress, and one that was begun for a push has the instant of what was never materialized.
fn is_materialized(building: &GenerationState) -> bool {
    building.as_of.is_none() && !building.progress.is_empty()
}
