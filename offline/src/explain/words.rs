//! The decision about a view, and the arithmetic of its ttl, in words that name the rules.

use asof_core::status::Verdict;
use asof_core::time::Timestamp;

use super::span::Span;
use super::{ExplainedRow, ViewExplanation};

impl ViewExplanation {
    /// How old the winner is.
    pub fn age(&self) -> Option<Span> {
        let winner = self.winning_row()?;
        Some(Span::between(self.at, winner.order.event_time))
    }

    /// The last instant at which the winner is fresh; `None` where it always is, or nothing wins.
    pub fn fresh_until(&self) -> Option<Timestamp> {
        let winner = self.winning_row()?;
        winner.order.event_time.checked_add(self.read.bound.view.ttl?)
    }

    /// What rule 4 has to do with it: the winner's age against the ttl.
    pub fn expiry(&self) -> String {
        if !self.windows.is_empty() {
            return "no row wins: events count as long as a window covers them".into();
        }
        let Some(winner) = self.winning_row() else {
            return "no row wins: there is no age to compare with a ttl (rule 4)".into();
        };
        let age = self.age_in_words(winner);
        if winner.deleted {
            return format!("{age}; the winner is marked as deleted, so its age does not matter (rule 3)");
        }
        let Some(ttl) = self.read.bound.view.ttl else {
            return format!("{age}; the view has no ttl: it never expires (rule 4)");
        };
        let (sign, word) = match self.verdict {
            Verdict::Expired => (">", "expired"),
            Verdict::Fresh | Verdict::NotFound | Verdict::HeldBack => ("<=", "fresh"),
        };
        let until = self.fresh_until().map_or_else(
            || "it is fresh to the end of time".to_owned(),
            |until| format!("the last fresh microsecond is {until}"),
        );
        format!("{age} {sign} ttl = {ttl}: {word}; {until} (rule 4)")
    }

    fn age_in_words(&self, winner: &ExplainedRow) -> String {
        let age = Span::between(self.at, winner.order.event_time);
        format!("age = {} - {} = {age}", self.at, winner.order.event_time)
    }

    /// What was decided about the view, and by which rule.
    pub fn decision(&self) -> String {
        match self.verdict {
            Verdict::Fresh if !self.windows.is_empty() => {
                "every feature is computed of the events that its window covers, as known at the instant"
                    .into()
            }
            Verdict::Fresh => {
                "the winner is fresh: its values are served, nulls included (rules 3 to 5)".into()
            }
            Verdict::Expired => {
                "EXPIRED: the winner is older than the ttl, and no other row takes its place (rule 4)".into()
            }
            Verdict::HeldBack => {
                "HELD_BACK: rows of this key had happened by then, and none of them was known (rules 2 and 8)"
                    .into()
            }
            Verdict::NotFound if self.winner.is_some() => {
                "NOT_FOUND: the winner is marked as deleted, and uncovers no row before it (rule 3)".into()
            }
            Verdict::NotFound if self.key.is_none() => {
                "NOT_FOUND: a part of the key is null, and a null matches nothing (rule 1)".into()
            }
            Verdict::NotFound if self.rows.is_empty() => {
                "NOT_FOUND: the source has no row of this key (rule 1)".into()
            }
            Verdict::NotFound => "NOT_FOUND: no row of this key had happened by then (rule 1)".into(),
        }
    }

    /// The row that would win if rule 2 were off, where that is another.
    pub fn excluded_winner(&self) -> Option<&ExplainedRow> {
        let corrected = self.corrected_winner.filter(|row| Some(*row) != self.winner)?;
        self.rows.get(corrected)
    }
}
