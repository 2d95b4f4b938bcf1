//! The offline side: sources and managed tables, the as-of join, and extracts.
//!
//! Nothing else in the project knows DataFusion's session, Parquet or Delta.

mod asof;
mod blocking;
mod canonical;
mod column;
mod columns;
mod dataset;
mod diff;
mod digest;
mod engine;
mod error;
mod events;
mod explain;
mod extract;
mod fan_out;
mod files;
mod gather;
mod grid;
mod heads;
mod inputs;
mod lint;
mod managed;
mod manifest;
mod memory_pool;
mod orphans;
mod output;
mod parquet_file;
mod places;
mod plan;
mod replay;
mod rows;
mod scan;
mod snapshot;
mod spine;
mod summary;
mod time_column;
mod windows;
mod workers;

pub use dataset::{Dataset, DatasetWriter, Target};
pub use diff::{ColumnDifference, DiffRequest, Difference, Example, Retyped, RowKey, diff};
pub use engine::{Engine, EngineOptions};
pub use error::{OfflineError, Result};
pub use explain::{
    ExplainRequest, ExplainedRow, ExplainedWindow, Losing, Place, Span, Standing, ViewExplanation,
};
pub use extract::{ExtractRequest, Extracting, Phase, Progress, Rows, Silent};
pub use files::SourceFile;
pub use grid::Grid;
pub use lint::{Finding, Leak, LintReport, LintRequest, LintedView};
pub use managed::{
    CompactRequest, Compacted, Flushed, IngestRequest, Ingested, MOST_REJECTED, MessageReader, PushInput,
    PushReader, PushedMessages, PushedRows, Refused, RejectedRow, Reserved, TableRead, entry_of,
};
pub use manifest::{Manifest, ManifestChange, Origin, Provenance};
pub use orphans::Orphans;
pub use output::Output;
pub use plan::Strategy;
pub use replay::{InputChange, Replay, ReplayRequest};
pub use rows::{RowHead, RowReader, SourceRows};
pub use scan::Scan;
pub use snapshot::Snapshot;
pub use spine::{Batches, Spine};
pub use summary::{ExtractSummary, FailureSummary, FeatureSummary, StatusCounts, ViewSummary};
