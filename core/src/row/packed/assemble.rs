//! Packed values put together anew, of others and of arrays.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef};

use super::{Lane, Layout, Packed, Slot};
use crate::data_type::DataType;
use crate::row::RowCorrupt;
use crate::status::Status;

/// Where the values of a feature come from.
#[derive(Debug, Clone, Copy)]
pub enum Part<'a> {
    /// From the packed values: which of their features.
    Packed(usize),
    /// From an array of the Arrow type of the feature's type, with zeros and nothing beneath nulls: NULL where it is null,
    /// else PRESENT.
    Array(&'a ArrayRef),
}

impl Packed {
    /// Values at the places of the layout `to`, a part for each of its features; `from` is the layout of these.
    ///
    /// # Errors
    ///
    /// Parts that are of another type or length than the features.
    pub fn assemble(&self, from: &Layout, to: &Layout, parts: &[Part<'_>]) -> Result<Self, RowCorrupt> {
        if parts.len() != to.slots().len() {
            return Err(RowCorrupt::Body);
        }
        let starts = self.blob_starts();
        let mut new = Self {
            positions: self.positions,
            statuses: Vec::with_capacity(parts.len() * self.positions),
            numbers: std::array::from_fn(|number| {
                let bytes = Lane::number(number).map_or(0, |lane| to.places(lane) * lane.size());
                Vec::with_capacity(bytes * self.positions)
            }),
            lengths: Vec::with_capacity(to.places(Lane::Blobs) * self.positions * 4),
            data: Vec::new(),
            nested: Vec::with_capacity(to.places(Lane::Nested)),
        };
        // The features of a lane stand in it in their order.
        for (slot, part) in to.slots().iter().zip(parts) {
            match part {
                Part::Packed(feature) => {
                    let known = from.slots().get(*feature).ok_or(RowCorrupt::Body)?;
                    if known.data_type != slot.data_type {
                        return Err(RowCorrupt::Body);
                    }
                    new.statuses.extend_from_slice(self.codes_of(*feature));
                    self.copy(known, &starts, &mut new)?;
                }
                Part::Array(array) => {
                    if array.len() != self.positions || *array.data_type() != slot.data_type.to_arrow() {
                        return Err(RowCorrupt::Body);
                    }
                    let code = |row| match array.is_null(row) {
                        true => Status::Null.code(),
                        false => Status::Present.code(),
                    };
                    new.statuses.extend((0..array.len()).map(code));
                    new.append(slot, array)?;
                }
            }
        }
        Ok(new)
    }

    /// Where each text or bytes start, and the end of the last.
    fn blob_starts(&self) -> Vec<usize> {
        let (lengths, _) = self.lengths.as_chunks::<4>();
        let mut end = 0;
        let ends = lengths.iter().map(|length| {
            end += u32::from_le_bytes(*length) as usize;
            end
        });
        std::iter::once(0).chain(ends).collect()
    }

    /// Appends the values of a feature to the lanes of `new`.
    fn copy(&self, slot: &Slot, starts: &[usize], new: &mut Self) -> Result<(), RowCorrupt> {
        let first = slot.place * self.positions;
        let last = first + slot.width * self.positions;
        match slot.lane {
            Lane::Nested => {
                let array = self.nested.get(slot.place).ok_or(RowCorrupt::Body)?;
                new.nested.push(ArrayRef::clone(array));
            }
            Lane::Blobs => {
                let lengths = self.lengths.get(first * 4..last * 4).ok_or(RowCorrupt::Body)?;
                new.lengths.extend_from_slice(lengths);
                let (Some(start), Some(end)) = (starts.get(first), starts.get(last)) else {
                    return Err(RowCorrupt::Body);
                };
                let data = self.data.get(*start..*end).ok_or(RowCorrupt::Body)?;
                new.data.extend_from_slice(data);
            }
            lane => {
                let size = lane.size();
                let values = self.numbers.get(lane as usize);
                let values = values.and_then(|values| values.get(first * size..last * size));
                new.lane(lane)?.extend_from_slice(values.ok_or(RowCorrupt::Body)?);
            }
        }
        Ok(())
    }

    /// Appends the values of an array, which is of the type of the slot.
    fn append(&mut self, slot: &Slot, array: &ArrayRef) -> Result<(), RowCorrupt> {
        macro_rules! numbers {
            ($kind:ty) => {{
                let values = array.as_primitive::<$kind>().values();
                let bytes = values.iter().flat_map(|value| value.to_le_bytes());
                self.lane(slot.lane)?.extend(bytes);
            }};
        }
        match &slot.data_type {
            DataType::Bool => {
                let values = array.as_boolean().values();
                self.lane(slot.lane)?.extend(values.iter().map(u8::from));
            }
            DataType::Int32 => numbers!(Int32Type),
            DataType::Date => numbers!(Date32Type),
            DataType::Int64 => numbers!(Int64Type),
            DataType::Timestamp => numbers!(TimestampMicrosecondType),
            DataType::Float32 => numbers!(Float32Type),
            DataType::Float64 => numbers!(Float64Type),
            DataType::Decimal { .. } => numbers!(Decimal128Type),
            DataType::Embedding(_) => {
                let list = array.as_fixed_size_list();
                let first = usize::try_from(list.value_offset(0)).map_err(|_| RowCorrupt::Body)?;
                let values = list.values().as_primitive::<Float32Type>().values();
                let values = values.get(first..first + slot.width * self.positions);
                let bytes = values.ok_or(RowCorrupt::Body)?.iter();
                self.lane(slot.lane)?
                    .extend(bytes.flat_map(|value| value.to_le_bytes()));
            }
            DataType::String | DataType::Json => {
                let text = array.as_string::<i32>();
                self.append_blobs(text.offsets(), text.value_data())?;
            }
            DataType::Bytes => {
                let bytes = array.as_binary::<i32>();
                self.append_blobs(bytes.offsets(), bytes.value_data())?;
            }
            DataType::List(_) | DataType::Struct(_) | DataType::Map(_) => {
                self.nested.push(ArrayRef::clone(array));
            }
        }
        Ok(())
    }

    fn append_blobs(&mut self, offsets: &[i32], data: &[u8]) -> Result<(), RowCorrupt> {
        for pair in offsets.windows(2) {
            let [start, end] = pair else { continue };
            let length = u32::try_from(end - start).map_err(|_| RowCorrupt::Body)?;
            self.lengths.extend_from_slice(&length.to_le_bytes());
        }
        let at = |offset: Option<&i32>| offset.and_then(|offset| usize::try_from(*offset).ok());
        let range = at(offsets.first()).zip(at(offsets.last()));
        let data = range.and_then(|(start, end)| data.get(start..end));
        self.data.extend_from_slice(data.ok_or(RowCorrupt::Body)?);
        Ok(())
    }

    fn lane(&mut self, lane: Lane) -> Result<&mut Vec<u8>, RowCorrupt> {
        self.numbers.get_mut(lane as usize).ok_or(RowCorrupt::Body)
    }
}
