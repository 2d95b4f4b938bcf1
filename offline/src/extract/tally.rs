//! The counts of an extract as they grow.

use std::collections::BTreeMap;

use asof_core::service::ReadPlan;
use asof_core::status::{Status, Verdict};
use datafusion::arrow::array::{Array, ArrayRef};

use super::ExtractRequest;
use crate::plan::{AnswerColumns, JoinRead, JoinSpec};
use crate::summary::{FailureSummary, FeatureSummary, StatusCounts, ViewSummary};

/// Counts over the rows written so far.
pub(super) struct Tally {
    pub(super) rows: u64,
    /// Per read, for how many rows rule 2 excluded the row that would have won.
    held_back_winners: Vec<u64>,
    /// Per read, for how many rows the answer would be another one without rule 2.
    corrected_rows: Vec<u64>,
    pub(super) features: Vec<FeatureSummary>,
    /// Per computed feature of the plan, how many values could not be computed.
    failures: Vec<u64>,
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
        });
        Self {
            rows: 0,
            held_back_winners: vec![0; request.plan.reads.len()],
            corrected_rows: vec![0; request.plan.reads.len()],
            features: features.collect(),
            failures: vec![0; request.plan.computed.len()],
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
    pub(super) fn count_computed(&mut self, column: usize, values: &ArrayRef) {
        if let Some(feature) = self.features.get_mut(column) {
            let nulls = values.null_count();
            feature.counts.add(Status::Null, nulls as u64);
            feature.counts.add(Status::Present, (values.len() - nulls) as u64);
        }
    }

    /// Counts, for each feature that the plan computes, what could not be computed.
    pub(super) fn count_failures(&mut self, failed: &[u64]) {
        for (failures, failed) in self.failures.iter_mut().zip(failed) {
            *failures += failed;
        }
    }

    /// Of each on-demand feature how many values could not be computed, under whatever keys; those without are left out.
    pub(super) fn failures(&self, plan: &ReadPlan) -> Vec<FailureSummary> {
        let mut failures = BTreeMap::new();
        for (computed, failed) in plan.computed.iter().zip(&self.failures) {
            let feature = format!("{}:{}", computed.on_demand, computed.feature.name);
            *failures.entry(feature).or_insert(0) += failed;
        }
        let failures = failures.into_iter().filter(|(_, failed)| *failed > 0);
        failures
            .map(|(feature, failed)| FailureSummary { feature, failed })
            .collect()
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
