//! What is answered to a push, and remembered under its id.

use asof_offline::RejectedRow;
use serde::{Deserialize, Serialize};

use super::IntakeError;

/// The version of the form below.
const FORMAT: u32 = 1;

/// What became of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushAnswer {
    /// Rows that were accepted: by this call, or by the earlier one of the same id.
    pub accepted: u64,
    /// The rows that were not, by their places.
    pub rejected: Vec<RejectedRow>,
    /// Whether an earlier push of the same id had brought it already.
    pub repeated: bool,
}

/// The id of a push, and what it held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Remembered {
    pub(super) id: String,
    pub(super) digest: [u8; 32],
}

#[derive(Serialize, Deserialize)]
struct Record {
    format: u32,
    digest: [u8; 32],
    accepted: u64,
    rejected: Vec<(usize, String)>,
}

impl Remembered {
    /// What the store keeps of an answer.
    pub(super) fn record(&self, answer: &PushAnswer) -> Vec<u8> {
        let rejected = answer.rejected.iter();
        let record = Record {
            format: FORMAT,
            digest: self.digest,
            accepted: answer.accepted,
            rejected: rejected.map(|row| (row.row, row.reason.clone())).collect(),
        };
        // A struct of numbers and text always has a JSON form.
        serde_json::to_vec(&record).unwrap_or_default()
    }

    /// The answer that the store kept, to a push that held the same.
    pub(super) fn recall(&self, record: &[u8]) -> Result<PushAnswer, IntakeError> {
        let record: Record = serde_json::from_slice(record)
            .map_err(|error| IntakeError::Bug(format!("an answer was not kept as it is read: {error}")))?;
        if record.digest != self.digest {
            return Err(IntakeError::Refused(format!(
                "request_id: {:?} was used for other rows, of which {} were accepted: nothing was changed; give these \
                 another id",
                self.id, record.accepted
            )));
        }
        let rejected = record.rejected.into_iter();
        Ok(PushAnswer {
            accepted: record.accepted,
            rejected: rejected
                .map(|(row, reason)| RejectedRow { row, reason })
                .collect(),
            repeated: true,
        })
    }
}
