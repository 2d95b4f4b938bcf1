//! `explain`: why a view has the value that it has, for one key at one instant.
//!
//! The rows of the key are read as materialization reads them, and what is said of them is what the
//! reference of the point-in-time contract says: nothing is decided here.

mod read;
mod span;
mod standing;
mod window;
mod words;

pub use span::Span;
pub use standing::{Losing, Standing};
pub use window::ExplainedWindow;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef};

use asof_core::definition::{Aggregates, Feature};
use asof_core::key::{EntityKey, KeyValue, decode};
use asof_core::order::{RowOrder, from_file_seq};
use asof_core::reference::{HistoryRow, Rules, as_of};
use asof_core::service::{ReadPlan, ViewRead};
use asof_core::status::{Status, Verdict};
use asof_core::time::Timestamp;

use crate::engine::Engine;
use crate::error::{OfflineError, Result};
use crate::snapshot::Snapshot;

use read::KeyRows;
use window::Asked;

/// What to explain.
pub struct ExplainRequest<'a> {
    /// Which views and features.
    pub plan: &'a ReadPlan,
    /// Per read of the plan its key, `None` where a part of it is null.
    pub keys: &'a [Option<EntityKey>],
    /// As of which instant.
    pub at: Timestamp,
    /// Whether rule 2 ("as known") is off.
    pub as_corrected: bool,
}

/// Why a view has the value that it has.
#[derive(Debug, Clone)]
pub struct ViewExplanation {
    /// The view, its features and under which of the caller's columns it was read.
    pub read: ViewRead,
    /// The key; `None` where a part of it is null.
    pub key: Option<Vec<KeyValue>>,
    /// As of which instant.
    pub at: Timestamp,
    /// Its source as it was pinned.
    pub snapshot: Arc<Snapshot>,
    /// How many rows of the source count, of all keys.
    pub source_rows: u64,
    /// How many rows of the source were skipped, because their key or event time is null.
    pub skipped_rows: u64,
    /// How many rows of the source were ignored, because an earlier one has the same event id.
    pub repeated_rows: u64,
    /// The rows of the key in the total order, the greatest last.
    pub rows: Vec<ExplainedRow>,
    /// What the view stores of a row: its features, or the inputs of its aggregates.
    pub stored: Vec<Feature>,
    /// Per stored column its values in those rows.
    pub features: Vec<ArrayRef>,
    /// Per feature of a view of aggregates its window; of other views nothing.
    pub windows: Vec<ExplainedWindow>,
    /// The number of the winner among the rows.
    pub winner: Option<usize>,
    /// The number of the row that would win if rule 2 were off.
    pub corrected_winner: Option<usize>,
    /// What the contract says of the view.
    pub verdict: Verdict,
    /// Per feature what a caller is told.
    pub statuses: Vec<Status>,
}

/// A row of the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainedRow {
    /// Its place in the total order.
    pub order: RowOrder,
    /// Where it stands.
    pub place: Place,
    /// Whether it says that there is nothing any more.
    pub deleted: bool,
    /// What the contract says of it.
    pub standing: Standing,
}

/// Where a row stands: what its seq means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a file read in place.
    File {
        /// The file's path.
        path: String,
        /// The row's number in it, from 0.
        row: u64,
    },
    /// In a managed table.
    Seq(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, row } => write!(f, "{path} row {row}"),
            Self::Seq(seq) => write!(f, "seq {seq}"),
        }
    }
}

impl Place {
    fn of(seq: u64, snapshot: &Snapshot) -> Self {
        if snapshot.is_managed() {
            return Self::Seq(seq);
        }
        let (file, row) = from_file_seq(seq);
        let path = snapshot.files.get(file).map(|file| file.path.clone());
        Self::File {
            path: path.unwrap_or_default(),
            row,
        }
    }
}

impl Engine {
    /// Explains every view that a plan reads, in its order.
    ///
    /// # Errors
    ///
    /// A source that cannot be read, or that its view does not fit.
    pub async fn explain(&self, request: ExplainRequest<'_>) -> Result<Vec<ViewExplanation>> {
        let mut views = Vec::with_capacity(request.plan.reads.len());
        for (number, read) in request.plan.reads.iter().enumerate() {
            let key = request.keys.get(number).and_then(Option::as_ref);
            let found = read::rows_of(self, read, key).await?;
            views.push(ViewExplanation::of(&request, read, key, found)?);
        }
        Ok(views)
    }
}

