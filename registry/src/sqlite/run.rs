//! Rows of the ledger of runs, and what they mean.

use asof_core::name::ProjectName;
use asof_core::registry::{RegistryError, Run, RunKind, RunState};
use asof_core::time::Timestamp;
use sqlx::sqlite::SqliteRow;

use super::row::{damaged, get, signed, unsigned};
use crate::disk;

/// The columns of a run that is kept with its checksum.
pub(super) const COLUMNS: &str = "id, kind, subject, started_at, finished_at, pid, state, error, as_of, \
    rows_read, rows_written, rows_skipped, checksum";
/// Those of one that format 1 keeps, which has none.
pub(super) const COLUMNS_1: &str = "id, kind, subject, started_at, finished_at, pid, state, error, as_of, \
    rows_read, rows_written, rows_skipped, NULL AS checksum";

/// A run of the ledger, once its checksum was found to be right.
pub(super) fn run(project: &ProjectName, row: &SqliteRow, place: &str) -> Result<Run, RegistryError> {
    let kind: String = get(row, "kind", place)?;
    let kind = match kind.as_str() {
        "ingest" => RunKind::Ingest,
        "materialize" => RunKind::Materialize,
        "extract" => RunKind::Extract,
        "compact" => RunKind::Compact,
        "rollback" => RunKind::Rollback,
        _ => return Err(damaged(place, "a run is of an unknown kind".into())),
    };
    let state: String = get(row, "state", place)?;
    let state = match state.as_str() {
        "running" => RunState::Running,
        "done" => RunState::Done,
        "failed" => RunState::Failed {
            error: get::<Option<String>>(row, "error", place)?.unwrap_or_default(),
        },
        _ => return Err(damaged(place, "a run is in an unknown state".into())),
    };
    let pid = unsigned(row, "pid", place)?;
    let run = Run {
        id: unsigned(row, "id", place)?,
        kind,
        subject: get(row, "subject", place)?,
        started_at: Timestamp::from_micros(get(row, "started_at", place)?),
        finished_at: get::<Option<i64>>(row, "finished_at", place)?.map(Timestamp::from_micros),
        pid: u32::try_from(pid).map_err(|_| damaged(place, "a run has no valid process id".into()))?,
        state,
        as_of: get::<Option<i64>>(row, "as_of", place)?.map(Timestamp::from_micros),
        rows_read: unsigned(row, "rows_read", place)?,
        rows_written: unsigned(row, "rows_written", place)?,
        rows_skipped: unsigned(row, "rows_skipped", place)?,
    };
    match get::<Option<String>>(row, "checksum", place)? {
        Some(found) if found != checksum(project, &run) => Err(damaged(
            place,
            format!("run {} differs from its checksum", run.id),
        )),
        _ => Ok(run),
    }
}

/// What is kept beside a run, of all that is kept of it.
pub(super) fn checksum(project: &ProjectName, run: &Run) -> String {
    let (state, error) = state_text(&run.state);
    let instants = [Some(run.started_at), run.finished_at, run.as_of].map(|at| at.map(Timestamp::micros));
    let counts = [run.rows_read, run.rows_written, run.rows_skipped].map(signed);
    let texts = [project.as_str(), kind_text(run.kind), &run.subject, state];
    let all = (texts, error, signed(run.id), run.pid, instants, counts);
    disk::digest(&serde_json::to_string(&all).unwrap_or_default())
}

/// The word for a kind of run; it is stable.
pub(super) fn kind_text(kind: RunKind) -> &'static str {
    match kind {
        RunKind::Ingest => "ingest",
        RunKind::Materialize => "materialize",
        RunKind::Extract => "extract",
        RunKind::Compact => "compact",
        RunKind::Rollback => "rollback",
    }
}

/// The word for a state, and the error; words are stable.
pub(super) fn state_text(state: &RunState) -> (&'static str, Option<&str>) {
    match state {
        RunState::Running => ("running", None),
        RunState::Done => ("done", None),
        RunState::Failed { error } => ("failed", Some(error)),
    }
}
