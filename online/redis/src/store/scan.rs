//! Passes over all that lies on the servers: counting, with which what expired long ago is removed, and removing what was
//! given up.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{BuildHasher, RandomState};

use asof_core::aggregate::tiles::check_chunk;
use asof_core::cancel::Cancellation;
use asof_core::online::{Counts, Generation, StoreError, Survey, ViewSlot, newer_row};
use asof_core::row::StoredRow;
use redis::Value;

use super::{Cell, RedisStore, State, reclaim};
use crate::catalogue::Removal;
use crate::names::{Bucket, Due, Name, RowField, Stored, TileField};
use crate::options::Address;
use crate::pending;
use crate::reply;
use crate::scripts::Script;
use crate::servers::Request;

/// How many names a server is asked for at once, about.
const AT_ONCE: &[u8] = b"1000";

impl RedisStore {
    /// Counts the rows of generations, with those of their layers.
    pub(super) fn count_rows(
        &self,
        surveys: &[Survey],
        cancellation: &Cancellation,
    ) -> Result<Vec<Counts>, StoreError> {
        let (state, _) = self.begin()?;
        let live = |state: &State| {
            surveys.iter().try_for_each(|survey| {
                let numbers = std::iter::once(survey.generation).chain(survey.layer);
                numbers
                    .into_iter()
                    .try_for_each(|number| state.catalogue.live(survey.slot, number).map(drop))
            })
        };
        live(&state)?;
        let mut counted: Vec<Counted> = surveys.iter().map(|survey| Counted::of(&state, survey)).collect();
        self.scan(|names| match cancellation.is_cancelled() {
            true => Err(StoreError::Cancelled),
            false => self.count_names(&state, names, &mut counted),
        })?;
        // What was given up meanwhile was not counted to the end.
        live(&self.begin()?.0)?;
        Ok(counted.into_iter().map(|counted| counted.counts).collect())
    }

    /// Counts what lies under some names.
    fn count_names(&self, state: &State, names: &[Name], counted: &mut [Counted]) -> Result<(), StoreError> {
        let mut requests = Vec::new();
        let mut asked = Vec::new();
        for name in names {
            match self.names.parse(&name.bytes) {
                Some(Stored::Rows { entity, key }) => {
                    let wanted = counted.iter().enumerate();
                    let wanted = wanted.filter(|(_, of)| of.survey.slot.entity == entity && !of.is_tiled);
                    let wanted: Vec<usize> = wanted.map(|(at, _)| at).collect();
                    if wanted.is_empty() {
                        continue;
                    }
                    let of = wanted.iter().filter_map(|at| counted.get(*at));
                    let fields = of.flat_map(Counted::fields);
                    requests.push(Request::new("HMGET", name).args(fields));
                    asked.push((name, key, wanted));
                }
                Some(Stored::Tiles {
                    slot,
                    generation,
                    key,
                }) => {
                    for (at, of) in counted.iter_mut().enumerate() {
                        // The tiles of a key in a generation and its layers are counted together, once.
                        let is_of = of.survey.slot == slot && of.is_tiled && of.numbers.contains(&generation);
                        if !is_of || !of.is_new(key) {
                            continue;
                        }
                        let tiles = of
                            .numbers
                            .iter()
                            .map(|number| self.names.tiles(slot, *number, key));
                        let tiles: Vec<Name> = tiles.collect();
                        let tiles: Vec<&Name> = tiles.iter().collect();
                        requests.push(Request::script(Script::Together, &tiles));
                        asked.push((name, key, vec![at]));
                    }
                }
                None => {}
            }
        }
        let replies = self.servers.ask_all(requests, None)?;
        let mut expired = Vec::new();
        for ((name, key, wanted), reply) in asked.into_iter().zip(replies) {
            let mut replies = reply::list(reply).map_err(|odd| self.odd(odd))?.into_iter();
            for at in wanted {
                let Some(of) = counted.get_mut(at) else { continue };
                let counts = match of.is_tiled {
                    true => self.count_tiles(state, key, of, replies.by_ref(), &mut expired)?,
                    false => {
                        let fields = replies.by_ref().take(2 * of.numbers.len()).map(reply::bytes);
                        let fields = fields.collect::<Result<Vec<_>, _>>();
                        let fields = fields.map_err(|odd| self.odd(odd))?;
                        for (number, fields) in of.numbers.iter().zip(fields.chunks(2)) {
                            let row = fields.first().and_then(Option::as_deref);
                            expired.extend(reclaim::expired(state, &of.survey, *number, name, row));
                        }
                        self.count_key(state, key, &of.survey, &fields)?
                    }
                };
                of.add(counts);
            }
        }
        self.servers.ask_all(expired, None).map(drop)
    }

