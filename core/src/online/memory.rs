//! The online store in memory: the contract as obvious code, for tests and to test others against.

mod intake;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{
    Counts, Found, FoundWindows, Generation, GenerationState, OnlineReader, OnlineRow, OnlineStore, ReadSet,
    SortedRows, Staged, StoreError, Survey, ViewAddress, ViewSlot, ViewState, Visit, newer_row,
};
use crate::aggregate::tiles::{ChunkId, FoldedChunk, FoldedEvents, TileLayout, merge_chunks};
use crate::cancel::Cancellation;
use crate::definition::StoredShape;
use crate::key::EntityKey;
use crate::order::RowOrder;
use crate::row::{RowCorrupt, RowSchema, StoredRow};
use crate::time::Timestamp;
use intake::Intakes;

/// An online store that lives as long as its value.
#[derive(Debug, Default)]
pub struct MemoryStore {
    views: Mutex<Views>,
    /// Raised after a change of the views and before their lock is given back.
    changes: AtomicU64,
}

#[derive(Debug, Default)]
struct Views {
    entities: Vec<ViewAddress>,
    opened: u32,
    views: BTreeMap<u32, View>,
    intakes: Intakes,
}

#[derive(Debug)]
struct View {
    address: ViewAddress,
    slot: ViewSlot,
    begun: u32,
    state: ViewState,
    cells: BTreeMap<(Generation, EntityKey), Cell>,
    /// What the last load of a generation said of its progress.
    loaded: BTreeMap<Generation, Vec<u8>>,
    /// What was noted of a generation with the last rows that were accepted.
    noted: BTreeMap<Generation, Vec<u8>>,
}

/// What there is of one key in one generation.
#[derive(Debug, Default)]
struct Cell {
    row: Option<Vec<u8>>,
    pending: BTreeMap<RowOrder, Pending>,
    /// Of a generation with tiles, in the place of the row.
    chunks: BTreeMap<ChunkId, Vec<u8>>,
}

/// A row that was not due when it was written.
#[derive(Debug, Default, Clone)]
struct Pending {
    bytes: Vec<u8>,
    was_pushed: bool,
}

/// Rows that are ready to be taken in.
struct StagedRows {
    slot: ViewSlot,
    generation: Generation,
    rows: Vec<(EntityKey, Vec<u8>)>,
    chunks: Vec<FoldedChunk>,
    pending: Vec<OnlineRow>,
    progress: Vec<u8>,
}

const PLACE: &str = "memory";

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Views> {
        self.views.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }
}

impl Views {
    fn view(&mut self, slot: ViewSlot) -> Result<&mut View, StoreError> {
        self.views
            .get_mut(&slot.view)
            .filter(|view| view.slot == slot)
            .ok_or(StoreError::NoGeneration { generation: 0 })
    }

    /// The view, provided that it has the generation.
    fn live(&mut self, slot: ViewSlot, generation: Generation) -> Result<&mut View, StoreError> {
        self.view(slot)
            .ok()
            .filter(|view| view.state.generation(generation).is_some())
            .ok_or(StoreError::NoGeneration {
                generation: generation.0,
            })
    }
}

impl View {
    fn cells_of(&mut self, generation: Generation) -> impl Iterator<Item = (&EntityKey, &mut Cell)> {
        self.cells
            .iter_mut()
            .filter(move |((of, _), _)| *of == generation)
            .map(|((_, key), cell)| (key, cell))
    }

    /// A generation with the layers of it that reads find; of a layer it is that alone.
    fn shown(&self, number: Generation) -> Vec<Generation> {
        let state = self.state.generation(number);
        let state = state.filter(|state| state.generation == number);
        let layers = state.into_iter().flat_map(GenerationState::shown);
        std::iter::once(number).chain(layers).collect()
    }

    /// What there is of a key in some generations together.
    fn together(&self, generations: &[Generation], key: &EntityKey) -> Result<Cell, StoreError> {
        let mut all = Cell::default();
        for generation in generations {
            if let Some(cell) = self.cells.get(&(*generation, key.clone())) {
                all.add(cell)?;
            }
        }
        Ok(all)
    }

