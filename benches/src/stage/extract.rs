//! The service's features for every row of the spine.

use std::time::Instant;

use anyhow::Result;
use asof_offline::{ExtractRequest, Origin, Rows, Silent, Target};
use asof_server::clock::SystemClock;
use serde::{Deserialize, Serialize};

use crate::workload::{Opened, Workload};

/// One extract.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Extracted {
    /// Rows of the spine.
    pub spine_rows: u64,
    /// Rows that were read of the sources, once for each view that reads them.
    pub source_rows: u64,
    /// Columns of the dataset.
    pub columns: usize,
    /// Bytes of the dataset.
    pub bytes: u64,
    /// The digest of the dataset.
    pub digest: String,
    /// How long it took, from the call to the written manifest.
    pub seconds: f64,
}

/// Extracts the workload's service for its spine.
///
/// # Errors
///
/// Whatever the extract meets.
pub async fn run(workload: &Workload) -> Result<Extracted> {
    let opened = Opened::open(workload).await?;
    let engine = opened.engine(workload)?;
    let out = workload.dataset();
    let request = ExtractRequest {
        plan: &opened.plan,
        origin: Origin {
            project: opened.config.project.to_string(),
            registry_version: opened.version.number,
            definitions_digest: opened.version.digest.clone(),
            service: Some(workload.service.clone()),
        },
        rows: Rows::Spine {
            path: &workload.spine,
            time_column: "event_timestamp",
            timezone: None,
        },
        as_corrected: false,
        status: false,
        clock: &SystemClock,
        progress: std::sync::Arc::new(Silent),
    };
    let start = Instant::now();
    let target = Target {
        path: &out,
        overwrite: true,
    };
    let dataset = engine.extract(request, target).await?;
    let seconds = start.elapsed().as_secs_f64();
    let summary = dataset.summary;
    Ok(Extracted {
        spine_rows: summary.rows,
        source_rows: summary.views.iter().map(|view| view.source_rows).sum(),
        columns: summary.columns,
        bytes: dataset.bytes,
        digest: dataset.digest,
        seconds,
    })
}
