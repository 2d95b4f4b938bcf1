//! From the path in a source's definition to the files it means, in byte order of their paths.
//!
//! Paths are relative to the project and stay inside it, links included; others only under a root that
//! `[offline] allow` lists.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::error::{OfflineError, Result};

/// The most files that one source may have.
pub const MAX_FILES: usize = 1 << 24;

/// A file of a source, as it was when the source was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Its path as messages and manifests give it: relative to the project where it lies inside.
    pub path: String,
    /// Where it is.
    pub location: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// When it was last written, in nanoseconds since the Unix epoch; for a file of a Delta table, the
    /// time in its log.
    pub modified: i128,
    /// What else tells this file from another of the same path: a Delta deletion vector.
    pub tag: Option<String>,
}

/// What a path means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Located {
    /// Plain files of one format, at least one.
    Files(Format, Vec<SourceFile>),
    /// The directory of a Delta table.
    Delta(PathBuf),
}

/// The format of plain files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Apache Parquet.
    Parquet,
    /// Comma-separated values with a header line.
    Csv,
}

impl Format {
    /// The format that a path's ending says.
    pub fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "parquet" | "pq" => Some(Self::Parquet),
            "csv" => Some(Self::Csv),
            _ => None,
        }
    }
}

/// Where files may lie.
#[derive(Debug, Clone)]
pub struct Roots {
    project: PathBuf,
    allowed: Vec<PathBuf>,
}

impl Roots {
    /// The project's directory and the further roots that its configuration allows.
    pub fn new(project: &Path, allow: &[PathBuf]) -> Result<Self> {
        let canonical = |path: &Path| {
            path.canonicalize()
                .map_err(|error| OfflineError::io(path, &error))
        };
        let project = canonical(project)?;
        let allowed = allow
            .iter()
            .map(|path| canonical(&project.join(path)))
            .collect::<Result<_>>()?;
        Ok(Self { project, allowed })
    }

    /// The project's directory, canonical.
    pub fn project(&self) -> &Path {
        &self.project
    }

    /// What `path`, as a definition of `source` writes it, means.
    pub fn locate(&self, source: &str, path: &str) -> Result<Located> {
        if path.contains("://") {
            return Err(OfflineError::Definition(format!(
                "source {source}: path {path:?} is a URL: this version reads files and directories only"
            )));
        }
        let files = if path.contains(['*', '?', '[']) {
            self.glob(source, path)?
        } else {
            let whole = self.project.join(path);
            let found = self.inside(source, &whole)?;
            if found.is_dir() {
                if found.join("_delta_log").is_dir() {
                    return Ok(Located::Delta(found));
                }
                self.directory(source, &found)?
            } else {
                vec![found]
            }
        };
        self.same_format(source, path, files)
    }

    /// A file that a manifest names, as it is now.
    pub(crate) fn recorded(&self, source: &str, path: &Path) -> Result<SourceFile> {
        self.source_file(self.inside(source, path)?)
    }

    /// The canonical form of a path, which must lie where files may lie.
    pub(crate) fn inside(&self, source: &str, path: &Path) -> Result<PathBuf> {
        let canonical = path.canonicalize().map_err(|error| {
            let what = match error.kind() {
                std::io::ErrorKind::NotFound if path.is_symlink() => "is a link to nothing".into(),
                std::io::ErrorKind::NotFound => "does not exist".into(),
                _ => format!("cannot be read: {error}"),
            };
            OfflineError::Data(format!("source {source}: {} {what}", self.shown(path)))
        })?;
        let roots = std::iter::once(&self.project).chain(&self.allowed);
        if !roots.into_iter().any(|root| canonical.starts_with(root)) {
            return Err(OfflineError::Definition(format!(
                "source {source}: {} leads outside the project, to {}: list that directory under \
                 [offline] allow in asof.toml if it is meant",
                self.shown(path),
                canonical.display()
            )));
        }
        Ok(canonical)
    }

