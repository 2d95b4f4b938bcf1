//! How far a generation has come in its source, as it is kept in the store beside the rows.

use asof_core::order::RowOrder;
use asof_core::time::Timestamp;
use asof_offline::{Snapshot, SourceFile};
use serde::{Deserialize, Serialize};

use super::MaterializeError;
use super::tally::Held;
use super::undo::{HeldBack, Undo};

/// The version of the form below. Version 1 had no table and no counts, and both 1 and 2 could leave rows
/// out; 3 knew no runs; later ones are refused.
const FORMAT: u32 = 4;

/// What of its source a generation has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    format: u32,
    /// The id of the Delta table, where it is one.
    table: Option<String>,
    /// The files, in order.
    files: Vec<FileMark>,
    /// The files after them of which a run began to write rows, whether it ended or not.
    begun: Vec<FileMark>,
    /// The next seq of a managed table.
    next_seq: Option<u64>,
    /// In versions 1 and 2 the least event time among the rows of these that were left out, as they had not
    /// happened yet.
    #[serde(default, skip_serializing)]
    ahead: Option<i64>,
    /// The latest instant as of which a run began to write, whether it ended or not.
    reached: i64,
    /// The keys and pending rows that were counted when the last run ended.
    held: Option<(u64, u64)>,
    /// How many rows had been pushed to the source when that was counted, or when the generation began.
    #[serde(default)]
    pushed: u64,
    /// How the last run that was completed can be undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    undo: Option<Undo>,
    /// The runs that were undone: their rows are held back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    held_back: Vec<HeldBack>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct FileMark {
    path: String,
    size: u64,
    modified: i128,
    tag: Option<String>,
}

impl FileMark {
    pub(super) fn of(file: &SourceFile) -> Self {
        Self {
            path: file.path.clone(),
            size: file.size,
            modified: file.modified,
            tag: file.tag.clone(),
        }
    }
}

/// The instant as of which a generation is complete to which rows were pushed, and that was never materialized.
pub(crate) const NEVER: Timestamp = Timestamp::EPOCH;

/// The progress of a generation that has nothing of a managed table.
pub(crate) fn nothing_materialized(table: Option<&str>) -> Vec<u8> {
    Mark::nothing(table).to_bytes()
}

/// The seq before which a generation has all rows of its managed table, by its progress.
pub(crate) fn taken_before(progress: &[u8]) -> u64 {
    // Without progress it has none.
    Mark::parse(progress).map_or(0, |mark| mark.next_seq.unwrap_or(0))
}

impl Mark {
    /// The mark of a generation that has all of a snapshot, when so many rows had been pushed to the source.
    pub(super) fn of(snapshot: &Snapshot, as_of: Timestamp, pushed: u64) -> Self {
        Self {
            format: FORMAT,
            table: snapshot.table_id.clone(),
            files: snapshot.files.iter().map(FileMark::of).collect(),
            begun: Vec::new(),
            next_seq: snapshot.next_seq(),
            ahead: None,
            reached: as_of.micros(),
            held: None,
            pushed,
            undo: None,
            held_back: Vec::new(),
        }
    }

    /// The mark of a generation that has nothing of a managed table.
    fn nothing(table: Option<&str>) -> Self {
        Self {
            format: FORMAT,
            table: table.map(ToOwned::to_owned),
            files: Vec::new(),
            begun: Vec::new(),
            next_seq: Some(1),
            ahead: None,
            reached: NEVER.micros(),
            held: None,
            pushed: 0,
            undo: None,
            held_back: Vec::new(),
        }
    }

    /// How the last run that was completed can be undone.
    pub(super) fn undo(&self) -> Option<&Undo> {
        self.undo.as_ref()
    }

    /// The runs that were undone, in the order in which they were.
    pub(super) fn held_back(&self) -> &[HeldBack] {
        &self.held_back
    }

    /// The same with another way to undo the last run, and other runs that are held back.
    pub(super) fn with_runs(self, undo: Option<Undo>, held_back: Vec<HeldBack>) -> Self {
        Self {
            undo,
            held_back,
            ..self
        }
    }

    /// The same of a generation that holds what another one held.
    pub(super) fn holding(self, held: Option<Held>, pushed: u64) -> Self {
        Self {
            held: held.map(|held| (held.keys, held.pending)),
            pushed,
            ..self
        }
    }

    /// The same where something was written as of an instant, too.
    pub(super) fn reaching(self, at: Timestamp) -> Self {
        Self {
            reached: self.reached.max(at.micros()),
            ..self
        }
    }