    /// Lets rows that are due compete, or be folded, and others wait.
    fn enter(
        &mut self,
        generation: Generation,
        now: Timestamp,
        was_pushed: bool,
        rows: &[OnlineRow],
    ) -> Result<(), StoreError> {
        let tiles = self.tiles(generation);
        for row in rows {
            let cell = self.cells.entry((generation, row.key.clone())).or_default();
            if row.order.due() > now {
                let pending = cell.pending.entry(row.order).or_default();
                pending.bytes.clone_from(&row.bytes);
                pending.was_pushed |= was_pushed;
                continue;
            }
            match &tiles {
                None => cell.compete(row.bytes.clone()),
                Some(tiles) => cell.fold(tiles, &row.bytes)?,
            }
        }
        Ok(())
    }

    /// Merges what is due of the pending rows that are wanted.
    fn merge_due(
        &mut self,
        generation: Generation,
        now: Timestamp,
        wanted: impl Fn(&Pending) -> bool,
    ) -> Result<u64, StoreError> {
        let tiles = self.tiles(generation);
        let mut merged = 0;
        for generation in self.shown(generation) {
            for (_, cell) in self.cells_of(generation) {
                merged += cell.merge_due(tiles.as_ref(), now, &wanted)?;
            }
        }
        Ok(merged)
    }

    fn tiles(&self, generation: Generation) -> Option<Arc<TileLayout>> {
        self.state.generation(generation)?.shape.tiles.clone()
    }

    fn remove(&mut self, generations: Vec<Generation>) {
        self.cells.retain(|(of, _), _| !generations.contains(of));
        self.loaded.retain(|of, _| !generations.contains(of));
        self.noted.retain(|of, _| !generations.contains(of));
    }
}

impl Cell {
    /// Adds all that there is of the same key in another generation.
    fn add(&mut self, other: &Self) -> Result<(), StoreError> {
        other.row.iter().for_each(|row| self.compete(row.clone()));
        for (order, pending) in &other.pending {
            self.pending.entry(*order).or_insert_with(|| pending.clone());
        }
        let mut chunks = other.chunks.iter();
        chunks.try_for_each(|(id, chunk)| self.merge(*id, chunk.clone()))
    }

    fn compete(&mut self, bytes: Vec<u8>) {
        match &self.row {
            Some(row) if newer_row(row, &bytes) == row.as_slice() => {}
            Some(_) | None => self.row = Some(bytes),
        }
    }

    /// Folds an event into the tiles that it is in.
    fn fold(&mut self, tiles: &TileLayout, bytes: &[u8]) -> Result<(), StoreError> {
        let mut folded = FoldedEvents::default();
        folded.add(tiles, &[], &parse(bytes)?).map_err(damaged)?;
        folded
            .chunks(tiles)
            .try_for_each(|chunk| self.merge(chunk.id, chunk.bytes))
    }

    fn merge(&mut self, id: ChunkId, bytes: Vec<u8>) -> Result<(), StoreError> {
        let known = self.chunks.get(&id).map(Vec::as_slice);
        let merged = merge_chunks(known.into_iter().chain([bytes.as_slice()])).map_err(damaged)?;
        self.chunks.insert(id, merged);
        Ok(())
    }

    /// Merges what is due of the pending rows that are wanted.
    fn merge_due(
        &mut self,
        tiles: Option<&Arc<TileLayout>>,
        now: Timestamp,
        wanted: impl Fn(&Pending) -> bool,
    ) -> Result<u64, StoreError> {
        let due = self
            .pending
            .extract_if(.., |order, pending| order.due() <= now && wanted(pending));
        let due: Vec<_> = due.map(|(_, pending)| pending.bytes).collect();
        let count = due.len() as u64;
        for bytes in due {
            match tiles {
                None => self.compete(bytes),
                Some(tiles) => self.fold(tiles, &bytes)?,
            }
        }
        Ok(count)
    }

    /// What the windows have, as a body with the latest instant at which an event in tiles became due.
    fn windows(&self, tiles: &Arc<TileLayout>, at: Timestamp) -> Result<(Vec<u8>, Timestamp), StoreError> {
        let reading = tiles.at(at);
        let mut sums = reading.begin();
        for (id, bytes) in &self.chunks {
            reading.add_chunk(&mut sums, *id, bytes).map_err(damaged)?;
        }
        for (_, row) in self.pending.iter().filter(|(order, _)| order.due() <= at) {
            reading
                .add_event(&mut sums, &parse(&row.bytes)?)
                .map_err(damaged)?;
        }
        let mut body = Vec::new();
        reading.finish(&sums, &mut body).map_err(damaged)?;
        Ok((body, sums.latest()))
    }

