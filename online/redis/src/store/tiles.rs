//! Changes of tiles: read, merged here, and written if nobody changed them meanwhile.

use std::thread;
use std::time::Duration;

use asof_core::aggregate::tiles::merge_chunks;
use asof_core::online::StoreError;
use redis::Value;

use super::plan::TileChange;
use super::{Cell, RedisStore, State};
use crate::deadline::Deadline;
use crate::names::TileField;
use crate::pending;
use crate::reply;
use crate::scripts::Script;
use crate::servers::Request;

/// How many keys are read, merged and written at once.
const AT_ONCE: usize = 500;
/// How often a key is read again that others change.
const TRIES: u32 = 200;

impl RedisStore {
    /// Changes the tiles of keys, each exactly once however often it is done under one number; returns how many rows wait
    /// no longer.
    pub(super) fn change_tiles(
        &self,
        state: &State,
        changes: Vec<TileChange>,
        number: u64,
        deadline: Option<Deadline>,
    ) -> Result<u64, StoreError> {
        let mut merged = 0;
        for changes in changes.chunks(AT_ONCE) {
            // Many of them may take longer than the store stays held.
            self.lease
                .check(deadline.unwrap_or_else(|| self.servers.deadline()))?;
            let mut left: Vec<&TileChange> = changes.iter().collect();
            for attempt in 0.. {
                if attempt == TRIES || deadline.is_some_and(Deadline::has_passed) {
                    return Err(self.failed("tiles are changed by others again and again"));
                }
                if attempt > 2 {
                    thread::sleep(Duration::from_millis(u64::from(attempt.min(20))));
                }
                left = self.try_changes(state, left, number, deadline, &mut merged)?;
                if left.is_empty() {
                    break;
                }
            }
        }
        Ok(merged)
    }

    /// Tries once; returns those that others were in the way of.
    fn try_changes<'c>(
        &self,
        state: &State,
        changes: Vec<&'c TileChange>,
        number: u64,
        deadline: Option<Deadline>,
        merged: &mut u64,
    ) -> Result<Vec<&'c TileChange>, StoreError> {
        let reads = changes.iter().map(|change| {
            let name = self.names.tiles(change.slot, change.generation, &change.key);
            Request::new("HMGET", &name)
                .args([TileField::VERSION, TileField::APPLIED, TileField::PENDING])
                .args(change.chunks.iter().map(|(id, _)| TileField::chunk(*id)))
        });
        let read = self.servers.ask_all(reads, deadline)?;
        let mut writes = Vec::new();
        let mut written = Vec::new();
        for (change, read) in changes.into_iter().zip(read) {
            let fields = reply::list(read).map_err(|odd| self.odd(odd))?;
            match self.write_of(state, change, number, fields)? {
                Write::Put(request) => {
                    writes.push(request);
                    written.push(change);
                }
                Write::Made => *merged += change.due.len() as u64,
                Write::Nothing => {}
            }
        }
        let said = self.servers.ask_all(writes, deadline)?;
        let mut left = Vec::new();
        for (change, said) in written.into_iter().zip(said) {
            match reply::bytes(said).map_err(|odd| self.odd(odd))?.as_deref() {
                Some(b"OK") => *merged += change.due.len() as u64,
                Some(b"CHANGED") => left.push(change),
                Some(b"LOST") => return Err(self.lease.lost()),
                _ => return Err(self.odd(reply::Odd)),
            }
        }
        Ok(left)
    }

    /// What is to be written, over what was read.
    fn write_of(
        &self,
        state: &State,
        change: &TileChange,
        number: u64,
        read: Vec<Value>,
    ) -> Result<Write, StoreError> {
        let cell = Cell {
            key: &change.key,
            view: change.slot.view,
            generation: change.generation,
        };
        let read: Result<Vec<Option<Vec<u8>>>, _> = read.into_iter().map(reply::bytes).collect();
        let read = read.map_err(|odd| self.odd(odd))?;
        let [version, applied, waiting, chunks @ ..] = read.as_slice() else {
            return Err(self.odd(reply::Odd));
        };
        if is_applied(applied.as_deref().unwrap_or_default(), number) {
            return Ok(Write::Made);
        }
        let waiting = pending::parse(waiting.as_deref().unwrap_or_default());
        let mut waiting =
            waiting.ok_or_else(|| self.damaged(state, &cell, "its list of pending rows is cut short"))?;
        let before = waiting.len();
        waiting.retain(|(order, _)| !change.due.contains(order));
        if before - waiting.len() != change.due.len() {
            // Somebody else has folded them.
            return Ok(Write::Nothing);
        }
        for (order, row) in &change.pending {
            match waiting.iter_mut().find(|(known, _)| known == order) {
                Some((_, known)) => *known = (*known).max(row),
                None => waiting.push((*order, row)),
            }
        }
        let name = self.names.tiles(change.slot, change.generation, &change.key);
        let mut request = Request::script(Script::Put, &[&name])
            .arg(self.lease.epoch().to_string().as_bytes())
            .arg(number.to_string().as_bytes())
            .arg(self.commits.least_open().to_string().as_bytes())
            .arg(version.as_deref().unwrap_or_default());
        if !change.due.is_empty() || !change.pending.is_empty() {
            request = request.arg(TileField::PENDING).arg(&pending::list(waiting));
        }
        for ((id, new), old) in change.chunks.iter().zip(chunks) {
            let merged = merge_chunks(old.as_deref().into_iter().chain([new.as_slice()]));
            let merged = merged.map_err(|error| self.damaged(state, &cell, &error.to_string()))?;
            request = request.arg(&TileField::chunk(*id)).arg(&merged);
        }
        Ok(Write::Put(request))
    }
}

enum Write {
    /// To be written.
    Put(Request),
    /// It was written before.
    Made,
    /// There is nothing to be written.
    Nothing,
}

/// Whether a list of numbers has one.
fn is_applied(applied: &[u8], number: u64) -> bool {
    let number = number.to_string();
    applied
        .split(|byte| *byte == b' ')
        .any(|known| known == number.as_bytes())
}
