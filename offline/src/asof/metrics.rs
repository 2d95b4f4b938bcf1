//! What a join did, for EXPLAIN.

use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, Gauge, MetricBuilder, Time};

/// The metrics of an indexed join.
#[derive(Debug, Clone)]
pub(crate) struct JoinMetrics {
    /// Rows of the spine.
    pub(crate) spine_rows: Count,
    /// Row groups of Parquet files.
    pub(crate) row_groups: Count,
    /// Row groups of which nothing was decoded.
    pub(crate) row_groups_pruned: Count,
    /// Rows whose keys and times were read.
    pub(crate) rows_read: Count,
    /// Rows that could answer a question.
    pub(crate) candidates: Count,
    /// Rows whose features were read.
    pub(crate) rows_served: Count,
    /// Events that count for a question about a view of aggregates.
    pub(crate) events: Count,
    /// The most bytes held.
    pub(crate) memory: Gauge,
    /// Time to sort the spine's keys and times into questions.
    pub(crate) index: Time,
    /// Time until the keys and times of all sources were read.
    pub(crate) compete: Time,
    /// Time until the features of the winners were read.
    pub(crate) fetch: Time,
    /// Time until all events were read.
    pub(crate) collect: Time,
    /// Time to compute features of events.
    pub(crate) windows: Time,
    /// Time to put answers in the order of the spine.
    pub(crate) gather: Time,
}

impl JoinMetrics {
    pub(crate) fn new(set: &ExecutionPlanMetricsSet) -> Self {
        let build = || MetricBuilder::new(set);
        Self {
            spine_rows: build().global_counter("spine_rows"),
            row_groups: build().global_counter("row_groups"),
            row_groups_pruned: build().global_counter("row_groups_pruned"),
            rows_read: build().global_counter("rows_read"),
            candidates: build().global_counter("candidates"),
            rows_served: build().global_counter("rows_served"),
            events: build().global_counter("events"),
            memory: build().global_gauge("mem_used"),
            index: build().subset_time("index_time", 0),
            compete: build().subset_time("compete_time", 0),
            fetch: build().subset_time("fetch_time", 0),
            collect: build().subset_time("collect_time", 0),
            windows: build().subset_time("windows_time", 0),
            gather: build().subset_time("gather_time", 0),
        }
    }
}
