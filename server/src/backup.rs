//! Backups of a project: a copy of its online store and of its registry, and a list of their files.
//!
//! | in the directory | what it holds |
//! |---|---|
//! | `backup.json` | whose it is, as of when, and every other file with its size and checksum; written last |
//! | `registry.db` | every version of the definitions, and the runs |
//! | `online/` | the online store |
//!
//! The tables of managed sources are not in it: they are Delta tables, which are copied as such.

mod files;
mod making;
mod restore;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use asof_core::cancel::Cancellation;
use asof_core::name::ProjectName;
use asof_core::online::{OnlineStore, StoreError};
use asof_core::registry::{RegistryError, RegistryStore};
use asof_core::time::Timestamp;
use asof_online::{ReadBack, RocksStore, read_back};
use asof_proto::v1;
use asof_registry::{ProjectConfig, SqliteRegistry};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::task::{JoinError, spawn_blocking};

use crate::cancel::blocking;
use crate::places::note_backup;
use crate::project::ProjectStore;

use making::Making;

pub use files::CopiedFile;
pub use restore::{Restored, restore};

/// The format that this version writes, and the only one that it reads.
const FORMAT: u32 = 1;
const CONTENTS: &str = "backup.json";
const REGISTRY: &str = "registry.db";
const ONLINE: &str = "online";

/// What a backup holds: `backup.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backup {
    /// The number of the format.
    pub format: u32,
    /// The version of the program that wrote it.
    pub asof: String,
    /// The project.
    pub project: String,
    /// When it was taken.
    pub taken_at: String,
    /// The newest version of the definitions in it; 0 where nothing was applied.
    pub registry_version: u64,
    /// The entries of the online store.
    pub entries: u64,
    /// Its files.
    pub files: Vec<CopiedFile>,
}

impl Backup {
    /// The bytes of its files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// What is told of it on the wire, where it was taken at `at`.
    pub fn to_wire(&self, at: Timestamp) -> v1::BackupResponse {
        v1::BackupResponse {
            taken_at_micros: at.micros(),
            registry_version: self.registry_version,
            entries: self.entries,
            files: self.files.len() as u64,
            bytes: self.bytes(),
        }
    }
}

