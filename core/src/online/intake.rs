//! The intake log: what was pushed, until it is in its table.
//!
//! # Contract
//!
//! - What [`IntakeLog::accept`] writes is there whole or not at all: the entries of the log, the rows in their
//!   generations, what was answered under the ids of the requests, and how far streams were read. When it returns, all
//!   of it survives what the store's durability names.
//! - Entries of a source are numbered upwards; they are read in that order, until they are trimmed.
//! - Rows that are not due when they are accepted are pending, as all such rows are; [`IntakeLog::apply_pushed`] merges
//!   them without those that came otherwise.
//! - An answer is found under its id until it is forgotten, however often the log is trimmed.
//! - An event is known from when its id is accepted or noted, until all of its source are forgotten.
//! - A source is written by one caller at a time; different ones by several at once.

use super::{Generation, OnlineRow, StoreError, ViewSlot};
use crate::key::EntityKey;
use crate::name::{ProjectName, SourceName};
use crate::time::Timestamp;

/// A source of a project.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceAddress {
    /// The project.
    pub project: ProjectName,
    /// The source.
    pub source: SourceName,
}

impl SourceAddress {
    /// Whether what is kept here is of a source: its rows, or its dead letters.
    pub fn is_of(&self, source: &SourceName) -> bool {
        self.source == *source || self.source == source.dead_letters()
    }

    /// Where the dead letters of the source are kept.
    #[must_use]
    pub fn dead_letters(&self) -> Self {
        Self {
            project: self.project.clone(),
            source: self.source.dead_letters(),
        }
    }
}

/// What is accepted at once.
#[derive(Debug, Clone, Copy)]
pub struct Intake<'a> {
    /// When.
    pub at: Timestamp,
    /// What goes to the source's table later; nothing where no row was accepted.
    pub entry: Option<Entry<'a>>,
    /// What was answered to the requests that brought it.
    pub answers: &'a [Answer],
    /// The rows that it means for generations of views.
    pub rows: &'a [IntakeRows],
    /// The events that it holds, where the source has event ids and is indexed.
    pub events: Option<Events<'a>>,
    /// How far the streams that brought it are read with it.
    pub marks: &'a [StreamMark],
    /// What goes to the table of the source's dead letters: an entry of its own, of the source of that name.
    pub dead_letters: Option<Entry<'a>>,
}

/// How far a lane of a stream is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamMark {
    /// The lane.
    pub lane: String,
    /// Bytes that only the caller reads.
    pub bytes: Vec<u8>,
}

/// Events of a source that are known from now on.
#[derive(Debug, Clone, Copy)]
pub struct Events<'a> {
    /// Their ids.
    pub ids: &'a [EntityKey],
    /// How far the index of events goes with them: bytes that only the caller reads.
    pub indexed: &'a [u8],
}

/// An entry of the log.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// Greater than the number of every entry of the source before it.
    pub number: u64,
    /// Bytes that only the caller reads.
    pub bytes: &'a [u8],
    /// How many rows of the source were accepted so far, these included.
    pub accepted: u64,
}

/// What was answered to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The request's id.
    pub id: String,
    /// Bytes that only the caller reads.
    pub bytes: Vec<u8>,
}

/// Rows for one generation of a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntakeRows {
    /// The view.
    pub slot: ViewSlot,
    /// The generation, serving or being built.
    pub generation: Generation,
    /// The rows: those that are due when they are accepted compete, others become pending.
    pub rows: Vec<OnlineRow>,
    /// What the generation is noted to have with them, in the place of what was noted before: bytes that only the caller
    /// reads.
    pub note: Option<Vec<u8>>,
}

/// Where pushed rows are kept; see the contract of this module.
pub trait IntakeLog: Send + Sync {
    /// Writes what was accepted for a source.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoGeneration`] where a generation is not there any more, and then nothing is written.
    fn accept(&self, source: &SourceAddress, intake: Intake<'_>) -> Result<(), StoreError>;

    /// What was noted with the last rows that were accepted for a generation; see [`IntakeRows::note`].
    ///
    /// # Errors
    ///
    /// [`StoreError::NoGeneration`] where it is not there any more.
    fn noted(&self, slot: ViewSlot, generation: Generation) -> Result<Option<Vec<u8>>, StoreError>;

    /// Merges those of the pending rows that were accepted, and are due at `now`, as
    /// [`apply_due`](super::OnlineStore::apply_due) does with all; returns how many. Layers have none.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoGeneration`] where the generation is not there any more.
    fn apply_pushed(&self, slot: ViewSlot, generation: Generation, now: Timestamp)
    -> Result<u64, StoreError>;

    /// How far the lanes of a source's streams are read, in the order of their names.
    fn marks(&self, source: &SourceAddress) -> Result<Vec<StreamMark>, StoreError>;

    /// Makes all that was accepted survive a power cut, whatever the store's durability names.
    fn settle(&self) -> Result<(), StoreError>;

    /// What was answered under an id.
    fn answered(&self, source: &SourceAddress, id: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// How many rows of a source were ever accepted.
    fn accepted(&self, source: &SourceAddress) -> Result<u64, StoreError>;

    /// The first entries of a source, with their numbers: one at least where there is one, and no more once
    /// they have `bytes`.
    fn entries(&self, source: &SourceAddress, bytes: usize) -> Result<Vec<(u64, Vec<u8>)>, StoreError>;

    /// The number of the last entry of a source.
    fn last_entry(&self, source: &SourceAddress) -> Result<Option<u64>, StoreError>;

    /// How many bytes the entries of a source have.
    fn waiting(&self, source: &SourceAddress) -> Result<u64, StoreError>;

    /// The sources that have entries, of all projects.
    fn waiting_sources(&self) -> Result<Vec<SourceAddress>, StoreError>;

    /// Removes the entries of a source up to a number, which are in its table.
    fn trim(&self, source: &SourceAddress, through: u64) -> Result<(), StoreError>;

    /// Forgets the answers that were given before an instant; returns how many.
    fn forget_answers(&self, before: Timestamp) -> Result<u64, StoreError>;

    /// Of each id whether its event is known.
    fn known_events(&self, source: &SourceAddress, ids: &[EntityKey]) -> Result<Vec<bool>, StoreError>;

    /// Makes events known that were not pushed, and notes how far the index goes with them, where it says so.
    fn note_events(
        &self,
        source: &SourceAddress,
        ids: &[EntityKey],
        indexed: Option<&[u8]>,
    ) -> Result<(), StoreError>;

    /// How far the index of events goes, as it was accepted or noted last.
    fn indexed_events(&self, source: &SourceAddress) -> Result<Option<Vec<u8>>, StoreError>;

    /// Forgets all events of a source, and how far the index went.
    fn forget_events(&self, source: &SourceAddress) -> Result<(), StoreError>;
}
