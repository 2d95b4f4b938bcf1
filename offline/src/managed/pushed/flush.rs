//! Pushed rows on their way to the table, and the seqs that they have before they are there.
//!
//! Seqs come from the table's log, as those of an ingest do: a block of them is taken by a commit of its own, so
//! that nobody else has them. A block is used as long as nobody has taken seqs behind it; then rows that are
//! accepted later have greater ones, whoever accepts them.
//!
//! A flush commits the rows with the number of the last entry as the version of an application. What the log of
//! the table names was flushed, whether or not the intake log was trimmed since.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::{Int64Type, SchemaRef};
use deltalake::kernel::transaction::CommitProperties;
use deltalake::kernel::{Action, Transaction};
use deltalake::protocol::{DeltaOperation, SaveMode};

use asof_core::data_type::DataType;
use asof_core::definition::{Location, Source};
use asof_core::time::Timestamp;

use super::entry::rows_of;
use crate::blocking::blocking;
use crate::engine::Engine;
use crate::error::{OfflineError, Result};
use crate::managed::commit::{ATTEMPTS, Commit, outrun};
use crate::managed::part::{Part, Writing};
use crate::managed::{SEQ, SEQ_APP, delta_error, directory, layout, next_seq, open, transaction};

/// The application whose version is the number of the last entry that was flushed.
const INTAKE_APP: &str = "asof.intake";

/// Seqs that nobody else has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reserved {
    /// The seqs.
    pub seqs: Range<u64>,
    /// Whether the table had no rows. That it had seqs says nothing: whoever took them may have been killed.
    pub was_empty: bool,
    /// The newest version of the table of which it is known that nobody has taken seqs behind these.
    pub version: u64,
}

/// What a flush did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flushed {
    /// The rows that were appended.
    pub rows: u64,
    /// The number of the last entry that is in the table.
    pub through: u64,
}

impl Engine {
    /// Takes `count` seqs of a managed table, none of them before `from`.
    pub async fn reserve_seqs(&self, source: &Source, from: u64, count: u64) -> Result<Reserved> {
        let schema = managed(source)?;
        for _ in 0..ATTEMPTS {
            let table = open(self, source, schema).await?;
            let first = next_seq(&table, source).await?.max(from);
            let end = first.saturating_add(count);
            let commit = Commit {
                actions: Vec::new(),
                properties: properties([Transaction::new(SEQ_APP, number(end)?)]),
                operation: operation(),
            };
            let state = table.snapshot().map_err(|error| delta_error(source, &error))?;
            let was_empty = state.log_data().num_files() == 0;
            if let Some(version) = commit.make(&table, source, Vec::new()).await? {
                return Ok(Reserved {
                    seqs: first..end,
                    was_empty,
                    version,
                });
            }
        }
        Err(outrun(source))
    }

    /// Whether seqs that were reserved are still the last ones that anybody has; notes the table's version.
    pub async fn holds_seqs(&self, source: &Source, reserved: &mut Reserved) -> Result<bool> {
        let log = directory(self, source).join("_delta_log");
        // What was committed since has a file of the next version, unless the log was cut back.
        if !log.join(format!("{:020}.json", reserved.version + 1)).exists()
            && log.join(format!("{:020}.json", reserved.version)).exists()
        {
            return Ok(true);
        }
        let table = open(self, source, managed(source)?).await?;
        reserved.version = table.version().unwrap_or(0);
        Ok(next_seq(&table, source).await? == reserved.seqs.end)
    }

