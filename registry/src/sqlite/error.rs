//! What SQLite's errors mean for the caller.

use asof_core::registry::RegistryError;
use sqlx::error::DatabaseError;

/// SQLite's primary result codes, <https://sqlite.org/rescode.html>.
const BUSY: i64 = 5;
const LOCKED: i64 = 6;
const UNAVAILABLE: [(i64, &str); 6] = [
    (3, "access is denied: check who owns it"),
    (
        8,
        "it cannot be written: check who owns it, and that the disk is not read-only",
    ),
    (10, "reading or writing failed: check the disk"),
    (13, "the disk is full: free some space"),
    (
        14,
        "the file cannot be opened: check that it is a file, and who owns it",
    ),
    (23, "access is denied: check who owns it"),
];

/// Whether others have locked it.
pub(super) fn is_in_use(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .is_some_and(|database| [BUSY, LOCKED].contains(&primary(database)))
}

fn primary(database: &dyn DatabaseError) -> i64 {
    // The low byte of an extended code is the primary one.
    let code = database.code().and_then(|code| code.parse::<i64>().ok());
    code.map_or(0, |code| code & 0xff)
}

/// Locked by others, broken, or out of reach.
pub(super) fn explain(error: &sqlx::Error, place: &str) -> RegistryError {
    let place = place.to_owned();
    let sqlx::Error::Database(database) = error else {
        return match error {
            sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::Decode(_)
            | sqlx::Error::TypeNotFound { .. }
            | sqlx::Error::RowNotFound => RegistryError::Damaged {
                place,
                reason: error.to_string(),
            },
            other => RegistryError::Unavailable {
                place,
                reason: other.to_string(),
            },
        };
    };
    let code = primary(database.as_ref());
    if is_in_use(error) {
        let reason = "another process has been writing to it for more than 10 s: try again".into();
        return RegistryError::Unavailable { place, reason };
    }
    match UNAVAILABLE.iter().find(|(known, _)| *known == code) {
        Some((_, advice)) => RegistryError::Unavailable {
            place,
            reason: (*advice).to_owned(),
        },
        None => RegistryError::Damaged {
            place,
            reason: database.message().to_owned(),
        },
    }
}
