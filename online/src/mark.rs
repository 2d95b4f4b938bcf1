//! How far writes were acknowledged, kept beside the log.
//!
//! RocksDB cannot tell a log that lost its end from one whose last write was never acknowledged. The mark
//! can: it holds the sequence number that the store had reached when it last acknowledged a write. A store
//! that opens with a lower one has lost writes.
//!
//! `asof.mark`: the number (8 bytes, big-endian) and its CRC-32C (4 bytes, big-endian), written in place
//! after the write and before it is acknowledged. It is not synced: it survives what the process does not,
//! and after a power cut an older mark raises no false alarm.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

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
    sequence: u64,
}

/// What the file said when the store was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// The sequence number that was reached.
    At(u64),
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
        Some(sequence) => Left::At(sequence),
        None => Left::Unreadable,
    })
}

impl Mark {
    /// Starts a mark at `sequence`.
    pub(crate) fn start(path: &Path, sequence: u64) -> io::Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join(NAME))?;
        file.set_len(LEN as u64)?;
        let mut inner = Inner { file, sequence };
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
        if sequence > inner.sequence {
            inner.sequence = sequence;
            inner.write()?;
        }
        Ok(())
    }
}

impl Inner {
    fn write(&mut self) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&to_bytes(self.sequence))
    }
}

const LEN: usize = 12;

fn to_bytes(sequence: u64) -> Vec<u8> {
    let sequence = sequence.to_be_bytes();
    [&sequence[..], &crc32c::crc32c(&sequence).to_be_bytes()[..]].concat()
}

fn parse(bytes: &[u8]) -> Option<u64> {
    let (sequence, crc) = bytes.split_first_chunk::<8>()?;
    (crc == crc32c::crc32c(sequence).to_be_bytes()).then_some(u64::from_be_bytes(*sequence))
}
