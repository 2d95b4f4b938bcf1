//! The store.
//!
//! What the store knows of its views is published as a whole: a call takes it as it is.

mod commits;
mod generations;
mod intake;
mod layers;
mod load;
mod pending;
mod plan;
mod read;
mod reclaim;
mod scan;
mod tiles;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::iter;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use asof_core::aggregate::tiles::{FoldedEvents, TileLayout};
use asof_core::cancel::Cancellation;
use asof_core::definition::StoredShape;
use asof_core::online::{
    Counts, Generation, GenerationState, OnlineReader, OnlineRow, OnlineStore, ReadSet, SortedRows, Staged,
    StoreError, StoreMetric, Survey, ViewAddress, ViewSlot, ViewState,
};
use asof_core::row::{RowSchema, StoredRow};
use asof_core::time::Timestamp;
use redis::Value;

use crate::catalogue::Catalogue;
use crate::commit::Commits;
use crate::deadline::Deadline;
use crate::failure;
use crate::lease::{Lease, Taken};
use crate::names::{Bucket, Meta, Names};
use crate::options::{Place, RedisOptions, check_namespace};
use crate::promise;
use crate::reply::{self, Odd};
use crate::servers::{Request, Servers};
use crate::turn::Turn;
use crate::writers::{Writers, Writing};

/// An online store on Redis or Valkey: one server, or a cluster.
pub struct RedisStore {
    options: RedisOptions,
    servers: Arc<Servers>,
    names: Names,
    lease: Lease,
    commits: Commits,
    state: RwLock<Arc<State>>,
    writers: Writers,
    /// Whether the catalogue may have been changed without being published.
    is_stale: AtomicBool,
    /// Who changes the catalogue.
    changing: Turn,
    /// Who sees to commits that are unfinished.
    finishing: Turn,
    /// Who removes rows of generations that were given up.
    sweeping: Turn,
}

/// What the store knows of its views.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) catalogue: Catalogue,
    /// The tiles of the generations that have some, by their numbers and those of their layers.
    layouts: HashMap<(u32, Generation), Arc<TileLayout>>,
    /// The generations that have layers which reads find, each with those.
    shown: HashMap<(u32, Generation), Vec<Generation>>,
    /// The layers.
    layers: HashSet<(u32, Generation)>,
    /// How often it was published.
    changes: u64,
}

impl State {
    fn new(catalogue: Catalogue, changes: u64) -> Self {
        let (mut layouts, mut shown, mut layers) = (HashMap::new(), HashMap::new(), HashSet::new());
        for (number, view) in &catalogue.views {
            for state in view.state.generations() {
                if let Some(tiles) = &state.shape.tiles {
                    layouts.extend(state.numbers().map(|of| ((*number, of), Arc::clone(tiles))));
                }
                shown.insert((*number, state.generation), state.shown().collect());
                layers.extend(state.layers.iter().map(|layer| (*number, layer.generation)));
            }
        }
        Self {
            catalogue,
            layouts,
            shown,
            layers,
            changes,
        }
    }

    fn layout(&self, view: u32, generation: Generation) -> Option<&Arc<TileLayout>> {
        self.layouts.get(&(view, generation))
    }

    /// A number and those of its layers that reads find; of a layer it is that alone.
    fn together(&self, view: u32, number: Generation) -> Vec<Generation> {
        let shown = self.shown.get(&(view, number)).into_iter().flatten();
        iter::once(number).chain(shown.copied()).collect()
    }

    fn is_layer(&self, view: u32, number: Generation) -> bool {
        self.layers.contains(&(view, number))
    }
}

