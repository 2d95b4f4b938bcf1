//! Rows of versions, and what they mean.

use std::sync::Arc;

use asof_core::name::{ProjectName, ServiceName};
use asof_core::registry::{RegistryError, Version};
use asof_core::time::Timestamp;
use sqlx::sqlite::{Sqlite, SqliteConnection, SqliteRow};
use sqlx::{Decode, Row, Type};

use super::error::explain;
use crate::disk;
use crate::version::registry_error;

/// Everything of a version, once its digest and checksum were found to be right.
pub(super) fn version(project: &ProjectName, row: &SqliteRow, place: &str) -> Result<Version, RegistryError> {
    let (number, applied_at, digest) = summary(project, row, place)?;
    let text: Option<String> = get(row, "definitions", place)?;
    let text = text.ok_or_else(|| damaged(place, format!("the definitions of v{number} are missing")))?;
    if disk::digest(&text) != digest {
        return Err(damaged(
            place,
            format!("the definitions of v{number} differ from their digest"),
        ));
    }
    let definitions = disk::from_disk(&text).map_err(|error| registry_error(error, place))?;
    let services: String = get(row, "services", place)?;
    let services = services_from_disk(&services)
        .ok_or_else(|| damaged(place, format!("the services of v{number} cannot be read")))?;
    Ok(Version {
        number,
        applied_at,
        digest,
        definitions: Arc::new(definitions),
        services,
    })
}

/// A version without its definitions.
pub(super) fn summary(
    project: &ProjectName,
    row: &SqliteRow,
    place: &str,
) -> Result<(u64, Timestamp, String), RegistryError> {
    let number = unsigned(row, "number", place)?;
    let applied_at = Timestamp::from_micros(get(row, "applied_at", place)?);
    let digest: String = get(row, "digest", place)?;
    let services: String = get(row, "services", place)?;
    let found: String = get(row, "checksum", place)?;
    if found != checksum(project, number, applied_at, &digest, &services) {
        return Err(damaged(place, format!("v{number} differs from its checksum")));
    }
    Ok((number, applied_at, digest))
}

/// Puts a version in.
pub(super) async fn insert_version(
    connection: &mut SqliteConnection,
    project: &ProjectName,
    version: &Version,
    text: &str,
    place: &str,
) -> Result<(), RegistryError> {
    let explain = |error: sqlx::Error| explain(&error, place);
    let services = services_to_disk(&version.services)
        .map_err(|error| damaged(place, format!("services cannot be written: {error}")))?;
    let (number, at, digest) = (version.number, version.applied_at, &version.digest);
    sqlx::query("INSERT INTO definitions (digest, text) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .bind(digest)
        .bind(text)
        .execute(&mut *connection)
        .await
        .map_err(explain)?;
    sqlx::query(
        "INSERT INTO versions (project, number, applied_at, digest, services, checksum) \
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(project.as_str())
    .bind(signed(number))
    .bind(at.micros())
    .bind(digest)
    .bind(&services)
    .bind(checksum(project, number, at, digest, &services))
    .execute(connection)
    .await
    .map_err(explain)?;
    Ok(())
}

fn checksum(project: &ProjectName, number: u64, at: Timestamp, digest: &str, services: &str) -> String {
    disk::digest(&format!(
        "{project}\n{number}\n{}\n{digest}\n{services}",
        at.micros()
    ))
}

fn services_to_disk(services: &[(ServiceName, u64)]) -> Result<String, serde_json::Error> {
    let pairs: Vec<(&str, u64)> = services
        .iter()
        .map(|(name, number)| (name.as_str(), *number))
        .collect();
    serde_json::to_string(&pairs)
}

fn services_from_disk(text: &str) -> Option<Vec<(ServiceName, u64)>> {
    let pairs: Vec<(String, u64)> = serde_json::from_str(text).ok()?;
    pairs
        .into_iter()
        .map(|(name, number)| Some((ServiceName::parse(&name).ok()?, number)))
        .collect()
}

/// A count as SQLite keeps it: beyond its range it stays at the greatest.
pub(super) fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A column that is a count.
pub(super) fn unsigned(row: &SqliteRow, column: &str, place: &str) -> Result<u64, RegistryError> {
    let value: i64 = get(row, column, place)?;
    u64::try_from(value).map_err(|_| damaged(place, format!("{column} is negative")))
}

pub(super) fn get<'r, T>(row: &'r SqliteRow, column: &str, place: &str) -> Result<T, RegistryError>
where
    T: Decode<'r, Sqlite> + Type<Sqlite>,
{
    row.try_get(column).map_err(|error| explain(&error, place))
}

pub(super) fn damaged(place: &str, reason: String) -> RegistryError {
    RegistryError::Damaged {
        place: place.to_owned(),
        reason,
    }
}
