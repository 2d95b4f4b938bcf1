//! One pass over the keys and times of a source, for all views that read it: each row finds, by binary
//! search, the first question that it can answer.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, RecordBatch};
use datafusion::arrow::buffer::NullBuffer;

use asof_core::definition::BoundView;

use super::contest::{Contest, First, Other, Place, Rows};
use super::index::NONE;
use super::questions::Questions;
use crate::columns::{Selected, Selection, SourceColumns};
use crate::engine::Engine;
use crate::error::{OfflineError, Result};
use crate::events::{EventId, Repeats};
use crate::heads::{HeadColumns, Heads, Stand, packed};
use crate::places::ViewPlaces;
use crate::rows::entity_keys;
use crate::snapshot::Snapshot;
use crate::time_column::TimeRules;

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
    heads: HeadColumns,
    selection: Selection,
    /// The rows that repeat an event, where the source has event ids.
    repeats: Option<Repeats>,
    reads: Vec<PassRead>,
    as_corrected: bool,
    /// Whether there is no `sql`.
    is_plain: bool,
}

#[derive(Debug)]
struct PassRead {
    /// Its number among the reads of the plan.
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
        let (_, first) = reads.first().ok_or_else(none)?;
        let heads = HeadColumns::of(&first.bound, snapshot);
        let event_id = EventId::of(&first.bound.source)?;
        let mut wanted = HeadColumns::places(&first.places);
        let mut hidden = heads.hidden();
        hidden.extend(event_id.iter().map(|id| id.name.clone()));
        let reads = reads
            .into_iter()
            .map(|(number, asked)| {
                let start = wanted.len();
                wanted.extend(&asked.places.keys);
                PassRead {
                    number,
                    asked,
                    keys: start..wanted.len(),
                }
            })
            .collect();
        let repeats = match &event_id {
            Some(id) => Some(Repeats::find(engine, snapshot, id).await?),
            None => None,
        };
        Ok(Self {
            selection: columns.select(&wanted, &hidden)?,
            heads,
            repeats,
            reads,
            as_corrected,
            is_plain: columns.is_plain(),
        })
    }

    /// The columns to read from the files.
    pub(crate) fn columns(&self) -> &[String] {
        self.selection.read()
    }

    /// The column of event times, where what it holds in a file is what the rows have.
    pub(crate) fn plain_event_time(&self) -> Option<&str> {
        self.is_plain.then(|| self.heads.event_time())
    }

    /// How times are understood.
    pub(crate) fn rules(&self) -> TimeRules {
        self.heads.rules()
    }

    /// What the rows of its source say.
    pub(crate) fn rows(&self) -> Rows {
        if self.heads.are_plain() {
            Rows::Plain
        } else {
            Rows::Any
        }
    }

    /// The reads, with their numbers.
    pub(crate) fn reads(&self) -> impl Iterator<Item = (usize, &Asked)> {
        self.reads.iter().map(|read| (read.number, &read.asked))
    }

    /// Lets the rows of a batch compete in the contests of all reads, which are given by their numbers.
    pub(crate) fn find(
        &self,
        batch: &RecordBatch,
        stand: Stand<'_>,
        contests: &mut [Contest],
    ) -> Result<Vec<Found>> {
        let selected = self.selection.evaluate(batch, stand.place)?;
        let heads = self.heads.read(&selected, stand)?;
        let repeated = self.repeated(&selected)?;
        let rows = Batch {
            selected: &selected,
            heads: &heads,
            repeated: repeated.as_deref(),
            stand,
            rows: self.rows(),
        };
        let mut found = Vec::with_capacity(self.reads.len());
        for read in &self.reads {
            let none = || OfflineError::Internal("a read without a contest".into());
            let contest = contests.get_mut(read.number).ok_or_else(none)?;
            found.push(self.find_for(read, rows, contest)?);
        }
        Ok(found)
    }

    /// Per row of the file's batch, whether it repeats an event.
    fn repeated(&self, selected: &Selected) -> Result<Option<Vec<bool>>> {
        let Some(repeats) = &self.repeats else {
            return Ok(None);
        };
        match selected.hidden.as_slice() {
            [seqs, .., ids] => repeats.rows(ids, seqs).map(Some),
            _ => Err(OfflineError::Internal("event ids were not read".into())),
        }
    }

    fn find_for(&self, read: &PassRead, rows: Batch<'_>, contest: &mut Contest) -> Result<Found> {
        let Batch { selected, heads, .. } = rows;
        let asked = &read.asked;
        let columns: &[ArrayRef] = selected.columns.get(read.keys.clone()).unwrap_or_default();
        let keys = entity_keys(&asked.bound, columns, selected, rows.stand)?;
        let nulls = NullBuffer::union(heads.event_times().nulls(), keys.nulls().as_ref());
        let skipped = nulls.as_ref().map_or(0, NullBuffer::null_count);
        let repeated = rows.count_repeated(nulls.as_ref());
        let mut found = Found {
            read: read.number,
            candidates: 0,
            rows: (selected.rows - skipped) as u64 - repeated,
            skipped: skipped as u64,
            repeated,
        };
        let Some((_, last)) = asked.questions.span() else {
            return Ok(found);
        };
        let mut groups = Vec::with_capacity(selected.rows);
        asked.questions.groups(&keys, &mut groups);
        rows.leave_out(nulls.as_ref(), &mut groups);
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
                heads.order(row, selected, rows.stand).map(|order| order.due())
            };
            let known = match due {
                Some(due) if due.micros() > *event_time => {
                    asked.questions.first_from(*group, due).unwrap_or(NONE)
                }
                _ => happened,
            };
            contest.enter(First { happened, known }, *event_time, || {
                rows.other(row, *event_time)
            });
        }
        Ok(found)
    }
}

/// A batch of rows under way.
#[derive(Clone, Copy)]
struct Batch<'a> {
    selected: &'a Selected,
    heads: &'a Heads,
    repeated: Option<&'a [bool]>,
    stand: Stand<'a>,
    /// What the rows say.
    rows: Rows,
}

impl Batch<'_> {
    fn is_repeated(&self, row: usize) -> bool {
        self.repeated.is_some_and(|repeated| {
            let input = self.selected.input_row(row);
            repeated.get(input).copied().unwrap_or(false)
        })
    }

    fn count_repeated(&self, nulls: Option<&NullBuffer>) -> u64 {
        if self.repeated.is_none() {
            return 0;
        }
        (0..self.selected.rows)
            .filter(|row| nulls.is_none_or(|nulls| nulls.is_valid(*row)) && self.is_repeated(*row))
            .count() as u64
    }

    /// Takes rows that are null or repeated out of their groups.
    fn leave_out(&self, nulls: Option<&NullBuffer>, groups: &mut [u32]) {
        if nulls.is_none() && self.repeated.is_none() {
            return;
        }
        for (row, group) in groups.iter_mut().enumerate() {
            if nulls.is_some_and(|nulls| nulls.is_null(row)) || self.is_repeated(row) {
                *group = NONE;
            }
        }
    }

    /// What competes beside its event time, which it has.
    fn other(&self, row: usize, event_time: i64) -> Option<Other> {
        let number = self.stand.rows.get(self.selected.input_row(row));
        let place = packed(self.stand.file, number);
        if self.rows == Rows::Plain {
            return Some(Other::plain(place, event_time));
        }
        let order = self.heads.order(row, self.selected, self.stand)?;
        Some(Other {
            created_time: order.created_time,
            seq: order.seq,
            place: Place(place),
            deleted: self.heads.is_deleted(row),
        })
    }
}
