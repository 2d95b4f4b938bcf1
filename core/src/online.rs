//! The online store's port: where the current row of every key of every view is kept.
//!
//! # Contract
//!
//! - Rows lie by entity key: all views of one key side by side, so that one request for many views of
//!   one key touches one place.
//! - Every view has **generations**. A read names the generation that it wants; a new one is built
//!   beside the one that serves, and takes over at once.
//! - **Newest wins**: within a generation, for one key, the row with the greatest
//!   [`RowOrder`](crate::order::RowOrder) stays, whatever the order and concurrency of the writes.
//!   Writing a row twice changes nothing.
//! - A generation with [tiles](StoredShape::tiles) has no newest row: its rows are **events**, which are folded into the
//!   tiles of their key, each as often as it is written. What makes an event count once is that it is written together
//!   with what says so: see [`OnlineStore::stage_events`] and [`IntakeRows::note`](intake::IntakeRows::note). Reads get
//!   what the windows have at their instant. Rows that say "deleted" are no events.
//! - **Pending rows** are due ([`RowOrder::due`](crate::order::RowOrder::due)) after the instant at
//!   which they are written. They are kept beside the row, become visible when due, and are merged by
//!   [`OnlineStore::apply_due`].
//! - An instant that a store was told of by a write or by [`OnlineStore::apply_due`] has passed for it: a
//!   row that was due then is visible to every later read, whatever instant that read names. So a read
//!   that races a write, or a clock that is set back, never turns a value into nothing. A caller that
//!   must not see rows from after its instant compares the winner's [`RowOrder::due`] with it.
//! - A write is **atomic**, progress included, and when it returns it survives the death of the
//!   process. The store holds bytes for progress and does not look into them.
//! - A **load** writes many rows at once, under the same rules: newest wins against whatever else is
//!   written meanwhile, and reads go on.
//! - A generation may have **layers**: rows that are kept apart from its own. A layer is written as a generation is,
//!   under a number of its own. As long as its [`Layer::is_shown`], a read of the generation finds what its own rows and
//!   those of the layer have together; otherwise it is as if the layer were not there. [`OnlineStore::fold`] makes the
//!   rows of a layer the generation's own. A layer that is not in a state any more that is written is given up.
//! - The generation that served before is **kept** when another takes over, until it is forgotten or a third one takes
//!   over: [`OnlineStore::exchange`] lets it serve again.
//! - What is **pushed** is kept in a log of its own, too: see [`intake`].
//! - A store may **reclaim** rows, pending ones excepted, that have an event time before the
//!   [`reclaimed`](GenerationState::reclaimed) instant of their generation: a read finds nothing then. Of tiles it may
//!   reclaim those that no window needs at that instant or later.
//! - Damage is an error that names the place, for the calls that need what is damaged: never "nothing
//!   there", and never for other calls.

#[cfg(any(test, feature = "test-util"))]
pub mod conformance;
pub mod intake;
mod load;
pub mod memory;
mod staged;

use std::cmp::Ordering;
use std::sync::atomic::{AtomicU64, Ordering as MemoryOrdering};

use crate::aggregate::tiles::FoldedEvents;
use crate::cancel::Cancellation;
use crate::data_type::KeyType;
use crate::definition::{BoundView, StoredShape};
use crate::duration::Duration;
use crate::key::EntityKey;
use crate::name::{EntityName, ProjectName, ViewName};
use crate::order::RowOrder;
use crate::row::{RowField, RowSchema, StoredRow, order_bytes};
use crate::status::{Winner, fresh_from};
use crate::time::Timestamp;

pub use intake::IntakeLog;
pub use load::{LoadRows, SortedRows};
pub use staged::Staged;

/// What a view is called in a store: with other key types it is another view.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ViewAddress {
    /// The project.
    pub project: ProjectName,
    /// The entity.
    pub entity: EntityName,
    /// The types of the entity's key.
    pub key_types: Vec<KeyType>,
    /// The view.
    pub view: ViewName,
}

impl ViewAddress {
    /// The address of a view of `project`.
    pub fn of(project: &ProjectName, bound: &BoundView) -> Self {
        Self {
            project: project.clone(),
            entity: bound.entity.name.clone(),
            key_types: bound.entity.keys.iter().map(|key| key.key_type.clone()).collect(),
            view: bound.view.name.clone(),
        }
    }