    fn find(&self, at: Timestamp) -> Result<Found<'_>, StoreError> {
        let due = self.pending.iter().filter(|(order, _)| order.due() <= at);
        let winner = due
            .map(|(_, pending)| &pending.bytes)
            .chain(&self.row)
            .map(Vec::as_slice)
            .reduce(newer_row)
            .map(parse)
            .transpose()?;
        Ok(Found {
            winner,
            held_back: winner.is_some() || self.pending.keys().any(|order| order.event_time <= at),
            windows: None,
        })
    }
}

fn parse(bytes: &[u8]) -> Result<StoredRow<'_>, StoreError> {
    StoredRow::parse(bytes).map_err(damaged)
}

fn damaged(error: RowCorrupt) -> StoreError {
    StoreError::Damaged {
        place: PLACE.into(),
        reason: error.to_string(),
    }
}

impl OnlineStore for MemoryStore {
    fn open_view(&self, address: &ViewAddress) -> Result<ViewSlot, StoreError> {
        let mut views = self.lock();
        if let Some(view) = views.views.values().find(|view| view.address == *address) {
            return Ok(view.slot);
        }
        let entity = match views.entities.iter().position(|known| known.same_entity(address)) {
            Some(entity) => entity,
            None => {
                views.entities.push(address.clone());
                views.entities.len() - 1
            }
        };
        views.opened += 1;
        let slot = ViewSlot {
            entity: u32::try_from(entity).unwrap_or(u32::MAX),
            view: views.opened,
        };
        let view = View {
            address: address.clone(),
            slot,
            begun: 0,
            state: ViewState::default(),
            cells: BTreeMap::new(),
            loaded: BTreeMap::new(),
            noted: BTreeMap::new(),
        };
        views.views.insert(slot.view, view);
        self.changed();
        Ok(slot)
    }

    fn views(&self) -> Result<Vec<(ViewAddress, ViewSlot, ViewState)>, StoreError> {
        let views = self.lock();
        let views = views.views.values();
        Ok(views
            .map(|view| (view.address.clone(), view.slot, view.state.clone()))
            .collect())
    }

    fn view_state(&self, slot: ViewSlot) -> Result<ViewState, StoreError> {
        Ok(self.lock().view(slot)?.state.clone())
    }

    fn begin_generation(
        &self,
        slot: ViewSlot,
        shape: StoredShape,
        schema: RowSchema,
    ) -> Result<Generation, StoreError> {
        let mut views = self.lock();
        let view = views.view(slot)?;
        view.begun += 1;
        let generation = Generation(view.begun);
        let given_up = view.state.give_up();
        view.remove(given_up);
        view.state.building = Some(GenerationState::begun(generation, shape, schema));
        self.changed();
        Ok(generation)
    }

    fn begin_layer(&self, slot: ViewSlot, generation: Generation) -> Result<Generation, StoreError> {
        let mut views = self.lock();
        let view = views.live(slot, generation)?;
        let layer = Generation(view.begun + 1);
        view.state.begin_layer(generation, layer)?;
        view.begun += 1;
        self.changed();
        Ok(layer)
    }

    fn fold(&self, slot: ViewSlot, generation: Generation, layer: Generation) -> Result<(), StoreError> {
        let mut views = self.lock();
        let view = views.live(slot, generation)?;
        if generation == layer || !view.shown(generation).contains(&layer) {
            return Err(StoreError::NoGeneration { generation: layer.0 });
        }
        let keys: Vec<EntityKey> = view.cells_of(layer).map(|(key, _)| key.clone()).collect();
        for key in keys {
            let all = view.together(&[generation, layer], &key)?;
            view.cells.insert((generation, key), all);
        }
        view.remove(vec![layer]);
        view.state.end_layer(generation, layer);
        self.changed();
        Ok(())
    }

