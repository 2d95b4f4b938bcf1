//! Reads of keys: all that there is of each in the views of a set, fetched in one go for as many keys as are told of.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use asof_core::aggregate::tiles::{ChunkId, TilesAt};
use asof_core::online::{
    Found, FoundWindows, Generation, OnlineReader, ReadSet, StoreError, ViewSlot, Visit, newer_row,
};
use asof_core::time::Timestamp;

use super::{Cell, RedisStore, State};
use crate::deadline::Deadline;
use crate::names::{Name, RowField, TileField};
use crate::pending;
use crate::reply;
use crate::scripts::Script;
use crate::servers::Request;

/// From so many chunks on that windows may need, all that there are of a key are fetched.
const MANY_CHUNKS: usize = 1_000;

impl RedisStore {
    pub(super) fn key_reader<'a>(
        &'a self,
        set: &'a ReadSet,
        at: Timestamp,
    ) -> Result<Reader<'a>, StoreError> {
        let deadline = self.servers.deadline();
        let state = self.readable(deadline)?;
        live(&state, set)?;
        let mut rows = Vec::new();
        let mut tiles = Vec::new();
        for same in set.sorted().chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
            let Some((view, generation, _)) = same.first() else {
                continue;
            };
            let part = Part {
                view: *view,
                generation: *generation,
                numbers: state.together(*view, *generation),
                places: same.iter().map(|(_, _, place)| *place).collect(),
            };
            match state.layout(*view, *generation) {
                None => rows.push(part),
                Some(layout) => tiles.push(Tiled::new(part, layout.at(at))),
            }
        }
        Ok(Reader {
            store: self,
            set,
            at,
            changes: state.changes,
            rows,
            tiles,
            fetched: HashMap::new(),
            alone: None,
        })
    }

    /// What reads may build on: the store is held, and what is known of its views is as it was written.
    fn readable(&self, deadline: Deadline) -> Result<Arc<State>, StoreError> {
        self.lease.check(deadline)?;
        if self.is_stale.load(std::sync::atomic::Ordering::Acquire) {
            return self.ready(deadline);
        }
        Ok(self.state())
    }
}

/// Whether the generations of a set are there.
fn live(state: &State, set: &ReadSet) -> Result<(), StoreError> {
    for (view, generation) in set.views() {
        let slot = ViewSlot {
            entity: set.entity(),
            view: *view,
        };
        state.catalogue.live(slot, *generation)?;
    }
    Ok(())
}

/// A generation of a set, with its places.
struct Part {
    view: u32,
    generation: Generation,
    /// Its own number and those of layers that are read with it.
    numbers: Vec<Generation>,
    places: Vec<usize>,
}

/// One with tiles.
struct Tiled {
    part: Part,
    tiles: TilesAt,
    /// The chunks that are fetched; nothing where all are.
    chunks: Option<Vec<ChunkId>>,
}

impl Tiled {
    fn new(part: Part, tiles: TilesAt) -> Self {
        let ranges = tiles.ranges().iter();
        let ids = ranges.flat_map(|range| {
            let level = range.level;
            (range.first..=range.last).map(move |number| ChunkId { level, number })
        });
        let ids: Vec<ChunkId> = ids.take(MANY_CHUNKS + 1).collect();
        Self {
            part,
            chunks: (ids.len() <= MANY_CHUNKS).then_some(ids),
            tiles,
        }
    }
}

/// What was fetched of a key: for each part its row and pending rows, number by number; and its tiles.
#[derive(Default)]
struct Fetched {
    rows: Vec<Vec<Option<Vec<u8>>>>,
    tiles: Vec<FetchedTiles>,
}

/// All that there is in a generation and its layers.
#[derive(Default)]
struct FetchedTiles {
    pending: Vec<Vec<u8>>,
    chunks: Vec<(ChunkId, Vec<u8>)>,
}

impl FetchedTiles {
    /// Adds what a server answered of one generation or layer.
    fn add(&mut self, tiled: &Tiled, reply: redis::Value) -> Result<(), reply::Odd> {
        let Some(ids) = &tiled.chunks else {
            for (field, value) in reply::pairs(reply)? {
                match TileField::parse(&field) {
                    Some(id) => self.chunks.push((id, value)),
                    None if field == TileField::PENDING => self.pending.push(value),
                    None => {}
                }
            }
            return Ok(());
        };
        let mut fields = reply::list(reply)?.into_iter();
        self.pending
            .extend(reply::bytes(fields.next().ok_or(reply::Odd)?)?);
        if fields.len() != ids.len() {
            return Err(reply::Odd);
        }
        for (id, chunk) in ids.iter().zip(fields) {
            self.chunks.extend(reply::bytes(chunk)?.map(|chunk| (*id, chunk)));
        }
        Ok(())
    }
}

