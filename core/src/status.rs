//! What a caller is told about a value, offline and online alike.

use std::fmt;

use crate::duration::Duration;
use crate::order::RowOrder;
use crate::time::Timestamp;

/// What there is to say about one feature of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Status {
    // The numbers go over the wire and into files: they never change their meaning.
    /// The winning row has a value.
    Present = 1,
    /// The winning row has a null here.
    Null = 2,
    /// There is no row for the key, or the winning row says "deleted".
    NotFound = 3,
    /// The winning row is older than the view's ttl.
    Expired = 4,
    /// Rows happened in time, but none was known in time.
    HeldBack = 5,
}

impl Status {
    /// Every status, in the order of their numbers.
    pub const ALL: [Self; 5] = [
        Self::Present,
        Self::Null,
        Self::NotFound,
        Self::Expired,
        Self::HeldBack,
    ];

    /// The word that users read.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Present => "PRESENT",
            Self::Null => "NULL",
            Self::NotFound => "NOT_FOUND",
            Self::Expired => "EXPIRED",
            Self::HeldBack => "HELD_BACK",
        }
    }

    /// The number on the wire.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The status of a number on the wire.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.code() == code)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What the contract says of a whole view at one instant, before single features are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The winner's values are served.
    Fresh,
    /// Nothing is served: see [`Status::NotFound`].
    NotFound,
    /// Nothing is served: see [`Status::Expired`].
    Expired,
    /// Nothing is served: see [`Status::HeldBack`].
    HeldBack,
}

/// The part of a winning row on which the verdict depends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Winner {
    /// Its place in the total order.
    pub order: RowOrder,
    /// Whether it says that there is nothing any more.
    pub deleted: bool,
}

impl Verdict {
    /// Rules 3, 4 and 8 of the contract, the only place where they are written.
    ///
    /// `winner` is the greatest row that passes rules 1 and 2; `held_back` says whether some row
    /// passes rule 1. A deleted winner is "nothing" whatever its age; an age equal to the ttl is
    /// still fresh.
    pub fn of(winner: Option<Winner>, held_back: bool, ttl: Option<Duration>, at: Timestamp) -> Self {
        match winner {
            None if held_back => Self::HeldBack,
            None => Self::NotFound,
            Some(winner) if winner.deleted => Self::NotFound,
            Some(winner) if is_expired(winner.order.event_time, ttl, at) => Self::Expired,
            Some(_) => Self::Fresh,
        }
    }

    /// The status of one feature of the view, whose value in the winning row is null or not.
    pub const fn status(self, is_null: bool) -> Status {
        match self {
            Self::Fresh if is_null => Status::Null,
            Self::Fresh => Status::Present,
            Self::NotFound => Status::NotFound,
            Self::Expired => Status::Expired,
            Self::HeldBack => Status::HeldBack,
        }
    }
}

/// Rule 4: expired when `at - event_time > ttl`, in exact microseconds.
pub fn is_expired(event_time: Timestamp, ttl: Option<Duration>, at: Timestamp) -> bool {
    let age = i128::from(at.micros()) - i128::from(event_time.micros());
    ttl.is_some_and(|ttl| age > i128::from(ttl.micros()))
}

/// The event times from which on rows are fresh at `at`: earlier ones have expired.
pub fn fresh_from(ttl: Option<Duration>, at: Timestamp) -> Timestamp {
    let from = ttl.map(|ttl| at.micros().saturating_sub(ttl.micros()));
    from.map_or(Timestamp::MIN, Timestamp::from_micros)
}

/// The event times before which rows have expired so long ago, as of `at`, that a store may give their room
/// back: for as long as they lived, and seven days at least. Reads find nothing then where they found what
/// had expired.
pub fn reclaimable_before(ttl: Duration, at: Timestamp) -> Timestamp {
    const LEAST: i64 = 7 * 24 * 3_600 * 1_000_000;
    let before = at.micros().saturating_sub(ttl.micros());
    Timestamp::from_micros(before.saturating_sub(ttl.micros().max(LEAST)))
}

/// The instant from which windows may still be asked for, as of `at`: a week before it, so that a clock that went forward
/// and comes back finds what it had. A store may give back the room of tiles that no window needs from then on.
pub fn tiles_needed_from(at: Timestamp) -> Timestamp {
    const WEEK: i64 = 7 * 24 * 3_600 * 1_000_000;
    Timestamp::from_micros(at.micros().saturating_sub(WEEK))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ttl_is_inclusive_to_the_microsecond() {
        let ttl = Some(Duration::parse("1s").unwrap());
        let event = Timestamp::from_micros(5);
        assert!(!is_expired(event, ttl, Timestamp::from_micros(1_000_005)));
        assert!(is_expired(event, ttl, Timestamp::from_micros(1_000_006)));
        assert!(!is_expired(event, None, Timestamp::MAX));
        assert!(is_expired(Timestamp::MIN, ttl, Timestamp::MAX));
    }

    #[test]
    fn what_is_reclaimed_has_expired_for_long() {
        let at = Timestamp::from_micros(1_000_000_000_000_000);
        let days = |days: i64| 86_400_000_000 * days;
        for (ttl, expired_for) in [("1h", days(7)), ("7d", days(7)), ("30d", days(30))] {
            let ttl = Duration::parse(ttl).unwrap();
            let before = reclaimable_before(ttl, at);
            assert_eq!(fresh_from(Some(ttl), at).micros() - before.micros(), expired_for);
            assert!(!is_expired(fresh_from(Some(ttl), at), Some(ttl), at));
        }
        assert_eq!(fresh_from(None, at), Timestamp::MIN);
        let longest = Duration::from_micros(i64::MAX).unwrap();
        assert_eq!(
            reclaimable_before(longest, Timestamp::from_micros(-5)),
            Timestamp::MIN
        );
    }

    #[test]
    fn codes_round_trip() {
        for status in Status::ALL {
            assert_eq!(Status::from_code(status.code()), Some(status));
        }
        assert_eq!(Status::from_code(0), None);
        assert_eq!(Status::from_code(6), None);
    }
}
