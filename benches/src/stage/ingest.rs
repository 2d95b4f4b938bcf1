//! Files into the managed tables of a project, which are compacted then.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use asof_core::time::Clock;
use asof_offline::{CompactRequest, IngestRequest};
use asof_server::clock::SystemClock;
use serde::{Deserialize, Serialize};

use crate::workload::{Opened, Workload};

/// What to ingest, and where.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ingest {
    /// A project whose sources are managed.
    pub workload: Workload,
    /// The folder with a folder of files for each source.
    pub data: PathBuf,
}

/// What was ingested.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ingested {
    /// Rows of all tables.
    pub rows: u64,
    /// How long it took to take them in, a commit for each file.
    pub seconds: f64,
    /// How long it took to compact the tables then.
    pub compact_seconds: f64,
}

/// Ingests the files of each source in the order of their names, and compacts its table.
///
/// # Errors
///
/// Whatever the engine meets.
pub async fn run(ingest: &Ingest) -> Result<Ingested> {
    let opened = Opened::open(&ingest.workload).await?;
    let engine = opened.engine(&ingest.workload)?;
    let definitions = &opened.version.definitions;
    let start = Instant::now();
    let mut rows = 0;
    for (name, source) in &definitions.sources {
        for file in files(&ingest.data.join(name.as_str()))? {
            let request = IngestRequest {
                source,
                files: &[file],
                id: None,
                at: SystemClock.now(),
            };
            rows += engine.ingest(request).await?.rows;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let keys = definitions.entities.values();
    let keys = keys.map(|entity| entity.keys.iter().map(|key| key.name.clone()).collect());
    let keys: Vec<Vec<String>> = keys.collect();
    for source in definitions.sources.values() {
        let request = CompactRequest {
            source,
            keys: &keys,
            file_bytes: CompactRequest::FILE_BYTES,
            at: SystemClock.now(),
        };
        engine.compact(request).await?;
    }
    Ok(Ingested {
        rows,
        seconds,
        compact_seconds: start.elapsed().as_secs_f64(),
    })
}

/// The files of a folder in the order of their names.
///
/// # Errors
///
/// A folder that cannot be read.
pub fn files(folder: &std::path::Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
    let mut files = entries.collect::<Result<Vec<_>>>()?;
    files.sort();
    Ok(files)
}
