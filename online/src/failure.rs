//! What RocksDB and the file system say, as the few kinds of errors that a caller can act on.

use std::io;
use std::path::{Path, PathBuf};

use asof_core::online::StoreError;
use rocksdb::ErrorKind;

use crate::manifest;

/// An error of RocksDB on a store that is open.
pub(crate) fn of(path: &Path, error: rocksdb::Error) -> StoreError {
    let kind = error.kind();
    let reason = error.into_string();
    let named = named_file(&reason);
    let place = named.map_or_else(|| path.to_owned(), |name| path.join(name));
    let place = place.display().to_string();
    if is_full(&reason) {
        StoreError::Full { place, reason }
    } else if kind == ErrorKind::Corruption || (is_missing(&reason) && named.is_some()) {
        StoreError::Damaged { place, reason }
    } else {
        failed(place, reason)
    }
}

/// A failure, with what to do where that is known.
fn failed(place: String, mut reason: String) -> StoreError {
    let says = |part| reason.contains(part);
    let advice = if says("Permission denied") || says("Read-only file system") {
        OWNERSHIP
    } else if says("Writer has previous error") {
        RESTART
    } else {
        ""
    };
    reason.push_str(advice);
    StoreError::Failed { place, reason }
}

/// What a store needs of its directory.
const OWNERSHIP: &str =
    "; all files in its directory must belong to the user that asof runs as, on a disk that is not read-only";
/// Nothing is written behind what did not come to the log whole.
const RESTART: &str =
    " (an earlier write to the log failed): make room or mend the disk, then restart the server";

/// An error of RocksDB on opening a store that is there: what cannot be understood is damage.
pub(crate) fn on_open(path: &Path, error: rocksdb::Error) -> StoreError {
    let kind = error.kind();
    match of(path, error) {
        StoreError::Failed { place, reason } if kind != ErrorKind::IOError => {
            StoreError::Damaged { place, reason }
        }
        StoreError::Damaged { place, reason } if named_file(&reason).is_none() => StoreError::Damaged {
            place: match damaged_log(path) {
                Some(log) => log.display().to_string(),
                None => format!("{place} (in {}, or a file that it lists)", list_of(path)),
            },
            reason,
        },
        other => other,
    }
}

/// Whether an error on opening says that somebody has the store open.
pub(crate) fn is_lock(error: &rocksdb::Error) -> bool {
    let message = error.as_ref();
    error.kind() == ErrorKind::IOError
        && (message.contains("lock hold by") || message.contains("While lock file"))
}

/// An error of the file system.
pub(crate) fn of_io(place: &Path, error: &io::Error) -> StoreError {
    let (place, reason) = (place.display().to_string(), error.to_string());
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full { place, reason },
        _ => failed(place, reason),
    }
}

/// The first log with a record that is not whole: RocksDB does not say in which one it found that.
fn damaged_log(path: &Path) -> Option<PathBuf> {
    let files = std::fs::read_dir(path).ok()?;
    let mut logs: Vec<PathBuf> = files.filter_map(|file| Some(file.ok()?.path())).collect();
    logs.retain(|file| file.extension().is_some_and(|extension| extension == "log"));
    logs.sort();
    logs.into_iter().find(|log| {
        let bytes = std::fs::read(log).unwrap_or_default();
        manifest::first_damage(&bytes, bytes.len()).is_some()
    })
}

/// The name of the file that lists the others.
fn list_of(path: &Path) -> String {
    let current = std::fs::read(path.join("CURRENT")).unwrap_or_default();
    let name = String::from_utf8_lossy(&current).trim().to_owned();
    if name.starts_with("MANIFEST-") && path.join(&name).is_file() {
        name
    } else {
        "CURRENT".into()
    }
}

fn is_full(reason: &str) -> bool {
    reason.contains("No space left on device") || reason.contains("Disk quota exceeded")
}

fn is_missing(reason: &str) -> bool {
    reason.contains("No such file or directory")
}

/// The database file that a message of RocksDB names, without its directory.
fn named_file(reason: &str) -> Option<&str> {
    reason
        .split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ',' | '(' | ')'))
        .filter_map(|word| word.trim_matches([':', '.', ';']).rsplit('/').next())
        .find(|name| is_database_file(name))
}

fn is_database_file(name: &str) -> bool {
    let numbered = |rest: &str| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit());
    name == "CURRENT"
        || name == "IDENTITY"
        || ["MANIFEST-", "OPTIONS-"]
            .iter()
            .any(|start| name.strip_prefix(start).is_some_and(numbered))
        || [".sst", ".log", ".dbtmp"]
            .iter()
            .any(|end| name.strip_suffix(end).is_some_and(numbered))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_in_messages() {
        let check = |message: &str, expect: Option<&str>| {
            assert_eq!(named_file(message), expect, "{message}");
        };
        check(
            "Corruption: block checksum mismatch: stored = 1, computed = 2 in /a b/000012.sst offset 0 size 3",
            Some("000012.sst"),
        );
        check(
            "IO error: No such file or directory: While open a file for random read: /s/000008.sst: gone",
            Some("000008.sst"),
        );
        check(
            "Corruption: CURRENT file does not end with newline",
            Some("CURRENT"),
        );
        check(
            "Corruption: checksum mismatch in (MANIFEST-000005)",
            Some("MANIFEST-000005"),
        );
        check("Corruption: an entry.log of x.sst", None);
    }
}
