//! Values of many features at many positions, packed by type: a handful of buffers however many features
//! there are, so that an answer costs as little for one position of many features as for many of few.
//!
//! Every feature has a *lane*, which follows from its type, and a *place* in it: so many elements of each
//! position come before its own. The elements of a feature stand together, position by position: with `n`
//! positions, those of a feature at place `p` of width `w` (1, of embeddings their length) at position `i` are
//! the elements `p * n + i * w` and on. A value that is not there is 0, or empty.

mod arrays;
mod assemble;
mod layout;
mod packer;

pub use assemble::Part;
pub use layout::{Lane, Layout, Slot};
pub use packer::Packer;

use crate::status::Status;
use arrow_array::ArrayRef;

/// Packed values.
#[derive(Debug, Clone)]
pub struct Packed {
    /// How many positions there are.
    pub positions: usize,
    /// The number of a [`Status`] for each feature and position, feature by feature.
    pub statuses: Vec<u8>,
    /// The lanes of numbers: little-endian, and bools of one byte.
    pub numbers: [Vec<u8>; Lane::NUMBERS],
    /// The lane of text and bytes: the length of each, as little-endian `u32`.
    pub lengths: Vec<u8>,
    /// The same: all of them, without anything between.
    pub data: Vec<u8>,
    /// Lists, structs and maps: an array for each feature.
    pub nested: Vec<ArrayRef>,
}

/// Buffers that are not packed values of a layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{lane} has {found} elements or bytes where {expected} are expected")]
pub struct PackedMismatch {
    /// What does not fit.
    pub lane: &'static str,
    /// What there should be.
    pub expected: usize,
    /// What there is.
    pub found: usize,
}

impl Packed {
    /// The statuses of a feature, position by position.
    pub fn statuses_of(&self, feature: usize) -> impl Iterator<Item = Status> {
        let codes = self.codes_of(feature).iter();
        codes.map(|code| Status::from_code(*code).unwrap_or(Status::NotFound))
    }

    /// Whether every value is there.
    pub fn all_present(&self) -> bool {
        self.statuses.iter().all(|code| *code == Status::Present.code())
    }

    /// The numbers of the statuses of a feature, position by position.
    pub fn codes_of(&self, feature: usize) -> &[u8] {
        let start = feature.saturating_mul(self.positions);
        let end = start.saturating_add(self.positions);
        self.statuses.get(start..end).unwrap_or_default()
    }

    /// Checks that the buffers of values are as long as a layout says, and then that every value has a status.
    /// No statuses at all are as many as there must be, all PRESENT.
    ///
    /// # Errors
    ///
    /// The first that is not.
    pub fn check(&mut self, layout: &Layout) -> Result<(), PackedMismatch> {
        let same = |lane: &'static str, expected: usize, found: usize| {
            let mismatch = PackedMismatch {
                lane,
                expected,
                found,
            };
            if expected == found { Ok(()) } else { Err(mismatch) }
        };
        let times = |places: usize| places.saturating_mul(self.positions);
        for (number, values) in self.numbers.iter().enumerate() {
            let Some(lane) = Lane::number(number) else {
                continue;
            };
            let elements = times(layout.places(lane));
            same(lane.name(), elements.saturating_mul(lane.size()), values.len())?;
        }
        let (lengths, rest) = self.lengths.as_chunks::<4>();
        same("lengths", times(layout.places(Lane::Blobs)), lengths.len())?;
        same("lengths", 0, rest.len())?;
        let total = lengths
            .iter()
            .map(|length| u64::from(u32::from_le_bytes(*length)))
            .sum::<u64>();
        same(
            "data",
            usize::try_from(total).unwrap_or(usize::MAX),
            self.data.len(),
        )?;
        same("nested", layout.places(Lane::Nested), self.nested.len())?;
        self.nested
            .iter()
            .try_for_each(|array| same("nested", self.positions, array.len()))?;
        // Not before: now there are no more positions than values.
        let codes = times(layout.slots().len());
        if self.statuses.is_empty() {
            self.statuses = vec![Status::Present.code(); codes];
        }
        same("statuses", codes, self.statuses.len())?;
        let known = self
            .statuses
            .iter()
            .filter(|code| Status::from_code(**code).is_some());
        same("statuses", self.statuses.len(), known.count())
    }
}
