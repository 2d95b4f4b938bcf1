//! Commits: made, then applied to buckets, then their redo records removed; and what is left of those that were not.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use asof_core::online::StoreError;
use redis::Value;

use super::{RedisStore, State};
use crate::commit::{Commit, Unfinished};
use crate::deadline::Deadline;
use crate::names::Meta;
use crate::options::Durability;
use crate::reply;
use crate::scripts::Script;
use crate::servers::Request;
use crate::work::{Record, Work};

/// How often a commit is tried that was sealed away together with others.
const TRIES: usize = 5;

/// What became of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Made {
    All,
    /// There is more of the same to be done.
    More,
}

impl RedisStore {
    /// Makes a commit, and applies what it means for buckets.
    pub(super) fn carry_out(
        &self,
        state: &State,
        mut commit: Commit,
        work: &Work<'_>,
        deadline: Deadline,
    ) -> Result<Made, StoreError> {
        // Before anything is written: rows that cannot be folded are refused.
        let plan = self.plan(state, work)?;
        if !plan.is_empty() {
            commit.redo = Some(work.to_bytes().into());
        }
        let mut tries = 0;
        let (number, made) = loop {
            let number = self.commits.begin();
            match self.commit(&commit, number.number, deadline)? {
                Some(made) => break (number, made),
                None if tries < TRIES => tries += 1,
                None => return Err(self.failed("it was sealed again and again")),
            }
        };
        let Some(redo) = &commit.redo else { return Ok(made) };
        let left = |is_applied| Unfinished {
            redo: Some(Arc::clone(redo)),
            is_made: true,
            is_applied,
        };
        if let Err(error) = self.apply(state, plan, number.number, Some(deadline)) {
            self.commits.leave(number.number, left(false));
            return Err(error);
        }
        // All of it is there: what is left is to be tidied up, now or before something else.
        if self.forget_record(number.number, deadline).is_err() {
            self.commits.leave(number.number, left(true));
        }
        Ok(made)
    }

    /// Makes a commit under a number; `None` where it was sealed away.
    fn commit(&self, commit: &Commit, number: u64, deadline: Deadline) -> Result<Option<Made>, StoreError> {
        let request = commit.request(self.lease.epoch(), number, self.commits.acknowledged());
        let reply = match self.servers.ask_one(request, deadline) {
            Ok(reply) => reply,
            // A server that is full says so before it begins.
            Err(error @ StoreError::Full { .. }) => return Err(error),
            Err(error) => {
                let unfinished = Unfinished {
                    redo: commit.redo.clone(),
                    is_made: false,
                    is_applied: false,
                };
                self.commits.leave(number, unfinished);
                if commit.changes_catalogue() {
                    self.is_stale.store(true, Ordering::Release);
                }
                return Err(error);
            }
        };
        let said = reply::bytes(reply).map_err(|odd| self.odd(odd))?;
        match said.as_deref() {
            Some(b"OK") => {
                self.commits.acknowledge(number);
                Ok(Some(Made::All))
            }
            Some(b"MORE") => {
                self.commits.acknowledge(number);
                Ok(Some(Made::More))
            }
            Some(b"GONE") => self.gone().map(|()| None),
            Some(b"FENCED") => Ok(None),
            Some(b"LOST") => Err(self.lease.lost()),
            Some(b"VERSION") => {
                self.is_stale.store(true, Ordering::Release);
                Err(self.failed("the catalogue was changed by somebody else"))
            }
            _ => Err(self.odd(reply::Odd)),
        }
    }

    /// What becomes of a store of which the server has lost changes that it acknowledged.
    fn gone(&self) -> Result<(), StoreError> {
        let place = self.servers.place();
        let reason = "changes that it acknowledged are gone from it: materialize again";
        match self.options.durability {
            Durability::Sync => Err(StoreError::Damaged {
                place: place.into(),
                reason: reason.into(),
            }),
            Durability::Process => {
                tracing::warn!(%place, %reason, "the online store has lost writes");
                self.commits.forget_acknowledged();
                self.is_stale.store(true, Ordering::Release);
                Ok(())
            }
        }
    }

    /// Makes certain of every commit whether it was made, and applies those that were.
    pub(super) fn finish(&self, deadline: Deadline) -> Result<(), StoreError> {
        if self.commits.is_finished() {
            return Ok(());
        }
        let _turn = self.turn(&self.finishing, deadline)?;
        let unfinished = self.commits.unfinished();
        let doubtful = unfinished.iter().filter(|(_, left)| !left.is_made);
        let doubtful: Vec<u64> = doubtful.map(|(number, _)| *number).collect();
        let made = self.seal(&doubtful, deadline)?;
        for (number, left) in unfinished {
            let Some(redo) = left.redo.filter(|_| left.is_made || made.contains(&number)) else {
                self.commits.finish(number);
                continue;
            };
            if !left.is_applied {
                self.redo(number, &redo, Some(deadline))?;
            }
            self.forget_record(number, deadline)?;
            self.commits.finish(number);
        }
        Ok(())
    }

