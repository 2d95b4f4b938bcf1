//! Sums of the files of a managed table's log: one that has other bytes than were written, or that is gone, is
//! noticed before anything is read by it.
//!
//! They stand beside the log in lines as `sha256sum` writes them, appended once a file of the log is on the disk.
//! Where a writer is killed in between, its file has none until the next one is written, which notes all that have
//! none; so a file without a sum is taken as it is. Lines of entries that a checkpoint has made superfluous may name
//! files that are gone: logs are cleaned up.
//!
//! Which entry is the last one is noted outside of the table's directory: it tells one that is gone, or an older copy.

mod head;
mod noting;

pub(super) use noting::note;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::error::{OfflineError, Result};

/// The name of the file of sums, in the directory of the table: it stands before the log in a copy that goes by
/// names, so that it knows of nothing that is not copied.
pub(super) const NAME: &str = "_asof_sums";
/// The directory of the log.
pub(super) const LOG: &str = "_delta_log";
/// The file that names the newest checkpoint.
const HINT: &str = "_last_checkpoint";

/// A file of a log, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct LogFile {
    version: u64,
    is_checkpoint: bool,
}

impl LogFile {
    fn parse(name: &str) -> Option<Self> {
        let (version, rest) = name.split_at_checked(20)?;
        // Not one that is being written, whose name has more to it.
        let is_checkpoint = rest == ".checkpoint.parquet";
        if !version.bytes().all(|byte| byte.is_ascii_digit()) || !(is_checkpoint || rest == ".json") {
            return None;
        }
        Some(Self {
            version: version.parse().ok()?,
            is_checkpoint,
        })
    }
}

/// Which files of a log are compared with their sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compared {
    /// Those that the newest version is read by.
    Newest,
    /// All that are there.
    All,
}

/// Compares the files of a table's log with their sums, where it has any, and its end with what was noted.
pub(crate) fn check(directory: &Path, source: &str, compared: Compared) -> Result<()> {
    let table = Table { directory, source };
    if let Some(sums) = table.sums()? {
        table.check_hint()?;
        table.check_files(&sums, compared)?;
    }
    table.check_head()
}

/// A table whose log is looked at.
#[derive(Debug, Clone, Copy)]
struct Table<'a> {
    directory: &'a Path,
    source: &'a str,
}