impl RedisStore {
    /// Opens the store of a namespace, and makes it where there is none. What was accepted before and is not applied is
    /// applied first.
    ///
    /// # Errors
    ///
    /// [`StoreError::Held`] where another process has it open; [`StoreError::Failed`] where a server is not reached, or
    /// does not keep what the durability promises; [`StoreError::Damaged`] where a part of the store is gone.
    pub fn open(options: &RedisOptions) -> Result<Self, StoreError> {
        let place = Place::parse(&options.url, &options.tls)?;
        check_namespace(&place.shown, &options.namespace)?;
        let names = Names::new(&options.namespace);
        let servers = Arc::new(Servers::new(place, names.clone(), options.deadline));
        promise::check(&servers, options.durability)?;
        let Taken {
            lease,
            id,
            is_new,
            last,
        } = Lease::take(&servers, &names, options.lease)?;
        make_marks(&servers, &names, &id, is_new)?;
        servers.expect_marks(&id);
        let store = Self {
            options: options.clone(),
            servers,
            names,
            lease,
            commits: Commits::after(last),
            state: RwLock::default(),
            writers: Writers::default(),
            is_stale: AtomicBool::new(true),
            changing: Turn::default(),
            finishing: Turn::default(),
            sweeping: Turn::default(),
        };
        store.reload(store.servers.deadline())?;
        store.redo_all()?;
        if let Err(error) = store.sweep() {
            tracing::warn!(%error, "rows that nobody reads any more could not be removed; it will be tried again");
        }
        Ok(store)
    }

    /// What it was opened with.
    pub fn options(&self) -> &RedisOptions {
        &self.options
    }

    fn state(&self) -> Arc<State> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Publishes what the store knows of its views.
    fn publish(&self, catalogue: Catalogue) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let next = Arc::new(State::new(catalogue, state.changes + 1));
        *state = next;
    }

    /// Sees to it that what follows builds on what is certain: the store is held, every commit was made and applied or
    /// was not, and the catalogue is as it was written.
    fn ready(&self, deadline: Deadline) -> Result<Arc<State>, StoreError> {
        self.lease.check(deadline)?;
        self.finish(deadline)?;
        if self.is_stale.load(Ordering::Acquire) {
            let _turn = self.turn(&self.changing, deadline)?;
            self.reload(deadline)?;
        }
        Ok(self.state())
    }

    /// The same for a call that begins now.
    fn begin(&self) -> Result<(Arc<State>, Deadline), StoreError> {
        let deadline = self.servers.deadline();
        Ok((self.ready(deadline)?, deadline))
    }

    /// The same for a call that writes rows of generations, all of which must be there.
    fn begin_writing(
        &self,
        generations: &[(ViewSlot, Generation)],
    ) -> Result<(Arc<State>, Writing<'_>, Deadline), StoreError> {
        let (_, deadline) = self.begin()?;
        let of = generations
            .iter()
            .map(|(slot, generation)| (slot.view, *generation));
        let writing = self.writers.enter(of);
        let state = self.state();
        for (slot, generation) in generations {
            state.catalogue.live(*slot, *generation)?;
        }
        Ok((state, writing, deadline))
    }

    /// Reads the catalogue anew.
    fn reload(&self, deadline: Deadline) -> Result<(), StoreError> {
        if !self.is_stale.load(Ordering::Acquire) {
            return Ok(());
        }
        let request = Request::new("HGETALL", &self.names.meta(Meta::Catalogue));
        let fields = self.servers.ask_one(request, deadline)?;
        let mut catalogue = Catalogue::default();
        for (field, value) in reply::pairs(fields).map_err(|odd| self.odd(odd))? {
            catalogue
                .load(&field, &value)
                .map_err(|error| StoreError::Damaged {
                    place: self.place(),
                    reason: error.to_string(),
                })?;
        }
        self.publish(catalogue);
        self.is_stale.store(false, Ordering::Release);
        Ok(())
    }

    fn turn<'a>(&self, turn: &'a Turn, deadline: Deadline) -> Result<crate::turn::Taken<'a>, StoreError> {
        let taken = turn.take(deadline).filter(|_| !deadline.has_passed());
        taken.ok_or_else(|| self.failed("another call of this process waits for the servers"))
    }

    fn failed(&self, reason: &str) -> StoreError {
        failure::failed(self.servers.place(), reason)
    }

    fn odd(&self, _: Odd) -> StoreError {
        failure::odd_reply(self.servers.place())
    }

    /// Asks one thing of what is there once.
    fn ask_meta(&self, command: &str, meta: Meta<'_>, words: &[&[u8]]) -> Result<Value, StoreError> {
        let (_, deadline) = self.begin()?;
        let request = Request::new(command, &self.names.meta(meta)).args(words);
        self.servers.ask_one(request, deadline)
    }

    /// The bytes in a field of what is there once.
    fn meta_field(&self, hash: Meta<'_>, field: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        reply::bytes(self.ask_meta("HGET", hash, &[field])?).map_err(|odd| self.odd(odd))
    }

    /// A stored row, checked.
    fn parse<'a>(
        &self,
        state: &State,
        cell: &Cell<'_>,
        bytes: &'a [u8],
    ) -> Result<StoredRow<'a>, StoreError> {
        StoredRow::parse(bytes).map_err(|error| self.damaged(state, cell, &error.to_string()))
    }

    /// Names a cell without showing the key, which is the user's data.
    fn damaged(&self, state: &State, cell: &Cell<'_>, reason: &str) -> StoreError {
        let view = state.catalogue.views.get(&cell.view).map_or_else(
            || format!("number {}", cell.view),
            |view| view.address.view.to_string(),
        );
        StoreError::Damaged {
            place: format!(
                "{}, view {view}, generation {}, key with CRC-32C {:08x}",
                self.place(),
                cell.generation.0,
                crc32c::crc32c(cell.key)
            ),
            reason: reason.into(),
        }
    }
}

