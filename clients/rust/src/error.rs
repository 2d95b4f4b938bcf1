//! Why a call failed.

use tonic::{Code, ConnectError, Status, TimeoutExpired};

use crate::connector::Unconnected;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What was given is no URL.
    #[error("the server's URL cannot be read: {0}; write it as grpc://127.0.0.1:2763")]
    Url(String),
    /// Nobody listens there, or no longer.
    #[error("the server cannot be reached: {reason}")]
    Unreachable {
        /// What the system said.
        reason: String,
    },
    /// Who listens there has no certificate that is trusted, or does not speak TLS.
    #[error(
        "no TLS can be agreed on with the server: {reason}; for one that speaks none write grpc:// or http://, and of one \
         whose certificate nobody knows here name the authority"
    )]
    Tls {
        /// What went wrong.
        reason: String,
    },
    /// A token, or a file of certificates, that cannot be used.
    #[error("{0}")]
    Access(String),
    /// The server refused, or failed.
    #[error("{}", .0.message())]
    Status(Box<Status>),
    /// The rows that were to be sent could not be made.
    #[error("the rows to send cannot be read: {0}")]
    Rows(String),
    /// The features that came do not fit what they were to be read into.
    #[error("the features cannot be read: {0}")]
    Unfit(String),
    /// The answer ended before its end.
    #[error("the answer of the server ended early: {0}")]
    Cut(String),
}

impl Error {
    /// The gRPC code: the server's, and `Unavailable` where none came from it.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Status(status) => Some(status.code()),
            Self::Unreachable { .. } | Self::Tls { .. } | Self::Cut(_) => Some(Code::Unavailable),
            Self::Url(_) | Self::Access(_) | Self::Rows(_) | Self::Unfit(_) => None,
        }
    }
}

impl Error {
    /// Why no connection was made.
    pub(crate) fn unconnected(error: &(dyn std::error::Error + 'static)) -> Self {
        let tls = causes(error).find_map(|cause| match cause.downcast_ref() {
            Some(Unconnected::Tls(reason)) => Some(reason.to_string()),
            _ => None,
        });
        match tls {
            Some(reason) => Self::Tls { reason },
            None => Self::Unreachable {
                reason: deepest(error),
            },
        }
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        // What has a cause here was not sent by a server.
        match std::error::Error::source(&status) {
            Some(cause) if deepest_of(cause).is::<TimeoutExpired>() => Self::Status(Box::new(
                Status::deadline_exceeded("the server did not answer in time"),
            )),
            Some(cause) if causes(cause).any(|cause| cause.is::<ConnectError>()) => Self::unconnected(cause),
            Some(cause) => Self::Cut(deepest(cause)),
            None => Self::Status(Box::new(status)),
        }
    }
}

/// What is at the bottom of an error, as it says itself.
pub(crate) fn deepest(error: &(dyn std::error::Error + 'static)) -> String {
    deepest_of(error).to_string()
}

fn deepest_of<'a>(error: &'a (dyn std::error::Error + 'static)) -> &'a (dyn std::error::Error + 'static) {
    causes(error).last().unwrap_or(error)
}

/// An error, and what caused it, one after the other.
fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}
