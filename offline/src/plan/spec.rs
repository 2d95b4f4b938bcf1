//! What a join is about: shared by all nodes of its plan.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use asof_core::definition::BoundView;
use asof_core::service::CallerColumn;

use crate::asof::SourceFiles;
use crate::column::width;
use crate::columns::SourceColumns;
use crate::engine::Engine;
use crate::extract::{Phase, Progress};
use crate::places::ViewPlaces;
use crate::spine::Spine;
use crate::windows::Windows;

/// How a join is done. The answers are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// By an index where an estimate says that it fits the memory limit, by sorting elsewhere.
    #[default]
    Auto,
    /// By an index of the spine in memory: sources are read in any order and never sorted.
    Indexed,
    /// By sorting both sides, spilling to disk what does not fit.
    Sorted,
}

/// A join.
pub(crate) struct JoinSpec {
    pub(crate) engine: Engine,
    pub(crate) spine: Spine,
    pub(crate) sources: Vec<JoinSource>,
    pub(crate) reads: Vec<JoinRead>,
    pub(crate) as_corrected: bool,
    pub(crate) progress: Arc<dyn Progress>,
}

impl std::fmt::Debug for JoinSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinSpec")
            .field("spine", &self.spine.path())
            .field(
                "reads",
                &self.reads.iter().map(|read| &read.label).collect::<Vec<_>>(),
            )
            .finish_non_exhaustive()
    }
}

/// A pinned source.
pub(crate) struct JoinSource {
    pub(crate) files: SourceFiles,
    pub(crate) columns: SourceColumns,
}

/// A view read under some key columns of the spine.
#[derive(Debug)]
pub(crate) struct JoinRead {
    pub(crate) label: String,
    pub(crate) bound: Arc<BoundView>,
    pub(crate) places: ViewPlaces,
    /// The spine's columns that are its key.
    pub(crate) keys: Vec<CallerColumn>,
    /// The number of its source.
    pub(crate) source: usize,
    pub(crate) counts: Counts,
}

impl JoinRead {
    pub(crate) fn new(
        label: String,
        bound: Arc<BoundView>,
        places: ViewPlaces,
        keys: Vec<CallerColumn>,
        source: usize,
    ) -> Self {
        Self {
            label,
            bound,
            places,
            keys,
            source,
            counts: Counts::default(),
        }
    }
}

/// The rows of a source as one read saw them.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    rows: AtomicU64,
    skipped: AtomicU64,
    repeated: AtomicU64,
    unread: AtomicU64,
}

impl Counts {
    /// Adds rows that count, rows skipped for want of a key or an event time, and rows whose event id had
    /// come before.
    pub(crate) fn add(&self, rows: u64, skipped: u64, repeated: u64) {
        self.skipped.fetch_add(skipped, Ordering::Relaxed);
        self.repeated.fetch_add(repeated, Ordering::Relaxed);
        self.rows.fetch_add(rows, Ordering::Relaxed);
    }

    /// Adds rows that were left unread.
    pub(crate) fn leave(&self, unread: u64) {
        self.unread.fetch_add(unread, Ordering::Relaxed);
    }

    /// Rows that were left unread.
    pub(crate) fn unread(&self) -> u64 {
        self.unread.load(Ordering::Relaxed)
    }

    /// Rows that count, rows skipped, rows repeated.
    pub(crate) fn get(&self) -> (u64, u64, u64) {
        (
            self.rows.load(Ordering::Relaxed),
            self.skipped.load(Ordering::Relaxed),
            self.repeated.load(Ordering::Relaxed),
        )
    }

    /// Forgets what was counted.
    pub(crate) fn reset(&self) {
        self.rows.store(0, Ordering::Relaxed);
        self.skipped.store(0, Ordering::Relaxed);
        self.repeated.store(0, Ordering::Relaxed);
        self.unread.store(0, Ordering::Relaxed);
    }
}

/// Bytes that an index holds a spine row for each set of key columns: key, time, hash and numbers.
const INDEXED_ROW: u64 = 72;
/// Bytes that it holds a spine row for each read: the winner, and the greatest row that happened.
const ANSWERED_ROW: u64 = 80;

/// Bytes that it holds an event of a view of aggregates beside its inputs; those of a few keys at a time take more.
const EVENT: u64 = 28;

impl JoinSpec {
    /// The strategy for the memory that there is: by an index where that is likely to fit.
    pub(crate) fn strategy(&self) -> Strategy {
        let Some(limit) = self.engine.options.memory_limit else {
            return Strategy::Indexed;
        };
        let keys = self.key_sets().len() as u64 * INDEXED_ROW;
        let features = self.reads.iter().flat_map(|read| read.bound.view.features());
        let values = features
            .map(|feature| width(&feature.data_type.to_arrow()))
            .sum::<usize>();
        let per_row = keys + self.reads.len() as u64 * ANSWERED_ROW + values as u64;
        let rows = self.spine.about_rows().saturating_mul(per_row);
        let needed = rows.saturating_add(self.events());
        if needed > limit as u64 / 4 * 3 {
            Strategy::Sorted
        } else {
            Strategy::Indexed
        }
    }

    /// About how many bytes the events of views of aggregates take. Windows that look back without an end may need all
    /// rows of their source; of those with an end, nobody knows before: an index that they do not fit is given up for
    /// sorting.
    fn events(&self) -> u64 {
        let read = |read: &JoinRead| {
            let windows = Windows::of(&read.bound.view, self.as_corrected)?;
            let files = &self
                .sources
                .get(read.source)
                .filter(|_| windows.has_no_end())?
                .files;
            let inputs = read.bound.view.stored().iter();
            let inputs = inputs
                .map(|input| width(&input.data_type.to_arrow()))
                .sum::<usize>();
            Some(files.rows(&files.parts()).saturating_mul(inputs as u64 + EVENT))
        };
        self.reads.iter().filter_map(read).fold(0, u64::saturating_add)
    }

    /// Tells how far the reading of the sources is.
    pub(crate) fn told(&self) {
        let rows = self.reads.iter().map(|read| read.counts.get().0).sum();
        self.progress.advance(&Phase::Sources, rows, None);
    }

    /// The key columns of the spine that reads ask by, each set once.
    pub(crate) fn key_sets(&self) -> Vec<&[CallerColumn]> {
        let mut sets: Vec<&[CallerColumn]> = Vec::new();
        for read in &self.reads {
            if !sets.contains(&read.keys.as_slice()) {
                sets.push(&read.keys);
            }
        }
        sets
    }

    /// The reads of a source, by their numbers.
    pub(crate) fn reads_of(&self, source: usize) -> impl Iterator<Item = (usize, &JoinRead)> {
        let reads = self.reads.iter().enumerate();
        reads.filter(move |(_, read)| read.source == source)
    }
}