/// Asks for the pending rows and some chunks.
fn tile_fields(request: Request, chunks: &[ChunkId]) -> Request {
    request
        .arg(TileField::PENDING)
        .args(chunks.iter().map(|id| TileField::chunk(*id)))
}

/// See [`OnlineStore::reader`](asof_core::online::OnlineStore::reader).
pub(super) struct Reader<'a> {
    store: &'a RedisStore,
    set: &'a ReadSet,
    at: Timestamp,
    changes: u64,
    rows: Vec<Part>,
    tiles: Vec<Tiled>,
    /// By key.
    fetched: HashMap<Vec<u8>, Fetched>,
    /// Of these, the one that was not told of.
    alone: Option<Vec<u8>>,
}

impl OnlineReader for Reader<'_> {
    fn prefetch(&mut self, keys: &[Vec<u8>]) -> Result<(), StoreError> {
        let mut wanted: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        wanted.sort_unstable();
        wanted.dedup();
        // Those before were read by now.
        self.fetched.clear();
        self.fetch(&wanted)
    }

    fn read(&mut self, key: &[u8], visit: Visit<'_>) -> Result<(), StoreError> {
        if !self.fetched.contains_key(key) {
            if let Some(before) = self.alone.replace(key.to_vec()) {
                self.fetched.remove(&before);
            }
            self.fetch(&[key])?;
        }
        let Some(fetched) = self.fetched.get(key) else {
            return Err(self.store.odd(reply::Odd));
        };
        for (part, fields) in self.rows.iter().zip(&fetched.rows) {
            let found = self.find(key, part, fields)?;
            for place in &part.places {
                visit(*place, found)?;
            }
        }
        let mut body = Vec::new();
        for (tiled, fetched) in self.tiles.iter().zip(&fetched.tiles) {
            let latest = self.add_up(key, tiled, fetched, &mut body)?;
            let found = Found {
                windows: Some(FoundWindows { body: &body, latest }),
                ..Found::default()
            };
            for place in &tiled.part.places {
                visit(*place, found)?;
            }
        }
        Ok(())
    }
}

