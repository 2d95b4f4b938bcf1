//! All views of a project, from the sources into an empty online store.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use asof_core::time::FixedClock;
use asof_online::{RocksOptions, RocksStore};
use asof_server::intake::{Intake, IntakeLimits};
use asof_server::materialize::{Materializer, Request, views};
use serde::{Deserialize, Serialize};

use crate::sets;
use crate::workload::{Opened, Workload};

/// One materialization.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Materialized {
    /// How many views.
    pub views: usize,
    /// Rows that were read of the sources, once for each view.
    pub rows_read: u64,
    /// Rows that were written, before those overtaken by newer ones are taken off.
    pub rows_written: u64,
    /// Keys that the store holds at the end, by its own count.
    pub keys: u64,
    /// How long the runs took, with reading back and counting.
    pub seconds: f64,
}

/// Materializes the workload's views one after the other into a store that it makes anew.
///
/// # Errors
///
/// Whatever a run meets.
pub async fn run(workload: &Workload) -> Result<Materialized> {
    let opened = Opened::open(workload).await?;
    let engine = opened.engine(workload)?;
    let path = workload.store();
    sets::remove(&path)?;
    let store = Arc::new(RocksStore::open(&path, &RocksOptions::default())?);
    let clock = Arc::new(FixedClock(workload.as_of()));
    let project = opened.config.project.clone();
    let intake = Intake::new(engine, store, project, IntakeLimits::default());
    let materializer = Materializer::new(intake, Arc::clone(&opened.registry), clock);
    let definitions = &opened.version.definitions;
    let views = views(definitions, &[])?;
    let mut total = Materialized {
        views: views.len(),
        rows_read: 0,
        rows_written: 0,
        keys: 0,
        seconds: 0.0,
    };
    let start = Instant::now();
    let request = Request {
        definitions,
        views: &views,
        as_of: workload.as_of(),
        full: false,
        redo: false,
    };
    for ended in materializer.run(request, None).await? {
        let done = ended.result?;
        total.rows_read += done.rows_read;
        total.rows_written += done.rows_written;
        total.keys += done.counts.keys;
    }
    total.seconds = start.elapsed().as_secs_f64();
    Ok(total)
}
