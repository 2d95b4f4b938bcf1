//! The answer of `GetFeatures`, as buffers.
//!
//! On the wire it is the message of that name in `asof/v1/online.proto`. A packed list of numbers of fixed width,
//! a message and a field of bytes look the same there, so that the lists are held here as the bytes that they
//! are: an answer is put together, and taken apart, without looking at each number.

use asof_core::row::{Lane, Layout, Packed};
use bytes::Bytes;
use prost::Message;

use crate::convert::{Feature, Problem, WireError, from_proto, to_proto};
use crate::v1;

/// See `asof/v1/online.proto`.
#[derive(Clone, PartialEq, Message)]
pub struct GetFeaturesResponse {
    /// How many positions there are.
    #[prost(uint32, tag = "1")]
    pub rows: u32,
    /// An encoded [`v1::FeatureSchema`].
    #[prost(bytes = "bytes", tag = "2")]
    pub schema: Bytes,
    /// One byte for each feature and position; empty where all are PRESENT.
    #[prost(bytes = "bytes", tag = "3")]
    pub statuses: Bytes,
    /// One byte each.
    #[prost(bytes = "bytes", tag = "4")]
    pub bools: Bytes,
    /// Little-endian, 4 bytes each.
    #[prost(bytes = "bytes", tag = "5")]
    pub int32s: Bytes,
    /// Little-endian, 8 bytes each.
    #[prost(bytes = "bytes", tag = "6")]
    pub int64s: Bytes,
    /// Little-endian, 4 bytes each.
    #[prost(bytes = "bytes", tag = "7")]
    pub float32s: Bytes,
    /// Little-endian, 8 bytes each.
    #[prost(bytes = "bytes", tag = "8")]
    pub float64s: Bytes,
    /// Little-endian, 16 bytes each.
    #[prost(bytes = "bytes", tag = "9")]
    pub decimals: Bytes,
    /// Little-endian, 4 bytes each.
    #[prost(bytes = "bytes", tag = "10")]
    pub lengths: Bytes,
    /// Text and bytes.
    #[prost(bytes = "bytes", tag = "11")]
    pub data: Bytes,
    /// Lists, structs and maps.
    #[prost(message, repeated, tag = "12")]
    pub nested: Vec<v1::Values>,
    /// Little-endian, 8 bytes each.
    #[prost(bytes = "bytes", tag = "13")]
    pub event_times_micros: Bytes,
    /// A bit for each of them.
    #[prost(bytes = "bytes", tag = "14")]
    pub absent: Bytes,
    /// Little-endian, 8 bytes each.
    #[prost(bytes = "bytes", tag = "15")]
    pub materialized_to_micros: Bytes,
    /// The service, or empty.
    #[prost(string, tag = "16")]
    pub service: String,
    /// The registry version that last changed the service's columns.
    #[prost(uint64, tag = "17")]
    pub service_version: u64,
    /// The registry version of the answer.
    #[prost(uint64, tag = "18")]
    pub registry_version: u64,
    /// The instant of the answer.
    #[prost(sfixed64, tag = "19")]
    pub as_of_micros: i64,
}

/// The schema of answers that have these features at the places of a layout.
pub fn schema<'a>(
    layout: &Layout,
    features: impl Iterator<Item = (&'a str, usize)>,
    views: impl Iterator<Item = v1::ViewField>,
) -> Bytes {
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let features = features
        .zip(layout.slots())
        .map(|((name, view), slot)| v1::FeatureField {
            name: name.to_owned(),
            r#type: slot.data_type.to_string(),
            place: number(slot.place),
            view: number(view),
        });
    let schema = v1::FeatureSchema {
        features: features.collect(),
        views: views.collect(),
    };
    schema.encode_to_vec().into()
}