    /// Appends the rows of entries, given with their numbers in ascending order, to the table: those that are not
    /// in it yet, in one commit.
    pub async fn flush_entries(
        &self,
        source: &Source,
        entries: Vec<(u64, Vec<u8>)>,
        at: Timestamp,
    ) -> Result<Flushed> {
        let schema = managed(source)?;
        let Some(last) = entries.last().map(|(last, _)| *last) else {
            return Ok(Flushed { rows: 0, through: 0 });
        };
        let entries = Arc::new(entries);
        for _ in 0..ATTEMPTS {
            let table = open(self, source, schema).await?;
            let done = transaction(&table, source, INTAKE_APP).await?;
            let done = done.and_then(|done| u64::try_from(done).ok());
            let directory = directory(self, source);
            let left = Arc::clone(&entries);
            let written = blocking(move || {
                write_entries(&directory, left.iter().filter(|(number, _)| Some(*number) > done))
            });
            let written = written.await?;
            if written.parts.is_empty() {
                return Ok(Flushed {
                    rows: 0,
                    through: last,
                });
            }
            let rows = written.parts.iter().map(|part| part.rows).sum();
            let mut transactions = vec![Transaction::new(INTAKE_APP, number(last)?)];
            // Those of a table that was made anew since the rows were accepted.
            if next_seq(&table, source).await? < written.next_seq {
                transactions.push(Transaction::new(SEQ_APP, number(written.next_seq)?));
            }
            let parts = written.parts;
            let actions = parts.iter().map(|part| Action::Add(part.add(at, true)));
            let commit = Commit {
                actions: actions.collect(),
                properties: properties(transactions),
                operation: operation(),
            };
            if commit.make(&table, source, parts).await?.is_some() {
                return Ok(Flushed { rows, through: last });
            }
        }
        Err(outrun(source))
    }
}

/// Writes entries into files, one for each schema among them.
fn write_entries<'a>(directory: &Path, entries: impl Iterator<Item = &'a (u64, Vec<u8>)>) -> Result<Written> {
    let mut files: Vec<(SchemaRef, Writing)> = Vec::new();
    let mut next_seq = 0;
    for (number, bytes) in entries {
        let (schema, batches) = rows_of(bytes)?;
        if !files.iter().any(|(known, _)| *known == schema) {
            let place = i64::try_from(*number).unwrap_or(i64::MAX);
            let writing = Writing::create(directory, place, &schema, layout::as_accepted()?)?;
            files.push((SchemaRef::clone(&schema), writing));
        }
        let file = files.iter_mut().find(|(known, _)| *known == schema);
        let (_, writing) = file.ok_or_else(|| OfflineError::Internal("no file for an entry".into()))?;
        for batch in batches {
            next_seq = next_seq.max(behind(&batch)?);
            writing.append(&batch)?;
        }
    }
    let parts = files.into_iter().map(|(_, writing)| writing.finish());
    Ok(Written {
        parts: parts.collect::<Result<_>>()?,
        next_seq,
    })
}

/// Files with the rows of entries.
struct Written {
    parts: Vec<Part>,
    /// The first seq behind them.
    next_seq: u64,
}

fn behind(batch: &RecordBatch) -> Result<u64> {
    let lost = || OfflineError::Data("a row of the intake log has no place in the order of rows".into());
    let seqs = batch.column_by_name(SEQ).ok_or_else(lost)?;
    let seqs = seqs.as_primitive_opt::<Int64Type>().ok_or_else(lost)?;
    let last = seqs.values().iter().max().copied().unwrap_or(0);
    Ok(last.unsigned_abs() + 1)
}

fn managed(source: &Source) -> Result<&[(String, DataType)]> {
    match &source.location {
        Location::Managed { schema, .. } => Ok(schema),
        Location::InPlace { .. } => Err(OfflineError::Internal(format!(
            "source {} takes no rows",
            source.name
        ))),
    }
}

fn number(seq: u64) -> Result<i64> {
    i64::try_from(seq).map_err(|_| OfflineError::Internal("the table's seqs are used up".into()))
}

fn properties(transactions: impl IntoIterator<Item = Transaction>) -> CommitProperties {
    let properties = CommitProperties::default().with_max_retries(0);
    transactions
        .into_iter()
        .fold(properties, |properties, transaction| {
            properties.with_application_transaction(transaction)
        })
}

fn operation() -> DeltaOperation {
    DeltaOperation::Write {
        mode: SaveMode::Append,
        partition_by: None,
        predicate: None,
    }
}
