//! Sums of the files of a managed table's log: one that has other bytes than were written, or that is gone, is
//! noticed before anything is read by it.
//!
//! They stand beside the log in lines as `sha256sum` writes them, appended once a file of the log is on the disk.
//! Where a writer is killed in between, its file has none until the next one is written, which notes all that have
//! none; so a file without a sum is taken as it is. Lines of entries that a checkpoint has made superfluous may name
//! files that are gone: logs are cleaned up.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;

use crate::digest::Digest;
use crate::error::{OfflineError, Result};

/// The name of the file of sums, in the directory of the table: it stands before the log in a copy that goes by
/// names, so that it knows of nothing that is not copied.
pub(super) const NAME: &str = "_asof_sums";
/// The directory of the log.
pub(super) const LOG: &str = "_delta_log";
/// The file that names the newest checkpoint.
const HINT: &str = "_last_checkpoint";
/// How many lines may name files that are gone before they are dropped.
const MOST_GONE: usize = 1_000;

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

/// Compares the files of a table's log with their sums, where it has any.
pub(crate) fn check(table: &Path, source: &str, compared: Compared) -> Result<()> {
    let Some(sums) = Sums::read(table, source)? else {
        return Ok(());
    };
    let log = table.join(LOG);
    check_hint(&log, source)?;
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
        let path = log.join(name);
        match File::open(&path) {
            Ok(_) if Digest::of_file(&path)? == format!("sha256:{sum}") => {}
            Ok(_) => {
                return Err(damaged(
                    source,
                    &format!("{name} of its log has other bytes than were written"),
                ));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // A checkpoint may have been written meanwhile, and the log been cleaned up.
                checkpoint =
                    Sums::read(table, source)?.map_or(Ok(None), |sums| sums.newest_checkpoint(&log))?;
                if is_needed && !file.is_checkpoint && checkpoint.is_none_or(|newest| file.version > newest) {
                    return Err(damaged(source, &format!("{name} of its log is gone")));
                }
            }
            Err(error) => return Err(OfflineError::io(&path, &error)),
        }
    }
    Ok(())
}

/// Notes the sum of a file of a log that was just written, and of those that have none yet.
pub(super) fn note(log: &Path, written: &str) -> io::Result<()> {
    if LogFile::parse(written).is_none() {
        return Ok(());
    }
    let table = log.parent().unwrap_or(log);
    let mut file = File::options()
        .read(true)
        .append(true)
        .create(true)
        .open(table.join(NAME))?;
    // Until it is closed.
    file.lock()?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let whole = whole_lines(&text);
    let known: Vec<&str> = whole.lines().filter_map(|line| Some(parse(line)?.0)).collect();
    let files = log_files(log)?;
    let present: HashSet<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    let checkpoint = newest(&files).unwrap_or(0);
    let is_wanted = |name: &str| {
        let is_needed = || LogFile::parse(name).is_some_and(|file| file.version > checkpoint);
        present.contains(name) || is_needed()
    };
    let gone = known.iter().filter(|name| !is_wanted(name)).count();
    let mut lines = String::new();
    if gone >= MOST_GONE {
        let wanted = |line: &&str| parse(line).is_none_or(|(name, _)| is_wanted(name));
        whole.lines().filter(wanted).for_each(|line| {
            lines.push_str(line);
            lines.push('\n');
        });
        file.set_len(0)?;
    } else if whole.len() < text.len() {
        file.set_len(whole.len() as u64)?;
    }
    let known: HashSet<&str> = known.into_iter().collect();
    for (name, _) in &files {
        if name == written || !known.contains(name.as_str()) {
            let sum = Digest::of_file(&log.join(name)).map_err(io::Error::other)?;
            lines.push_str(&format!("{}  {name}\n", sum.trim_start_matches("sha256:")));
        }
    }
    file.write_all(lines.as_bytes())?;
    file.sync_all()?;
    if text.is_empty() {
        File::open(table)?.sync_all()?;
    }
    Ok(())
}

/// The sums of a table's log: by the names of its files, the newest of each.
struct Sums(BTreeMap<String, (LogFile, String)>);

impl Sums {
    fn read(table: &Path, source: &str) -> Result<Option<Self>> {
        let path = table.join(NAME);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(OfflineError::io(&path, &error)),
        };
        let mut bytes = Vec::new();
        let read = file.lock_shared().and_then(|()| file.read_to_end(&mut bytes));
        read.map_err(|error| OfflineError::io(&path, &error))?;
        let unreadable = || damaged(source, &format!("its {NAME} is damaged"));
        let text = String::from_utf8(bytes).map_err(|_| unreadable())?;
        let mut sums = BTreeMap::new();
        for line in whole_lines(&text).lines() {
            let (name, sum) = parse(line).ok_or_else(unreadable)?;
            let file = LogFile::parse(name).ok_or_else(unreadable)?;
            sums.insert(name.to_owned(), (file, sum.to_owned()));
        }
        Ok(Some(Self(sums)))
    }

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

/// Refuses a log whose newest checkpoint is said to be another than there is: its reader would not say which.
fn check_hint(log: &Path, source: &str) -> Result<()> {
    let path = log.join(HINT);
    let text = match std::fs::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        text => text.map_err(|error| OfflineError::io(&path, &error))?,
    };
    let hint: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    let Some(version) = hint.get("version").and_then(serde_json::Value::as_u64) else {
        return Err(damaged(source, &format!("{HINT} of its log is damaged")));
    };
    let name = format!("{version:020}.checkpoint.parquet");
    match log.join(&name).exists() || hint.get("parts").is_some() {
        true => Ok(()),
        false => Err(damaged(
            source,
            &format!("{name} of its log, which {HINT} names, is gone"),
        )),
    }
}

/// The name and the sum of a line.
fn parse(line: &str) -> Option<(&str, &str)> {
    let (sum, name) = line.split_once("  ")?;
    let is_sum = sum.len() == 64 && sum.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_sum.then_some((name, sum))
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

fn damaged(source: &str, what: &str) -> OfflineError {
    OfflineError::Data(format!(
        "managed table {source}: {what}: restore the directory of the table from a copy, or remove {NAME} in it to \
         go on with what is there"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Table(tempfile::TempDir);

    impl Table {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            std::fs::create_dir(directory.path().join(LOG)).unwrap();
            Self(directory)
        }

        fn log(&self) -> std::path::PathBuf {
            self.0.path().join(LOG)
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
            check(self.0.path(), "s", compared).map_err(|error| error.to_string())
        }

        fn lines(&self) -> usize {
            let text = std::fs::read_to_string(self.0.path().join(NAME)).unwrap();
            text.lines().count()
        }
    }

    #[test]
    fn what_is_changed_or_gone_is_named() {
        let table = Table::new();
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
    fn damage_of_the_sums_is_told_and_a_line_cut_short_is_none() {
        let table = Table::new();
        table.commit(0);
        table.commit(1);
        let sums = table.0.path().join(NAME);
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
        let table = Table::new();
        for version in 0..=MOST_GONE as u64 {
            table.commit(version);
        }
        table.put(&format!("{:020}.checkpoint.parquet", MOST_GONE - 1), "checkpoint");
        for version in 0..MOST_GONE as u64 {
            table.remove(version);
        }
        table.commit(MOST_GONE as u64 + 1);
        assert_eq!(table.lines(), 3);
        assert_eq!(table.check(Compared::All), Ok(()));
        table.remove(MOST_GONE as u64);
        table.check(Compared::Newest).unwrap_err();
    }
}
