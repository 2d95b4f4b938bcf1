//! Windows over the history of one key, at many instants, in one pass.
//!
//! The instants go forward, and with them a head that takes in what has become known and a tail for each window. What can
//! take values out again has one partial aggregate a window, to which each event is added once and from which it is taken
//! once. Of the rest the tiles of each hop stand at the leaves of a tree, whose nodes have what is below them; a window is
//! the merge of the few nodes behind its tail. The cost goes with the events and the instants, not with their product.

use super::{Corrupt, Partial, State, Value};
use crate::duration::Duration;
use crate::order::RowOrder;
use crate::time::Timestamp;
use crate::window::{Window, tile_of};

/// How many nodes stand below one.
const FAN: usize = 16;

/// What is wanted of a column of values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// What is kept of them.
    pub state: State,
    /// Of which windows.
    pub windows: Vec<Window>,
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

/// Gives the partial aggregate of each window at each instant, which must not go back. An event counts from when it was
/// true and known; with `as_corrected` from when it was true.
///
/// # Errors
///
/// What `ready` says.
pub fn sweep<E: From<Corrupt>>(
    events: &impl Events,
    as_corrected: bool,
    instants: &[Timestamp],
    wanted: &[Wanted],
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
    let mut arrivals = arrivals.into_iter().peekable();
    let mut columns: Vec<Column> = wanted.iter().map(|wanted| Column::new(wanted, orders)).collect();
    let mut before = None;
    for (instant, at) in instants.iter().enumerate() {
        for (place, column) in columns.iter_mut().enumerate() {
            for lane in &mut column.lanes {
                lane.move_tail(*at, orders, |event| match due(event) <= before {
                    true => events.value(place, event),
                    // It never came in.
                    false => None,
                });
            }
        }
        while let Some(event) = arrivals.next_if(|event| due(*event) <= Some(*at)) {
            let Some(order) = orders.get(event) else { continue };
            for (place, column) in columns.iter_mut().enumerate() {
                if let Some(value) = events.value(place, event) {
                    column.add(event, *order, value);
                }
            }
        }
        for (place, column) in columns.iter().enumerate() {
            for (window, lane) in column.lanes.iter().enumerate() {
                let place = Place {
                    instant,
                    wanted: place,
                    window,
                };
                match &lane.kept {
                    Kept::Running(partial) => ready(place, partial)?,
                    Kept::Tree(tree) => ready(place, &column.behind(*tree, lane.window, *at)?)?,
                }
            }
        }
        before = Some(*at);
    }
    Ok(())
}

/// The windows of a column.
struct Column {
    state: State,
    lanes: Vec<Lane>,
    trees: Vec<Tree>,
}

struct Lane {
    window: Window,
    /// The first event behind the tail.
    tail: usize,
    kept: Kept,
}

enum Kept {
    /// Of all events between tail and head.
    Running(Partial),
    /// In one of the column's trees.
    Tree(usize),
}

impl Column {
    fn new(wanted: &Wanted, orders: &[RowOrder]) -> Self {
        let state = wanted.state;
        let mut trees: Vec<Tree> = Vec::new();
        let lanes = wanted.windows.iter().map(|window| {
            let kept = match window {
                Window::Last { hop, .. } if !state.is_reversible() => {
                    let known = trees.iter().position(|tree| tree.hop == *hop);
                    Kept::Tree(known.unwrap_or_else(|| {
                        trees.push(Tree::new(*hop, orders));
                        trees.len() - 1
                    }))
                }
                Window::Last { .. } | Window::All => Kept::Running(state.init()),
            };
            Lane {
                window: *window,
                tail: 0,
                kept,
            }
        });
        Self {
            state,
            lanes: lanes.collect(),
            trees,
        }
    }

    /// Takes in an event.
    fn add(&mut self, event: usize, order: RowOrder, value: Value<'_>) {
        for lane in &mut self.lanes {
            if let Kept::Running(partial) = &mut lane.kept
                && event >= lane.tail
            {
                partial.add(value, order);
            }
        }
        for tree in &mut self.trees {
            tree.add(self.state, order, value);
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

impl Lane {
    /// Moves the tail to where it is at an instant, and takes out what it passes.
    fn move_tail<'v>(
        &mut self,
        at: Timestamp,
        orders: &[RowOrder],
        came_in: impl Fn(usize) -> Option<Value<'v>>,
    ) {
        let Kept::Running(partial) = &mut self.kept else {
            return;
        };
        let Some(after) = self.window.after(at) else {
            return;
        };
        while orders
            .get(self.tail)
            .is_some_and(|order| order.event_time <= after)
        {
            if let Some(value) = came_in(self.tail) {
                partial.remove(value);
            }
            self.tail += 1;
        }
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