    /// How many rows had been pushed when the generation began or was last counted.
    pub(super) fn pushed(&self) -> u64 {
        self.pushed
    }

    /// The same at the end of a run, after which the generation was counted.
    pub(super) fn counted(self, held: Held) -> Self {
        Self {
            held: Some((held.keys, held.pending)),
            ..self
        }
    }

    /// What was counted when the last run ended.
    pub(super) fn held(&self) -> Option<Held> {
        self.held.map(|(keys, pending)| Held { keys, pending })
    }

    /// The same where a run as of `as_of` begins to write the rows of a snapshot.
    pub(super) fn beginning(&self, snapshot: &Snapshot, as_of: Timestamp) -> Self {
        Self {
            begun: snapshot
                .files
                .iter()
                .skip(self.files.len())
                .map(FileMark::of)
                .collect(),
            reached: self.reached.max(as_of.micros()),
            ..self.clone()
        }
    }

    /// The part that changes only when a run ends: what is there whole.
    pub(super) fn settled_part(&self) -> Self {
        Self {
            begun: Vec::new(),
            reached: 0,
            undo: None,
            held_back: Vec::new(),
            ..self.clone()
        }
    }

    /// The latest instant as of which something may have been written.
    pub(super) fn reached(&self) -> Timestamp {
        Timestamp::from_micros(self.reached)
    }

    /// Of a managed table, the seq before which it has all rows.
    pub(super) fn next_seq(&self) -> Option<u64> {
        self.next_seq
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        // A struct of numbers and text always has a JSON form.
        serde_json::to_vec(self).unwrap_or_default()
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, MaterializeError> {
        let mark: Self =
            serde_json::from_slice(bytes).map_err(|error| MaterializeError::Mark(error.to_string()))?;
        if (1..=FORMAT).contains(&mark.format) {
            return Ok(mark);
        }
        Err(MaterializeError::Mark(format!(
            "it has the form {}, this version reads up to {FORMAT}",
            mark.format
        )))
    }

    /// Whether a snapshot has all that this mark has, as it was, what a run began with included, and beyond
    /// it only files that sort after it (or, of a managed table, later seqs).
    ///
    /// Another table in the place of a Delta table has nothing of it, and a mark without an id may be of
    /// another table. A generation that left rows out cannot go on.
    pub(super) fn grew_into(&self, snapshot: &Snapshot) -> bool {
        if self.table != snapshot.table_id || self.ahead.is_some() {
            return false;
        }
        match (self.next_seq, snapshot.next_seq()) {
            (Some(before), Some(after)) => before <= after,
            (None, None) => {
                let later = snapshot.files.iter().skip(self.files.len()).map(FileMark::of);
                self.begins(snapshot) && later.take(self.begun.len()).eq(self.begun.iter().cloned())
            }
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// Whether the first files of a snapshot are those of this mark.
    fn begins(&self, snapshot: &Snapshot) -> bool {
        let now = snapshot.files.iter().map(FileMark::of);
        snapshot.files.len() >= self.files.len() && now.zip(&self.files).all(|(now, before)| now == *before)
    }

    /// Whether this mark is of that very snapshot.
    ///
    /// Of a managed table the seqs say so, whatever files a compaction has made of its rows.
    pub(super) fn is_of(&self, snapshot: &Snapshot) -> bool {
        let same_files = || self.files.len() == snapshot.files.len() && self.begins(snapshot);
        self.table == snapshot.table_id
            && self.next_seq == snapshot.next_seq()
            && (self.next_seq.is_some() || same_files())
    }

    /// How many of the first files of a snapshot have nothing new: all of their rows are there, pending ones
    /// included.
    pub(super) fn settled(&self, snapshot: &Snapshot) -> usize {
        if self.is_of(snapshot) {
            snapshot.files.len()
        } else if self.begins(snapshot) {
            self.files.len()
        } else {
            0
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earlier_forms_are_read_and_later_ones_refused() {
        let form = |format: u32| {
            format!(r#"{{"format":{format},"files":[],"begun":[],"next_seq":7,"ahead":null,"reached":100}}"#)
        };
        let mark = Mark::parse(form(1).as_bytes()).unwrap();
        assert_eq!((mark.table, mark.next_seq, mark.reached), (None, Some(7), 100));
        assert_eq!(
            Mark::parse(form(5).as_bytes()).unwrap_err().to_string(),
            "the online store holds a mark of progress that cannot be read: it has the form 5, this version \
             reads up to 4: build the view anew with --full"
        );
    }
}
