//! The types that a cast may name, and how types are spelled in messages.

use std::fmt;

use arrow_schema::{DataType, FieldRef, TimeUnit};
use datafusion_common::datatype::DataTypeExt;
use datafusion_expr::planner::TypePlanner;
use datafusion_sql::sqlparser::ast::{DataType as SqlType, ExactNumberInfo, TimezoneInfo};

/// What a message offers where a type is not known.
pub(crate) const NAMES: &str = "boolean, tinyint, smallint, int32 (int), int64 (bigint), float32 (real), float64 \
                                (double, float), decimal(p, s), string (varchar, text), bytes, date, timestamp, \
                                timestamp with time zone";

/// The Arrow type of a type in SQL; timestamps are in microseconds.
pub(crate) fn arrow_type(sql: &SqlType) -> Option<DataType> {
    Some(match sql {
        SqlType::Boolean | SqlType::Bool => DataType::Boolean,
        SqlType::TinyInt(None) => DataType::Int8,
        SqlType::SmallInt(None) => DataType::Int16,
        SqlType::Int(None) | SqlType::Integer(None) | SqlType::Int32 => DataType::Int32,
        SqlType::BigInt(None) | SqlType::Int64 => DataType::Int64,
        SqlType::Real => DataType::Float32,
        SqlType::Float(ExactNumberInfo::None)
        | SqlType::Double(ExactNumberInfo::None)
        | SqlType::DoublePrecision
        | SqlType::Float64 => DataType::Float64,
        SqlType::Custom(name, modifiers) if modifiers.is_empty() && name.to_string() == "float32" => {
            DataType::Float32
        }
        SqlType::Decimal(ExactNumberInfo::PrecisionAndScale(p, s))
        | SqlType::Numeric(ExactNumberInfo::PrecisionAndScale(p, s)) => decimal(*p, *s)?,
        SqlType::Varchar(None) | SqlType::Text | SqlType::String(None) => DataType::Utf8,
        SqlType::Bytea | SqlType::Bytes(None) => DataType::Binary,
        SqlType::Date => DataType::Date32,
        SqlType::Timestamp(None, zone) => match zone {
            TimezoneInfo::None | TimezoneInfo::WithoutTimeZone => {
                DataType::Timestamp(TimeUnit::Microsecond, None)
            }
            TimezoneInfo::Tz | TimezoneInfo::WithTimeZone => {
                DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
            }
        },
        _ => return None,
    })
}

fn decimal(precision: u64, scale: i64) -> Option<DataType> {
    let precision = u8::try_from(precision).ok().filter(|p| (1..=38).contains(p))?;
    let scale = i8::try_from(scale)
        .ok()
        .filter(|s| *s >= 0 && s.unsigned_abs() <= precision)?;
    Some(DataType::Decimal128(precision, scale))
}

/// Plans types by [`arrow_type`] alone.
#[derive(Debug)]
pub(crate) struct Types;

impl TypePlanner for Types {
    fn plan_type_field(&self, sql: &SqlType) -> datafusion_common::Result<Option<FieldRef>> {
        Ok(arrow_type(sql).map(DataType::into_nullable_field_ref))
    }
}

/// A type in a message: short, whatever is nested in it.
pub(crate) struct Spelled<'a>(pub(crate) &'a DataType);

impl fmt::Display for Spelled<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            DataType::Boolean => f.write_str("boolean"),
            DataType::Int32 => f.write_str("int32"),
            DataType::Int64 => f.write_str("int64"),
            DataType::Float32 => f.write_str("float32"),
            DataType::Float64 => f.write_str("float64"),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => f.write_str("string"),
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => f.write_str("bytes"),
            DataType::Date32 | DataType::Date64 => f.write_str("date"),
            DataType::Timestamp(_, None) => f.write_str("timestamp"),
            DataType::Timestamp(_, Some(_)) => f.write_str("timestamp with time zone"),
            DataType::Decimal128(p, s) | DataType::Decimal256(p, s) => write!(f, "decimal({p}, {s})"),
            DataType::Dictionary(_, values) => Spelled(values).fmt(f),
            DataType::Null => f.write_str("null"),
            DataType::FixedSizeList(_, length) => write!(f, "embedding({length})"),
            DataType::List(item) | DataType::LargeList(item) => {
                write!(f, "list<{}>", Spelled(item.data_type()))
            }
            DataType::Struct(_) => f.write_str("struct"),
            DataType::Map(..) => f.write_str("map"),
            DataType::Interval(_) | DataType::Duration(_) => f.write_str("interval"),
            other => f.write_str(
                &other
                    .to_string()
                    .to_lowercase()
                    .chars()
                    .take(40)
                    .collect::<String>(),
            ),
        }
    }
}

/// Whether values of the type are text.
pub(crate) fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => is_text(values),
        other => other.is_string(),
    }
}
