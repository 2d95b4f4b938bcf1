//! Contests that several readers hold at once.

use std::sync::{Mutex, PoisonError};

use super::contest::Contest;
use crate::error::{OfflineError, Result};

/// The most tables: past that, what joining them costs is more than what waiting for one does.
const MOST: usize = 4;

/// Tables of contests, one contest a read in each; a row may compete in any of them, since a total order decides.
#[derive(Debug)]
pub(super) struct Arena {
    tables: Vec<Mutex<Vec<Contest>>>,
}

impl Arena {
    /// How many tables so many readers use.
    pub(super) fn tables(readers: usize) -> usize {
        readers.clamp(1, MOST)
    }

    /// Opens so many tables.
    pub(super) fn new(tables: usize, open: impl Fn() -> Vec<Contest>) -> Self {
        Self {
            tables: (0..tables).map(|_| Mutex::new(open())).collect(),
        }
    }

    /// Does something with a table that nobody else has.
    pub(super) fn with<T>(&self, run: impl FnOnce(&mut [Contest]) -> Result<T>) -> Result<T> {
        let free = self.tables.iter().find_map(|table| table.try_lock().ok());
        let next = || self.tables.first()?.lock().ok();
        match free.or_else(next) {
            Some(mut table) => run(&mut table),
            None => Err(OfflineError::Internal("a reader failed".into())),
        }
    }

    /// Ends the contests, when all readers are done: joins those of all tables.
    pub(super) fn finish(&self) -> Vec<Contest> {
        let tables = self.tables.iter().map(|table| {
            let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *table)
        });
        let join =
            |a: Vec<Contest>, b: Vec<Contest>| a.into_iter().zip(b).map(|(a, b)| a.joined(b)).collect();
        tables.reduce(join).unwrap_or_default()
    }
}
