//! Everything that a call can be refused for, and the one map from it to gRPC and HTTP.

use asof_core::key::ColumnMismatch;
use asof_core::online::StoreError;
use asof_core::registry::RegistryError;
use asof_core::service::PlanError;
use asof_core::time::Timestamp;
use asof_offline::OfflineError;
use asof_registry::{ApplyError, NotFound, Problems};
use tonic::Code;
use tonic::metadata::MetadataValue;

use crate::backup::BackupError;
use crate::intake::IntakeError;

/// Why a call was refused.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The features that were asked for cannot be read.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A field of the request is not as it must be.
    #[error("{field}: {problem}")]
    Argument {
        /// The field's path, such as `keys["origin"][3]`.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A view cannot answer now.
    #[error(transparent)]
    NotServed(#[from] NotServed),
    /// The online store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The registry failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// No such definition.
    #[error(transparent)]
    NotDefined(#[from] NotFound),
    /// No such version.
    #[error("the registry has no version {0}")]
    NoVersion(u64),
    /// No dataset is kept under this name.
    #[error("no extract is kept as {0:?}: `DoExchange` with \"save\" keeps one")]
    NoExtract(String),
    /// Definition files are wrong.
    #[error(transparent)]
    Definitions(#[from] Problems),
    /// A plan was not applied.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// No backup was taken.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// Rows were not accepted.
    #[error(transparent)]
    Intake(#[from] IntakeError),
    /// A job could not be started.
    #[error(transparent)]
    Job(#[from] JobError),
    /// Sources, or the rows of a call, cannot be used.
    #[error(transparent)]
    Offline(#[from] OfflineError),
    /// More is asked for than there is room for.
    #[error("{0}")]
    Overloaded(String),
    /// The server has so much to do that the call would wait for long.
    #[error("{0}")]
    Shed(String),
    /// Something that is needed cannot be reached.
    #[error("{0}")]
    Unavailable(String),
    /// A mistake of ours.
    #[error("a bug in asof: {0}")]
    Bug(String),
}

/// Why a view cannot answer now, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotServed {
    /// Nothing was ever stored for it.
    #[error("view {view:?} was never materialized: run `asof materialize {view}`")]
    Never {
        /// The view.
        view: String,
    },
    /// The only run that brought it anything was undone.
    #[error(
        "view {view:?} serves nothing, as run {run} was rolled back: run `asof materialize {view} --redo` to bring it back, or with --full to read everything again"
    )]
    RolledBack {
        /// The view.
        view: String,
        /// The run.
        run: u64,
    },
    /// Its first generation is not complete.
    #[error(
        "view {view:?} is being materialized for the first time: wait for that run, or run `asof materialize {view}` if it stopped"
    )]
    FirstBuild {
        /// The view.
        view: String,
    },
    /// Its rows were stored under other definitions.
    #[error("view {view:?} was redefined since it was materialized: run `asof materialize {view}`")]
    Redefined {
        /// The view.
        view: String,
    },
    /// What is stored lacks a feature, as it is defined now.
    #[error(
        "feature \"{view}:{feature}\" is not in what was materialized of its view: run `asof materialize {view}`"
    )]
    Feature {
        /// The view.
        view: String,
        /// The feature.
        feature: String,
    },
    /// A feature is only in the generation that is being built.
    #[error(
        "feature \"{view}:{feature}\" is only in the generation that is being built: wait for that run, or run `asof materialize {view}` if it stopped"
    )]
    FeatureBuilding {
        /// The view.
        view: String,
        /// The feature.
        feature: String,
    },
    /// What is stored is of a later time than the clock's.
    #[error(
        "view {view:?} was materialized as of {as_of}, after the clock at {now}: give a later --now, or run `asof materialize {view} --as-of {now} --full`"
    )]
    Later {
        /// The view.
        view: String,
        /// As of when it was materialized.
        as_of: Timestamp,
        /// What the clock says.
        now: Timestamp,
    },
}

