//! What is kept of a run so that it can be undone, in seconds and without reading anything again.
//!
//! The rows of a run that goes on with a generation lie in a layer of it, which is shown when the run is complete, and made
//! the generation's own when the next one is. A run that built a generation anew leaves the one before it as it is. To undo
//! a run is to hide its layers, or to let the generation before serve again; what was pushed meanwhile came to both. The
//! mark of what was taken over does not move, so that no later run brings the rows back; and the instant up to which the
//! view is complete stays where it was before the run for as long as anything is held back.

use asof_core::online::{Generation, ViewState};
use serde::{Deserialize, Serialize};

use super::progress::Mark;
use super::tally::Held;

/// How the last run of a view is undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Undo {
    /// Its number in the ledger.
    pub(super) run: u64,
    pub(super) way: Way,
}

/// What there was before a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Way {
    /// The same generation without these layers.
    Layers {
        layers: Vec<u32>,
        as_of: Option<i64>,
        held: Option<(u64, u64)>,
        pushed: u64,
    },
    /// The generation that is kept.
    Kept,
    /// Nothing that served.
    Nothing,
}

/// A run that was undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HeldBack {
    /// Its number in the ledger.
    pub(super) run: u64,
    /// The layers with its rows; none where the generation that is kept has them.
    pub(super) layers: Vec<u32>,
}

impl HeldBack {
    /// Whether the generation that is kept has its rows.
    pub(super) fn is_kept(&self) -> bool {
        self.layers.is_empty()
    }
}

impl Way {
    /// What a generation held before its layers.
    pub(super) fn held(held: Option<(u64, u64)>) -> Option<Held> {
        held.map(|(keys, pending)| Held { keys, pending })
    }
}

/// The numbers of layers.
pub(super) fn numbers(layers: &[u32]) -> impl Iterator<Item = Generation> + '_ {
    layers.iter().copied().map(Generation)
}

/// The runs of a view that were undone and are held back.
pub(crate) fn held_back(state: &ViewState) -> Vec<u64> {
    let mark = |progress: &[u8]| Mark::parse(progress).ok();
    match (&state.serving, &state.kept) {
        (Some(serving), _) => mark(&serving.progress).map_or_else(Vec::new, |mark| {
            mark.held_back().iter().map(|held| held.run).collect()
        }),
        // The first run of all.
        (None, Some(kept)) => {
            let undone = mark(&kept.progress).and_then(|mark| Some(mark.undo()?.run));
            undone.into_iter().collect()
        }
        (None, None) => Vec::new(),
    }
}
