//! Files of earlier formats, brought to that of this version when they are opened.
//!
//! Format 1 had no checksums of runs, and a write-ahead log: one that was damaged after a crash was passed over in silence,
//! and with it what had been committed.

use asof_core::name::ProjectName;
use asof_core::registry::RegistryError;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection};

use super::error::{explain, is_in_use};
use super::row::{damaged, get, signed};
use super::run;

/// Brings a file of format 1 to format 2, in one step. `false` where somebody else has it open.
pub(super) async fn from_1(connection: &mut SqliteConnection, place: &str) -> Result<bool, RegistryError> {
    let mode = sqlx::query_scalar::<_, String>("PRAGMA journal_mode = DELETE")
        .fetch_one(&mut *connection)
        .await;
    match mode {
        Ok(mode) if mode == "delete" => {}
        Ok(_) => return Ok(false),
        Err(error) if is_in_use(&error) => return Ok(false),
        Err(error) => return Err(explain(&error, place)),
    }
    let explain = |error: sqlx::Error| explain(&error, place);
    let begun = connection.begin_with("BEGIN IMMEDIATE").await;
    let mut transaction = begun.map_err(explain)?;
    let format = sqlx::query_scalar::<_, i64>("PRAGMA user_version")
        .fetch_one(&mut *transaction)
        .await;
    if format.map_err(explain)? != 1 {
        // Another process did meanwhile.
        return Ok(true);
    }
    let rows = sqlx::query(AssertSqlSafe(format!(
        "SELECT project, {} FROM runs",
        run::COLUMNS_1
    )))
    .fetch_all(&mut *transaction)
    .await
    .map_err(explain)?;
    sqlx::raw_sql("ALTER TABLE runs ADD COLUMN checksum TEXT NOT NULL DEFAULT ''; PRAGMA user_version = 2")
        .execute(&mut *transaction)
        .await
        .map_err(explain)?;
    for row in rows {
        let project: String = get(&row, "project", place)?;
        let project = ProjectName::parse(&project)
            .map_err(|error| damaged(place, format!("a run has no valid project: {error}")))?;
        let run = run::run(&project, &row, place)?;
        sqlx::query("UPDATE runs SET checksum = $1 WHERE project = $2 AND id = $3")
            .bind(run::checksum(&project, &run))
            .bind(project.as_str())
            .bind(signed(run.id))
            .execute(&mut *transaction)
            .await
            .map_err(explain)?;
    }
    transaction.commit().await.map_err(explain)?;
    Ok(true)
}
