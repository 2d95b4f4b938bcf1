//! The intake log: what was pushed, until it is in its table.

use std::thread;
use std::time::Duration;

use asof_core::key::EntityKey;
use asof_core::name::{ProjectName, SourceName};
use asof_core::online::intake::{Entry, Intake, IntakeLog, SourceAddress, StreamMark};
use asof_core::online::{Generation, StoreError, ViewSlot};
use asof_core::time::Timestamp;
use redis::Value;

use super::RedisStore;
use super::commits::Made;
use super::generations::nothing;
use crate::commit::Commit;
use crate::deadline::Deadline;
use crate::names::{Bucket, Due, Meta, generation_field, source_bytes, time_bytes};
use crate::options::Address;
use crate::reply;
use crate::servers::Request;
use crate::work::{Group, Work};

/// How many answers are forgotten in one step.
const STEP: usize = 1_000;
/// How many entries are fetched at once, at most.
const ENTRIES: usize = 32;
/// A server that writes to its disk every second has done so after as long.
const SECOND: Duration = Duration::from_millis(1_200);

impl IntakeLog for RedisStore {
    fn accept(&self, source: &SourceAddress, intake: Intake<'_>) -> Result<(), StoreError> {
        let generations: Vec<_> = intake
            .rows
            .iter()
            .map(|rows| (rows.slot, rows.generation))
            .collect();
        let (state, _writing, deadline) = self.begin_writing(&generations)?;
        let mut commit = Commit::new(&self.names);
        if let Some(entry) = intake.entry {
            put_entry(&mut commit, source, entry);
        }
        if let Some(entry) = intake.dead_letters {
            put_entry(&mut commit, &source.dead_letters(), entry);
        }
        for mark in intake.marks {
            commit.set(Meta::Marks(source), mark.lane.as_bytes(), &mark.bytes);
        }
        let named = source_bytes(source);
        for answer in intake.answers {
            let keys = [Meta::Answers(source), Meta::Given];
            let at = time_bytes(intake.at);
            commit.change("A", &keys, &[&named, answer.id.as_bytes(), &at, &answer.bytes]);
        }
        if let Some(events) = intake.events {
            commit.set(Meta::Indexed, &named, events.indexed);
        }
        for rows in intake.rows {
            if let Some(note) = &rows.note {
                commit.set(Meta::Notes, &generation_field(rows.slot, rows.generation), note);
            }
        }
        let groups = intake.rows.iter().map(|rows| Group {
            slot: rows.slot,
            generation: rows.generation,
            pushed: true,
            rows: &rows.rows,
        });
        let work = Work {
            at: intake.at,
            groups: groups.collect(),
            events: intake.events.map(|events| (source, events.ids)),
        };
        self.carry_out(&state, commit, &work, deadline).map(drop)
    }

    fn noted(&self, slot: ViewSlot, generation: Generation) -> Result<Option<Vec<u8>>, StoreError> {
        let (state, _) = self.begin()?;
        state.catalogue.live(slot, generation)?;
        self.meta_field(Meta::Notes, &generation_field(slot, generation))
    }

    fn apply_pushed(
        &self,
        slot: ViewSlot,
        generation: Generation,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        self.merge_due(slot, generation, Due::Pushed, now)
    }

    fn marks(&self, source: &SourceAddress) -> Result<Vec<StreamMark>, StoreError> {
        let marks = self.ask_meta("HGETALL", Meta::Marks(source), &[])?;
        let marks = reply::pairs(marks).map_err(|odd| self.odd(odd))?;
        let marks = marks.into_iter().map(|(lane, bytes)| {
            let lane = String::from_utf8(lane).map_err(|_| self.unreadable("the name of a lane"))?;
            Ok(StreamMark { lane, bytes })
        });
        let mut marks = marks.collect::<Result<Vec<_>, _>>()?;
        marks.sort_by(|a, b| a.lane.cmp(&b.lane));
        Ok(marks)
    }

    fn settle(&self) -> Result<(), StoreError> {
        let (_, deadline) = self.begin()?;
        for master in self.servers.masters(deadline)? {
            self.settle_server(&master)?;
        }
        Ok(())
    }

    fn answered(&self, source: &SourceAddress, id: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let answer = self.meta_field(Meta::Answers(source), id.as_bytes())?;
        let answer = answer.map(|answer| answer.split_first_chunk::<8>().map(|(_, answer)| answer.to_vec()));
        answer
            .map(|answer| answer.ok_or_else(|| self.unreadable("an answer")))
            .transpose()
    }

    fn accepted(&self, source: &SourceAddress) -> Result<u64, StoreError> {
        let accepted = self.ask_meta("HGET", Meta::Accepted, &[&source_bytes(source)])?;
        reply::number(&accepted).map_err(|odd| self.odd(odd))
    }

