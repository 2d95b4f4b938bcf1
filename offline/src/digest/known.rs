//! Digests of files that were digested before and not touched since, so that the next extract need not read its
//! sources twice.
//!
//! A file is taken for the one that was digested where its device, inode, size and times are the same, as git's
//! index does it: the time of change is the system's own, which no program sets back. A file that was touched
//! just before it was digested could be touched again within one tick of that clock, and is not remembered.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use asof_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::Digest;
use crate::error::{OfflineError, Result};
use crate::fan_out::fan_out;
use crate::output::write_text;

/// The name of the file in which digests are kept, beside the managed tables.
const NAME: &str = "digests.json";
/// How long a file must have been left alone, in seconds.
const QUIET: i64 = 2;

/// Digests by the paths of their files.
pub(crate) struct KnownDigests {
    kept_in: PathBuf,
    now: Timestamp,
    files: BTreeMap<String, Known>,
    /// Whether there is something that is not kept yet.
    is_new: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Known {
    #[serde(flatten)]
    stamp: Stamp,
    digest: String,
}

/// What tells a file from another, and from itself after a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    /// In seconds and nanoseconds.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }

    /// Whether the file had been left alone for a while at `now`.
    fn is_quiet(&self, now: Timestamp) -> bool {
        self.modified.0.max(self.changed.0) + QUIET < now.micros().div_euclid(1_000_000)
    }
}

impl KnownDigests {
    /// Those kept in a directory; none where they cannot be read.
    pub(crate) fn load(directory: &Path, now: Timestamp) -> Self {
        let kept_in = directory.join(NAME);
        let text = fs::read_to_string(&kept_in).unwrap_or_default();
        Self {
            files: serde_json::from_str(&text).unwrap_or_default(),
            kept_in,
            now,
            is_new: false,
        }
    }

    /// The digest of a file.
    pub(crate) fn of_file(&mut self, file: &Path) -> Result<String> {
        let digests = self.of_files(&[file], 1)?;
        let lost = || OfflineError::Internal("a file has no digest".into());
        digests.into_iter().next().ok_or_else(lost)
    }

    /// Whether a file still has a digest that it had.
    pub(crate) fn is(&self, file: &Path, digest: &str) -> Result<bool> {
        let known = file.to_str().and_then(|name| self.files.get(name));
        if known.is_some_and(|known| known.digest == digest && Some(&known.stamp) == Stamp::of(file).as_ref())
        {
            return Ok(true);
        }
        Ok(Digest::of_file(file)? == digest)
    }

    /// The digests of files, several at once computed where they are not known.
    pub(crate) fn of_files(&mut self, files: &[&Path], threads: usize) -> Result<Vec<String>> {
        let each = files.iter().collect();
        let found = fan_out(threads, each, |file: &&Path| {
            let stamp = Stamp::of(file);
            let known = file.to_str().and_then(|name| self.files.get(name));
            match known.filter(|known| Some(&known.stamp) == stamp.as_ref()) {
                Some(known) => Ok((known.digest.clone(), None)),
                None => Digest::of_file(file).map(|digest| (digest, stamp)),
            }
        })?;
        let mut digests = Vec::with_capacity(files.len());
        for (file, (digest, stamp)) in files.iter().zip(found) {
            let quiet =
                stamp.filter(|stamp| stamp.is_quiet(self.now) && Stamp::of(file).as_ref() == Some(stamp));
            if let (Some(stamp), Some(name)) = (quiet, file.to_str()) {
                let digest = digest.clone();
                self.files.insert(name.to_owned(), Known { stamp, digest });
                self.is_new = true;
            }
            digests.push(digest);
        }
        Ok(digests)
    }

    /// Keeps what is known of files that are still there. Where that fails, they are digested again next time.
    pub(crate) fn keep(mut self) {
        if !self.is_new {
            return;
        }
        self.files
            .retain(|name, known| Stamp::of(Path::new(name)).as_ref() == Some(&known.stamp));
        let kept = serde_json::to_string(&self.files)
            .map_err(|error| OfflineError::Internal(error.to_string()))
            .and_then(|text| {
                let directory = self.kept_in.parent().unwrap_or(Path::new("."));
                fs::create_dir_all(directory).map_err(|error| OfflineError::io(directory, &error))?;
                write_text(&self.kept_in, &text)
            });
        if let Err(error) = kept {
            tracing::debug!(%error, "digests are not kept");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    const LATER: Timestamp = Timestamp::from_micros(4_000_000_000_000_000);

    fn digest(directory: &Path, file: &Path, now: Timestamp) -> String {
        let mut known = KnownDigests::load(directory, now);
        let digest = known.of_file(file).unwrap();
        assert!(known.is(file, &digest).unwrap());
        known.keep();
        digest
    }

    #[test]
    fn a_digest_is_kept_until_the_file_is_touched() {
        let directory = tempfile::tempdir().unwrap();
        let (kept, file) = (directory.path().join("kept"), directory.path().join("rows"));
        let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let write = |text: &str| {
            fs::write(&file, text).unwrap();
            fs::File::options()
                .write(true)
                .open(&file)
                .unwrap()
                .set_modified(old)
                .unwrap();
        };
        write("one");
        assert_eq!(digest(&kept, &file, LATER), Digest::of(b"one"));
        // What is kept is what is given: the file is not read again.
        let text = fs::read_to_string(kept.join(NAME)).unwrap();
        fs::write(kept.join(NAME), text.replace(&Digest::of(b"one"), "sha256:kept")).unwrap();
        assert_eq!(digest(&kept, &file, LATER), "sha256:kept");
        // As long as before, and as old by the time that programs can set. The system's own moves in ticks.
        std::thread::sleep(Duration::from_millis(20));
        write("two");
        assert_eq!(digest(&kept, &file, LATER), Digest::of(b"two"));
        fs::write(kept.join(NAME), "[]").unwrap();
        assert_eq!(digest(&kept, &file, LATER), Digest::of(b"two"));
    }

    #[test]
    fn a_file_touched_just_now_is_not_remembered() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("rows");
        fs::write(&file, "one").unwrap();
        let changed = fs::metadata(&file).unwrap().ctime();
        let at = |seconds| Timestamp::from_micros((changed + seconds) * 1_000_000);
        assert_eq!(digest(directory.path(), &file, at(QUIET)), Digest::of(b"one"));
        assert!(!directory.path().join(NAME).exists());
        assert_eq!(digest(directory.path(), &file, at(QUIET + 1)), Digest::of(b"one"));
        assert!(directory.path().join(NAME).exists());
    }
}
