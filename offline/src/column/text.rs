//! The text of CSV files to columns of the declared types: exactly, or not at all.
//!
//! Numbers may be written with a sign, leading zeros, a fraction of zeros or an exponent, as long as the
//! declared type holds what is written; spaces around them do not matter. A `float64` is the one nearest
//! to what is written; a `float32` has to keep every digit. Bools are `true` and `false` in any case, dates
//! `2013-06-01`, and times what [`instants`] understands, without digits past the microsecond.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, PrimitiveArray, StringArray};
use arrow::compute::kernels::cast_utils::Parser;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType as ArrowType, Date32Type, Decimal128Type, Field, Float32Type, Float64Type,
    Int32Type, Int64Type, Schema,
};
use asof_core::data_type::DataType;

use super::decimal::Decimal;
use super::{ColumnError, type_name};
use crate::time_column::{TimeRules, first_too_fine, instants};

/// How many characters of a value an error shows.
const SHOWN: usize = 64;

/// Whether text can hold values of the type.
pub(crate) fn holds(declared: &DataType) -> bool {
    !matches!(
        declared,
        DataType::List(_) | DataType::Embedding(_) | DataType::Struct(_) | DataType::Map(_) | DataType::Bytes
    )
}

/// A column of text as an array of the Arrow type of `declared`; times are understood by `times`.
pub(crate) fn parse(
    column: &ArrayRef,
    declared: &DataType,
    times: TimeRules,
) -> Result<ArrayRef, ColumnError> {
    let wrong_type = || ColumnError::Type {
        found: type_name(column.data_type()),
        declared: declared.to_string(),
    };
    let texts = column.as_string_opt::<i32>().ok_or_else(wrong_type)?;
    Ok(match declared {
        DataType::String | DataType::Json => Arc::clone(column),
        DataType::Bool => {
            let bools = each(texts, declared, bool);
            Arc::new(bools.collect::<Result<arrow::array::BooleanArray, _>>()?)
        }
        DataType::Int32 => {
            let narrow = |text: &str| int64(text).and_then(|value| i32::try_from(value).ok());
            Arc::new(primitive::<Int32Type>(texts, declared, narrow)?)
        }
        DataType::Int64 => Arc::new(primitive::<Int64Type>(texts, declared, int64)?),
        DataType::Float32 => Arc::new(primitive::<Float32Type>(texts, declared, float32)?),
        DataType::Float64 => Arc::new(primitive::<Float64Type>(texts, declared, float64)?),
        DataType::Date => Arc::new(primitive::<Date32Type>(texts, declared, date)?),
        DataType::Decimal { precision, scale } => {
            let value = |text: &str| decimal(text, *precision, *scale);
            let decimals: Decimal128Array = primitive::<Decimal128Type>(texts, declared, value)?;
            let typed = decimals.with_precision_and_scale(*precision, *scale);
            Arc::new(typed.map_err(|_| wrong_type())?)
        }
        DataType::Timestamp => {
            let instants = instants(column, times).map_err(ColumnError::Time)?;
            match first_too_fine(column) {
                Some(row) => return Err(wrong(texts, row, declared)),
                None => Arc::new(instants.with_timezone("UTC")),
            }
        }
        DataType::Bytes
        | DataType::List(_)
        | DataType::Embedding(_)
        | DataType::Struct(_)
        | DataType::Map(_) => return Err(wrong_type()),
    })
}

/// The columns of a CSV file, by its header line, as text. A byte-order mark before the first of them, as
/// spreadsheets write it, is no part of its name.
pub(crate) fn header(file: impl std::io::Read) -> Result<Schema, String> {
    let format = arrow::csv::reader::Format::default().with_header(true);
    let (header, _) = format
        .infer_schema(file, Some(0))
        .map_err(|error| error.to_string())?;
    if header.fields().is_empty() {
        return Err("it is empty, without a header line".into());
    }
    let names = header.fields().iter().enumerate().map(|(place, field)| {
        let marked = field.name().strip_prefix('\u{feff}').filter(|_| place == 0);
        // Behind the mark a quote was not seen to begin the field.
        let quoted = |name: &str| Some(name.strip_prefix('"')?.strip_suffix('"')?.replace("\"\"", "\""));
        match marked {
            Some(name) => quoted(name).unwrap_or_else(|| name.to_owned()),
            None => field.name().clone(),
        }
    });
    let text = names.map(|name| Field::new(name, ArrowType::Utf8, true));
    Ok(Schema::new(text.collect::<Vec<_>>()))
}

