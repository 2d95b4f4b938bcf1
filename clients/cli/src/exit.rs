//! How a command ends badly: a message, and a code that scripts can tell apart.

use asof_core::duration::DurationError;
use asof_core::online::StoreError;
use asof_core::registry::RegistryError;
use asof_core::service::PlanError;
use asof_core::time::TimeError;
use asof_offline::OfflineError;
use asof_registry::{ApplyError, ListenError, LoadError, NotFound, Problems};
use asof_server::backup::BackupError;
use asof_server::error::{KIND, KIND_DATA, KIND_DEFINITION, ServerError};
use asof_server::intake::IntakeError;
use asof_server::materialize::MaterializeError;
use asof_server::project::ProjectError;
use asof_server::{AccessError, BindError};
use tonic::Code;

/// The exit code of a command that did what it was asked.
pub const DONE: i32 = 0;

/// The meaning of the other exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// A bug of ours.
    Bug = 1,
    /// The command line, or a name that does not exist.
    Usage = 2,
    /// A definition is invalid.
    Definition = 3,
    /// Data cannot be used.
    Data = 4,
    /// Something is unavailable, locked, in conflict or full.
    Unavailable = 5,
    /// Ctrl-C.
    Interrupted = 130,
}

/// A command that ended badly.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    /// With a code of its own.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
        }
    }

    /// The command line is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Something is not to be had now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Exit::Unavailable, message)
    }

    /// Work on another thread ended without a result.
    pub fn cut_short(error: tokio::task::JoinError) -> Self {
        Self::new(Exit::Bug, error.to_string())
    }

    /// The connection to a server broke, or something else than its answer came.
    pub fn broken(error: &dyn std::fmt::Display) -> Self {
        Self::unavailable(format!(
            "the connection to the server broke before its answer was whole ({error}): see whether it still runs, \
             and run the command again"
        ))
    }

    /// Somebody pressed Ctrl-C.
    pub fn interrupted() -> Self {
        Self::new(
            Exit::Interrupted,
            "interrupted: nothing half done was left behind; run the same command again to resume",
        )
    }

    /// Somebody pressed Ctrl-C while a server worked.
    pub fn interrupted_elsewhere() -> Self {
        Self::new(
            Exit::Interrupted,
            "interrupted: the server goes on with what it began; `asof runs` shows how far it is",
        )
    }

    /// The code that it ends with.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// What the user is told.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The same with another message.
    pub fn reworded(self, reword: impl FnOnce(String) -> String) -> Self {
        Self {
            message: reword(self.message),
            ..self
        }
    }

    /// Tells the user, on stderr.
    pub fn report(&self, json: bool) {
        crate::output::error(&self.message, json);
    }
}

/// Ends the process at once. To return from `main` would take down what is static in RocksDB while other threads, whose
/// work is given up, are in it still, which then end the process with SIGABRT.
pub fn leave(code: i32) -> ! {
    signal_hook::low_level::exit(code)
}

macro_rules! failures {
    ($($error:ty => |$name:ident| $exit:expr;)+) => {$(
        impl From<$error> for Failure {
            fn from($name: $error) -> Self {
                Self::new($exit, $name.to_string())
            }
        }
    )+};
}

failures! {
    LoadError => |error| load(&error);
    ProjectError => |error| match &error {
        ProjectError::Load(cause) => load(cause),
        ProjectError::NothingApplied => Exit::Definition,
        ProjectError::Registry(cause) => registry(cause),
        ProjectError::Offline(cause) => offline(cause),
        ProjectError::Store(cause) => store(cause),
        ProjectError::Restoring { .. } | ProjectError::Unannounced { .. } => Exit::Unavailable,
    };
    Problems => |error| Exit::Definition;
    PlanError => |error| Exit::Usage;
    NotFound => |error| Exit::Usage;
    TimeError => |error| Exit::Usage;
    DurationError => |error| Exit::Usage;
    ListenError => |error| Exit::Usage;
    BindError => |error| match &error {
        BindError::Unprotected { .. } => Exit::Usage,
        BindError::InUse { .. } | BindError::Refused { .. } => Exit::Unavailable,
    };
    AccessError => |error| match &error {
        AccessError::Unreadable { .. } => Exit::Unavailable,
        AccessError::Token { .. } | AccessError::Unfit { .. } | AccessError::Unmatched { .. } => Exit::Usage,
    };
    RegistryError => |error| registry(&error);
    ApplyError => |error| match &error {
        ApplyError::Breaking(_) => Exit::Definition,
        ApplyError::Registry(cause) => registry(cause),
    };
    BackupError => |error| match &error {
        BackupError::Refused { .. } => Exit::Usage,
        BackupError::Damaged { .. } | BackupError::Files(_) => Exit::Data,
        BackupError::NoSpace { .. } | BackupError::Failed { .. } => Exit::Unavailable,
        BackupError::Store(cause) => store(cause),
        BackupError::Registry(cause) => registry(cause),
    };
    StoreError => |error| store(&error);
    OfflineError => |error| offline(&error);
    MaterializeError => |error| match &error {
        MaterializeError::Unknown { .. }
        | MaterializeError::Earlier { .. }
        | MaterializeError::Begun { .. }
        | MaterializeError::Behind { .. }
        | MaterializeError::HeldBack { .. }
        | MaterializeError::NoRun(_)
        | MaterializeError::NotUndone { .. } => Exit::Usage,
        MaterializeError::NotApplied | MaterializeError::Nothing => Exit::Definition,
        MaterializeError::NotBegun(_) | MaterializeError::Busy { .. } | MaterializeError::NotReadBack { .. } | MaterializeError::Counted { .. } => Exit::Unavailable,
        MaterializeError::Mark(_) => Exit::Data,
        MaterializeError::Intake(cause) => intake(cause),
        MaterializeError::Offline(cause) => offline(cause),
        MaterializeError::Store(cause) => store(cause),
        MaterializeError::Registry(cause) => registry(cause),
        MaterializeError::Bug(_) => Exit::Bug,
    };
    IntakeError => |error| intake(&error);
    ServerError => |error| of_code(error.code());
}

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        // What has a cause here was not sent by a server.
        if std::error::Error::source(&status).is_some() {
            return Self::broken(&status.message());
        }
        Self::new(of_status(&status), told_of(status.code(), status.message()))
    }
}

