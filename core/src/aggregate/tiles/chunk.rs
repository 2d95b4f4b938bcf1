//! The bytes of a chunk.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | the latest instant at which one of its events became due, little-endian |
//! | 1 | how many states there are |
//! | 3 each | the states: a code and, of the first and last values, how many are kept, little-endian |
//! | … | the tiles, ascending: the place in the chunk (one byte), how many bytes follow (as [`put_count`] writes it), the partial aggregates |
//! | 4 | CRC-32C of everything before, little-endian |
//!
//! A chunk says itself what its states are, so that chunks can be merged by who knows nothing of their view.

use super::super::bytes::{put_count, take_slice};
use super::super::{End, Kept, Partial, State};
use crate::row::RowCorrupt;
use crate::time::Timestamp;

const CRC_LEN: usize = 4;

/// A chunk, taken apart and checked.
pub(super) struct Chunk<'a> {
    pub(super) latest: Timestamp,
    states: &'a [[u8; 3]],
    tiles: &'a [u8],
}

impl<'a> Chunk<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, RowCorrupt> {
        let content = bytes.len().checked_sub(CRC_LEN).ok_or(RowCorrupt::Short)?;
        let (content, crc) = bytes.split_at_checked(content).ok_or(RowCorrupt::Short)?;
        if crc != crc32c::crc32c(content).to_le_bytes() {
            return Err(RowCorrupt::Checksum);
        }
        let (latest, rest) = content.split_first_chunk::<8>().ok_or(RowCorrupt::Short)?;
        let ([count], rest) = rest.split_first_chunk::<1>().ok_or(RowCorrupt::Short)?;
        let (states, tiles) = rest
            .split_at_checked(usize::from(*count) * 3)
            .ok_or(RowCorrupt::Short)?;
        Ok(Self {
            latest: Timestamp::from_micros(i64::from_le_bytes(*latest)),
            states: states.as_chunks::<3>().0,
            tiles,
        })
    }

    /// Whether its states are these.
    pub(super) fn has(&self, states: &[(usize, State)]) -> bool {
        self.states.len() == states.len()
            && states
                .iter()
                .zip(self.states)
                .all(|((_, state), code)| code_of(*state) == *code)
    }

    /// The tiles, each with its place and its bytes.
    pub(super) fn tiles(&self) -> impl Iterator<Item = Result<(u8, &'a [u8]), RowCorrupt>> + use<'a> {
        let mut rest = self.tiles;
        std::iter::from_fn(move || {
            let (place, after) = rest.split_first()?;
            rest = after;
            let bytes = take_slice(&mut rest).map_err(|_| RowCorrupt::Body);
            if bytes.is_err() {
                rest = &[];
            }
            Some(bytes.map(|bytes| (*place, bytes)))
        })
    }
}

/// Writes a chunk.
pub(super) struct ChunkWriter {
    bytes: Vec<u8>,
    tile: Vec<u8>,
}

impl ChunkWriter {
    pub(super) fn new(latest: Timestamp, states: impl ExactSizeIterator<Item = State>) -> Self {
        Self::with_codes(latest, states.map(code_of))
    }

    fn with_codes(latest: Timestamp, states: impl ExactSizeIterator<Item = [u8; 3]>) -> Self {
        let mut bytes = latest.micros().to_le_bytes().to_vec();
        bytes.push(u8::try_from(states.len()).unwrap_or(u8::MAX));
        states.for_each(|code| bytes.extend_from_slice(&code));
        Self {
            bytes,
            tile: Vec::new(),
        }
    }

    /// Appends a tile, behind those before.
    pub(super) fn push(&mut self, place: u8, partials: &[Partial]) {
        self.tile.clear();
        partials.iter().for_each(|partial| partial.encode(&mut self.tile));
        self.bytes.push(place);
        put_count(self.tile.len() as u64, &mut self.bytes);
        self.bytes.extend_from_slice(&self.tile);
    }

