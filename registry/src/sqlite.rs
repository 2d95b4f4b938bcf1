//! The registry in a SQLite file, which several processes may use at once.
//!
//! Writes are `BEGIN IMMEDIATE` transactions, so that two writers wait for each other instead of
//! failing half-way; every commit is synced. A new file is made beside its place and moved there whole,
//! so that an empty or half-made file is never one of ours.
//!
//! There is no write-ahead log: SQLite takes one whose end is damaged for one that ends there, and forgets
//! what was committed. Each version and each run has a checksum, and tables are compared with their indexes.

mod error;
mod file;
mod row;
mod run;
mod upgrade;

use std::path::Path;
use std::sync::Arc;

use asof_core::definition::Definitions;
use asof_core::name::ProjectName;
use asof_core::registry::{NewRun, RegistryError, RegistryStore, Run, RunEnd, Version};
use asof_core::time::Timestamp;
use sqlx::sqlite::{Sqlite, SqlitePool};
use sqlx::{AssertSqlSafe, Executor, Transaction};
use tokio::sync::OnceCell;

use crate::memory::missing_run;
use crate::version::{Next, next};

/// A registry in a SQLite file. Clones share its connections.
#[derive(Debug, Clone)]
pub struct SqliteRegistry {
    pool: SqlitePool,
    /// The file, as messages name it.
    place: Arc<str>,
    /// The columns of a run.
    run_columns: &'static str,
    /// Whether the ledger was compared with its indexes, which its first reader does: it may be long.
    ledger: Arc<OnceCell<()>>,
}

impl SqliteRegistry {
    /// Opens the registry in the file `path`. Where there is no such file it is made, with the folders
    /// above it.
    pub async fn open(path: &Path) -> Result<Self, RegistryError> {
        let place: Arc<str> = path.display().to_string().into();
        let pool = file::open(path, &place).await?;
        Ok(Self {
            pool,
            place,
            run_columns: run::COLUMNS,
            ledger: Arc::default(),
        })
    }

    /// Opens a copy of a registry to read it, and changes nothing: nobody may write to it meanwhile.
    pub async fn open_copy(path: &Path) -> Result<Self, RegistryError> {
        let place: Arc<str> = path.display().to_string().into();
        let (pool, format) = file::open_copy(path, &place).await?;
        Ok(Self {
            pool,
            place,
            run_columns: match format {
                1 => run::COLUMNS_1,
                _ => run::COLUMNS,
            },
            ledger: Arc::default(),
        })
    }

    /// Copies all of it to a new file, as it is at one moment.
    pub async fn copy_to(&self, file: &Path) -> Result<(), RegistryError> {
        let copied = sqlx::query("VACUUM INTO $1").bind(file.to_string_lossy().into_owned());
        copied
            .execute(&self.pool)
            .await
            .map_err(|error| error::explain(&error, &self.place))?;
        Ok(())
    }

    /// Reads everything of a project back; returns how many versions it has.
    ///
    /// # Errors
    ///
    /// [`RegistryError::Damaged`] for the first thing that is.
    pub async fn read_back(&self, project: &ProjectName) -> Result<u64, RegistryError> {
        let found: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check(1)")
            .fetch_all(&self.pool)
            .await
            .map_err(|error| error::explain(&error, &self.place))?;
        let damaged = |reason: &str| RegistryError::Damaged {
            place: self.place.to_string(),
            reason: format!("{reason}; restore it from a copy"),
        };
        if let Some(problem) = found.iter().find(|found| *found != "ok") {
            return Err(damaged(problem.lines().next().unwrap_or_default()));
        }
        let versions = self.history(project).await?;
        for (number, ..) in &versions {
            let version = self.version(project, *number).await?;
            version.ok_or_else(|| damaged(&format!("version {number} of {project} is gone")))?;
        }
        self.runs(project, None, u32::MAX).await?;
        Ok(versions.len() as u64)
    }

    /// Closes the file; clones can no longer be used.
    pub async fn close(self) {
        self.pool.close().await;
    }

    async fn write(&self) -> Result<Transaction<'static, Sqlite>, RegistryError> {
        let begun = self.pool.begin_with("BEGIN IMMEDIATE").await;
        begun.map_err(|error| error::explain(&error, &self.place))
    }

    /// Looks once whether the indexes of the ledger hide nothing.
    async fn check_ledger(&self) -> Result<(), RegistryError> {
        let check = async || {
            let connection = self.pool.acquire().await;
            let mut connection = connection.map_err(|error| error::explain(&error, &self.place))?;
            file::sound(&mut connection, "runs", &self.place).await
        };
        self.ledger.get_or_try_init(check).await.copied()
    }

    /// A run of the ledger.
    async fn run_of<'e>(
        &self,
        executor: impl Executor<'e, Database = Sqlite>,
        project: &ProjectName,
        id: u64,
    ) -> Result<Option<Run>, RegistryError> {
        let columns = self.run_columns;
        let query = format!("SELECT {columns} FROM runs WHERE project = $1 AND id = $2");
        let found = sqlx::query(AssertSqlSafe(query))
            .bind(project.as_str())
            .bind(row::signed(id))
            .fetch_optional(executor)
            .await
            .map_err(|error| error::explain(&error, &self.place))?;
        found.map(|row| run::run(project, &row, &self.place)).transpose()
    }

    async fn newest<'e>(
        &self,
        executor: impl Executor<'e, Database = Sqlite>,
        project: &ProjectName,
    ) -> Result<Option<Version>, RegistryError> {
        let row = sqlx::query(
            "SELECT number, applied_at, digest, services, checksum, text AS definitions \
             FROM versions LEFT JOIN definitions USING (digest) \
             WHERE project = $1 ORDER BY number DESC LIMIT 1",
        )
        .bind(project.as_str())
        .fetch_optional(executor)
        .await
        .map_err(|error| error::explain(&error, &self.place))?;
        row.map(|row| row::version(project, &row, &self.place))
            .transpose()
    }
}

