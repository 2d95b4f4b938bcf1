//! A project opened in this process: its configuration, registry, engine and online store.

mod store;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use asof_core::name::ProjectName;
use asof_core::online::StoreError;
use asof_core::registry::{RegistryError, RegistryStore, Version};
use asof_core::time::Timestamp;
use asof_offline::{Engine, EngineOptions, OfflineError, Origin};
use asof_online::{Durability, RocksOptions, RocksStore, has_intake};
use asof_redis::{RedisOptions, RedisStore};
use asof_registry::{AuthoredFile, LoadError, OnlineDurability, ProjectConfig, SqliteRegistry};
use serde::{Deserialize, Serialize};

use crate::access::{Access, AccessError, Tls, Token};
use crate::intake::{Intake, IntakeLimits};
use crate::places::{lost_writes, what_was_lost};
use crate::process::ran_since;
use crate::streams::{Brokers, brokers};

/// Bytes of rows that are not in files yet, whatever memory there is: fewer make many small files, more make a start
/// after a kill long.
const LEAST_WRITE_BUFFER: usize = 4 << 20;
const MOST_WRITE_BUFFER: usize = 64 << 20;

pub use store::ProjectStore;

/// Where a server tells others in the project how to reach it.
const SERVER_FILE: &str = ".asof/server.json";
/// There while a backup is being put in place: it holds the name of the backup.
const RESTORING_FILE: &str = ".asof/restoring";

/// A project's directory and configuration.
pub struct Project {
    /// Its configuration.
    pub config: ProjectConfig,
    surroundings: Surroundings,
}

/// What a project is given by the process that it is opened in.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings {
    /// A variable of the environment, by its name.
    pub environment: fn(&str) -> Option<String>,
    /// Tells the user what goes on although something is not as it should be.
    pub warn: fn(&str),
}