    fn copy(&mut self, place: u8, tile: &[u8]) {
        self.bytes.push(place);
        put_count(tile.len() as u64, &mut self.bytes);
        self.bytes.extend_from_slice(tile);
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        let crc = crc32c::crc32c(&self.bytes);
        self.bytes.extend_from_slice(&crc.to_le_bytes());
        self.bytes
    }
}

/// Checks that bytes are a whole chunk, of whatever states.
///
/// # Errors
///
/// What is wrong with them.
pub fn check_chunk(bytes: &[u8]) -> Result<(), RowCorrupt> {
    Chunk::parse(bytes)?.tiles().try_for_each(|tile| tile.map(drop))
}

/// The chunk that has what each of some chunks of one place has.
///
/// # Errors
///
/// One that is no chunk, or of other states.
pub fn merge_chunks<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<u8>, RowCorrupt> {
    let chunks = chunks
        .into_iter()
        .map(Chunk::parse)
        .collect::<Result<Vec<_>, _>>()?;
    let first = chunks.first().ok_or(RowCorrupt::Short)?;
    let codes = first.states;
    if chunks.iter().any(|chunk| chunk.states != codes) {
        return Err(RowCorrupt::Body);
    }
    let states = codes.iter().map(state_of).collect::<Option<Vec<State>>>();
    let states = states.ok_or(RowCorrupt::Body)?;
    let latest = chunks
        .iter()
        .map(|chunk| chunk.latest)
        .max()
        .unwrap_or(first.latest);
    let mut tiles: Vec<(u8, &[u8])> = Vec::new();
    for chunk in &chunks {
        for tile in chunk.tiles() {
            tiles.push(tile?);
        }
    }
    tiles.sort_by_key(|(place, _)| *place);
    let mut writer = ChunkWriter::with_codes(latest, codes.iter().copied());
    for same in tiles.chunk_by(|a, b| a.0 == b.0) {
        match same {
            [] => {}
            [(place, tile)] => writer.copy(*place, tile),
            [(place, first), others @ ..] => {
                let mut partials = decode(&states, first)?;
                for (_, other) in others {
                    let mut rest = *other;
                    for (partial, state) in partials.iter_mut().zip(&states) {
                        let other = state.decode(&mut rest).map_err(|_| RowCorrupt::Body)?;
                        partial.merge(&other).map_err(|_| RowCorrupt::Body)?;
                    }
                }
                writer.push(*place, &partials);
            }
        }
    }
    Ok(writer.finish())
}

fn decode(states: &[State], tile: &[u8]) -> Result<Vec<Partial>, RowCorrupt> {
    let mut rest = tile;
    let partials = states
        .iter()
        .map(|state| state.decode(&mut rest).map_err(|_| RowCorrupt::Body))
        .collect::<Result<Vec<_>, _>>()?;
    match rest.is_empty() {
        true => Ok(partials),
        false => Err(RowCorrupt::Body),
    }
}

/// The code of a state. Codes are stored: they never change their meaning.
fn code_of(state: State) -> [u8; 3] {
    let (code, most) = match state.0 {
        Kept::Count => (1, 0),
        Kept::Whole => (2, 0),
        Kept::Sum => (3, 0),
        Kept::Squares => (4, 0),
        Kept::Least => (5, 0),
        Kept::Greatest => (6, 0),
        Kept::Edge(End::First, most) => (7, most),
        Kept::Edge(End::Last, most) => (8, most),
        Kept::Distinct => (9, 0),
        Kept::Quantiles => (10, 0_u16),
    };
    let [low, high] = most.to_le_bytes();
    [code, low, high]
}

fn state_of(code: &[u8; 3]) -> Option<State> {
    let [code, low, high] = *code;
    let most = u16::from_le_bytes([low, high]);
    Some(State(match code {
        1 => Kept::Count,
        2 => Kept::Whole,
        3 => Kept::Sum,
        4 => Kept::Squares,
        5 => Kept::Least,
        6 => Kept::Greatest,
        7 => Kept::Edge(End::First, most),
        8 => Kept::Edge(End::Last, most),
        9 => Kept::Distinct,
        10 => Kept::Quantiles,
        _ => return None,
    }))
}
