//! A column under construction, value by value.

use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, BooleanBuilder, PrimitiveBuilder, StringBuilder};
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type,
    TimestampMicrosecondType,
};
use arrow_array::{ArrayRef, FixedSizeListArray, ListArray, MapArray, StructArray};
use arrow_buffer::{NullBufferBuilder, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType as ArrowType, FieldRef, Fields};

use super::RowCorrupt;
use super::take::{is_null, take, take_bool, take_len, take_slice, take_text};
use crate::data_type::DataType;

/// A column under construction, of the Arrow type of its [`DataType`].
#[derive(Debug)]
pub struct ColumnBuilder(Kind);

#[derive(Debug)]
enum Kind {
    Bool(BooleanBuilder),
    Int32(PrimitiveBuilder<Int32Type>),
    Int64(PrimitiveBuilder<Int64Type>),
    Float32(PrimitiveBuilder<Float32Type>),
    Float64(PrimitiveBuilder<Float64Type>),
    Date(PrimitiveBuilder<Date32Type>),
    Timestamp(PrimitiveBuilder<TimestampMicrosecondType>),
    Decimal(PrimitiveBuilder<Decimal128Type>),
    String(StringBuilder),
    Bytes(BinaryBuilder),
    Embedding {
        item: FieldRef,
        len: usize,
        values: PrimitiveBuilder<Float32Type>,
        nulls: NullBufferBuilder,
    },
    List {
        item: FieldRef,
        offsets: Vec<i32>,
        values: Box<ColumnBuilder>,
        nulls: NullBufferBuilder,
    },
    Struct {
        fields: Fields,
        columns: Vec<ColumnBuilder>,
        nulls: NullBufferBuilder,
    },
    Map(Box<MapBuilder>),
}

#[derive(Debug)]
struct MapBuilder {
    entries: FieldRef,
    offsets: Vec<i32>,
    keys: StringBuilder,
    values: ColumnBuilder,
    nulls: NullBufferBuilder,
}

impl ColumnBuilder {
    /// An empty column of values of `data_type`.
    pub fn new(data_type: &DataType) -> Self {
        let nulls = || NullBufferBuilder::new(0);
        Self(match (data_type, data_type.to_arrow()) {
            (DataType::Bool, _) => Kind::Bool(BooleanBuilder::new()),
            (DataType::Int32, _) => Kind::Int32(PrimitiveBuilder::new()),
            (DataType::Int64, _) => Kind::Int64(PrimitiveBuilder::new()),
            (DataType::Float32, _) => Kind::Float32(PrimitiveBuilder::new()),
            (DataType::Float64, _) => Kind::Float64(PrimitiveBuilder::new()),
            (DataType::Date, _) => Kind::Date(PrimitiveBuilder::new()),
            (DataType::Timestamp, arrow) => Kind::Timestamp(PrimitiveBuilder::new().with_data_type(arrow)),
            (DataType::Decimal { .. }, arrow) => Kind::Decimal(PrimitiveBuilder::new().with_data_type(arrow)),
            (DataType::Bytes, _) => Kind::Bytes(BinaryBuilder::new()),
            (DataType::Embedding(len), ArrowType::FixedSizeList(item, _)) => Kind::Embedding {
                item,
                len: usize::try_from(*len).unwrap_or(usize::MAX),
                values: PrimitiveBuilder::new(),
                nulls: nulls(),
            },
            (DataType::List(value), ArrowType::List(item)) => Kind::List {
                item,
                offsets: vec![0],
                values: Box::new(Self::new(value)),
                nulls: nulls(),
            },
            (DataType::Struct(types), ArrowType::Struct(fields)) => Kind::Struct {
                fields,
                columns: types.iter().map(|(_, field)| Self::new(field)).collect(),
                nulls: nulls(),
            },
            (DataType::Map(value), ArrowType::Map(entries, _)) => Kind::Map(Box::new(MapBuilder {
                entries,
                offsets: vec![0],
                keys: StringBuilder::new(),
                values: Self::new(value),
                nulls: nulls(),
            })),
            (
                DataType::String
                | DataType::Json
                | DataType::Embedding(_)
                | DataType::List(_)
                | DataType::Struct(_)
                | DataType::Map(_),
                _,
            ) => Kind::String(StringBuilder::new()),
        })
    }

