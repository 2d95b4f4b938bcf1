//! Entries of the run ledger to the wire.

use asof_core::registry::{Run, RunKind, RunState};
use asof_core::time::Timestamp;

use crate::v1;

/// A run as it is sent.
pub fn run_to_proto(run: Run) -> v1::Run {
    let kind = match run.kind {
        RunKind::Ingest => v1::RunKind::Ingest,
        RunKind::Materialize => v1::RunKind::Materialize,
        RunKind::Extract => v1::RunKind::Extract,
        RunKind::Compact => v1::RunKind::Compact,
        RunKind::Rollback => v1::RunKind::Rollback,
    };
    let (state, error) = match run.state {
        RunState::Running => (v1::RunState::Running, String::new()),
        RunState::Done => (v1::RunState::Done, String::new()),
        RunState::Failed { error } => (v1::RunState::Failed, error),
    };
    v1::Run {
        id: run.id,
        kind: kind.into(),
        subject: run.subject,
        started_at_micros: run.started_at.micros(),
        finished_at_micros: run.finished_at.map(Timestamp::micros),
        pid: run.pid,
        state: state.into(),
        error,
        as_of_micros: run.as_of.map(Timestamp::micros),
        rows_read: run.rows_read,
        rows_written: run.rows_written,
        rows_skipped: run.rows_skipped,
        keys: None,
        pending: None,
        error_code: None,
        held_back_runs: Vec::new(),
    }
}
