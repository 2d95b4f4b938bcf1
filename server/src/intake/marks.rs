//! How far the lanes of streams are read: kept in the write that takes their messages in.

use asof_core::online::intake::StreamMark;
use asof_streams::Mark;
use serde::{Deserialize, Serialize};

use super::IntakeError;

/// The version of the form below.
const FORMAT: u32 = 1;

/// What is known of a lane.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LaneState {
    format: u32,
    /// The first position that was not read; see [`Mark`].
    next: u64,
    epoch: Option<String>,
    /// How many messages were read.
    pub(crate) messages: u64,
    /// About how many were gone before they were read.
    pub(crate) lost: u64,
    /// How many messages, or rows of such, went to the table of dead letters.
    pub(crate) dead_letters: u64,
    /// The last of those.
    pub(crate) last: Option<LastDeadLetter>,
}

/// The last message of a lane that could not be taken in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LastDeadLetter {
    pub(crate) position: u64,
    pub(crate) at_micros: i64,
    pub(crate) reason: String,
}

impl LaneState {
    /// Reads what a store keeps.
    pub(crate) fn parse(kept: &StreamMark) -> Result<Self, IntakeError> {
        let state: Self = serde_json::from_slice(&kept.bytes).map_err(|error| {
            let lane = &kept.lane;
            IntakeError::Bug(format!(
                "what is known of stream {lane} was not kept as it is read: {error}"
            ))
        })?;
        if state.format == FORMAT {
            return Ok(state);
        }
        Err(IntakeError::Unavailable(format!(
            "what is known of stream {} was kept by another version of asof (format {}, this one reads {FORMAT})",
            kept.lane, state.format
        )))
    }

    /// How far it is read.
    pub(crate) fn mark(&self) -> Mark {
        Mark {
            next: self.next,
            epoch: self.epoch.clone(),
        }
    }

    pub(super) fn move_to(&mut self, mark: &Mark) {
        self.format = FORMAT;
        self.next = mark.next;
        self.epoch.clone_from(&mark.epoch);
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        // A struct of numbers and text always has a JSON form.
        serde_json::to_vec(self).unwrap_or_default()
    }
}
