//! From the chunks of a key to what its windows have at an instant.

use std::sync::Arc;

use super::chunk::Chunk;
use super::{ALL, ChunkId, ChunkRange, TILES, TileLayout};
use crate::aggregate::Partial;
use crate::row::{RowCorrupt, StoredRow, fields_of};
use crate::time::Timestamp;
use crate::window::Tiles;

/// What windows are at an instant.
#[derive(Debug)]
pub struct TilesAt {
    layout: Arc<TileLayout>,
    at: Timestamp,
    /// Per window the tiles that make it up.
    covers: Covers,
    /// The same by level.
    spans: Vec<Span>,
    ranges: Arc<[ChunkRange]>,
}

/// The tiles that make up the windows of a view at an instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Covers(Arc<[Vec<Tiles>]>);

/// Tiles of a level that a window is made of.
#[derive(Debug, Clone, Copy)]
struct Span {
    level: u8,
    first: i64,
    last: i64,
    window: usize,
}

/// What was added up of one key.
#[derive(Debug)]
pub struct Sums {
    partials: Vec<Partial>,
    latest: Timestamp,
}

impl Covers {
    /// Bytes of memory that these take.
    pub fn size(&self) -> usize {
        let tiles = self.0.iter().map(|tiles| tiles.capacity() * size_of::<Tiles>());
        self.0.len() * size_of::<Vec<Tiles>>() + tiles.sum::<usize>()
    }
}

impl TilesAt {
    pub(super) fn new(layout: Arc<TileLayout>, at: Timestamp) -> Self {
        let windows = layout.windows.iter();
        let covers: Arc<[Vec<Tiles>]> = windows.map(|window| layout.tiling.cover(*window, at)).collect();
        let spans = covers.iter().enumerate().flat_map(|(window, cover)| {
            cover.iter().map(move |tiles| {
                let (level, first, last) = match tiles {
                    Tiles::All => (ALL, 0, 0),
                    // Of a layout that can be stored.
                    Tiles::Of { hop, first, last } => (u8::try_from(*hop).unwrap_or(ALL), *first, *last),
                };
                Span {
                    level,
                    first,
                    last,
                    window,
                }
            })
        });
        let spans: Vec<Span> = spans.collect();
        Self {
            ranges: ranges(&spans).into(),
            spans,
            covers: Covers(covers),
            layout,
            at,
        }
    }

    /// The tiles that make up the windows: as long as these are the same, so are the windows of events that lie in tiles.
    pub fn covers(&self) -> &Covers {
        &self.covers
    }

    /// The chunks that are needed, ascending, none in two ranges.
    pub fn ranges(&self) -> &Arc<[ChunkRange]> {
        &self.ranges
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
        let begin = id.number.saturating_mul(TILES);
        let end = begin.saturating_add(TILES - 1);
        let spans = self.spans.iter();
        let spans: Vec<&Span> = spans
            .filter(|span| span.level == id.level && span.first <= end && begin <= span.last)
            .collect();
        let mut is_read = false;
        let mut is_wanted = vec![false; self.layout.windows.len()];
        for tile in chunk.tiles() {
            let (place, bytes) = tile?;
            let tile = begin.saturating_add(place.into());
            is_wanted.fill(false);
            let mut is_any = false;
            for span in &spans {
                if let Some(is_wanted) = is_wanted.get_mut(span.window)
                    && (span.first..=span.last).contains(&tile)
                {
                    (*is_wanted, is_any) = (true, true);
                }
            }
            if is_any {
                is_read = true;
                self.add_tile(sums, &is_wanted, bytes)?;
            }
        }
        if is_read {
            sums.latest = sums.latest.max(chunk.latest);
        }
        Ok(())
    }

    /// Adds a tile to what is summed of its states in some windows.
    fn add_tile(&self, sums: &mut Sums, is_wanted: &[bool], tile: &[u8]) -> Result<(), RowCorrupt> {
        let mut rest = tile;
        for ((_, state), windows) in self.layout.states.iter().zip(&self.layout.of_state) {
            let start = rest;
            // What is cheap to read again is added up as it is read.
            let decoded = match state.is_reversible() {
                true => None,
                false => Some(state.decode(&mut rest).map_err(|_| RowCorrupt::Body)?),
            };
            let mut is_read = decoded.is_some();
            for (window, sum) in windows {
                let Some(partial) = sums
                    .partials
                    .get_mut(*sum)
                    .filter(|_| is_wanted.get(*window) == Some(&true))
                else {
                    continue;
                };
                let merged = match &decoded {
                    Some(decoded) => partial.merge(decoded),
                    None => {
                        rest = start;
                        is_read = true;
                        partial.merge_encoded(*state, &mut rest)
                    }
                };
                merged.map_err(|_| RowCorrupt::Body)?;
            }
            if !is_read {
                state.decode(&mut rest).map_err(|_| RowCorrupt::Body)?;
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

    fn covers_event(&self, window: usize, row: &StoredRow<'_>) -> bool {
        let window = self.layout.windows.get(window);
        window.is_some_and(|window| window.covers(row.order.event_time, self.at))
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

/// The chunks that hold some tiles, ascending, none in two ranges.
fn ranges(spans: &[Span]) -> Vec<ChunkRange> {
    let mut ranges: Vec<ChunkRange> = spans
        .iter()
        .map(|span| ChunkRange {
            level: span.level,
            first: span.first.div_euclid(TILES),
            last: span.last.div_euclid(TILES),
        })
        .collect();
    ranges.sort_unstable_by_key(|range| (range.level, range.first));
    ranges.dedup_by(|next, range| {
        let meets = next.level == range.level && next.first <= range.last.saturating_add(1);
        if meets {
            range.last = range.last.max(next.last);
        }
        meets
    });
    ranges
}
