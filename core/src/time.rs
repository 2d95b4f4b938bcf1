//! Instants: UTC microseconds inside, whatever the caller writes.
//!
//! Time comes in as a value or through a [`Clock`]; nothing in the library reads the wall clock.

mod local;
mod zone;

use std::fmt;

use chrono::{DateTime, Utc};

pub use self::local::{DateInstant, LocalTime};
pub use self::zone::Zone;
use crate::duration::Duration;

/// An instant in microseconds since the Unix epoch, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// Why a text is not an instant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// A date and time without a zone could be any of forty instants.
    #[error("{0:?} has no time zone: write it as 2013-06-01T12:00:00Z or with an offset such as +02:00")]
    NoZone(String),
    /// Not an RFC 3339 time.
    #[error("{0:?} is not a time: write it as 2013-06-01T12:00:00Z")]
    Unreadable(String),
    /// Not an IANA zone name.
    #[error("unknown time zone {0:?}: use an IANA name such as \"UTC\" or \"America/New_York\"")]
    UnknownZone(String),
    /// The clocks were put forward past this local time, or past this whole day.
    #[error("the local time {local} does not exist in {zone}: the clocks were put forward past it")]
    NoSuchLocalTime {
        /// The local time as written.
        local: String,
        /// The zone.
        zone: String,
    },
    /// Beyond what microseconds in 64 bits, or the calendar, can hold.
    #[error("this time is out of range")]
    OutOfRange,
}

/// Which instant an ambiguous local time means: the clocks were put back and it came twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ambiguous {
    /// The earlier one: a spine asks early, so that it cannot see what was not yet known.
    Earlier,
    /// The later one: a source row becomes known late.
    Later,
}

/// Which way a time finer than a microsecond is rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// Towards minus infinity: spine times.
    Down,
    /// Towards plus infinity: event and created times.
    Up,
}

impl Timestamp {
    /// The Unix epoch.
    pub const EPOCH: Self = Self(0);
    /// The earliest instant.
    pub const MIN: Self = Self(i64::MIN);
    /// The latest instant.
    pub const MAX: Self = Self(i64::MAX);

    /// An instant `micros` microseconds after the Unix epoch.
    #[inline]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    #[inline]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Parses an RFC 3339 time, zone included, such as `2013-06-01T12:00:00.5Z`; finer digits are
    /// rounded down.
    pub fn parse(text: &str) -> Result<Self, TimeError> {
        Self::parse_rounded(text, Rounding::Down)
    }

    /// As [`Timestamp::parse`], with finer digits rounded as told.
    pub fn parse_rounded(text: &str, rounding: Rounding) -> Result<Self, TimeError> {
        match DateTime::parse_from_rfc3339(text) {
            Ok(time) => Ok(Self(rounded(time.to_utc(), rounding))),
            Err(_) if LocalTime::parse(text).is_some() => Err(TimeError::NoZone(text.into())),
            Err(_) => Err(TimeError::Unreadable(text.chars().take(64).collect())),
        }
    }

    /// This instant moved by `duration`, or `None` past the end of time.
    pub fn checked_add(self, duration: Duration) -> Option<Self> {
        self.0.checked_add(duration.micros()).map(Self)
    }
}

fn rounded(time: DateTime<Utc>, rounding: Rounding) -> i64 {
    let inexact = !time.timestamp_subsec_nanos().is_multiple_of(1_000);
    time.timestamp_micros() + i64::from(inexact && rounding == Rounding::Up)
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with as many digits as needed; the bare number where the calendar ends.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DateTime::<Utc>::from_timestamp_micros(self.0) {
            Some(time) => write!(f, "{}Z", time.format("%Y-%m-%dT%H:%M:%S%.f")),
            None => write!(f, "{}us", self.0),
        }
    }
}

/// Where the present instant comes from.
pub trait Clock: Send + Sync {
    /// The present instant.
    fn now(&self) -> Timestamp;
}

/// A clock that stands still.
#[derive(Debug, Clone, Copy)]
pub struct FixedClock(pub Timestamp);

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instant(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    #[test]
    fn parses_and_prints() {
        assert_eq!(instant("1970-01-01T00:00:00Z"), Timestamp::EPOCH);
        assert_eq!(
            instant("2013-01-01T05:00:00+05:00").to_string(),
            "2013-01-01T00:00:00Z"
        );
        assert_eq!(
            instant("1900-01-01T00:00:00.000001Z").to_string(),
            "1900-01-01T00:00:00.000001Z"
        );
        assert_eq!(
            instant("2262-04-11T23:47:16.854775807Z").micros(),
            9_223_372_036_854_775
        );
        assert!(matches!(
            Timestamp::parse("2013-01-01 05:00"),
            Err(TimeError::NoZone(_))
        ));
        assert!(matches!(
            Timestamp::parse("yesterday"),
            Err(TimeError::Unreadable(_))
        ));
    }
}
