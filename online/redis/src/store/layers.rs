//! The rows of a layer become those of its generation.
//!
//! The keys that a layer has rows of are noted before the rows, so that it is folded without a pass over all names. Of
//! each key all of it moves at once, and a read of both finds it in one place or the other.

use asof_core::aggregate::tiles::merge_chunks;
use asof_core::online::{Generation, StoreError, ViewSlot};
use redis::Value;

use super::{Cell, RedisStore, State};
use crate::names::{Bucket, Due, RowField, TileField};
use crate::pending;
use crate::reply;
use crate::scripts::Script;
use crate::servers::Request;

/// Of how many buckets the keys are looked up at once.
const BUCKETS: usize = 64;
/// How many keys are moved at once.
const STEP: usize = 500;
/// How many pending rows are noted anew at once.
const DUE: usize = 1_000;
/// How often a key is read again that others change.
const TRIES: usize = 200;

impl RedisStore {
    pub(super) fn fold_layer(
        &self,
        slot: ViewSlot,
        generation: Generation,
        layer: Generation,
    ) -> Result<(), StoreError> {
        let (state, writing, _) = self.begin_writing(&[(slot, generation)])?;
        let shown = state.together(slot.view, generation);
        if layer == generation || !shown.contains(&layer) {
            return Err(StoreError::NoGeneration { generation: layer.0 });
        }
        // Before the rows and once more behind them, as everywhere.
        self.note_due_again(slot, generation, layer)?;
        let buckets: Vec<Bucket> = Bucket::all().collect();
        for buckets in buckets.chunks(BUCKETS) {
            let keys = buckets
                .iter()
                .map(|bucket| Request::new("SMEMBERS", &self.names.layer_keys(slot.view, layer, *bucket)));
            let mut moved = Vec::new();
            for keys in self.servers.ask_all(keys, None)? {
                let keys = reply::list(keys).map_err(|odd| self.odd(odd))?;
                for key in keys {
                    moved.extend(reply::bytes(key).map_err(|odd| self.odd(odd))?);
                }
            }
            for keys in moved.chunks(STEP) {
                self.lease.check(self.servers.deadline())?;
                match state.layout(slot.view, generation) {
                    None => self.fold_rows_of(&state, slot, (generation, layer), keys)?,
                    Some(_) => self.fold_tiles_of(&state, slot, (generation, layer), keys)?,
                }
            }
        }
        self.note_due_again(slot, generation, layer)?;
        drop(writing);
        // Nothing is left of it. Cut short here, it has no rows when it is folded again.
        let due =
            [Due::All, Due::Pushed].map(|due| Request::new("UNLINK", &self.names.due(due, slot.view, layer)));
        self.servers.ask_all(due, None)?;
        self.forget_layer_keys(slot.view, layer)?;
        self.end_layer(slot, generation, layer)
    }

    /// Forgets of which keys a layer had rows.
    pub(super) fn forget_layer_keys(&self, view: u32, layer: Generation) -> Result<(), StoreError> {
        let keys =
            Bucket::all().map(|bucket| Request::new("UNLINK", &self.names.layer_keys(view, layer, bucket)));
        self.servers.ask_all(keys, None).map(drop)
    }

    /// Notes in the generation when the pending rows of a layer are due.
    fn note_due_again(
        &self,
        slot: ViewSlot,
        generation: Generation,
        layer: Generation,
    ) -> Result<(), StoreError> {
        for due in [Due::All, Due::Pushed] {
            let (from, to) = (
                self.names.due(due, slot.view, layer),
                self.names.due(due, slot.view, generation),
            );
            let mut after = b"-".to_vec();
            loop {
                let request = Request::new("ZRANGEBYLEX", &from)
                    .args([after.as_slice(), b"+", b"LIMIT", b"0"])
                    .arg(DUE.to_string().as_bytes());
                let entries = self.servers.ask_one(request, self.servers.deadline())?;
                let entries = reply::list(entries).map_err(|odd| self.odd(odd))?;
                let entries = entries
                    .into_iter()
                    .map(|entry| reply::bytes(entry)?.ok_or(reply::Odd));
                let entries: Vec<Vec<u8>> = entries.collect::<Result<_, _>>().map_err(|odd| self.odd(odd))?;
                let Some(last) = entries.last() else { break };
                let noted = entries.iter().flat_map(|entry| [&b"0"[..], entry.as_slice()]);
                let noted = Request::new("ZADD", &to).args(noted);
                self.servers.ask_one(noted, self.servers.deadline())?;
                after = [&b"("[..], last].concat();
            }
        }
        Ok(())
    }

