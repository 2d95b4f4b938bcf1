//! The tiles of a view of aggregates, as stores keep them.
//!
//! A tile has the partial aggregates of a key's events in one hop. Tiles of one hop that follow each other, [`TILES`] of
//! them, lie together in a *chunk*, which is what a store writes, merges and reads. Each event is in one tile of each level:
//! of each of the view's hops, and of [`ALL`], where a window asks for all events. Chunks are merged in any order with the
//! same result, to the byte.

mod chunk;
mod fold;
mod read;

pub use chunk::{check_chunk, merge_chunks};
pub use fold::{FoldedChunk, FoldedEvents};
pub use read::{Covers, Sums, TilesAt};

use std::sync::Arc;

use super::{Aggregation, Function, State};
use crate::data_type::DataType;
use crate::definition::Aggregates;
use crate::duration::Duration;
use crate::row::{RowField, RowSchema};
use crate::time::Timestamp;
use crate::window::{Tiling, Window};

/// How many tiles lie in a chunk.
pub const TILES: i64 = 64;
/// The level whose only tile has all events.
pub const ALL: u8 = u8::MAX;

/// Which tiles there are, and what is computed of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TileLayout {
    inputs: RowSchema,
    features: Vec<TiledFeature>,
    states: Vec<(usize, State)>,
    /// What makes up each feature: a place in `sums`.
    places: Vec<usize>,
    /// The states, each with one window: a place in `windows`.
    sums: Vec<(usize, usize)>,
    windows: Vec<Window>,
    /// Per state its windows, each with its place in `sums`.
    of_state: Vec<Vec<(usize, usize)>>,
    tiling: Tiling,
    /// Per hop of the tiling the longest window that its tiles are in, in microseconds.
    longest: Vec<i64>,
}

/// A feature that is computed of tiles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TiledFeature {
    /// Its name.
    pub name: String,
    /// Which of the inputs it is computed of.
    pub input: usize,
    /// What is computed.
    pub aggregation: Aggregation,
    /// Of which events.
    pub window: Window,
}

/// Why a layout cannot be stored: what there is, and the most that there can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooMany {
    /// Of what is computed of an input, whatever the window.
    #[error("{0} different aggregates, whatever their windows, where there can be {1}")]
    States(usize, usize),
    /// Of hops.
    #[error("windows in {0} different hops, where there can be {1}")]
    Hops(usize, usize),
}

/// Where a chunk is among those of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkId {
    /// A place among the hops, or [`ALL`].
    pub level: u8,
    /// The number of its first tile by [`TILES`].
    pub number: i64,
}

/// Chunks of one level that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkRange {
    /// The level.
    pub level: u8,
    /// The first chunk.
    pub first: i64,
    /// The last one.
    pub last: i64,
}

impl TileLayout {
    /// The tiles for the aggregates of a view: the same whatever the order in which these are written.
    pub fn of(aggregates: &Aggregates) -> Self {
        let inputs = RowSchema {
            fields: aggregates
                .stored()
                .iter()
                .map(|stored| RowField {
                    name: stored.name.to_string(),
                    data_type: stored.data_type.clone(),
                })
                .collect(),
        };
        let features = aggregates.features().iter().zip(aggregates.windowed());
        let features = features.map(|(feature, windowed)| TiledFeature {
            name: feature.name.to_string(),
            input: aggregates
                .states()
                .get(windowed.state)
                .map_or(0, |(input, _)| *input),
            aggregation: windowed.aggregation.clone(),
            window: windowed.window,
        });
        let mut features: Vec<TiledFeature> = features.collect();
        features.sort_by(|a, b| a.name.cmp(&b.name));
        Self::new(inputs, features)
    }

    /// The tiles for features of inputs.
    pub fn new(inputs: RowSchema, features: Vec<TiledFeature>) -> Self {
        let mut windows: Vec<Window> = features.iter().map(|feature| feature.window).collect();
        windows.sort_unstable();
        windows.dedup();
        let mut states: Vec<(usize, State)> = Vec::new();
        let mut sums = Vec::new();
        let mut places = Vec::new();
        for feature in &features {
            let state = place_of(&mut states, (feature.input, feature.aggregation.state()));
            let window = windows.partition_point(|window| *window < feature.window);
            places.push(place_of(&mut sums, (state, window)));
        }
        let mut of_state = vec![Vec::new(); states.len()];
        for (sum, (state, window)) in sums.iter().enumerate() {
            if let Some(windows) = of_state.get_mut(*state) {
                windows.push((*window, sum));
            }
        }
        let tiling = Tiling::of(&windows);
        let longest = tiling.hops().iter().map(|hop| {
            let lengths = windows.iter().filter_map(|window| match window {
                Window::Last { length, .. } => Tiling::of(&[*window])
                    .hops()
                    .contains(hop)
                    .then_some(length.micros()),
                Window::All => None,
            });
            lengths.max().unwrap_or(0)
        });
        Self {
            longest: longest.collect(),
            inputs,
            features,
            states,
            places,
            sums,
            windows,
            of_state,
            tiling,
        }
    }

