//! The server, on what was materialized or will be pushed, with its clock standing at the workload's instant.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Result;
use asof_core::time::FixedClock;
use asof_online::{Durability, RocksOptions, RocksStore};
use asof_server::intake::{Intake, IntakeLimits};
use asof_server::materialize::Materializer;
use asof_server::streams::brokers;
use asof_server::{Limits, Listening, ServeParts, serve};
use serde::{Deserialize, Serialize};

use crate::workload::{Opened, Workload};

/// What a server serves, and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Served {
    /// A project.
    pub workload: Workload,
    /// Whether an answer to a push means that the rows are on the disk.
    pub sync: bool,
    /// Whether the streams of its sources are read.
    pub streams: bool,
    /// Whether rows that were read lately are kept in memory, beside RocksDB's blocks.
    pub row_cache: bool,
}

impl Served {
    /// As users get it.
    pub fn usual(workload: &Workload) -> Self {
        Self {
            workload: workload.clone(),
            sync: false,
            streams: false,
            row_cache: true,
        }
    }

    fn options(&self) -> RocksOptions {
        let usual = RocksOptions::default();
        let row_cache_bytes = if self.row_cache { usual.row_cache_bytes } else { 0 };
        let durability = if self.sync {
            Durability::Sync
        } else {
            usual.durability
        };
        RocksOptions {
            durability,
            row_cache_bytes,
            // The memory of both is the same.
            cache_bytes: usual.cache_bytes + usual.row_cache_bytes - row_cache_bytes,
            ..usual
        }
    }
}

/// Serves on a free port of the loopback, which `listening` is told, until `shutdown` is ready.
///
/// # Errors
///
/// A store or a port that cannot be opened.
pub async fn run(
    served: &Served,
    listening: impl FnOnce(SocketAddr) -> Result<()>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<()> {
    let workload = &served.workload;
    let opened = Opened::open(workload).await?;
    let store = Arc::new(RocksStore::open(&workload.store(), &served.options())?);
    let clock = Arc::new(FixedClock(workload.as_of()));
    let intake = Intake::new(
        opened.engine(workload)?,
        Arc::clone(&store),
        opened.config.project.clone(),
        IntakeLimits::default(),
    );
    let jobs = Materializer::new(intake.clone(), Arc::clone(&opened.registry), clock.clone());
    let parts = ServeParts {
        config: opened.config,
        store,
        registry: opened.registry,
        intake,
        jobs: Arc::new(jobs),
        wall: clock.clone(),
        clock,
        brokers: served.streams.then(|| brokers(|_| None)),
        backups: None,
        limits: Limits::default(),
    };
    let port = Listening::bind((Ipv4Addr::LOCALHOST, 0).into()).await?;
    listening(port.address())?;
    serve(parts, port, shutdown).await?;
    Ok(())
}
