//! Wire columns to Arrow arrays: nothing that is received is believed.

use std::collections::HashSet;
use std::sync::Arc;

use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Float32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Decimal128Array, FixedSizeListArray, Float32Array, ListArray,
    MapArray, PrimitiveArray, StringArray, StructArray,
};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType as ArrowType, FieldRef};
use asof_core::data_type::{DataType, MAX_DEPTH, MAX_EMBEDDING};

use super::{Problem, WireError};
use crate::v1;
use crate::v1::values::Kind;

/// Values that were received, checked.
#[derive(Debug, Clone)]
pub struct Received {
    /// Their type.
    pub data_type: DataType,
    /// The values, of the Arrow type of `data_type`.
    pub array: ArrayRef,
}

/// Reads values that anybody may have written.
///
/// # Errors
///
/// Lengths that disagree, text that is not UTF-8, decimals with too many digits, types nested too deep.
pub fn from_proto(values: &v1::Values) -> Result<Received, WireError> {
    Reader {
        path: vec!["values".into()],
    }
    .values(values)
}

/// Where in the message the reading is.
struct Reader {
    path: Vec<String>,
}

impl Reader {
    fn error(&self, field: &str, problem: Problem) -> WireError {
        let mut path = self.path.join(".");
        if !field.is_empty() {
            path.push('.');
            path.push_str(field);
        }
        WireError { path, problem }
    }

    /// Runs `read` inside a field of the message.
    fn inside<T>(
        &mut self,
        field: impl Into<String>,
        read: impl FnOnce(&mut Self) -> Result<T, WireError>,
    ) -> Result<T, WireError> {
        self.path.push(field.into());
        let result = read(self);
        self.path.pop();
        result
    }

    fn same(&self, field: &str, expected: usize, found: usize) -> Result<(), WireError> {
        if expected == found {
            return Ok(());
        }
        Err(self.error(
            field,
            Problem::Length {
                expected: expected as u64,
                found: found as u64,
            },
        ))
    }

    fn values(&mut self, values: &v1::Values) -> Result<Received, WireError> {
        // Two names a level: that of the field, and that of its kind.
        if self.path.len() > 2 * MAX_DEPTH + 1 {
            return Err(self.error("", Problem::TooDeep));
        }
        let length = i32::try_from(values.length)
            .ok()
            .and_then(|length| usize::try_from(length).ok())
            .ok_or_else(|| self.error("length", Problem::TooLong))?;
        let kind = values
            .kind
            .as_ref()
            .ok_or_else(|| self.error("kind", Problem::Missing))?;
        let nulls = self.nulls(&values.nulls, length)?;
        match kind {
            Kind::Bools(bools) => {
                self.same("bools.values", length, bools.values.len())?;
                let array = BooleanArray::new(BooleanBuffer::from(bools.values.as_slice()), nulls);
                Ok(Received {
                    data_type: DataType::Bool,
                    array: Arc::new(array),
                })
            }
            Kind::Int32s(of) => {
                self.numbers::<Int32Type>("int32s", DataType::Int32, &of.values, length, nulls)
            }
            Kind::Int64s(of) => {
                self.numbers::<Int64Type>("int64s", DataType::Int64, &of.values, length, nulls)
            }
            Kind::Float32s(of) => {
                self.numbers::<Float32Type>("float32s", DataType::Float32, &of.values, length, nulls)
            }
            Kind::Float64s(of) => {
                self.numbers::<Float64Type>("float64s", DataType::Float64, &of.values, length, nulls)
            }
            Kind::Dates(of) => self.numbers::<Date32Type>("dates", DataType::Date, &of.values, length, nulls),
            Kind::Timestamps(of) => self.numbers::<TimestampMicrosecondType>(
                "timestamps",
                DataType::Timestamp,
                &of.values,
                length,
                nulls,
            ),
            Kind::Strings(blobs) => self.inside("strings", |reader| {
                let array = reader.text(blobs, length, nulls)?;
                Ok(Received {
                    data_type: DataType::String,
                    array: Arc::new(array),
                })
            }),
            Kind::Jsons(blobs) => self.inside("jsons", |reader| {
                let array = reader.text(blobs, length, nulls)?;
                Ok(Received {
                    data_type: DataType::Json,
                    array: Arc::new(array),
                })
            }),
            Kind::Bytes(blobs) => self.inside("bytes", |reader| reader.bytes(blobs, length, nulls)),
            Kind::Decimals(decimals) => {
                self.inside("decimals", |reader| reader.decimals(decimals, length, nulls))
            }
            Kind::Lists(lists) => self.inside("lists", |reader| reader.lists(lists, length, nulls)),
            Kind::Embeddings(vectors) => {
                self.inside("embeddings", |reader| reader.embeddings(vectors, length, nulls))
            }
            Kind::Structs(structs) => self.inside("structs", |reader| reader.structs(structs, length, nulls)),
            Kind::Maps(maps) => self.inside("maps", |reader| reader.maps(maps, length, nulls)),
        }
    }