impl Table<'_> {
    fn log(self) -> PathBuf {
        self.directory.join(LOG)
    }

    fn check_files(self, sums: &Sums, compared: Compared) -> Result<()> {
        let log = self.log();
        let mut checkpoint = sums.newest_checkpoint(&log)?;
        for (name, (file, sum)) in &sums.0 {
            // Its own entry is not needed for what a checkpoint holds.
            let is_needed = match checkpoint {
                Some(checkpoint) if file.is_checkpoint => file.version == checkpoint,
                Some(checkpoint) => file.version > checkpoint,
                // The entries from the first one on hold all that a checkpoint does.
                None => !file.is_checkpoint,
            };
            if !is_needed && compared == Compared::Newest {
                continue;
            }
            match self.digest(name)? {
                Some(digest) if digest == *sum => {}
                Some(_) => return Err(self.other_bytes(name)),
                None => {
                    // A checkpoint may have been written meanwhile, and the log been cleaned up.
                    checkpoint = self.newest_checkpoint()?;
                    let is_left = checkpoint.is_none_or(|newest| file.version > newest);
                    if is_needed && !file.is_checkpoint && is_left {
                        return Err(self.damaged(&format!("{name} of its log is gone")));
                    }
                }
            }
        }
        Ok(())
    }

    /// Refuses a log whose newest checkpoint is said to be another than there is: its reader would not say which.
    fn check_hint(self) -> Result<()> {
        let path = self.log().join(HINT);
        let text = match std::fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            text => text.map_err(|error| OfflineError::io(&path, &error))?,
        };
        let hint: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
        let Some(version) = hint.get("version").and_then(serde_json::Value::as_u64) else {
            return Err(self.damaged(&format!("{HINT} of its log is damaged")));
        };
        let name = format!("{version:020}.checkpoint.parquet");
        match self.log().join(&name).exists() || hint.get("parts").is_some() {
            true => Ok(()),
            false => Err(self.damaged(&format!("{name} of its log, which {HINT} names, is gone"))),
        }
    }

    /// Refuses a log that does not have the last entry that was written, nor a checkpoint that holds it.
    fn check_head(self) -> Result<()> {
        let place = head::place(self.directory);
        let head = head::read(&place).map_err(|error| OfflineError::io(&place, &error))?;
        let Some(head) = head else {
            return Ok(());
        };
        match self.digest(&head.name)? {
            Some(digest) if digest == head.digest => Ok(()),
            Some(_) => Err(self.other_bytes(&head.name)),
            None if !self.log().is_dir() => Err(self.damaged("its log is gone")),
            None if self
                .newest_checkpoint()?
                .is_some_and(|newest| newest >= head.version) =>
            {
                Ok(())
            }
            None => Err(self.damaged(&format!("{}, the last entry of its log, is gone", head.name))),
        }
    }

    /// The digest of a file of the log that is there.
    fn digest(self, name: &str) -> Result<Option<String>> {
        match Digest::of_file(&self.log().join(name)) {
            Ok(digest) => Ok(Some(digest)),
            Err(_) if !self.log().join(name).exists() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn sums(self) -> Result<Option<Sums>> {
        let path = self.directory.join(NAME);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(OfflineError::io(&path, &error)),
        };
        let mut bytes = Vec::new();
        let read = file.lock_shared().and_then(|()| file.read_to_end(&mut bytes));
        read.map_err(|error| OfflineError::io(&path, &error))?;
        let unreadable = || self.damaged(&format!("its {NAME} is damaged"));
        let text = String::from_utf8(bytes).map_err(|_| unreadable())?;
        let mut sums = BTreeMap::new();
        for line in whole_lines(&text).lines() {
            let (name, digest) = parse(line).ok_or_else(unreadable)?;
            let file = LogFile::parse(name).ok_or_else(unreadable)?;
            sums.insert(name.to_owned(), (file, digest));
        }
        Ok(Some(Sums(sums)))
    }

    fn newest_checkpoint(self) -> Result<Option<u64>> {
        let sums = self.sums()?;
        sums.map_or(Ok(None), |sums| sums.newest_checkpoint(&self.log()))
    }

    fn other_bytes(self, name: &str) -> OfflineError {
        self.damaged(&format!("{name} of its log has other bytes than were written"))
    }

    fn damaged(self, what: &str) -> OfflineError {
        OfflineError::Damaged(format!(
            "managed table {}: {what}: restore its directory {} from a copy; or, to go on with what is there, remove \
             {NAME} in it and {}, and build its views anew (`asof materialize --full`)",
            self.source,
            self.directory.display(),
            head::place(self.directory).display()
        ))
    }
}

/// The sums of a table's log: the digests by the names of its files, the newest of each.
struct Sums(BTreeMap<String, (LogFile, String)>);

impl Sums {
    /// The version of the newest checkpoint that is there and has a sum: no other one makes an entry superfluous.
    fn newest_checkpoint(&self, log: &Path) -> Result<Option<u64>> {
        let files = match log_files(log) {
            Ok(files) => files,
            // That there is no log is for its reader to say.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(OfflineError::io(log, &error)),
        };
        let summed: Vec<_> = files
            .into_iter()
            .filter(|(name, _)| self.0.contains_key(name))
            .collect();
        Ok(newest(&summed))
    }
}

/// The name of a line, and the digest of the file that had it.
fn parse(line: &str) -> Option<(&str, String)> {
    let (hex, name) = line.split_once("  ")?;
    Some((name, Digest::from_hex(hex)?))
}

