//! Why rows were not accepted.

use asof_core::online::StoreError;
use asof_core::service::did_you_mean;
use asof_offline::OfflineError;

/// Why a push was refused: none of its rows was accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IntakeError {
    /// No such source.
    #[error("unknown source {name:?}{}", did_you_mean(.nearest))]
    Unknown {
        /// As asked.
        name: String,
        /// A source of nearly that name.
        nearest: Option<String>,
    },
    /// It is not as it must be.
    #[error("{0}")]
    Refused(String),
    /// There is no room for it now.
    #[error("{0}")]
    Overloaded(String),
    /// What is needed cannot be reached.
    #[error("{0}")]
    Unavailable(String),
    /// The table of the rows is damaged or gone.
    #[error("{0}")]
    Damaged(String),
    /// Of messages of a stream: others were taken in since those were read which these follow.
    #[error("the stream was read further by somebody else")]
    Moved,
    /// The online store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A mistake of ours.
    #[error("a bug in asof: {0}")]
    Bug(String),
}

impl IntakeError {
    pub(super) fn unknown(name: &str, nearest: Option<String>) -> Self {
        Self::Unknown {
            name: name.chars().take(64).collect(),
            nearest,
        }
    }
}

impl From<OfflineError> for IntakeError {
    fn from(error: OfflineError) -> Self {
        let text = error.to_string();
        match error {
            OfflineError::Data(_) | OfflineError::Definition(_) => Self::Refused(text),
            OfflineError::Damaged(_) => Self::Damaged(text),
            OfflineError::Internal(_) => Self::Bug(text),
            _ => Self::Unavailable(text),
        }
    }
}
