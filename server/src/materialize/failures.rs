//! Why runs of this process failed, as calls would have: the ledger has the words only.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tonic::Code;

/// How many are remembered.
const MOST: usize = 1_000;

/// The codes of the last runs that failed.
#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<BTreeMap<u64, Code>>);

impl Failures {
    pub(super) fn note(&self, run: u64, code: Code) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(run, code);
        while known.len() > MOST {
            known.pop_first();
        }
    }

    pub(super) fn code_of(&self, run: u64) -> Option<Code> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&run).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_remembered() {
        let failures = Failures::default();
        for run in 1..=1_001 {
            failures.note(run, Code::DataLoss);
        }
        assert_eq!(failures.code_of(1), None);
        assert_eq!(failures.code_of(2), Some(Code::DataLoss));
        assert_eq!(failures.code_of(1_001), Some(Code::DataLoss));
    }
}
