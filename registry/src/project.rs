//! A project's directory: its configuration `asof.toml`, and its definition files under `features/`.

mod config;
mod discover;
mod listen;

use std::io::Read;
use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};

use asof_core::name::ProjectName;

use crate::document::MAX_FILE_BYTES;
use crate::problem::Problems;

pub use listen::{ListenError, parse_listen};

/// The name of the configuration file.
pub const CONFIG_FILE: &str = "asof.toml";

/// How the URL of an online store in a directory begins.
const LOCAL_STORE: &str = "rocksdb://";
/// How the URLs of online stores on servers begin, and whether these are reached over TLS.
const STORE_SERVERS: [(&str, bool); 8] = [
    ("redis://", false),
    ("redis+cluster://", false),
    ("valkey://", false),
    ("valkey+cluster://", false),
    ("rediss://", true),
    ("rediss+cluster://", true),
    ("valkeys://", true),
    ("valkeys+cluster://", true),
];

/// What `asof.toml` says, with the defaults of what it does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectConfig {
    /// The directory of the project, as given to [`load`].
    pub directory: PathBuf,
    /// Its name.
    pub project: ProjectName,
    /// Where the registry is: `sqlite://` and a path.
    pub registry_url: String,
    /// Where managed tables are: a path.
    pub offline_root: String,
    /// Directories outside the project that sources may read from, as written.
    pub offline_allow: Vec<String>,
    /// Where the online store is: `rocksdb://` and a path, or the servers of a Redis.
    pub online_url: String,
    /// What a write to the online store survives that was acknowledged.
    pub online_durability: OnlineDurability,
    /// Bytes of memory for what was read of the online store lately.
    pub online_memory: u64,
    /// The authority that signed the certificates of the servers of the online store, where the machine does not trust it.
    pub online_authority: Option<PathBuf>,
    /// A certificate to show to these servers, and its key.
    pub online_tls: Option<TlsFiles>,
    /// Where the server listens.
    pub listen: SocketAddr,
    /// The environment variable with the token that calls of the server bring, where they need one.
    pub token_variable: Option<String>,
    /// The server's certificate and its key, where it speaks TLS.
    pub tls: Option<TlsFiles>,
    /// Whether the server may be reached from other machines without a token or without TLS.
    pub insecure: bool,
}

/// Files in PEM, below the project's directory where they are relative.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and those that lead to the one that clients trust.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// What a write to the online store survives that was acknowledged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnlineDurability {
    /// The death of the process, not that of the machine.
    #[default]
    Process,
    /// A power cut.
    Sync,
}

impl ProjectConfig {
    /// The configuration of a project that sets nothing but its name.
    pub fn new(directory: &Path, project: ProjectName) -> Self {
        Self {
            directory: directory.to_owned(),
            project,
            registry_url: "sqlite://.asof/registry.db".into(),
            offline_root: ".asof/offline".into(),
            offline_allow: Vec::new(),
            online_url: "rocksdb://.asof/online".into(),
            online_durability: OnlineDurability::default(),
            online_memory: 512 << 20,
            online_authority: None,
            online_tls: None,
            listen: listen::DEFAULT,
            token_variable: None,
            tls: None,
            insecure: false,
        }
    }

    /// The file of the registry.
    pub fn registry_path(&self) -> PathBuf {
        self.in_project(&self.registry_url)
    }

    /// The directory of managed tables.
    pub fn offline_path(&self) -> PathBuf {
        self.in_project(&self.offline_root)
    }

    /// The directory of the online store, where it is in one.
    pub fn online_path(&self) -> PathBuf {
        self.in_project(&self.online_url)
    }

    /// The URL of the servers that keep the online store, where it is not in a directory. It may hold a password.
    pub fn online_servers(&self) -> Option<&str> {
        let is_local = self.online_url.starts_with(LOCAL_STORE);
        (!is_local).then_some(self.online_url.as_str())
    }

    fn in_project(&self, url: &str) -> PathBuf {
        let path = url.split_once("://").map_or(url, |(_, path)| path);
        below(&self.directory, path)
    }
}

/// A path below a directory, without the `./` of this one.
fn below(directory: &Path, path: &str) -> PathBuf {
    let path = directory.join(path);
    let parts = path.components().filter(|part| *part != Component::CurDir);
    parts.collect()
}

/// One definition file as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthoredFile {
    /// Relative to the project, with `/`: what messages call it.
    pub path: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Why a project cannot be loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// No `asof.toml`.
    #[error(
        "{directory} is not a project: it has no asof.toml; run `asof init` there to start one, or name a project with --project DIR"
    )]
    NotAProject {
        /// Where it was looked for.
        directory: String,
    },
    /// A file or directory cannot be read.
    #[error("{path} cannot be read: {reason}; check that it exists and that you may read it")]
    Unreadable {
        /// Which.
        path: String,
        /// What the system says.
        reason: String,
    },
    /// The files are there, and wrong.
    #[error(transparent)]
    Problems(#[from] Problems),
}

/// Reads the configuration of the project in `directory` and all its definition files, in byte order of
/// their paths. `env` resolves references of the form `env:NAME`.
pub fn load(
    directory: &Path,
    env: impl Fn(&str) -> Option<String>,
) -> Result<(ProjectConfig, Vec<AuthoredFile>), LoadError> {
    let config = load_config(directory, env)?;
    let files = discover::files(directory)?;
    Ok((config, files))
}

/// Reads the configuration alone.
pub fn load_config(
    directory: &Path,
    env: impl Fn(&str) -> Option<String>,
) -> Result<ProjectConfig, LoadError> {
    let path = below(directory, CONFIG_FILE);
    if !path.exists() {
        return Err(LoadError::NotAProject {
            directory: directory.display().to_string(),
        });
    }
    let bytes = read_capped(&path)?;
    Ok(config::parse(directory, &bytes, env)?)
}

/// The bytes of a file, at most one more than [`MAX_FILE_BYTES`].
fn read_capped(path: &Path) -> Result<Vec<u8>, LoadError> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| unreadable(path, &error))?;
    Ok(bytes)
}

fn unreadable(path: &Path, error: &std::io::Error) -> LoadError {
    LoadError::Unreadable {
        path: path.display().to_string(),
        reason: error.to_string(),
    }
}