    /// Whether both are views of one entity, so that their rows lie side by side.
    pub fn same_entity(&self, other: &Self) -> bool {
        self.project == other.project && self.entity == other.entity && self.key_types == other.key_types
    }
}

/// The numbers by which a store knows an entity and a view; given once and never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ViewSlot {
    /// The entity: views of one project, entity and key types share it.
    pub entity: u32,
    /// The view.
    pub view: u32,
}

/// One building of a view's rows; counted up from 1 within a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u32);

/// What a store knows of a generation besides its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenerationState {
    /// Which one.
    pub generation: Generation,
    /// What its rows depend on.
    pub shape: StoredShape,
    /// The schemas that wrote its rows: the version in a row is the place in this list.
    pub schemas: Vec<RowSchema>,
    /// The instant up to which it is complete; `None` until its first run is done.
    pub as_of: Option<Timestamp>,
    /// How far the writer has come, in bytes that only the writer reads.
    pub progress: Vec<u8>,
    /// Rows with an event time before it may be gone: they expired long ago, and the store may give their room
    /// back. `None` where no row expires. Of tiles, those that no window needs from this instant on may be gone.
    pub reclaimed: Option<Timestamp>,
    /// Its layers, in the order in which they were begun.
    pub layers: Vec<Layer>,
}

/// Rows that are kept apart from those of their generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layer {
    /// The number under which they are written, counted with those of the view's generations.
    pub generation: Generation,
    /// Whether reads of the generation find them.
    pub is_shown: bool,
}

impl GenerationState {
    /// One that has just begun.
    pub fn begun(generation: Generation, shape: StoredShape, schema: RowSchema) -> Self {
        Self {
            generation,
            shape,
            schemas: vec![schema],
            as_of: None,
            progress: Vec::new(),
            reclaimed: None,
            layers: Vec::new(),
        }
    }

    /// The layers that reads find.
    pub fn shown(&self) -> impl Iterator<Item = Generation> + '_ {
        let shown = self.layers.iter().filter(|layer| layer.is_shown);
        shown.map(|layer| layer.generation)
    }

    /// Its own number and those of its layers.
    pub fn numbers(&self) -> impl Iterator<Item = Generation> + '_ {
        let layers = self.layers.iter().map(|layer| layer.generation);
        std::iter::once(self.generation).chain(layers)
    }

    /// Whether it has every row that is fresh at an instant by a ttl: with a longer one than it was written
    /// under, rows may be gone that would be fresh.
    pub fn has_fresh(&self, ttl: Option<Duration>, at: Timestamp) -> bool {
        let needed = match self.shape.tiles {
            Some(_) => at,
            None => fresh_from(ttl, at),
        };
        self.reclaimed.is_none_or(|reclaimed| reclaimed <= needed)
    }

    /// The schemas of what reads find, by the version that a row names.
    pub fn answers(&self) -> Vec<RowSchema> {
        match &self.shape.tiles {
            Some(tiles) => vec![tiles.outputs()],
            None => self.schemas.clone(),
        }
    }
}

/// The generations of a view.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ViewState {
    /// The one that answers reads.
    pub serving: Option<GenerationState>,
    /// The one that is being built.
    pub building: Option<GenerationState>,
    /// The one that is kept, so that it may serve again.
    pub kept: Option<GenerationState>,
}

impl ViewState {
    /// All of its generations.
    pub fn generations(&self) -> impl Iterator<Item = &GenerationState> {
        [&self.serving, &self.building, &self.kept].into_iter().flatten()
    }

    /// The generation of that number, or the one that has a layer of that number.
    pub fn generation(&self, number: Generation) -> Option<&GenerationState> {
        self.generations()
            .find(|state| state.numbers().any(|known| known == number))
    }

    /// Whether the generation of that number answers reads.
    pub fn serves(&self, generation: Generation) -> bool {
        self.serving
            .as_ref()
            .is_some_and(|serving| serving.generation == generation)
    }