/// What a server said, and how it is done here.
pub fn told_of(code: Code, message: &str) -> String {
    match code {
        Code::Unauthenticated => format!("{message}; commands take it from the variable ASOF_TOKEN"),
        _ => message.to_owned(),
    }
}

impl From<asof_client::Error> for Failure {
    fn from(error: asof_client::Error) -> Self {
        match error {
            asof_client::Error::Status(status) => (*status).into(),
            asof_client::Error::Url(_) | asof_client::Error::Access(_) => Self::usage(error.to_string()),
            asof_client::Error::Unreachable { .. } | asof_client::Error::Tls { .. } => {
                Self::unavailable(error.to_string())
            }
            asof_client::Error::Rows(reason) | asof_client::Error::Unfit(reason) => {
                Self::new(Exit::Data, reason)
            }
            asof_client::Error::Cut(reason) => Self::broken(&reason),
        }
    }
}

/// The exit code of a status: by the kind of failure where it names one.
fn of_status(status: &tonic::Status) -> Exit {
    let kind = status.metadata().get(KIND).and_then(|kind| kind.to_str().ok());
    match kind {
        Some(KIND_DATA) => Exit::Data,
        Some(KIND_DEFINITION) => Exit::Definition,
        _ => of_code(status.code()),
    }
}

fn load(error: &LoadError) -> Exit {
    match error {
        LoadError::NotAProject { .. } => Exit::Usage,
        LoadError::Unreadable { .. } => Exit::Unavailable,
        LoadError::Problems(_) => Exit::Definition,
    }
}

fn registry(error: &RegistryError) -> Exit {
    match error {
        RegistryError::Damaged { .. } => Exit::Data,
        RegistryError::Conflict { .. } | RegistryError::Newer { .. } | RegistryError::Unavailable { .. } => {
            Exit::Unavailable
        }
    }
}

fn store(error: &StoreError) -> Exit {
    match error {
        StoreError::Damaged { .. } => Exit::Data,
        StoreError::Held { .. }
        | StoreError::Newer { .. }
        | StoreError::Full { .. }
        | StoreError::Failed { .. }
        | StoreError::Cancelled
        | StoreError::NoGeneration { .. } => Exit::Unavailable,
    }
}

fn intake(error: &IntakeError) -> Exit {
    match error {
        IntakeError::Unknown { .. } => Exit::Usage,
        IntakeError::Refused(_) | IntakeError::Damaged(_) => Exit::Data,
        IntakeError::Overloaded(_) | IntakeError::Unavailable(_) | IntakeError::Moved => Exit::Unavailable,
        IntakeError::Store(cause) => store(cause),
        IntakeError::Bug(_) => Exit::Bug,
    }
}

fn offline(error: &OfflineError) -> Exit {
    match error {
        OfflineError::Definition(_) => Exit::Definition,
        OfflineError::Data(_) | OfflineError::Damaged(_) => Exit::Data,
        OfflineError::OutputExists { .. } | OfflineError::OutputIsInput { .. } => Exit::Usage,
        OfflineError::NoSpace { .. }
        | OfflineError::Memory(_)
        | OfflineError::Unavailable { .. }
        | OfflineError::Conflict(_) => Exit::Unavailable,
        OfflineError::Internal(_) => Exit::Bug,
    }
}

/// The failure of a run that a server made, or did not begin: there, only a definition that does not fit is a failed
/// precondition.
pub fn of_run(status: tonic::Status) -> Failure {
    match status.code() {
        Code::FailedPrecondition => Failure::new(Exit::Definition, status.message()),
        _ => status.into(),
    }
}

/// The exit code of a refusal by a server.
pub fn of_code(code: Code) -> Exit {
    match code {
        Code::InvalidArgument
        | Code::NotFound
        | Code::OutOfRange
        | Code::Unauthenticated
        | Code::Unimplemented => Exit::Usage,
        Code::DataLoss => Exit::Data,
        Code::Internal | Code::Unknown => Exit::Bug,
        Code::Ok
        | Code::Cancelled
        | Code::DeadlineExceeded
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::Unavailable => Exit::Unavailable,
    }
}
