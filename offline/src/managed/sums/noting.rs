//! Noting the sums of a log's files, and which entry is the last one.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use super::{LogFile, NAME, head, line, log_files, newest, parse, whole_lines};
use crate::digest::Digest;

/// How many lines may name files that are gone before they are dropped.
pub(super) const MOST_GONE: usize = 1_000;

/// Notes the sum of a file of a log that was just written, and of those that have none yet.
pub(in crate::managed) fn note(log: &Path, written: &str) -> io::Result<()> {
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
            lines.push_str(&line(
                &Digest::of_file(&log.join(name)).map_err(io::Error::other)?,
                name,
            ));
        }
    }
    file.write_all(lines.as_bytes())?;
    file.sync_all()?;
    if text.is_empty() {
        File::open(table)?.sync_all()?;
    }
    head::note(table, &files)
}