    /// Whether chunks can name all of it.
    ///
    /// # Errors
    ///
    /// More states or levels than a byte can tell apart.
    pub fn check(&self) -> Result<(), TooMany> {
        let most = usize::from(ALL) - 1;
        match (self.states.len(), self.tiling.hops().len()) {
            (states, _) if states > most => Err(TooMany::States(states, most)),
            (_, hops) if hops > most => Err(TooMany::Hops(hops, most)),
            _ => Ok(()),
        }
    }

    /// What is stored of an event until it is folded.
    pub fn inputs(&self) -> &RowSchema {
        &self.inputs
    }

    /// The features.
    pub fn features(&self) -> &[TiledFeature] {
        &self.features
    }

    /// The schema of what comes out.
    pub fn outputs(&self) -> RowSchema {
        let fields = self.features.iter().map(|feature| RowField {
            name: feature.name.clone(),
            data_type: feature.aggregation.output(),
        });
        RowSchema {
            fields: fields.collect(),
        }
    }

    /// The levels, each with its hop.
    fn levels(&self) -> impl Iterator<Item = (u8, Option<Duration>)> + '_ {
        let hops = (0..ALL)
            .zip(self.tiling.hops())
            .map(|(level, hop)| (level, Some(*hop)));
        hops.chain(self.tiling.has_all().then_some((ALL, None)))
    }

    /// The chunks that windows of this layout need at `at`, ascending, none in two ranges.
    pub fn ranges(self: &Arc<Self>, at: Timestamp) -> Arc<[ChunkRange]> {
        Arc::clone(self.at(at).ranges())
    }

    /// The first tile of a level that a window may need at an instant.
    fn first_needed(&self, level: u8, hop: Duration, at: Timestamp) -> i64 {
        let longest = self.longest.get(usize::from(level)).copied().unwrap_or(0);
        at.micros()
            .saturating_sub(longest)
            .div_euclid(hop.micros())
            .saturating_sub(1)
    }

    /// Whether no window needs a chunk at `at` or later.
    pub fn is_past(&self, chunk: ChunkId, at: Timestamp) -> bool {
        let hop = self.tiling.hops().get(usize::from(chunk.level));
        hop.is_some_and(|hop| chunk.number < self.first_needed(chunk.level, *hop, at).div_euclid(TILES))
    }

    /// What windows are at an instant.
    pub fn at(self: &Arc<Self>, at: Timestamp) -> TilesAt {
        TilesAt::new(Arc::clone(self), at)
    }
}

/// The place of an item in a list, to which it is added where it is new.
fn place_of<T: PartialEq>(list: &mut Vec<T>, item: T) -> usize {
    list.iter().position(|known| *known == item).unwrap_or_else(|| {
        list.push(item);
        list.len() - 1
    })
}

/// The chunk and the place in it of a tile.
fn chunk_of(level: u8, tile: i64) -> (ChunkId, u8) {
    let number = tile.div_euclid(TILES);
    let place = u8::try_from(tile.rem_euclid(TILES)).unwrap_or(0);
    (ChunkId { level, number }, place)
}

impl TiledFeature {
    /// The word of its function and, where it takes one, its parameter, which [`TiledFeature::from_words`] reads.
    pub fn words(&self) -> (&'static str, u32) {
        let function = self.aggregation.function();
        (function.as_str(), function.parameter())
    }

    /// The inverse of [`TiledFeature::words`], and what else makes a feature; `None` where that is none.
    pub fn from_words(
        name: String,
        input: usize,
        (word, parameter): (&str, u32),
        input_type: DataType,
        window: Window,
    ) -> Option<Self> {
        let function = Function::from_word(word, parameter)?;
        Some(Self {
            name,
            input,
            aggregation: Aggregation::new(function, input_type).ok()?,
            window,
        })
    }
}
