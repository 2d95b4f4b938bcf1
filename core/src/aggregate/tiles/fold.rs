//! Events on their way into chunks.

use std::collections::BTreeMap;

use super::chunk::ChunkWriter;
use super::{ALL, ChunkId, TileLayout, chunk_of};
use crate::aggregate::Partial;
use crate::row::{RowCorrupt, StoredRow, fields_of};
use crate::time::Timestamp;
use crate::window::tile_of;

/// What events of some keys make of tiles.
#[derive(Debug, Default)]
pub struct FoldedEvents {
    chunks: BTreeMap<(Box<[u8]>, ChunkId), Tiles>,
    events: u64,
    size: usize,
}

/// Tiles of one chunk.
#[derive(Debug)]
struct Tiles {
    latest: Timestamp,
    tiles: BTreeMap<u8, Vec<Partial>>,
}

/// A chunk of a key, to be merged into what there is of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoldedChunk {
    /// The bytes of the entity key.
    pub key: Box<[u8]>,
    /// Which of its chunks.
    pub id: ChunkId,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl FoldedEvents {
    /// Adds an event of a key, as a stored row of the layout's inputs. One that says "deleted" is none.
    ///
    /// # Errors
    ///
    /// A row that is not of the inputs.
    pub fn add(&mut self, layout: &TileLayout, key: &[u8], row: &StoredRow<'_>) -> Result<(), RowCorrupt> {
        if row.deleted {
            return Ok(());
        }
        let fields = fields_of(layout.inputs(), row.body)?;
        for (level, hop) in layout.levels() {
            let tile = hop.map_or(0, |hop| tile_of(row.order.event_time, hop));
            let (id, place) = match level {
                ALL => (ChunkId { level, number: 0 }, 0),
                _ => chunk_of(level, tile),
            };
            let tiles = self.chunks.entry((key.into(), id)).or_insert_with(|| {
                self.size += key.len() + CHUNK_SIZE;
                Tiles {
                    latest: Timestamp::MIN,
                    tiles: BTreeMap::new(),
                }
            });
            tiles.latest = tiles.latest.max(row.order.due());
            let partials = tiles.tiles.entry(place).or_insert_with(|| {
                self.size += layout.states.len() * STATE_SIZE;
                layout.states.iter().map(|(_, state)| state.init()).collect()
            });
            self.size += growth(layout, &fields);
            add_values(layout, &fields, row, partials)?;
        }
        self.events += 1;
        Ok(())
    }

    /// How many events were added.
    pub fn len(&self) -> u64 {
        self.events
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.events == 0
    }

    /// About how many bytes of memory this takes at the most: what newer values took the place of counts, too.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The keys, ascending.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        let mut last: Option<&[u8]> = None;
        self.chunks.keys().filter_map(move |(key, _)| {
            let is_new = last != Some(key);
            last = Some(key);
            is_new.then_some(&**key)
        })
    }

    /// The chunks, by key and place.
    pub fn chunks(&self, layout: &TileLayout) -> impl Iterator<Item = FoldedChunk> {
        self.chunks.iter().map(|((key, id), tiles)| {
            let states = layout.states.iter().map(|(_, state)| *state);
            let mut writer = ChunkWriter::new(tiles.latest, states);
            for (place, partials) in &tiles.tiles {
                writer.push(*place, partials);
            }
            FoldedChunk {
                key: key.clone(),
                id: *id,
                bytes: writer.finish(),
            }
        })
    }
}

/// About how many bytes of memory a chunk takes beside its key and its states, and a state.
const CHUNK_SIZE: usize = 200;
const STATE_SIZE: usize = 140;

/// About how many bytes the values of an event add to partial aggregates, one a state.
fn growth(layout: &TileLayout, fields: &[Option<&[u8]>]) -> usize {
    let states = layout.states.iter();
    let growth =
        states.filter_map(|(input, state)| Some(state.growth(fields.get(*input).copied().flatten()?.len())));
    growth.sum()
}

/// Adds the values of an event to partial aggregates, one a state.
pub(super) fn add_values(
    layout: &TileLayout,
    fields: &[Option<&[u8]>],
    row: &StoredRow<'_>,
    partials: &mut [Partial],
) -> Result<(), RowCorrupt> {
    for ((input, state), partial) in layout.states.iter().zip(partials) {
        let stored = fields.get(*input).copied().flatten();
        let field = layout.inputs.fields.get(*input);
        if let (Some(stored), Some(field)) = (stored, field) {
            partial.add(state.value(&field.data_type, stored)?, row.order);
        }
    }
    Ok(())
}