/// Why a job was not started, or did not end well.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JobError {
    /// What was asked for does not exist.
    #[error("{0}")]
    Unknown(String),
    /// What was asked for cannot be done.
    #[error("{0}")]
    Refused(String),
    /// It cannot be done as things stand.
    #[error("{0}")]
    NotNow(String),
    /// Somebody else is at it.
    #[error("{0}")]
    Busy(String),
    /// Data that is needed cannot be read.
    #[error("{0}")]
    Data(String),
    /// Something that is needed cannot be reached.
    #[error("{0}")]
    Unavailable(String),
    /// A mistake of ours.
    #[error("{0}")]
    Bug(String),
}

impl ServerError {
    /// The error of one field.
    pub(crate) fn argument(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Argument {
            field: field.into(),
            problem: problem.into(),
        }
    }

    /// When the call may be made again, in milliseconds; below zero where there is no room, on disk or in memory, which
    /// somebody has to make.
    pub(crate) fn pushback(&self) -> Option<i32> {
        match self {
            Self::Store(StoreError::Full { .. })
            | Self::Intake(IntakeError::Store(StoreError::Full { .. }))
            | Self::Offline(OfflineError::NoSpace { .. } | OfflineError::Memory(_)) => Some(-1),
            Self::Shed(_) => Some(200),
            Self::Overloaded(_) | Self::Intake(IntakeError::Overloaded(_)) => Some(1_000),
            _ => None,
        }
    }

    /// The gRPC code.
    pub fn code(&self) -> Code {
        match self {
            Self::Plan(error) => plan_code(error),
            Self::Argument { .. } | Self::Definitions(_) => Code::InvalidArgument,
            Self::NotServed(_) => Code::FailedPrecondition,
            Self::Store(error) => store_code(error),
            Self::Registry(error) | Self::Apply(ApplyError::Registry(error)) => registry_code(error),
            Self::NotDefined(_) | Self::NoVersion(_) | Self::NoExtract(_) => Code::NotFound,
            Self::Apply(ApplyError::Breaking(_)) => Code::FailedPrecondition,
            Self::Backup(error) => backup_code(error),
            Self::Intake(error) => intake_code(error),
            Self::Job(error) => job_code(error),
            Self::Offline(error) => offline_code(error),
            Self::Overloaded(_) | Self::Shed(_) => Code::ResourceExhausted,
            Self::Unavailable(_) => Code::Unavailable,
            Self::Bug(_) => Code::Internal,
        }
    }
}

impl From<ColumnMismatch> for ServerError {
    fn from(mismatch: ColumnMismatch) -> Self {
        Self::Bug(mismatch.to_string())
    }
}

/// The name under which a status says what kind of failure it is, where its code does not.
pub const KIND: &str = "asof-kind";
/// Rows of a caller or of a source, or what is stored, cannot be used.
pub const KIND_DATA: &str = "data";
/// A definition does not fit.
pub const KIND_DEFINITION: &str = "definition";

/// How gRPC says when a call may be made again; a time before now says that it is of no use.
const PUSHBACK: &str = "grpc-retry-pushback-ms";

impl From<ServerError> for tonic::Status {
    fn from(error: ServerError) -> Self {
        let kind = match &error {
            ServerError::Offline(OfflineError::Data(_)) => Some(KIND_DATA),
            ServerError::Offline(OfflineError::Definition(_)) | ServerError::Definitions(_) => {
                Some(KIND_DEFINITION)
            }
            _ => None,
        };
        let mut status = Self::new(error.code(), error.to_string());
        if let Some(kind) = kind {
            status
                .metadata_mut()
                .insert(KIND, MetadataValue::from_static(kind));
        }
        if let Some(wait) = error.pushback() {
            status.metadata_mut().insert(PUSHBACK, wait.into());
        }
        status
    }
}

/// The code of a failed backup.
fn backup_code(error: &BackupError) -> Code {
    match error {
        BackupError::Refused { .. } => Code::InvalidArgument,
        BackupError::Damaged { .. } | BackupError::Files(_) => Code::DataLoss,
        BackupError::NoSpace { .. } => Code::ResourceExhausted,
        BackupError::Failed { .. } => Code::Unavailable,
        BackupError::Store(error) => store_code(error),
        BackupError::Registry(error) => registry_code(error),
    }
}