impl GetFeaturesResponse {
    /// An answer with these values and nothing else.
    ///
    /// # Errors
    ///
    /// Nested values of another type than the layout's.
    pub fn of(packed: Packed, layout: &Layout) -> Result<Self, asof_core::key::ColumnMismatch> {
        let all_present = packed.all_present();
        let Packed {
            positions,
            statuses,
            numbers: [bools, int32s, int64s, float32s, float64s, decimals],
            lengths,
            data,
            nested,
        } = packed;
        let slots = layout.slots().iter().filter(|slot| slot.lane == Lane::Nested);
        let nested = slots
            .zip(&nested)
            .map(|(slot, array)| to_proto(&slot.data_type, array));
        Ok(Self {
            rows: u32::try_from(positions).unwrap_or(u32::MAX),
            statuses: if all_present {
                Bytes::new()
            } else {
                statuses.into()
            },
            bools: bools.into(),
            int32s: int32s.into(),
            int64s: int64s.into(),
            float32s: float32s.into(),
            float64s: float64s.into(),
            decimals: decimals.into(),
            lengths: lengths.into(),
            data: data.into(),
            nested: nested.collect::<Result<_, _>>()?,
            ..Self::default()
        })
    }

    /// What the answer has.
    ///
    /// # Errors
    ///
    /// Bytes that are no schema.
    pub fn schema(&self) -> Result<v1::FeatureSchema, WireError> {
        v1::FeatureSchema::decode(self.schema.clone()).map_err(|_| WireError::of("schema", Problem::Missing))
    }

    /// The features, one by one: nothing of what was received is believed.
    ///
    /// # Errors
    ///
    /// Buffers that do not fit each other.
    pub fn features(&self) -> Result<Vec<Feature>, WireError> {
        let schema = self.schema()?;
        let types = schema.features.iter().enumerate().map(|(at, field)| {
            let unknown = |_| WireError::of(&format!("schema.features[{at}].type"), Problem::Type);
            asof_core::data_type::DataType::parse(&field.r#type).map_err(unknown)
        });
        let types = types.collect::<Result<Vec<_>, _>>()?;
        let layout = Layout::of(&types);
        for (at, (slot, field)) in layout.slots().iter().zip(&schema.features).enumerate() {
            if field.view as usize >= schema.views.len() {
                return Err(WireError::of(
                    &format!("schema.features[{at}].view"),
                    Problem::Place,
                ));
            }
            if usize::try_from(field.place) != Ok(slot.place) {
                return Err(WireError::of(
                    &format!("schema.features[{at}].place"),
                    Problem::Place,
                ));
            }
        }
        let packed = self.packed(&layout)?;
        let features = schema.features.into_iter().zip(types).enumerate();
        let features = features.map(|(at, (field, data_type))| {
            let unfit = |_| WireError::of(&field.name, Problem::Type);
            Ok(Feature {
                array: packed.array(&layout, at).map_err(unfit)?,
                statuses: packed.statuses_of(at).collect(),
                view: field.view as usize,
                name: field.name,
                data_type,
            })
        });
        features.collect()
    }

    fn packed(&self, layout: &Layout) -> Result<Packed, WireError> {
        let positions = self.rows as usize;
        let nested = self.nested.iter().map(|values| Ok(from_proto(values)?.array));
        let mut packed = Packed {
            positions,
            statuses: self.statuses.to_vec(),
            numbers: [
                &self.bools,
                &self.int32s,
                &self.int64s,
                &self.float32s,
                &self.float64s,
                &self.decimals,
            ]
            .map(|lane| lane.to_vec()),
            lengths: self.lengths.to_vec(),
            data: self.data.to_vec(),
            nested: nested.collect::<Result<_, WireError>>()?,
        };
        packed.check(layout).map_err(|mismatch| {
            let (expected, found) = (mismatch.expected as u64, mismatch.found as u64);
            WireError::of(mismatch.lane, Problem::Length { expected, found })
        })?;
        Ok(packed)
    }

    /// The event times of a view, position by position; `None` where there is none.
    pub fn event_times(&self, view: usize) -> impl Iterator<Item = Option<i64>> {
        let (times, _) = self.event_times_micros.as_chunks::<8>();
        let start = view.saturating_mul(self.rows as usize);
        let times = times.iter().enumerate().skip(start).take(self.rows as usize);
        times.map(|(at, time)| {
            let byte = self.absent.get(at / 8).copied().unwrap_or(0);
            (byte & (1 << (at % 8)) == 0).then(|| i64::from_le_bytes(*time))
        })
    }

    /// The instant up to which each view is complete.
    pub fn materialized_to(&self) -> impl Iterator<Item = i64> {
        let (times, _) = self.materialized_to_micros.as_chunks::<8>();
        times.iter().map(|time| i64::from_le_bytes(*time))
    }
}

#[cfg(test)]
mod tests;
