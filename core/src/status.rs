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
    fn codes_round_trip() {
        for status in Status::ALL {
            assert_eq!(Status::from_code(status.code()), Some(status));
        }
        assert_eq!(Status::from_code(0), None);
        assert_eq!(Status::from_code(6), None);
    }
}
