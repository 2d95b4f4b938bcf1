//! Who answers each question.

use std::sync::Arc;

use asof_core::duration::Duration;
use asof_core::order::RowOrder;
use asof_core::status::{Verdict, Winner};

use super::index::NONE;
use super::questions::Questions;

/// A row that competes.
#[derive(Debug, Clone, Copy)]
pub struct Candidate {
    /// Its place in the total order.
    pub order: RowOrder,
    /// Where its features are.
    pub place: Place,
    /// Whether it says that there is nothing any more.
    pub deleted: bool,
    /// The first question that it can answer by rule 1 alone.
    pub happened: u32,
    /// The first question that it can answer by rules 1 and 2, [`NONE`] where there is none.
    pub known: u32,
}

/// Where a row is in its source: its file's number and its own in the file, as [`asof_core::order::file_seq`]
/// packs them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(pub u64);

/// A contest under way: rows compete for the questions of a spine about one view.
#[derive(Debug)]
pub struct Contest {
    questions: Arc<Questions>,
    /// Per question, the greatest row that can answer it first, by rules 1 and 2.
    known: Vec<Option<Entry>>,
    /// Per question, the greatest row by rule 1 alone; made when a row comes for which that matters.
    happened: Option<Vec<Option<RowOrder>>>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    winner: Winner,
    place: Place,
}

impl Contest {
    /// Opens a contest.
    pub fn new(questions: Arc<Questions>) -> Self {
        Self {
            known: vec![None; questions.len()],
            happened: None,
            questions,
        }
    }

    /// How many bytes a contest about so many questions holds at most.
    pub fn most_bytes(questions: usize, as_corrected: bool) -> usize {
        let known = size_of::<Option<Entry>>();
        let happened = if as_corrected {
            0
        } else {
            size_of::<Option<RowOrder>>()
        };
        questions * (known + happened)
    }

    /// Lets rows compete.
    pub fn enter(&mut self, candidates: &[Candidate]) {
        for candidate in candidates {
            if candidate.known != candidate.happened {
                self.happened.get_or_insert_with(|| orders(&self.known));
            }
            if let Some(happened) = &mut self.happened
                && let Some(best) = happened.get_mut(candidate.happened as usize)
            {
                *best = (*best).max(Some(candidate.order));
            }
            if let Some(best) = self.known.get_mut(candidate.known as usize)
                && best.is_none_or(|best| best.winner.order < candidate.order)
            {
                let winner = Winner {
                    order: candidate.order,
                    deleted: candidate.deleted,
                };
                *best = Some(Entry {
                    winner,
                    place: candidate.place,
                });
            }
        }
    }

    /// Ends the contest: carries each winner forward to the later questions of its key.
    pub fn finish(mut self, ttl: Option<Duration>) -> Outcome {
        for range in self.questions.ranges() {
            carry(self.known.get_mut(range.clone()), |entry| entry.winner.order);
            if let Some(happened) = &mut self.happened {
                carry(happened.get_mut(range), |order| *order);
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

fn orders(entries: &[Option<Entry>]) -> Vec<Option<RowOrder>> {
    entries
        .iter()
        .map(|entry| entry.map(|entry| entry.winner.order))
        .collect()
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
    known: Vec<Option<Entry>>,
    happened: Option<Vec<Option<RowOrder>>>,
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
}

impl RowAnswer {
    /// The answer where nothing is asked.
    const NOTHING: Self = Self {
        verdict: Verdict::NotFound,
        winner: None,
        held_back_winner: false,
    };
}

impl Outcome {
    /// The question of a spine row, `None` where its key is null.
    pub fn question(&self, row: usize) -> Option<usize> {
        self.questions.of_row(row)
    }

    /// How many questions there are.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// The answer for a spine row.
    pub fn answer(&self, row: usize) -> RowAnswer {
        self.question(row)
            .map_or(RowAnswer::NOTHING, |question| self.answer_to(question))
    }

    fn answer_to(&self, question: usize) -> RowAnswer {
        let entry = self.known.get(question).copied().flatten();
        let winner = entry.map(|entry| entry.winner);
        let known = winner.map(|winner| winner.order);
        let happened = match &self.happened {
            None => known,
            Some(happened) => happened.get(question).copied().flatten(),
        };
        RowAnswer {
            verdict: Verdict::of(
                winner,
                happened.is_some(),
                self.ttl,
                self.questions.time(question),
            ),
            winner,
            held_back_winner: happened != known,
        }
    }

    /// The rows whose features are served.
    pub fn served(&self) -> Served {
        let mut served: Vec<(Place, u32)> = Vec::new();
        for (question, entry) in (0_u32..).zip(&self.known) {
            if let Some(entry) = entry
                && self.answer_to(question as usize).verdict == Verdict::Fresh
            {
                served.push((entry.place, question));
            }
        }
        served.sort_unstable();
        let mut places: Vec<Place> = Vec::new();
        let mut of_question = vec![NONE; self.known.len()];
        for (place, question) in served {
            if places.last() != Some(&place) {
                places.push(place);
            }
            if let Some(slot) = of_question.get_mut(question as usize) {
                *slot = u32::try_from(places.len() - 1).unwrap_or(NONE);
            }
        }
        Served { places, of_question }
    }
}

/// The rows whose features are served.
#[derive(Debug)]
pub struct Served {
    /// Where they are, ascending and each once.
    pub places: Vec<Place>,
    /// Per question the number of its row among them, [`NONE`] where nothing is served.
    pub of_question: Vec<u32>,
}
