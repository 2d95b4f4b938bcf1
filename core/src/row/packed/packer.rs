//! Values on their way into their lanes, row by row.

use super::{Lane, Layout, Packed, Slot};
use crate::data_type::DataType;
use crate::row::RowCorrupt;
use crate::row::column::ColumnBuilder;
use crate::row::take::{take, take_bool, take_slice};
use crate::status::Status;

/// Packs the values of rows.
#[derive(Debug)]
pub struct Packer {
    positions: usize,
    statuses: Vec<u8>,
    numbers: [Vec<u8>; Lane::NUMBERS],
    /// For each place and position, where its text or bytes start in `data`, and how many they are.
    blobs: Vec<(usize, usize)>,
    /// Text and bytes as they came.
    data: Vec<u8>,
    nested: Vec<ColumnBuilder>,
    /// For each feature its place in `nested`; empty where no feature has one.
    nested_at: Vec<Option<usize>>,
}

impl Packer {
    /// For so many positions of the features of a layout; until something else comes, every value is 0 or
    /// empty, and PRESENT.
    pub fn new(layout: &Layout, positions: usize) -> Self {
        let slots = layout.slots();
        let nested = |slot: &Slot| (slot.lane == Lane::Nested).then_some(slot.place);
        Self {
            positions,
            statuses: vec![Status::Present.code(); slots.len() * positions],
            numbers: std::array::from_fn(|number| {
                let bytes = Lane::number(number).map_or(0, |lane| layout.places(lane) * lane.size());
                vec![0; bytes * positions]
            }),
            blobs: vec![(0, 0); layout.places(Lane::Blobs) * positions],
            data: Vec::new(),
            nested: slots
                .iter()
                .filter(|slot| nested(slot).is_some())
                .map(|slot| ColumnBuilder::new(&slot.data_type))
                .collect(),
            nested_at: match layout.places(Lane::Nested) {
                0 => Vec::new(),
                _ => slots.iter().map(nested).collect(),
            },
        }
    }

    /// Says that a feature has no value at a position, and why.
    pub fn pass(&mut self, feature: usize, position: usize, status: Status) {
        if let Some(code) = self.statuses.get_mut(feature * self.positions + position) {
            *code = status.code();
        }
        let nested = self.nested_at.get(feature).copied().flatten();
        if let Some(column) = nested.and_then(|nested| self.nested.get_mut(nested)) {
            column.push_null();
        }
    }

    /// Takes in the value at the start of `rest`, and moves `rest` past it.
    pub(crate) fn push(&mut self, slot: &Slot, position: usize, rest: &mut &[u8]) -> Result<(), RowCorrupt> {
        let element = slot.place * self.positions + position * slot.width;
        match slot.lane {
            Lane::Bools => {
                let value = take_bool(rest)?;
                put(self.numbers(slot.lane)?, element, [u8::from(value)])
            }
            Lane::Int32s => put(self.numbers(slot.lane)?, element, number::<4>(rest)?),
            Lane::Int64s | Lane::Float64s => put(self.numbers(slot.lane)?, element, number::<8>(rest)?),
            Lane::Decimals => put(self.numbers(slot.lane)?, element, number::<16>(rest)?),
            Lane::Float32s => {
                let values = take(rest, slot.width * 4)?;
                let to = self.numbers(slot.lane)?.get_mut(element * 4..);
                let to = to
                    .and_then(|to| to.get_mut(..values.len()))
                    .ok_or(RowCorrupt::Body)?;
                to.copy_from_slice(values);
                Ok(())
            }
            Lane::Blobs => {
                let value = take_slice(rest)?;
                let is_text = !matches!(slot.data_type, DataType::Bytes);
                if is_text && std::str::from_utf8(value).is_err() {
                    return Err(RowCorrupt::Body);
                }
                let blob = self.blobs.get_mut(element).ok_or(RowCorrupt::Body)?;
                *blob = (self.data.len(), value.len());
                self.data.extend_from_slice(value);
                Ok(())
            }
            Lane::Nested => {
                let column = self.nested.get_mut(slot.place).ok_or(RowCorrupt::Body)?;
                column.push(rest)
            }
        }
    }

    fn numbers(&mut self, lane: Lane) -> Result<&mut Vec<u8>, RowCorrupt> {
        self.numbers.get_mut(lane as usize).ok_or(RowCorrupt::Body)
    }

    /// The packed values.
    ///
    /// # Errors
    ///
    /// Nested values that are more than an array holds.
    pub fn finish(self) -> Result<Packed, RowCorrupt> {
        let mut lengths = Vec::with_capacity(self.blobs.len() * 4);
        let mut data = Vec::with_capacity(self.data.len());
        for (start, length) in self.blobs {
            let bytes = u32::try_from(length).map_err(|_| RowCorrupt::Body)?;
            lengths.extend_from_slice(&bytes.to_le_bytes());
            data.extend_from_slice(self.data.get(start..start + length).unwrap_or_default());
        }
        let nested = self.nested.into_iter().map(ColumnBuilder::finish);
        Ok(Packed {
            positions: self.positions,
            statuses: self.statuses,
            numbers: self.numbers,
            lengths,
            data,
            nested: nested.collect::<Result<_, _>>()?,
        })
    }
}

fn number<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], RowCorrupt> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or(RowCorrupt::Body)?;
    *rest = tail;
    Ok(*head)
}

fn put<const N: usize>(lane: &mut [u8], element: usize, value: [u8; N]) -> Result<(), RowCorrupt> {
    let to = lane.get_mut(element * N..).and_then(|to| to.first_chunk_mut());
    *to.ok_or(RowCorrupt::Body)? = value;
    Ok(())
}
