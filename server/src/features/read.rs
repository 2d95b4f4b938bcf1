//! From keys to columns, position by position.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use asof_core::online::{Found, OnlineReader, OnlineStore, StoreError};
use asof_core::row::{Packer, RowCorrupt};
use asof_core::service::ReadPlan;
use asof_core::status::Verdict;
use asof_core::time::{Clock, Timestamp};

use super::keys::Keys;
use super::resolve::{Group, Resolved, ResolvedRead};
use super::{Answer, Prepared};
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
    prepared: &Arc<Prepared>,
    keys: &Keys,
    clock: &dyn Clock,
    interest: &Interest,
) -> Result<Answer, ServerError> {
    let mut attempt = 1;
    loop {
        let now = clock.now();
        let resolved = prepared
            .resolver
            .resolve(store, &prepared.plan, prepared.computing.layout(), now)?;
        let reading = Reading {
            store,
            prepared,
            resolved: &resolved,
            keys,
            now,
            interest,
        };
        match reading.read() {
            Ok(answer) => return Ok(answer),
            Err(Miss::Stale(_)) if attempt < ATTEMPTS => attempt += 1,
            Err(Miss::Stale(error) | Miss::Failed(error)) => return Err(error),
        }
    }
}

/// One attempt.
struct Reading<'a, S: ?Sized> {
    store: &'a S,
    prepared: &'a Arc<Prepared>,
    resolved: &'a Resolved,
    keys: &'a Keys,
    now: Timestamp,
    interest: &'a Interest,
}

/// What was read so far.
struct Gathered {
    packer: Packer,
    /// For each read and position.
    event_times: Vec<Option<Timestamp>>,
    /// The first thing that makes all of it useless, and the read that met it.
    trouble: Option<(usize, Trouble)>,
}

/// What makes an answer useless.
enum Trouble {
    /// A row that was not due yet at the instant of the read.
    Ahead(Timestamp),
    /// A row of a schema that was not in the state.
    UnknownSchema(u32),
}