fn plan_code(error: &PlanError) -> Code {
    match error {
        PlanError::UnknownService { .. }
        | PlanError::UnknownView { .. }
        | PlanError::UnknownFeature { .. } => Code::NotFound,
        PlanError::NotAFeature(_)
        | PlanError::UnknownKeyColumn { .. }
        | PlanError::DuplicateColumn(_)
        | PlanError::UnreadKeyColumn { .. }
        | PlanError::ConflictingType { .. }
        | PlanError::Empty => Code::InvalidArgument,
        // What is applied has none of these.
        PlanError::Cycle(_) | PlanError::TooDeep(_) => Code::Internal,
    }
}

fn store_code(error: &StoreError) -> Code {
    match error {
        StoreError::Damaged { .. } => Code::DataLoss,
        StoreError::Newer { .. } => Code::FailedPrecondition,
        StoreError::Full { .. } => Code::ResourceExhausted,
        StoreError::Cancelled => Code::Cancelled,
        StoreError::Held { .. } | StoreError::Failed { .. } | StoreError::NoGeneration { .. } => {
            Code::Unavailable
        }
    }
}

fn intake_code(error: &IntakeError) -> Code {
    match error {
        IntakeError::Unknown { .. } => Code::NotFound,
        IntakeError::Refused(_) => Code::InvalidArgument,
        IntakeError::Overloaded(_) => Code::ResourceExhausted,
        IntakeError::Unavailable(_) => Code::Unavailable,
        IntakeError::Damaged(_) => Code::DataLoss,
        IntakeError::Moved => Code::Aborted,
        IntakeError::Store(error) => store_code(error),
        IntakeError::Bug(_) => Code::Internal,
    }
}

fn offline_code(error: &OfflineError) -> Code {
    match error {
        OfflineError::Definition(_) => Code::FailedPrecondition,
        OfflineError::Data(_) => Code::InvalidArgument,
        OfflineError::Damaged(_) => Code::DataLoss,
        OfflineError::OutputExists { .. } => Code::AlreadyExists,
        OfflineError::OutputIsInput { .. } => Code::InvalidArgument,
        OfflineError::NoSpace { .. } | OfflineError::Memory(_) => Code::ResourceExhausted,
        OfflineError::Unavailable { .. } => Code::Unavailable,
        OfflineError::Conflict(_) => Code::Aborted,
        OfflineError::Internal(_) => Code::Internal,
    }
}

fn registry_code(error: &RegistryError) -> Code {
    match error {
        RegistryError::Conflict { .. } => Code::Aborted,
        RegistryError::Damaged { .. } => Code::DataLoss,
        RegistryError::Newer { .. } => Code::FailedPrecondition,
        RegistryError::Unavailable { .. } => Code::Unavailable,
    }
}

pub(crate) fn job_code(error: &JobError) -> Code {
    match error {
        JobError::Unknown(_) => Code::NotFound,
        JobError::Refused(_) => Code::InvalidArgument,
        JobError::NotNow(_) => Code::FailedPrecondition,
        JobError::Busy(_) => Code::Aborted,
        JobError::Data(_) => Code::DataLoss,
        JobError::Unavailable(_) => Code::Unavailable,
        JobError::Bug(_) => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_not_tried_again_and_a_busy_server_is() {
        let full = || StoreError::Full {
            place: "online".into(),
            reason: "no space left on device".into(),
        };
        let pushback = |error: ServerError| {
            let status = tonic::Status::from(error);
            assert_eq!(status.code(), Code::ResourceExhausted);
            status
                .metadata()
                .get(PUSHBACK)
                .map(|wait| wait.to_str().unwrap().to_owned())
        };
        let never = Some("-1".to_owned());
        assert_eq!(pushback(full().into()), never);
        assert_eq!(pushback(IntakeError::Store(full()).into()), never);
        let soon = |millis: &str| Some(millis.to_owned());
        assert_eq!(pushback(ServerError::Shed("busy".into())), soon("200"));
        assert_eq!(pushback(ServerError::Overloaded("busy".into())), soon("1000"));
        assert_eq!(
            pushback(IntakeError::Overloaded("busy".into()).into()),
            soon("1000")
        );
    }
}