    fn add_schema(
        &self,
        slot: ViewSlot,
        generation: Generation,
        schema: &RowSchema,
    ) -> Result<u32, StoreError> {
        let number = self
            .lock()
            .live(slot, generation)?
            .state
            .add_schema(generation, schema)?;
        self.changed();
        Ok(number)
    }

    fn write(
        &self,
        slot: ViewSlot,
        generation: Generation,
        now: Timestamp,
        rows: &[OnlineRow],
        state: Option<&GenerationState>,
    ) -> Result<(), StoreError> {
        let mut views = self.lock();
        let view = views.live(slot, generation)?;
        if let Some(state) = state {
            let given_up = view.state.update(generation, state)?;
            view.remove(given_up);
            self.changed();
        }
        view.enter(generation, now, false, rows)
    }

    fn stage(
        &self,
        slot: ViewSlot,
        generation: Generation,
        rows: &SortedRows,
        progress: &[u8],
    ) -> Result<Staged, StoreError> {
        self.lock().live(slot, generation)?;
        let row = |(key, row): (&[u8], &[u8])| (EntityKey::from_encoded(key), row.to_vec());
        Ok(Staged::new(StagedRows {
            slot,
            generation,
            rows: rows.iter().map(row).collect(),
            chunks: Vec::new(),
            pending: Vec::new(),
            progress: progress.to_vec(),
        }))
    }

    fn stage_events(
        &self,
        slot: ViewSlot,
        generation: Generation,
        events: &FoldedEvents,
        pending: &[OnlineRow],
        progress: &[u8],
    ) -> Result<Staged, StoreError> {
        let tiles = self.lock().live(slot, generation)?.tiles(generation);
        Ok(Staged::new(StagedRows {
            slot,
            generation,
            rows: Vec::new(),
            chunks: tiles.map_or_else(Vec::new, |tiles| events.chunks(&tiles).collect()),
            pending: pending.to_vec(),
            progress: progress.to_vec(),
        }))
    }

    fn take_in(&self, staged: Staged) -> Result<(), StoreError> {
        let StagedRows {
            slot,
            generation,
            rows,
            chunks,
            pending,
            progress,
        } = staged.into_inner(PLACE)?;
        let mut views = self.lock();
        let view = views.live(slot, generation)?;
        for (key, row) in rows {
            view.cells.entry((generation, key)).or_default().compete(row);
        }
        for chunk in chunks {
            let key = EntityKey::from_encoded(&chunk.key);
            let cell = view.cells.entry((generation, key)).or_default();
            cell.merge(chunk.id, chunk.bytes)?;
        }
        view.enter(generation, Timestamp::MIN, false, &pending)?;
        view.loaded.insert(generation, progress);
        Ok(())
    }

