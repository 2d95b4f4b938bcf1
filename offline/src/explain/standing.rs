//! What the contract says of one row of a key: the rule that left it out, or made it win or lose.

use std::fmt;
use std::slice::from_ref;

use asof_core::order::RowOrder;
use asof_core::reference::{HistoryRow, Rules, as_of, in_window};
use asof_core::time::Timestamp;

use super::span::Span;
use super::window::{Asked, ExplainedWindow};

/// Stands for what the contract says of windows, which is none of its numbered rules.
const WINDOWS: u8 = 0;

/// What the contract says of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Rule 3: the greatest of the rows that are left.
    Wins,
    /// Rule 3: the winner is greater.
    Loses(Losing),
    /// Rule 2: it became known only so long after the instant.
    NotKnown(Span),
    /// Rule 1: it happened only so long after the instant.
    NotYet(Span),
    /// An event that counts for so many features of a view of aggregates.
    Counts(usize),
    /// An event that windows cover, and that has no value for any of them.
    NoValue,
    /// An event from before every window.
    Before,
    /// A row that says that there is nothing any more is no event.
    NoEvent,
}

/// What decided between a row and the winner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Losing {
    /// The winner's event time is so much later.
    EventTime(Span),
    /// The event times are equal, and the winner's created time is so much later.
    CreatedTime(Span),
    /// Both times are equal, and the winner was accepted later.
    Seq,
}

impl Standing {
    /// The standing of a row. Whether a rule leaves it out is asked of the reference, with the row as the
    /// whole history.
    pub(super) fn of(
        row: &HistoryRow<usize>,
        order: RowOrder,
        winner: Option<RowOrder>,
        at: Timestamp,
        rules: Rules,
    ) -> Self {
        let alone = |rules| as_of(from_ref(row), &row.keys, at, rules).winner.is_some();
        let corrected = Rules {
            as_corrected: true,
            ..rules
        };
        match winner {
            _ if !alone(corrected) => Self::NotYet(Span::between(order.event_time, at)),
            _ if !alone(rules) => Self::NotKnown(Span::between(order.created_time, at)),
            Some(winner) if winner != order => Self::Loses(Losing::to(order, winner)),
            _ => Self::Wins,
        }
    }

    /// The same in the windows of a view of aggregates; `has_value` tells of an input whether the row has a value of it.
    pub(super) fn in_windows(
        row: &HistoryRow<usize>,
        order: RowOrder,
        asked: &Asked<'_>,
        windows: &[ExplainedWindow],
        has_value: impl Fn(usize) -> bool,
    ) -> Self {
        let covering = |as_corrected| {
            let covers = move |window: &&ExplainedWindow| {
                !in_window(from_ref(row), asked.key, asked.at, window.window, as_corrected).is_empty()
            };
            windows.iter().filter(covers)
        };
        let covered = |as_corrected| covering(as_corrected).count();
        match (covered(asked.as_corrected), covered(true)) {
            _ if row.deleted => Self::NoEvent,
            (0, 0) if order.event_time > asked.at => Self::NotYet(Span::between(order.event_time, asked.at)),
            (0, 0) => Self::Before,
            (0, _) => Self::NotKnown(Span::between(order.created_time, asked.at)),
            (_, _) => match covering(asked.as_corrected)
                .filter(|window| has_value(window.input))
                .count()
            {
                0 => Self::NoValue,
                features => Self::Counts(features),
            },
        }
    }

    /// The number of the contract's rule that decided; 0 where that is what is said of windows.
    pub fn rule(self) -> u8 {
        match self {
            Self::NotYet(_) => 1,
            Self::NotKnown(_) => 2,
            Self::Wins | Self::Loses(_) => 3,
            Self::Counts(_) | Self::NoValue | Self::Before | Self::NoEvent => WINDOWS,
        }
    }

    /// One word, for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Wins => "wins",
            Self::Loses(_) => "loses",
            Self::NotKnown(_) => "not_known",
            Self::NotYet(_) => "not_yet",
            Self::Counts(_) => "counts",
            Self::NoValue => "no_value",
            Self::Before => "before",
            Self::NoEvent => "no_event",
        }
    }
}

impl Losing {
    fn to(order: RowOrder, winner: RowOrder) -> Self {
        if order.event_time != winner.event_time {
            Self::EventTime(Span::between(winner.event_time, order.event_time))
        } else if order.created_time != winner.created_time {
            Self::CreatedTime(Span::between(winner.created_time, order.created_time))
        } else {
            Self::Seq
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wins => f.write_str("wins: the greatest of the rows left"),
            Self::Loses(Losing::EventTime(by)) => write!(f, "loses: event time {by} earlier"),
            Self::Loses(Losing::CreatedTime(by)) => {
                write!(f, "loses the tie: same event time, created {by} earlier")
            }
            Self::Loses(Losing::Seq) => f.write_str("loses the tie: same times, accepted earlier"),
            Self::NotKnown(by) => write!(f, "left out: known only {by} later"),
            Self::NotYet(by) => write!(f, "left out: happened only {by} later"),
            Self::Counts(1) => return f.write_str("counts for 1 feature"),
            Self::Counts(features) => return write!(f, "counts for {features} features"),
            Self::NoValue => return f.write_str("left out: its value is null, or where is not true"),
            Self::Before => return f.write_str("left out: from before every window"),
            Self::NoEvent => return f.write_str("left out: marked as deleted, which is no event"),
        }?;
        write!(f, " (rule {})", self.rule())
    }
}