    /// Replaces what is known of `generation`; returns the layers that are given up by that.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoGeneration`] where it is not there, `state` is of another, or has a layer that is not there.
    pub fn update(
        &mut self,
        generation: Generation,
        state: &GenerationState,
    ) -> Result<Vec<Generation>, StoreError> {
        let none = |generation: Generation| StoreError::NoGeneration {
            generation: generation.0,
        };
        let known = self
            .known(generation)
            .filter(|known| known.generation == state.generation)
            .ok_or(none(state.generation))?;
        if let Some(other) = state
            .numbers()
            .find(|number| !known.numbers().any(|of| of == *number))
        {
            return Err(none(other));
        }
        let stay: Vec<Generation> = state.numbers().collect();
        let given_up = known.numbers().filter(|number| !stay.contains(number)).collect();
        known.clone_from(state);
        Ok(given_up)
    }

    /// Begins a layer of a generation under a number.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoGeneration`] where the generation is not there.
    pub fn begin_layer(&mut self, generation: Generation, layer: Generation) -> Result<(), StoreError> {
        self.known_or(generation)?.layers.push(Layer {
            generation: layer,
            is_shown: false,
        });
        Ok(())
    }

    /// Takes a layer whose rows are the generation's own by now out of it.
    pub fn end_layer(&mut self, generation: Generation, layer: Generation) {
        if let Some(known) = self.known(generation) {
            known.layers.retain(|other| other.generation != layer);
        }
    }

    /// The number by which a generation knows a schema, which is added to those that it knows.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoGeneration`] where the generation is not there.
    pub fn add_schema(&mut self, generation: Generation, schema: &RowSchema) -> Result<u32, StoreError> {
        let schemas = &mut self.known_or(generation)?.schemas;
        let known = schemas.iter().position(|known| known == schema);
        let place = known.unwrap_or(schemas.len());
        if known.is_none() {
            schemas.push(schema.clone());
        }
        Ok(u32::try_from(place).unwrap_or(u32::MAX))
    }

    /// Makes `generation` serve where it is being built, and keeps the one that served; returns what is given up by that.
    pub fn serve(&mut self, generation: Generation) -> Vec<Generation> {
        let built = self
            .building
            .take_if(|building| building.generation == generation);
        let Some(built) = built else {
            return Vec::new();
        };
        let before = self.serving.replace(built);
        numbers(std::mem::replace(&mut self.kept, before))
    }

    /// Lets the generation that is kept and the one that serves change places: where there is one of them only, the other
    /// place is empty.
    pub fn exchange(&mut self) {
        std::mem::swap(&mut self.serving, &mut self.kept);
    }

    /// Gives up the generation that is being built.
    pub fn give_up(&mut self) -> Vec<Generation> {
        numbers(self.building.take())
    }

    /// Gives up the generation that is kept.
    pub fn forget_kept(&mut self) -> Vec<Generation> {
        numbers(self.kept.take())
    }

    fn known(&mut self, generation: Generation) -> Option<&mut GenerationState> {
        [&mut self.serving, &mut self.building, &mut self.kept]
            .into_iter()
            .flatten()
            .find(|known| known.generation == generation)
    }

    fn known_or(&mut self, generation: Generation) -> Result<&mut GenerationState, StoreError> {
        self.known(generation).ok_or(StoreError::NoGeneration {
            generation: generation.0,
        })
    }
}

/// The numbers of a generation that is given up.
pub fn numbers(given_up: Option<GenerationState>) -> Vec<Generation> {
    given_up.iter().flat_map(GenerationState::numbers).collect()
}

/// A row to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnlineRow {
    /// Whose it is.
    pub key: EntityKey,
    /// Its place among the rows of its key, equal to the one in `bytes`.
    pub order: RowOrder,
    /// A stored row, as [`RowEncoder`](crate::row::RowEncoder) makes it.
    pub bytes: Vec<u8>,
}

/// The bytes that stay of two stored rows of one key: those of the greater order, and of the same order
/// the greater bytes, so that the order of arrival never matters.
pub fn newer_row<'a>(a: &'a [u8], b: &'a [u8]) -> &'a [u8] {
    match order_bytes(a).cmp(order_bytes(b)).then_with(|| a.cmp(b)) {
        Ordering::Less => b,
        Ordering::Equal | Ordering::Greater => a,
    }
}

/// A number that a store tells of itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StoreMetric {
    /// Its name as Prometheus has it, without the prefix of the server and without `_total`.
    pub name: &'static str,
    /// What it says.
    pub help: &'static str,
    /// The number, in what the name ends with.
    pub value: f64,
    /// Whether it counts up from the start of the process.
    pub is_counter: bool,
}

