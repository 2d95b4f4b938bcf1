//! Why a view was not materialized.

use asof_core::definition::Definitions;
use asof_core::key::ColumnMismatch;
use asof_core::online::StoreError;
use asof_core::registry::RegistryError;
use asof_core::service::{did_you_mean, nearest};
use asof_core::time::Timestamp;
use asof_offline::OfflineError;

use crate::background::CutShort;
use crate::error::JobError;
use crate::intake::IntakeError;

/// Why a view was not materialized, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum MaterializeError {
    /// No such view.
    #[error("unknown view {name:?}{}; the views are {known}", did_you_mean(.nearest))]
    Unknown {
        /// As asked.
        name: String,
        /// A view of nearly that name.
        nearest: Option<String>,
        /// The views there are.
        known: String,
    },
    /// Nothing was ever applied.
    #[error("nothing is registered yet: run `asof apply` first")]
    NotApplied,
    /// Nothing is defined.
    #[error("no views are defined: write some in features/*.toml and run `asof apply`")]
    Nothing,
    /// The store is ahead already.
    #[error(
        "view {view} is materialized as of {last} already, later than {asked}: give --as-of {last} or later, or --full to build it anew"
    )]
    Earlier {
        /// The view.
        view: String,
        /// The instant asked for.
        asked: Timestamp,
        /// The instant it stands at.
        last: Timestamp,
    },
    /// A run that did not end may have stored rows of a later instant.
    #[error(
        "a run of view {view} as of {begun} did not end, and what it wrote is later than {asked}: give --as-of {begun} or later, or --full to build the view anew"
    )]
    Begun {
        /// The view.
        view: String,
        /// The instant asked for.
        asked: Timestamp,
        /// The instant of the run that did not end.
        begun: Timestamp,
    },
    /// The run of another view, which was asked for with it, could not be entered in the ledger.
    #[error("not begun, as the run of another view could not be entered in the ledger: {0}")]
    NotBegun(String),
    /// A run that was rolled back is in the way.
    #[error(
        "run {run} of view {view} was rolled back, and what it read cannot be left out, as the view has to be built anew: \
         `asof materialize {view} --redo` brings it back, --full reads everything again"
    )]
    HeldBack {
        /// The view.
        view: String,
        /// The run.
        run: u64,
    },
    /// The table of a view's source lacks rows that the view has.
    #[error(
        "the table of source {source_name} lacks rows that view {view} was materialized from: it has given out seqs below \
         {now}, and the view has all below {before}; restore a newer copy of the table, or give --full to build the view \
         from what the table has"
    )]
    Behind {
        /// The view.
        view: String,
        /// Its source.
        source_name: String,
        /// The seq before which the view has all rows.
        before: u64,
        /// The seq that the next row of the table has.
        now: u64,
    },
    /// No such run.
    #[error("there is no run {0}: `asof runs` lists them")]
    NoRun(u64),
    /// A run that cannot be rolled back.
    #[error("run {run} cannot be rolled back: {reason}")]
    NotUndone {
        /// The run.
        run: u64,
        /// Why, and what to do.
        reason: String,
    },
    /// Another run is at it.
    #[error("view {view} is being materialized by another run: wait for it to end (`asof runs`)")]
    Busy {
        /// The view.
        view: String,
    },
    /// What was written is not there.
    #[error(
        "the online store at {place} did not give back a row that it had taken: run this again, and check the disk"
    )]
    NotReadBack {
        /// Where the store is.
        place: String,
    },
    /// The generation does not hold what was written.
    #[error(
        "the online store at {place} holds {found} of view {view}, and {expected} were written: check the disk, and build the view anew with --full"
    )]
    Counted {
        /// Where the store is.
        place: String,
        /// The view.
        view: String,
        /// What was counted.
        found: String,
        /// What was written.
        expected: String,
    },
    /// A mark that this version did not write.
    #[error(
        "the online store holds a mark of progress that cannot be read: {0}: build the view anew with --full"
    )]
    Mark(String),
    /// What was pushed cannot be brought into the source's table.
    #[error(transparent)]
    Intake(#[from] IntakeError),
    /// The source cannot be read.
    #[error(transparent)]
    Offline(#[from] OfflineError),
    /// The online store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The registry failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A mistake of ours.
    #[error("internal error: {0}")]
    Bug(String),
}

impl MaterializeError {
    pub(super) fn unknown(name: &str, definitions: &Definitions) -> Self {
        let known: Vec<&str> = definitions.views.keys().map(|view| view.as_str()).collect();
        Self::Unknown {
            name: name.chars().take(64).collect(),
            nearest: nearest(name, definitions.views.keys()),
            known: known.join(", "),
        }
    }
}

impl From<CutShort> for MaterializeError {
    fn from(CutShort(reason): CutShort) -> Self {
        Self::Bug(format!("a part of a run ended early: {reason}"))
    }
}

impl From<ColumnMismatch> for MaterializeError {
    fn from(mismatch: ColumnMismatch) -> Self {
        Self::Bug(mismatch.to_string())
    }
}

impl From<MaterializeError> for JobError {
    fn from(error: MaterializeError) -> Self {
        Self::from(&error)
    }
}

impl From<&MaterializeError> for JobError {
    fn from(error: &MaterializeError) -> Self {
        let text = error.to_string();
        match error {
            MaterializeError::Unknown { .. }
            | MaterializeError::NoRun(_)
            | MaterializeError::Intake(IntakeError::Unknown { .. }) => {
                Self::Unknown(text)
            }
            MaterializeError::NotApplied
            | MaterializeError::Nothing
            | MaterializeError::Offline(OfflineError::Definition(_)) => Self::NotNow(text),
            MaterializeError::Earlier { .. }
            | MaterializeError::Begun { .. }
            | MaterializeError::HeldBack { .. }
            | MaterializeError::Behind { .. }
            | MaterializeError::NotUndone { .. } => Self::Refused(text),
            MaterializeError::Busy { .. } => Self::Busy(text),
            MaterializeError::Mark(_)
            | MaterializeError::Offline(OfflineError::Data(_) | OfflineError::Damaged(_))
            | MaterializeError::Store(StoreError::Damaged { .. })
            | MaterializeError::Registry(RegistryError::Damaged { .. })
            | MaterializeError::Intake(
                IntakeError::Refused(_) | IntakeError::Damaged(_) | IntakeError::Store(StoreError::Damaged { .. }),
            ) => Self::Data(text),
            MaterializeError::NotBegun(_)
            | MaterializeError::NotReadBack { .. }
            | MaterializeError::Counted { .. }
            | MaterializeError::Store(_)
            | MaterializeError::Intake(IntakeError::Overloaded(_) | IntakeError::Unavailable(_) | IntakeError::Moved | IntakeError::Store(_))
            | MaterializeError::Registry(_)
            | MaterializeError::Offline(
                OfflineError::NoSpace { .. }
                | OfflineError::Memory(_)
                | OfflineError::Unavailable { .. }
                | OfflineError::Conflict(_)
                // A run writes no dataset.
                | OfflineError::OutputExists { .. }
                | OfflineError::OutputIsInput { .. },
            ) => Self::Unavailable(text),
            MaterializeError::Offline(OfflineError::Internal(_))
            | MaterializeError::Intake(IntakeError::Bug(_))
            | MaterializeError::Bug(_) => Self::Bug(text),
        }
    }
}