    fn nulls(&self, bytes: &[u8], length: usize) -> Result<Option<NullBuffer>, WireError> {
        if bytes.is_empty() {
            return Ok(None);
        }
        self.same("nulls", length.div_ceil(8), bytes.len())?;
        let valid: Vec<u8> = bytes.iter().map(|byte| !byte).collect();
        Ok(Some(NullBuffer::new(BooleanBuffer::new(
            Buffer::from_vec(valid),
            0,
            length,
        ))))
    }

    fn numbers<T: ArrowPrimitiveType>(
        &self,
        field: &str,
        data_type: DataType,
        numbers: &[T::Native],
        length: usize,
        nulls: Option<NullBuffer>,
    ) -> Result<Received, WireError> {
        self.same(&format!("{field}.values"), length, numbers.len())?;
        let array = PrimitiveArray::<T>::new(ScalarBuffer::from(numbers.to_vec()), nulls)
            .with_data_type(data_type.to_arrow());
        Ok(Received {
            data_type,
            array: Arc::new(array),
        })
    }

    /// Offsets of parts of these lengths, of which null ones are empty, and how much they are in all.
    fn offsets(
        &self,
        lengths: &[u32],
        expected: usize,
        nulls: Option<&NullBuffer>,
    ) -> Result<(OffsetBuffer<i32>, usize), WireError> {
        self.same("lengths", expected, lengths.len())?;
        let mut offsets = Vec::with_capacity(lengths.len() + 1);
        let mut end = 0_i32;
        offsets.push(end);
        for (at, length) in lengths.iter().enumerate() {
            if *length != 0 && nulls.is_some_and(|nulls| nulls.is_null(at)) {
                return Err(self.error("lengths", Problem::NullWithLength(at)));
            }
            end = i32::try_from(*length)
                .ok()
                .and_then(|length| end.checked_add(length))
                .ok_or_else(|| self.error("lengths", Problem::TooLong))?;
            offsets.push(end);
        }
        // They start at 0 and never fall, which is all that the buffer's own check asks.
        let total = usize::try_from(end).map_err(|_| self.error("lengths", Problem::TooLong))?;
        Ok((OffsetBuffer::new(ScalarBuffer::from(offsets)), total))
    }

    fn text(
        &self,
        blobs: &v1::Blobs,
        length: usize,
        nulls: Option<NullBuffer>,
    ) -> Result<StringArray, WireError> {
        let (offsets, total) = self.offsets(&blobs.lengths, length, nulls.as_ref())?;
        self.same("data", total, blobs.data.len())?;
        let mut rest = blobs.data.as_slice();
        for (at, length) in offsets.lengths().enumerate() {
            let (part, tail) = rest.split_at_checked(length).unwrap_or((rest, &[]));
            if std::str::from_utf8(part).is_err() {
                return Err(self.error("data", Problem::NotUtf8(at)));
            }
            rest = tail;
        }
        StringArray::try_new(offsets, Buffer::from_slice_ref(&blobs.data), nulls)
            .map_err(|_| self.error("data", Problem::NotUtf8(0)))
    }

    fn bytes(
        &self,
        blobs: &v1::Blobs,
        length: usize,
        nulls: Option<NullBuffer>,
    ) -> Result<Received, WireError> {
        let (offsets, total) = self.offsets(&blobs.lengths, length, nulls.as_ref())?;
        self.same("data", total, blobs.data.len())?;
        let array = BinaryArray::try_new(offsets, Buffer::from_slice_ref(&blobs.data), nulls)
            .map_err(|_| self.error("data", Problem::TooLong))?;
        Ok(Received {
            data_type: DataType::Bytes,
            array: Arc::new(array),
        })
    }

    fn decimals(
        &self,
        decimals: &v1::Decimals,
        length: usize,
        nulls: Option<NullBuffer>,
    ) -> Result<Received, WireError> {
        let wrong = || self.error("", Problem::Decimal);
        let precision = u8::try_from(decimals.precision).map_err(|_| wrong())?;
        let scale = i8::try_from(decimals.scale).map_err(|_| wrong())?;
        if !(1..=38).contains(&precision) || decimals.scale > decimals.precision {
            return Err(wrong());
        }
        let (numbers, rest) = decimals.data.as_chunks::<16>();
        self.same("data", length.saturating_mul(16), decimals.data.len())?;
        self.same("data", 0, rest.len())?;
        let limit = 10_i128.pow(u32::from(precision));
        let numbers: Vec<i128> = numbers.iter().map(|bytes| i128::from_le_bytes(*bytes)).collect();
        if numbers.iter().any(|number| *number <= -limit || *number >= limit) {
            return Err(wrong());
        }
        let array = Decimal128Array::new(ScalarBuffer::from(numbers), nulls)
            .with_precision_and_scale(precision, scale)
            .map_err(|_| wrong())?;
        Ok(Received {
            data_type: DataType::Decimal { precision, scale },
            array: Arc::new(array),
        })
    }

