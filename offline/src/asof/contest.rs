//! Who answers each question.

use std::sync::Arc;

use asof_core::duration::Duration;
use asof_core::order::RowOrder;
use asof_core::status::{Verdict, Winner};
use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::DataType as ArrowType;

use super::questions::Questions;
use super::values::{Place, Values};
use crate::error::Result;
use crate::rows::SourceRows;

/// A contest under way: rows compete for the questions of a spine about one view.
#[derive(Debug)]
pub struct Contest {
    questions: Arc<Questions>,
    as_corrected: bool,
    /// Per question, the greatest row that can answer it first, by rules 1 and 2.
    known: Vec<Option<Entry>>,
    /// Per question, the greatest row by rule 1 alone.
    happened: Vec<Option<RowOrder>>,
    values: Values,
    scratch: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    winner: Winner,
    place: Place,
}

impl Contest {
    /// Opens a contest about a view whose features have the given Arrow types.
    pub fn new(questions: Arc<Questions>, types: Vec<ArrowType>, as_corrected: bool) -> Self {
        let len = questions.len();
        let happened = if as_corrected { 0 } else { len };
        Self {
            questions,
            as_corrected,
            known: vec![None; len],
            happened: vec![None; happened],
            values: Values::new(types),
            scratch: Vec::new(),
        }
    }

    /// Roughly how many bytes this holds.
    pub fn bytes(&self) -> usize {
        slot_bytes(self.known.len(), self.happened.len()) + self.values.bytes()
    }

    /// Lets a batch of rows compete.
    pub fn enter(&mut self, rows: &SourceRows) -> Result<()> {
        let batch = self.values.next_batch();
        let mut kept = false;
        for head in &rows.heads {
            self.scratch.clear();
            if !rows.keys.write(head.row, &mut self.scratch) {
                continue;
            }
            let order = head.order;
            if !self.as_corrected
                && let Some(question) = self.questions.first_from(&self.scratch, order.event_time)
                && let Some(best) = self.happened.get_mut(question)
            {
                *best = (*best).max(Some(order));
            }
            let from = if self.as_corrected {
                order.event_time
            } else {
                order.due()
            };
            if let Some(question) = self.questions.first_from(&self.scratch, from)
                && let Some(best) = self.known.get_mut(question)
                && best.is_none_or(|best| best.winner.order < order)
            {
                let winner = Winner {
                    order,
                    deleted: head.deleted,
                };
                *best = Some(Entry {
                    winner,
                    place: Place { batch, row: head.row },
                });
                kept = true;
            }
        }
        if kept {
            self.values.keep(&rows.features);
            if self.values.worth_tidying() {
                self.tidy()?;
            }
        }
        Ok(())
    }

    /// Drops the values of rows that have lost.
    fn tidy(&mut self) -> Result<()> {
        let mut places: Vec<&mut Place> = self
            .known
            .iter_mut()
            .flatten()
            .map(|entry| &mut entry.place)
            .collect();
        self.values.tidy(&mut places)
    }

    /// Ends the contest: carries each winner forward to the later questions of its key.
    pub fn finish(mut self, ttl: Option<Duration>) -> Result<Outcome> {
        self.tidy()?;
        for range in self.questions.ranges() {
            carry(self.known.get_mut(range.clone()), |entry| entry.winner.order);
            carry(self.happened.get_mut(range), |order| *order);
        }
        Ok(Outcome {
            questions: self.questions,
            as_corrected: self.as_corrected,
            known: self.known,
            happened: self.happened,
            values: self.values,
            ttl,
        })
    }
}

fn slot_bytes(known: usize, happened: usize) -> usize {
    known * size_of::<Option<Entry>>() + happened * size_of::<Option<RowOrder>>()
}

/// Gives each slot the greatest entry up to it.
fn carry<T: Copy>(slots: Option<&mut [Option<T>]>, order: impl Fn(&T) -> RowOrder) {
    let mut best: Option<T> = None;
    for slot in slots.into_iter().flatten() {
        match (&best, &slot) {
            (Some(earlier), Some(here)) if order(earlier) > order(here) => *slot = best,
            (_, Some(_)) => best = *slot,
            (_, None) => *slot = best,
        }
    }
}

/// The answers to all questions of a spine about one view.
#[derive(Debug)]
pub struct Outcome {
    questions: Arc<Questions>,
    as_corrected: bool,
    known: Vec<Option<Entry>>,
    happened: Vec<Option<RowOrder>>,
    values: Values,
    ttl: Option<Duration>,
}

/// The answer for one spine row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowAnswer {
    /// What the contract says of the view.
    pub verdict: Verdict,
    /// The winner, which is served only where the verdict is fresh.
    pub winner: Option<Winner>,
    /// Whether rule 2 excluded the row that would have won without it.
    pub held_back_winner: bool,
    place: Option<Place>,
}

impl Outcome {
    /// Roughly how many bytes this holds.
    pub fn bytes(&self) -> usize {
        slot_bytes(self.known.len(), self.happened.len()) + self.values.bytes()
    }

    /// The answer for a spine row.
    pub fn answer(&self, row: usize) -> RowAnswer {
        let Some(question) = self.questions.of_row(row) else {
            return RowAnswer {
                verdict: Verdict::NotFound,
                winner: None,
                held_back_winner: false,
                place: None,
            };
        };
        let entry = self.known.get(question).copied().flatten();
        let winner = entry.map(|entry| entry.winner);
        let known = winner.map(|winner| winner.order);
        let happened = if self.as_corrected {
            known
        } else {
            self.happened.get(question).copied().flatten()
        };
        let verdict = Verdict::of(
            winner,
            happened.is_some(),
            self.ttl,
            self.questions.time(question),
        );
        RowAnswer {
            verdict,
            winner,
            held_back_winner: happened != known,
            place: entry
                .filter(|_| verdict == Verdict::Fresh)
                .map(|entry| entry.place),
        }
    }

    /// The view's features for the given answers, null where nothing is served.
    pub fn columns(&self, answers: &[RowAnswer]) -> Result<Vec<ArrayRef>> {
        let places: Vec<Option<Place>> = answers.iter().map(|answer| answer.place).collect();
        self.values.columns(&places)
    }
}
