//! Passes over all that lies on the servers: counting, with which what expired long ago is removed, and removing what was
//! given up.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{BuildHasher, RandomState};

use asof_core::aggregate::tiles::check_chunk;
use asof_core::online::{Counts, StoreError, Survey, ViewSlot, newer_row};
use asof_core::row::StoredRow;
use redis::Value;

use super::{Cell, RedisStore, State, reclaim};
use crate::catalogue::Removal;
use crate::names::{Bucket, Due, Name, RowField, Stored, TileField};
use crate::options::Address;
use crate::pending;
use crate::reply;
use crate::servers::Request;

/// How many names a server is asked for at once, about.
const AT_ONCE: &[u8] = b"1000";

impl RedisStore {
    /// Counts the rows of generations.
    pub(super) fn count_rows(&self, surveys: &[Survey]) -> Result<Vec<Counts>, StoreError> {
        let (state, _) = self.begin()?;
        let live = |state: &State| {
            surveys
                .iter()
                .try_for_each(|survey| state.catalogue.live(survey.slot, survey.generation).map(drop))
        };
        live(&state)?;
        let mut counts = vec![Counts::default(); surveys.len()];
        self.scan(|names| self.count_names(&state, surveys, names, &mut counts))?;
        // What was given up meanwhile was not counted to the end.
        live(&self.begin()?.0)?;
        Ok(counts)
    }

    /// Counts what lies under some names.
    fn count_names(
        &self,
        state: &State,
        surveys: &[Survey],
        names: &[Name],
        counts: &mut [Counts],
    ) -> Result<(), StoreError> {
        let mut requests = Vec::new();
        let mut asked = Vec::new();
        for name in names {
            match self.names.parse(&name.bytes) {
                Some(Stored::Rows { entity, key }) => {
                    let wanted = surveys.iter().enumerate();
                    let wanted = wanted.filter(|(_, survey)| {
                        survey.slot.entity == entity
                            && state.layout(survey.slot.view, survey.generation).is_none()
                    });
                    let wanted: Vec<(usize, &Survey)> = wanted.collect();
                    if wanted.is_empty() {
                        continue;
                    }
                    let fields = wanted.iter().flat_map(|(_, survey)| {
                        [RowField::Row, RowField::Pending]
                            .map(|field| field.of(survey.slot.view, survey.generation))
                    });
                    requests.push(Request::new("HMGET", name).args(fields));
                    asked.push((name, key, wanted));
                }
                Some(Stored::Tiles {
                    slot,
                    generation,
                    key,
                }) => {
                    let wanted = surveys.iter().enumerate();
                    let wanted =
                        wanted.filter(|(_, survey)| survey.slot == slot && survey.generation == generation);
                    let wanted: Vec<(usize, &Survey)> = wanted.collect();
                    if !wanted.is_empty() {
                        requests.push(Request::new("HGETALL", name));
                        asked.push((name, key, wanted));
                    }
                }
                None => {}
            }
        }
        let replies = self.servers.ask_all(requests, None)?;
        let mut expired = Vec::new();
        for ((name, key, wanted), reply) in asked.into_iter().zip(replies) {
            let is_tiled = wanted
                .iter()
                .any(|(_, survey)| state.layout(survey.slot.view, survey.generation).is_some());
            if is_tiled {
                let fields = reply::pairs(reply).map_err(|odd| self.odd(odd))?;
                for (at, survey) in wanted {
                    let counted = self.count_tiles(state, key, survey, &fields)?;
                    expired.extend(reclaim::past(state, survey, name, &fields));
                    add(counts, at, counted);
                }
                continue;
            }
            let fields = reply::list(reply).map_err(|odd| self.odd(odd))?;
            let fields: Result<Vec<_>, _> = fields.into_iter().map(reply::bytes).collect();
            let fields = fields.map_err(|odd| self.odd(odd))?;
            for ((at, survey), fields) in wanted.into_iter().zip(fields.chunks(2)) {
                let [row, waiting] = fields else {
                    return Err(self.odd(reply::Odd));
                };
                let counted = self.count_key(state, key, survey, row.as_deref(), waiting.as_deref())?;
                expired.extend(reclaim::expired(state, survey, name, row.as_deref()));
                add(counts, at, counted);
            }
        }
        self.servers.ask_all(expired, None).map(drop)
    }

    fn count_key(
        &self,
        state: &State,
        key: &[u8],
        survey: &Survey,
        row: Option<&[u8]>,
        waiting: Option<&[u8]>,
    ) -> Result<Counts, StoreError> {
        let cell = cell(key, survey);
        let mut counts = Counts::default();
        let mut winner = row;
        if let Some(row) = row {
            self.parse(state, &cell, row)?;
            counts.bytes += (key.len() + row.len()) as u64;
        }
        let waiting = pending::parse(waiting.unwrap_or_default());
        let waiting =
            waiting.ok_or_else(|| self.damaged(state, &cell, "its list of pending rows is cut short"))?;
        for (order, row) in waiting {
            self.parse(state, &cell, row)?;
            counts.bytes += (key.len() + row.len()) as u64;
            if order.due() > survey.at {
                counts.pending += 1;
            } else {
                winner = Some(winner.map_or(row, |winner| newer_row(winner, row)));
            }
        }
        if let Some(winner) = winner {
            let winner: StoredRow<'_> = self.parse(state, &cell, winner)?;
            counts.keys = 1;
            counts.earlier = u64::from(winner.order.event_time < survey.from);
        }
        Ok(counts)
    }

