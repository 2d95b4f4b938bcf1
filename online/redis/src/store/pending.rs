//! Pending rows that fall due.
//!
//! Which ones do is told by sorted sets, written before and behind the rows, and cleared after them: what they tell of
//! may be gone, and is passed over.

use std::collections::BTreeMap;

use asof_core::aggregate::tiles::{FoldedEvents, TileLayout};
use asof_core::online::{Generation, StoreError, ViewSlot};
use asof_core::order::RowOrder;
use asof_core::time::Timestamp;

use super::plan::TileChange;
use super::{Cell, RedisStore, State};
use crate::names::{Due, DueEntry, RowField, TileField};
use crate::pending;
use crate::reply;
use crate::scripts::Script;
use crate::servers::Request;

/// How many are looked up at once.
const AT_ONCE: usize = 1_000;

/// The orders of pending rows, by key.
type Orders = BTreeMap<Vec<u8>, Vec<RowOrder>>;

impl RedisStore {
    /// Merges pending rows that are due, of a generation and its layers; returns how many.
    pub(super) fn merge_due(
        &self,
        slot: ViewSlot,
        generation: Generation,
        due: Due,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let (state, _writing, _) = self.begin_writing(&[(slot, generation)])?;
        let mut merged = 0;
        for number in state.together(slot.view, generation) {
            merged += self.merge_due_of(&state, (slot, number), due, now)?;
        }
        Ok(merged)
    }

    /// The same of a generation or a layer alone.
    fn merge_due_of(
        &self,
        state: &State,
        (slot, generation): (ViewSlot, Generation),
        due: Due,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let layout = state.layout(slot.view, generation);
        let mut merged = 0;
        loop {
            let entries = self.due_entries(slot, generation, due, now)?;
            if entries.is_empty() {
                return Ok(merged);
            }
            let mut orders = Orders::new();
            for entry in &entries {
                let entry = DueEntry::parse(entry).ok_or_else(|| StoreError::Damaged {
                    place: self.servers.place().into(),
                    reason: "what tells when a row is due cannot be read".into(),
                })?;
                orders.entry(entry.key).or_default().push(entry.order);
            }
            merged += match layout {
                None => self.merge_rows(slot, generation, &orders)?,
                Some(layout) => self.merge_events(state, (slot, generation), layout, &orders)?,
            };
            let forget = [Due::All, Due::Pushed].map(|due| {
                let name = self.names.due(due, slot.view, generation);
                Request::new("ZREM", &name).args(&entries)
            });
            self.servers.ask_all(forget, None)?;
        }
    }

    /// The first of those that are due.
    fn due_entries(
        &self,
        slot: ViewSlot,
        generation: Generation,
        due: Due,
        now: Timestamp,
    ) -> Result<Vec<Vec<u8>>, StoreError> {
        let request = Request::new("ZRANGEBYLEX", &self.names.due(due, slot.view, generation))
            .arg(b"-")
            .arg(&DueEntry::until(now))
            .arg(b"LIMIT")
            .arg(b"0")
            .arg(AT_ONCE.to_string().as_bytes());
        let found = self.servers.ask_one(request, self.servers.deadline())?;
        let found = reply::list(found).map_err(|odd| self.odd(odd))?;
        let found = found
            .into_iter()
            .map(|entry| reply::bytes(entry).map(Option::unwrap_or_default));
        found.collect::<Result<_, _>>().map_err(|odd| self.odd(odd))
    }

    fn merge_rows(&self, slot: ViewSlot, generation: Generation, orders: &Orders) -> Result<u64, StoreError> {
        let requests = orders.iter().map(|(key, orders)| {
            Request::script(Script::Due, &[&self.names.rows(slot.entity, key)])
                .arg(&RowField::Row.of(slot.view, generation))
                .arg(&RowField::Pending.of(slot.view, generation))
                .args(orders.iter().map(|order| order.to_bytes()))
        });
        let merged = self.servers.ask_all(requests, None)?;
        let merged = merged.iter().map(reply::number);
        merged.sum::<Result<u64, _>>().map_err(|odd| self.odd(odd))
    }

    fn merge_events(
        &self,
        state: &State,
        (slot, generation): (ViewSlot, Generation),
        layout: &TileLayout,
        orders: &Orders,
    ) -> Result<u64, StoreError> {
        let mut merged = 0;
        loop {
            let changes = self.due_changes(state, (slot, generation), layout, orders)?;
            // Again, until none waits: of a key of which others folded some meanwhile, the rest is left.
            if changes.is_empty() {
                return Ok(merged);
            }
            let number = self.commits.begin();
            merged += self.change_tiles(state, changes, number.number, None)?;
        }
    }

    /// What folds those of some pending rows that are there.
    fn due_changes(
        &self,
        state: &State,
        (slot, generation): (ViewSlot, Generation),
        layout: &TileLayout,
        orders: &Orders,
    ) -> Result<Vec<TileChange>, StoreError> {
        let names = orders.keys().map(|key| self.names.tiles(slot, generation, key));
        let lists = names.map(|name| Request::new("HGET", &name).arg(TileField::PENDING));
        let lists = self.servers.ask_all(lists, None)?;
        let mut changes = Vec::new();
        for ((key, orders), list) in orders.iter().zip(lists) {
            let cell = Cell {
                key,
                view: slot.view,
                generation,
            };
            let list = reply::bytes(list)
                .map_err(|odd| self.odd(odd))?
                .unwrap_or_default();
            let waiting = pending::parse(&list);
            let waiting =
                waiting.ok_or_else(|| self.damaged(state, &cell, "its list of pending rows is cut short"))?;
            let mut folded = FoldedEvents::default();
            let mut due = Vec::new();
            for (order, row) in waiting.iter().filter(|(order, _)| orders.contains(order)) {
                let added = folded.add(layout, key, &self.parse(state, &cell, row)?);
                added.map_err(|error| self.damaged(state, &cell, &error.to_string()))?;
                due.push(*order);
            }
            if due.is_empty() {
                continue;
            }
            let chunks = folded.chunks(layout).map(|chunk| (chunk.id, chunk.bytes));
            changes.push(TileChange {
                slot,
                generation,
                key: key.clone(),
                chunks: chunks.collect(),
                pending: Vec::new(),
                due,
            });
        }
        Ok(changes)
    }
}
