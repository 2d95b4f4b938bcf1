//! One pass over the keys and times of a source, for all views that read it: each row finds, by binary
//! search, the first question that it can answer.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, RecordBatch};
use datafusion::arrow::buffer::NullBuffer;

use asof_core::definition::BoundView;

use super::contest::{Candidate, Place};
use super::index::NONE;
use super::questions::Questions;
use crate::columns::{Selected, Selection, SourceColumns};
use crate::engine::Engine;
use crate::error::{OfflineError, Result};
use crate::events::{EventId, Repeats};
use crate::heads::{HeadColumns, Heads, Stand};
use crate::places::ViewPlaces;
use crate::rows::entity_keys;
use crate::snapshot::Snapshot;
use crate::time_column::TimeRules;
use asof_core::order::file_seq;

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

/// What a batch of rows has for one read.
#[derive(Debug)]
pub(crate) struct Found {
    /// The read's number.
    pub(crate) read: usize,
    /// The rows that can answer something.
    pub(crate) candidates: Vec<Candidate>,
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

    /// The reads, with their numbers.
    pub(crate) fn reads(&self) -> impl Iterator<Item = (usize, &Asked)> {
        self.reads.iter().map(|read| (read.number, &read.asked))
    }

    /// What a batch of rows has for each read.
    pub(crate) fn find(&self, batch: &RecordBatch, stand: Stand<'_>) -> Result<Vec<Found>> {
        let selected = self.selection.evaluate(batch, stand.place)?;
        let heads = self.heads.read(&selected, stand)?;
        let repeated = self.repeated(&selected)?;
        let mut found = Vec::with_capacity(self.reads.len());
        for read in &self.reads {
            let rows = Rows {
                selected: &selected,
                heads: &heads,
                repeated: repeated.as_deref(),
                stand,
            };
            found.push(self.find_for(read, &rows)?);
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

    fn find_for(&self, read: &PassRead, rows: &Rows<'_>) -> Result<Found> {
        let Rows {
            selected,
            heads,
            stand,
            ..
        } = *rows;
        let asked = &read.asked;
        let columns: &[ArrayRef] = selected.columns.get(read.keys.clone()).unwrap_or_default();
        let keys = entity_keys(&asked.bound, columns, selected, stand)?;
        let nulls = NullBuffer::union(heads.event_times().nulls(), keys.nulls().as_ref());
        let skipped = nulls.as_ref().map_or(0, NullBuffer::null_count);
        let mut found = Found {
            read: read.number,
            candidates: Vec::new(),
            rows: 0,
            skipped: skipped as u64,
            repeated: rows.count_repeated(nulls.as_ref()),
        };
        found.rows = (selected.rows - skipped) as u64 - found.repeated;
        let Some((_, last)) = asked.questions.span() else {
            return Ok(found);
        };
        let mut groups = Vec::with_capacity(selected.rows);
        asked.questions.groups(&keys, &mut groups);
        let event_times = heads.event_times().values();
        for (row, (group, event_time)) in groups.into_iter().zip(event_times).enumerate() {
            if group == NONE || *event_time > last.micros() || rows.is_repeated(row) {
                continue;
            }
            let Some(order) = heads.order(row, selected, stand)? else {
                continue;
            };
            let Some(happened) = asked.questions.first_from(group, order.event_time) else {
                continue;
            };
            let known = if self.as_corrected || order.due() == order.event_time {
                happened
            } else {
                asked.questions.first_from(group, order.due()).unwrap_or(NONE)
            };
            found.candidates.push(Candidate {
                order,
                place: rows.place(row)?,
                deleted: heads.is_deleted(row),
                happened,
                known,
            });
        }
        Ok(found)
    }
}

/// A batch of rows under way.
#[derive(Clone, Copy)]
struct Rows<'a> {
    selected: &'a Selected,
    heads: &'a Heads,
    repeated: Option<&'a [bool]>,
    stand: Stand<'a>,
}

impl Rows<'_> {
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

    fn place(&self, row: usize) -> Result<Place> {
        let number = self.stand.rows.get(self.selected.input_row(row));
        file_seq(self.stand.file, number)
            .map(Place)
            .ok_or_else(|| OfflineError::Data(format!("{}: it has too many rows", self.stand.place)))
    }
}