/// What `parse` reads.
fn line(digest: &str, name: &str) -> String {
    format!("{}  {name}\n", Digest::hex(digest))
}

/// A text without a last line that was cut short.
fn whole_lines(text: &str) -> &str {
    let end = text.rfind('\n').map_or(0, |at| at + 1);
    text.get(..end).unwrap_or_default()
}

/// The files of a log in the order of their names.
fn log_files(log: &Path) -> io::Result<Vec<(String, LogFile)>> {
    let mut files = Vec::new();
    for entry in log.read_dir()? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        files.extend(LogFile::parse(&name).map(|file| (name, file)));
    }
    files.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(files)
}

fn newest(files: &[(String, LogFile)]) -> Option<u64> {
    let checkpoints = files.iter().filter(|(_, file)| file.is_checkpoint);
    checkpoints.map(|(_, file)| file.version).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Written(tempfile::TempDir);

    impl Written {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            std::fs::create_dir_all(directory.path().join("s").join(LOG)).unwrap();
            Self(directory)
        }

        fn place(&self) -> PathBuf {
            self.0.path().join("s")
        }

        fn log(&self) -> PathBuf {
            self.place().join(LOG)
        }

        fn put(&self, name: &str, text: &str) {
            std::fs::write(self.log().join(name), text).unwrap();
        }

        fn commit(&self, version: u64) {
            let name = format!("{version:020}.json");
            self.put(&name, &format!("entry {version}"));
            note(&self.log(), &name).unwrap();
        }

        fn remove(&self, version: u64) {
            std::fs::remove_file(self.log().join(format!("{version:020}.json"))).unwrap();
        }

        fn check(&self, compared: Compared) -> std::result::Result<(), String> {
            check(&self.place(), "s", compared).map_err(|error| error.to_string())
        }

        fn lines(&self) -> usize {
            let text = std::fs::read_to_string(self.place().join(NAME)).unwrap();
            text.lines().count()
        }
    }

    #[test]
    fn what_is_changed_or_gone_is_named() {
        let table = Written::new();
        // A log from before there were sums, and an entry whose writer was killed.
        table.put("00000000000000000000.json", "entry 0");
        assert_eq!(table.check(Compared::All), Ok(()));
        for version in 1..4 {
            table.commit(version);
        }
        table.put("00000000000000000004.json", "entry 4");
        assert_eq!(table.lines(), 4);
        assert_eq!(table.check(Compared::All), Ok(()));
        table.put("00000000000000000000.json", "entry 1");
        let told = table.check(Compared::Newest).unwrap_err();
        let expected =
            "managed table s: 00000000000000000000.json of its log has other bytes than were written: ";
        assert!(told.starts_with(expected), "{told}");
        table.put("00000000000000000000.json", "entry 0");
        table.remove(3);
        let told = table.check(Compared::Newest).unwrap_err();
        assert!(
            told.contains("00000000000000000003.json of its log is gone: "),
            "{told}"
        );
        // A checkpoint that is being written, or that nobody knows of, makes nothing superfluous.
        table.put("00000000000000000009.checkpoint.parquet#1", "");
        table.put("00000000000000000009.checkpoint.parquet", "checkpoint 9");
        table.check(Compared::Newest).unwrap_err();
        std::fs::remove_file(table.log().join("00000000000000000009.checkpoint.parquet")).unwrap();
        // What a checkpoint holds may be gone.
        table.put("00000000000000000003.checkpoint.parquet", "checkpoint 3");
        table.commit(5);
        table.remove(1);
        assert_eq!(table.check(Compared::All), Ok(()));
        for (hint, told) in [
            (
                "{\"version\":4}",
                "00000000000000000004.checkpoint.parquet of its log, which _last_checkpoint names, is gone",
            ),
            ("{\"version\"", "_last_checkpoint of its log is damaged"),
        ] {
            table.put(HINT, hint);
            let error = table.check(Compared::Newest).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
        table.put(HINT, "{\"version\":3,\"size\":9}");
        assert_eq!(table.check(Compared::All), Ok(()));
        // An old entry matters to those who ask for an old version.
        table.put("00000000000000000002.json", "entry");
        assert_eq!(table.check(Compared::Newest), Ok(()));
        table.check(Compared::All).unwrap_err();
        table.put("00000000000000000003.checkpoint.parquet", "checkpoint 4");
        let told = table.check(Compared::Newest).unwrap_err();
        assert!(
            told.contains("checkpoint.parquet of its log has other bytes"),
            "{told}"
        );
    }

    #[test]
    fn a_table_that_ends_before_its_last_entry_is_refused() {
        let table = Written::new();
        table.commit(0);
        let older = std::fs::read(table.place().join(NAME)).unwrap();
        table.commit(1);
        let head = table.0.path().join("_asof_heads").join("s");
        let text = std::fs::read_to_string(&head).unwrap();
        assert!(text.ends_with("  00000000000000000001.json\n"), "{text}");
        assert_eq!(table.check(Compared::Newest), Ok(()));
        // As of an older copy.
        table.remove(1);
        std::fs::write(table.place().join(NAME), older).unwrap();
        let told = table.check(Compared::Newest).unwrap_err();
        let expected = "managed table s: 00000000000000000001.json, the last entry of its log, is gone: restore its directory ";
        assert!(
            told.starts_with(expected) && told.contains("_asof_heads/s, "),
            "{told}"
        );
        // One that went on from there.
        table.put("00000000000000000001.json", "another entry 1");
        let told = table.check(Compared::Newest).unwrap_err();
        assert!(
            told.contains("00000000000000000001.json of its log has other bytes"),
            "{told}"
        );
        std::fs::remove_dir_all(table.place()).unwrap();
        let told = table.check(Compared::Newest).unwrap_err();
        assert!(told.starts_with("managed table s: its log is gone: "), "{told}");
        std::fs::write(&head, "0").unwrap();
        let told = table.check(Compared::Newest).unwrap_err();
        assert!(
            told.ends_with("_asof_heads/s: it is damaged: remove it"),
            "{told}"
        );
        std::fs::remove_file(&head).unwrap();
        assert_eq!(table.check(Compared::Newest), Ok(()));
    }

    #[test]
    fn damage_of_the_sums_is_told_and_a_line_cut_short_is_none() {
        let table = Written::new();
        table.commit(0);
        table.commit(1);
        let sums = table.place().join(NAME);
        let text = std::fs::read_to_string(&sums).unwrap();
        std::fs::write(&sums, &text[..text.len() - 1]).unwrap();
        assert_eq!(table.check(Compared::All), Ok(()));
        table.commit(2);
        assert_eq!(table.lines(), 3);
        assert_eq!(table.check(Compared::All), Ok(()));
        std::fs::write(&sums, text.replacen("  ", "\n ", 1)).unwrap();
        let told = table.check(Compared::Newest).unwrap_err();
        assert!(
            told.starts_with("managed table s: its _asof_sums is damaged: "),
            "{told}"
        );
        std::fs::write(&sums, b"\xff\n").unwrap();
        assert_eq!(table.check(Compared::Newest), Err(told));
    }

    #[test]
    fn lines_of_what_was_cleaned_up_are_dropped() {
        let table = Written::new();
        for version in 0..=noting::MOST_GONE as u64 {
            table.commit(version);
        }
        table.put(
            &format!("{:020}.checkpoint.parquet", noting::MOST_GONE - 1),
            "checkpoint",
        );
        for version in 0..noting::MOST_GONE as u64 {
            table.remove(version);
        }
        table.commit(noting::MOST_GONE as u64 + 1);
        assert_eq!(table.lines(), 3);
        assert_eq!(table.check(Compared::All), Ok(()));
        table.remove(noting::MOST_GONE as u64);
        table.check(Compared::Newest).unwrap_err();
    }
}
