//! What can go wrong offline, by what the caller can do about it.

use std::path::Path;

/// An error of the offline side. The first line says what, where, and what to do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OfflineError {
    /// A definition does not fit the data it names.
    #[error("{0}")]
    Definition(String),
    /// Data that cannot be used: a spine, a source's file, a file to ingest.
    #[error("{0}")]
    Data(String),
    /// What a managed table had is damaged or gone.
    #[error("{0}")]
    Damaged(String),
    /// An output that is in the way.
    #[error("{path} exists: give --overwrite to replace it, or another --out")]
    OutputExists {
        /// The output.
        path: String,
    },
    /// An output that is one of the inputs.
    #[error("{path} is {what}: it is not replaced by what is made from it; give another --out")]
    OutputIsInput {
        /// The output.
        path: String,
        /// Which input it is.
        what: String,
    },
    /// The disk is full.
    #[error("no space left while writing {path}: {written} bytes were written and removed again; {free}")]
    NoSpace {
        /// What was being written.
        path: String,
        /// How far it came.
        written: u64,
        /// How much is free, in words.
        free: String,
    },
    /// More memory is needed than may be used.
    #[error("{0}")]
    Memory(String),
    /// Files cannot be read or written for a reason of the system's.
    #[error("{place}: {reason}")]
    Unavailable {
        /// The file or table.
        place: String,
        /// What the system said.
        reason: String,
    },
    /// Somebody else changed a table again and again.
    #[error("{0}")]
    Conflict(String),
    /// A state that should not be: a bug of ours.
    #[error("internal error: {0}")]
    Internal(String),
}

/// The result of an offline call.
pub type Result<T> = std::result::Result<T, OfflineError>;

/// Why a file cannot be read whose decoder panicked.
pub(crate) const DECODER_FAILED: &str = "its decoder failed: the file is probably damaged";

impl OfflineError {
    /// An error of the file system about `path`.
    pub fn io(path: &Path, error: &std::io::Error) -> Self {
        Self::Unavailable {
            place: path.display().to_string(),
            reason: error.to_string(),
        }
    }

    /// The decoder of a file panicked, as some do on damage.
    pub(crate) fn undecodable(place: &str) -> Self {
        Self::Data(format!("{place}: cannot be read: {DECODER_FAILED}"))
    }

    /// A file of a managed table that is not there.
    pub(crate) fn lost(place: &str) -> Self {
        Self::Damaged(format!(
            "{place} is gone: restore it from a copy of the table's directory"
        ))
    }

    /// A file that a source names, and that is not there.
    pub fn gone(place: &str) -> Self {
        Self::Data(format!(
            "{place} is gone, and the source names it: restore it, or run this again where its writer replaced it"
        ))
    }

    /// What came through DataFusion out of a plan of ours.
    pub fn planned(error: &datafusion::error::DataFusionError) -> Self {
        use datafusion::error::DataFusionError as E;
        let root = error.find_root();
        if let E::External(cause) = root
            && let Some(own) = cause.downcast_ref::<Self>()
        {
            return own.clone();
        }
        match root {
            full if is_full_disk(&full.to_string()) => Self::no_room_to_sort(),
            E::ResourcesExhausted(message) => Self::Memory(format!(
                "the memory limit is too small to hold what is sorted at a time: raise the limit, or cut the spine ({})",
                first_line(cause_of(message))
            )),
            E::IoError(cause) => Self::Unavailable {
                place: "the directory for temporary files".into(),
                reason: first_line(&cause.to_string()),
            },
            other => Self::Internal(first_line(&other.to_string())),
        }
    }

    /// The disk is full on which is sorted what does not fit the memory.
    fn no_room_to_sort() -> Self {
        Self::Unavailable {
            place: std::env::temp_dir().display().to_string(),
            reason: "no space left for temporary files, in which is sorted what does not fit the memory: free some, \
                     raise --memory, or name another directory in the variable TMPDIR"
                .into(),
        }
    }

    /// A DataFusion error while working on `place`.
    pub fn engine(place: &str, error: &datafusion::error::DataFusionError) -> Self {
        use datafusion::error::DataFusionError as E;
        let root = error.find_root();
        // Between the file system and here it passes through three libraries, each with words of its own.
        if root.to_string().contains(NOT_FOUND) {
            return Self::gone(place);
        }
        match root {
            E::External(cause) if cause.is::<Self>() => Self::planned(error),
            // What is read here fills no disk; what is sorted on its way may.
            full if is_full_disk(&full.to_string()) => Self::no_room_to_sort(),
            E::ResourcesExhausted(message) => Self::Memory(format!(
                "{place}: the memory limit is too small for this: {}",
                first_line(cause_of(message))
            )),
            E::ObjectStore(cause) => Self::Unavailable {
                place: place.into(),
                reason: first_line(&cause.to_string()),
            },
            E::IoError(cause) => Self::Unavailable {
                place: place.into(),
                reason: first_line(&cause.to_string()),
            },
            other => Self::Data(format!(
                "{place}: cannot be read: {}",
                first_line(&other.to_string())
            )),
        }
    }
}

/// Whether a message, which is all that is left of an error by the time it gets here, says that a disk is full.
pub(crate) fn is_full_disk(message: &str) -> bool {
    let full = std::io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error()).to_string();
    message.contains(full.split(" (os error").next().unwrap_or(&full))
}

/// How the system says that a file is not there.
const NOT_FOUND: &str = "(os error 2)";

/// Of a message about exhausted memory the part that says what was asked for: a list of who holds what may
/// stand before it.
fn cause_of(message: &str) -> &str {
    message.rsplit_once("Error: ").map_or(message, |(_, cause)| cause)
}

/// The first line of a library's message, with control characters escaped.
pub fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.chars()
        .flat_map(|c| {
            if c.is_control() {
                c.escape_default().collect::<Vec<_>>()
            } else {
                vec![c]
            }
        })
        .take(400)
        .collect()
}

impl From<datafusion::arrow::error::ArrowError> for OfflineError {
    fn from(error: datafusion::arrow::error::ArrowError) -> Self {
        Self::Internal(first_line(&error.to_string()))
    }
}
