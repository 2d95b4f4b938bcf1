//! How far writes were acknowledged, kept beside the log.
//!
//! RocksDB cannot tell a log that lost its end from one whose last write was never acknowledged. The mark
//! can: it holds the sequence number that the store had reached when it last acknowledged a write. A store
//! that opens with a lower one has lost writes.
//!
//! Nor can RocksDB tell that its MANIFEST, the list of its files, was cut between two entries: it deletes
//! the tables that are not listed any more. So the mark also holds how long the list was.
//!
//! `asof.mark`: the sequence number, the number in the MANIFEST's name and its length in bytes,
//! [sealed](crate::sealed), written in place after a write and before it is acknowledged. It is not synced:
//! it survives what the process does not, and after a power cut an older mark raises no false alarm.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::sealed;

/// The file's name in the store's directory.
pub(crate) const NAME: &str = "asof.mark";

/// The mark of an open store.
#[derive(Debug)]
pub(crate) struct Mark {
    /// Held while the mark is moved on, so that it never goes back.
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: File,
    /// The MANIFEST of this opening, which only grows.
    list: File,
    reached: Reached,
}

/// How far a store had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reached {
    pub(crate) sequence: u64,
    pub(crate) list: List,
}

/// The MANIFEST, by number and length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct List {
    pub(crate) number: u64,
    pub(crate) length: u64,
}

/// What the file said when the store was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// What was reached.
    At(Reached),
    /// There is no file.
    Missing,
    /// There is one, with something else in it.
    Unreadable,
}

/// Reads what the last process left.
pub(crate) fn left(path: &Path) -> io::Result<Left> {
    let mut bytes = Vec::new();
    match File::open(path.join(NAME)) {
        Ok(file) => file.take(LEN as u64 + 1).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Left::Missing),
        Err(error) => return Err(error),
    };
    Ok(match parse(&bytes) {
        Some(reached) => Left::At(reached),
        None => Left::Unreadable,
    })
}

/// The MANIFEST that CURRENT names, if both are there.
pub(crate) fn list(path: &Path) -> Option<List> {
    let (number, file) = open_list(path).ok()?;
    let length = file.metadata().ok()?.len();
    Some(List { number, length })
}

fn open_list(path: &Path) -> io::Result<(u64, File)> {
    let name = std::fs::read_to_string(path.join("CURRENT"))?;
    let number = name
        .trim_end()
        .strip_prefix("MANIFEST-")
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "CURRENT names no MANIFEST"))?;
    Ok((number, File::open(path.join(name.trim_end()))?))
}

impl Mark {
    /// Starts a mark at `sequence`, once the database is open.
    pub(crate) fn start(path: &Path, sequence: u64) -> io::Result<Self> {
        let (number, list) = open_list(path)?;
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join(NAME))?;
        file.set_len(LEN as u64)?;
        let reached = Reached {
            sequence,
            list: List { number, length: 0 },
        };
        let mut inner = Inner { file, list, reached };
        inner.write()?;
        // Once, so that the file itself outlives a power cut.
        inner.file.sync_all()?;
        Ok(Self {
            inner: Mutex::new(inner),
        })
    }

    /// Moves the mark on to `sequence`, if it is not beyond it.
    pub(crate) fn advance(&self, sequence: u64) -> io::Result<()> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if sequence > inner.reached.sequence {
            inner.reached.sequence = sequence;
            inner.write()?;
        }
        Ok(())
    }
}

impl Inner {
    fn write(&mut self) -> io::Result<()> {
        self.reached.list.length = self.list.metadata()?.len();
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&self.reached.to_bytes())
    }
}

const LEN: usize = 28;

impl Reached {
    fn to_bytes(self) -> Vec<u8> {
        sealed::to_bytes([self.sequence, self.list.number, self.list.length])
    }
}

fn parse(bytes: &[u8]) -> Option<Reached> {
    sealed::parse(bytes).map(|[sequence, number, length]| Reached {
        sequence,
        list: List { number, length },
    })
}
