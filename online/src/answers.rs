//! What windows of a key last gave, so that a key that is asked again is not added up again.
//!
//! What is cached of a key is what the store has of it. Its windows give something else only as their tails pass a tile, or
//! as a row becomes due that was to come; so what they gave is good for as long as they are made of the same tiles, and
//! until the next row is due.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use asof_core::aggregate::tiles::{ChunkRange, Covers, TilesAt};
use asof_core::online::Generation;
use asof_core::time::Timestamp;

use crate::tiles::has_all;

/// What takes more bytes is added up again each time.
const LARGEST: usize = 2_048;

/// What there is of the tiles of one key in one generation.
#[derive(Debug)]
pub(crate) struct KeyTiles {
    pub(crate) view: u32,
    pub(crate) generation: Generation,
    /// The chunks that were needed when they were read.
    needed: Arc<[ChunkRange]>,
    answer: Mutex<Option<Answer>>,
}

#[derive(Debug)]
struct Answer {
    covers: Covers,
    /// The instants for which it is good, as long as the covers are these.
    good: Range<Timestamp>,
    latest: Timestamp,
    body: Box<[u8]>,
}

impl KeyTiles {
    pub(crate) fn new(view: u32, generation: Generation, needed: Arc<[ChunkRange]>) -> Self {
        Self {
            view,
            generation,
            needed,
            answer: Mutex::new(None),
        }
    }

    /// Bytes of memory that it takes at most.
    pub(crate) fn size(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.needed) + LARGEST
    }

    /// The chunks that were needed when they were read.
    pub(crate) fn needed(&self) -> &[ChunkRange] {
        &self.needed
    }

    /// Whether the chunks that are needed were needed then.
    pub(crate) fn has(&self, tiles: &TilesAt) -> bool {
        Arc::ptr_eq(&self.needed, tiles.ranges()) || has_all(&self.needed, tiles.ranges())
    }

    /// Writes what the windows give at an instant to `body`, where that is known, and says what the latest event is.
    pub(crate) fn answer(&self, tiles: &TilesAt, at: Timestamp, body: &mut Vec<u8>) -> Option<Timestamp> {
        let answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = answer.as_ref()?;
        if !answer.good.contains(&at) || answer.covers != *tiles.covers() {
            return None;
        }
        body.clear();
        body.extend_from_slice(&answer.body);
        Some(answer.latest)
    }

    /// Keeps what the windows gave, which is good for some instants.
    pub(crate) fn keep(&self, tiles: &TilesAt, good: Range<Timestamp>, latest: Timestamp, body: &[u8]) {
        if body.len() + tiles.covers().size() > LARGEST {
            return;
        }
        let answer = Answer {
            covers: tiles.covers().clone(),
            good,
            latest,
            body: body.into(),
        };
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
    }
}
