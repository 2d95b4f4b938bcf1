//! Opening the file: making a new one whole, and telling ours from others.

use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::time::Duration;

use asof_core::registry::RegistryError;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};

use super::error::explain;
use super::upgrade;

/// Says in the file's header whose it is: "AsOf".
const APPLICATION_ID: i64 = 0x4173_4f66;
/// The tables that this version writes, and the newest that it reads.
const TABLES_FORMAT: i64 = 2;
/// How long a writer waits for another.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often bringing an older file to this format is tried.
const UPGRADES: usize = 60;

const TABLES: &str = "
CREATE TABLE versions (
    project TEXT NOT NULL,
    number INTEGER NOT NULL,
    applied_at INTEGER NOT NULL,
    digest TEXT NOT NULL,
    services TEXT NOT NULL,
    checksum TEXT NOT NULL,
    PRIMARY KEY (project, number)
) STRICT;
CREATE TABLE definitions (
    digest TEXT NOT NULL PRIMARY KEY,
    text TEXT NOT NULL
) STRICT;
CREATE TABLE runs (
    project TEXT NOT NULL,
    id INTEGER NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    finished_at INTEGER,
    pid INTEGER NOT NULL,
    state TEXT NOT NULL,
    error TEXT,
    as_of INTEGER,
    rows_read INTEGER NOT NULL DEFAULT 0,
    rows_written INTEGER NOT NULL DEFAULT 0,
    rows_skipped INTEGER NOT NULL DEFAULT 0,
    checksum TEXT NOT NULL,
    PRIMARY KEY (project, id)
) STRICT;
CREATE INDEX runs_by_subject ON runs (project, subject, id);
PRAGMA application_id = 1098076006;
PRAGMA user_version = 2;
";

/// Connections to the file at `path`, which is made where it is missing.
pub(super) async fn open(path: &Path, place: &str) -> Result<SqlitePool, RegistryError> {
    if !path.exists() {
        create(path, place).await?;
    }
    check(path, place).await?;
    let pool = SqlitePoolOptions::new()
        .max_connections(4)
        .acquire_timeout(PATIENCE * 3)
        .connect_with(options(path));
    pool.await.map_err(|error| explain(&error, place))
}

/// A connection to a copy, which is not written to, and the format of its tables.
pub(super) async fn open_copy(path: &Path, place: &str) -> Result<(SqlitePool, i64), RegistryError> {
    let options = options(path).read_only(true).immutable(true);
    let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options);
    let pool = pool.await.map_err(|error| explain(&error, place))?;
    let mut connection = pool.acquire().await.map_err(|error| explain(&error, place))?;
    let format = format(&mut connection, place).await?;
    drop(connection);
    Ok((pool, format))
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(PATIENCE)
        .disable_statement_logging()
}

/// Makes an empty registry beside `path` and moves it there, unless another process was first.
async fn create(path: &Path, place: &str) -> Result<(), RegistryError> {
    let unavailable = |error: std::io::Error| RegistryError::Unavailable {
        place: place.to_owned(),
        reason: format!(
            "it cannot be made: {error}: check who owns its directory, and that the disk is neither read-only nor full"
        ),
    };
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(folder).map_err(|error| RegistryError::Unavailable {
        place: place.to_owned(),
        reason: format!(
            "its directory {} cannot be made: {error}: check what is there, and who owns it",
            folder.display()
        ),
    })?;
    let file = tempfile::Builder::new()
        .prefix(".registry-")
        .tempfile_in(folder)
        .map_err(unavailable)?
        .into_temp_path();
    fill(&file).await.map_err(|error| explain(&error, place))?;
    match file.persist_noclobber(path) {
        Ok(()) => {}
        Err(_) if path.exists() => return Ok(()),
        Err(error) => return Err(unavailable(error.error)),
    }
    let folder = std::fs::File::open(folder).map_err(unavailable)?;
    folder.sync_all().map_err(unavailable)
}

async fn fill(file: &Path) -> Result<(), sqlx::Error> {
    let mut connection = options(file).connect().await?;
    sqlx::raw_sql(TABLES).execute(&mut connection).await?;
    connection.close().await
}

/// Refuses what is not a registry of this format.
async fn check(path: &Path, place: &str) -> Result<(), RegistryError> {
    let damaged = |reason: &str| RegistryError::Damaged {
        place: place.to_owned(),
        reason: reason.to_owned(),
    };
    let empty = std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() == 0);
    if empty {
        return Err(damaged(
            "the file is empty; restore it from a copy, or remove it to start anew",
        ));
    }
    let close = async |connection: SqliteConnection| {
        let closed = connection.close().await;
        closed.map_err(|error| explain(&error, place))
    };
    for _ in 0..UPGRADES {
        let connected = options(path).connect().await;
        let mut connection = connected.map_err(|error| explain(&error, place))?;
        let format = format(&mut connection, place).await?;
        sound(&mut connection, "versions", place).await?;
        if format == TABLES_FORMAT {
            return close(connection).await;
        }
        sound(&mut connection, "runs", place).await?;
        let is_done = upgrade::from_1(&mut connection, place).await?;
        close(connection).await?;
        if is_done {
            return Ok(());
        }
        // Those that wait have it open for moments only, and not all for the same ones.
        let random = RandomState::new().hash_one(path);
        tokio::time::sleep(Duration::from_millis(20 + random % 60)).await;
    }
    Err(RegistryError::Unavailable {
        place: place.to_owned(),
        reason: "it is of an earlier version, which still has it open: stop that first".into(),
    })
}

/// The format of the tables, which is one that this version reads.
async fn format(connection: &mut SqliteConnection, place: &str) -> Result<i64, RegistryError> {
    let damaged = |reason: &str| RegistryError::Damaged {
        place: place.to_owned(),
        reason: reason.to_owned(),
    };
    let application = pragma(connection, "PRAGMA application_id", place).await?;
    let format = pragma(connection, "PRAGMA user_version", place).await?;
    if application != APPLICATION_ID {
        return Err(damaged(
            "it is a SQLite file, and not a registry of asof; name another file",
        ));
    }
    if format > TABLES_FORMAT {
        return Err(RegistryError::Newer {
            place: place.to_owned(),
            found: format.unsigned_abs(),
            known: TABLES_FORMAT.unsigned_abs(),
        });
    }
    match format {
        1..=TABLES_FORMAT => Ok(format),
        _ => Err(damaged("its format number is not one that asof writes")),
    }
}

/// Compares a table with its indexes: a damaged index could hide the newest rows, and no checksum of a row that is not
/// found would tell. Definitions have digests.
pub(super) async fn sound(
    connection: &mut SqliteConnection,
    table: &'static str,
    place: &str,
) -> Result<(), RegistryError> {
    let row = sqlx::query(AssertSqlSafe(format!("PRAGMA integrity_check({table})")))
        .fetch_one(connection)
        .await;
    let found = row.and_then(|row| row.try_get::<String, _>(0));
    match found.map_err(|error| explain(&error, place))?.as_str() {
        "ok" => Ok(()),
        other => Err(RegistryError::Damaged {
            place: place.to_owned(),
            reason: other.lines().next().unwrap_or_default().to_owned(),
        }),
    }
}

async fn pragma(
    connection: &mut SqliteConnection,
    pragma: &'static str,
    place: &str,
) -> Result<i64, RegistryError> {
    let row = sqlx::query(pragma).fetch_one(connection).await;
    row.and_then(|row| row.try_get::<i64, _>(0))
        .map_err(|error| explain(&error, place))
}
