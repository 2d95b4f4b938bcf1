//! What an extract found, in counts.

use asof_core::status::Status;
use serde::{Deserialize, Serialize};

/// How often each status was given, for one feature.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "NamedCounts", from = "NamedCounts")]
pub struct StatusCounts([u64; Status::ALL.len()]);

/// The same by name, as it is written.
#[derive(Serialize, Deserialize)]
struct NamedCounts {
    present: u64,
    null: u64,
    not_found: u64,
    expired: u64,
    held_back: u64,
}

impl From<StatusCounts> for NamedCounts {
    fn from(counts: StatusCounts) -> Self {
        Self {
            present: counts.get(Status::Present),
            null: counts.get(Status::Null),
            not_found: counts.get(Status::NotFound),
            expired: counts.get(Status::Expired),
            held_back: counts.get(Status::HeldBack),
        }
    }
}

impl From<NamedCounts> for StatusCounts {
    fn from(named: NamedCounts) -> Self {
        let mut counts = Self::default();
        counts.add(Status::Present, named.present);
        counts.add(Status::Null, named.null);
        counts.add(Status::NotFound, named.not_found);
        counts.add(Status::Expired, named.expired);
        counts.add(Status::HeldBack, named.held_back);
        counts
    }
}

impl StatusCounts {
    /// Counts so many more.
    pub fn add(&mut self, status: Status, more: u64) {
        if let Some(count) = self.0.get_mut(place(status)) {
            *count += more;
        }
    }

    /// How often a status was given.
    pub fn get(&self, status: Status) -> u64 {
        self.0.get(place(status)).copied().unwrap_or(0)
    }
}

fn place(status: Status) -> usize {
    usize::from(status.code()) - 1
}

/// The counts of one column of the dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeatureSummary {
    /// The column.
    pub column: String,
    /// The type of its values.
    #[serde(rename = "type")]
    pub data_type: String,
    /// How often each status was given.
    pub counts: StatusCounts,
}

/// What could not be computed of an on-demand feature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureSummary {
    /// `set:feature`, listed by the caller or read by one that is.
    pub feature: String,
    /// How many of its values are null because something could not be computed.
    pub failed: u64,
}

/// The counts of one view as it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewSummary {
    /// The view, with its prefix where it has one.
    #[serde(rename = "view")]
    pub label: String,
    /// Rows of its source that were read and count.
    pub source_rows: u64,
    /// Rows of its source that were left unread, because its files say that they change nothing.
    pub unread_rows: u64,
    /// Rows of its source that were read and skipped, because their key or event time is null.
    pub skipped_rows: u64,
    /// Rows of its source that were ignored, because an earlier one has the same event id.
    pub repeated_rows: u64,
    /// Spine rows for which rule 2 (as known) excluded the row that would have won without it.
    pub held_back_winners: u64,
    /// Spine rows for which an extract as corrected would have another status or value of a feature.
    pub corrected_rows: u64,
}

/// What an extract found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExtractSummary {
    /// Rows of the spine, and so of the dataset.
    pub rows: u64,
    /// Columns of the dataset.
    pub columns: usize,
    /// Per view.
    pub views: Vec<ViewSummary>,
    /// Per feature, in column order.
    pub features: Vec<FeatureSummary>,
    /// Of on-demand features what could not be computed; those without are left out.
    #[serde(default)]
    pub failures: Vec<FailureSummary>,
    /// How it was joined: the plan, with its metrics.
    pub plan: String,
}