fn each<'a, T>(
    texts: &'a StringArray,
    declared: &'a DataType,
    value: impl Fn(&str) -> Option<T> + 'a,
) -> impl Iterator<Item = Result<Option<T>, ColumnError>> + 'a {
    texts.iter().enumerate().map(move |(row, text)| match text {
        None => Ok(None),
        Some(text) => value(text).map(Some).ok_or_else(|| wrong(texts, row, declared)),
    })
}

fn primitive<T: ArrowPrimitiveType>(
    texts: &StringArray,
    declared: &DataType,
    value: impl Fn(&str) -> Option<T::Native>,
) -> Result<PrimitiveArray<T>, ColumnError> {
    let mut builder = arrow::array::PrimitiveBuilder::with_capacity(texts.len());
    for value in each(texts, declared, value) {
        builder.append_option(value?);
    }
    Ok(builder.finish())
}

fn wrong(texts: &StringArray, row: usize, declared: &DataType) -> ColumnError {
    let written = match declared {
        DataType::Bool => " (true or false)",
        DataType::Date => " (a day such as 2013-06-01)",
        DataType::Timestamp => " (in microseconds)",
        _ => "",
    };
    ColumnError::Text {
        row,
        text: texts.value(row).chars().take(SHOWN).collect(),
        declared: format!("{declared}{written}"),
    }
}

fn bool(text: &str) -> Option<bool> {
    let text = text.trim_ascii();
    if text.eq_ignore_ascii_case("true") {
        return Some(true);
    }
    text.eq_ignore_ascii_case("false").then_some(false)
}

fn int64(text: &str) -> Option<i64> {
    if let Ok(value) = text.parse() {
        return Some(value);
    }
    i64::try_from(Decimal::parse(text)?.scaled(0)?).ok()
}

fn float64(text: &str) -> Option<f64> {
    let text = text.trim_ascii();
    let value: f64 = text.parse().ok()?;
    (value.is_finite() || !has_digits(text)).then_some(value)
}

fn float32(text: &str) -> Option<f32> {
    let text = text.trim_ascii();
    let value: f32 = text.parse().ok()?;
    if !has_digits(text) {
        return Some(value);
    }
    (value.is_finite() && Decimal::parse(text)?.is_kept_by(value)).then_some(value)
}

/// Whether it is a number, and neither `inf` nor `nan`: one that is too large would be read as infinite.
fn has_digits(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_digit())
}

fn date(text: &str) -> Option<i32> {
    // What is longer is a time, of which the parser would drop a part.
    let is_day = text.len() <= 10 || text.starts_with(['+', '-']);
    is_day.then(|| Date32Type::parse(text)).flatten()
}