    /// Sees to it that no commit is made any more whose answer was not heard; returns those of some that were.
    fn seal(&self, numbers: &[u64], deadline: Deadline) -> Result<Vec<u64>, StoreError> {
        if numbers.is_empty() {
            return Ok(Vec::new());
        }
        let (catalogue, redo) = (self.names.meta(Meta::Catalogue), self.names.meta(Meta::Redo));
        let request = Request::script(Script::Seal, &[&catalogue, &redo])
            .arg(self.lease.epoch().to_string().as_bytes())
            .arg(self.commits.last().to_string().as_bytes())
            .args(numbers.iter().map(u64::to_string));
        let reply = self.servers.ask_one(request, deadline)?;
        let reply = reply::list(reply).map_err(|odd| self.odd(odd))?;
        match reply.as_slice() {
            [Value::BulkString(said), found @ ..] if said == b"OK" && found.len() == numbers.len() => {
                let found = numbers
                    .iter()
                    .zip(found)
                    .filter(|(_, found)| **found == Value::Int(1));
                Ok(found.map(|(number, _)| *number).collect())
            }
            [Value::BulkString(said), ..] if said == b"LOST" => Err(self.lease.lost()),
            _ => Err(self.odd(reply::Odd)),
        }
    }

    /// Applies all that was committed and not applied when the store was held before.
    pub(super) fn redo_all(&self) -> Result<(), StoreError> {
        let request = Request::new("HGETALL", &self.names.meta(Meta::Redo));
        let records = self.servers.ask_one(request, self.servers.deadline())?;
        let records = reply::pairs(records).map_err(|odd| self.odd(odd))?;
        let number = |field: &[u8]| std::str::from_utf8(field).ok()?.parse::<u64>().ok();
        let mut found = Vec::with_capacity(records.len());
        for (field, record) in records {
            let number = number(&field).ok_or_else(|| self.damaged_record())?;
            // All of them may still be applied, so none is forgotten by the tiles that know it.
            let left = Unfinished {
                redo: Some(record.into()),
                is_made: true,
                is_applied: false,
            };
            self.commits.leave(number, left.clone());
            found.push((number, left));
        }
        found.sort_by_key(|(number, _)| *number);
        for (number, left) in found {
            self.redo(number, left.redo.as_deref().unwrap_or_default(), None)?;
            self.forget_record(number, self.servers.deadline())?;
            self.commits.finish(number);
        }
        Ok(())
    }

    /// Applies a record.
    fn redo(&self, number: u64, record: &[u8], deadline: Option<Deadline>) -> Result<(), StoreError> {
        let record = Record::parse(record).ok_or_else(|| self.damaged_record())?;
        let work = record.work();
        let groups = work.groups.iter();
        let _writing = self
            .writers
            .enter(groups.map(|group| (group.slot.view, group.generation)));
        let state = &*self.state();
        let plan = self.plan(state, &work)?;
        self.apply(state, plan, number, deadline)
    }

    fn forget_record(&self, number: u64, deadline: Deadline) -> Result<(), StoreError> {
        let request = Request::new("HDEL", &self.names.meta(Meta::Redo)).arg(number.to_string().as_bytes());
        self.servers.ask_one(request, deadline).map(drop)
    }

    fn damaged_record(&self) -> StoreError {
        StoreError::Damaged {
            place: self.servers.place().into(),
            reason: "a record of what was accepted is not whole".into(),
        }
    }
}

impl RedisStore {
    /// Sees to it, before keys are read, that what was accepted of them is applied.
    pub(super) fn ready_for(&self, entity: u32, keys: &[&[u8]]) -> Result<(), StoreError> {
        if self.commits.is_finished() {
            return Ok(());
        }
        let unfinished = self.commits.unfinished();
        let redo = unfinished.iter().filter(|(_, left)| !left.is_applied);
        let redo = redo.filter_map(|(_, left)| left.redo.as_deref());
        for record in redo {
            let record = Record::parse(record).ok_or_else(|| self.damaged_record())?;
            if record.work().has_any(entity, keys) {
                return self.ready(self.servers.deadline()).map(drop);
            }
        }
        Ok(())
    }
}
