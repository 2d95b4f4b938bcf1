//! Failures, on their way to Python's exceptions.

use asof_client::Error;
use asof_offline::OfflineError;
use asof_registry::LoadError;
use asof_server::error::{KIND, KIND_DATA, KIND_DEFINITION, ServerError};
use asof_server::metrics::code_name;
use asof_server::project::ProjectError;
use pyo3::prelude::*;
use tonic::{Code, Status};

/// Why a call failed: what Python's exception is made of.
#[derive(Debug)]
pub(crate) struct Failure {
    /// A gRPC code by its name.
    code: &'static str,
    /// What kind of failure it is, where the code does not say.
    kind: &'static str,
    message: String,
}

const LOCKED: &str = "locked";

impl Failure {
    pub(crate) fn argument(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, "", message)
    }

    pub(crate) fn data(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, KIND_DATA, message)
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Code::Unavailable, "", message)
    }

    pub(crate) fn bug(message: impl Into<String>) -> Self {
        Self::new(Code::Internal, "", message)
    }

    /// The project is in use by another process.
    pub(crate) fn locked(message: impl Into<String>) -> Self {
        Self::new(Code::Unavailable, LOCKED, message)
    }

    fn new(code: Code, kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            code: code_name(code),
            kind,
            message: message.into(),
        }
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let kind = status.metadata().get(KIND).and_then(|kind| kind.to_str().ok());
        let kind = match kind {
            Some(KIND_DATA) => KIND_DATA,
            Some(KIND_DEFINITION) => KIND_DEFINITION,
            _ => "",
        };
        Self::new(status.code(), kind, status.message())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Status(status) => (*status).into(),
            Error::Url(_) | Error::Access(_) => Self::argument(error.to_string()),
            Error::Rows(reason) | Error::Unfit(reason) => Self::data(reason),
            Error::Unreachable { .. } | Error::Tls { .. } | Error::Cut(_) => {
                Self::unavailable(error.to_string())
            }
        }
    }
}

impl From<ServerError> for Failure {
    fn from(error: ServerError) -> Self {
        Status::from(error).into()
    }
}

impl From<OfflineError> for Failure {
    fn from(error: OfflineError) -> Self {
        match &error {
            OfflineError::OutputExists { .. } | OfflineError::OutputIsInput { .. } => {
                Self::new(Code::AlreadyExists, "", error.to_string())
            }
            _ => ServerError::from(error).into(),
        }
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        let text = error.to_string();
        match error {
            LoadError::NotAProject { .. } => Self::new(Code::NotFound, "", text),
            LoadError::Unreadable { .. } => Self::unavailable(text),
            LoadError::Problems(_) => Self::new(Code::InvalidArgument, KIND_DEFINITION, text),
        }
    }
}

impl From<ProjectError> for Failure {
    fn from(error: ProjectError) -> Self {
        match error {
            ProjectError::Load(error) => error.into(),
            ProjectError::Offline(error) => error.into(),
            ProjectError::Registry(error) => ServerError::from(error).into(),
            ProjectError::Store(error) => ServerError::from(error).into(),
            ProjectError::NothingApplied => {
                Self::new(Code::FailedPrecondition, KIND_DEFINITION, error.to_string())
            }
            ProjectError::Restoring { .. } | ProjectError::Unannounced { .. } => {
                Self::unavailable(error.to_string())
            }
        }
    }
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> Self {
        Python::attach(|py| {
            let made = py.import("asof._errors").and_then(|errors| {
                let Failure { code, kind, message } = failure;
                errors.getattr("of_native")?.call1((code, kind, message))
            });
            made.map_or_else(|error| error, PyErr::from_value)
        })
    }
}
