//! The tiles of generations, by number: what is folded into which, and what a read needs of them.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use asof_core::aggregate::tiles::{ChunkId, ChunkRange, TileLayout};
use asof_core::online::Generation;

use crate::catalogue::Catalogue;

/// The layouts of the generations that have tiles, by their numbers and those of their layers; and which layers are shown.
#[derive(Debug, Default)]
pub(crate) struct Layouts {
    /// How often the catalogue had been changed by then: one lock for both, so that nobody takes the layouts of one state
    /// of the catalogue for those of another.
    pub(crate) changes: u64,
    of: HashMap<(u32, Generation), Arc<TileLayout>>,
    shown: HashMap<(u32, Generation), Arc<[Generation]>>,
}

impl Layouts {
    /// That of a generation, where it has tiles.
    pub(crate) fn get(&self, view: u32, generation: Generation) -> Option<&Arc<TileLayout>> {
        self.of.get(&(view, generation))
    }

    /// The layers of a generation that reads find, in ascending order.
    pub(crate) fn shown(&self, view: u32, generation: Generation) -> &[Generation] {
        self.shown.get(&(view, generation)).map_or(&[], |shown| shown)
    }
}

/// The layouts as they were last published.
#[derive(Debug, Default)]
pub(crate) struct Tiled(RwLock<Arc<Layouts>>);

impl Tiled {
    /// Takes the layouts over from a catalogue that was changed so often.
    pub(crate) fn set(&self, catalogue: &Catalogue, changes: u64) {
        let mut layouts = Layouts {
            changes,
            ..Layouts::default()
        };
        for view in catalogue.views.values() {
            let number = view.slot.view;
            for state in view.state.generations() {
                if let Some(tiles) = &state.shape.tiles {
                    let tiled = state.numbers().map(|of| ((number, of), Arc::clone(tiles)));
                    layouts.of.extend(tiled);
                }
                let shown: Arc<[Generation]> = state.shown().collect();
                if !shown.is_empty() {
                    layouts.shown.insert((number, state.generation), shown);
                }
            }
        }
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(layouts);
    }

    /// The layouts of today.
    pub(crate) fn get(&self) -> Arc<Layouts> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What a pass over a key's chunks does at one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// It is needed.
    Take,
    /// None before this one is.
    To(ChunkId),
    /// Neither it is, nor those behind it.
    End,
}

/// Whether a chunk is among those that are needed, and where to go on.
pub(crate) fn step(needed: &[ChunkRange], chunk: ChunkId) -> Step {
    let behind = |range: &ChunkRange| (range.level, range.last) < (chunk.level, chunk.number);
    let next = needed.get(needed.partition_point(behind));
    next.map_or(Step::End, |range| {
        let first = ChunkId {
            level: range.level,
            number: range.first,
        };
        if chunk < first {
            Step::To(first)
        } else {
            Step::Take
        }
    })
}

/// Whether all chunks that are needed are among some others.
pub(crate) fn has_all(others: &[ChunkRange], needed: &[ChunkRange]) -> bool {
    others == needed
        || needed.iter().all(|needed| {
            let has = |other: &ChunkRange| {
                other.level == needed.level && other.first <= needed.first && needed.last <= other.last
            };
            others.iter().any(has)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_takes_what_is_needed_and_skips_the_rest() {
        let range = |level, first, last| ChunkRange { level, first, last };
        let needed = [
            range(0, 5, 5),
            range(3, 12, 12),
            range(3, 14, 15),
            range(u8::MAX, 0, 0),
        ];
        let chunk = |level, number| ChunkId { level, number };
        for (at, expected) in [
            (chunk(0, 4), Step::To(chunk(0, 5))),
            (chunk(0, 5), Step::Take),
            (chunk(0, 6), Step::To(chunk(3, 12))),
            (chunk(1, 14), Step::To(chunk(3, 12))),
            (chunk(3, 12), Step::Take),
            (chunk(3, 13), Step::To(chunk(3, 14))),
            (chunk(3, 15), Step::Take),
            (chunk(3, 16), Step::To(chunk(u8::MAX, 0))),
            (chunk(u8::MAX, 0), Step::Take),
            (chunk(u8::MAX, 1), Step::End),
        ] {
            assert_eq!(step(&needed, at), expected, "{at:?}");
        }
        assert!(has_all(&needed, &needed));
        assert!(has_all(&needed, &[range(3, 15, 15)]));
        assert!(!has_all(&needed, &[range(3, 13, 14)]));
        assert!(!has_all(&needed, &[range(1, 5, 5)]));
    }
}
