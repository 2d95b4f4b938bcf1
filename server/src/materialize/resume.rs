//! How far the rows of a run were loaded, so that one that was cut short goes on behind its last chunk.
//!
//! The record lies in the store beside the rows that it speaks of and is written with them. It is good for
//! runs that start from the same mark, with rows of the same schema; for others everything is read.

use std::collections::{HashMap, HashSet};

use asof_offline::{Snapshot, SourceRows};
use serde::{Deserialize, Serialize};

use super::progress::{FileMark, Mark};
use super::tally::{Bounds, Tally};

/// The version of the form below; a record of another one is not used.
const FORMAT: u32 = 1;

/// What of a snapshot's files was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Loading {
    start: Option<Mark>,
    schema: u32,
    files: Vec<FileMark>,
    read: Vec<Read>,
    /// What earlier runs from the same mark loaded.
    earlier: (Bounds, Bounds),
}

/// How much of a file was loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
enum Read {
    #[default]
    Nothing,
    /// Its first rows.
    Rows(u64),
    All,
}

#[derive(Serialize, Deserialize)]
struct Record {
    format: u32,
    /// What the generation had before.
    start: Option<Mark>,
    schema: u32,
    files: Vec<(FileMark, Read)>,
    keys: Bounds,
    pending: Bounds,
}

impl Record {
    /// Whether it is good for runs from a mark with rows of a schema.
    fn fits(&self, start: Option<&Mark>, schema: u32) -> bool {
        (self.format, &self.start, self.schema) == (FORMAT, &start.map(Mark::settled_part), schema)
    }
}

impl Loading {
    /// Starts where the run before was cut short, as `record` says, or at the beginning. `start` is the mark
    /// of what the generation had before either.
    pub(super) fn resume(
        record: Option<&[u8]>,
        start: Option<&Mark>,
        schema: u32,
        snapshot: &Snapshot,
    ) -> Self {
        let files: Vec<FileMark> = snapshot.files.iter().map(FileMark::of).collect();
        let mut loading = Self {
            read: vec![Read::default(); files.len()],
            earlier: Default::default(),
            start: start.map(Mark::settled_part),
            schema,
            files,
        };
        let record = record.and_then(|record| serde_json::from_slice::<Record>(record).ok());
        if let Some(record) = record.filter(|record| record.fits(start, schema)) {
            let known: HashMap<&FileMark, Read> =
                record.files.iter().map(|(file, read)| (file, *read)).collect();
            for (read, file) in loading.read.iter_mut().zip(&loading.files) {
                *read = known.get(file).copied().unwrap_or_default();
            }
            // Pending rows may have fallen due since, each of them as the row of a further key.
            loading.earlier = (record.keys.and_up_to(record.pending), record.pending.or_none());
        }
        loading
    }

    /// Whether a run from a mark can go on with what one before loaded, if anything: that started from the same, and the
    /// snapshot still has the files of which it loaded rows. Otherwise, where rows are added up, nobody could tell which of
    /// them are to be added.
    pub(super) fn goes_on(
        record: Option<&[u8]>,
        start: Option<&Mark>,
        schema: u32,
        snapshot: &Snapshot,
    ) -> bool {
        let Some(record) = record else { return true };
        let Ok(record) = serde_json::from_slice::<Record>(record) else {
            return false;
        };
        let files: HashSet<FileMark> = snapshot.files.iter().map(FileMark::of).collect();
        let is_there = |(file, _): &(FileMark, Read)| files.contains(file);
        record.fits(start, schema) && record.files.iter().all(is_there)
    }

    /// Whether a record is of a run from a mark.
    pub(super) fn is_from(record: &[u8], start: Option<&Mark>, schema: u32) -> bool {
        serde_json::from_slice::<Record>(record).is_ok_and(|record| record.fits(start, schema))
    }

    /// What the runs before loaded: keys, and pending rows.
    pub(super) fn earlier(&self) -> (Bounds, Bounds) {
        self.earlier
    }

    /// The files of which there is more to read, of those from the `settled` first ones on, with how many of
    /// their first rows were loaded.
    pub(super) fn left(&self, settled: usize) -> impl Iterator<Item = (usize, u64)> {
        let files = self.read.iter().copied().enumerate().skip(settled);
        files.filter_map(|(file, read)| match read {
            Read::Nothing => Some((file, 0)),
            Read::Rows(rows) => Some((file, rows)),
            Read::All => None,
        })
    }

    /// Notes that a batch is in the chunk that is written next.
    pub(super) fn note(&mut self, rows: &SourceRows) {
        if let Some(read) = self.read.get_mut(rows.file) {
            *read = if rows.is_last {
                Read::All
            } else {
                Read::Rows(rows.read)
            };
        }
    }

    pub(super) fn to_bytes(&self, tally: &Tally) -> Vec<u8> {
        let files = self.files.iter().cloned().zip(self.read.iter().copied());
        let (keys, pending) = tally.bounds();
        let record = Record {
            format: FORMAT,
            start: self.start.clone(),
            schema: self.schema,
            files: files.filter(|(_, read)| *read != Read::Nothing).collect(),
            keys,
            pending,
        };
        // A struct of numbers and text always has a JSON form.
        serde_json::to_vec(&record).unwrap_or_default()
    }
}
