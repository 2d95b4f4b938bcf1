//! The store's directory, and the files of ours in it beside RocksDB's.
//!
//! | file | what it holds |
//! |---|---|
//! | `asof.format` | that this is an online store, and the number of its format; written before anything else |
//! | `asof.holder` | the number of the process that opened it last |
//! | `asof.mark` | see [`mark`](crate::mark) |
//! | `asof.load/` | table files that are being written |
//! | `asof.ingest` | see [`in_doubt`](crate::in_doubt) |
//! | `asof.intake` | nothing; there as long as the intake log may have entries |

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use asof_core::online::StoreError;

use crate::failure;
use crate::mark;

/// The format that this version writes, and the newest that it reads. A change of anything that is
/// stored makes a new number; 1 had no [`LoadKey`](crate::keys::LoadKey), 2 no
/// [`Family::Intake`](crate::keys::Family::Intake), 3 no [tiles](crate::keys::RowKey::Tiles).
const FORMAT_NUMBER: u64 = 5;
const OLDEST_FORMAT: u64 = 1;

const FORMAT: &str = "asof.format";
const FORMAT_START: &str = "asof online store, format ";
const HOLDER: &str = "asof.holder";

/// What a directory holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contents {
    /// Nothing yet, or what a creation left that was killed.
    New,
    /// A store.
    Store,
}

/// Makes sure that `path` is a directory with a store of a known format, or one for a new store.
pub(crate) fn prepare(path: &Path) -> Result<Contents, StoreError> {
    fs::create_dir_all(path).map_err(|error| failure::of_io(path, &error))?;
    let format = path.join(FORMAT);
    match fs::read(&format) {
        Ok(text) => {
            if check_format(path, &text)? < FORMAT_NUMBER {
                write_format(path)?;
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            check_empty(path)?;
            write_format(path)?;
        }
        Err(error) => return Err(failure::of_io(&format, &error)),
    }
    if path.join("CURRENT").exists() {
        return Ok(Contents::Store);
    }
    match names(path)?.into_iter().find(|name| holds_data(name)) {
        Some(name) => Err(StoreError::Damaged {
            place: path.join("CURRENT").display().to_string(),
            reason: format!(
                "there is no such file, though there is {name}; restore the directory from a copy"
            ),
        }),
        None => Ok(Contents::New),
    }
}

pub(crate) fn write_format(path: &Path) -> Result<(), StoreError> {
    let text = format!("{FORMAT_START}{FORMAT_NUMBER}\n");
    replace(path, FORMAT, text.as_bytes()).map_err(|error| failure::of_io(&path.join(FORMAT), &error))
}

/// The number of the format.
fn check_format(path: &Path, text: &[u8]) -> Result<u64, StoreError> {
    let number = std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.strip_prefix(FORMAT_START)?.strip_suffix('\n')?.parse().ok());
    match number {
        Some(found @ OLDEST_FORMAT..=FORMAT_NUMBER) => Ok(found),
        Some(found) if found > FORMAT_NUMBER => Err(StoreError::Newer {
            place: path.display().to_string(),
            found,
            known: FORMAT_NUMBER,
        }),
        Some(_) | None => Err(StoreError::Damaged {
            place: path.join(FORMAT).display().to_string(),
            reason: format!("expected the text {:?} and a number", FORMAT_START.trim_end()),
        }),
    }
}

fn check_empty(path: &Path) -> Result<(), StoreError> {
    match names(path)?.into_iter().find(|name| !name.ends_with(".tmp")) {
        None => Ok(()),
        Some(name) => Err(StoreError::Damaged {
            place: path.join(FORMAT).display().to_string(),
            reason: format!(
                "there is no such file, though the directory has {:?}: give an empty directory or an online store",
                name.chars().take(64).collect::<String>()
            ),
        }),
    }
}

/// Whether a file is there only once a store was created completely.
fn holds_data(name: &str) -> bool {
    name == mark::NAME || name.ends_with(".sst") || name.ends_with(".log")
}

/// Notes that this process has the store open.
pub(crate) fn hold(path: &Path) -> Result<(), StoreError> {
    let number = format!("{}\n", std::process::id());
    replace(path, HOLDER, number.as_bytes()).map_err(|error| failure::of_io(&path.join(HOLDER), &error))
}

/// A store that nobody opens, as long as this is there; or a directory without one.
#[derive(Debug)]
pub struct Locked(Option<File>);

impl Locked {
    /// Whether there is a store.
    pub fn is_there(&self) -> bool {
        self.0.is_some()
    }
}

/// Whether a directory holds what is left of a store.
fn is_store(path: &Path) -> bool {
    [FORMAT, "CURRENT"].iter().any(|name| path.join(name).exists())
}

/// Keeps others from opening the store in a directory, without opening it: it may be damaged.
///
/// # Errors
///
/// [`StoreError::Held`] where another process has it open.
pub fn lock(path: &Path) -> Result<Locked, StoreError> {
    // RocksDB's own.
    let file = path.join("LOCK");
    let opened = match File::options().read(true).write(true).open(&file) {
        Ok(opened) => opened,
        // One that was restored, and that nobody has opened since, has none.
        Err(error) if error.kind() == io::ErrorKind::NotFound && is_store(path) => File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&file)
            .map_err(|error| failure::of_io(&file, &error))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Locked(None)),
        Err(error) => return Err(failure::of_io(&file, &error)),
    };
    match rustix::fs::fcntl_lock(&opened, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Locked(Some(opened))),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => Err(StoreError::Held {
            place: path.display().to_string(),
            reason: holder(path),
        }),
        Err(error) => Err(failure::of_io(&file, &error.into())),
    }
}

/// Whether a process had the store open, ever: a copy was opened by none.
pub(crate) fn was_held(path: &Path) -> bool {
    path.join(HOLDER).exists()
}

/// Who has the store open, as far as is known. RocksDB's lock decides whether somebody has; the note
/// of a process that is dead says nothing.
pub(crate) fn holder(path: &Path) -> String {
    let number: Option<u32> = fs::read_to_string(path.join(HOLDER))
        .ok()
        .and_then(|text| text.trim().parse().ok());
    match number {
        Some(number) if number == std::process::id() => "this process has it open already".into(),
        Some(number) if is_alive(number) => {
            format!("process {number} holds it; stop it, or send the request to it")
        }
        Some(_) | None => "its process is not known here; stop it, or send the request to it".into(),
    }
}

/// Whether a process runs, where the system shows its processes as files.
fn is_alive(number: u32) -> bool {
    Path::new("/proc").join(number.to_string()).exists()
}

/// Puts a file in place at once: after a crash there is the old one or the new one.
pub(crate) fn replace(path: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let temporary = path.join(format!("{name}.tmp"));
    let mut file = File::create(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path.join(name))?;
    File::open(path)?.sync_all()
}

fn names(path: &Path) -> Result<Vec<String>, StoreError> {
    let names = || -> io::Result<Vec<String>> {
        fs::read_dir(path)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    };
    let mut names = names().map_err(|error| failure::of_io(path, &error))?;
    names.sort();
    Ok(names)
}
