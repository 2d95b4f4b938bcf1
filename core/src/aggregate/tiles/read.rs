//! From the chunks of a key to what its windows have at an instant.

use std::sync::Arc;

use super::chunk::Chunk;
use super::{ALL, ChunkId, TILES, TileLayout};
use crate::aggregate::Partial;
use crate::row::{RowCorrupt, StoredRow, fields_of};
use crate::time::Timestamp;
use crate::window::{Tiles, Window};

/// What windows are at an instant.
#[derive(Debug)]
pub struct TilesAt {
    layout: Arc<TileLayout>,
    at: Timestamp,
    /// Per sum the tiles that make up its window.
    covers: Vec<Vec<Tiles>>,
}

/// What was added up of one key.
#[derive(Debug)]
pub struct Sums {
    partials: Vec<Partial>,
    latest: Timestamp,
}

impl TilesAt {
    pub(super) fn new(layout: Arc<TileLayout>, at: Timestamp) -> Self {
        let covers = layout
            .sums
            .iter()
            .map(|(_, window)| layout.tiling.cover(*window, at));
        Self {
            covers: covers.collect(),
            layout,
            at,
        }
    }

    /// Those of no events.
    pub fn begin(&self) -> Sums {
        let state = |state: &usize| self.layout.states.get(*state).map(|(_, state)| state.init());
        Sums {
            partials: self
                .layout
                .sums
                .iter()
                .filter_map(|(place, _)| state(place))
                .collect(),
            latest: Timestamp::MIN,
        }
    }

    /// Adds what lies in a chunk, as far as it is in the windows.
    ///
    /// # Errors
    ///
    /// Bytes that are no chunk of the layout.
    pub fn add_chunk(&self, sums: &mut Sums, id: ChunkId, bytes: &[u8]) -> Result<(), RowCorrupt> {
        let chunk = Chunk::parse(bytes)?;
        if !chunk.has(&self.layout.states) {
            return Err(RowCorrupt::Body);
        }
        let mut is_read = false;
        let mut wanted = Vec::with_capacity(self.covers.len());
        for tile in chunk.tiles() {
            let (place, bytes) = tile?;
            let tile = id.number.saturating_mul(TILES).saturating_add(place.into());
            let covers = self.covers.iter().enumerate();
            wanted.clear();
            wanted.extend(
                covers
                    .filter(|(_, cover)| holds(cover, id.level, tile))
                    .map(|(sum, _)| sum),
            );
            if wanted.is_empty() {
                continue;
            }
            is_read = true;
            self.add_tile(sums, &wanted, bytes)?;
        }
        if is_read {
            sums.latest = sums.latest.max(chunk.latest);
        }
        Ok(())
    }

    fn add_tile(&self, sums: &mut Sums, wanted: &[usize], tile: &[u8]) -> Result<(), RowCorrupt> {
        let mut rest = tile;
        for (place, (_, state)) in self.layout.states.iter().enumerate() {
            let is_of = |sum: &&usize| {
                self.layout
                    .sums
                    .get(**sum)
                    .is_some_and(|(state, _)| *state == place)
            };
            let of_state = wanted.iter().filter(is_of);
            let start = rest;
            // What is cheap to read again is added up as it is read.
            let decoded = match state.is_reversible() {
                true => None,
                false => Some(state.decode(&mut rest).map_err(|_| RowCorrupt::Body)?),
            };
            let mut end = None;
            for sum in of_state {
                let Some(sum) = sums.partials.get_mut(*sum) else {
                    continue;
                };
                let mut again = start;
                let merged = match &decoded {
                    Some(partial) => sum.merge(partial),
                    None => sum.merge_encoded(*state, &mut again),
                };
                merged.map_err(|_| RowCorrupt::Body)?;
                end = Some(again);
            }
            match (&decoded, end) {
                (Some(_), _) => {}
                (None, Some(end)) => rest = end,
                (None, None) => drop(state.decode(&mut rest).map_err(|_| RowCorrupt::Body)?),
            }
        }
        match rest.is_empty() {
            true => Ok(()),
            false => Err(RowCorrupt::Body),
        }
    }

    /// Adds an event that is in no tile yet.
    ///
    /// # Errors
    ///
    /// A row that is not of the layout's inputs.
    pub fn add_event(&self, sums: &mut Sums, row: &StoredRow<'_>) -> Result<(), RowCorrupt> {
        if row.deleted {
            return Ok(());
        }
        let fields = fields_of(self.layout.inputs(), row.body)?;
        for ((state, window), partial) in self.layout.sums.iter().zip(&mut sums.partials) {
            let Some((input, state)) = self.layout.states.get(*state) else {
                continue;
            };
            let stored = fields.get(*input).copied().flatten();
            let field = self.layout.inputs.fields.get(*input);
            if let (true, Some(stored), Some(field)) = (self.covers_event(*window, row), stored, field) {
                partial.add(state.value(&field.data_type, stored)?, row.order);
            }
        }
        sums.latest = sums.latest.max(row.order.due());
        Ok(())
    }

    fn covers_event(&self, window: Window, row: &StoredRow<'_>) -> bool {
        window.covers(row.order.event_time, self.at)
    }

    /// Appends the features, as the body of a stored row of [`TileLayout::outputs`].
    ///
    /// # Errors
    ///
    /// Sums of another layout.
    pub fn finish(&self, sums: &Sums, body: &mut Vec<u8>) -> Result<(), RowCorrupt> {
        let bitmap = body.len();
        body.resize(bitmap + self.layout.features.len().div_ceil(8), 0);
        let features = self.layout.features.iter().zip(&self.layout.places);
        for (place, (feature, sum)) in features.enumerate() {
            let partial = sums.partials.get(*sum).ok_or(RowCorrupt::Body)?;
            let finished = feature.aggregation.finish(partial, body);
            if !finished.map_err(|_| RowCorrupt::Body)?
                && let Some(byte) = body.get_mut(bitmap + place / 8)
            {
                *byte |= 1 << (place % 8);
            }
        }
        Ok(())
    }
}

impl Sums {
    /// The latest instant at which an event became due that lies in a chunk that was read, or was added.
    pub fn latest(&self) -> Timestamp {
        self.latest
    }
}

fn holds(cover: &[Tiles], level: u8, tile: i64) -> bool {
    cover.iter().any(|tiles| match tiles {
        Tiles::All => level == ALL,
        Tiles::Of { hop, first, last } => *hop == usize::from(level) && (*first..=*last).contains(&tile),
    })
}