    fn count_tiles(
        &self,
        state: &State,
        key: &[u8],
        survey: &Survey,
        fields: &[reply::Pair],
    ) -> Result<Counts, StoreError> {
        let cell = cell(key, survey);
        let mut counts = Counts::default();
        for (field, value) in fields {
            if TileField::parse(field).is_some() {
                check_chunk(value).map_err(|error| self.damaged(state, &cell, &error.to_string()))?;
                counts.bytes += (key.len() + value.len()) as u64;
                counts.keys = 1;
            } else if field == TileField::PENDING {
                // Tiles are what a key has, whatever is to be added to them.
                let waiting = self.count_key(state, key, survey, None, Some(value))?;
                counts.bytes += waiting.bytes;
                counts.pending += waiting.pending;
                counts.keys = counts.keys.max(waiting.keys);
                counts.earlier += waiting.earlier;
            }
        }
        Ok(counts)
    }

    /// Removes the rows of generations; returns how many keys each had.
    pub(super) fn remove_rows(
        &self,
        given_up: &BTreeSet<Removal>,
    ) -> Result<BTreeMap<Removal, u64>, StoreError> {
        let entities: BTreeSet<u32> = given_up.iter().map(|removal| removal.entity).collect();
        let mut removed: BTreeMap<Removal, u64> = BTreeMap::new();
        self.scan(|names| {
            let mut requests = Vec::new();
            // Of each request, whose rows it removes.
            let mut rows = Vec::new();
            for name in names {
                match self.names.parse(&name.bytes) {
                    Some(Stored::Rows { entity, .. }) if entities.contains(&entity) => {
                        for removal in given_up.iter().filter(|removal| removal.entity == entity) {
                            let field = |field: RowField| field.of(removal.view, removal.generation);
                            requests.push(Request::new("HDEL", name).arg(&field(RowField::Row)));
                            rows.push(Some(*removal));
                            requests.push(Request::new("HDEL", name).arg(&field(RowField::Pending)));
                            rows.push(None);
                        }
                    }
                    Some(Stored::Tiles { slot, generation, .. })
                        if given_up.contains(&Removal::of(slot, generation)) =>
                    {
                        requests.push(Request::new("UNLINK", name));
                        rows.push(None);
                    }
                    _ => {}
                }
            }
            let replies = self.servers.ask_all(requests, None)?;
            for (removal, reply) in rows.into_iter().zip(&replies) {
                let had = reply::number(reply).map_err(|odd| self.odd(odd))?;
                if let Some(removal) = removal {
                    *removed.entry(removal).or_default() += had;
                }
            }
            Ok(())
        })?;
        let due = given_up.iter().flat_map(|removal| {
            [Due::All, Due::Pushed]
                .map(|due| Request::new("UNLINK", &self.names.due(due, removal.view, removal.generation)))
        });
        self.servers.ask_all(due, None)?;
        Ok(removed)
    }

    /// Passes over all names of rows and tiles, each once.
    fn scan(&self, mut visit: impl FnMut(&[Name]) -> Result<(), StoreError>) -> Result<(), StoreError> {
        // A server that makes room for more names may tell of some of them twice.
        let (hasher, mut seen) = (RandomState::new(), HashSet::new());
        for master in self.servers.masters(self.servers.deadline())? {
            let mut cursor = b"0".to_vec();
            loop {
                let (next, names) = self.scan_step(&master, &cursor)?;
                let names = names.iter().filter(|name| seen.insert(hasher.hash_one(name)));
                let names: Vec<Name> = names.filter_map(|name| self.names.of(name)).collect();
                visit(&names)?;
                cursor = next;
                if cursor == b"0" {
                    break;
                }
            }
        }
        // Nothing of it was lost before or meanwhile: marks do not come back.
        self.check_marks()
    }

    fn scan_step(&self, master: &Address, cursor: &[u8]) -> Result<(Vec<u8>, Vec<Vec<u8>>), StoreError> {
        let request = Request::to(master, "SCAN")
            .arg(cursor)
            .arg(b"MATCH")
            .arg(self.names.pattern().as_bytes())
            .arg(b"COUNT")
            .arg(AT_ONCE);
        let reply = self.servers.ask_one(request, self.servers.deadline())?;
        let step = || {
            let mut reply = reply::list(reply)?.into_iter();
            let cursor = reply::bytes(reply.next().ok_or(reply::Odd)?)?.ok_or(reply::Odd)?;
            let names = reply::list(reply.next().ok_or(reply::Odd)?)?.into_iter();
            let names = names.map(|name| reply::bytes(name)?.ok_or(reply::Odd));
            Ok((cursor, names.collect::<Result<_, _>>()?))
        };
        step().map_err(|odd| self.odd(odd))
    }

    /// Whether every part of the store is there.
    fn check_marks(&self) -> Result<(), StoreError> {
        let marks = Bucket::all().map(|bucket| Request::new("EXISTS", &self.names.mark(bucket)));
        let marks = self.servers.ask_all(marks, None)?;
        match marks.iter().all(|mark| *mark == Value::Int(1)) {
            true => Ok(()),
            false => Err(StoreError::Damaged {
                place: self.servers.place().into(),
                reason: "a part of the store is gone".into(),
            }),
        }
    }
}

fn cell<'a>(key: &'a [u8], survey: &Survey) -> Cell<'a> {
    let ViewSlot { view, .. } = survey.slot;
    Cell {
        key,
        view,
        generation: survey.generation,
    }
}

fn add(counts: &mut [Counts], at: usize, more: Counts) {
    if let Some(counts) = counts.get_mut(at) {
        counts.keys += more.keys;
        counts.pending += more.pending;
        counts.bytes += more.bytes;
        counts.earlier += more.earlier;
    }
}
