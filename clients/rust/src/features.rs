//! Features of a few entities, as they are served.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_json::LineDelimitedWriter;
use arrow_schema::{DataType as ArrowType, Field, Schema, TimeUnit};
use asof_core::data_type::DataType;
use asof_core::status::Status;
use asof_core::time::Timestamp;
use asof_proto::convert::{Feature, to_proto};
use asof_proto::response::GetFeaturesResponse;
use asof_proto::v1;
use serde::de::DeserializeOwned;

use crate::{Client, Error};

/// Which features.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// Those of a service.
    Service(String),
    /// These, each `view:feature` or `view:*`.
    Features(Vec<String>),
}

/// The features of some entities, position by position as the keys were given.
#[derive(Debug, Clone)]
pub struct Features {
    keys: RecordBatch,
    features: Vec<Feature>,
    views: Vec<View>,
    as_of: Timestamp,
}

/// What is known of a view's rows.
#[derive(Debug, Clone)]
struct View {
    event_times: Vec<Option<Timestamp>>,
    materialized_to: Option<Timestamp>,
}

impl Client {
    /// Reads features by entity key: one row of `keys` is one entity, its columns are the key columns of the
    /// selection. Up to 10,000 rows.
    ///
    /// A call that did not reach the server, or that it was too busy for, is made again within the client's deadline.
    ///
    /// # Errors
    ///
    /// What the server refuses, with its code; key columns of a type that no key has.
    pub async fn get_features(&self, selection: &Selection, keys: &RecordBatch) -> Result<Features, Error> {
        let request = selection.request(keys)?;
        let response = self.repeated(&request, |mut clients, request| async move {
            clients.online.get_features(request).await
        });
        Features::of(keys.clone(), &response.await?)
    }
}

impl Selection {
    /// The call that asks for these features of these keys; the request columns that they need stand beside the keys.
    ///
    /// # Errors
    ///
    /// Columns of a type that neither a key nor a request column has.
    pub fn request(&self, keys: &RecordBatch) -> Result<v1::GetFeaturesRequest, Error> {
        let (service, features) = match self {
            Self::Service(service) => (service.clone(), Vec::new()),
            Self::Features(features) => (String::new(), features.clone()),
        };
        let columns = keys.schema_ref().fields().iter().zip(keys.columns());
        let columns = columns.map(|(field, array)| wire_column(field.name(), array));
        Ok(v1::GetFeaturesRequest {
            service,
            features,
            // Request columns may stand among the keys.
            keys: columns.collect::<Result<_, _>>()?,
            request: Vec::new(),
        })
    }
}

impl Features {
    /// What the answer says of the keys that were asked for.
    ///
    /// # Errors
    ///
    /// [`Error::Cut`] where it is damaged.
    pub fn of(keys: RecordBatch, response: &GetFeaturesResponse) -> Result<Self, Error> {
        let broken = |error: asof_proto::convert::WireError| Error::Cut(error.to_string());
        let schema = response.schema().map_err(broken)?;
        let views = (0..schema.views.len()).zip(response.materialized_to());
        let views = views.map(|(view, to)| View {
            event_times: response
                .event_times(view)
                .map(|time| time.map(Timestamp::from_micros))
                .collect(),
            materialized_to: (to != 0).then(|| Timestamp::from_micros(to)),
        });
        Ok(Self {
            features: response.features().map_err(broken)?,
            views: views.collect(),
            as_of: Timestamp::from_micros(response.as_of_micros),
            keys,
        })
    }

    /// How many entities.
    pub fn len(&self) -> usize {
        self.keys.num_rows()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The instant as of which the values hold.
    pub fn as_of(&self) -> Timestamp {
        self.as_of
    }

    /// The names of the features, in the order of the service or of the request.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.features.iter().map(|feature| feature.name.as_str())
    }

    /// The values of a feature, null unless its status is PRESENT.
    pub fn values(&self, name: &str) -> Option<&ArrayRef> {
        self.feature(name).map(|feature| &feature.array)
    }

    /// What there is to say of each value of a feature.
    pub fn statuses(&self, name: &str) -> Option<&[Status]> {
        self.feature(name).map(|feature| feature.statuses.as_slice())
    }

    /// When the values of a feature were true, those of expired ones included.
    pub fn event_times(&self, name: &str) -> Option<&[Option<Timestamp>]> {
        let view = self.views.get(self.feature(name)?.view)?;
        Some(&view.event_times)
    }

    /// The instant up to which the rows of a feature's view are complete.
    pub fn materialized_to(&self, name: &str) -> Option<Timestamp> {
        self.views.get(self.feature(name)?.view)?.materialized_to
    }

    /// The keys and the features, one row an entity.
    pub fn to_record_batch(&self) -> Result<RecordBatch, Error> {
        let mut fields: Vec<Arc<Field>> = self.keys.schema_ref().fields().iter().cloned().collect();
        let mut columns = self.keys.columns().to_vec();
        for feature in &self.features {
            let data_type = feature.array.data_type().clone();
            fields.push(Arc::new(Field::new(&feature.name, data_type, true)));
            columns.push(Arc::clone(&feature.array));
        }
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
            .map_err(|error| Error::Cut(error.to_string()))
    }