    /// Appends a null.
    pub fn push_null(&mut self) {
        match &mut self.0 {
            Kind::Bool(builder) => builder.append_null(),
            Kind::Int32(builder) => builder.append_null(),
            Kind::Int64(builder) => builder.append_null(),
            Kind::Float32(builder) => builder.append_null(),
            Kind::Float64(builder) => builder.append_null(),
            Kind::Date(builder) => builder.append_null(),
            Kind::Timestamp(builder) => builder.append_null(),
            Kind::Decimal(builder) => builder.append_null(),
            Kind::String(builder) => builder.append_null(),
            Kind::Bytes(builder) => builder.append_null(),
            Kind::Embedding {
                len, values, nulls, ..
            } => {
                values.append_value_n(0.0, *len);
                nulls.append_null();
            }
            Kind::List { offsets, nulls, .. } => {
                offsets.push(offsets.last().copied().unwrap_or(0));
                nulls.append_null();
            }
            Kind::Struct { columns, nulls, .. } => {
                columns.iter_mut().for_each(Self::push_null);
                nulls.append_null();
            }
            Kind::Map(map) => {
                map.offsets.push(map.offsets.last().copied().unwrap_or(0));
                map.nulls.append_null();
            }
        }
    }

    /// Appends the value at the start of `rest`, as stored rows write it, and moves `rest` past it.
    ///
    /// # Errors
    ///
    /// Bytes that are no such value; the column is of no use then.
    pub fn push(&mut self, rest: &mut &[u8]) -> Result<(), RowCorrupt> {
        match &mut self.0 {
            Kind::Bool(builder) => builder.append_value(take_bool(rest)?),
            Kind::Int32(builder) => push_number(builder, rest, i32::from_le_bytes)?,
            Kind::Date(builder) => push_number(builder, rest, i32::from_le_bytes)?,
            Kind::Float32(builder) => push_number(builder, rest, f32::from_le_bytes)?,
            Kind::Int64(builder) => push_number(builder, rest, i64::from_le_bytes)?,
            Kind::Timestamp(builder) => push_number(builder, rest, i64::from_le_bytes)?,
            Kind::Float64(builder) => push_number(builder, rest, f64::from_le_bytes)?,
            Kind::Decimal(builder) => push_number(builder, rest, i128::from_le_bytes)?,
            Kind::String(builder) => builder.append_value(take_text(rest)?),
            Kind::Bytes(builder) => builder.append_value(take_slice(rest)?),
            Kind::Embedding {
                len, values, nulls, ..
            } => {
                for _ in 0..*len {
                    push_number(values, rest, f32::from_le_bytes)?;
                }
                nulls.append_non_null();
            }
            Kind::List {
                offsets,
                values,
                nulls,
                ..
            } => {
                let len = take_len(rest)?;
                values.push_body(len, rest)?;
                push_offset(offsets, len)?;
                nulls.append_non_null();
            }
            Kind::Struct { columns, nulls, .. } => {
                let bitmap = take(rest, columns.len().div_ceil(8))?;
                for (field, column) in columns.iter_mut().enumerate() {
                    column.push_or_null(is_null(bitmap, field), rest)?;
                }
                nulls.append_non_null();
            }
            Kind::Map(map) => {
                let len = take_len(rest)?;
                for _ in 0..len {
                    map.keys.append_value(take_text(rest)?);
                }
                map.values.push_body(len, rest)?;
                push_offset(&mut map.offsets, len)?;
                map.nulls.append_non_null();
            }
        }
        Ok(())
    }

    fn push_body(&mut self, len: usize, rest: &mut &[u8]) -> Result<(), RowCorrupt> {
        let bitmap = take(rest, len.div_ceil(8))?;
        (0..len).try_for_each(|item| self.push_or_null(is_null(bitmap, item), rest))
    }