    fn glob(&self, source: &str, pattern: &str) -> Result<Vec<PathBuf>> {
        let bad = |reason: String| {
            OfflineError::Definition(format!(
                "source {source}: the glob {pattern:?} cannot be read: {reason}"
            ))
        };
        let absolute = if Path::new(pattern).is_absolute() {
            pattern.to_owned()
        } else {
            let root = self
                .project
                .to_str()
                .ok_or_else(|| bad("the project's path is not UTF-8".into()))?;
            format!("{}/{pattern}", glob::Pattern::escape(root))
        };
        let options = glob::MatchOptions {
            require_literal_separator: true,
            require_literal_leading_dot: true,
            ..glob::MatchOptions::default()
        };
        let mut files = Vec::new();
        for entry in glob::glob_with(&absolute, options).map_err(|error| bad(error.msg.into()))? {
            let path = entry.map_err(|error| OfflineError::io(error.path(), error.error()))?;
            let path = self.inside(source, &path)?;
            if path.is_file() {
                files.push(path);
            }
        }
        if files.is_empty() {
            return Err(OfflineError::Data(format!(
                "source {source}: the glob {pattern:?} matches no file"
            )));
        }
        Ok(files)
    }

    /// The data files below a directory; hidden ones and those that start with `_` are none.
    fn directory(&self, source: &str, directory: &Path) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        let mut open = vec![directory.to_owned()];
        while let Some(directory) = open.pop() {
            let entries = directory
                .read_dir()
                .map_err(|error| OfflineError::io(&directory, &error))?;
            for entry in entries {
                let entry = entry.map_err(|error| OfflineError::io(&directory, &error))?;
                let name = entry.file_name();
                if name.as_encoded_bytes().starts_with(b".") || name.as_encoded_bytes().starts_with(b"_") {
                    continue;
                }
                let path = self.inside(source, &entry.path())?;
                let kind = entry
                    .file_type()
                    .map_err(|error| OfflineError::io(&path, &error))?;
                if kind.is_dir() {
                    open.push(path);
                } else if Format::of(&path).is_some() && path.is_file() {
                    files.push(path);
                }
            }
        }
        if files.is_empty() {
            return Err(OfflineError::Data(format!(
                "source {source}: the directory {} has no .parquet or .csv file",
                self.shown(directory)
            )));
        }
        Ok(files)
    }

    fn same_format(&self, source: &str, path: &str, files: Vec<PathBuf>) -> Result<Located> {
        if files.len() > MAX_FILES {
            return Err(OfflineError::Data(format!(
                "source {source}: {path:?} means {} files, more than {MAX_FILES}",
                files.len()
            )));
        }
        let mut format = None;
        let mut found = Vec::with_capacity(files.len());
        for file in files {
            let this = Format::of(&file).ok_or_else(|| {
                OfflineError::Data(format!(
                    "source {source}: {} is not a .parquet or .csv file",
                    self.shown(&file)
                ))
            })?;
            if *format.get_or_insert(this) != this {
                return Err(OfflineError::Data(format!(
                    "source {source}: {path:?} means both Parquet and CSV files: use one source for each"
                )));
            }
            found.push(self.source_file(file)?);
        }
        found.sort_by(|a, b| a.path.as_bytes().cmp(b.path.as_bytes()));
        found.dedup_by(|a, b| a.path == b.path);
        match format {
            Some(format) => Ok(Located::Files(format, found)),
            None => Err(OfflineError::Data(format!(
                "source {source}: {path:?} means no file"
            ))),
        }
    }

    /// A file as it is now.
    pub fn source_file(&self, location: PathBuf) -> Result<SourceFile> {
        let error = |error| OfflineError::io(&location, &error);
        let metadata = location.metadata().map_err(error)?;
        if !metadata.is_file() {
            let shown = match self.shown(&location) {
                empty if empty.is_empty() => location.display().to_string(),
                shown => shown,
            };
            return Err(OfflineError::Data(format!("{shown} is not a file")));
        }
        let modified = metadata.modified().map_err(error)?;
        let modified = match modified.duration_since(UNIX_EPOCH) {
            Ok(after) => i128::try_from(after.as_nanos()).unwrap_or(i128::MAX),
            Err(before) => -i128::try_from(before.duration().as_nanos()).unwrap_or(i128::MAX),
        };
        Ok(SourceFile {
            path: self.shown(&location),
            location,
            size: metadata.len(),
            modified,
            tag: None,
        })
    }

    /// How messages show a path: relative to the project where it lies inside.
    pub fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.project)
            .unwrap_or(path)
            .display()
            .to_string()
    }
}
