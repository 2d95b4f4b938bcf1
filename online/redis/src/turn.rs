//! A lock that is waited for until a deadline.

use std::sync::{Condvar, Mutex, PoisonError};

use crate::deadline::Deadline;

/// Whose turn it is: one at a time.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    taken: Mutex<bool>,
    given_back: Condvar,
}

/// The turn, until it is dropped.
#[derive(Debug)]
pub(crate) struct Taken<'a>(&'a Turn);

impl Turn {
    /// Takes the turn; `None` where it does not come before the deadline.
    pub(crate) fn take(&self, deadline: Deadline) -> Option<Taken<'_>> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .given_back
            .wait_timeout_while(taken, deadline.left(), |taken| *taken);
        let (mut taken, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if *taken {
            return None;
        }
        *taken = true;
        Some(Taken(self))
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        *self.0.taken.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.0.given_back.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn one_at_a_time_has_the_turn() {
        let turn = Turn::default();
        let soon = || Deadline::after(Duration::from_millis(5));
        let taken = turn.take(soon()).unwrap();
        assert!(turn.take(soon()).is_none());
        drop(taken);
        assert!(turn.take(soon()).is_some());
    }
}