/// What a read finds for one key in one generation of one view.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Found<'a> {
    /// The greatest row that is due, at the instant of the read or before a write that was made.
    pub winner: Option<StoredRow<'a>>,
    /// Whether some row, due or not, has happened.
    pub held_back: bool,
    /// What the windows have, of a generation with tiles: there is no winner then.
    pub windows: Option<FoundWindows<'a>>,
}

/// What the windows of a key have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundWindows<'a> {
    /// The features, as the body of a stored row of the first of [`GenerationState::answers`].
    pub body: &'a [u8],
    /// The latest instant at which an event became due that is in tiles which were read.
    pub latest: Timestamp,
}

impl Found<'_> {
    /// The part of the winner on which the verdict depends.
    pub fn verdict_input(&self) -> Option<Winner> {
        self.winner.map(|row| Winner {
            order: row.order,
            deleted: row.deleted,
        })
    }
}

/// What to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Survey {
    /// The view.
    pub slot: ViewSlot,
    /// The generation.
    pub generation: Generation,
    /// As at which instant: a pending row that is due then counts as a row of its key.
    pub at: Timestamp,
    /// The event time before which keys are counted apart.
    pub from: Timestamp,
    /// A layer of the generation that is counted with it, shown or not.
    pub layer: Option<Generation>,
}

impl Survey {
    /// As the rows are stored: pending ones are pending, due or not.
    pub fn as_stored(slot: ViewSlot, generation: Generation) -> Self {
        Self {
            slot,
            generation,
            at: Timestamp::MIN,
            from: Timestamp::MIN,
            layer: None,
        }
    }
}

/// How much a generation holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Keys with a row.
    pub keys: u64,
    /// Rows that are not due yet.
    pub pending: u64,
    /// Bytes of the entity keys and stored rows of both, uncompressed.
    pub bytes: u64,
    /// Of the keys, those whose row has an event time before the one that was asked for.
    pub earlier: u64,
}

/// Why a store did not do as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another process has it open.
    #[error("the online store at {place} is in use: {reason}")]
    Held {
        /// Where it is.
        place: String,
        /// Who holds it, as far as is known.
        reason: String,
    },
    /// What is stored cannot be read.
    #[error("the online store is damaged at {place}: {reason}")]
    Damaged {
        /// The file, as exactly as is known.
        place: String,
        /// What was found.
        reason: String,
    },
    /// A newer Asof wrote it.
    #[error(
        "the online store at {place} has format {found}, this version reads up to {known}: use a newer asof"
    )]
    Newer {
        /// Where it is.
        place: String,
        /// Its format.
        found: u64,
        /// The newest format known here.
        known: u64,
    },
    /// The disk is full.
    #[error("no space is left for the online store at {place}: {reason}")]
    Full {
        /// Where it is.
        place: String,
        /// What the system said.
        reason: String,
    },
    /// Reading or writing failed otherwise.
    #[error("the online store at {place} failed: {reason}")]
    Failed {
        /// Where it is.
        place: String,
        /// What the system said.
        reason: String,
    },
    /// Whoever asked for it does not wait for it any more.
    #[error("the work at the online store was cancelled: nobody waits for it")]
    Cancelled,
    /// No such view or generation: the caller's picture of the store is out of date.
    #[error("the online store has no generation {generation} of this view")]
    NoGeneration {
        /// The generation asked for.
        generation: u32,
    },
}

/// Generations of views of one entity that are read together.
#[derive(Debug)]
pub struct ReadSet {
    entity: u32,
    views: Vec<(u32, Generation)>,
    /// The places of `views`, sorted by what they name.
    sorted: Vec<(u32, Generation, usize)>,
    /// What the store noted of the set, which is used with no other; see [`ReadSet::noted`].
    noted: AtomicU64,
}

impl ReadSet {
    /// Views of an entity, each with the generation to read, in any order.
    pub fn new(entity: u32, views: Vec<(u32, Generation)>) -> Self {
        let places = views.iter().zip(0..);
        let mut sorted: Vec<_> = places
            .map(|((view, generation), at)| (*view, *generation, at))
            .collect();
        sorted.sort_unstable();
        Self {
            entity,
            views,
            sorted,
            noted: AtomicU64::new(0),
        }
    }

    /// The entity.
    pub fn entity(&self) -> u32 {
        self.entity
    }

