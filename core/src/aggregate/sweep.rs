//! Windows over the history of one key, at many instants, in one pass.
//!
//! The instants go forward, and with them a head that takes in what has become known and a tail for each window. What can
//! take values out again has one partial aggregate a window, to which each event is added once and from which it is taken
//! once. Of the rest the tiles of each hop stand at the leaves of a tree, whose nodes have what is below them; a window is
//! the merge of the few nodes behind its tail. The cost goes with the events and the instants, not with their product.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{Corrupt, Partial, State, Value};
use crate::duration::Duration;
use crate::order::RowOrder;
use crate::time::Timestamp;
use crate::window::{Window, tile_of};

/// How many nodes stand below one.
const FAN: usize = 16;

/// How many events are taken in at once.
const AT_ONCE: usize = 1_024;

/// What is wanted of a column of values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// What is kept of them.
    pub state: State,
    /// Of which windows, each once.
    pub windows: Vec<Window>,
}

/// What is wanted of the histories of keys, made ready once for all of them.
#[derive(Debug, Clone)]
pub struct Sweep {
    columns: Vec<Layout>,
    /// The windows whose tails take events out.
    tails: Vec<Window>,
    /// Per tail the column and lane of each that it takes events out of.
    behind: Vec<Vec<(usize, usize)>>,
}

/// How a column is laid out: its state, the place of each of its windows, and the hops of its trees.
#[derive(Debug, Clone)]
struct Layout {
    state: State,
    lanes: Vec<LanePlace>,
    hops: Vec<Duration>,
}

#[derive(Debug, Clone, Copy)]
enum LanePlace {
    Running { tail: usize },
    Tree { tree: usize, window: Window },
}

/// The events of a key.
pub trait Events {
    /// Their places in the total order, which is theirs.
    fn orders(&self) -> &[RowOrder];

    /// The value of an event for one of what is wanted; `None` where it is null, or left out.
    fn value(&self, wanted: usize, event: usize) -> Option<Value<'_>>;
}

/// A window whose partial aggregate is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Which of the instants.
    pub instant: usize,
    /// Which of what is wanted.
    pub wanted: usize,
    /// Which of its windows.
    pub window: usize,
}

impl Sweep {
    /// Makes ready what is wanted.
    pub fn new(wanted: &[Wanted]) -> Self {
        let mut tails: BTreeMap<Window, usize> = BTreeMap::new();
        let mut behind: Vec<Vec<(usize, usize)>> = Vec::new();
        let mut columns = Vec::with_capacity(wanted.len());
        for (column, Wanted { state, windows }) in wanted.iter().enumerate() {
            let mut hops = Vec::new();
            let lanes = windows.iter().enumerate().map(|(lane, window)| match window {
                Window::Last { hop, .. } if !state.is_reversible() => {
                    let known = hops.iter().position(|known| known == hop);
                    let tree = known.unwrap_or_else(|| {
                        hops.push(*hop);
                        hops.len() - 1
                    });
                    LanePlace::Tree {
                        tree,
                        window: *window,
                    }
                }
                Window::Last { .. } | Window::All => {
                    let next = tails.len();
                    let tail = *tails.entry(*window).or_insert(next);
                    if tail == behind.len() {
                        behind.push(Vec::new());
                    }
                    if let Some(lanes) = behind.get_mut(tail) {
                        lanes.push((column, lane));
                    }
                    LanePlace::Running { tail }
                }
            });
            columns.push(Layout {
                state: *state,
                lanes: lanes.collect(),
                hops,
            });
        }
        let mut windows: Vec<(Window, usize)> = tails.into_iter().collect();
        windows.sort_unstable_by_key(|(_, tail)| *tail);
        Self {
            columns,
            tails: windows.into_iter().map(|(window, _)| window).collect(),
            behind,
        }
    }