impl<S: OnlineStore + ?Sized> Reading<'_, S> {
    fn read(&self) -> Result<Answer, Miss> {
        let (prepared, rows) = (self.prepared, self.keys.rows());
        let mut gathered = Gathered {
            packer: Packer::new(prepared.computing.layout(), rows),
            event_times: vec![None; prepared.plan.reads.len() * rows],
            trouble: None,
        };
        // All of them before a key is read: none has what is accepted while the others are.
        let groups = self.resolved.groups.iter();
        let readers = groups.map(|group| Ok((group, self.store.reader(&group.set, self.now)?)));
        for (group, reader) in readers.collect::<Result<Vec<_>, StoreError>>()? {
            self.read_group(group, reader, &mut gathered)?;
        }
        if let Some((read, trouble)) = gathered.trouble {
            return Err(self.miss(read, trouble));
        }
        let read = gathered
            .packer
            .finish()
            .map_err(|corrupt| self.damaged(&corrupt))?;
        let Prepared {
            plan,
            layout,
            computing,
            ..
        } = prepared.as_ref();
        let (packed, failed) = computing.finish(read, plan, layout, self.keys)?;
        let mut event_times = gathered.event_times;
        event_times.truncate(plan.returned_reads * rows);
        event_times.resize(plan.groups().count() * rows, None);
        Ok(Answer {
            prepared: Arc::clone(prepared),
            as_of: self.now,
            packed,
            event_times,
            materialized_to: self.materialized_to(plan),
            failed,
        })
    }

    /// The instant up to which each group of the plan is complete.
    fn materialized_to(&self, plan: &ReadPlan) -> Vec<Timestamp> {
        let of_read = |read: &usize| self.resolved.reads.get(*read).map(|read| read.as_of);
        let reads = (0..plan.returned_reads).filter_map(|read| of_read(&read));
        let computed = plan.computed_groups.iter().map(|group| {
            let least = group.reads.iter().filter_map(of_read).min();
            // What is computed of nothing that is stored is always complete.
            least.unwrap_or(self.now)
        });
        reads.chain(computed).collect()
    }

    fn read_group(
        &self,
        group: &Group,
        mut reader: Box<dyn OnlineReader + '_>,
        gathered: &mut Gathered,
    ) -> Result<(), ServerError> {
        let columns = self.keys.of(&self.prepared.plan, &group.key_columns)?;
        let mut key = Vec::new();
        if self.store.is_remote() {
            let mut keys = Vec::with_capacity(self.keys.rows());
            for position in 0..self.keys.rows() {
                key.clear();
                if columns.write(position, &mut key) {
                    keys.push(key.clone());
                }
            }
            reader.prefetch(&keys)?;
        }
        for position in 0..self.keys.rows() {
            if self.interest.is_lost() {
                return Err(ServerError::Bug("nobody waits for this answer".into()));
            }
            key.clear();
            if !columns.write(position, &mut key) {
                for read in group.reads.iter().flatten() {
                    self.take(*read, position, Found::default(), gathered)?;
                }
                continue;
            }
            reader.read(&key, &mut |view, found| {
                let mut reads = group.reads.get(view).into_iter().flatten();
                reads.try_for_each(|read| self.take(*read, position, found, gathered))
            })?;
        }
        Ok(())
    }

    /// Takes in what was found for a position of a read.
    fn take(
        &self,
        number: usize,
        position: usize,
        found: Found<'_>,
        gathered: &mut Gathered,
    ) -> Result<(), StoreError> {
        let Some(read) = self.resolved.reads.get(number) else {
            return Ok(());
        };
        if let Some(windows) = found.windows {
            if windows.latest > self.now {
                gathered.trouble(number, Trouble::Ahead(windows.latest));
            }
            return self.decode(read, number, position, (0, windows.body), gathered);
        }
        let verdict = Verdict::of(found.verdict_input(), found.held_back, read.ttl, self.now);
        if let Some(row) = found.winner {
            if row.order.due() > self.now {
                gathered.trouble(number, Trouble::Ahead(row.order.due()));
            }
            let time = gathered.event_times.get_mut(number * self.keys.rows() + position);
            if let (Verdict::Fresh | Verdict::Expired, Some(time)) = (verdict, time) {
                *time = Some(row.order.event_time);
            }
            if verdict == Verdict::Fresh {
                let row = (row.schema_version, row.body);
                return self.decode(read, number, position, row, gathered);
            }
        }
        for column in &read.columns {
            gathered.packer.pass(*column, position, verdict.status(false));
        }
        Ok(())
    }

    fn decode(
        &self,
        read: &ResolvedRead,
        number: usize,
        position: usize,
        (version, body): (u32, &[u8]),
        gathered: &mut Gathered,
    ) -> Result<(), StoreError> {
        let place = usize::try_from(version).ok();
        match place.and_then(|place| read.decoders.get(place)) {
            None => {
                gathered.trouble(number, Trouble::UnknownSchema(version));
                Ok(())
            }
            Some(decoder) => decoder
                .decode(body, position, &mut gathered.packer)
                .map_err(|corrupt| self.damaged(&corrupt)),
        }
    }

    fn miss(&self, read: usize, trouble: Trouble) -> Miss {
        let read = self.prepared.plan.reads.get(read);
        Miss::Stale(match trouble {
            Trouble::Ahead(as_of) => NotServed::Later {
                view: read.map_or_else(String::new, |read| read.bound.view.name.to_string()),
                as_of,
                now: self.now,
            }
            .into(),
            Trouble::UnknownSchema(version) => self.damaged(&RowCorrupt::UnknownSchema(version)).into(),
        })
    }

    fn damaged(&self, corrupt: &RowCorrupt) -> StoreError {
        StoreError::Damaged {
            place: self.store.place(),
            reason: corrupt.to_string(),
        }
    }
}

impl Gathered {
    fn trouble(&mut self, read: usize, trouble: Trouble) {
        self.trouble.get_or_insert((read, trouble));
    }
}
