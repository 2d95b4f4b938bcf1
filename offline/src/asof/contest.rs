//! Who answers each question.

use std::sync::Arc;

use asof_core::duration::Duration;
use asof_core::order::RowOrder;
use asof_core::status::{Verdict, Winner};
use asof_core::time::Timestamp;

use super::questions::Questions;
use super::served::Served;

/// Where a row is in its source: its file's number and its own in the file, as [`asof_core::order::file_seq`]
/// packs them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(pub u64);

/// The questions that a row can answer first.
#[derive(Debug, Clone, Copy)]
pub struct First {
    /// By rule 1 alone.
    pub happened: u32,
    /// By rules 1 and 2, [`super::index::NONE`] where there is none.
    pub known: u32,
}

/// What is to be known of a row beside its event time, where that does not decide.
#[derive(Debug, Clone, Copy)]
pub struct Other {
    /// When it became known.
    pub created_time: Timestamp,
    /// The order of acceptance.
    pub seq: u64,
    /// Where its features are.
    pub place: Place,
    /// Whether it says that there is nothing any more.
    pub deleted: bool,
}

impl Other {
    /// What is to be known of a row of [`Rows::Plain`].
    pub fn plain(place: u64, event_time: i64) -> Self {
        Self {
            created_time: Timestamp::from_micros(event_time),
            seq: place,
            place: Place(place),
            deleted: false,
        }
    }
}

/// What the rows of a source say beside their event times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// Nothing: they are known at their event times, are accepted in the order of their places, and none says
    /// that there is nothing any more.
    Plain,
    /// Whatever rows can say.
    Any,
}

/// A contest under way: rows compete for the questions of a spine about one view.
#[derive(Debug)]
pub struct Contest {
    questions: Arc<Questions>,
    /// Per question, the greatest row that can answer it first, by rules 1 and 2.
    known: Slots,
    /// Per question, the greatest row by rule 1 alone; made when a row comes for which that matters.
    happened: Option<Slots>,
}

impl Contest {
    /// Opens a contest.
    pub fn new(questions: Arc<Questions>, rows: Rows) -> Self {
        Self {
            known: Slots::new(questions.len(), rows),
            happened: None,
            questions,
        }
    }

    /// How many bytes a contest about so many questions holds at most.
    pub fn most_bytes(questions: usize, rows: Rows, as_corrected: bool) -> usize {
        match rows {
            Rows::Plain => questions * (size_of::<i64>() + size_of::<u64>()),
            Rows::Any => {
                let known = size_of::<i64>() + size_of::<Option<Other>>();
                let happened = if as_corrected { 0 } else { known };
                questions * (known + happened)
            }
        }
    }

    /// Leaves out rows, given with the first question that each can answer by rules 1 and 2, that a later event
    /// beats already.
    pub fn sift(&self, rows: Vec<(u32, u32)>, event_times: &[i64]) -> Vec<(u32, u32)> {
        if self.happened.is_some() {
            return rows;
        }
        // Looked up for all rows first: so memory is waited for many times at once.
        let best = |question: u32| self.known.event_times.get(question as usize).copied();
        let bests: Vec<Option<i64>> = rows.iter().map(|(_, question)| best(*question)).collect();
        let rows = rows.into_iter().zip(bests);
        rows.filter(|((row, _), best)| event_times.get(*row as usize).copied() >= *best)
            .map(|(row, _)| row)
            .collect()
    }

    /// Lets a row compete, of which `other` is asked only where its event time is not too early.
    pub fn enter(&mut self, first: First, event_time: i64, other: impl Fn() -> Option<Other>) {
        if first.known != first.happened {
            self.happened.get_or_insert_with(|| self.known.clone());
        }
        if let Some(happened) = &mut self.happened {
            happened.enter(first.happened, event_time, &other);
        }
        self.known.enter(first.known, event_time, &other);
    }

