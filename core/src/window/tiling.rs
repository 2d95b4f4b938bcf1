//! Which tiles a view keeps, and which of them make up a window.
//!
//! A tile holds what is known of its events, so that a window that ends now is a few tiles: behind its tail those of its own
//! hop, up to where a tile of the next longer hop begins, then those, and so on. However many events there are, what is read
//! are at most as many tiles as one hop has of the next shorter one, for each hop, and those of the longest.

use crate::duration::Duration;
use crate::time::Timestamp;
use crate::window::{DAY, HOUR, MINUTE, SECOND, Window, tile_of};

/// The hops of tiles that windows of any view may be made of, in microseconds.
const NESTED: [i64; 5] = [SECOND, MINUTE, 5 * MINUTE, HOUR, DAY];

/// The tiles of a view. Each event lies in one tile of each hop, and in the one that has all events, where a window asks
/// for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tiling {
    hops: Vec<Duration>,
    has_all: bool,
}

/// Tiles that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tiles {
    /// Those of the hop at a place of [`Tiling::hops`], from one to another, which is the last.
    Of {
        /// Which hop.
        hop: usize,
        /// The first tile.
        first: i64,
        /// The last tile.
        last: i64,
    },
    /// The one that has all events.
    All,
}

impl Tiling {
    /// What some windows need.
    pub fn of(windows: &[Window]) -> Self {
        let hops = windows.iter().flat_map(|window| chain(*window));
        let mut hops: Vec<Duration> = hops.collect();
        hops.sort_unstable();
        hops.dedup();
        Self {
            hops,
            has_all: windows.contains(&Window::All),
        }
    }

    /// The hops of its tiles, the shortest first.
    pub fn hops(&self) -> &[Duration] {
        &self.hops
    }

    /// Whether it has a tile of all events.
    pub fn has_all(&self) -> bool {
        self.has_all
    }

    /// The tiles that make up one of its windows at `at`, where no event is known that comes later.
    pub fn cover(&self, window: Window, at: Timestamp) -> Vec<Tiles> {
        if window == Window::All {
            return vec![Tiles::All];
        }
        let mut cover = Vec::new();
        let mut hops = chain(window).peekable();
        // Tiles begin behind this instant.
        let mut from = window
            .after(at)
            .map_or(i128::from(i64::MIN), |after| after.micros().into());
        while let Some(hop) = hops.next() {
            let micros = i128::from(hop.micros());
            let next = hops.peek().map(|next| i128::from(next.micros()));
            let end = next.map(|next| (from + next - 1).div_euclid(next) * next);
            // The last hop goes to the end, as does one whose next begins too late.
            let end = end.filter(|end| *end < i128::from(at.micros()));
            let first = from.div_euclid(micros);
            let last = end.map_or(i128::from(tile_of(at, hop)), |end| end.div_euclid(micros) - 1);
            if first <= last {
                cover.extend(self.tiles(hop, first, last));
            }
            match end {
                Some(end) => from = end,
                None => break,
            }
        }
        cover
    }

    fn tiles(&self, hop: Duration, first: i128, last: i128) -> Option<Tiles> {
        let place = self.hops.binary_search(&hop).ok()?;
        let tile = |tile: i128| i64::try_from(tile).unwrap_or(if tile < 0 { i64::MIN } else { i64::MAX });
        Some(Tiles::Of {
            hop: place,
            first: tile(first),
            last: tile(last),
        })
    }
}

/// The hop of a window and the longer ones that it may be made of: each a multiple of the one before it, and none longer
/// than the window.
fn chain(window: Window) -> impl Iterator<Item = Duration> {
    let (length, hop) = match window {
        Window::Last { length, hop } => (length.micros(), Some(hop)),
        Window::All => (0, None),
    };
    let mut last = hop.map_or(0, Duration::micros);
    let longer = NESTED.into_iter().filter(move |nested| {
        let follows = last > 0 && *nested > last && *nested <= length && nested % last == 0;
        if follows {
            last = *nested;
        }
        follows
    });
    let longer = longer.filter_map(|nested| Duration::from_micros(nested).ok());
    hop.into_iter().chain(longer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn window(length: &str) -> Window {
        Window::last(Duration::parse(length).unwrap(), None).unwrap()
    }

    fn holds(tiling: &Tiling, tiles: &Tiles, event: Timestamp) -> bool {
        match tiles {
            Tiles::All => true,
            Tiles::Of { hop, first, last } => (*first..=*last).contains(&tile_of(event, tiling.hops()[*hop])),
        }
    }

    fn count(tiles: &Tiles) -> i64 {
        match tiles {
            Tiles::All => 1,
            Tiles::Of { first, last, .. } => last - first + 1,
        }
    }

    #[test]
    fn hops_are_nested() {
        let hops = |lengths: &[&str]| {
            let windows: Vec<Window> = lengths.iter().map(|length| window(length)).collect();
            let tiling = Tiling::of(&windows);
            tiling
                .hops()
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(hops(&["10s"]), "1s");
        assert_eq!(hops(&["5m"]), "1s 1m 5m");
        assert_eq!(hops(&["1h", "7d"]), "1m 5m 1h 1d");
        assert_eq!(hops(&["30d"]), "1d");
        assert_eq!(hops(&[]), "");
        let seven = Window::last(
            Duration::parse("1h").unwrap(),
            Some(Duration::parse("7s").unwrap()),
        )
        .unwrap();
        assert_eq!(Tiling::of(&[seven]).hops().len(), 1);
        assert!(Tiling::of(&[Window::All]).has_all());
    }

    #[test]
    fn a_week_is_few_tiles() {
        let tiling = Tiling::of(&[window("1h"), window("7d")]);
        let at = Timestamp::parse("2013-06-14T15:30:00Z").unwrap();
        let tiles = tiling.cover(window("7d"), at);
        // From the 7th, 15:00, nine tiles of an hour; then seven days and what there is of the eighth.
        assert_eq!(tiles.iter().map(count).collect::<Vec<_>>(), [9, 7]);
    }

    proptest! {
        /// Whatever a window covers lies in one of its tiles, and nothing else does that is known.
        #[test]
        fn tiles_make_up_their_window(
            length in prop::sample::select(vec!["3s", "90s", "5m", "59m", "1h", "5h", "12h", "1d", "7d", "12d", "30d"]),
            at in any::<i32>(),
            micros in 0..3_i64,
            ages in prop::collection::vec((0..12_000_i64, 0..3_i64), 1..50),
        ) {
            let (window, length) = (window(length), Duration::parse(length).unwrap());
            let tiling = Tiling::of(&[window, Window::All]);
            let at = Timestamp::from_micros(i64::from(at) * 1_000_000 + micros);
            let tiles = tiling.cover(window, at);
            for (share, micros) in ages {
                let age = length.micros() / 10_000 * share + micros;
                let event = Timestamp::from_micros(at.micros() - age);
                let holding = tiles.iter().filter(|tiles| holds(&tiling, tiles, event)).count();
                prop_assert_eq!(holding, usize::from(window.covers(event, at)), "{} before {:?}", age, at);
            }
            prop_assert!(tiles.iter().map(count).sum::<i64>() <= 100, "{:?}", tiles);
        }
    }

    #[test]
    fn the_ends_of_time_have_tiles() {
        let window = window("30d");
        let tiling = Tiling::of(&[window]);
        for at in [Timestamp::MIN, Timestamp::MAX] {
            let tiles = tiling.cover(window, at);
            assert_eq!(
                tiles.iter().filter(|tiles| holds(&tiling, tiles, at)).count(),
                1,
                "{at:?}"
            );
        }
    }
}
