//! A project opened in this process: its configuration, registry, engine and online store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use asof_core::name::ProjectName;
use asof_core::registry::{RegistryStore, Version};
use asof_core::time::{Clock, FixedClock, Timestamp};
use asof_offline::{Engine, EngineOptions, Origin};
use asof_online::{Durability, Recovery, RocksOptions, RocksStore, has_intake};
use asof_registry::{AuthoredFile, OnlineDurability, ProjectConfig, SqliteRegistry};
use asof_server::clock::SystemClock;
use asof_server::intake::{Intake, IntakeLimits};
use serde::{Deserialize, Serialize};

use crate::exit::{Exit, Failure};
use crate::output;
use crate::process::ran_since;

/// Where a server tells others in the project how to reach it.
const SERVER_FILE: &str = ".asof/server.json";

/// A project's directory and configuration.
pub struct Project {
    /// Its configuration.
    pub config: ProjectConfig,
}

/// A server that says it serves the project.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunningServer {
    /// Its process.
    pub pid: u32,
    /// Its URL.
    pub url: String,
}

impl Project {
    /// Reads the configuration of the project in `directory`.
    pub fn open(directory: &Path) -> Result<Self, Failure> {
        Ok(Self {
            config: asof_registry::load_config(directory, environment)?,
        })
    }

    /// Its definition files.
    pub fn files(&self) -> Result<Vec<AuthoredFile>, Failure> {
        let (_, files) = asof_registry::load(&self.config.directory, environment)?;
        Ok(files)
    }

    /// Its name.
    pub fn name(&self) -> &ProjectName {
        &self.config.project
    }

    /// Its registry.
    pub async fn registry(&self) -> Result<SqliteRegistry, Failure> {
        Ok(SqliteRegistry::open(&self.config.registry_path()).await?)
    }

    /// The newest applied version; an error where nothing was applied.
    pub async fn head(&self, registry: &SqliteRegistry) -> Result<Version, Failure> {
        registry.head(self.name()).await?.ok_or_else(|| {
            Failure::new(
                Exit::Definition,
                "nothing is registered yet: run `asof apply` first",
            )
        })
    }

    /// Its offline engine.
    pub fn engine(&self, options: EngineOptions) -> Result<Engine, Failure> {
        let allow: Vec<PathBuf> = self.config.offline_allow.iter().map(PathBuf::from).collect();
        let tables = Path::new(&self.config.offline_root);
        Ok(Engine::open(&self.config.directory, tables, &allow, options)?)
    }

    /// Its online store, for this process alone.
    pub fn store(&self) -> Result<Arc<RocksStore>, Failure> {
        let memory = usize::try_from(self.config.online_memory).unwrap_or(usize::MAX);
        let options = RocksOptions {
            durability: match self.config.online_durability {
                OnlineDurability::Process => Durability::Process,
                OnlineDurability::Sync => Durability::Sync,
            },
            cache_bytes: memory / 2,
            row_cache_bytes: memory / 2,
            ..RocksOptions::default()
        };
        let store = RocksStore::open(&self.config.online_path(), &options)?;
        match store.recovery() {
            Recovery::Complete => {}
            Recovery::Lost(changes) => output::note(&format!(
                "warning: the last {changes} changes to the online store are lost, as after a power cut: run `asof materialize --full`"
            )),
            Recovery::Unknown => output::note(
                "warning: the online store has lost its mark of what was acknowledged: it cannot tell whether a power cut took anything",
            ),
        }
        Ok(Arc::new(store))
    }

    /// Whether there is an online store.
    pub fn has_store(&self) -> bool {
        self.config.online_path().is_dir()
    }

    /// Whether the online store may hold pushed rows that are not in their tables yet.
    pub fn has_pushed(&self) -> bool {
        has_intake(&self.config.online_path())
    }

    /// What takes the rows that are pushed, for this process alone.
    pub fn intake(&self) -> Result<Intake<RocksStore>, Failure> {
        self.intake_of(self.store()?)
    }

    /// The same with the store that this process has open.
    pub fn intake_of(&self, store: Arc<RocksStore>) -> Result<Intake<RocksStore>, Failure> {
        let engine = self.engine(EngineOptions::default())?;
        let limits = IntakeLimits::default();
        Ok(Intake::new(engine, store, self.name().clone(), limits))
    }

    /// Where definitions come from, for a manifest.
    pub fn origin(&self, version: &Version, service: Option<&str>) -> Origin {
        Origin {
            project: self.name().to_string(),
            registry_version: version.number,
            definitions_digest: version.digest.clone(),
            service: service.map(ToOwned::to_owned),
        }
    }

    fn server_file(&self) -> PathBuf {
        self.config.directory.join(SERVER_FILE)
    }

    /// Tells other processes that a server serves this project.
    pub fn announce(&self, server: &RunningServer) -> Result<(), Failure> {
        let path = self.server_file();
        let text = serde_json::to_string(server).unwrap_or_default();
        std::fs::write(&path, text)
            .map_err(|error| Failure::unavailable(format!("{} cannot be written: {error}", path.display())))
    }

    /// Takes the announcement back.
    pub fn withdraw(&self) {
        // A file that stays names a process that is gone, which nobody believes.
        let _ = std::fs::remove_file(self.server_file());
    }

    /// The server that serves this project, where its process is alive.
    pub fn running_server(&self) -> Option<RunningServer> {
        let file = self.server_file();
        let text = std::fs::read_to_string(&file).ok()?;
        let server: RunningServer = serde_json::from_str(&text).ok()?;
        let announced = file.metadata().ok()?.modified().ok()?;
        let announced = announced.duration_since(std::time::UNIX_EPOCH).ok()?.as_micros();
        let announced = Timestamp::from_micros(i64::try_from(announced).ok()?);
        ran_since(server.pid, announced).then_some(server)
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "the binary reads the environment for the libraries"
)]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The clock, or one frozen at an instant that the user gave.
pub fn clock(now: Option<&str>) -> Result<Arc<dyn Clock>, Failure> {
    Ok(match now {
        Some(text) => Arc::new(FixedClock(Timestamp::parse(text)?)),
        None => Arc::new(SystemClock),
    })
}