    /// One contest of two about the same questions, in which different rows competed.
    pub fn joined(mut self, mut other: Self) -> Self {
        if self.happened.is_some() || other.happened.is_some() {
            let happened = other.happened.take().unwrap_or_else(|| other.known.clone());
            self.happened
                .get_or_insert_with(|| self.known.clone())
                .join(&happened);
        }
        self.known.join(&other.known);
        self
    }

    /// Ends the contest: carries each winner forward to the later questions of its key.
    pub fn finish(mut self, ttl: Option<Duration>) -> Outcome {
        for range in self.questions.ranges(0..self.questions.keys()) {
            self.known.carry(range.clone());
            if let Some(happened) = &mut self.happened {
                happened.carry(range);
            }
        }
        Outcome {
            questions: self.questions,
            known: self.known,
            happened: self.happened,
            ttl,
        }
    }
}

/// The best row for each question.
#[derive(Debug, Clone)]
struct Slots {
    /// The event times apart: they decide nearly always, and are all that is looked at then.
    event_times: Vec<i64>,
    others: Others,
}

/// What is kept of the best rows beside their event times.
#[derive(Debug, Clone)]
enum Others {
    /// Their places, [`NOWHERE`] where there is none: for rows that say no more.
    Places(Vec<u64>),
    All(Vec<Option<Other>>),
}

/// Stands for no row.
const NOWHERE: u64 = u64::MAX;

impl Others {
    fn get(&self, question: usize, event_time: i64) -> Option<Other> {
        match self {
            Self::All(others) => *others.get(question)?,
            Self::Places(places) => {
                let place = places.get(question).filter(|place| **place != NOWHERE)?;
                Some(Other::plain(*place, event_time))
            }
        }
    }

    fn set(&mut self, question: usize, other: Other) {
        match self {
            Self::All(others) => {
                if let Some(slot) = others.get_mut(question) {
                    *slot = Some(other);
                }
            }
            Self::Places(places) => {
                if let Some(slot) = places.get_mut(question) {
                    *slot = other.place.0;
                }
            }
        }
    }
}

impl Slots {
    fn new(questions: usize, rows: Rows) -> Self {
        Self {
            event_times: vec![i64::MIN; questions],
            others: match rows {
                Rows::Plain => Others::Places(vec![NOWHERE; questions]),
                Rows::Any => Others::All(vec![None; questions]),
            },
        }
    }

    /// Gives a question the row, where it is greater than what it has.
    #[inline]
    fn enter(&mut self, question: u32, event_time: i64, other: &impl Fn() -> Option<Other>) {
        let question = question as usize;
        let Some(best) = self.event_times.get_mut(question) else {
            return;
        };
        if event_time < *best {
            return;
        }
        let Some(other) = other() else { return };
        let place = |row: &Other| (row.created_time, row.seq);
        let earlier = || self.others.get(question, event_time);
        if event_time > *best || earlier().is_none_or(|earlier| place(&earlier) < place(&other)) {
            *best = event_time;
            self.others.set(question, other);
        }
    }

    fn join(&mut self, slots: &Self) {
        for (question, event_time) in (0_u32..).zip(&slots.event_times) {
            if let Some(other) = slots.others.get(question as usize, *event_time) {
                self.enter(question, *event_time, &|| Some(other));
            }
        }
    }

    /// Gives each slot of a range the greatest row up to it.
    fn carry(&mut self, range: std::ops::Range<usize>) {
        let mut best: Option<(RowOrder, Other)> = None;
        for question in range {
            let Some(event_time) = self.event_times.get_mut(question) else {
                return;
            };
            let here = self.others.get(question, *event_time);
            let here = here.map(|other| (order(*event_time, &other), other));
            match (best, here) {
                (Some((earlier, row)), here) if here.is_none_or(|(here, _)| here < earlier) => {
                    *event_time = earlier.event_time.micros();
                    self.others.set(question, row);
                }
                _ => best = here,
            }
        }
    }

    fn get(&self, question: usize) -> Option<(Winner, Place)> {
        let event_time = *self.event_times.get(question)?;
        let other = self.others.get(question, event_time)?;
        let winner = Winner {
            order: order(event_time, &other),
            deleted: other.deleted,
        };
        Some((winner, other.place))
    }
}

