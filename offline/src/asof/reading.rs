//! What passes over a source read of all rows: when they were true and known, and whether they count.

use datafusion::arrow::array::{Array, ArrayRef, RecordBatch};
use datafusion::arrow::buffer::NullBuffer;

use super::index::NONE;
use super::pass::Asked;
use crate::columns::{Selected, Selection, SourceColumns};
use crate::engine::Engine;
use crate::error::{OfflineError, Result};
use crate::events::{EventId, Repeats};
use crate::heads::{HeadColumns, Heads, Stand};
use crate::rows::entity_keys;
use crate::snapshot::Snapshot;
use crate::time_column::TimeRules;

/// The columns that a pass reads.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) heads: HeadColumns,
    selection: Selection,
    /// The rows that repeat an event, where the source has event ids.
    repeats: Option<Repeats>,
    /// Whether there is no `sql`.
    is_plain: bool,
}

/// A batch of rows as it was read.
pub(super) struct Seen<'a> {
    pub(super) selected: Selected,
    pub(super) heads: Heads,
    pub(super) stand: Stand<'a>,
    /// Per row of the file's batch, whether it repeats an event.
    repeated: Option<Vec<bool>>,
}

/// The rows of a batch that count for a view.
pub(super) struct Counted {
    /// Per row the group of questions about its key, [`NONE`] where there are none or the row does not count.
    pub(super) groups: Vec<u32>,
    /// Rows that count, whoever asks about them.
    pub(super) rows: u64,
    /// Rows skipped for want of a key or an event time.
    pub(super) skipped: u64,
    /// Rows ignored because an earlier one has the same event id.
    pub(super) repeated: u64,
}

impl Reading {
    /// Plans to read rows for views of one source, of which one is given; `select` says which columns beside those
    /// that every view needs.
    pub(super) async fn plan(
        engine: &Engine,
        columns: &SourceColumns,
        snapshot: &Snapshot,
        first: &Asked,
        select: impl FnOnce(&mut Vec<usize>),
    ) -> Result<Self> {
        let heads = HeadColumns::of(&first.bound, snapshot);
        let event_id = EventId::of(&first.bound.source)?;
        let mut wanted = HeadColumns::places(&first.places);
        let mut hidden = heads.hidden();
        hidden.extend(event_id.iter().map(|id| id.name.clone()));
        select(&mut wanted);
        let repeats = match &event_id {
            Some(id) => Some(Repeats::find(engine, snapshot, id).await?),
            None => None,
        };
        Ok(Self {
            selection: columns.select(&wanted, &hidden)?,
            heads,
            repeats,
            is_plain: columns.is_plain(),
        })
    }

    /// The columns to read from the files.
    pub(super) fn columns(&self) -> &[String] {
        self.selection.read()
    }

    /// The column of event times, where what it holds in a file is what the rows have.
    pub(super) fn plain_event_time(&self) -> Option<&str> {
        self.is_plain.then(|| self.heads.event_time())
    }

    /// How times are understood.
    pub(super) fn rules(&self) -> TimeRules {
        self.heads.rules()
    }

    /// A batch of those columns.
    pub(super) fn see<'a>(&self, batch: &RecordBatch, stand: Stand<'a>) -> Result<Seen<'a>> {
        let selected = self.selection.evaluate(batch, stand.place)?;
        let heads = self.heads.read(&selected, stand)?;
        Ok(Seen {
            repeated: self.repeated(&selected)?,
            selected,
            heads,
            stand,
        })
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
}

impl Seen<'_> {
    /// The columns selected at those places.
    pub(super) fn columns(&self, places: std::ops::Range<usize>) -> &[ArrayRef] {
        self.selected.columns.get(places).unwrap_or_default()
    }

    /// The rows that count for a view, whose keys stand at those places.
    pub(super) fn counted(&self, asked: &Asked, keys: std::ops::Range<usize>) -> Result<Counted> {
        let keys = entity_keys(&asked.bound, self.columns(keys), &self.selected, self.stand)?;
        let nulls = NullBuffer::union(self.heads.event_times().nulls(), keys.nulls().as_ref());
        let skipped = nulls.as_ref().map_or(0, NullBuffer::null_count);
        let repeated = self.count_repeated(nulls.as_ref());
        let mut counted = Counted {
            groups: Vec::new(),
            rows: (self.selected.rows - skipped) as u64 - repeated,
            skipped: skipped as u64,
            repeated,
        };
        if asked.questions.span().is_some() {
            counted.groups.reserve(self.selected.rows);
            asked.questions.groups(&keys, &mut counted.groups);
            self.leave_out(nulls.as_ref(), &mut counted.groups);
        }
        Ok(counted)
    }

    fn is_repeated(&self, row: usize) -> bool {
        self.repeated.as_ref().is_some_and(|repeated| {
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
}
