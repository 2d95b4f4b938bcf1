//! Local times: what a clock on the wall shows, and the instants that it means in a zone.

use std::fmt;

use chrono::{DateTime, NaiveDateTime};

use super::zone::{Gap, Shown, Zone};
use super::{Ambiguous, Rounding, TimeError, Timestamp};

const SECONDS_PER_DAY: i64 = 86_400;
const MICROS_PER_SECOND: i64 = 1_000_000;
const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// A date and time of day, no instant until a zone is named.
///
/// It keeps its nanoseconds until then: rounded before, the last of them before a change of clocks would become
/// a local time on the other side of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalTime {
    /// Since 1970-01-01T00:00:00 on the wall.
    seconds: i64,
    nanos: i64,
}

impl LocalTime {
    /// Parses a date and time that has no zone.
    pub fn parse(text: &str) -> Option<Self> {
        let time = [
            "%Y-%m-%dT%H:%M:%S%.f",
            "%Y-%m-%d %H:%M:%S%.f",
            "%Y-%m-%dT%H:%M",
            "%Y-%m-%d %H:%M",
        ]
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())?
        .and_utc();
        Some(Self {
            seconds: time.timestamp(),
            nanos: i64::from(time.timestamp_subsec_nanos()),
        })
    }

    /// The local time `count` units of `1 / per_second` seconds after 1970-01-01T00:00:00; a unit is a second or
    /// a thousandth, millionth or billionth of it.
    pub fn from_units(count: i64, per_second: i64) -> Self {
        Self {
            seconds: count.div_euclid(per_second),
            nanos: count.rem_euclid(per_second) * (NANOS_PER_SECOND / per_second),
        }
    }

    /// The instant at which the clocks of `zone` show this time.
    pub fn instant(
        self,
        zone: Zone,
        ambiguous: Ambiguous,
        rounding: Rounding,
    ) -> Result<Timestamp, TimeError> {
        let seconds = match zone.shown(self.seconds)? {
            Shown::Once(seconds) => seconds,
            Shown::Twice { earlier, later } => match ambiguous {
                Ambiguous::Earlier => earlier,
                Ambiguous::Later => later,
            },
            Shown::Never(_) => return Err(self.never(zone)),
        };
        let micros = match rounding {
            Rounding::Down => self.nanos / 1_000,
            Rounding::Up => (self.nanos + 999) / 1_000,
        };
        timestamp(seconds, micros)
    }

    fn never(self, zone: Zone) -> TimeError {
        TimeError::NoSuchLocalTime {
            local: self.to_string(),
            zone: zone.name().into(),
        }
    }
}

fn timestamp(seconds: i64, micros: i64) -> Result<Timestamp, TimeError> {
    let whole = i128::from(seconds) * i128::from(MICROS_PER_SECOND) + i128::from(micros);
    i64::try_from(whole)
        .map(Timestamp::from_micros)
        .map_err(|_| TimeError::OutOfRange)
}

