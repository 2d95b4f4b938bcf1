//! Changes of what is there once, which are made all at once or not at all, and the doubt about them.
//!
//! A commit whose answer was lost may have been made, or may still be made when a server goes on that was paused. So each
//! has a number, greater than those before; the store is *sealed* up to a number before anything else is done, after
//! which it is certain of every commit whether it was made.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::names::{Meta, Name, Names};
use crate::scripts::Script;
use crate::servers::Request;

/// What to change.
#[derive(Clone)]
pub(crate) struct Commit {
    names: Names,
    keys: Vec<Name>,
    /// The version of the catalogue that it changes.
    version: Option<u64>,
    changes: Vec<Vec<u8>>,
    /// What it means for buckets; see [`work`](crate::work).
    pub(crate) redo: Option<Arc<[u8]>>,
}

impl Commit {
    pub(crate) fn new(names: &Names) -> Self {
        Self {
            names: names.clone(),
            keys: vec![names.meta(Meta::Catalogue)],
            version: None,
            changes: Vec::new(),
            redo: None,
        }
    }

    /// Makes it one that changes the catalogue, as it is in a version.
    pub(crate) fn of_version(&mut self, version: u64) {
        self.version = Some(version);
    }

    fn word(&mut self, word: impl Into<Vec<u8>>) {
        self.changes.push(word.into());
    }

    fn key(&mut self, meta: Meta<'_>) {
        let name = self.names.meta(meta);
        let known = self.keys.iter().position(|known| *known == name);
        let place = known.unwrap_or_else(|| {
            self.keys.push(name);
            self.keys.len() - 1
        });
        self.word((place + 1).to_string());
    }

    /// Sets a field of a hash.
    pub(crate) fn set(&mut self, hash: Meta<'_>, field: &[u8], value: &[u8]) {
        self.word("H");
        self.key(hash);
        self.word(field);
        self.word(value);
    }

    /// Removes a field of a hash.
    pub(crate) fn unset(&mut self, hash: Meta<'_>, field: &[u8]) {
        self.word("D");
        self.key(hash);
        self.word(field);
    }

    /// The change of a letter of `commit.lua`, by its keys and words.
    pub(crate) fn change(&mut self, letter: &str, keys: &[Meta<'_>], words: &[&[u8]]) {
        self.word(letter);
        keys.iter().for_each(|key| self.key(*key));
        words.iter().for_each(|word| self.word(*word));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.redo.is_none()
    }

    pub(crate) fn changes_catalogue(&self) -> bool {
        self.version.is_some()
    }

    /// What to ask of the server, under a number, where it still has the last one that was acknowledged.
    pub(crate) fn request(&self, epoch: u64, number: u64, acknowledged: u64) -> Request {
        let mut commit = self.clone();
        if let Some(redo) = self.redo.clone() {
            commit.set(Meta::Redo, number.to_string().as_bytes(), &redo);
        }
        let keys: Vec<&Name> = commit.keys.iter().collect();
        let version = commit.version.map(|version| version.to_string());
        Request::script(Script::Commit, &keys)
            .arg(epoch.to_string().as_bytes())
            .arg(number.to_string().as_bytes())
            .arg(version.unwrap_or_default().as_bytes())
            .arg(acknowledged.to_string().as_bytes())
            .args(&commit.changes)
    }
}

/// The numbers of commits, and what is not certain of them.
pub(crate) struct Commits {
    state: Mutex<State>,
    /// Whether something is unfinished: looked at without the lock.
    is_unfinished: AtomicBool,
}

struct State {
    last: u64,
    /// The greatest one that a server has said it made.
    acknowledged: u64,
    /// Those that are under way or unfinished.
    open: BTreeSet<u64>,
    unfinished: BTreeMap<u64, Unfinished>,
}

/// A commit that may have been made, or was and is not applied.
#[derive(Clone)]
pub(crate) struct Unfinished {
    /// What it means for buckets.
    pub(crate) redo: Option<Arc<[u8]>>,
    /// Whether it is known to have been made.
    pub(crate) is_made: bool,
    /// Whether it is applied, and only its record is to be removed.
    pub(crate) is_applied: bool,
}

impl Commits {
    /// Numbers behind the last one that is known of. Those of commits that were on their way are left out.
    pub(crate) fn after(last: u64) -> Self {
        Self {
            state: Mutex::new(State {
                last: last + (1 << 20),
                acknowledged: 0,
                open: BTreeSet::new(),
                unfinished: BTreeMap::new(),
            }),
            is_unfinished: AtomicBool::new(false),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new number, which is under way until it is closed or left unfinished.
    pub(crate) fn begin(&self) -> Number<'_> {
        let mut state = self.state();
        state.last += 1;
        let number = state.last;
        state.open.insert(number);
        Number {
            commits: self,
            number,
        }
    }

    /// The least number that may still be applied.
    pub(crate) fn least_open(&self) -> u64 {
        let state = self.state();
        state.open.first().copied().unwrap_or(state.last + 1)
    }

    pub(crate) fn last(&self) -> u64 {
        self.state().last
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.state().acknowledged
    }

    /// Notes that a commit was made.
    pub(crate) fn acknowledge(&self, number: u64) {
        let mut state = self.state();
        state.acknowledged = state.acknowledged.max(number);
    }

    /// Notes that those that were made are gone.
    pub(crate) fn forget_acknowledged(&self) {
        self.state().acknowledged = 0;
    }

    /// Leaves a commit for [`Commits::unfinished`].
    pub(crate) fn leave(&self, number: u64, unfinished: Unfinished) {
        let mut state = self.state();
        state.open.insert(number);
        state.unfinished.insert(number, unfinished);
        self.is_unfinished.store(true, Ordering::Release);
    }

    /// How many are unfinished.
    pub(crate) fn left(&self) -> usize {
        self.state().unfinished.len()
    }

    pub(crate) fn is_finished(&self) -> bool {
        !self.is_unfinished.load(Ordering::Acquire)
    }

    /// What is unfinished, in the order of the numbers.
    pub(crate) fn unfinished(&self) -> Vec<(u64, Unfinished)> {
        let state = self.state();
        state
            .unfinished
            .iter()
            .map(|(number, left)| (*number, left.clone()))
            .collect()
    }

    /// Closes a commit that was unfinished.
    pub(crate) fn finish(&self, number: u64) {
        let mut state = self.state();
        state.unfinished.remove(&number);
        state.open.remove(&number);
        self.is_unfinished
            .store(!state.unfinished.is_empty(), Ordering::Release);
    }
}

/// A number that is under way.
pub(crate) struct Number<'a> {
    commits: &'a Commits,
    pub(crate) number: u64,
}

impl Drop for Number<'_> {
    fn drop(&mut self) {
        let mut state = self.commits.state();
        if !state.unfinished.contains_key(&self.number) {
            state.open.remove(&self.number);
        }
    }
}
