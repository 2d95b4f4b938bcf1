//! All that there is of one entity key, copied out of the store in one pass.

use asof_core::online::{Found, Generation, newer_row};
use asof_core::order::RowOrder;
use asof_core::row::{RowCorrupt, StoredRow};
use asof_core::time::Timestamp;

use crate::keys::RowKey;

/// The rows of one key in all views and generations, in the order of their stored keys.
#[derive(Debug, Default)]
pub(crate) struct KeyRows {
    entries: Vec<Entry>,
    bytes: Vec<u8>,
    /// The least event time of the pending rows that were left out, because they had not happened.
    left_out: Option<Timestamp>,
}

#[derive(Debug)]
struct Entry {
    view: u32,
    generation: Generation,
    /// Of a pending row, as its key says.
    pending: Option<RowOrder>,
    start: usize,
    end: usize,
    /// What is wrong with the row: an error for those who need it, and for nobody else.
    corrupt: Option<RowCorrupt>,
}

impl KeyRows {
    /// Adds the row that is stored under a key, which is greater than those before.
    pub(crate) fn push(&mut self, key: &RowKey<'_>, row: &[u8]) {
        let cell = key.cell();
        let start = self.bytes.len();
        self.bytes.extend_from_slice(row);
        self.entries.push(Entry {
            view: cell.view,
            generation: cell.generation,
            pending: match key {
                RowKey::Pending(_, order) => Some(*order),
                RowKey::Row(_) => None,
            },
            start,
            end: self.bytes.len(),
            corrupt: StoredRow::parse(row).err(),
        });
    }

    /// Notes that pending rows are left out of which the first happens at an instant.
    pub(crate) fn leave_out(&mut self, from: Timestamp) {
        self.left_out = Some(self.left_out.map_or(from, |left_out| left_out.min(from)));
    }

    /// Whether what was left out has not happened yet at an instant, so that this answers for it.
    pub(crate) fn answers(&self, at: Timestamp) -> bool {
        self.left_out.is_none_or(|left_out| at < left_out)
    }

    /// Bytes of memory that it takes.
    pub(crate) fn size(&self) -> usize {
        size_of::<Self>() + self.entries.capacity() * size_of::<Entry>() + self.bytes.capacity()
    }

    /// The same in no more memory than it needs.
    pub(crate) fn fitted(mut self) -> Self {
        self.entries.shrink_to_fit();
        self.bytes.shrink_to_fit();
        self
    }

    /// A walk over its views, by number and generation.
    pub(crate) fn walk(&self, at: Timestamp) -> Walk<'_> {
        Walk {
            rows: self,
            entries: &self.entries,
            at,
        }
    }
}

/// Finds views in the order of their numbers and generations.
pub(crate) struct Walk<'a> {
    rows: &'a KeyRows,
    /// Those that were not passed yet.
    entries: &'a [Entry],
    at: Timestamp,
}

impl<'a> Walk<'a> {
    /// What there is of a view, greater than those before.
    pub(crate) fn find(&mut self, view: u32, generation: Generation) -> Result<Found<'a>, RowCorrupt> {
        let mut winner: Option<&[u8]> = None;
        let mut held_back = false;
        while let Some((entry, rest)) = self.entries.split_first() {
            let here = (entry.view, entry.generation);
            if here > (view, generation) {
                break;
            }
            self.entries = rest;
            if here != (view, generation) {
                continue;
            }
            let row = self.rows.bytes.get(entry.start..entry.end).unwrap_or_default();
            if let Some(order) = entry.pending.filter(|order| order.due() > self.at) {
                held_back |= order.event_time <= self.at;
                continue;
            }
            if let Some(corrupt) = entry.corrupt {
                return Err(corrupt);
            }
            winner = Some(winner.map_or(row, |winner| newer_row(winner, row)));
        }
        let winner = winner.map(StoredRow::parse_checked).transpose()?;
        Ok(Found {
            winner,
            held_back: held_back || winner.is_some(),
        })
    }
}
