//! Time columns, in whatever shape they come, as UTC microseconds.

use arrow::array::{Array, ArrayRef, AsArray, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType as ArrowType, Date32Type, Int64Type, TimeUnit, TimestampNanosecondType};
use asof_core::time::{Ambiguous, DateInstant, LocalTime, Rounding, TimeError, Timestamp, Zone};
use chrono::NaiveDate;

use crate::column::type_name;

#[cfg(test)]
mod property;

/// How many characters of a value an error shows.
const SHOWN: usize = 64;

/// How a time column is to be understood.
#[derive(Debug, Clone, Copy)]
pub struct TimeRules {
    /// The zone of times that carry none.
    pub zone: Option<Zone>,
    /// Which instant a date means.
    pub dates: Option<DateInstant>,
    /// Whether it is a source's column, whose times are known late, or a spine's, which asks early.
    pub side: Side,
}

/// Which side of the join a time column is on: each errs so that nothing can leak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Event and created times: rounded up, ambiguous local times taken late.
    Source,
    /// Spine times: rounded down, ambiguous local times taken early.
    Spine,
}

impl Side {
    fn rounding(self) -> Rounding {
        match self {
            Self::Source => Rounding::Up,
            Self::Spine => Rounding::Down,
        }
    }

    fn ambiguous(self) -> Ambiguous {
        match self {
            Self::Source => Ambiguous::Later,
            Self::Spine => Ambiguous::Earlier,
        }
    }

    fn instant(self, local: LocalTime, zone: Zone) -> Result<Timestamp, TimeError> {
        local.instant(zone, self.ambiguous(), self.rounding())
    }
}

/// Why a time column cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimeColumnError {
    /// Not a type that holds times.
    #[error("is {0}, not a time: expected timestamps, dates, or text such as 2013-06-01T12:00:00Z")]
    Type(String),
    /// The times carry no zone and none was named.
    #[error("holds times without a zone: name it with {0}")]
    NoZone(&'static str),
    /// Dates, and nobody said which instant of the day they mean.
    #[error("holds dates: say with {0} which instant of the day they mean")]
    NoInstant(&'static str),
    /// One value cannot be understood.
    #[error("cannot be read: {error}")]
    Value {
        /// The row within the array, from 0.
        row: usize,
        /// What is wrong with it.
        error: TimeError,
    },
}

impl TimeColumnError {
    /// The row of the offending value, where it is one value.
    pub fn row(&self) -> Option<usize> {
        match self {
            Self::Value { row, .. } => Some(*row),
            Self::Type(_) | Self::NoZone(_) | Self::NoInstant(_) => None,
        }
    }
}

impl TimeRules {
    fn zone_option(self) -> &'static str {
        match self.side {
            Side::Source => "timezone = \"…\" in the source's definition",
            Side::Spine => "--timezone",
        }
    }

    /// Whether nobody said which instant a date means, and somebody could.
    fn needs_instant(self) -> bool {
        self.dates.is_none() && self.side == Side::Source
    }

    fn dates_option(self) -> &'static str {
        match self.side {
            Side::Source => "dates = \"start\" or dates = \"end\" in the source's definition",
            Side::Spine => "a time column of timestamps",
        }
    }
}

/// The instants of a column, null where it is null.
pub fn instants(array: &ArrayRef, rules: TimeRules) -> Result<TimestampMicrosecondArray, TimeColumnError> {
    match array.data_type() {
        ArrowType::Timestamp(unit, zone) => timestamps(array, per_second(*unit), zone.is_some(), rules),
        ArrowType::Date32 | ArrowType::Date64 => dates(array, rules),
        ArrowType::Utf8 | ArrowType::LargeUtf8 | ArrowType::Utf8View => texts(array, rules),
        ArrowType::Dictionary(_, values) => {
            let plain = cast(array, values).map_err(|_| type_error(array))?;
            instants(&plain, rules)
        }
        ArrowType::Null => Ok(TimestampMicrosecondArray::new_null(array.len())),
        _ => Err(type_error(array)),
    }
}

/// The instant in a row of what [`instants`] gave.
pub fn instant(instants: &TimestampMicrosecondArray, row: usize) -> Option<Timestamp> {
    (!instants.is_null(row)).then(|| Timestamp::from_micros(instants.value(row)))
}

/// Whether later values of a column of this type are later instants: only then do the bounds of its values
/// bound its instants. A zone whose clocks are put back, or text, makes no such promise.
pub fn is_monotone(data_type: &ArrowType, rules: TimeRules) -> bool {
    match data_type {
        ArrowType::Timestamp(_, Some(_)) => true,
        ArrowType::Timestamp(_, None) => rules.zone.is_some_and(Zone::is_utc),
        _ => false,
    }
}

