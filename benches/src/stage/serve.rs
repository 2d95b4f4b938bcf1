//! The server, on what was materialized or will be pushed, with its clock standing at the workload's instant.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Result;
use asof_core::time::FixedClock;
use asof_online::{Durability, RocksOptions, RocksStore};
use asof_server::intake::{Intake, IntakeLimits};
use asof_server::materialize::Materializer;
use asof_server::{Limits, Listening, ServeParts, serve};

use crate::workload::{Opened, Workload};

/// Serves on a free port of the loopback, which `listening` is told, until `shutdown` is ready.
///
/// # Errors
///
/// A store or a port that cannot be opened.
pub async fn run(
    workload: &Workload,
    durability: Durability,
    listening: impl FnOnce(SocketAddr) -> Result<()>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<()> {
    let opened = Opened::open(workload).await?;
    let options = RocksOptions {
        durability,
        ..RocksOptions::default()
    };
    let store = Arc::new(RocksStore::open(&workload.store(), &options)?);
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
        limits: Limits::default(),
    };
    let port = Listening::bind((Ipv4Addr::LOCALHOST, 0).into()).await?;
    listening(port.address())?;
    serve(parts, port, shutdown).await?;
    Ok(())
}