impl ViewExplanation {
    fn of(
        request: &ExplainRequest<'_>,
        read: &ViewRead,
        key: Option<&EntityKey>,
        found: KeyRows,
    ) -> Result<Self> {
        let key = key.map(|key| key_values(read, key)).transpose()?;
        let keys: Vec<Option<KeyValue>> = match &key {
            Some(values) => values.iter().cloned().map(Some).collect(),
            None => vec![None; read.bound.entity.keys.len()],
        };
        let history: Vec<HistoryRow<usize>> = found
            .heads
            .iter()
            .enumerate()
            .map(|(number, head)| HistoryRow {
                keys: keys.clone(),
                event_time: Some(head.order.event_time),
                created_time: Some(head.order.created_time),
                seq: head.order.seq,
                deleted: head.deleted,
                values: number,
            })
            .collect();
        let rules = |as_corrected| Rules {
            ttl: read.bound.view.ttl,
            as_corrected,
        };
        if let Some(aggregates) = found.view.aggregates().cloned() {
            return Self::of_aggregates(request, read, key, &aggregates, &history, found);
        }
        let answer = as_of(&history, &keys, request.at, rules(request.as_corrected));
        let corrected = as_of(&history, &keys, request.at, rules(true));
        let winner = answer.winner.map(|row| row.values);
        let best = winner
            .and_then(|number| found.heads.get(number))
            .map(|head| head.order);
        let rows = history.iter().zip(&found.heads).map(|(row, head)| ExplainedRow {
            order: head.order,
            place: Place::of(head.order.seq, &found.snapshot),
            deleted: head.deleted,
            standing: Standing::of(row, head.order, best, request.at, rules(request.as_corrected)),
        });
        let status = |values: &ArrayRef| {
            answer
                .verdict
                .status(winner.is_none_or(|row| values.is_null(row)))
        };
        Ok(Self {
            read: read.clone(),
            at: request.at,
            source_rows: found.source_rows,
            skipped_rows: found.skipped_rows,
            repeated_rows: found.repeated_rows,
            rows: rows.collect(),
            winner,
            corrected_winner: corrected.winner.map(|row| row.values),
            verdict: answer.verdict,
            statuses: found.features.iter().map(status).collect(),
            features: found.features,
            stored: found.view.stored().to_vec(),
            windows: Vec::new(),
            snapshot: found.snapshot,
            key,
        })
    }

    /// No row wins: every feature is computed of all events of its window.
    fn of_aggregates(
        request: &ExplainRequest<'_>,
        read: &ViewRead,
        key: Option<Vec<KeyValue>>,
        aggregates: &Aggregates,
        history: &[HistoryRow<usize>],
        found: KeyRows,
    ) -> Result<Self> {
        let keys: Vec<Option<KeyValue>> = match &key {
            Some(values) => values.iter().cloned().map(Some).collect(),
            None => vec![None; read.bound.entity.keys.len()],
        };
        let asked = Asked {
            history,
            key: &keys,
            at: request.at,
            as_corrected: request.as_corrected,
        };
        let windows = asked.windows(aggregates, &found.features)?;
        let verdict = match key {
            Some(_) => Verdict::Fresh,
            None => Verdict::NotFound,
        };
        let rows = history.iter().zip(&found.heads).map(|(row, head)| ExplainedRow {
            order: head.order,
            place: Place::of(head.order.seq, &found.snapshot),
            deleted: head.deleted,
            standing: Standing::in_windows(row, head.order, &asked, &windows, |input| {
                let values = found.features.get(input);
                values.is_some_and(|values| !values.is_null(row.values))
            }),
        });
        Ok(Self {
            read: read.clone(),
            at: request.at,
            source_rows: found.source_rows,
            skipped_rows: found.skipped_rows,
            repeated_rows: found.repeated_rows,
            rows: rows.collect(),
            winner: None,
            corrected_winner: None,
            verdict,
            statuses: windows
                .iter()
                .map(|window| verdict.status(window.value.is_null(0)))
                .collect(),
            features: found.features,
            stored: found.view.stored().to_vec(),
            windows,
            snapshot: found.snapshot,
            key,
        })
    }

    /// The row that wins.
    pub fn winning_row(&self) -> Option<&ExplainedRow> {
        self.winner.and_then(|winner| self.rows.get(winner))
    }

    /// The numbers of the rows nearest to the winner, or to where it would be: up to so many before it, and
    /// up to so many after it. Of a view of aggregates the newest event that counts takes its place.
    pub fn around(&self, before: usize, after: usize) -> Range<usize> {
        let counts = |row: &ExplainedRow| matches!(row.standing, Standing::Counts(_));
        let center = self.winner.or(self.corrected_winner);
        let center = center.or_else(|| self.rows.iter().rposition(counts)).unwrap_or(0);
        let end = center.saturating_add(after).saturating_add(1);
        center.saturating_sub(before)..end.min(self.rows.len())
    }
}

fn key_values(read: &ViewRead, key: &EntityKey) -> Result<Vec<KeyValue>> {
    let types: Vec<_> = read
        .bound
        .entity
        .keys
        .iter()
        .map(|key| key.key_type.clone())
        .collect();
    decode(key, &types)
        .map_err(|error| OfflineError::Internal(format!("key of view {}: {error}", read.label())))
}