fn type_error(array: &ArrayRef) -> TimeColumnError {
    TimeColumnError::Type(type_name(array.data_type()))
}

fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

fn timestamps(
    array: &ArrayRef,
    per_second: i64,
    zoned: bool,
    rules: TimeRules,
) -> Result<TimestampMicrosecondArray, TimeColumnError> {
    let zone = match (zoned, rules.zone) {
        (true, _) => Zone::UTC,
        (false, Some(zone)) => zone,
        (false, None) => return Err(TimeColumnError::NoZone(rules.zone_option())),
    };
    let counts = cast(array, &ArrowType::Int64).map_err(|_| type_error(array))?;
    let counts = counts.as_primitive::<Int64Type>();
    if per_second == 1_000_000 && zone.is_utc() {
        return Ok(counts.reinterpret_cast());
    }
    each(array, |row| {
        rules
            .side
            .instant(LocalTime::from_units(counts.value(row), per_second), zone)
    })
}

fn dates(array: &ArrayRef, rules: TimeRules) -> Result<TimestampMicrosecondArray, TimeColumnError> {
    let instant = rules
        .dates
        .ok_or(TimeColumnError::NoInstant(rules.dates_option()))?;
    let zone = rules.zone.ok_or(TimeColumnError::NoZone(rules.zone_option()))?;
    let days = cast(array, &ArrowType::Date32).map_err(|_| type_error(array))?;
    let days = days.as_primitive::<Date32Type>();
    each(array, |row| {
        instant.instant(days.value(row), zone, rules.side.ambiguous())
    })
}

fn texts(array: &ArrayRef, rules: TimeRules) -> Result<TimestampMicrosecondArray, TimeColumnError> {
    let texts = cast(array, &ArrowType::Utf8).map_err(|_| type_error(array))?;
    let texts = texts.as_string::<i32>();
    let instants = each(array, |row| text_instant(texts.value(row), rules));
    instants.map_err(|error| match error.row() {
        Some(row) if rules.needs_instant() && date(texts.value(row)).is_some() => {
            TimeColumnError::NoInstant(rules.dates_option())
        }
        _ => error,
    })
}

fn text_instant(text: &str, rules: TimeRules) -> Result<Timestamp, TimeError> {
    let unreadable = match Timestamp::parse_rounded(text, rules.side.rounding()) {
        Err(error) => error,
        parsed => return parsed,
    };
    let no_zone = || TimeError::NoZone(text.chars().take(SHOWN).collect());
    let zone = || rules.zone.ok_or_else(no_zone);
    if let Some(local) = LocalTime::parse(text) {
        return rules.side.instant(local, zone()?);
    }
    match date(text).zip(rules.dates) {
        Some((days, instant)) => instant.instant(days, zone()?, rules.side.ambiguous()),
        None => Err(unreadable),
    }
}

/// The number of a day that is written as one, such as 2013-06-01.
fn date(text: &str) -> Option<i32> {
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    Some(date.to_epoch_days())
}

/// The first row whose time microseconds cannot hold: event, created and spine times are rounded, the times
/// of features and keys are not.
pub fn first_too_fine(array: &ArrayRef) -> Option<usize> {
    match array.data_type() {
        ArrowType::Timestamp(TimeUnit::Nanosecond, _) => {
            let nanos = array.as_primitive::<TimestampNanosecondType>();
            nanos
                .iter()
                .position(|nanos| nanos.is_some_and(|nanos| nanos % 1_000 != 0))
        }
        ArrowType::Utf8 | ArrowType::LargeUtf8 | ArrowType::Utf8View => {
            let texts = cast(array, &ArrowType::Utf8).ok()?;
            let texts = texts.as_string::<i32>();
            texts.iter().position(|text| text.is_some_and(is_too_fine))
        }
        ArrowType::Dictionary(_, values) => first_too_fine(&cast(array, values).ok()?),
        _ => None,
    }
}

fn is_too_fine(text: &str) -> bool {
    let fraction = text.split_once('.').map_or("", |(_, fraction)| fraction);
    let mut digits = fraction.bytes().take_while(u8::is_ascii_digit).skip(6);
    digits.any(|digit| digit != b'0')
}

fn each(
    array: &ArrayRef,
    mut value: impl FnMut(usize) -> Result<Timestamp, TimeError>,
) -> Result<TimestampMicrosecondArray, TimeColumnError> {
    (0..array.len())
        .map(|row| {
            if array.is_null(row) {
                return Ok(None);
            }
            value(row)
                .map(|instant| Some(instant.micros()))
                .map_err(|error| TimeColumnError::Value { row, error })
        })
        .collect()
}