    /// Each row as a value of its own: a struct with fields named as keys and features are, of which those that may
    /// be absent are options. Instants and dates are read as text (RFC 3339), bytes as hexadecimal text, a struct as a
    /// map.
    ///
    /// # Errors
    ///
    /// [`Error::Unfit`] where a row does not fit `T`, or a number is NaN or infinite, for which rows have no form:
    /// [`Self::values`] has them.
    pub fn rows<T: DeserializeOwned>(&self) -> Result<Vec<T>, Error> {
        let unfit = |error: &dyn std::fmt::Display| Error::Unfit(error.to_string());
        let endless = self.features.iter().find(|feature| has_endless(&feature.array));
        if let Some(Feature { name, .. }) = endless {
            return Err(unfit(&format!("{name:?} has a number that is NaN or infinite")));
        }
        let mut lines = LineDelimitedWriter::new(Vec::new());
        lines
            .write(&self.to_record_batch()?)
            .and_then(|()| lines.finish())
            .map_err(|error| unfit(&error))?;
        let lines = lines.into_inner();
        let rows = serde_json::Deserializer::from_slice(&lines).into_iter();
        rows.map(|row| row.map_err(|error| unfit(&error))).collect()
    }

    fn feature(&self, name: &str) -> Option<&Feature> {
        self.features.iter().find(|feature| feature.name == name)
    }
}

/// Whether a number of an array, or within its lists and structs, is NaN or infinite.
fn has_endless(array: &dyn Array) -> bool {
    match array.data_type() {
        ArrowType::Float32 => array
            .as_primitive::<Float32Type>()
            .iter()
            .flatten()
            .any(|n| !n.is_finite()),
        ArrowType::Float64 => array
            .as_primitive::<Float64Type>()
            .iter()
            .flatten()
            .any(|n| !n.is_finite()),
        ArrowType::List(_) => has_endless(array.as_list::<i32>().values()),
        ArrowType::FixedSizeList(..) => has_endless(array.as_fixed_size_list().values()),
        ArrowType::Struct(_) => array
            .as_struct()
            .columns()
            .iter()
            .any(|column| has_endless(column)),
        ArrowType::Map(..) => has_endless(array.as_map().values()),
        _ => false,
    }
}

/// A column of keys or of rows as it is sent.
pub(crate) fn wire_column(name: &str, array: &ArrayRef) -> Result<v1::Column, Error> {
    let wrong = |problem: String| Error::Rows(format!("column {name:?}: {problem}"));
    let data_type = plain_type(array.data_type());
    let data_type = data_type.ok_or_else(|| {
        wrong(format!(
            "{} is no type of a key or request column",
            array.data_type()
        ))
    })?;
    let plain = arrow_cast::cast(array, &data_type.to_arrow()).map_err(|error| wrong(error.to_string()))?;
    let values = to_proto(&data_type, &plain).map_err(|error| wrong(error.to_string()))?;
    Ok(v1::Column {
        name: name.to_owned(),
        values: Some(values),
    })
}

/// The type as which values of an Arrow type are sent, where a key or a request column may be of it.
fn plain_type(arrow: &ArrowType) -> Option<DataType> {
    Some(match arrow {
        // A column of nulls is one of every type.
        ArrowType::Boolean | ArrowType::Null => DataType::Bool,
        ArrowType::Int8 | ArrowType::Int16 | ArrowType::Int32 | ArrowType::UInt8 | ArrowType::UInt16 => {
            DataType::Int32
        }
        ArrowType::Int64 | ArrowType::UInt32 => DataType::Int64,
        ArrowType::Float32 => DataType::Float32,
        ArrowType::Float64 => DataType::Float64,
        ArrowType::Utf8 | ArrowType::LargeUtf8 | ArrowType::Utf8View => DataType::String,
        ArrowType::Binary | ArrowType::LargeBinary | ArrowType::BinaryView => DataType::Bytes,
        ArrowType::Date32 => DataType::Date,
        // Finer than that would be cut.
        ArrowType::Timestamp(TimeUnit::Second | TimeUnit::Millisecond | TimeUnit::Microsecond, Some(_)) => {
            DataType::Timestamp
        }
        ArrowType::Decimal128(precision, scale) if *scale >= 0 => DataType::Decimal {
            precision: *precision,
            scale: *scale,
        },
        ArrowType::List(item) | ArrowType::LargeList(item) => {
            let item = plain_type(item.data_type());
            DataType::List(Box::new(item.filter(|item| !matches!(item, DataType::List(_)))?))
        }
        ArrowType::FixedSizeList(item, length) if *item.data_type() == ArrowType::Float32 => {
            DataType::Embedding(u32::try_from(*length).ok()?)
        }
        ArrowType::Dictionary(_, values) => return plain_type(values),
        _ => return None,
    })
}
