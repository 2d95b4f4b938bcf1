//! Which pushed rows a generation with tiles has: its rows are added up, so that each must come to it once, when it is
//! pushed or from its table.
//!
//! What is pushed is folded when it is accepted, and its seqs are noted in the same write. Materialization folds the rows
//! of the table that come after its mark, but for those. A row that was pushed while the generation was not one that takes
//! rows, or whose write was lost in a power cut after it had come to its table, is not among the noted ones, and comes from
//! the table.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// The version of the form below.
const FORMAT: u32 = 1;

/// The seqs of pushed rows that a generation has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Folded {
    /// Ascending and apart.
    ranges: Vec<Range<u64>>,
}

#[derive(Serialize, Deserialize)]
struct Note {
    format: u32,
    ranges: Vec<(u64, u64)>,
}

impl Folded {
    /// What was noted; `None` where that is of another form.
    pub(crate) fn parse(note: Option<&[u8]>) -> Option<Self> {
        let Some(note) = note else {
            return Some(Self::default());
        };
        let note: Note = serde_json::from_slice(note)
            .ok()
            .filter(|note: &Note| note.format == FORMAT)?;
        let ranges = note.ranges.into_iter().map(|(start, end)| start..end);
        Some(Self {
            ranges: ranges.collect(),
        })
    }

    /// As it is noted.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let note = Note {
            format: FORMAT,
            ranges: self.ranges.iter().map(|range| (range.start, range.end)).collect(),
        };
        // A struct of numbers always has a JSON form.
        serde_json::to_vec(&note).unwrap_or_default()
    }

    /// Whether a row of a seq is among them.
    pub(crate) fn has(&self, seq: u64) -> bool {
        let at = self.ranges.partition_point(|range| range.end <= seq);
        self.ranges.get(at).is_some_and(|range| range.contains(&seq))
    }

    /// Adds rows with greater seqs than all before.
    pub(crate) fn add(&mut self, seqs: Range<u64>) {
        match self.ranges.last_mut() {
            Some(last) if last.end == seqs.start => last.end = seqs.end,
            _ => self.ranges.push(seqs),
        }
    }

    /// Forgets those before a seq, which the mark of a materialization has.
    pub(crate) fn forget_before(&mut self, seq: u64) {
        self.ranges.retain(|range| range.end > seq);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_joined_told_and_forgotten() {
        let mut folded = Folded::parse(None).unwrap();
        assert!(!folded.has(0));
        for seqs in [5..7, 7..9, 20..22, 30..31] {
            folded.add(seqs);
        }
        assert_eq!(folded.ranges, [5..9, 20..22, 30..31]);
        let had: Vec<u64> = (0..30).filter(|seq| folded.has(*seq)).collect();
        assert_eq!(had, [5, 6, 7, 8, 20, 21]);
        assert_eq!(Folded::parse(Some(&folded.to_bytes())), Some(folded.clone()));
        folded.forget_before(9);
        assert_eq!(folded.ranges, [20..22, 30..31]);
        assert_eq!(Folded::parse(Some(b"{\"format\":2,\"ranges\":[]}")), None);
        assert_eq!(Folded::parse(Some(b"?")), None);
    }
}
