//! Who writes rows of which generations, so that rows of one that was given up are removed when nobody writes any more.
//!
//! A writer enters, and then looks whether its generations are there; who gives one up publishes that first, and then
//! waits until nobody is in it.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, PoisonError};

use asof_core::online::Generation;

use crate::deadline::Deadline;

/// A view's number and a generation of it.
pub(crate) type Of = (u32, Generation);

/// How many write to each generation.
#[derive(Debug, Default)]
pub(crate) struct Writers {
    counts: Mutex<BTreeMap<Of, usize>>,
    left: Condvar,
}

/// Somebody who writes, until it is dropped.
#[derive(Debug)]
pub(crate) struct Writing<'a> {
    writers: &'a Writers,
    of: Vec<Of>,
}

impl Writers {
    pub(crate) fn enter(&self, of: impl IntoIterator<Item = Of>) -> Writing<'_> {
        let of: Vec<Of> = of.into_iter().collect();
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        for of in &of {
            *counts.entry(*of).or_default() += 1;
        }
        drop(counts);
        Writing { writers: self, of }
    }

    /// Waits until nobody writes to some generations; whether that was before a deadline.
    pub(crate) fn wait(&self, of: &[Of], deadline: Deadline) -> bool {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let is_written = |counts: &mut BTreeMap<Of, usize>| of.iter().any(|of| counts.contains_key(of));
        let waited = self.left.wait_timeout_while(counts, deadline.left(), is_written);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        let mut counts = self.writers.counts.lock().unwrap_or_else(PoisonError::into_inner);
        for of in &self.of {
            if let Some(count) = counts.get_mut(of) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(of);
                }
            }
        }
        self.writers.left.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn who_writes_is_waited_for() {
        let writers = Writers::default();
        let soon = || Deadline::after(Duration::from_millis(5));
        let [a, b] = [(1, Generation(1)), (1, Generation(2))];
        let one = writers.enter([a]);
        let two = writers.enter([a, a, b]);
        assert!(!writers.wait(&[b], soon()));
        drop(two);
        assert!(writers.wait(&[b], soon()));
        assert!(!writers.wait(&[a, b], soon()));
        drop(one);
        assert!(writers.wait(&[a, b], soon()));
    }
}
