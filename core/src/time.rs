//! Instants: UTC microseconds inside, whatever the caller writes.
//!
//! Time comes in as a value or through a [`Clock`]; nothing in the library reads the wall clock.

use std::fmt;

use chrono::{DateTime, LocalResult, NaiveDateTime, TimeZone, Utc};
use chrono_tz::Tz;

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
    /// The clocks were put forward past this local time.
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
            Err(_) if parse_naive(text, rounding).is_some() => Err(TimeError::NoZone(text.into())),
            Err(_) => Err(TimeError::Unreadable(text.chars().take(64).collect())),
        }
    }

    /// The instant of `count` units of `1 / per_second` seconds since the epoch.
    pub fn from_units(count: i64, per_second: i64, rounding: Rounding) -> Result<Self, TimeError> {
        if per_second <= 1_000_000 {
            let factor = 1_000_000 / per_second;
            return count.checked_mul(factor).map(Self).ok_or(TimeError::OutOfRange);
        }
        let divisor = per_second / 1_000_000;
        let down = count.div_euclid(divisor);
        let exact = count.rem_euclid(divisor) == 0;
        Ok(Self(match rounding {
            Rounding::Up if !exact => down + 1,
            Rounding::Up | Rounding::Down => down,
        }))
    }

    /// The instant of a local time in `zone`, both in microseconds as if the local time were UTC.
    pub fn from_local(micros: i64, zone: Zone, ambiguous: Ambiguous) -> Result<Self, TimeError> {
        let Zone(tz) = zone;
        if zone.is_utc() {
            return Ok(Self(micros));
        }
        let local = DateTime::from_timestamp_micros(micros)
            .ok_or(TimeError::OutOfRange)?
            .naive_utc();
        let instant = match tz.from_local_datetime(&local) {
            LocalResult::Single(instant) => instant,
            LocalResult::Ambiguous(a, b) => match ambiguous {
                Ambiguous::Earlier => a.min(b),
                Ambiguous::Later => a.max(b),
            },
            LocalResult::None => {
                return Err(TimeError::NoSuchLocalTime {
                    local: local.to_string(),
                    zone: tz.name().into(),
                });
            }
        };
        Ok(Self(instant.timestamp_micros()))
    }

    /// This instant moved by `duration`, or `None` past the end of time.
    pub fn checked_add(self, duration: Duration) -> Option<Self> {
        self.0.checked_add(duration.micros()).map(Self)
    }
}

/// Parses a date and time that has no zone, as microseconds as if it were UTC.
pub fn parse_naive(text: &str, rounding: Rounding) -> Option<i64> {
    [
        "%Y-%m-%dT%H:%M:%S%.f",
        "%Y-%m-%d %H:%M:%S%.f",
        "%Y-%m-%dT%H:%M",
        "%Y-%m-%d %H:%M",
    ]
    .iter()
    .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
    .map(|naive| rounded(naive.and_utc(), rounding))
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

/// A time zone of the IANA database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Zone(Tz);

impl Zone {
    /// Coordinated universal time.
    pub const UTC: Self = Self(Tz::UTC);

    /// Whether local times are instants: the zone is UTC by that name.
    pub fn is_utc(self) -> bool {
        self == Self::UTC
    }

    /// Parses an IANA name such as `America/New_York`.
    pub fn parse(name: &str) -> Result<Self, TimeError> {
        name.parse()
            .map(Self)
            .map_err(|_| TimeError::UnknownZone(name.chars().take(64).collect()))
    }

    /// The IANA name.
    pub fn name(self) -> &'static str {
        self.0.name()
    }
}

/// Which instant of its day a date means where a time is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DateInstant {
    /// The first microsecond of the day.
    Start,
    /// The last microsecond of the day.
    End,
}

impl DateInstant {
    /// The local time in microseconds that day number `days` means.
    pub fn local_micros(self, days: i32) -> i64 {
        const DAY: i64 = 86_400_000_000;
        let start = i64::from(days) * DAY;
        match self {
            Self::Start => start,
            Self::End => start + DAY - 1,
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

    #[test]
    fn nanoseconds_round_so_that_they_cannot_leak() {
        let check = |ns: i64, down: i64, up: i64| {
            let unit = 1_000_000_000;
            assert_eq!(
                Timestamp::from_units(ns, unit, Rounding::Down).unwrap().micros(),
                down
            );
            assert_eq!(
                Timestamp::from_units(ns, unit, Rounding::Up).unwrap().micros(),
                up
            );
        };
        check(1_000, 1, 1);
        check(1_001, 1, 2);
        check(999, 0, 1);
        check(-1, -1, 0);
        check(-1_000, -1, -1);
        check(i64::MIN, -9_223_372_036_854_776, -9_223_372_036_854_775);
        assert_eq!(
            Timestamp::from_units(3, 1_000, Rounding::Up).unwrap().micros(),
            3_000
        );
        assert_eq!(
            Timestamp::from_units(i64::MAX, 1, Rounding::Up),
            Err(TimeError::OutOfRange)
        );
    }

    #[test]
    fn local_times_around_the_change_of_clocks() {
        let new_york = Zone::parse("America/New_York").unwrap();
        let local = |text: &str, ambiguous| {
            Timestamp::from_local(parse_naive(text, Rounding::Down).unwrap(), new_york, ambiguous)
        };
        // 2013-11-03: 02:00 EDT became 01:00 EST, so 01:30 came twice.
        assert_eq!(
            local("2013-11-03 01:30:00", Ambiguous::Earlier).unwrap(),
            instant("2013-11-03T05:30:00Z")
        );
        assert_eq!(
            local("2013-11-03 01:30:00", Ambiguous::Later).unwrap(),
            instant("2013-11-03T06:30:00Z")
        );
        assert_eq!(
            local("2013-11-03 02:00:00", Ambiguous::Earlier).unwrap(),
            instant("2013-11-03T07:00:00Z")
        );
        // 2013-03-10: 02:00 EST became 03:00 EDT, so 02:30 never was.
        let missing = local("2013-03-10 02:30:00", Ambiguous::Later).unwrap_err();
        assert_eq!(
            missing.to_string(),
            "the local time 2013-03-10 02:30:00 does not exist in America/New_York: the clocks were put forward past it"
        );
        assert_eq!(
            local("2013-07-01 12:00", Ambiguous::Later).unwrap(),
            instant("2013-07-01T16:00:00Z")
        );
    }

    #[test]
    fn dates_mean_the_start_or_the_end_of_a_day() {
        assert_eq!(DateInstant::Start.local_micros(1), 86_400_000_000);
        assert_eq!(DateInstant::End.local_micros(0), 86_399_999_999);
        assert_eq!(DateInstant::Start.local_micros(-1), -86_400_000_000);
    }
}