fn decimal(text: &str, precision: u8, scale: i8) -> Option<i128> {
    let value = Decimal::parse(text)?.scaled(scale)?;
    let most = 10_i128.checked_pow(u32::from(precision))?;
    (value.unsigned_abs() < most.unsigned_abs()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time_column::Side;
    use asof_core::time::{DateInstant, Zone};

    const PLAIN: TimeRules = TimeRules {
        zone: None,
        dates: None,
        side: Side::Source,
    };

    fn parsed(texts: &[Option<&str>], declared: &str, times: TimeRules) -> Result<ArrayRef, ColumnError> {
        let column: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
        parse(&column, &DataType::parse(declared).unwrap(), times)
    }

    fn check<T: ArrowPrimitiveType>(declared: &str, texts: &[&str], expect: &[T::Native]) {
        let texts: Vec<_> = texts.iter().map(|text| Some(*text)).collect();
        let found = parsed(&texts, declared, PLAIN).unwrap();
        assert_eq!(found.data_type(), &DataType::parse(declared).unwrap().to_arrow());
        assert_eq!(found.as_primitive::<T>().values(), expect, "{declared}");
    }

    fn refused(declared: &str, text: &str) {
        let error = parsed(&[Some("1"), None, Some(text)], declared, PLAIN).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "has {text:?}, which is not exactly {declared}: correct it in the file, or declare the column as \
                 another type"
            )
        );
        assert_eq!(error.row(), Some(2));
    }

    #[test]
    fn whole_numbers() {
        let written = ["7", "007", "+7", "1.0", " 12 ", "-0", "1e3"];
        check::<Int64Type>("int64", &written, &[7, 7, 7, 1, 12, 0, 1_000]);
        check::<Int32Type>("int32", &["-2147483648", "2147483647.0"], &[i32::MIN, i32::MAX]);
        check::<Int64Type>("int64", &["9223372036854775807.0"], &[i64::MAX]);
        for text in ["1.5", "9223372036854775808", "abc", "1,000", "0x1", "true", " "] {
            refused("int64", text);
        }
        refused("int32", "2147483648");
    }

    #[test]
    fn decimals_and_floats() {
        check::<Decimal128Type>(
            "decimal(6,2)",
            &["1.55", "1.5", "-1234", "9999.990"],
            &[155, 150, -123_400, 999_999],
        );
        for text in ["1.555", "1.559", "10000", "9999.991"] {
            refused("decimal(6,2)", text);
        }
        check::<Float64Type>(
            "float64",
            &["1.255", "-0.1", "1e308", "5e-324", "inf", "16777217", " 2 "],
            &[1.255, -0.1, 1e308, 5e-324, f64::INFINITY, 16_777_217.0, 2.0],
        );
        for text in ["1e309", "-1e400", "one", "1,5"] {
            refused("float64", text);
        }
        check::<Float32Type>(
            "float32",
            &["0.1", "16777216", "-1.50", "-inf"],
            &[0.1, 16_777_216.0, -1.5, f32::NEG_INFINITY],
        );
        for text in ["1e39", "16777217", "0.123456789", "1e-60"] {
            refused("float32", text);
        }
    }

    #[test]
    fn bools_and_days() {
        let bools = parsed(&[Some("true"), Some("FALSE"), None, Some("True")], "bool", PLAIN).unwrap();
        let bools: Vec<_> = bools.as_boolean().iter().collect();
        assert_eq!(bools, [Some(true), Some(false), None, Some(true)]);
        let error = parsed(&[Some("1")], "bool", PLAIN).unwrap_err();
        assert_eq!(
            error.told_to(super::super::Holder::Spine),
            "has \"1\", which is not exactly bool (true or false): correct it in the spine"
        );
        check::<Date32Type>("date", &["1970-01-02", "1969-12-31"], &[1, -1]);
        let error = parsed(&[Some("1970-01-02 10:00:00")], "date", PLAIN).unwrap_err();
        assert_eq!(
            error.told_to(super::super::Holder::Ingested),
            "has \"1970-01-02 10:00:00\", which is not exactly date (a day such as 2013-06-01): correct it in the file"
        );
    }

    #[test]
    fn times_have_a_zone_and_at_most_microseconds() {
        let new_york = TimeRules {
            zone: Some(Zone::parse("America/New_York").unwrap()),
            dates: Some(DateInstant::End),
            side: Side::Source,
        };
        let written = [
            Some("1970-01-01T00:00:00.000001Z"),
            Some("1970-01-01 00:00:00"),
            Some("1970-01-01"),
            Some("1970-01-01T00:00:00.000001000Z"),
        ];
        let found = parsed(&written, "timestamp", new_york).unwrap();
        // New York was five hours behind.
        const HOUR: i64 = 3_600_000_000;
        assert_eq!(
            found
                .as_primitive::<arrow::datatypes::TimestampMicrosecondType>()
                .values(),
            &[1, 5 * HOUR, 29 * HOUR - 1, 1]
        );
        let told = |text: &str, times| parsed(&[Some(text)], "timestamp", times).unwrap_err().to_string();
        assert_eq!(
            told("1970-01-01 00:00:00", PLAIN),
            "cannot be read: \"1970-01-01 00:00:00\" has no time zone: write it as 2013-06-01T12:00:00Z or with an \
             offset such as +02:00"
        );
        assert_eq!(
            told("1970-01-01", PLAIN),
            "holds dates: say with dates = \"start\" or dates = \"end\" in the source's definition which instant of \
             the day they mean"
        );
        assert_eq!(
            told("1970-01-01T00:00:00.0000001Z", PLAIN),
            "has \"1970-01-01T00:00:00.0000001Z\", which is not exactly timestamp (in microseconds): correct it in the \
             file, or declare the column as another type"
        );
    }

    #[test]
    fn a_long_value_is_cut() {
        let error = parsed(&[Some(&"9".repeat(100))], "int64", PLAIN).unwrap_err();
        assert_eq!(
            error.told_to(super::super::Holder::Spine),
            format!(
                "has \"{}\", which is not exactly int64: correct it in the spine",
                "9".repeat(64)
            )
        );
    }
}