impl fmt::Display for LocalTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = u32::try_from(self.nanos).unwrap_or(0);
        match DateTime::from_timestamp(self.seconds, nanos) {
            Some(time) => write!(f, "{}", time.naive_utc()),
            None => write!(f, "{}s", self.seconds),
        }
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
    /// The instant that day number `days` since 1970-01-01 means in `zone`. Where the clocks were put forward
    /// past midnight, the day starts with the change, or ends before it.
    pub fn instant(self, days: i32, zone: Zone, ambiguous: Ambiguous) -> Result<Timestamp, TimeError> {
        let days = i64::from(days);
        let start = LocalTime {
            seconds: days * SECONDS_PER_DAY,
            nanos: 0,
        };
        let local = match self {
            Self::Start => start,
            Self::End => LocalTime {
                seconds: start.seconds + SECONDS_PER_DAY - 1,
                nanos: 999_999_000,
            },
        };
        let Shown::Never(Gap { at, before, after }) = zone.shown(local.seconds)? else {
            return local.instant(zone, ambiguous, Rounding::Down);
        };
        let (seconds, micros, wall) = match self {
            Self::Start => (at, 0, at + after),
            Self::End => (at - 1, MICROS_PER_SECOND - 1, at - 1 + before),
        };
        if wall.div_euclid(SECONDS_PER_DAY) != days {
            return Err(start.never(zone));
        }
        timestamp(seconds, micros)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instant(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    #[test]
    fn nanoseconds_round_so_that_they_cannot_leak() {
        let check = |nanos: i64, down: i64, up: i64| {
            let local = LocalTime::from_units(nanos, NANOS_PER_SECOND);
            let rounded = |rounding| local.instant(Zone::UTC, Ambiguous::Later, rounding);
            assert_eq!(rounded(Rounding::Down).unwrap().micros(), down);
            assert_eq!(rounded(Rounding::Up).unwrap().micros(), up);
        };
        check(1_000, 1, 1);
        check(1_001, 1, 2);
        check(999, 0, 1);
        check(-1, -1, 0);
        check(-1_000, -1, -1);
        check(i64::MIN, -9_223_372_036_854_776, -9_223_372_036_854_775);
        let utc = |local: LocalTime| local.instant(Zone::UTC, Ambiguous::Later, Rounding::Up);
        assert_eq!(utc(LocalTime::from_units(3, 1_000)).unwrap().micros(), 3_000);
        assert_eq!(
            utc(LocalTime::from_units(i64::MAX, 1)),
            Err(TimeError::OutOfRange)
        );
        assert_eq!(
            utc(LocalTime::from_units(i64::MIN, 1_000_000)),
            Ok(Timestamp::MIN)
        );
    }

    #[test]
    fn local_times_around_the_change_of_clocks() {
        let new_york = Zone::parse("America/New_York").unwrap();
        let local = |text: &str, ambiguous| {
            let local = LocalTime::parse(text).unwrap();
            local.instant(new_york, ambiguous, Rounding::Up)
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
        // The last nanosecond before a change is rounded up as an instant.
        assert_eq!(
            local("2013-03-10 01:59:59.999999999", Ambiguous::Later).unwrap(),
            instant("2013-03-10T07:00:00Z")
        );
        assert_eq!(
            local("2013-11-03 00:59:59.999999999", Ambiguous::Later).unwrap(),
            instant("2013-11-03T05:00:00Z")
        );
        // The rule goes on after the last year of any table.
        assert_eq!(
            local("2250-07-01 12:00", Ambiguous::Later).unwrap(),
            instant("2250-07-01T16:00:00Z")
        );
        assert_eq!(
            local("9999-12-31 23:59:59.999999", Ambiguous::Later)
                .unwrap()
                .to_string(),
            "+10000-01-01T04:59:59.999999Z"
        );
    }

    #[test]
    fn dates_mean_the_start_or_the_end_of_a_day() {
        let day = |which: DateInstant, zone: &str, text: &str| {
            let start = instant(&format!("{text}T00:00:00Z"));
            let days = i32::try_from(start.micros() / MICROS_PER_SECOND / SECONDS_PER_DAY).unwrap();
            which.instant(days, Zone::parse(zone).unwrap(), Ambiguous::Later)
        };
        let start = |zone: &str, text: &str| day(DateInstant::Start, zone, text);
        let end = |zone: &str, text: &str| day(DateInstant::End, zone, text);
        assert_eq!(start("UTC", "1970-01-02"), Ok(instant("1970-01-02T00:00:00Z")));
        assert_eq!(
            end("UTC", "1970-01-01"),
            Ok(instant("1970-01-01T23:59:59.999999Z"))
        );
        assert_eq!(start("UTC", "1969-12-31"), Ok(instant("1969-12-31T00:00:00Z")));
        // 2018-11-04 in São Paulo began at 01:00.
        assert_eq!(
            start("America/Sao_Paulo", "2018-11-04"),
            Ok(instant("2018-11-04T03:00:00Z"))
        );
        // 2018-02-17 ended twice.
        assert_eq!(
            end("America/Sao_Paulo", "2018-02-17"),
            Ok(instant("2018-02-18T02:59:59.999999Z"))
        );
        // Samoa left 2011-12-30 out.
        assert_eq!(
            end("Pacific/Apia", "2011-12-29"),
            Ok(instant("2011-12-30T09:59:59.999999Z"))
        );
        assert_eq!(
            start("Pacific/Apia", "2011-12-31"),
            Ok(instant("2011-12-30T10:00:00Z"))
        );
        for missing in [
            start("Pacific/Apia", "2011-12-30"),
            end("Pacific/Apia", "2011-12-30"),
        ] {
            assert_eq!(
                missing.unwrap_err().to_string(),
                "the local time 2011-12-30 00:00:00 does not exist in Pacific/Apia: the clocks were put forward past it"
            );
        }
        // 1919-03-30 in Toronto ended at 23:30.
        assert_eq!(
            end("America/Toronto", "1919-03-30"),
            Ok(instant("1919-03-31T04:29:59.999999Z"))
        );
    }
}