/// Where the rows of one entity key in one generation of one view are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cell<'a> {
    key: &'a [u8],
    view: u32,
    generation: Generation,
}

/// Puts the marks of a new store into its buckets, and looks whether an older one has all of them.
fn make_marks(servers: &Servers, names: &Names, id: &str, is_new: bool) -> Result<(), StoreError> {
    let damaged = |reason: &str| StoreError::Damaged {
        place: servers.place().into(),
        reason: reason.into(),
    };
    if is_new {
        // Those of a creation that was cut short are there already.
        let marks = Bucket::all().map(|bucket| Request::new("SETNX", &names.mark(bucket)).arg(id.as_bytes()));
        servers.ask_all(marks, None)?;
    }
    let marks = Bucket::all().map(|bucket| Request::new("GET", &names.mark(bucket)));
    for mark in servers.ask_all(marks, None)? {
        match mark {
            Value::BulkString(mark) if mark == id.as_bytes() => {}
            Value::Nil => {
                return Err(damaged(
                    "a part of it is gone: restore the data of its servers, or remove the namespace from all of them",
                ));
            }
            _ => {
                return Err(damaged(
                    "a part of it is of another store: its catalogue was lost or replaced",
                ));
            }
        }
    }
    if is_new {
        let made = Request::new("HSET", &names.meta(Meta::Catalogue)).args(["state", "made"]);
        servers.ask_one(made, servers.deadline())?;
    }
    Ok(())
}

impl OnlineStore for RedisStore {
    fn metrics(&self) -> Vec<StoreMetric> {
        let counter = |name, help, value: &AtomicU64| StoreMetric {
            name,
            help,
            value: value.load(Ordering::Relaxed) as f64,
            is_counter: true,
        };
        let told = &self.servers.told;
        vec![
            counter("redis_requests", "Requests to the servers", &told.requests),
            counter(
                "redis_retries",
                "Times that requests were sent again, as a connection broke or a server could not answer yet",
                &told.again,
            ),
            counter(
                "redis_timeouts",
                "Times that requests were given up, as no server answered in time",
                &told.failed,
            ),
            StoreMetric {
                name: "redis_unfinished_commits",
                help: "Changes that are to be completed before others are made",
                value: self.commits.left() as f64,
                is_counter: false,
            },
        ]
    }

    fn open_view(&self, address: &ViewAddress) -> Result<ViewSlot, StoreError> {
        self.open_slot(address)
    }