fn order(event_time: i64, other: &Other) -> RowOrder {
    RowOrder {
        event_time: Timestamp::from_micros(event_time),
        created_time: other.created_time,
        seq: other.seq,
    }
}

/// The answers to all questions of a spine about one view.
#[derive(Debug)]
pub struct Outcome {
    questions: Arc<Questions>,
    known: Slots,
    happened: Option<Slots>,
    ttl: Option<Duration>,
}

impl Outcome {
    /// How many questions there are.
    pub fn len(&self) -> usize {
        self.questions.len()
    }

    /// What the contract says, and the rows whose features are served.
    pub fn serve(self) -> (Answered, Served) {
        let mut served = Served::builder(self.len());
        let mut verdicts = Vec::with_capacity(self.len());
        let mut held_back = Vec::new();
        for question in 0..self.len() {
            let winner = self.known.get(question);
            let corrected = self.happened.as_ref().map(|happened| happened.get(question));
            let corrected = corrected.unwrap_or(winner);
            let verdict = self.verdict(question, winner, corrected.is_some());
            verdicts.push(verdict);
            let place = |row: Option<(Winner, Place)>, verdict| {
                row.filter(|_| verdict == Verdict::Fresh).map(|(_, place)| place)
            };
            let now = place(winner, verdict);
            if let Some(now) = now {
                served.serve(question, now);
            }
            let row = |row: Option<(Winner, Place)>| row.map(|(winner, _)| winner);
            if row(winner) == row(corrected) {
                continue;
            }
            held_back.resize(self.len(), false);
            if let Some(held_back) = held_back.get_mut(question) {
                *held_back = true;
            }
            let then = self.verdict(question, corrected, corrected.is_some());
            match (now, place(corrected, then)) {
                (Some(_), Some(place)) => served.compare(question, place),
                _ if verdict != then => served.differs(question),
                _ => {}
            }
        }
        let answered = Answered {
            questions: self.questions,
            verdicts,
            event_times: self.known.event_times,
            held_back,
        };
        (answered, served.finish())
    }

    /// What the contract says where the winner is that row.
    fn verdict(&self, question: usize, winner: Option<(Winner, Place)>, happened: bool) -> Verdict {
        let winner = winner.map(|(winner, _)| winner);
        Verdict::of(winner, happened, self.ttl, self.questions.time(question))
    }
}

/// What the contract says of each question.
#[derive(Debug)]
pub struct Answered {
    questions: Arc<Questions>,
    verdicts: Vec<Verdict>,
    /// Of the winners, where there is one.
    event_times: Vec<i64>,
    /// Whether rule 2 excluded the row that would have won without it; empty where it never did.
    held_back: Vec<bool>,
}

/// The answer for one spine row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowAnswer {
    /// What the contract says of the view.
    pub verdict: Verdict,
    /// The event time of the winner, in microseconds, unless it says that there is nothing.
    pub event_time: Option<i64>,
    /// Whether rule 2 excluded the row that would have won without it.
    pub held_back_winner: bool,
}

impl RowAnswer {
    /// The answer where nothing is asked.
    pub(super) const NOTHING: Self = Self {
        verdict: Verdict::NotFound,
        event_time: None,
        held_back_winner: false,
    };
}

impl Answered {
    /// The question of a spine row, `None` where its key is null.
    pub fn question(&self, row: usize) -> Option<usize> {
        self.questions.of_row(row)
    }

    /// The answer for a spine row.
    pub fn answer(&self, row: usize) -> RowAnswer {
        let known = self
            .question(row)
            .and_then(|question| Some((question, *self.verdicts.get(question)?)));
        let Some((question, verdict)) = known else {
            return RowAnswer::NOTHING;
        };
        let has_winner = matches!(verdict, Verdict::Fresh | Verdict::Expired);
        let event_time = self.event_times.get(question).copied();
        RowAnswer {
            verdict,
            event_time: event_time.filter(|_| has_winner),
            held_back_winner: self.held_back.get(question).copied().unwrap_or(false),
        }
    }
}
