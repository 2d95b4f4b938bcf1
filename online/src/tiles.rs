//! The tiles of generations, by number: what is folded into which, and what a read needs of them.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use asof_core::aggregate::tiles::{ChunkId, TileLayout};
use asof_core::online::Generation;
use asof_core::time::Timestamp;

use crate::catalogue::Catalogue;

/// The layouts of the generations that have tiles and serve or are being built.
#[derive(Debug, Default)]
pub(crate) struct Layouts {
    /// How often the catalogue had been changed by then: one lock for both, so that nobody takes the layouts of one state
    /// of the catalogue for those of another.
    pub(crate) changes: u64,
    of: HashMap<(u32, Generation), Arc<TileLayout>>,
}

impl Layouts {
    /// That of a generation, where it has tiles.
    pub(crate) fn get(&self, view: u32, generation: Generation) -> Option<&Arc<TileLayout>> {
        self.of.get(&(view, generation))
    }
}

/// The layouts as they were last published.
#[derive(Debug, Default)]
pub(crate) struct Tiled(RwLock<Arc<Layouts>>);

impl Tiled {
    /// Takes the layouts over from a catalogue that was changed so often.
    pub(crate) fn set(&self, catalogue: &Catalogue, changes: u64) {
        let generations = catalogue.views.values().flat_map(|view| {
            let states = [&view.state.serving, &view.state.building].into_iter().flatten();
            states.filter_map(|state| {
                let tiles = state.shape.tiles.as_ref()?;
                Some(((view.slot.view, state.generation), Arc::clone(tiles)))
            })
        });
        let layouts = Layouts {
            changes,
            of: generations.collect(),
        };
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

/// Whether a chunk is needed at an instant, and where to go on.
pub(crate) fn step(layout: &TileLayout, at: Timestamp, chunk: ChunkId) -> Step {
    for range in layout.ranges(at).filter(|range| range.level >= chunk.level) {
        let first = ChunkId {
            level: range.level,
            number: range.first,
        };
        if chunk < first {
            return Step::To(first);
        }
        if chunk.number <= range.last {
            return Step::Take;
        }
    }
    Step::End
}

/// Whether all chunks that are needed at `at` were among those needed at `before`.
pub(crate) fn has_all(layout: &TileLayout, before: Timestamp, at: Timestamp) -> bool {
    let ranges = layout.ranges(before).zip(layout.ranges(at));
    at == before
        || ranges
            .into_iter()
            .all(|(before, now)| before.first <= now.first && now.last <= before.last)
}

#[cfg(test)]
mod tests {
    use asof_core::online::conformance::tiles;

    use super::*;

    #[test]
    fn a_pass_takes_what_is_needed_and_skips_the_rest() {
        const HOUR: i64 = 3_600_000_000;
        let layout = tiles();
        let at = Timestamp::from_micros(1_000 * HOUR + 1);
        let chunk = |level, number| ChunkId { level, number };
        let ranges: Vec<_> = layout.ranges(at).collect();
        // 1 s, 1 min, 5 min, 1 h, 1 d, and all.
        assert_eq!(ranges.len(), 6);
        let hours = ranges[3];
        // 168 hours, in chunks of 64 tiles.
        assert_eq!((hours.level, hours.first, hours.last), (3, 12, 15));
        let step = |level, number| step(&layout, at, chunk(level, number));
        assert_eq!(step(3, 2), Step::To(chunk(3, 12)));
        assert_eq!(step(3, 12), Step::Take);
        assert_eq!(step(3, 15), Step::Take);
        assert_eq!(step(3, 16), Step::To(chunk(4, ranges[4].first)));
        assert_eq!(step(u8::MAX, 0), Step::Take);
        assert_eq!(step(u8::MAX, 1), Step::End);
        let later = |micros| Timestamp::from_micros(at.micros() + micros);
        assert!(has_all(&layout, at, at));
        assert!(has_all(&layout, at, later(1)));
        assert!(!has_all(&layout, at, later(HOUR)));
        assert!(!has_all(&layout, later(HOUR), at));
    }
}
