//! How far a generation has come in its source, as it is kept in the store beside the rows.

use asof_core::order::RowOrder;
use asof_offline::{Snapshot, SourceFile};
use serde::{Deserialize, Serialize};

use super::MaterializeError;

/// The version of the form below; others are refused.
const FORMAT: u32 = 1;

/// What of its source a generation has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    format: u32,
    /// The files of a source read in place, in order; of a managed table they do not matter.
    files: Vec<FileMark>,
    /// The next seq of a managed table.
    next_seq: Option<u64>,
    /// Whether the run that wrote this was complete.
    complete: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct FileMark {
    path: String,
    size: u64,
    modified: i128,
    tag: Option<String>,
}

impl FileMark {
    fn of(file: &SourceFile) -> Self {
        Self {
            path: file.path.clone(),
            size: file.size,
            modified: file.modified,
            tag: file.tag.clone(),
        }
    }
}

impl Mark {
    /// The mark of a generation that has all of a snapshot.
    pub(super) fn done(snapshot: &Snapshot) -> Vec<u8> {
        Self::of(snapshot, true).to_bytes()
    }

    /// The mark of a generation that is to have all of a snapshot.
    pub(super) fn begun(snapshot: &Snapshot) -> Vec<u8> {
        Self::of(snapshot, false).to_bytes()
    }

    fn of(snapshot: &Snapshot, complete: bool) -> Self {
        let managed = snapshot.next_seq();
        let files = match managed {
            Some(_) => Vec::new(),
            None => snapshot.files.iter().map(FileMark::of).collect(),
        };
        Self {
            format: FORMAT,
            files,
            next_seq: managed,
            complete,
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        // A struct of numbers and text always has a JSON form.
        serde_json::to_vec(self).unwrap_or_default()
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, MaterializeError> {
        let mark: Self =
            serde_json::from_slice(bytes).map_err(|error| MaterializeError::Mark(error.to_string()))?;
        if mark.format == FORMAT {
            return Ok(mark);
        }
        Err(MaterializeError::Mark(format!(
            "it has the form {}, this version reads {FORMAT}",
            mark.format
        )))
    }

    /// Whether a snapshot has all that this mark has, as it was, and beyond it only files that sort after
    /// it (or, of a managed table, later seqs).
    pub(super) fn grew_into(&self, snapshot: &Snapshot) -> bool {
        let now = Self::of(snapshot, true);
        match (self.next_seq, now.next_seq) {
            (Some(before), Some(after)) => before <= after,
            (None, None) => now.files.starts_with(&self.files),
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// Whether this mark has a row: of one of its files, or with a seq before its next.
    pub(super) fn has(&self, file: usize, order: RowOrder) -> bool {
        match self.next_seq {
            Some(next) => order.seq < next,
            None => file < self.files.len(),
        }
    }
}
