//! The counts of an extract as they grow.

use asof_core::status::{Status, Verdict};
use asof_expr::FeatureValues;
use datafusion::arrow::array::Array;

use super::ExtractRequest;
use crate::plan::{AnswerColumns, JoinRead, JoinSpec};
use crate::summary::{FeatureSummary, StatusCounts, ViewSummary};

/// Counts over the rows written so far.
pub(super) struct Tally {
    pub(super) rows: u64,
    /// Per read, for how many rows rule 2 excluded the row that would have won.
    held_back_winners: Vec<u64>,
    /// Per read, for how many rows the answer would be another one without rule 2.
    corrected_rows: Vec<u64>,
    pub(super) features: Vec<FeatureSummary>,
}

impl Tally {
    pub(super) fn new(request: &ExtractRequest<'_>) -> Self {
        let features = request.plan.columns.iter().map(|column| FeatureSummary {
            column: column.name.clone(),
            data_type: request
                .plan
                .returned(column)
                .map_or(String::new(), |returned| returned.data_type.to_string()),
            counts: StatusCounts::default(),
            failed: 0,
        });
        Self {
            rows: 0,
            held_back_winners: vec![0; request.plan.reads.len()],
            corrected_rows: vec![0; request.plan.reads.len()],
            features: features.collect(),
        }
    }

    /// Counts the answers to all reads in a batch.
    pub(super) fn count(&mut self, rows: usize, answers: &[AnswerColumns]) {
        self.rows += rows as u64;
        for (count, answers) in self.held_back_winners.iter_mut().zip(answers) {
            *count += answers.held_back_winners();
        }
        for (count, answers) in self.corrected_rows.iter_mut().zip(answers) {
            *count += answers.corrected_rows();
        }
    }

    /// Counts the statuses of the column of that number, which has so many nulls: one wherever nothing is
    /// served, and the others in winners.
    pub(super) fn count_statuses(&mut self, column: usize, answers: &AnswerColumns, nulls: usize) {
        let Some(feature) = self.features.get_mut(column) else {
            return;
        };
        let mut unserved = 0;
        for verdict in [Verdict::NotFound, Verdict::Expired, Verdict::HeldBack] {
            let rows = answers.with_verdict(verdict);
            unserved += rows;
            feature.counts.add(verdict.status(true), rows);
        }
        let in_winners = (nulls as u64).saturating_sub(unserved);
        let served = answers.with_verdict(Verdict::Fresh);
        feature.counts.add(Verdict::Fresh.status(true), in_winners);
        feature
            .counts
            .add(Verdict::Fresh.status(false), served - in_winners);
    }

    /// Counts the values of the column of that number, which was computed.
    pub(super) fn count_computed(&mut self, column: usize, computed: &FeatureValues) {
        if let Some(feature) = self.features.get_mut(column) {
            let nulls = computed.values.null_count();
            let present = computed.values.len() - nulls;
            feature.counts.add(Status::Null, nulls as u64);
            feature.counts.add(Status::Present, present as u64);
            feature.failed += computed.failed;
        }
    }

    /// The counts per view, with those of its source.
    pub(super) fn views(&self, spec: &JoinSpec) -> Vec<ViewSummary> {
        let leaks = self.held_back_winners.iter().zip(&self.corrected_rows);
        let view = |(read, (held_back_winners, corrected_rows)): (&JoinRead, (&u64, &u64))| {
            let (source_rows, skipped_rows, repeated_rows) = read.counts.get();
            let unread_rows = read.counts.unread();
            ViewSummary {
                label: read.label.clone(),
                source_rows,
                unread_rows,
                skipped_rows,
                repeated_rows,
                held_back_winners: *held_back_winners,
                corrected_rows: *corrected_rows,
            }
        };
        spec.reads.iter().zip(leaks).map(view).collect()
    }
}