/// Why there is no backup, or none that can be restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It cannot be there, or is not a backup of this project.
    #[error("{place} {reason}")]
    Refused {
        /// The directory or file.
        place: String,
        /// Why, and what to do.
        reason: String,
    },
    /// A file is not as it was when the backup was taken.
    #[error("the backup is damaged: {place} {reason}: use another backup")]
    Damaged {
        /// The file.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The disk that it goes to is full.
    #[error("no space is left for the backup at {place}: {reason}")]
    NoSpace {
        /// The file or directory.
        place: String,
        /// What the system said.
        reason: String,
    },
    /// The system refused to read or to write.
    #[error("{place}: {reason}")]
    Failed {
        /// The file or directory.
        place: String,
        /// What the system said.
        reason: String,
    },
    /// The online store, or its copy.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Files of the online store, or of its copy.
    #[error("{}", lines(.0))]
    Files(Vec<StoreError>),
    /// The registry, or its copy.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

fn lines(errors: &[StoreError]) -> String {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

impl From<Vec<StoreError>> for BackupError {
    fn from(mut errors: Vec<StoreError>) -> Self {
        match errors.pop() {
            Some(only) if errors.is_empty() => Self::Store(only),
            last => Self::Files(errors.into_iter().chain(last).collect()),
        }
    }
}

/// What takes backups.
#[async_trait]
pub trait Backups: Send + Sync {
    /// Takes one into a directory that is not there yet, or is empty. One that is a trial is not kept, and not noted. The
    /// work ends soon after its future is dropped, and leaves nothing behind.
    async fn take(&self, directory: &Path, at: Timestamp, is_trial: bool) -> Result<Backup, BackupError>;
}

/// The parts of a project that a backup holds, while others go on reading and writing.
#[derive(Clone)]
pub struct ProjectBackups {
    config: ProjectConfig,
    store: Arc<ProjectStore>,
    registry: Arc<SqliteRegistry>,
}

impl ProjectBackups {
    /// Of these. What a backup that was killed left beside the store is removed: it holds files that the store has done
    /// with.
    pub fn new(config: ProjectConfig, store: Arc<ProjectStore>, registry: Arc<SqliteRegistry>) -> Self {
        if let ProjectStore::Rocks(store) = &*store
            && let Some(beside) = beside(store)
        {
            making::remove_left_behind(&beside);
        }
        Self {
            config,
            store,
            registry,
        }
    }
}

#[async_trait]
impl Backups for ProjectBackups {
    async fn take(&self, directory: &Path, at: Timestamp, is_trial: bool) -> Result<Backup, BackupError> {
        let (cancellation, _guard) = Cancellation::on_drop();
        // It is not dropped between two steps, and so takes away itself what it made.
        let making = self
            .clone()
            .make(directory.to_owned(), at, is_trial, cancellation);
        tokio::spawn(making).await.map_err(ended_early)?
    }
}

impl ProjectBackups {
    async fn make(
        self,
        directory: PathBuf,
        at: Timestamp,
        is_trial: bool,
        cancellation: Cancellation,
    ) -> Result<Backup, BackupError> {
        let Self {
            config,
            store,
            registry,
        } = self;
        let (cancelled, to) = (cancellation.clone(), directory.clone());
        let copied = spawn_blocking(move || {
            let ProjectStore::Rocks(store) = &*store else {
                return Err(on_servers(&store.place()));
            };
            let making = Making::begin(&files::new_directory(&to)?)?;
            let read = copy_store(store, &making, &cancelled)?;
            Ok((making, read))
        });
        let (making, read) = copied.await.map_err(ended_early)??;
        // After the store: what is served was applied, and what was applied may be served later.
        let copy = making.path().join(REGISTRY);
        registry.copy_to(&copy).await?;
        let registry_version = read_registry(&copy, &config.project).await?;
        let mut backup = Backup {
            format: FORMAT,
            asof: env!("CARGO_PKG_VERSION").to_owned(),
            project: config.project.to_string(),
            taken_at: at.to_string(),
            registry_version,
            entries: read.entries,
            files: Vec::new(),
        };
        let ended = spawn_blocking(move || {
            backup.files = files::list(making.path(), &[REGISTRY], ONLINE, &cancellation)?;
            if is_trial {
                return Ok(backup);
            }
            let text = serde_json::to_vec_pretty(&backup).unwrap_or_default();
            files::write(&making.path().join(CONTENTS), &text)?;
            if cancellation.is_cancelled() {
                return Err(StoreError::Cancelled.into());
            }
            making.place(&directory)?;
            note_backup(&config.directory, &directory, at);
            Ok(backup)
        });
        ended.await.map_err(ended_early)?
    }
}

/// Copies the online store. To another file system RocksDB would copy all at once, whether anybody waits or not: there the
/// store is linked beside itself first, and the links are copied step by step.
fn copy_store(
    store: &RocksStore,
    making: &Making,
    cancellation: &Cancellation,
) -> Result<ReadBack, BackupError> {
    let any = store.path().join("CURRENT");
    let links = match making.can_link(&any) {
        true => None,
        false => beside(store)
            .and_then(|beside| Making::begin(&beside).ok())
            .filter(|links| links.can_link(&any)),
    };
    let through = links.as_ref().map(|links| links.path().join(ONLINE));
    store
        .copy_to(&making.path().join(ONLINE), through.as_deref(), cancellation)
        .map_err(of_copy)
}

/// The directory that the store's own is in, wherever a link leads.
fn beside(store: &RocksStore) -> Option<PathBuf> {
    let path = std::fs::canonicalize(store.path()).ok()?;
    Some(parent_of(&path))
}

/// Reads all of a backup: its list, its files against it, and what is in them.
///
/// # Errors
///
/// [`BackupError`]: no backup, or one that is damaged.
pub async fn verify(directory: &Path) -> Result<Backup, BackupError> {
    let backup = contents(directory)?;
    let project = ProjectName::parse(&backup.project).map_err(|error| BackupError::Damaged {
        place: directory.join(CONTENTS).display().to_string(),
        reason: error.to_string(),
    })?;
    let (place, files) = (directory.to_owned(), backup.files.clone());
    let read = blocking(move |cancellation| {
        for file in &files {
            file.check(&place, cancellation)?;
        }
        read_back(&place.join(ONLINE), cancellation).map_err(BackupError::from)
    });
    read.await.map_err(ended_early)??;
    read_registry(&directory.join(REGISTRY), &project).await?;
    Ok(backup)
}

/// The newest version in a copy of a registry, all of which is read.
async fn read_registry(file: &Path, project: &ProjectName) -> Result<u64, BackupError> {
    let registry = SqliteRegistry::open_copy(file).await?;
    registry.read_back(project).await?;
    let head = registry.head(project).await?;
    registry.close().await;
    Ok(head.map_or(0, |head| head.number))
}

fn contents(directory: &Path) -> Result<Backup, BackupError> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let file = directory.join(CONTENTS);
    let refused = |reason: String| BackupError::Refused {
        place: file.display().to_string(),
        reason,
    };
    let text = match std::fs::read(&file) {
        Ok(text) => text,
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
            ) =>
        {
            return Err(refused(
                "is not there: name a directory that `asof backup` wrote".to_owned(),
            ));
        }
        Err(error) => return Err(files::failed(&file, &error)),
    };
    let unreadable = |error: serde_json::Error| BackupError::Damaged {
        place: file.display().to_string(),
        reason: format!("cannot be read: {error}"),
    };
    let Format { format } = serde_json::from_slice(&text).map_err(unreadable)?;
    if format != FORMAT {
        return Err(refused(format!(
            "is of format {format}, and this version of asof reads format {FORMAT}: use the version that wrote it"
        )));
    }
    let backup: Backup = serde_json::from_slice(&text).map_err(unreadable)?;
    match backup.files.iter().find(|file| !file.is_plain(REGISTRY, ONLINE)) {
        Some(strange) => Err(BackupError::Damaged {
            place: file.display().to_string(),
            reason: format!("lists {:?}, which is no file of a backup", strange.path),
        }),
        None => Ok(backup),
    }
}

/// Why the online store was not copied. Where there is no room, it is the copy that has none.
fn of_copy(errors: Vec<StoreError>) -> BackupError {
    match errors.into() {
        BackupError::Store(StoreError::Full { place, reason }) => BackupError::NoSpace { place, reason },
        error => error,
    }
}

/// Why a store that is on servers is not copied here.
fn on_servers(place: &str) -> BackupError {
    BackupError::Refused {
        place: place.to_owned(),
        reason: "keeps the online store on servers: copy it by their own means, and the registry and the tables as files"
            .to_owned(),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "as errors are mapped")]
fn ended_early(error: JoinError) -> BackupError {
    BackupError::Failed {
        place: "the backup".to_owned(),
        reason: error.to_string(),
    }
}

/// A path, as messages name it.
fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// The directory above.
fn parent_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}
