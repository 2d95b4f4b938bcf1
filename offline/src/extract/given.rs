//! The spine of an extract: the caller's, or one that is made.

use tempfile::TempDir;

use super::{ExtractRequest, Rows};
use crate::digest::KnownDigests;
use crate::error::{OfflineError, Result};
use crate::spine::Spine;

/// A spine, as it was when the extract began.
pub(super) struct Given {
    pub(super) spine: Spine,
    pub(super) digest: String,
    pub(super) bytes: u64,
    /// Where the spine is that was made; it goes with this.
    _made_in: Option<TempDir>,
}

impl Given {
    /// Opens the caller's spine; `None` where one is to be made.
    pub(super) fn open(request: &ExtractRequest<'_>, digests: &mut KnownDigests) -> Result<Option<Self>> {
        let spine = match request.rows {
            Rows::Grid(_) => return Ok(None),
            Rows::Spine {
                path,
                time_column,
                timezone,
            } => Spine::open(path, time_column, timezone)?,
            Rows::Uploaded {
                path,
                time_column,
                timezone,
            } => Spine::uploaded(path, time_column, timezone)?,
        };
        Self::of(spine, None, digests).map(Some)
    }

    /// A spine, which is where it says or in `made_in`.
    pub(super) fn of(spine: Spine, made_in: Option<TempDir>, digests: &mut KnownDigests) -> Result<Self> {
        let path = spine.path();
        let metadata = path.metadata().map_err(|error| OfflineError::io(path, &error))?;
        Ok(Self {
            digest: digests.of_file(path)?,
            bytes: metadata.len(),
            spine,
            _made_in: made_in,
        })
    }

    /// Refuses a spine that is another by now.
    pub(super) fn unchanged(&self, digests: &KnownDigests) -> Result<()> {
        let path = self.spine.path();
        if digests.is(path, &self.digest)? {
            return Ok(());
        }
        Err(OfflineError::Data(format!(
            "{} was changed while it was read: run this again when its writer is done",
            self.spine.label()
        )))
    }
}