    fn views(&self) -> Result<Vec<(ViewAddress, ViewSlot, ViewState)>, StoreError> {
        let (state, _) = self.begin()?;
        let views = state.catalogue.views.values();
        Ok(views
            .map(|view| (view.address.clone(), view.slot, view.state.clone()))
            .collect())
    }

    fn view_state(&self, slot: ViewSlot) -> Result<ViewState, StoreError> {
        let (state, _) = self.begin()?;
        Ok(state.catalogue.view(slot)?.state.clone())
    }

    fn begin_generation(
        &self,
        slot: ViewSlot,
        shape: StoredShape,
        schema: RowSchema,
    ) -> Result<Generation, StoreError> {
        self.begin_building(slot, shape, schema)
    }

    fn begin_layer(&self, slot: ViewSlot, generation: Generation) -> Result<Generation, StoreError> {
        self.begin_layer_of(slot, generation)
    }

    fn fold(&self, slot: ViewSlot, generation: Generation, layer: Generation) -> Result<(), StoreError> {
        self.fold_layer(slot, generation, layer)
    }

    fn add_schema(
        &self,
        slot: ViewSlot,
        generation: Generation,
        schema: &RowSchema,
    ) -> Result<u32, StoreError> {
        self.add_schema_to(slot, generation, schema)
    }

    fn write(
        &self,
        slot: ViewSlot,
        generation: Generation,
        now: Timestamp,
        rows: &[OnlineRow],
        state: Option<&GenerationState>,
    ) -> Result<(), StoreError> {
        self.write_rows(slot, generation, now, rows, state)
    }

    fn stage(
        &self,
        slot: ViewSlot,
        generation: Generation,
        rows: &SortedRows,
        progress: &[u8],
    ) -> Result<Staged, StoreError> {
        self.stage_rows(slot, generation, rows, progress)
    }

    fn stage_events(
        &self,
        slot: ViewSlot,
        generation: Generation,
        events: &FoldedEvents,
        pending: &[OnlineRow],
        progress: &[u8],
    ) -> Result<Staged, StoreError> {
        self.stage_folded(slot, generation, events, pending, progress)
    }

    fn take_in(&self, staged: Staged) -> Result<(), StoreError> {
        self.take_staged(staged.into_inner(&self.place())?)
    }

    fn loaded(&self, slot: ViewSlot, generation: Generation) -> Result<Option<Vec<u8>>, StoreError> {
        self.load_progress(slot, generation)
    }

    fn serve(&self, slot: ViewSlot, generation: Generation) -> Result<(), StoreError> {
        self.switch(slot, generation)
    }

    fn exchange(&self, slot: ViewSlot, states: &[GenerationState]) -> Result<(), StoreError> {
        self.exchange_kept(slot, states)
    }

    fn forget_kept(&self, slot: ViewSlot) -> Result<(), StoreError> {
        self.give_up_kept(slot)
    }

    fn give_up(&self, slot: ViewSlot) -> Result<(), StoreError> {
        self.give_up_building(slot)
    }

    fn remove_given_up(&self) -> Result<(), StoreError> {
        self.sweep()
    }

    fn apply_due(&self, slot: ViewSlot, generation: Generation, now: Timestamp) -> Result<u64, StoreError> {
        self.merge_due(slot, generation, crate::names::Due::All, now)
    }

    fn reader<'a>(
        &'a self,
        set: &'a ReadSet,
        at: Timestamp,
    ) -> Result<Box<dyn OnlineReader + 'a>, StoreError> {
        Ok(Box::new(self.key_reader(set, at)?))
    }

    fn survey(&self, generations: &[Survey], cancellation: &Cancellation) -> Result<Vec<Counts>, StoreError> {
        self.count_rows(generations, cancellation)
    }

    fn drop_view(&self, slot: ViewSlot) -> Result<u64, StoreError> {
        self.drop_slot(slot)
    }

    fn place(&self) -> String {
        format!("{}, namespace {}", self.servers.place(), self.options.namespace)
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn changes(&self) -> Option<u64> {
        Some(self.state().changes)
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