    /// The views with their generations, as they were given.
    pub fn views(&self) -> &[(u32, Generation)] {
        &self.views
    }

    /// The same by number and generation, each with its place as given.
    pub fn sorted(&self) -> &[(u32, Generation, usize)] {
        &self.sorted
    }

    /// What the store that reads the set noted last: a number of its own, 0 at first. A store that has
    /// looked at a set once need not do so again until something changes.
    pub fn noted(&self) -> u64 {
        self.noted.load(MemoryOrdering::Relaxed)
    }

    /// Notes a number for the next read.
    pub fn note(&self, number: u64) {
        self.noted.store(number, MemoryOrdering::Relaxed);
    }
}

/// Takes the place of a view in a [`ReadSet`] and what was found of it.
pub type Visit<'v> = &'v mut dyn FnMut(usize, Found<'_>) -> Result<(), StoreError>;

/// Reads keys of one entity, one after the other.
pub trait OnlineReader {
    /// Tells of keys that are read next: a store behind a network fetches them together.
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read).
    fn prefetch(&mut self, keys: &[Vec<u8>]) -> Result<(), StoreError> {
        let _ = keys;
        Ok(())
    }

    /// Reads one key, given by its bytes: calls `visit` once for each view of the set, in any order.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoGeneration`] where a generation is not there any more; other errors of the store; and
    /// those that `visit` returns, which end the read.
    fn read(&mut self, key: &[u8], visit: Visit<'_>) -> Result<(), StoreError>;
}

/// Where online rows are kept; see the contract of this module.
pub trait OnlineStore: IntakeLog {
    /// What it tells of itself, for who watches over it.
    fn metrics(&self) -> Vec<StoreMetric> {
        Vec::new()
    }

    /// The slot of a view, given out on the first call.
    fn open_view(&self, address: &ViewAddress) -> Result<ViewSlot, StoreError>;

    /// Every view that was ever opened and not dropped, by address, with its generations.
    fn views(&self) -> Result<Vec<(ViewAddress, ViewSlot, ViewState)>, StoreError>;

    /// The generations of a view.
    fn view_state(&self, slot: ViewSlot) -> Result<ViewState, StoreError>;

    /// Starts building a generation, whose number is new; one that was being built is given up.
    fn begin_generation(
        &self,
        slot: ViewSlot,
        shape: StoredShape,
        schema: RowSchema,
    ) -> Result<Generation, StoreError>;

    /// Begins a layer of a generation, which is not shown.
    fn begin_layer(&self, slot: ViewSlot, generation: Generation) -> Result<Generation, StoreError>;

    /// Makes the rows of a layer that is shown the generation's own, and ends the layer; reads find the same meanwhile.
    /// One that was cut short goes on when it is called again.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoGeneration`] where the generation has no such layer that is shown.
    fn fold(&self, slot: ViewSlot, generation: Generation, layer: Generation) -> Result<(), StoreError>;

    /// The number by which a generation knows a schema, and knows it from now on.
    fn add_schema(
        &self,
        slot: ViewSlot,
        generation: Generation,
        schema: &RowSchema,
    ) -> Result<u32, StoreError>;

    /// Writes rows and, in the same atomic step, the state of their generation where one is given. Rows of a layer are
    /// written without one.
    ///
    /// Rows that are due at `now` compete at once, others become pending.
    fn write(
        &self,
        slot: ViewSlot,
        generation: Generation,
        now: Timestamp,
        rows: &[OnlineRow],
        state: Option<&GenerationState>,
    ) -> Result<(), StoreError>;

    /// Makes many rows that are due ready to be taken in, and how far the loading has come then, in bytes that
    /// only the loader reads. Until they are, nothing of it is seen, and nobody waits for it.
    fn stage(
        &self,
        slot: ViewSlot,
        generation: Generation,
        rows: &SortedRows,
        progress: &[u8],
    ) -> Result<Staged, StoreError>;

    /// The same of events for a generation with tiles: those that are due, folded, and those that are pending. They are
    /// taken in with the progress in one atomic step, all of them or none.
    fn stage_events(
        &self,
        slot: ViewSlot,
        generation: Generation,
        events: &FoldedEvents,
        pending: &[OnlineRow],
        progress: &[u8],
    ) -> Result<Staged, StoreError>;

    /// Takes in what this store made ready, rows and progress in one atomic step; the progress takes the place of
    /// that of the load before.
    fn take_in(&self, staged: Staged) -> Result<(), StoreError>;

    /// Makes many rows ready and takes them in.
    fn load(
        &self,
        slot: ViewSlot,
        generation: Generation,
        rows: &SortedRows,
        progress: &[u8],
    ) -> Result<(), StoreError> {
        self.take_in(self.stage(slot, generation, rows, progress)?)
    }

    /// What the last [load](Self::take_in) into a generation said of its progress.
    fn loaded(&self, slot: ViewSlot, generation: Generation) -> Result<Option<Vec<u8>>, StoreError>;

    /// Makes the generation that is being built the one that serves, at once; the one that served is kept, and the one
    /// that was kept given up. Does nothing where `generation` serves already.
    fn serve(&self, slot: ViewSlot, generation: Generation) -> Result<(), StoreError>;

    /// Lets the generation that is kept and the one that serves change places, at once, the states of both being written
    /// with that where they are given.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoGeneration`] where a state is of neither.
    fn exchange(&self, slot: ViewSlot, states: &[GenerationState]) -> Result<(), StoreError>;

    /// Gives up the generation that is kept, where there is one.
    fn forget_kept(&self, slot: ViewSlot) -> Result<(), StoreError>;

    /// Gives up the generation that is being built, where there is one.
    fn give_up(&self, slot: ViewSlot) -> Result<(), StoreError>;

    /// Removes the rows of all generations that were given up, which nobody reads. What cannot be removed now is
    /// removed by a later call.
    fn remove_given_up(&self) -> Result<(), StoreError>;

    /// Merges the pending rows that are due at `now`, those of its layers that are shown included; returns how many.
    fn apply_due(&self, slot: ViewSlot, generation: Generation, now: Timestamp) -> Result<u64, StoreError>;

    /// A reader of keys in the generations of a set, as at `at`.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoGeneration`] where one of them is not there any more.
    fn reader<'a>(
        &'a self,
        set: &'a ReadSet,
        at: Timestamp,
    ) -> Result<Box<dyn OnlineReader + 'a>, StoreError>;

    /// Reads one key in several generations of views of one entity, as at `at`; see
    /// [`OnlineReader::read`].
    ///
    /// # Errors
    ///
    /// Those of [`reader`](Self::reader) and of the read.
    fn read(
        &self,
        entity: u32,
        key: &EntityKey,
        views: &[(u32, Generation)],
        at: Timestamp,
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        let set = ReadSet::new(entity, views.to_vec());
        self.reader(&set, at)?.read(key.as_bytes(), visit)
    }

    /// Counts the rows of some generations by reading all of them, checksums included.
    ///
    /// # Errors
    ///
    /// [`StoreError::Cancelled`] soon after `cancellation`.
    fn survey(&self, generations: &[Survey], cancellation: &Cancellation) -> Result<Vec<Counts>, StoreError>;

    /// Counts the rows of one generation as they are stored.
    fn count(&self, slot: ViewSlot, generation: Generation) -> Result<Counts, StoreError> {
        let counts = self.survey(&[Survey::as_stored(slot, generation)], &Cancellation::default())?;
        Ok(counts.first().copied().unwrap_or_default())
    }

    /// Removes a view with all of its generations, and nothing else; returns how many keys it had in
    /// the generation that served, layers not counted.
    fn drop_view(&self, slot: ViewSlot) -> Result<u64, StoreError>;

    /// The place where damage to what a caller was given is to be reported, such as a path.
    fn place(&self) -> String;

    /// Whether calls may wait for a network: a server makes them on threads for blocking work.
    fn is_remote(&self) -> bool {
        false
    }

    /// A number that is another one after every change of what [`OnlineStore::views`] gives, made
    /// before the change is acknowledged; `None` from a store that does not count. Readers that see
    /// the same number twice may keep what they know of the views.
    fn changes(&self) -> Option<u64> {
        None
    }
}

/// The schema in which rows of a view are stored today: of a view of aggregates, its events.
pub fn row_schema(bound: &BoundView) -> RowSchema {
    RowSchema {
        fields: bound
            .view
            .stored()
            .iter()
            .map(|feature| RowField {
                name: feature.name.to_string(),
                data_type: feature.data_type.clone(),
            })
            .collect(),
    }
}
