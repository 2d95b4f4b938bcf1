//! From keys to columns, position by position.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow_array::{Array, ArrayRef};
use asof_core::online::{Found, OnlineStore, StoreError};
use asof_core::row::{ColumnBuilder, RowCorrupt};
use asof_core::status::Verdict;
use asof_core::time::{Clock, Timestamp};

use super::keys::Keys;
use super::resolve::{Group, Resolved, ResolvedRead};
use super::{Answer, AnswerColumn, AnswerView, Prepared};
use crate::error::{NotServed, ServerError};

/// How often a read starts again because a generation was exchanged under it.
const ATTEMPTS: usize = 5;

/// Whether anybody still waits for an answer.
#[derive(Debug, Clone)]
pub(crate) struct Interest(Arc<AtomicBool>);

/// Ends the interest when dropped.
pub(crate) struct InterestGuard(Arc<AtomicBool>);

impl Interest {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    pub(crate) fn guard(&self) -> InterestGuard {
        InterestGuard(self.0.clone())
    }

    fn is_lost(&self) -> bool {
        !self.0.load(Ordering::Relaxed)
    }
}

impl Drop for InterestGuard {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Why one attempt gave no answer.
enum Miss {
    /// Something changed between looking at the generations and reading them: another attempt may do, and
    /// the error is what to say where none does.
    Stale(ServerError),
    /// Another attempt would fail as well.
    Failed(ServerError),
}

impl From<ServerError> for Miss {
    fn from(error: ServerError) -> Self {
        match error {
            ServerError::Store(StoreError::NoGeneration { .. }) => Self::Stale(error),
            other => Self::Failed(other),
        }
    }
}

impl From<StoreError> for Miss {
    fn from(error: StoreError) -> Self {
        ServerError::from(error).into()
    }
}

/// Reads `keys` as of the clock.
pub(crate) fn read<S: OnlineStore + ?Sized>(
    store: &S,
    prepared: &Prepared,
    keys: &Keys,
    clock: &dyn Clock,
    interest: &Interest,
) -> Result<Answer, ServerError> {
    let mut attempt = 1;
    loop {
        let now = clock.now();
        let resolved = prepared.resolver.resolve(store, &prepared.plan, now)?;
        match attempt_read(store, prepared, &resolved, keys, now, interest) {
            Ok(answer) => return Ok(answer),
            Err(Miss::Stale(_)) if attempt < ATTEMPTS => attempt += 1,
            Err(Miss::Stale(error) | Miss::Failed(error)) => return Err(error),
        }
    }
}

fn attempt_read<S: OnlineStore + ?Sized>(
    store: &S,
    prepared: &Prepared,
    resolved: &Resolved,
    keys: &Keys,
    now: Timestamp,
    interest: &Interest,
) -> Result<Answer, Miss> {
    let plan = &prepared.plan;
    let mut parts: Vec<Part> = resolved
        .reads
        .iter()
        .map(|read| Part::new(read, keys.rows()))
        .collect();
    for group in &resolved.groups {
        read_group(store, prepared, resolved, group, keys, now, interest, &mut parts)?;
    }
    let mut finished = Vec::with_capacity(parts.len());
    for (part, read) in parts.into_iter().zip(&plan.reads) {
        if let Some(trouble) = part.trouble {
            return Err(trouble.miss(store, read.bound.view.name.to_string(), now));
        }
        finished.push(part.finish(store)?);
    }
    let mut columns = Vec::with_capacity(plan.columns.len());
    for column in &plan.columns {
        let bug = || ServerError::Bug(format!("column {} was not read", column.name));
        let (_, feature) = plan.feature(column).ok_or_else(bug)?;
        let read = finished.get(column.read).ok_or_else(bug)?;
        let values = read.columns.get(column.feature).ok_or_else(bug)?.clone();
        let verdicts = read.verdicts.iter().enumerate();
        let statuses = verdicts
            .map(|(at, verdict)| verdict.status(values.is_null(at)))
            .collect();
        columns.push(AnswerColumn {
            name: column.name.clone(),
            data_type: feature.data_type.clone(),
            values,
            statuses,
        });
    }
    let views = plan.reads.iter().zip(&resolved.reads).zip(finished);
    let views = views.map(|((read, resolved), finished)| AnswerView {
        view: read.bound.view.name.to_string(),
        prefix: read.prefix.as_ref().map(ToString::to_string),
        event_times: finished.event_times,
        materialized_to: resolved.as_of,
    });
    Ok(Answer {
        rows: keys.rows(),
        as_of: now,
        views: views.collect(),
        columns,
    })
}

#[expect(
    clippy::too_many_arguments,
    reason = "the parts of one read, which are together nowhere else"
)]
fn read_group<S: OnlineStore + ?Sized>(
    store: &S,
    prepared: &Prepared,
    resolved: &Resolved,
    group: &Group,
    keys: &Keys,
    now: Timestamp,
    interest: &Interest,
    parts: &mut [Part],
) -> Result<(), ServerError> {
    let columns = keys.of(&prepared.plan, &group.key_columns)?;
    for row in 0..keys.rows() {
        if interest.is_lost() {
            return Err(ServerError::Bug("nobody waits for this answer".into()));
        }
        let Some(key) = columns.key(row) else {
            for read in group.reads.iter().flatten() {
                if let Some(part) = parts.get_mut(*read) {
                    part.push_nothing(Verdict::NotFound, None);
                }
            }
            continue;
        };
        store.read(group.entity, &key, &group.views, now, &mut |view, found| {
            for read in group.reads.get(view).into_iter().flatten() {
                let ttl = prepared
                    .plan
                    .reads
                    .get(*read)
                    .and_then(|read| read.bound.view.ttl);
                if let (Some(part), Some(resolved)) = (parts.get_mut(*read), resolved.reads.get(*read)) {
                    let verdict = Verdict::of(found.verdict_input(), found.held_back, ttl, now);
                    part.push(store, resolved, verdict, found, now)?;
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// What was read of one view so far.
struct Part {
    builders: Vec<ColumnBuilder>,
    verdicts: Vec<Verdict>,
    event_times: Vec<Option<Timestamp>>,
    trouble: Option<Trouble>,
}

/// What makes a part useless.
enum Trouble {
    /// A row that was not due yet at the instant of the read.
    Ahead(Timestamp),
    /// A row of a schema that was not in the state.
    UnknownSchema(u32),
}

impl Trouble {
    fn miss<S: OnlineStore + ?Sized>(self, store: &S, view: String, now: Timestamp) -> Miss {
        Miss::Stale(match self {
            Self::Ahead(as_of) => NotServed::Later { view, as_of, now }.into(),
            Self::UnknownSchema(version) => damaged(store, &RowCorrupt::UnknownSchema(version)).into(),
        })
    }
}

struct FinishedPart {
    columns: Vec<ArrayRef>,
    verdicts: Vec<Verdict>,
    event_times: Vec<Option<Timestamp>>,
}

impl Part {
    fn new(read: &ResolvedRead, rows: usize) -> Self {
        let fields = read.schema.fields.iter();
        Self {
            builders: fields.map(|field| ColumnBuilder::new(&field.data_type)).collect(),
            verdicts: Vec::with_capacity(rows),
            event_times: Vec::with_capacity(rows),
            trouble: None,
        }
    }

    fn push_nothing(&mut self, verdict: Verdict, event_time: Option<Timestamp>) {
        self.builders.iter_mut().for_each(ColumnBuilder::push_null);
        self.verdicts.push(verdict);
        self.event_times.push(event_time);
    }

    fn push<S: OnlineStore + ?Sized>(
        &mut self,
        store: &S,
        read: &ResolvedRead,
        verdict: Verdict,
        found: Found<'_>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(row) = found.winner else {
            self.push_nothing(verdict, None);
            return Ok(());
        };
        if row.order.due() > now {
            self.trouble = Some(Trouble::Ahead(row.order.due()));
        }
        let event_time = Some(row.order.event_time);
        match verdict {
            Verdict::Fresh => {}
            Verdict::Expired => {
                self.push_nothing(verdict, event_time);
                return Ok(());
            }
            Verdict::NotFound | Verdict::HeldBack => {
                self.push_nothing(verdict, None);
                return Ok(());
            }
        }
        let version = usize::try_from(row.schema_version).ok();
        let Some(decoder) = version.and_then(|version| read.decoders.get(version)) else {
            self.trouble = Some(Trouble::UnknownSchema(row.schema_version));
            return Ok(());
        };
        decoder
            .decode(row.body, &mut self.builders)
            .map_err(|corrupt| damaged(store, &corrupt))?;
        self.verdicts.push(verdict);
        self.event_times.push(event_time);
        Ok(())
    }

    fn finish<S: OnlineStore + ?Sized>(self, store: &S) -> Result<FinishedPart, StoreError> {
        let columns = self
            .builders
            .into_iter()
            .map(ColumnBuilder::finish)
            .collect::<Result<_, _>>()
            .map_err(|corrupt| damaged(store, &corrupt))?;
        Ok(FinishedPart {
            columns,
            verdicts: self.verdicts,
            event_times: self.event_times,
        })
    }
}

fn damaged<S: OnlineStore + ?Sized>(store: &S, corrupt: &RowCorrupt) -> StoreError {
    StoreError::Damaged {
        place: store.place(),
        reason: corrupt.to_string(),
    }
}