    fn loaded(&self, slot: ViewSlot, generation: Generation) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self
            .lock()
            .live(slot, generation)?
            .loaded
            .get(&generation)
            .cloned())
    }

    fn serve(&self, slot: ViewSlot, generation: Generation) -> Result<(), StoreError> {
        let mut views = self.lock();
        let view = views.live(slot, generation)?;
        let given_up = view.state.serve(generation);
        view.remove(given_up);
        self.changed();
        Ok(())
    }

    fn exchange(&self, slot: ViewSlot, states: &[GenerationState]) -> Result<(), StoreError> {
        let mut views = self.lock();
        let view = views.view(slot)?;
        let mut exchanged = view.state.clone();
        let mut given_up = Vec::new();
        for state in states {
            given_up.extend(exchanged.update(state.generation, state)?);
        }
        exchanged.exchange();
        view.state = exchanged;
        view.remove(given_up);
        self.changed();
        Ok(())
    }

    fn forget_kept(&self, slot: ViewSlot) -> Result<(), StoreError> {
        let mut views = self.lock();
        let view = views.view(slot)?;
        let given_up = view.state.forget_kept();
        view.remove(given_up);
        self.changed();
        Ok(())
    }

    fn give_up(&self, slot: ViewSlot) -> Result<(), StoreError> {
        let mut views = self.lock();
        let view = views.view(slot)?;
        let given_up = view.state.give_up();
        view.remove(given_up);
        self.changed();
        Ok(())
    }

    fn remove_given_up(&self) -> Result<(), StoreError> {
        // They were removed at once.
        Ok(())
    }

    fn apply_due(&self, slot: ViewSlot, generation: Generation, now: Timestamp) -> Result<u64, StoreError> {
        self.lock()
            .live(slot, generation)?
            .merge_due(generation, now, |_| true)
    }

    fn reader<'a>(
        &'a self,
        set: &'a ReadSet,
        at: Timestamp,
    ) -> Result<Box<dyn OnlineReader + 'a>, StoreError> {
        let mut views = self.lock();
        for (view, generation) in set.views() {
            views.live(slot(set, *view), *generation)?;
        }
        Ok(Box::new(Reader { store: self, set, at }))
    }

    fn survey(&self, generations: &[Survey], cancellation: &Cancellation) -> Result<Vec<Counts>, StoreError> {
        if cancellation.is_cancelled() {
            return Err(StoreError::Cancelled);
        }
        let mut views = self.lock();
        let counts = generations.iter().map(|survey| {
            let mut counts = Counts::default();
            let view = views.live(survey.slot, survey.generation)?;
            let mut counted = view.shown(survey.generation);
            if let Some(layer) = survey.layer {
                views.live(survey.slot, layer)?;
                counted.push(layer);
            }
            let view = views.live(survey.slot, survey.generation)?;
            let mut keys = BTreeSet::new();
            for ((_, key), cell) in view.cells.iter().filter(|((of, _), _)| counted.contains(of)) {
                let pending = cell.pending.values().map(|pending| &pending.bytes);
                for bytes in pending.chain(&cell.row).chain(cell.chunks.values()) {
                    counts.bytes += (key.as_bytes().len() + bytes.len()) as u64;
                }
                keys.insert(key);
            }
            for key in keys {
                let all = view.together(&counted, key)?;
                let pending = all.pending.values().map(|pending| &pending.bytes);
                pending
                    .chain(&all.row)
                    .try_for_each(|bytes| parse(bytes).map(drop))?;
                if let Some(winner) = all.find(survey.at)?.winner {
                    counts.keys += 1;
                    counts.earlier += u64::from(winner.order.event_time < survey.from);
                } else if !all.chunks.is_empty() {
                    counts.keys += 1;
                }
                let pending = all.pending.keys().filter(|order| order.due() > survey.at);
                counts.pending += pending.count() as u64;
            }
            Ok(counts)
        });
        counts.collect()
    }

    fn drop_view(&self, slot: ViewSlot) -> Result<u64, StoreError> {
        let mut views = self.lock();
        let view = views.view(slot)?;
        let keys = match view.state.serving.as_ref().map(|state| state.generation) {
            Some(serving) => view
                .cells_of(serving)
                .filter(|(_, cell)| cell.row.is_some())
                .count(),
            None => 0,
        };
        views.views.remove(&slot.view);
        self.changed();
        Ok(keys as u64)
    }

    fn place(&self) -> String {
        PLACE.into()
    }

    fn changes(&self) -> Option<u64> {
        Some(self.changes.load(Ordering::Acquire))
    }
}

struct Reader<'a> {
    store: &'a MemoryStore,
    set: &'a ReadSet,
    at: Timestamp,
}

impl OnlineReader for Reader<'_> {
    fn read(&mut self, key: &[u8], visit: Visit<'_>) -> Result<(), StoreError> {
        let mut store = self.store.lock();
        let key = EntityKey::from_encoded(key);
        for (place, (view, generation)) in self.set.views().iter().enumerate() {
            let view = store.live(slot(self.set, *view), *generation)?;
            let cell = view.together(&view.shown(*generation), &key)?;
            if let Some(tiles) = view.tiles(*generation) {
                let (body, latest) = cell.windows(&tiles, self.at)?;
                let windows = Some(FoundWindows { body: &body, latest });
                let found = Found {
                    windows,
                    ..Found::default()
                };
                visit(place, found)?;
                continue;
            }
            visit(place, cell.find(self.at)?)?;
        }
        Ok(())
    }
}

fn slot(set: &ReadSet, view: u32) -> ViewSlot {
    ViewSlot {
        entity: set.entity(),
        view,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conforms() {
        super::super::conformance::run(&MemoryStore::new, &|store| store);
    }
}
