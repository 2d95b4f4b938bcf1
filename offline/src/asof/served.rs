//! The rows whose features are read: those that are served, and those that would be without rule 2.

use super::contest::Place;
use super::index::NONE;

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

/// What the features of a row are read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Use {
    /// For the question of that number.
    Served(u32),
    /// To be compared, in the correction of that place.
    Correction(usize),
}

/// Collects the rows whose features are read.
#[derive(Debug)]
pub(super) struct Builder {
    questions: usize,
    used: Vec<(Place, Use)>,
    corrections: Corrections,
}

impl Served {
    pub(super) fn builder(questions: usize) -> Builder {
        Builder {
            questions,
            used: Vec::new(),
            corrections: Corrections::default(),
        }
    }
}

impl Builder {
    /// The row at `place` answers a question.
    pub(super) fn serve(&mut self, question: usize, place: Place) {
        self.used.push((place, Use::Served(number(question))));
    }

    /// Without rule 2 the row at `place` would answer a question for which another is served.
    pub(super) fn compare(&mut self, question: usize, place: Place) {
        let correction = self.corrections.compared.len();
        self.used.push((place, Use::Correction(correction)));
        self.corrections.compared.push((number(question), NONE));
    }

    /// Without rule 2 the answer to a question would have another status.
    pub(super) fn differs(&mut self, question: usize) {
        self.corrections.certain.push(number(question));
    }

    pub(super) fn finish(mut self) -> Served {
        self.used.sort_unstable();
        let mut places: Vec<Place> = Vec::new();
        let mut of_question = vec![NONE; self.questions];
        let mut corrections = self.corrections;
        for (place, used) in self.used {
            if places.last() != Some(&place) {
                places.push(place);
            }
            let row = number(places.len().saturating_sub(1));
            let slot = match used {
                Use::Served(question) => of_question.get_mut(question as usize),
                Use::Correction(at) => corrections.compared.get_mut(at).map(|(_, row)| row),
            };
            if let Some(slot) = slot {
                *slot = row;
            }
        }
        Served {
            places,
            of_question,
            corrections,
        }
    }
}

fn number(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(NONE)
}