    /// Counts a key by its rows and pending rows, number by number.
    fn count_key(
        &self,
        state: &State,
        key: &[u8],
        survey: &Survey,
        fields: &[Option<Vec<u8>>],
    ) -> Result<Counts, StoreError> {
        let cell = cell(key, survey);
        let mut counts = Counts::default();
        let mut winner: Option<&[u8]> = None;
        let mut pending = BTreeSet::new();
        for fields in fields.chunks(2) {
            let [row, waiting] = fields else {
                return Err(self.odd(reply::Odd));
            };
            if let Some(row) = row {
                self.parse(state, &cell, row)?;
                counts.bytes += (key.len() + row.len()) as u64;
                winner = Some(winner.map_or(row, |winner| newer_row(winner, row)));
            }
            let waiting = pending::parse(waiting.as_deref().unwrap_or_default());
            let waiting =
                waiting.ok_or_else(|| self.damaged(state, &cell, "its list of pending rows is cut short"))?;
            for (order, row) in waiting {
                self.parse(state, &cell, row)?;
                counts.bytes += (key.len() + row.len()) as u64;
                // One that waits in a layer as well is one.
                if order.due() > survey.at {
                    pending.insert(order);
                } else {
                    winner = Some(winner.map_or(row, |winner| newer_row(winner, row)));
                }
            }
        }
        counts.pending = pending.len() as u64;
        if let Some(winner) = winner {
            let winner: StoredRow<'_> = self.parse(state, &cell, winner)?;
            counts.keys = 1;
            counts.earlier = u64::from(winner.order.event_time < survey.from);
        }
        Ok(counts)
    }

    /// Counts a key by its tiles, number by number; adds what removes those that no window needs.
    fn count_tiles(
        &self,
        state: &State,
        key: &[u8],
        of: &Counted,
        replies: impl Iterator<Item = Value>,
        past: &mut Vec<Request>,
    ) -> Result<Counts, StoreError> {
        let cell = cell(key, &of.survey);
        let (mut chunks, mut waiting) = (Counts::default(), Vec::new());
        for (number, reply) in of.numbers.iter().zip(replies) {
            let fields = reply::pairs(reply).map_err(|odd| self.odd(odd))?;
            let name = self.names.tiles(of.survey.slot, *number, key);
            past.extend(reclaim::past(state, &of.survey, &name, &fields));
            for (field, value) in fields {
                if TileField::parse(&field).is_some() {
                    check_chunk(&value).map_err(|error| self.damaged(state, &cell, &error.to_string()))?;
                    chunks.bytes += (key.len() + value.len()) as u64;
                    chunks.keys = 1;
                } else if field == TileField::PENDING {
                    waiting.extend([None, Some(value)]);
                }
            }
        }
        let mut counts = self.count_key(state, key, &of.survey, &waiting)?;
        counts.bytes += chunks.bytes;
        counts.keys = counts.keys.max(chunks.keys);
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
        for removal in given_up {
            self.forget_layer_keys(removal.view, removal.generation)?;
        }
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

/// A generation that is counted.
struct Counted {
    survey: Survey,
    /// Its own number, and those of the layers that are counted with it.
    numbers: Vec<Generation>,
    is_tiled: bool,
    /// Of the keys with tiles, those that were counted.
    keys: HashSet<u64>,
    hasher: RandomState,
    counts: Counts,
}

impl Counted {
    fn of(state: &State, survey: &Survey) -> Self {
        let (view, generation) = (survey.slot.view, survey.generation);
        let mut numbers = state.together(view, generation);
        let layer = survey.layer.filter(|layer| !numbers.contains(layer));
        numbers.extend(layer);
        Self {
            survey: *survey,
            numbers,
            is_tiled: state.layout(view, generation).is_some(),
            keys: HashSet::new(),
            hasher: RandomState::new(),
            counts: Counts::default(),
        }
    }

    fn is_new(&mut self, key: &[u8]) -> bool {
        self.keys.insert(self.hasher.hash_one(key))
    }

    /// The fields of its rows and pending rows.
    fn fields(&self) -> impl Iterator<Item = Vec<u8>> + '_ {
        let view = self.survey.slot.view;
        self.numbers
            .iter()
            .flat_map(move |number| [RowField::Row, RowField::Pending].map(|field| field.of(view, *number)))
    }

    fn add(&mut self, more: Counts) {
        self.counts.keys += more.keys;
        self.counts.pending += more.pending;
        self.counts.bytes += more.bytes;
        self.counts.earlier += more.earlier;
    }
}