impl RegistryStore for SqliteRegistry {
    async fn head(&self, project: &ProjectName) -> Result<Option<Version>, RegistryError> {
        self.newest(&self.pool, project).await
    }

    async fn version(&self, project: &ProjectName, number: u64) -> Result<Option<Version>, RegistryError> {
        let Ok(number) = i64::try_from(number) else {
            return Ok(None);
        };
        let row = sqlx::query(
            "SELECT number, applied_at, digest, services, checksum, text AS definitions \
             FROM versions LEFT JOIN definitions USING (digest) \
             WHERE project = $1 AND number = $2",
        )
        .bind(project.as_str())
        .bind(number)
        .fetch_optional(&self.pool)
        .await
        .map_err(|error| error::explain(&error, &self.place))?;
        row.map(|row| row::version(project, &row, &self.place))
            .transpose()
    }

    async fn history(&self, project: &ProjectName) -> Result<Vec<(u64, Timestamp, String)>, RegistryError> {
        let rows = sqlx::query(
            "SELECT number, applied_at, digest, services, checksum FROM versions \
             WHERE project = $1 ORDER BY number",
        )
        .bind(project.as_str())
        .fetch_all(&self.pool)
        .await
        .map_err(|error| error::explain(&error, &self.place))?;
        rows.iter()
            .map(|row| row::summary(project, row, &self.place))
            .collect()
    }

    async fn commit(
        &self,
        expected: u64,
        definitions: Arc<Definitions>,
        at: Timestamp,
    ) -> Result<Version, RegistryError> {
        let project = definitions.project.clone();
        let mut transaction = self.write().await?;
        let head = self.newest(&mut *transaction, &project).await?;
        let (version, text) = match next(head, expected, definitions, at, &self.place)? {
            Next::Unchanged(version) => return Ok(version),
            Next::New(version, text) => (version, text),
        };
        row::insert_version(&mut transaction, &project, &version, &text, &self.place).await?;
        let committed = transaction.commit().await;
        committed.map_err(|error| error::explain(&error, &self.place))?;
        Ok(version)
    }

    async fn start_run(&self, project: &ProjectName, new: NewRun) -> Result<u64, RegistryError> {
        let explain = |error: sqlx::Error| error::explain(&error, &self.place);
        self.check_ledger().await?;
        let mut transaction = self.write().await?;
        let newest = sqlx::query("SELECT coalesce(max(id), 0) AS id FROM runs WHERE project = $1")
            .bind(project.as_str())
            .fetch_one(&mut *transaction)
            .await
            .map_err(explain)?;
        let run = new.run(row::unsigned(&newest, "id", &self.place)? + 1);
        sqlx::query(
            "INSERT INTO runs (project, id, kind, subject, started_at, pid, state, as_of, checksum) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(project.as_str())
        .bind(row::signed(run.id))
        .bind(run::kind_text(run.kind))
        .bind(&run.subject)
        .bind(run.started_at.micros())
        .bind(i64::from(run.pid))
        .bind(run::state_text(&run.state).0)
        .bind(run.as_of.map(Timestamp::micros))
        .bind(run::checksum(project, &run))
        .execute(&mut *transaction)
        .await
        .map_err(explain)?;
        transaction.commit().await.map_err(explain)?;
        Ok(run.id)
    }

    async fn end_run(&self, project: &ProjectName, id: u64, end: RunEnd) -> Result<(), RegistryError> {
        let explain = |error: sqlx::Error| error::explain(&error, &self.place);
        let mut transaction = self.write().await?;
        let started = self.run_of(&mut *transaction, project, id).await?;
        let mut run = started.ok_or_else(|| missing_run(&self.place, id))?;
        run.end(end);
        let (state, reason) = run::state_text(&run.state);
        sqlx::query(
            "UPDATE runs SET finished_at = $1, state = $2, error = $3, \
             rows_read = $4, rows_written = $5, rows_skipped = $6, checksum = $7 WHERE project = $8 AND id = $9",
        )
        .bind(run.finished_at.map(Timestamp::micros))
        .bind(state)
        .bind(reason)
        .bind(row::signed(run.rows_read))
        .bind(row::signed(run.rows_written))
        .bind(row::signed(run.rows_skipped))
        .bind(run::checksum(project, &run))
        .bind(project.as_str())
        .bind(row::signed(id))
        .execute(&mut *transaction)
        .await
        .map_err(explain)?;
        transaction.commit().await.map_err(explain)
    }

    async fn run(&self, project: &ProjectName, id: u64) -> Result<Option<Run>, RegistryError> {
        self.check_ledger().await?;
        self.run_of(&self.pool, project, id).await
    }

    async fn runs(
        &self,
        project: &ProjectName,
        subject: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Run>, RegistryError> {
        self.check_ledger().await?;
        let columns = self.run_columns;
        let query = format!(
            "SELECT {columns} FROM runs \
             WHERE project = $1 AND ($2 IS NULL OR subject = $2) ORDER BY id DESC LIMIT $3"
        );
        let rows = sqlx::query(AssertSqlSafe(query))
            .bind(project.as_str())
            .bind(subject)
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await
            .map_err(|error| error::explain(&error, &self.place))?;
        rows.iter()
            .map(|row| run::run(project, row, &self.place))
            .collect()
    }
}
