//! Which feature is where.

use crate::data_type::DataType;

/// A buffer for the values of features of some types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// bool
    Bools,
    /// int32, date
    Int32s,
    /// int64, timestamp
    Int64s,
    /// float32, embedding
    Float32s,
    /// float64
    Float64s,
    /// decimal
    Decimals,
    /// string, bytes, json
    Blobs,
    /// list, struct, map
    Nested,
}

impl Lane {
    /// How many lanes are of numbers.
    pub const NUMBERS: usize = 6;
    const ALL: [Self; 8] = [
        Self::Bools,
        Self::Int32s,
        Self::Int64s,
        Self::Float32s,
        Self::Float64s,
        Self::Decimals,
        Self::Blobs,
        Self::Nested,
    ];

    /// The lane of numbers with that place among them.
    pub(super) fn number(at: usize) -> Option<Self> {
        Self::ALL.get(..Self::NUMBERS)?.get(at).copied()
    }

    /// The name of its buffer.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bools => "bools",
            Self::Int32s => "int32s",
            Self::Int64s => "int64s",
            Self::Float32s => "float32s",
            Self::Float64s => "float64s",
            Self::Decimals => "decimals",
            Self::Blobs => "lengths",
            Self::Nested => "nested",
        }
    }

    /// Bytes of an element of a lane of numbers.
    pub const fn size(self) -> usize {
        match self {
            Self::Bools => 1,
            Self::Int32s | Self::Float32s => 4,
            Self::Int64s | Self::Float64s => 8,
            Self::Decimals => 16,
            Self::Blobs | Self::Nested => 0,
        }
    }

    /// The lane of a type, and how many elements a value takes in it.
    fn of(data_type: &DataType) -> (Self, usize) {
        match data_type {
            DataType::Bool => (Self::Bools, 1),
            DataType::Int32 | DataType::Date => (Self::Int32s, 1),
            DataType::Int64 | DataType::Timestamp => (Self::Int64s, 1),
            DataType::Float32 => (Self::Float32s, 1),
            DataType::Float64 => (Self::Float64s, 1),
            DataType::Decimal { .. } => (Self::Decimals, 1),
            DataType::String | DataType::Bytes | DataType::Json => (Self::Blobs, 1),
            DataType::Embedding(length) => (Self::Float32s, usize::try_from(*length).unwrap_or(usize::MAX)),
            DataType::List(_) | DataType::Struct(_) | DataType::Map(_) => (Self::Nested, 1),
        }
    }
}

/// Where a feature is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Its type.
    pub data_type: DataType,
    /// The lane of its type.
    pub lane: Lane,
    /// How many elements of each position come before its own in the lane.
    pub place: usize,
    /// How many elements a value takes.
    pub width: usize,
}

/// Where all features are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    slots: Vec<Slot>,
    places: [usize; Lane::ALL.len()],
}

impl Layout {
    /// The layout of features of these types, in their order.
    pub fn of<'a>(types: impl IntoIterator<Item = &'a DataType>) -> Self {
        let mut layout = Self::default();
        for data_type in types {
            let (lane, width) = Lane::of(data_type);
            let place = layout.places(lane);
            if let Some(places) = layout.places.get_mut(lane as usize) {
                *places = places.saturating_add(width);
            }
            layout.slots.push(Slot {
                data_type: data_type.clone(),
                lane,
                place,
                width,
            });
        }
        layout
    }

    /// Each feature's place.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// How many elements each position has in a lane.
    pub fn places(&self, lane: Lane) -> usize {
        self.places.get(lane as usize).copied().unwrap_or(0)
    }
}
