//! SHA-256 digests, written `sha256:…`.

mod known;

pub(crate) use known::{KnownDigests, Stamp};

use std::io::{Read, Write};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::error::{OfflineError, Result};

/// What a digest begins with.
const PREFIX: &str = "sha256:";

/// A digest under construction.
#[derive(Debug, Clone, Default)]
pub struct Digest(Sha256);

impl Digest {
    /// The digest of nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest as text.
    pub fn finish(self) -> String {
        let hex: String = self
            .0
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("{PREFIX}{hex}")
    }

    /// The hexadecimal digits of a digest.
    pub(crate) fn hex(digest: &str) -> &str {
        digest.trim_start_matches(PREFIX)
    }

    /// The digest with these hexadecimal digits, if they are those of one.
    pub(crate) fn from_hex(hex: &str) -> Option<String> {
        let is_whole = hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_whole.then(|| format!("{PREFIX}{hex}"))
    }

    /// The digest of bytes.
    pub fn of(bytes: &[u8]) -> String {
        let mut digest = Self::new();
        digest.update(bytes);
        digest.finish()
    }

    /// The digest of a file's contents.
    pub fn of_file(path: &Path) -> Result<String> {
        let error = |error| OfflineError::io(path, &error);
        let mut file = std::fs::File::open(path).map_err(error)?;
        let mut digest = Self::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            let read = file.read(&mut buffer).map_err(error)?;
            if read == 0 {
                return Ok(digest.finish());
            }
            digest.update(buffer.get(..read).unwrap_or_default());
        }
    }
}

/// A writer that digests what passes through it.
#[derive(Debug)]
pub struct Digesting<W> {
    inner: W,
    digest: Digest,
    written: u64,
}

impl<W: Write> Digesting<W> {
    /// Around `inner`.
    pub fn new(inner: W) -> Self {
        Self {
            inner,
            digest: Digest::new(),
            written: 0,
        }
    }

    /// How many bytes have passed.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// The writer, the digest of what has passed and how many bytes that was.
    pub fn finish(self) -> (W, String, u64) {
        (self.inner, self.digest.finish(), self.written)
    }
}

impl<W: Write> Write for Digesting<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let taken = self.inner.write(bytes)?;
        self.digest.update(bytes.get(..taken).unwrap_or_default());
        self.written += u64::try_from(taken).unwrap_or(0);
        Ok(taken)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}