    fn lists(
        &mut self,
        lists: &v1::Lists,
        length: usize,
        nulls: Option<NullBuffer>,
    ) -> Result<Received, WireError> {
        let (offsets, total) = self.offsets(&lists.lengths, length, nulls.as_ref())?;
        let items = self.child("items", lists.items.as_deref(), total)?;
        let data_type = DataType::List(Box::new(items.data_type));
        let ArrowType::List(item) = data_type.to_arrow() else {
            return Err(self.error("items", Problem::Missing));
        };
        let array = ListArray::try_new(item, offsets, items.array, nulls)
            .map_err(|_| self.error("items", Problem::TooLong))?;
        Ok(Received {
            data_type,
            array: Arc::new(array),
        })
    }

    fn child(
        &mut self,
        field: &str,
        child: Option<&v1::Values>,
        length: usize,
    ) -> Result<Received, WireError> {
        let child = child.ok_or_else(|| self.error(field, Problem::Missing))?;
        let received = self.inside(field, |reader| reader.values(child))?;
        self.same(field, length, received.array.len())?;
        Ok(received)
    }

    fn embeddings(
        &self,
        vectors: &v1::Embeddings,
        length: usize,
        nulls: Option<NullBuffer>,
    ) -> Result<Received, WireError> {
        let wrong = || self.error("dimension", Problem::Dimension);
        if !(1..=MAX_EMBEDDING).contains(&vectors.dimension) {
            return Err(wrong());
        }
        let dimension = usize::try_from(vectors.dimension).map_err(|_| wrong())?;
        self.same("values", length.saturating_mul(dimension), vectors.values.len())?;
        let data_type = DataType::Embedding(vectors.dimension);
        let ArrowType::FixedSizeList(item, size) = data_type.to_arrow() else {
            return Err(wrong());
        };
        let elements = Arc::new(Float32Array::from(vectors.values.clone()));
        let array = FixedSizeListArray::try_new(item, size, elements, nulls).map_err(|_| wrong())?;
        Ok(Received {
            data_type,
            array: Arc::new(array),
        })
    }

    fn structs(
        &mut self,
        structs: &v1::Structs,
        length: usize,
        nulls: Option<NullBuffer>,
    ) -> Result<Received, WireError> {
        let names: HashSet<&str> = structs.fields.iter().map(|field| field.name.as_str()).collect();
        if names.is_empty() || names.len() != structs.fields.len() {
            return Err(self.error("fields", Problem::Fields));
        }
        let mut types = Vec::with_capacity(structs.fields.len());
        let mut columns = Vec::with_capacity(structs.fields.len());
        for (at, field) in structs.fields.iter().enumerate() {
            let received = self.child(&format!("fields[{at}]"), field.values.as_ref(), length)?;
            types.push((field.name.clone(), received.data_type));
            columns.push(received.array);
        }
        let data_type = DataType::Struct(types);
        let ArrowType::Struct(fields) = data_type.to_arrow() else {
            return Err(self.error("fields", Problem::Fields));
        };
        let array = StructArray::try_new(fields, columns, nulls)
            .map_err(|_| self.error("fields", Problem::Fields))?;
        Ok(Received {
            data_type,
            array: Arc::new(array),
        })
    }

    fn maps(
        &mut self,
        maps: &v1::Maps,
        length: usize,
        nulls: Option<NullBuffer>,
    ) -> Result<Received, WireError> {
        let (offsets, total) = self.offsets(&maps.lengths, length, nulls.as_ref())?;
        let keys = maps
            .keys
            .as_ref()
            .ok_or_else(|| self.error("keys", Problem::Missing))?;
        let keys = self.inside("keys", |reader| reader.text(keys, total, None))?;
        let values = self.child("values", maps.values.as_deref(), total)?;
        let data_type = DataType::Map(Box::new(values.data_type));
        let ArrowType::Map(entries, _) = data_type.to_arrow() else {
            return Err(self.error("values", Problem::Missing));
        };
        let array = map_array(entries, offsets, vec![Arc::new(keys), values.array], nulls)
            .ok_or_else(|| self.error("values", Problem::TooLong))?;
        Ok(Received {
            data_type,
            array: Arc::new(array),
        })
    }
}

fn map_array(
    entries: FieldRef,
    offsets: OffsetBuffer<i32>,
    columns: Vec<ArrayRef>,
    nulls: Option<NullBuffer>,
) -> Option<MapArray> {
    let ArrowType::Struct(fields) = entries.data_type() else {
        return None;
    };
    let rows = StructArray::try_new(fields.clone(), columns, None).ok()?;
    MapArray::try_new(entries, offsets, rows, nulls, false).ok()
}
