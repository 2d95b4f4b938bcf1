//! What rows and events come to: which names are written, with what.

use std::collections::{BTreeMap, HashMap};
use std::iter;

use asof_core::aggregate::tiles::{ChunkId, FoldedEvents};
use asof_core::online::{Generation, OnlineRow, StoreError, ViewSlot, newer_row};
use asof_core::order::RowOrder;
use asof_core::time::Timestamp;

use super::{Cell, RedisStore, State};
use crate::deadline::Deadline;
use crate::names::{Bucket, Due, DueEntry, Name, RowField};
use crate::scripts::Script;
use crate::servers::Request;
use crate::work::Work;

/// What is to be written.
#[derive(Default)]
pub(super) struct Plan {
    /// Before everything else: what leads nowhere does no harm.
    first: Vec<Request>,
    /// Before the rows and once more behind them: who merges what is due may have looked for a row before it was there,
    /// and have cleared what told of it.
    due: Vec<Request>,
    rows: Vec<Request>,
    tiles: Vec<TileChange>,
}

/// What is to be changed of the tiles of a key.
#[derive(Debug, Clone)]
pub(super) struct TileChange {
    pub(super) slot: ViewSlot,
    pub(super) generation: Generation,
    pub(super) key: Vec<u8>,
    /// To be merged into those that are there.
    pub(super) chunks: Vec<(ChunkId, Vec<u8>)>,
    /// Rows to wait.
    pub(super) pending: Vec<(RowOrder, Vec<u8>)>,
    /// Rows that wait no longer, as they are in the chunks.
    pub(super) due: Vec<RowOrder>,
}

impl Plan {
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_empty() && self.due.is_empty() && self.rows.is_empty() && self.tiles.is_empty()
    }
}

/// What one script writes of the rows of a key.
#[derive(Default)]
struct KeyRows<'a> {
    newest: BTreeMap<(u32, Generation), &'a [u8]>,
    pending: Vec<(u32, &'a OnlineRow, Generation)>,
}

impl RedisStore {
    pub(super) fn plan(&self, state: &State, work: &Work<'_>) -> Result<Plan, StoreError> {
        let mut plan = Plan::default();
        let mut by_key: BTreeMap<(u32, &[u8]), KeyRows<'_>> = BTreeMap::new();
        let mut tiled: BTreeMap<(ViewSlot, Generation), Vec<&OnlineRow>> = BTreeMap::new();
        for group in &work.groups {
            let (slot, generation) = (group.slot, group.generation);
            // What was given up meanwhile is written no more.
            if state.catalogue.live(slot, generation).is_err() {
                continue;
            }
            let pending = group.rows.iter().filter(|row| row.order.due() > work.at);
            let pending = pending.map(|row| (row.order, row.key.as_bytes()));
            plan.due
                .extend(self.note_due(slot, generation, group.pushed, pending));
            let keys = group.rows.iter().map(|row| row.key.as_bytes());
            plan.first.extend(self.note_layer(state, slot, generation, keys));
            if state.layout(slot.view, generation).is_some() {
                // All of a generation together: a key is changed once under one number.
                tiled.entry((slot, generation)).or_default().extend(group.rows);
                continue;
            }
            for row in group.rows {
                let key = by_key.entry((slot.entity, row.key.as_bytes())).or_default();
                if row.order.due() <= work.at {
                    let newest = key.newest.entry((slot.view, generation)).or_insert(&row.bytes);
                    *newest = newer_row(newest, &row.bytes);
                } else {
                    key.pending.push((slot.view, row, generation));
                }
            }
        }
        for ((slot, generation), rows) in tiled {
            plan.tiles
                .extend(self.fold_rows(state, slot, generation, &rows, work.at)?);
        }
        if let Some((source, ids)) = work.events {
            let mut buckets: BTreeMap<Bucket, Vec<&[u8]>> = BTreeMap::new();
            for id in ids {
                let id = id.as_bytes();
                buckets.entry(Bucket::of(&[id])).or_default().push(id);
            }
            let known = buckets.into_iter();
            plan.first.extend(
                known.map(|(bucket, ids)| Request::new("SADD", &self.names.events(source, bucket)).args(ids)),
            );
        }
        plan.rows = by_key
            .into_iter()
            .map(|((entity, key), rows)| self.rows_request(&self.names.rows(entity, key), &rows))
            .collect();
        Ok(plan)
    }

    fn rows_request(&self, name: &Name, rows: &KeyRows<'_>) -> Request {
        let mut request = Request::script(Script::Rows, &[name]);
        for ((view, generation), row) in &rows.newest {
            request = request
                .arg(b"r")
                .arg(&RowField::Row.of(*view, *generation))
                .arg(row);
        }
        for (view, row, generation) in &rows.pending {
            request = request
                .arg(b"p")
                .arg(&RowField::Pending.of(*view, *generation))
                .arg(&row.order.to_bytes())
                .arg(&row.bytes);
        }
        request
    }

    /// One row that competes, of a key.
    pub(super) fn row_request(
        &self,
        slot: ViewSlot,
        generation: Generation,
        key: &[u8],
        row: &[u8],
    ) -> Request {
        Request::script(Script::Rows, &[&self.names.rows(slot.entity, key)])
            .arg(b"r")
            .arg(&RowField::Row.of(slot.view, generation))
            .arg(row)
    }