    fn push_or_null(&mut self, null: bool, rest: &mut &[u8]) -> Result<(), RowCorrupt> {
        if null {
            self.push_null();
            return Ok(());
        }
        self.push(rest)
    }

    /// The column as an array.
    ///
    /// # Errors
    ///
    /// Nested values that are more than an array holds.
    pub fn finish(self) -> Result<ArrayRef, RowCorrupt> {
        Ok(match self.0 {
            Kind::Bool(mut builder) => Arc::new(builder.finish()),
            Kind::Int32(mut builder) => Arc::new(builder.finish()),
            Kind::Int64(mut builder) => Arc::new(builder.finish()),
            Kind::Float32(mut builder) => Arc::new(builder.finish()),
            Kind::Float64(mut builder) => Arc::new(builder.finish()),
            Kind::Date(mut builder) => Arc::new(builder.finish()),
            Kind::Timestamp(mut builder) => Arc::new(builder.finish()),
            Kind::Decimal(mut builder) => Arc::new(builder.finish()),
            Kind::String(mut builder) => Arc::new(builder.finish()),
            Kind::Bytes(mut builder) => Arc::new(builder.finish()),
            Kind::Embedding {
                item,
                len,
                mut values,
                mut nulls,
            } => Arc::new(
                FixedSizeListArray::try_new(
                    item,
                    i32::try_from(len).map_err(|_| RowCorrupt::Body)?,
                    Arc::new(values.finish()),
                    nulls.finish(),
                )
                .map_err(|_| RowCorrupt::Body)?,
            ),
            Kind::List {
                item,
                offsets,
                values,
                mut nulls,
            } => Arc::new(
                ListArray::try_new(item, offset_buffer(offsets), values.finish()?, nulls.finish())
                    .map_err(|_| RowCorrupt::Body)?,
            ),
            Kind::Struct {
                fields,
                columns,
                mut nulls,
            } => {
                let columns = columns.into_iter().map(Self::finish).collect::<Result<_, _>>()?;
                Arc::new(StructArray::try_new(fields, columns, nulls.finish()).map_err(|_| RowCorrupt::Body)?)
            }
            Kind::Map(map) => Arc::new(map.finish()?),
        })
    }
}

impl MapBuilder {
    fn finish(mut self) -> Result<MapArray, RowCorrupt> {
        let ArrowType::Struct(fields) = self.entries.data_type() else {
            return Err(RowCorrupt::Body);
        };
        let columns: Vec<ArrayRef> = vec![Arc::new(self.keys.finish()), self.values.finish()?];
        let entries = StructArray::try_new(fields.clone(), columns, None).map_err(|_| RowCorrupt::Body)?;
        MapArray::try_new(
            self.entries,
            offset_buffer(self.offsets),
            entries,
            self.nulls.finish(),
            false,
        )
        .map_err(|_| RowCorrupt::Body)
    }
}

/// Offsets grow by construction, so the buffer's own check cannot fail.
fn offset_buffer(offsets: Vec<i32>) -> OffsetBuffer<i32> {
    OffsetBuffer::new(ScalarBuffer::from(offsets))
}

fn push_offset(offsets: &mut Vec<i32>, len: usize) -> Result<(), RowCorrupt> {
    let last = offsets.last().copied().unwrap_or(0);
    let next = i32::try_from(len)
        .ok()
        .and_then(|len| last.checked_add(len))
        .ok_or(RowCorrupt::Body)?;
    offsets.push(next);
    Ok(())
}

fn push_number<T: ArrowPrimitiveType, const N: usize>(
    builder: &mut PrimitiveBuilder<T>,
    rest: &mut &[u8],
    from_bytes: impl FnOnce([u8; N]) -> T::Native,
) -> Result<(), RowCorrupt> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or(RowCorrupt::Body)?;
    *rest = tail;
    builder.append_value(from_bytes(*head));
    Ok(())
}
