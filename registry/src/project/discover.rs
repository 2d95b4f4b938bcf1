//! Finding `features/**/*.toml`.

use std::collections::BTreeSet;
use std::fs::FileType;
use std::path::{Path, PathBuf};

use super::{AuthoredFile, LoadError, read_capped, unreadable};
use crate::problem::{Place, Problem, Problems};

/// Where definition files are.
const FOLDER: &str = "features";
/// The most files that a project may have.
const MAX_FILES: usize = 10_000;
/// How deep folders may nest.
const MAX_DEPTH: usize = 32;

/// All definition files below `directory`, in byte order of their paths; names that begin with a dot
/// are passed over, as are links to what was already seen.
pub(super) fn files(directory: &Path) -> Result<Vec<AuthoredFile>, LoadError> {
    let folder = directory.join(FOLDER);
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut walk = Walk {
        root: real(directory)?,
        seen: BTreeSet::new(),
        found: Vec::new(),
        problems: Problems::default(),
    };
    walk.folder(&folder, FOLDER, 0)?;
    if walk.found.len() > MAX_FILES {
        let what = format!("there are more than {MAX_FILES} definition files");
        walk.problems.push(Problem::new(
            Place::file(FOLDER),
            what,
            "put several definitions in one file",
        ));
    }
    let mut found = walk.problems.or(walk.found)?;
    found.sort_by(|a, b| a.0.as_bytes().cmp(b.0.as_bytes()));
    found
        .into_iter()
        .map(|(path, file)| {
            Ok(AuthoredFile {
                path,
                bytes: read_capped(&file)?,
            })
        })
        .collect()
}

struct Walk {
    /// The project's directory, without links.
    root: PathBuf,
    /// Real paths already taken in.
    seen: BTreeSet<PathBuf>,
    /// Paths relative to the project, and where to read them.
    found: Vec<(String, PathBuf)>,
    problems: Problems,
}

impl Walk {
    fn folder(&mut self, folder: &Path, relative: &str, depth: usize) -> Result<(), LoadError> {
        if depth > MAX_DEPTH {
            self.refuse(relative, "folders nest too deeply", "32 levels are read");
            return Ok(());
        }
        if !self.is_new(folder, relative)? {
            return Ok(());
        }
        let listing = std::fs::read_dir(folder).map_err(|error| unreadable(folder, &error))?;
        let mut entries = listing
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| unreadable(folder, &error))?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            if self.found.len() > MAX_FILES {
                break;
            }
            let kind = entry
                .file_type()
                .map_err(|error| unreadable(&entry.path(), &error))?;
            self.entry(&entry, kind, relative, depth)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        entry: &std::fs::DirEntry,
        kind: FileType,
        folder: &str,
        depth: usize,
    ) -> Result<(), LoadError> {
        let (path, name) = (entry.path(), entry.file_name());
        let relative = format!("{folder}/{}", name.to_string_lossy());
        let is_toml = path.extension().is_some_and(|extension| extension == "toml");
        if name.as_encoded_bytes().starts_with(b".") || (kind.is_file() && !is_toml) {
            return Ok(());
        }
        if kind.is_symlink() && !path.exists() {
            if is_toml {
                self.refuse(
                    &relative,
                    "the link points nowhere",
                    "remove it or restore its target",
                );
            }
            return Ok(());
        }
        if path.is_dir() {
            return self.folder(&path, &relative, depth + 1);
        }
        if !is_toml {
            return Ok(());
        }
        if name.to_str().is_none() {
            self.refuse(&relative, "the file's name is not UTF-8", "rename it");
        } else if !path.is_file() {
            self.refuse(
                &relative,
                "this is not a regular file",
                "definition files are regular files",
            );
        } else if self.is_new(&path, &relative)? {
            self.found.push((relative, path));
        }
        Ok(())
    }

    /// Whether the real path was not seen yet; one outside the project is refused.
    fn is_new(&mut self, path: &Path, relative: &str) -> Result<bool, LoadError> {
        let real = real(path)?;
        if !real.starts_with(&self.root) {
            self.refuse(
                relative,
                "the link leads out of the project",
                "definition files are inside it: copy the file here",
            );
            return Ok(false);
        }
        Ok(self.seen.insert(real))
    }

    fn refuse(&mut self, relative: &str, what: &str, help: &str) {
        self.problems
            .push(Problem::new(Place::file(relative), what, help));
    }
}

fn real(path: &Path) -> Result<PathBuf, LoadError> {
    path.canonicalize().map_err(|error| unreadable(path, &error))
}