    fn entries(&self, source: &SourceAddress, bytes: usize) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        let (mut entries, mut taken) = (Vec::new(), 0);
        let mut at_once = 1;
        let mut after = b"-".to_vec();
        while entries.is_empty() || taken < bytes {
            let limit = at_once.to_string();
            let range: [&[u8]; 5] = [&after, b"+", b"LIMIT", b"0", limit.as_bytes()];
            let numbers = self.ask_meta("ZRANGEBYLEX", Meta::Numbers(source), &range)?;
            let numbers = self.items(numbers)?;
            let Some(last) = numbers.last() else { break };
            after = [&b"("[..], last].concat();
            let fields: Vec<&[u8]> = numbers.iter().map(Vec::as_slice).collect();
            let found = self.ask_meta("HMGET", Meta::Entries(source), &fields)?;
            let found = reply::list(found).map_err(|odd| self.odd(odd))?;
            for (number, entry) in numbers.iter().zip(found) {
                // One that was trimmed meanwhile is in its table.
                let Some(entry) = reply::bytes(entry).map_err(|odd| self.odd(odd))? else {
                    continue;
                };
                if taken >= bytes && !entries.is_empty() {
                    break;
                }
                taken += entry.len();
                entries.push((self.entry_number(number)?, entry));
            }
            at_once = (at_once * 2).min(ENTRIES);
        }
        Ok(entries)
    }

    fn last_entry(&self, source: &SourceAddress) -> Result<Option<u64>, StoreError> {
        let last = self.ask_meta(
            "ZREVRANGEBYLEX",
            Meta::Numbers(source),
            &[b"+", b"-", b"LIMIT", b"0", b"1"],
        )?;
        let last = self.items(last)?;
        last.first().map(|number| self.entry_number(number)).transpose()
    }

    fn waiting(&self, source: &SourceAddress) -> Result<u64, StoreError> {
        let waiting = self.ask_meta("HGET", Meta::Waiting, &[&source_bytes(source)])?;
        reply::number(&waiting).map_err(|odd| self.odd(odd))
    }

    fn waiting_sources(&self) -> Result<Vec<SourceAddress>, StoreError> {
        let sources = self.ask_meta("HKEYS", Meta::Waiting, &[])?;
        let sources = self.items(sources)?;
        let sources = sources
            .iter()
            .map(|named| parse_source(named).ok_or_else(|| self.unreadable("the name of a source")));
        let mut sources = sources.collect::<Result<Vec<_>, _>>()?;
        sources.sort();
        Ok(sources)
    }

    fn trim(&self, source: &SourceAddress, through: u64) -> Result<(), StoreError> {
        let (state, _) = self.begin()?;
        let mut commit = Commit::new(&self.names);
        let keys = [Meta::Numbers(source), Meta::Entries(source), Meta::Waiting];
        commit.change("T", &keys, &[&source_bytes(source), &through.to_be_bytes()]);
        let nothing = nothing();
        while self.carry_out(&state, commit.clone(), &nothing, self.servers.deadline())? == Made::More {}
        Ok(())
    }

    fn forget_answers(&self, before: Timestamp) -> Result<u64, StoreError> {
        let (state, _) = self.begin()?;
        let mut forgotten = 0;
        let (end, limit) = ([&b"("[..], &time_bytes(before)].concat(), STEP.to_string());
        loop {
            let range: [&[u8]; 5] = [b"-", &end, b"LIMIT", b"0", limit.as_bytes()];
            let given = self.ask_meta("ZRANGEBYLEX", Meta::Given, &range)?;
            let given = self.items(given)?;
            if given.is_empty() {
                return Ok(forgotten);
            }
            let mut commit = Commit::new(&self.names);
            for given in &given {
                let (at, source, id) =
                    parse_given(given).ok_or_else(|| self.unreadable("when an answer was given"))?;
                let keys = [Meta::Answers(&source), Meta::Given];
                commit.change("F", &keys, &[&source_bytes(&source), id, at]);
            }
            self.carry_out(&state, commit, &nothing(), self.servers.deadline())?;
            forgotten += given.len() as u64;
        }
    }

    fn known_events(&self, source: &SourceAddress, ids: &[EntityKey]) -> Result<Vec<bool>, StoreError> {
        self.begin()?;
        let requests = ids.iter().map(|id| {
            let id = id.as_bytes();
            Request::new("SISMEMBER", &self.names.events(source, Bucket::of(&[id]))).arg(id)
        });
        let known = self.servers.ask_all(requests, None)?;
        Ok(known.iter().map(|known| *known == Value::Int(1)).collect())
    }

    fn note_events(
        &self,
        source: &SourceAddress,
        ids: &[EntityKey],
        indexed: Option<&[u8]>,
    ) -> Result<(), StoreError> {
        let (state, _) = self.begin()?;
        let work = Work {
            events: Some((source, ids)),
            ..nothing()
        };
        // The events before what says that they are there.
        let plan = self.plan(&state, &work)?;
        self.apply_rows(plan, None)?;
        let Some(indexed) = indexed else { return Ok(()) };
        let mut commit = Commit::new(&self.names);
        commit.set(Meta::Indexed, &source_bytes(source), indexed);
        self.carry_out(&state, commit, &nothing(), self.servers.deadline())
            .map(drop)
    }

    fn indexed_events(&self, source: &SourceAddress) -> Result<Option<Vec<u8>>, StoreError> {
        self.meta_field(Meta::Indexed, &source_bytes(source))
    }

    fn forget_events(&self, source: &SourceAddress) -> Result<(), StoreError> {
        let (state, deadline) = self.begin()?;
        // What says that they are there before the events.
        let mut commit = Commit::new(&self.names);
        commit.unset(Meta::Indexed, &source_bytes(source));
        self.carry_out(&state, commit, &nothing(), deadline)?;
        let events = Bucket::all().map(|bucket| Request::new("UNLINK", &self.names.events(source, bucket)));
        self.servers.ask_all(events, None).map(drop)
    }
}