/// Why a project cannot be worked with.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    /// Its configuration or its files cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Nothing was applied.
    #[error("nothing is registered yet: run `asof apply` first")]
    NothingApplied,
    /// The registry cannot be read.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The engine cannot be set up.
    #[error(transparent)]
    Offline(#[from] OfflineError),
    /// The online store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A restore was cut short, or is at it.
    #[error(
        "the backup in {backup} was not restored to its end: run `asof restore {backup}` again, and then this"
    )]
    Restoring {
        /// The backup.
        backup: String,
    },
    /// Others cannot be told of the server.
    #[error("{path} cannot be written: {reason}")]
    Unannounced {
        /// The file.
        path: String,
        /// What the system said.
        reason: String,
    },
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
    pub fn open(directory: &Path, surroundings: Surroundings) -> Result<Self, ProjectError> {
        Ok(Self {
            config: asof_registry::load_config(directory, surroundings.environment)?,
            surroundings,
        })
    }

    /// Its definition files.
    pub fn files(&self) -> Result<Vec<AuthoredFile>, ProjectError> {
        let (_, files) = asof_registry::load(&self.config.directory, self.surroundings.environment)?;
        Ok(files)
    }

    /// Its name.
    pub fn name(&self) -> &ProjectName {
        &self.config.project
    }

    /// Its registry.
    pub async fn registry(&self) -> Result<SqliteRegistry, ProjectError> {
        self.check_restored()?;
        Ok(SqliteRegistry::open(&self.config.registry_path()).await?)
    }

    /// The newest applied version; an error where nothing was applied.
    pub async fn head(&self, registry: &SqliteRegistry) -> Result<Version, ProjectError> {
        registry
            .head(self.name())
            .await?
            .ok_or(ProjectError::NothingApplied)
    }

    /// Its offline engine.
    pub fn engine(&self, options: EngineOptions) -> Result<Engine, ProjectError> {
        let allow: Vec<PathBuf> = self.config.offline_allow.iter().map(PathBuf::from).collect();
        let tables = Path::new(&self.config.offline_root);
        Ok(Engine::open(&self.config.directory, tables, &allow, options)?)
    }

    /// Its online store, for this process alone.
    pub fn store(&self) -> Result<Arc<ProjectStore>, ProjectError> {
        let store = self.store_quietly()?;
        if let Some(lost) = lost_writes(&self.config) {
            (self.surroundings.warn)(&format!("warning: {}", what_was_lost(&lost)));
        }
        Ok(store)
    }

    /// The same for those who tell themselves what it has lost.
    pub fn store_quietly(&self) -> Result<Arc<ProjectStore>, ProjectError> {
        self.check_restored()?;
        let store = match self.config.online_servers() {
            Some(url) => ProjectStore::Redis(self.redis(url)?),
            None => ProjectStore::Rocks(self.rocks()?),
        };
        Ok(Arc::new(store))
    }

    fn redis(&self, url: &str) -> Result<RedisStore, StoreError> {
        let options = RedisOptions {
            // Projects may share servers.
            namespace: format!("asof.{}", self.name()),
            durability: match self.config.online_durability {
                OnlineDurability::Process => asof_redis::Durability::Process,
                OnlineDurability::Sync => asof_redis::Durability::Sync,
            },
            tls: asof_redis::TlsFiles {
                authority: self.config.online_authority.clone(),
                certificate: self
                    .config
                    .online_tls
                    .clone()
                    .map(|files| (files.certificate, files.key)),
            },
            ..RedisOptions::new(url)
        };
        RedisStore::open(&options)
    }

    fn rocks(&self) -> Result<RocksStore, StoreError> {
        let memory = usize::try_from(self.config.online_memory).unwrap_or(usize::MAX);
        let options = RocksOptions {
            durability: match self.config.online_durability {
                OnlineDurability::Process => Durability::Process,
                OnlineDurability::Sync => Durability::Sync,
            },
            cache_bytes: memory / 2,
            row_cache_bytes: memory / 2,
            write_buffer_bytes: (memory / 8).clamp(LEAST_WRITE_BUFFER, MOST_WRITE_BUFFER),
        };
        RocksStore::open(&self.config.online_path(), &options)
    }

    /// Where the streams are that fill the sources of the project.
    pub fn brokers(&self) -> Arc<dyn Brokers> {
        brokers(self.surroundings.environment)
    }

    /// Whether there is an online store.
    pub fn has_store(&self) -> bool {
        self.config.online_servers().is_some() || self.config.online_path().is_dir()
    }

    /// Whether the online store may hold pushed rows that are not in their tables yet.
    pub fn has_pushed(&self) -> bool {
        self.config.online_servers().is_some() || has_intake(&self.config.online_path())
    }

    /// What takes the rows that are pushed, for this process alone.
    pub fn intake(&self) -> Result<Intake<ProjectStore>, ProjectError> {
        self.intake_of(self.store()?)
    }

    /// The same with the store that this process has open.
    pub fn intake_of(&self, store: Arc<ProjectStore>) -> Result<Intake<ProjectStore>, ProjectError> {
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

    /// What its server asks of those who call it.
    ///
    /// # Errors
    ///
    /// A token that is not set, or files that cannot be used.
    pub fn access(&self) -> Result<Access, AccessError> {
        let variable = self.config.token_variable.as_deref();
        let token =
            variable.map(|name| Token::of_variable(name, (self.surroundings.environment)(name).as_deref()));
        let tls = self.config.tls.as_ref();
        let tls = tls.map(|files| Tls::load(&files.certificate, &files.key));
        Ok(Access {
            token: token.transpose()?,
            tls: tls.transpose()?,
            insecure: self.config.insecure,
        })
    }

    /// Where a restore says that it is at work.
    pub(crate) fn restoring_file(&self) -> PathBuf {
        self.config.directory.join(RESTORING_FILE)
    }

    fn check_restored(&self) -> Result<(), ProjectError> {
        match std::fs::read_to_string(self.restoring_file()) {
            Ok(backup) => Err(ProjectError::Restoring { backup }),
            Err(_) => Ok(()),
        }
    }

    fn server_file(&self) -> PathBuf {
        self.config.directory.join(SERVER_FILE)
    }

    /// Tells other processes that a server serves this project.
    pub fn announce(&self, server: &RunningServer) -> Result<(), ProjectError> {
        let path = self.server_file();
        let text = serde_json::to_string(server).unwrap_or_default();
        std::fs::write(&path, text).map_err(|error| ProjectError::Unannounced {
            path: path.display().to_string(),
            reason: error.to_string(),
        })
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
