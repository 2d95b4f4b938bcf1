//! A set to measure on, and its project as the stages open it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use asof_core::registry::{RegistryStore, Version};
use asof_core::service::ReadPlan;
use asof_core::time::{Clock, Timestamp};
use asof_offline::{Engine, EngineOptions};
use asof_registry::{Authored, ProjectConfig, SqliteRegistry, apply, load, plan};
use asof_server::clock::SystemClock;
use serde::{Deserialize, Serialize};

/// A project with data, a service of it, and a spine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// What the table calls it.
    pub name: String,
    /// The project directory, which is only read.
    pub project: PathBuf,
    /// Where its registry, online store and datasets go.
    pub scratch: PathBuf,
    /// The service.
    pub service: String,
    /// The spine; its column of instants is `event_timestamp`.
    pub spine: PathBuf,
    /// The instant as of which it is materialized and served, in microseconds since the Unix epoch.
    pub as_of_micros: i64,
    /// How many threads work on it; as many as there are cores where it is `None`.
    pub threads: Option<usize>,
}

impl Workload {
    /// The instant as of which it is materialized and served.
    pub fn as_of(&self) -> Timestamp {
        Timestamp::from_micros(self.as_of_micros)
    }

    /// Where its online store is.
    pub fn store(&self) -> PathBuf {
        self.scratch.join("online")
    }

    /// Where a dataset of it goes.
    pub fn dataset(&self) -> PathBuf {
        self.scratch.join("extract.parquet")
    }
}

/// A workload's project, applied.
pub struct Opened {
    /// Its configuration.
    pub config: ProjectConfig,
    /// Its registry.
    pub registry: Arc<SqliteRegistry>,
    /// The definitions in force.
    pub version: Version,
    /// What the service reads.
    pub plan: ReadPlan,
}

impl Opened {
    /// Reads the project's files and applies them.
    ///
    /// # Errors
    ///
    /// Definitions that are wrong, and a scratch directory that cannot be written.
    pub async fn open(workload: &Workload) -> Result<Self> {
        let (config, files) = load(&workload.project, |_| None)?;
        let registry = SqliteRegistry::open(&workload.scratch.join("registry.db")).await?;
        let head = registry.head(&config.project).await?;
        let planned = plan(head.as_ref(), Authored::parse(&config, &files)?)?;
        let version = apply(&registry, &planned, true, SystemClock.now()).await?;
        let plan = ReadPlan::of_service(&version.definitions, &workload.service)?;
        Ok(Self {
            config,
            registry: Arc::new(registry),
            version,
            plan,
        })
    }

    /// An engine with the options that users get, on the workload's threads.
    ///
    /// # Errors
    ///
    /// A project directory that cannot be read.
    pub fn engine(&self, workload: &Workload) -> Result<Engine> {
        let tables = absolute(&workload.scratch)?.join("offline");
        let defaults = EngineOptions::default();
        let options = EngineOptions {
            readers: workload.threads.unwrap_or(defaults.readers),
            ..defaults
        };
        Ok(Engine::open(&workload.project, &tables, &[], options)?)
    }
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("cannot tell where {} is", path.display()))
}