    /// Gives the partial aggregate of each window at each instant, which must not go back. An event counts from when it was
    /// true and known; with `as_corrected` from when it was true.
    ///
    /// # Errors
    ///
    /// What `ready` says.
    pub fn over<E: From<Corrupt>>(
        &self,
        events: &impl Events,
        as_corrected: bool,
        instants: &[Timestamp],
        mut ready: impl FnMut(Place, &Partial) -> Result<(), E>,
    ) -> Result<(), E> {
        let orders = events.orders();
        let due = |event: usize| {
            let order = orders.get(event)?;
            Some(if as_corrected {
                order.event_time
            } else {
                order.due()
            })
        };
        let mut arrivals: Vec<usize> = (0..orders.len()).collect();
        if !arrivals.is_sorted_by_key(|event| due(*event)) {
            arrivals.sort_by_key(|event| due(*event));
        }
        let mut arrivals = arrivals.as_slice();
        let tails = self.tails.iter().map(|window| Tail {
            window: *window,
            first: 0,
        });
        let mut tails: Vec<Tail> = tails.collect();
        let columns = self.columns.iter().map(|layout| Column::new(layout, orders));
        let mut columns: Vec<Column> = columns.collect();
        let mut values: Vec<(usize, Value<'_>)> = Vec::new();
        let mut before = None;
        for (instant, at) in instants.iter().enumerate() {
            for (tail, lanes) in tails.iter_mut().zip(&self.behind) {
                let passed = tail.go_to(*at, orders);
                if passed.is_empty() {
                    continue;
                }
                for (place, lane) in lanes {
                    let came_in = passed.clone().filter(|event| due(*event) <= before);
                    let values = came_in.filter_map(|event| events.value(*place, event));
                    if let Some(column) = columns.get_mut(*place) {
                        column.take_out(*lane, values);
                    }
                }
            }
            let (arrived, later) = arrivals.split_at(
                arrivals
                    .iter()
                    .take_while(|event| due(**event) <= Some(*at))
                    .count(),
            );
            arrivals = later;
            for arrived in arrived.chunks(AT_ONCE) {
                for (place, column) in columns.iter_mut().enumerate() {
                    values.clear();
                    let arrived = arrived.iter();
                    values.extend(arrived.filter_map(|event| Some((*event, events.value(place, *event)?))));
                    column.take_in(&values, orders, &tails);
                }
            }
            for (wanted, column) in columns.iter().enumerate() {
                for (window, lane) in column.lanes.iter().enumerate() {
                    let place = Place {
                        instant,
                        wanted,
                        window,
                    };
                    match lane {
                        Lane::Running { partial, .. } => ready(place, partial)?,
                        Lane::Tree { tree, window } => ready(place, &column.behind(*tree, *window, *at)?)?,
                    }
                }
            }
            before = Some(*at);
        }
        Ok(())
    }
}

/// Where a window ends in the past.
struct Tail {
    window: Window,
    /// The first event behind it.
    first: usize,
}

impl Tail {
    /// Moves to where it is at an instant; gives the events that it passes.
    fn go_to(&mut self, at: Timestamp, orders: &[RowOrder]) -> Range<usize> {
        let from = self.first;
        if let Some(after) = self.window.after(at) {
            let rest = orders.get(from..).unwrap_or_default();
            self.first += rest.iter().take_while(|order| order.event_time <= after).count();
        }
        from..self.first
    }
}

/// The windows of a column.
struct Column {
    state: State,
    lanes: Vec<Lane>,
    trees: Vec<Tree>,
}

enum Lane {
    /// Of all events between a tail, given by its number, and the head.
    Running { tail: usize, partial: Partial },
    /// In one of the column's trees.
    Tree { tree: usize, window: Window },
}

impl Column {
    fn new(layout: &Layout, orders: &[RowOrder]) -> Self {
        let state = layout.state;
        let lanes = layout.lanes.iter().map(|lane| match lane {
            LanePlace::Running { tail } => Lane::Running {
                tail: *tail,
                partial: state.init(),
            },
            LanePlace::Tree { tree, window } => Lane::Tree {
                tree: *tree,
                window: *window,
            },
        });
        Self {
            state,
            lanes: lanes.collect(),
            trees: layout.hops.iter().map(|hop| Tree::new(*hop, orders)).collect(),
        }
    }