    /// Notes of which keys a layer has rows, where it is one.
    pub(super) fn note_layer<'a>(
        &self,
        state: &State,
        slot: ViewSlot,
        generation: Generation,
        keys: impl Iterator<Item = &'a [u8]>,
    ) -> Vec<Request> {
        if !state.is_layer(slot.view, generation) {
            return Vec::new();
        }
        let mut buckets: BTreeMap<Bucket, Vec<&[u8]>> = BTreeMap::new();
        for key in keys {
            let bucket = Bucket::of_key(slot.entity, key);
            buckets.entry(bucket).or_default().push(key);
        }
        let buckets = buckets.into_iter().map(|(bucket, keys)| {
            let name = self.names.layer_keys(slot.view, generation, bucket);
            Request::new("SADD", &name).args(keys)
        });
        buckets.collect()
    }

    /// Notes when pending rows are due.
    pub(super) fn note_due<'a>(
        &self,
        slot: ViewSlot,
        generation: Generation,
        pushed: bool,
        pending: impl Iterator<Item = (RowOrder, &'a [u8])>,
    ) -> Vec<Request> {
        let entries: Vec<Vec<u8>> = pending.map(|(order, key)| DueEntry::bytes(order, key)).collect();
        let kinds = iter::once(Due::All).chain(pushed.then_some(Due::Pushed));
        let kinds = kinds.filter(|_| !entries.is_empty());
        let note = |due| {
            let name = self.names.due(due, slot.view, generation);
            entries.chunks(500).map(move |entries| {
                let entries = entries.iter().flat_map(|entry| [&b"0"[..], entry.as_slice()]);
                Request::new("ZADD", &name).args(entries)
            })
        };
        kinds.flat_map(note).collect()
    }

    /// What rows for a generation with tiles change of them.
    fn fold_rows(
        &self,
        state: &State,
        slot: ViewSlot,
        generation: Generation,
        rows: &[&OnlineRow],
        at: Timestamp,
    ) -> Result<Vec<TileChange>, StoreError> {
        let Some(layout) = state.layout(slot.view, generation) else {
            return Ok(Vec::new());
        };
        let mut folded = FoldedEvents::default();
        let mut pending: HashMap<&[u8], Vec<(RowOrder, Vec<u8>)>> = HashMap::new();
        for row in rows {
            let key = row.key.as_bytes();
            if row.order.due() > at {
                pending
                    .entry(key)
                    .or_default()
                    .push((row.order, row.bytes.clone()));
                continue;
            }
            let cell = Cell {
                key,
                view: slot.view,
                generation,
            };
            let parsed = self.parse(state, &cell, &row.bytes)?;
            let added = folded.add(layout, key, &parsed);
            added.map_err(|error| self.damaged(state, &cell, &error.to_string()))?;
        }
        let mut changes = Self::changes_of(slot, generation, folded.chunks(layout));
        for change in &mut changes {
            if let Some(pending) = pending.remove(change.key.as_slice()) {
                change.pending = pending;
            }
        }
        changes.extend(pending.into_iter().map(|(key, pending)| TileChange {
            slot,
            generation,
            key: key.to_vec(),
            chunks: Vec::new(),
            pending,
            due: Vec::new(),
        }));
        Ok(changes)
    }

    /// The changes that chunks are, which come by key.
    pub(super) fn changes_of(
        slot: ViewSlot,
        generation: Generation,
        chunks: impl Iterator<Item = asof_core::aggregate::tiles::FoldedChunk>,
    ) -> Vec<TileChange> {
        let mut changes: Vec<TileChange> = Vec::new();
        for chunk in chunks {
            match changes.last_mut() {
                Some(last) if *last.key == *chunk.key => last.chunks.push((chunk.id, chunk.bytes)),
                _ => changes.push(TileChange {
                    slot,
                    generation,
                    key: chunk.key.into_vec(),
                    chunks: vec![(chunk.id, chunk.bytes)],
                    pending: Vec::new(),
                    due: Vec::new(),
                }),
            }
        }
        changes
    }

    /// Writes what is planned, under the number of its commit.
    pub(super) fn apply(
        &self,
        state: &State,
        plan: Plan,
        number: u64,
        deadline: Option<Deadline>,
    ) -> Result<(), StoreError> {
        let Plan {
            first,
            due,
            rows,
            tiles,
        } = plan;
        let first = first.into_iter().chain(due.iter().cloned());
        self.servers.ask_all(first, deadline)?;
        self.servers.ask_all(rows, deadline)?;
        self.change_tiles(state, tiles, number, deadline)?;
        self.servers.ask_all(due, deadline).map(drop)
    }

    /// Writes the rows of a plan that has no tiles.
    pub(super) fn apply_rows(&self, plan: Plan, deadline: Option<Deadline>) -> Result<(), StoreError> {
        let first = plan.first.into_iter().chain(plan.due.iter().cloned());
        self.servers.ask_all(first, deadline)?;
        self.servers.ask_all(plan.rows, deadline)?;
        self.servers.ask_all(plan.due, deadline).map(drop)
    }
}