    fn fold_rows_of(
        &self,
        state: &State,
        slot: ViewSlot,
        (generation, layer): (Generation, Generation),
        keys: &[Vec<u8>],
    ) -> Result<(), StoreError> {
        let fields = |number| [RowField::Row, RowField::Pending].map(|field| field.of(slot.view, number));
        let names = || keys.iter().map(|key| self.names.rows(slot.entity, key));
        let rows = names().map(|name| Request::new("HGET", &name).arg(&RowField::Row.of(slot.view, layer)));
        for (key, row) in keys.iter().zip(self.servers.ask_all(rows, None)?) {
            // One that is damaged would lose to any other, and be forgotten.
            if let Some(row) = reply::bytes(row).map_err(|odd| self.odd(odd))? {
                let cell = Cell {
                    key,
                    view: slot.view,
                    generation: layer,
                };
                self.parse(state, &cell, &row)?;
            }
        }
        let folds = names().map(|name| {
            Request::script(Script::Fold, &[&name])
                .args(fields(layer))
                .args(fields(generation))
        });
        self.servers.ask_all(folds, None).map(drop)
    }

    fn fold_tiles_of(
        &self,
        state: &State,
        slot: ViewSlot,
        (generation, layer): (Generation, Generation),
        keys: &[Vec<u8>],
    ) -> Result<(), StoreError> {
        let mut left: Vec<&Vec<u8>> = keys.iter().collect();
        for _ in 0..TRIES {
            let names = |key: &[u8]| [generation, layer].map(|number| self.names.tiles(slot, number, key));
            let reads = left.iter().map(|key| {
                let [to, from] = names(key);
                Request::script(Script::Together, &[&to, &from])
            });
            let read = self.servers.ask_all(reads, None)?;
            let (mut moves, mut moved) = (Vec::new(), Vec::new());
            for (key, read) in left.into_iter().zip(read) {
                let [to, from] = names(key);
                let cell = Cell {
                    key,
                    view: slot.view,
                    generation,
                };
                if let Some(words) = self.moved_tiles(state, &cell, read)? {
                    let request = Request::script(Script::Move, &[&to, &from]);
                    moves.push(request.arg(self.lease.epoch().to_string().as_bytes()).args(words));
                    moved.push(key);
                }
            }
            left = Vec::new();
            for (key, said) in moved.into_iter().zip(self.servers.ask_all(moves, None)?) {
                match reply::bytes(said).map_err(|odd| self.odd(odd))?.as_deref() {
                    Some(b"OK") => {}
                    Some(b"CHANGED") => left.push(key),
                    Some(b"LOST") => return Err(self.lease.lost()),
                    _ => return Err(self.odd(reply::Odd)),
                }
            }
            if left.is_empty() {
                return Ok(());
            }
        }
        Err(self.failed("tiles are changed by others again and again"))
    }

    /// The versions of a generation's tiles and a layer's, and the fields of both together; nothing where the layer has
    /// none.
    fn moved_tiles(
        &self,
        state: &State,
        cell: &Cell<'_>,
        read: Value,
    ) -> Result<Option<Vec<Vec<u8>>>, StoreError> {
        let read = reply::list(read).map_err(|odd| self.odd(odd))?;
        let read = read.into_iter().map(reply::pairs).collect::<Result<Vec<_>, _>>();
        let read = read.map_err(|odd| self.odd(odd))?;
        let [own, layered] = read.as_slice() else {
            return Err(self.odd(reply::Odd));
        };
        if layered.is_empty() {
            return Ok(None);
        }
        let of = |fields: &[reply::Pair], wanted: &[u8]| {
            let found = fields.iter().find(|(field, _)| field == wanted);
            found.map(|(_, value)| value.clone())
        };
        let version = |fields| of(fields, TileField::VERSION).unwrap_or_default();
        let mut words = vec![version(own), version(layered)];
        for (field, value) in layered {
            let before = of(own, field);
            let together = if TileField::parse(field).is_some() {
                let chunks = before.as_deref().into_iter().chain([value.as_slice()]);
                let merged = merge_chunks(chunks);
                merged.map_err(|error| self.damaged(state, cell, &error.to_string()))?
            } else if field == TileField::PENDING {
                let before = before.unwrap_or_default();
                let cut_short = || self.damaged(state, cell, "its list of pending rows is cut short");
                let mut waiting = pending::parse(&before).ok_or_else(cut_short)?;
                for (order, row) in pending::parse(value).ok_or_else(cut_short)? {
                    match waiting.iter_mut().find(|(known, _)| *known == order) {
                        Some((_, known)) => *known = (*known).max(row),
                        None => waiting.push((order, row)),
                    }
                }
                pending::list(waiting)
            } else {
                continue;
            };
            words.extend([field.clone(), together]);
        }
        Ok(Some(words))
    }
}
