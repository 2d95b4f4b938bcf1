//! What a store has made ready for a load.

use std::any::Any;
use std::fmt;

use super::StoreError;

/// Rows that a store has made ready, and that only the same store takes in; see
/// [`OnlineStore::stage`](super::OnlineStore::stage).
///
/// Dropped instead, they leave nothing behind.
pub struct Staged(Box<dyn Any + Send>);

impl Staged {
    /// Wraps what a store keeps of them.
    pub fn new(rows: impl Any + Send) -> Self {
        Self(Box::new(rows))
    }

    /// What the store kept.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`] where a store of another kind, which is not the one at `place`, made them ready.
    pub fn into_inner<T: Any>(self, place: &str) -> Result<T, StoreError> {
        let rows = self.0.downcast().map_err(|_| StoreError::Failed {
            place: place.into(),
            reason: "another store made these rows ready".into(),
        })?;
        Ok(*rows)
    }
}

impl fmt::Debug for Staged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Staged").finish_non_exhaustive()
    }
}