impl Reader<'_> {
    /// Fetches all that there is of keys.
    fn fetch(&mut self, keys: &[&[u8]]) -> Result<(), StoreError> {
        let store = self.store;
        // Of what was accepted and is not applied, nothing may be seen in part.
        store.ready_for(self.set.entity(), keys)?;
        let requests = keys.iter().flat_map(|key| self.requests(key));
        let mut replies = store.servers.ask_all(requests, None)?.into_iter();
        // Rows are removed only after their generation is gone from the catalogue.
        let state = store.readable(store.servers.deadline())?;
        if state.changes != self.changes {
            live(&state, self.set)?;
        }
        for key in keys {
            let fetched = self.take(&mut replies);
            let fetched = fetched.map_err(|odd| store.odd(odd))?;
            self.fetched.insert(key.to_vec(), fetched);
        }
        Ok(())
    }

    fn requests(&self, key: &[u8]) -> Vec<Request> {
        let names = &self.store.names;
        let entity = self.set.entity();
        let mut requests = Vec::with_capacity(1 + self.tiles.len());
        if !self.rows.is_empty() {
            let fields = self.rows.iter().flat_map(|part| {
                let fields = |number: &Generation| {
                    [RowField::Row, RowField::Pending].map(|field| field.of(part.view, *number))
                };
                part.numbers.iter().flat_map(fields)
            });
            requests.push(Request::new("HMGET", &names.rows(entity, key)).args(fields));
        }
        for tiled in &self.tiles {
            let slot = ViewSlot {
                entity,
                view: tiled.part.view,
            };
            let numbers = tiled.part.numbers.iter();
            let tiles: Vec<Name> = numbers.map(|number| names.tiles(slot, *number, key)).collect();
            let tiles: Vec<&Name> = tiles.iter().collect();
            // What is folded meanwhile is found in one place, and not in two or none.
            let request = Request::script(Script::Together, &tiles);
            requests.push(match (&tiled.chunks, tiles.as_slice()) {
                (Some(chunks), [name]) => tile_fields(Request::new("HMGET", name), chunks),
                (Some(chunks), _) => tile_fields(request, chunks),
                (None, [name]) => Request::new("HGETALL", name),
                (None, _) => request,
            });
        }
        requests
    }

    /// Takes the answers that are of one key.
    fn take(&self, replies: &mut impl Iterator<Item = redis::Value>) -> Result<Fetched, reply::Odd> {
        let mut fetched = Fetched::default();
        if !self.rows.is_empty() {
            let rows = reply::list(replies.next().ok_or(reply::Odd)?)?;
            let mut rows = rows.into_iter().map(reply::bytes);
            for part in &self.rows {
                let fields = rows.by_ref().take(2 * part.numbers.len());
                let fields = fields.collect::<Result<Vec<_>, _>>()?;
                if fields.len() != 2 * part.numbers.len() {
                    return Err(reply::Odd);
                }
                fetched.rows.push(fields);
            }
        }
        for tiled in &self.tiles {
            let reply = replies.next().ok_or(reply::Odd)?;
            let of_numbers = match tiled.part.numbers.len() {
                1 => vec![reply],
                numbers => Some(reply::list(reply)?)
                    .filter(|list| list.len() == numbers)
                    .ok_or(reply::Odd)?,
            };
            let mut tiles = FetchedTiles::default();
            for reply in of_numbers {
                tiles.add(tiled, reply)?;
            }
            fetched.tiles.push(tiles);
        }
        Ok(fetched)
    }

    /// What there is of a key in a generation of rows.
    fn find<'f>(
        &self,
        key: &[u8],
        part: &Part,
        fields: &'f [Option<Vec<u8>>],
    ) -> Result<Found<'f>, StoreError> {
        let (mut winner, mut held_back) = (None, false);
        for fields in fields.chunks(2) {
            let [row, waiting] = fields else {
                return Err(self.store.odd(reply::Odd));
            };
            let waiting = self.pending(key, part, waiting.as_deref().unwrap_or_default())?;
            let due = waiting.iter().filter(|(order, _)| order.due() <= self.at);
            for row in row.as_deref().into_iter().chain(due.map(|(_, row)| *row)) {
                self.parse(key, part, row)?;
                winner = Some(winner.map_or(row, |winner| newer_row(winner, row)));
            }
            held_back |= waiting.iter().any(|(order, _)| order.event_time <= self.at);
        }
        let winner = winner.map(|row| self.parse(key, part, row)).transpose()?;
        Ok(Found {
            winner,
            held_back: held_back || winner.is_some(),
            windows: None,
        })
    }

    /// Writes what the windows of a key have to `body`, and says what the latest event is.
    fn add_up(
        &self,
        key: &[u8],
        tiled: &Tiled,
        fetched: &FetchedTiles,
        body: &mut Vec<u8>,
    ) -> Result<Timestamp, StoreError> {
        let damaged = |error: asof_core::row::RowCorrupt| self.damaged(key, &tiled.part, &error.to_string());
        let tiles = &tiled.tiles;
        let mut sums = tiles.begin();
        for (id, chunk) in &fetched.chunks {
            tiles.add_chunk(&mut sums, *id, chunk).map_err(damaged)?;
        }
        let mut added = HashSet::new();
        for list in &fetched.pending {
            for (order, row) in self.pending(key, &tiled.part, list)? {
                // One that waits in two layers is one.
                if order.due() <= self.at && added.insert(order) {
                    let row = self.parse(key, &tiled.part, row)?;
                    tiles.add_event(&mut sums, &row).map_err(damaged)?;
                }
            }
        }
        body.clear();
        tiles.finish(&sums, body).map_err(damaged)?;
        Ok(sums.latest())
    }

    fn pending<'f>(
        &self,
        key: &[u8],
        part: &Part,
        list: &'f [u8],
    ) -> Result<Vec<(asof_core::order::RowOrder, &'f [u8])>, StoreError> {
        let rows = pending::parse(list);
        rows.ok_or_else(|| self.damaged(key, part, "its list of pending rows is cut short"))
    }

    fn parse<'f>(
        &self,
        key: &[u8],
        part: &Part,
        row: &'f [u8],
    ) -> Result<asof_core::row::StoredRow<'f>, StoreError> {
        let row = asof_core::row::StoredRow::parse(row);
        row.map_err(|error| self.damaged(key, part, &error.to_string()))
    }

    fn damaged(&self, key: &[u8], part: &Part, reason: &str) -> StoreError {
        let cell = Cell {
            key,
            view: part.view,
            generation: part.generation,
        };
        self.store.damaged(&self.store.state(), &cell, reason)
    }
}
