//! Packed values as Arrow arrays.

use std::sync::Arc;

use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type,
    TimestampMicrosecondType,
};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, FixedSizeListArray, PrimitiveArray, StringArray,
};
use arrow_buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::DataType as ArrowType;

use super::{Lane, Layout, Packed, Slot};
use crate::data_type::DataType;
use crate::row::RowCorrupt;
use crate::status::Status;

impl Packed {
    /// The values of a feature as an array of the Arrow type of its type, null where its status is not
    /// PRESENT.
    ///
    /// # Errors
    ///
    /// Buffers that are not of the layout, and values that are not of the type, such as text that is not
    /// UTF-8.
    pub fn array(&self, layout: &Layout, feature: usize) -> Result<ArrayRef, RowCorrupt> {
        let slot = layout.slots().get(feature).ok_or(RowCorrupt::Body)?;
        let codes = self.codes_of(feature).iter();
        let nulls: NullBuffer = codes.map(|code| *code == Status::Present.code()).collect();
        if nulls.len() != self.positions {
            return Err(RowCorrupt::Body);
        }
        let nulls = Some(nulls).filter(|nulls| nulls.null_count() > 0);
        match &slot.data_type {
            DataType::Bool => self.bools(slot, nulls),
            DataType::Int32 => self.primitive::<Int32Type, 4>(slot, nulls, i32::from_le_bytes),
            DataType::Date => self.primitive::<Date32Type, 4>(slot, nulls, i32::from_le_bytes),
            DataType::Int64 => self.primitive::<Int64Type, 8>(slot, nulls, i64::from_le_bytes),
            DataType::Timestamp => {
                self.primitive::<TimestampMicrosecondType, 8>(slot, nulls, i64::from_le_bytes)
            }
            DataType::Float32 => self.primitive::<Float32Type, 4>(slot, nulls, f32::from_le_bytes),
            DataType::Float64 => self.primitive::<Float64Type, 8>(slot, nulls, f64::from_le_bytes),
            DataType::Decimal { precision, .. } => {
                let limit = 10_i128
                    .checked_pow(u32::from(*precision))
                    .ok_or(RowCorrupt::Body)?;
                let values = self.values::<16>(slot)?.map(i128::from_le_bytes);
                if values.clone().any(|value| value <= -limit || value >= limit) {
                    return Err(RowCorrupt::Body);
                }
                self.primitive::<Decimal128Type, 16>(slot, nulls, i128::from_le_bytes)
            }
            DataType::Embedding(length) => {
                let ArrowType::FixedSizeList(item, size) = slot.data_type.to_arrow() else {
                    return Err(RowCorrupt::Body);
                };
                debug_assert_eq!(usize::try_from(*length), Ok(slot.width));
                let values = self.values::<4>(slot)?.map(f32::from_le_bytes);
                let values = PrimitiveArray::<Float32Type>::from_iter_values(values);
                let list = FixedSizeListArray::try_new(item, size, Arc::new(values), nulls);
                Ok(Arc::new(list.map_err(|_| RowCorrupt::Body)?))
            }
            DataType::String | DataType::Json => {
                let (offsets, data) = self.blobs(slot)?;
                let array = StringArray::try_new(offsets, data, nulls).map_err(|_| RowCorrupt::Body)?;
                Ok(Arc::new(array))
            }
            DataType::Bytes => {
                let (offsets, data) = self.blobs(slot)?;
                let array = BinaryArray::try_new(offsets, data, nulls).map_err(|_| RowCorrupt::Body)?;
                Ok(Arc::new(array))
            }
            DataType::List(_) | DataType::Struct(_) | DataType::Map(_) => {
                let array = self.nested.get(slot.place).ok_or(RowCorrupt::Body)?;
                // A value is there just where its status says so.
                let there = |nulls: Option<NullBuffer>, length| {
                    nulls.unwrap_or_else(|| NullBuffer::new_valid(length))
                };
                let as_told = there(array.logical_nulls(), array.len()) == there(nulls, self.positions);
                let fits = as_told && *array.data_type() == slot.data_type.to_arrow();
                fits.then(|| Arc::clone(array)).ok_or(RowCorrupt::Body)
            }
        }
    }

    /// The elements of a feature in a lane of numbers.
    fn values<const N: usize>(
        &self,
        slot: &Slot,
    ) -> Result<impl ExactSizeIterator<Item = [u8; N]> + Clone, RowCorrupt> {
        let lane = self.numbers.get(slot.lane as usize).ok_or(RowCorrupt::Body)?;
        let (elements, _) = lane.as_chunks::<N>();
        let start = slot.place.saturating_mul(self.positions);
        let end = start.saturating_add(slot.width.saturating_mul(self.positions));
        let elements = elements.get(start..end).ok_or(RowCorrupt::Body)?;
        Ok(elements.iter().copied())
    }

    fn primitive<T: ArrowPrimitiveType, const N: usize>(
        &self,
        slot: &Slot,
        nulls: Option<NullBuffer>,
        from_bytes: impl Fn([u8; N]) -> T::Native,
    ) -> Result<ArrayRef, RowCorrupt> {
        let values: Vec<T::Native> = self.values::<N>(slot)?.map(from_bytes).collect();
        let array = PrimitiveArray::<T>::try_new(ScalarBuffer::from(values), nulls);
        let array = array.map_err(|_| RowCorrupt::Body)?;
        Ok(Arc::new(array.with_data_type(slot.data_type.to_arrow())))
    }

    fn bools(&self, slot: &Slot, nulls: Option<NullBuffer>) -> Result<ArrayRef, RowCorrupt> {
        let values = self.values::<1>(slot)?;
        if values.clone().any(|[byte]| byte > 1) {
            return Err(RowCorrupt::Body);
        }
        let values = values.map(|[byte]| byte == 1).collect();
        Ok(Arc::new(BooleanArray::new(values, nulls)))
    }

    /// The offsets and the bytes of a feature's text or bytes.
    fn blobs(&self, slot: &Slot) -> Result<(OffsetBuffer<i32>, Buffer), RowCorrupt> {
        debug_assert_eq!(slot.lane, Lane::Blobs);
        let (lengths, _) = self.lengths.as_chunks::<4>();
        let lengths = lengths.iter().map(|length| u32::from_le_bytes(*length) as usize);
        let start = slot.place.saturating_mul(self.positions);
        if lengths.len() < start.saturating_add(self.positions) {
            return Err(RowCorrupt::Body);
        }
        let from: usize = lengths.clone().take(start).sum();
        let lengths = lengths.skip(start).take(self.positions);
        let total: usize = lengths.clone().sum();
        let data = from.checked_add(total).and_then(|to| self.data.get(from..to));
        i32::try_from(total).map_err(|_| RowCorrupt::Body)?;
        let offsets = OffsetBuffer::from_lengths(lengths);
        Ok((offsets, Buffer::from(data.ok_or(RowCorrupt::Body)?)))
    }
}
