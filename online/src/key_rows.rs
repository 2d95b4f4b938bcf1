//! All that there is of one entity key, copied out of the store in one pass.

use std::cmp::Ordering;

use asof_core::aggregate::tiles::{ChunkId, TilesAt};
use asof_core::online::{Found, FoundWindows, Generation, newer_row};
use asof_core::order::RowOrder;
use asof_core::row::{RowCorrupt, StoredRow};
use asof_core::time::Timestamp;

use crate::answers::KeyTiles;
use crate::keys::RowKey;

/// The rows of one key in all views and generations, in the order of their stored keys.
#[derive(Debug, Default)]
pub(crate) struct KeyRows {
    entries: Vec<Entry>,
    bytes: Vec<u8>,
    /// The least event time of the pending rows that were left out, because they had not happened.
    left_out: Option<Timestamp>,
    /// Of its views and generations, those of which chunks were met.
    tiled: Vec<KeyTiles>,
}

#[derive(Debug)]
struct Entry {
    view: u32,
    generation: Generation,
    kind: Kind,
    start: usize,
    end: usize,
    /// What is wrong with the row: an error for those who need it, and for nobody else.
    corrupt: Option<RowCorrupt>,
}

/// What is stored under a key.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Row,
    /// As its key says.
    Pending(RowOrder),
    Tiles(ChunkId),
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
            kind: match key {
                RowKey::Row(_) => Kind::Row,
                RowKey::Pending(_, order) => Kind::Pending(*order),
                RowKey::Tiles(_, chunk) => Kind::Tiles(*chunk),
            },
            start,
            end: self.bytes.len(),
            corrupt: match key {
                RowKey::Row(_) | RowKey::Pending(..) => StoredRow::parse(row).err(),
                // They are checked where they are added up.
                RowKey::Tiles(..) => None,
            },
        });
    }

    /// Notes that pending rows are left out of which the first happens at an instant.
    pub(crate) fn leave_out(&mut self, from: Timestamp) {
        self.left_out = Some(self.left_out.map_or(from, |left_out| left_out.min(from)));
    }

    /// Notes that chunks of a view and generation were met, greater than those before.
    pub(crate) fn push_tiled(&mut self, tiled: KeyTiles) {
        self.tiled.push(tiled);
    }

    /// What there is of the chunks of a view and generation, where some were met.
    pub(crate) fn tiled(&self, view: u32, generation: Generation) -> Option<&KeyTiles> {
        let is = |tiled: &&KeyTiles| (tiled.view, tiled.generation) == (view, generation);
        self.tiled.iter().find(is)
    }

    /// Whether what was left out has not happened yet at an instant, so that this answers for it.
    pub(crate) fn answers(&self, at: Timestamp) -> bool {
        self.left_out.is_none_or(|left_out| at < left_out)
    }

    /// Bytes of memory that it takes.
    pub(crate) fn size(&self) -> usize {
        size_of::<Self>()
            + self.entries.capacity() * size_of::<Entry>()
            + self.bytes.capacity()
            + self.tiled.iter().map(KeyTiles::size).sum::<usize>()
    }

    /// The same in no more memory than it needs.
    pub(crate) fn fitted(mut self) -> Self {
        self.entries.shrink_to_fit();
        self.bytes.shrink_to_fit();
        self.tiled.shrink_to_fit();
        self
    }

    /// The entries of a view and generation.
    fn entries_of(&self, view: u32, generation: Generation) -> &[Entry] {
        let behind = |entry: &Entry| (entry.view, entry.generation) < (view, generation);
        let (_, rest) = self.entries.split_at(self.entries.partition_point(behind));
        let is = |entry: &Entry| (entry.view, entry.generation) == (view, generation);
        let (here, _) = rest.split_at(rest.partition_point(is));
        here
    }

    fn bytes_of(&self, entry: &Entry) -> &[u8] {
        self.bytes.get(entry.start..entry.end).unwrap_or_default()
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
    /// What there is of a view, greater than those before, and of layers of it.
    pub(crate) fn find(
        &mut self,
        view: u32,
        generation: Generation,
        layers: &[Generation],
    ) -> Result<Found<'a>, RowCorrupt> {
        let mut winner: Option<&[u8]> = None;
        let mut held_back = false;
        for entry in self.entries_with(view, generation, layers) {
            match entry.kind {
                Kind::Pending(order) if order.due() > self.at => {
                    held_back |= order.event_time <= self.at;
                    continue;
                }
                Kind::Row | Kind::Pending(_) => {}
                Kind::Tiles(_) => continue,
            }
            if let Some(corrupt) = entry.corrupt {
                return Err(corrupt);
            }
            let row = self.rows.bytes_of(entry);
            winner = Some(winner.map_or(row, |winner| newer_row(winner, row)));
        }
        let winner = winner.map(StoredRow::parse_checked).transpose()?;
        Ok(Found {
            winner,
            held_back: held_back || winner.is_some(),
            windows: None,
        })
    }

    /// What the windows of a view have, greater than those before, with layers of it; the features are written to `body`.
    pub(crate) fn find_windows<'b>(
        &mut self,
        view: u32,
        generation: Generation,
        layers: &[Generation],
        tiles: &TilesAt,
        body: &'b mut Vec<u8>,
    ) -> Result<Found<'b>, RowCorrupt> {
        let found = |body, latest| Found {
            windows: Some(FoundWindows { body, latest }),
            ..Found::default()
        };
        let tiled = self.rows.tiled(view, generation);
        if let Some(latest) = tiled.and_then(|tiled| tiled.answer(tiles, self.at, body)) {
            return Ok(found(body, latest));
        }
        let mut sums = tiles.begin();
        // It is as good at other instants, as long as the same of its rows are due.
        let mut good = Timestamp::MIN..self.rows.left_out.unwrap_or(Timestamp::MAX);
        for entry in self.entries_with(view, generation, layers) {
            let bytes = self.rows.bytes_of(entry);
            match entry.kind {
                Kind::Tiles(chunk) => tiles.add_chunk(&mut sums, chunk, bytes)?,
                Kind::Pending(order) if order.due() <= self.at => {
                    entry.corrupt.map_or(Ok(()), Err)?;
                    tiles.add_event(&mut sums, &StoredRow::parse_checked(bytes)?)?;
                    good.start = good.start.max(order.due());
                }
                Kind::Pending(order) => good.end = good.end.min(order.due()),
                Kind::Row => {}
            }
        }
        body.clear();
        tiles.finish(&sums, body)?;
        if let Some(tiled) = tiled {
            tiled.keep(tiles, good, sums.latest(), body);
        }
        Ok(found(body, sums.latest()))
    }

    /// The entries of a view, greater than those before, and those of its layers.
    fn entries_with<'l>(
        &mut self,
        view: u32,
        generation: Generation,
        layers: &'l [Generation],
    ) -> impl Iterator<Item = &'a Entry> + use<'a, 'l> {
        let own = self.entries_of(view, generation);
        let rows = self.rows;
        let of_layers = layers.iter().map(move |layer| rows.entries_of(view, *layer));
        std::iter::once(own).chain(of_layers).flatten()
    }

    /// The entries of a view, greater than those before; those of lesser ones are passed.
    fn entries_of(&mut self, view: u32, generation: Generation) -> &'a [Entry] {
        let is = |ordering: Ordering| {
            move |entry: &&Entry| (entry.view, entry.generation).cmp(&(view, generation)) == ordering
        };
        let lesser = self.entries.iter().take_while(is(Ordering::Less)).count();
        let (_, rest) = self.entries.split_at(lesser);
        let here = rest.iter().take_while(is(Ordering::Equal)).count();
        let (here, rest) = rest.split_at(here);
        self.entries = rest;
        here
    }
}
