//! One pass over the keys and times of a source, for all views that read it: each row finds, by binary
//! search, the first question that it can answer.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;

use asof_core::definition::BoundView;

use super::contest::{Contest, First, Other, Place, Rows};
use super::index::NONE;
use super::questions::Questions;
use super::reading::{Reading, Seen};
use crate::columns::SourceColumns;
use crate::engine::Engine;
use crate::error::{OfflineError, Result};
use crate::heads::{Stand, packed};
use crate::places::ViewPlaces;
use crate::snapshot::Snapshot;

/// A view that is read, with its questions.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) bound: Arc<BoundView>,
    pub(crate) places: ViewPlaces,
    pub(crate) questions: Arc<Questions>,
}

/// What one pass over a source reads, and for whom.
#[derive(Debug)]
pub(crate) struct Pass {
    reading: Reading,
    reads: Vec<PassRead>,
    as_corrected: bool,
}

#[derive(Debug)]
struct PassRead {
    /// Its number among the contests.
    number: usize,
    asked: Asked,
    /// Where its keys stand among the selected columns.
    keys: std::ops::Range<usize>,
}

/// What a batch of rows had for one read.
#[derive(Debug)]
pub(crate) struct Found {
    /// The read's number.
    pub(crate) read: usize,
    /// How many rows could answer something.
    pub(crate) candidates: usize,
    /// Rows that count: with a whole key, an event time, and an event id that is new.
    pub(crate) rows: u64,
    /// Rows skipped for want of a key or an event time.
    pub(crate) skipped: u64,
    /// Rows ignored because an earlier one has the same event id.
    pub(crate) repeated: u64,
}

impl Pass {
    /// Plans a pass for reads, given with their numbers, of one source.
    pub(crate) async fn plan(
        engine: &Engine,
        columns: &SourceColumns,
        snapshot: &Snapshot,
        reads: Vec<(usize, Asked)>,
        as_corrected: bool,
    ) -> Result<Self> {
        let none = || OfflineError::Internal("a pass without reads".into());
        let (_, first) = reads.first().cloned().ok_or_else(none)?;
        let mut selected = Vec::with_capacity(reads.len());
        let reading = Reading::plan(engine, columns, snapshot, &first, |wanted| {
            selected.extend(reads.into_iter().map(|(number, asked)| {
                let start = wanted.len();
                wanted.extend(&asked.places.keys);
                PassRead {
                    number,
                    asked,
                    keys: start..wanted.len(),
                }
            }));
        });
        Ok(Self {
            reading: reading.await?,
            reads: selected,
            as_corrected,
        })
    }

    /// What is read of all rows.
    pub(super) fn reading(&self) -> &Reading {
        &self.reading
    }

    /// What the rows of its source say.
    pub(crate) fn rows(&self) -> Rows {
        if self.reading.heads.are_plain() {
            Rows::Plain
        } else {
            Rows::Any
        }
    }

    /// The views that are read.
    pub(super) fn asked(&self) -> impl Iterator<Item = &Asked> + Clone {
        self.reads.iter().map(|read| &read.asked)
    }

    /// The numbers of the reads.
    pub(super) fn numbers(&self) -> impl Iterator<Item = usize> {
        self.reads.iter().map(|read| read.number)
    }

    /// Lets the rows of a batch compete in the contests of all reads, which are given by their numbers.
    pub(crate) fn find(
        &self,
        batch: &RecordBatch,
        stand: Stand<'_>,
        contests: &mut [Contest],
    ) -> Result<Vec<Found>> {
        let seen = self.reading.see(batch, stand)?;
        let mut found = Vec::with_capacity(self.reads.len());
        for read in &self.reads {
            let none = || OfflineError::Internal("a read without a contest".into());
            let contest = contests.get_mut(read.number).ok_or_else(none)?;
            found.push(self.find_for(read, &seen, contest)?);
        }
        Ok(found)
    }

    fn find_for(&self, read: &PassRead, seen: &Seen<'_>, contest: &mut Contest) -> Result<Found> {
        let Seen {
            selected,
            heads,
            stand,
            ..
        } = seen;
        let asked = &read.asked;
        let counted = seen.counted(asked, read.keys.clone())?;
        let mut found = Found {
            read: read.number,
            candidates: 0,
            rows: counted.rows,
            skipped: counted.skipped,
            repeated: counted.repeated,
        };
        let Some((_, last)) = asked.questions.span() else {
            return Ok(found);
        };
        let groups = counted.groups;
        let event_times = heads.event_times().values();
        let candidates = (0_u32..).zip(groups.iter().zip(event_times));
        let candidates = candidates
            .filter(|(_, (group, event_time))| **group != NONE && **event_time <= last.micros())
            .map(|(row, (group, event_time))| (row, *group, *event_time));
        let mut candidates = asked.questions.first_of_each(candidates);
        found.candidates = candidates.len();
        let by_rule_1 = self.as_corrected || heads.are_known_at_once();
        if by_rule_1 {
            candidates = contest.sift(candidates, event_times);
        }
        for (row, happened) in candidates {
            let row = row as usize;
            let (Some(event_time), Some(group)) = (event_times.get(row), groups.get(row)) else {
                continue;
            };
            let due = if by_rule_1 {
                None
            } else {
                heads.order(row, selected, *stand).map(|order| order.due())
            };
            let known = match due {
                Some(due) if due.micros() > *event_time => {
                    asked.questions.first_from(*group, due).unwrap_or(NONE)
                }
                _ => happened,
            };
            contest.enter(First { happened, known }, *event_time, || {
                self.other(seen, row, *event_time)
            });
        }
        Ok(found)
    }

    /// What competes beside its event time, which it has.
    fn other(&self, seen: &Seen<'_>, row: usize, event_time: i64) -> Option<Other> {
        let number = seen.stand.rows.get(seen.selected.input_row(row));
        let place = packed(seen.stand.file, number);
        if self.rows() == Rows::Plain {
            return Some(Other::plain(place, event_time));
        }
        let order = seen.heads.order(row, &seen.selected, seen.stand)?;
        Some(Other {
            created_time: order.created_time,
            seq: order.seq,
            place: Place(place),
            deleted: seen.heads.is_deleted(row),
        })
    }
}
