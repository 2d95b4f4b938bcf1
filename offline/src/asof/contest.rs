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
    happened: Option<Vec<Option<Entry>>>,
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
        let happened = if as_corrected { 0 } else { known };
        questions * (known + happened)
    }

    /// Lets rows compete.
    pub fn enter(&mut self, candidates: &[Candidate]) {
        for candidate in candidates {
            let winner = Winner {
                order: candidate.order,
                deleted: candidate.deleted,
            };
            let entry = Entry {
                winner,
                place: candidate.place,
            };
            if candidate.known != candidate.happened {
                self.happened.get_or_insert_with(|| self.known.clone());
            }
            if let Some(happened) = &mut self.happened {
                enter(happened, candidate.happened, entry);
            }
            enter(&mut self.known, candidate.known, entry);
        }
    }

    /// Ends the contest: carries each winner forward to the later questions of its key.
    pub fn finish(mut self, ttl: Option<Duration>) -> Outcome {
        for range in self.questions.ranges() {
            carry(self.known.get_mut(range.clone()));
            if let Some(happened) = &mut self.happened {
                carry(happened.get_mut(range));
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

/// Gives a question the entry, where it is greater than what it has.
fn enter(slots: &mut [Option<Entry>], question: u32, entry: Entry) {
    if let Some(best) = slots.get_mut(question as usize)
        && best.is_none_or(|best| best.winner.order < entry.winner.order)
    {
        *best = Some(entry);
    }
}

/// Gives each slot the greatest entry up to it.
fn carry(slots: Option<&mut [Option<Entry>]>) {
    let mut best: Option<Entry> = None;
    for slot in slots.into_iter().flatten() {
        match (&best, &slot) {
            (Some(earlier), Some(here)) if earlier.winner.order > here.winner.order => *slot = best,
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
    happened: Option<Vec<Option<Entry>>>,
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
        let winner = self.winner(question).map(|entry| entry.winner);
        let happened = self.corrected(question).map(|entry| entry.winner);
        RowAnswer {
            verdict: Verdict::of(
                winner,
                happened.is_some(),
                self.ttl,
                self.questions.time(question),
            ),
            winner,
            held_back_winner: happened != winner,
        }
    }

    fn winner(&self, question: usize) -> Option<Entry> {
        self.known.get(question).copied().flatten()
    }

    /// The row that would win without rule 2.
    fn corrected(&self, question: usize) -> Option<Entry> {
        match &self.happened {
            None => self.winner(question),
            Some(happened) => happened.get(question).copied().flatten(),
        }
    }

    /// What the contract says where the winner is that row.
    fn verdict_of(&self, winner: Option<Entry>, question: usize) -> Verdict {
        let winner = winner.map(|entry| entry.winner);
        Verdict::of(winner, winner.is_some(), self.ttl, self.questions.time(question))
    }

    /// The rows whose features are served.
    pub fn served(&self) -> Served {
        let mut served: Vec<(Place, Use)> = Vec::new();
        let mut corrections = Corrections::default();
        for question in 0..self.known.len() {
            let answer = self.answer_to(question);
            let (number, winner) = (number(question), self.winner(question));
            let fresh = answer.verdict == Verdict::Fresh;
            if let Some(winner) = winner.filter(|_| fresh) {
                served.push((winner.place, Use::Served(number)));
            }
            if !answer.held_back_winner {
                continue;
            }
            let corrected = self.corrected(question);
            match (self.verdict_of(corrected, question), corrected) {
                (Verdict::Fresh, Some(corrected)) if fresh => {
                    served.push((corrected.place, Use::Correction(corrections.compared.len())));
                    corrections.compared.push((number, NONE));
                }
                (verdict, _) if verdict != answer.verdict => corrections.certain.push(number),
                _ => {}
            }
        }
        served.sort_unstable();
        let mut places: Vec<Place> = Vec::new();
        let mut of_question = vec![NONE; self.known.len()];
        for (place, used) in served {
            if places.last() != Some(&place) {
                places.push(place);
            }
            let row = number_of_last(&places);
            match used {
                Use::Served(question) => {
                    if let Some(slot) = of_question.get_mut(question as usize) {
                        *slot = row;
                    }
                }
                Use::Correction(at) => {
                    if let Some((_, slot)) = corrections.compared.get_mut(at) {
                        *slot = row;
                    }
                }
            }
        }
        Served {
            places,
            of_question,
            corrections,
        }
    }
}

fn number(question: usize) -> u32 {
    u32::try_from(question).unwrap_or(NONE)
}

fn number_of_last(places: &[Place]) -> u32 {
    number(places.len().saturating_sub(1))
}

/// What the features of a row are read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Use {
    /// For the question of that number.
    Served(u32),
    /// To be compared, in the correction of that place.
    Correction(usize),
}

/// The rows whose features are read.
#[derive(Debug)]
pub struct Served {
    /// Where they are, ascending and each once.
    pub places: Vec<Place>,
    /// Per question the number of its row among them, [`NONE`] where nothing is served.
    pub of_question: Vec<u32>,
    /// The questions that would be answered by another row without rule 2.
    pub corrections: Corrections,
}

/// The questions that would be answered by another row without rule 2.
#[derive(Debug, Default)]
pub struct Corrections {
    /// Those whose answer would have another status.
    pub certain: Vec<u32>,
    /// Those for which features would be served from another row: with the number of that row.
    pub compared: Vec<(u32, u32)>,
}
