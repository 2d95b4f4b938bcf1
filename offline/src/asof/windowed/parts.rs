//! Keys in parts: what is found of one part stands side by side from the batch on, so that putting events by key walks
//! through memory rather than about it.

use std::ops::Range;

use super::super::questions::Questions;

/// At most how many parts there are.
const PARTS: usize = 256;

/// How the groups of keys are cut into parts, each of groups side by side.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts {
    groups: usize,
    /// A part has 2 to the power of this groups; the last may have fewer.
    shift: u32,
}

impl Parts {
    pub(super) fn of(questions: &Questions) -> Self {
        let groups = questions.keys();
        let per_part = groups.div_ceil(PARTS).max(1).next_power_of_two();
        Self {
            groups,
            shift: per_part.ilog2(),
        }
    }

    /// How many there are.
    pub(super) fn count(self) -> usize {
        self.groups.div_ceil(1 << self.shift)
    }

    /// The groups of a part.
    pub(super) fn groups(self, part: usize) -> Range<usize> {
        let end = |part: usize| (part << self.shift).min(self.groups);
        end(part)..end(part + 1)
    }

    /// Puts rows, given with their groups, by part; gives them with where each part begins, and the last one ends.
    pub(super) fn arrange(self, rows: &[(u32, u32)]) -> (Vec<(u32, u32)>, Vec<u32>) {
        let mut starts = vec![0_u32; self.count() + 1];
        for (_, group) in rows {
            if let Some(end) = starts.get_mut((*group as usize >> self.shift) + 1) {
                *end += 1;
            }
        }
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        let mut next = starts.clone();
        let mut arranged = vec![(0, 0); rows.len()];
        for row in rows {
            if let Some(next) = next.get_mut(row.1 as usize >> self.shift) {
                if let Some(slot) = arranged.get_mut(*next as usize) {
                    *slot = *row;
                }
                *next += 1;
            }
        }
        (arranged, starts)
    }
}