    /// Takes in events, given with their values.
    fn take_in(&mut self, values: &[(usize, Value<'_>)], orders: &[RowOrder], tails: &[Tail]) {
        let placed = || {
            let values = values.iter();
            values.filter_map(|(event, value)| Some((*event, *value, *orders.get(*event)?)))
        };
        for lane in &mut self.lanes {
            if let Lane::Running { tail, partial } = lane {
                let first = tails.get(*tail).map_or(0, |tail| tail.first);
                let behind = placed().filter(|(event, ..)| *event >= first);
                partial.add_all(behind.map(|(_, value, order)| (value, order)));
            }
        }
        for tree in &mut self.trees {
            for (_, value, order) in placed() {
                tree.add(self.state, order, value);
            }
        }
    }

    /// Takes the values of events out of a lane, which came in and were passed by its tail.
    fn take_out<'v>(&mut self, lane: usize, values: impl Iterator<Item = Value<'v>>) {
        if let Some(Lane::Running { partial, .. }) = self.lanes.get_mut(lane) {
            partial.remove_all(values);
        }
    }

    /// What a tree has behind the tail of a window.
    fn behind(&self, tree: usize, window: Window, at: Timestamp) -> Result<Partial, Corrupt> {
        let mut sum = self.state.init();
        if let Some(tree) = self.trees.get(tree) {
            tree.merge_behind(window.after(at), &mut sum)?;
        }
        Ok(sum)
    }
}

/// The tiles of a hop that events lie in, and what is above them.
struct Tree {
    hop: Duration,
    tiles: Vec<i64>,
    /// The tiles, and on each further level a node for up to [`FAN`] of the one below, until there are no more than that.
    levels: Vec<Vec<Option<Partial>>>,
}

impl Tree {
    fn new(hop: Duration, orders: &[RowOrder]) -> Self {
        let mut tiles: Vec<i64> = orders
            .iter()
            .map(|order| tile_of(order.event_time, hop))
            .collect();
        tiles.dedup();
        let mut levels = Vec::new();
        let mut nodes = tiles.len();
        loop {
            levels.push(vec![None; nodes]);
            if nodes <= FAN {
                return Self { hop, tiles, levels };
            }
            nodes = nodes.div_ceil(FAN);
        }
    }

    fn add(&mut self, state: State, order: RowOrder, value: Value<'_>) {
        let tile = tile_of(order.event_time, self.hop);
        let mut node = self.tiles.partition_point(|other| *other < tile);
        for level in &mut self.levels {
            if let Some(partial) = level.get_mut(node) {
                partial.get_or_insert_with(|| state.init()).add(value, order);
            }
            node /= FAN;
        }
    }

    /// Merges all tiles behind a tail, or all where there is none.
    fn merge_behind(&self, after: Option<Timestamp>, sum: &mut Partial) -> Result<(), Corrupt> {
        let first = after.map_or(i64::MIN, |after| after.micros().div_euclid(self.hop.micros()));
        let mut from = self.tiles.partition_point(|tile| *tile < first);
        for (height, level) in self.levels.iter().enumerate() {
            let is_top = height + 1 == self.levels.len();
            // Up to where whole nodes of the next level begin.
            let to = if is_top {
                level.len()
            } else {
                from.next_multiple_of(FAN).min(level.len())
            };
            for partial in level.get(from..to).unwrap_or_default().iter().flatten() {
                sum.merge(partial)?;
            }
            from = to.div_ceil(FAN);
        }
        Ok(())
    }
}