impl RedisStore {
    fn items(&self, reply: Value) -> Result<Vec<Vec<u8>>, StoreError> {
        let items = reply::list(reply).map_err(|odd| self.odd(odd))?.into_iter();
        let items = items.map(|item| reply::bytes(item)?.ok_or(reply::Odd));
        items.collect::<Result<_, _>>().map_err(|odd| self.odd(odd))
    }

    fn entry_number(&self, number: &[u8]) -> Result<u64, StoreError> {
        let number = number.try_into().map(u64::from_be_bytes);
        number.map_err(|_| self.unreadable("the number of an entry"))
    }

    fn unreadable(&self, what: &str) -> StoreError {
        StoreError::Damaged {
            place: self.servers.place().into(),
            reason: format!("{what} cannot be read"),
        }
    }

    /// Waits until all that a server has written is on its disk.
    fn settle_server(&self, master: &Address) -> Result<(), StoreError> {
        let place = self.servers.shown(master);
        let deadline = self.servers.deadline();
        let config = Request::to(master, "CONFIG").arg(b"GET").arg(b"appendfsync");
        let sync = self.servers.ask_one(config, deadline).ok();
        let sync = sync
            .and_then(|reply| reply::pairs(reply).ok()?.pop())
            .map(|(_, value)| value);
        match sync.as_deref() {
            // It was there before it was acknowledged.
            Some(b"always") => return Ok(()),
            Some(b"no") => {
                return Err(crate::failure::failed(
                    &place,
                    "its appendfsync is no, so nobody knows when its data is on the disk: set everysec or always",
                ));
            }
            _ => {}
        }
        let until = Deadline::after(SECOND * 5);
        thread::sleep(SECOND);
        loop {
            let info = Request::to(master, "INFO").arg(b"persistence");
            let info = self.servers.ask_one(info, self.servers.deadline())?;
            let info = reply::bytes(info)
                .map_err(|odd| self.odd(odd))?
                .unwrap_or_default();
            let info = String::from_utf8_lossy(&info);
            let has = |line: &str| info.lines().any(|found| found.trim() == line);
            if has("aof_pending_bio_fsync:0") && has("aof_last_write_status:ok") {
                return Ok(());
            }
            if until.has_passed() {
                return Err(crate::failure::failed(
                    &place,
                    "it does not get its data to the disk",
                ));
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
}

fn put_entry(commit: &mut Commit, source: &SourceAddress, entry: Entry<'_>) {
    let named = source_bytes(source);
    let keys = [Meta::Numbers(source), Meta::Entries(source), Meta::Waiting];
    commit.change("E", &keys, &[&named, &entry.number.to_be_bytes(), entry.bytes]);
    commit.set(Meta::Accepted, &named, entry.accepted.to_string().as_bytes());
}

fn parse_source(named: &[u8]) -> Option<SourceAddress> {
    let mut names = named.strip_suffix(&[0])?.split(|byte| *byte == 0);
    let mut name = || std::str::from_utf8(names.next()?).ok();
    let source = SourceAddress {
        project: ProjectName::parse(name()?).ok()?,
        source: SourceName::parse_stored(name()?).ok()?,
    };
    names.next().is_none().then_some(source)
}

/// The instant, the source and the id of an answer.
fn parse_given(given: &[u8]) -> Option<(&[u8], SourceAddress, &[u8])> {
    let (at, rest) = given.split_at_checked(8)?;
    let mut ends = rest.iter().enumerate().filter(|(_, byte)| **byte == 0);
    let (end, _) = ends.nth(1)?;
    let (source, id) = rest.split_at_checked(end + 1)?;
    Some((at, parse_source(source)?, id))
}
