//! What a server says, or does not, as the few kinds of errors that a caller can act on.

use asof_core::online::StoreError;
use redis::{RedisError, ServerError};

/// What to do about a reply that says no.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The slot is at another server: look where, and ask there.
    Elsewhere,
    /// The key is on its way to another server: ask there, this time.
    Ask(String),
    /// The scripts have to be given again.
    NoScript,
    /// It may say yes soon.
    Later,
    /// It will say no again.
    Final,
}

/// What to do about an error reply.
pub(crate) fn refusal(error: &ServerError) -> Refusal {
    match error.code() {
        "MOVED" | "READONLY" => Refusal::Elsewhere,
        "ASK" => {
            let address = error
                .details()
                .and_then(|details| details.split_whitespace().last());
            address.map_or(Refusal::Later, |address| Refusal::Ask(address.to_owned()))
        }
        "NOSCRIPT" => Refusal::NoScript,
        "LOADING" | "CLUSTERDOWN" | "TRYAGAIN" | "MASTERDOWN" | "BUSY" => Refusal::Later,
        _ => Refusal::Final,
    }
}

/// An error reply, as what the caller is told.
pub(crate) fn of_reply(place: &str, error: &ServerError) -> StoreError {
    let details = error.details().unwrap_or_default();
    let place = place.to_owned();
    let reason = match (error.code(), details) {
        (code, "") => code.to_owned(),
        (code, details) => format!("{code} {details}"),
    };
    match error.code() {
        "OOM" => StoreError::Full { place, reason },
        "MISCONF" if details.contains("No space left") => StoreError::Full { place, reason },
        _ => StoreError::Failed { place, reason },
    }
}

/// What the library says of a connection. Its texts have no passwords: they name what happened, never what was sent.
pub(crate) fn of_link(place: &str, error: &RedisError) -> StoreError {
    let reason = if error.is_timeout() {
        "it does not answer".to_owned()
    } else if error.is_connection_refusal() {
        "no server listens there".to_owned()
    } else if error.is_connection_dropped() {
        "it closed the connection".to_owned()
    } else {
        match is_untrusted(error) {
            true => format!("{error}; [online] tls_ca names who signed it"),
            false => error.to_string(),
        }
    };
    failed(place, &reason)
}

/// Whether the server's certificate is not one that is trusted.
pub(crate) fn is_untrusted(error: &RedisError) -> bool {
    error.is_io_error() && error.to_string().contains("peer certificate")
}

pub(crate) fn failed(place: &str, reason: &str) -> StoreError {
    StoreError::Failed {
        place: place.into(),
        reason: reason.into(),
    }
}

/// A reply that is not of the kind that was asked for.
pub(crate) fn odd_reply(place: &str) -> StoreError {
    failed(place, "its answer is not one of Redis")
}
