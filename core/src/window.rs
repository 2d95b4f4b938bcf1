//! Windows: which events count at an instant, and the tiles that windows are made of.
//!
//! A window of length `w` covers, at `t`, the events with `floor(t - w, hop) < event_time <= t`: its head is exact, its
//! tail moves in hops. Hops count from the Unix epoch in UTC, `floor` goes towards minus infinity, and tile `k` of a hop
//! covers `(k·hop, (k+1)·hop]`, so that a window's tail always lies between two tiles.

mod tiling;

use std::fmt;

pub use tiling::{Tiles, Tiling};

use crate::duration::Duration;
use crate::time::Timestamp;

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// The hop of windows of up to some length, both in microseconds; longer ones have a hop of a day.
const HOPS: [(i64, i64); 4] = [
    (5 * MINUTE, SECOND),
    (HOUR, MINUTE),
    (12 * HOUR, 5 * MINUTE),
    (12 * DAY, HOUR),
];

/// Which events of a key count at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Window {
    /// Those of a while before it.
    Last {
        /// How long a while, but for the hop.
        length: Duration,
        /// In what steps its tail moves.
        hop: Duration,
    },
    /// All until then.
    All,
}

/// A hop that its window cannot have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a hop of {hop} is longer than the window of {length}")]
pub struct HopTooLong {
    length: Duration,
    hop: Duration,
}

impl Window {
    /// The window of a length, with the hop that windows of that length have, or with one of its own.
    pub fn last(length: Duration, hop: Option<Duration>) -> Result<Self, HopTooLong> {
        let hop = hop.unwrap_or_else(|| usual_hop(length));
        match hop <= length {
            true => Ok(Self::Last { length, hop }),
            false => Err(HopTooLong { length, hop }),
        }
    }

    /// The instant after which events count at `at`; `None` where all do that lie before it.
    pub fn after(self, at: Timestamp) -> Option<Timestamp> {
        let Self::Last { length, hop } = self else {
            return None;
        };
        // Where that is before every instant there is, all count.
        let from = at.micros().checked_sub(length.micros())?;
        let after = from.div_euclid(hop.micros()).checked_mul(hop.micros())?;
        Some(Timestamp::from_micros(after))
    }

    /// Whether it covers all that another one does, at every instant. Of some that do it may not say so.
    pub fn always_covers(self, other: Self) -> bool {
        match (self, other) {
            (Self::All, _) => true,
            (Self::Last { .. }, Self::All) => false,
            // Its tail is behind where the other's would be with a hop of nothing, by less than a hop.
            (Self::Last { length, .. }, Self::Last { length: shorter, hop }) => {
                let longest = shorter.micros().saturating_add(hop.micros());
                length.micros() >= longest
            }
        }
    }

    /// Whether an event of that time counts at `at`.
    pub fn covers(self, event_time: Timestamp, at: Timestamp) -> bool {
        event_time <= at && self.after(at).is_none_or(|after| event_time > after)
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Last { length, .. } => length.fmt(f),
            Self::All => f.write_str("all"),
        }
    }
}

/// The hop of windows of a length, where their view sets none.
fn usual_hop(length: Duration) -> Duration {
    let of_length = HOPS.iter().find(|(longest, _)| length.micros() <= *longest);
    let hop = of_length.map_or(DAY, |(_, hop)| *hop);
    // A window shorter than its hop moves in steps of its own length.
    Duration::from_micros(hop.min(length.micros())).unwrap_or(length)
}

/// The number of the tile of a hop that an event lies in.
pub fn tile_of(event_time: Timestamp, hop: Duration) -> i64 {
    let (tile, past) = (
        event_time.micros().div_euclid(hop.micros()),
        event_time.micros().rem_euclid(hop.micros()),
    );
    // A tile has its end, and not its beginning. Of the shortest hop the earliest instant has none of its own.
    if past == 0 { tile.saturating_sub(1) } else { tile }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn duration(text: &str) -> Duration {
        Duration::parse(text).unwrap()
    }

    fn window(length: &str) -> Window {
        Window::last(duration(length), None).unwrap()
    }

    #[test]
    fn the_hop_goes_by_the_length() {
        for (length, expected) in [
            ("1us", "1us"),
            ("500ms", "500ms"),
            ("1s", "1s"),
            ("5m", "1s"),
            ("6m", "1m"),
            ("1h", "1m"),
            ("61m", "5m"),
            ("12h", "5m"),
            ("1d", "1h"),
            ("7d", "1h"),
            ("12d", "1h"),
            ("13d", "1d"),
            ("30d", "1d"),
        ] {
            let hop = duration(expected);
            let length = duration(length);
            assert_eq!(
                Window::last(length, None),
                Ok(Window::Last { length, hop }),
                "{length}"
            );
        }
        let hour = duration("1h");
        assert!(Window::last(hour, Some(hour)).is_ok());
        let refused = Window::last(hour, Some(duration("61m"))).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "a hop of 61m is longer than the window of 1h"
        );
    }

    #[test]
    fn the_ends_of_time_are_in_order() {
        let (first, last) = (Timestamp::MIN, Timestamp::MAX);
        for window in [window("1us"), window("1d"), window("30d"), Window::All] {
            assert!(window.covers(first, first), "{window}");
            assert!(window.covers(last, last), "{window}");
            assert!(!window.covers(last, first), "{window}");
        }
        assert!(!window("30d").covers(first, last));
        assert!(Window::All.covers(first, last));
        assert_eq!(tile_of(first, duration("1us")), i64::MIN);
        assert_eq!(tile_of(last, duration("1us")), i64::MAX - 1);
    }

    proptest! {
        /// A tile lies wholly within a window's tail or wholly before it.
        #[test]
        fn tails_lie_between_tiles(
            edge in -20..20_i64,
            beside in -1..=1_i64,
            at in -3 * DAY..3 * DAY,
            hop in 1..2 * DAY,
            longer in 0..2 * DAY,
        ) {
            // An event on the edge of a tile, or a microsecond from it.
            let event = Timestamp::from_micros(edge * hop + beside);
            let at = Timestamp::from_micros(at);
            let length = Duration::from_micros(hop + longer).unwrap();
            let hop = Duration::from_micros(hop).unwrap();
            let window = Window::last(length, Some(hop)).unwrap();
            let after = window.after(at).unwrap();
            prop_assert_eq!(after.micros().rem_euclid(hop.micros()), 0);
            let first = after.micros().div_euclid(hop.micros());
            let tile = tile_of(event, hop);
            prop_assert_eq!(event > after, tile >= first);
            prop_assert!(tile * hop.micros() < event.micros());
            prop_assert!(event.micros() <= (tile + 1) * hop.micros());
        }
    }
}
