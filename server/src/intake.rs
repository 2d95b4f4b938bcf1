//! Rows that are pushed: into the intake log and the online store at once, and into their table later.
//!
//! A push is read by whoever brings it; what waits for the same source is then written together, in the order in
//! which it came, by one writer at a time. That write holds the entry of the log, the rows in the generations that
//! serve and are being built, and the answers under the ids of the requests.
//!
//! A generation takes rows as long as it is of the view as it is defined; otherwise they come to it with the next
//! materialization, from the table.

mod answer;
mod error;
mod events;
mod flush;
mod folded;
mod group;
mod marks;
mod messages;
mod targets;
mod wire;

pub use answer::PushAnswer;
pub use error::IntakeError;
pub(crate) use folded::Folded;
pub(crate) use marks::LaneState;
pub(crate) use messages::{Arrived, Taken};
pub use wire::{push_of, response_of};

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use asof_core::definition::{BoundView, Definitions, Source, Stream};
use asof_core::name::{ProjectName, SourceName};
use asof_core::online::intake::SourceAddress;
use asof_core::online::{Generation, OnlineStore, ViewSlot};
use asof_core::registry::Version;
use asof_core::service::nearest;
use asof_core::time::Timestamp;
use asof_offline::{Engine, MessageReader, PushInput, PushReader, PushedRows, Reserved};
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore, oneshot};

use answer::Remembered;
use events::Index;
use messages::Moved;
use targets::Targets;

/// The longest id of a request, in bytes.
pub const MAX_ID: usize = 256;
/// The most rows of one push.
pub const MAX_ROWS: usize = 10_000;

/// How much may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IntakeLimits {
    /// Bytes of pushes that are being worked on, over all sources.
    pub under_way: usize,
    /// How long a push waits for room among those.
    pub patience: Duration,
    /// Bytes of one source's rows that are not in its table yet.
    pub log: u64,
}

impl Default for IntakeLimits {
    fn default() -> Self {
        Self {
            under_way: 64 << 20,
            patience: Duration::from_secs(5),
            log: 1 << 30,
        }
    }
}

/// What is pushed.
#[derive(Debug, Clone)]
pub struct Push {
    /// The source.
    pub source: String,
    /// What tells this push from others: repeated with the same id it has no effect.
    pub id: Option<String>,
    /// The rows.
    pub rows: PushInput,
    /// A digest of the rows, by which a repeated push is told from another one under its id.
    pub digest: [u8; 32],
    /// Bytes of memory that it takes.
    pub bytes: usize,
}

/// Takes what is pushed to the sources of one project.
pub struct Intake<S> {
    inner: Arc<Inner<S>>,
}

impl<S> Clone for Intake<S> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

struct Inner<S> {
    engine: Engine,
    store: Arc<S>,
    project: ProjectName,
    limits: IntakeLimits,
    room: Arc<Semaphore>,
    lanes: Mutex<HashMap<SourceName, Arc<Lane>>>,
    /// Held alone by whoever merges what fell due, and shared by runs, which count what they wrote.
    merging: tokio::sync::RwLock<()>,
}

/// What there is of one source.
struct Lane {
    address: SourceAddress,
    /// How what is pushed is read, under a version of the registry.
    reader: tokio::sync::Mutex<Option<(u64, Arc<Reader>)>>,
    queue: Mutex<Vec<Waiting>>,
    /// Held by whoever writes rows of the source, or must not have any written.
    numbers: Arc<tokio::sync::Mutex<Numbers>>,
    /// Held by whoever flushes.
    flushing: tokio::sync::Mutex<()>,
    /// About how many bytes the entries have that are not flushed.
    waiting: AtomicU64,
}

/// The numbers that the next rows have, and where they go.
#[derive(Default)]
struct Numbers {
    reserved: Option<Reserved>,
    /// The same of the table of dead letters.
    dead_letters: Option<Reserved>,
    /// Behind the last seq that was ever reserved here.
    end: u64,
    targets: Option<Known>,
    /// Which pushed rows generations with tiles have, as far as that was asked for since the targets were looked up.
    folded: HashMap<(ViewSlot, Generation), Folded>,
    /// The index of the source's events, where it covers all rows that were accepted.
    index: Option<Index>,
}

/// Where rows go, as long as nothing changed in the store.
struct Known {
    changes: u64,
    reader: Arc<Reader>,
    targets: Arc<Vec<Targets>>,
}

/// A source and its views, as they are defined.
struct Reader {
    source: Source,
    views: Vec<BoundView>,
    reader: PushReader,
    /// What reads the source's stream, where it has one, or why nothing does: that refuses no push.
    messages: Option<Result<Streamed, IntakeError>>,
}

/// What reads the messages of a stream, and what cannot be taken in of them.
struct Streamed {
    reader: MessageReader,
    dead_letters: PushReader,
}

impl Streamed {
    async fn of(engine: &Engine, source: &Source, stream: &Stream) -> Result<Self, IntakeError> {
        Ok(Self {
            reader: MessageReader::new(&stream.format)?,
            dead_letters: engine.push_reader(&source.dead_letters(), &[]).await?,
        })
    }
}

/// What was read of a push, or of messages of a stream: it is written in the order in which it is [`enqueued`](Intake::enqueue).
pub struct Read {
    lane: Arc<Lane>,
    reader: Arc<Reader>,
    rows: PushedRows,
    at: Timestamp,
    remembered: Option<Remembered>,
    /// How far a stream is read with it.
    moved: Option<Moved>,
    /// Among what is under way, until it is written, whether its caller waits for that or not.
    room: Option<OwnedSemaphorePermit>,
}

/// What was read and waits to be written.
struct Waiting {
    read: Read,
    answer: oneshot::Sender<Result<PushAnswer, IntakeError>>,
}

impl<S: OnlineStore + 'static> Intake<S> {
    /// For one project. All who write pushed rows to a store share one.
    pub fn new(engine: Engine, store: Arc<S>, project: ProjectName, limits: IntakeLimits) -> Self {
        Self {
            inner: Arc::new(Inner {
                engine,
                store,
                project,
                room: Arc::new(Semaphore::new(units(limits.under_way))),
                limits,
                lanes: Mutex::new(HashMap::new()),
                merging: tokio::sync::RwLock::new(()),
            }),
        }
    }

    /// The engine of the project's tables.
    pub(crate) fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    /// The store.
    pub(crate) fn store(&self) -> &Arc<S> {
        &self.inner.store
    }

    /// The project.
    pub(crate) fn project(&self) -> &ProjectName {
        &self.inner.project
    }

    /// Accepts rows that arrive at an instant, and answers when they are stored as the store's durability says.
    ///
    /// # Errors
    ///
    /// See [`IntakeError`]; then none of the rows was accepted.
    pub async fn push(
        &self,
        version: &Version,
        push: Push,
        at: Timestamp,
    ) -> Result<PushAnswer, IntakeError> {
        let patience = Some(self.inner.limits.patience);
        let read = self.read(version, push, at, patience).await?;
        self.enqueue(read).await
    }

    /// Reads a push that arrives at an instant, once there is room for it: for so long it waits, or for as long as it
    /// takes.
    ///
    /// # Errors
    ///
    /// As of [`Intake::push`].
    pub async fn read(
        &self,
        version: &Version,
        push: Push,
        at: Timestamp,
        patience: Option<Duration>,
    ) -> Result<Read, IntakeError> {
        let Push {
            source,
            id,
            rows: input,
            digest,
            bytes,
        } = push;
        let source = source_of(&version.definitions, &source)?;
        if let Some(id) = id.as_ref().filter(|id| id.is_empty() || id.len() > MAX_ID) {
            let bytes = id.len();
            return Err(IntakeError::Refused(format!(
                "request_id: has {bytes} bytes, expected 1 to {MAX_ID}"
            )));
        }
        let room = self.room(bytes, patience).await?;
        let lane = self.lane(&source.name)?;
        self.check_log(&lane)?;
        let reader = self.reader(&lane, version, source).await?;
        let of = Arc::clone(&reader);
        let rows = tokio::task::spawn_blocking(move || of.reader.read(&input, MAX_ROWS, at)).await;
        let rows = rows.map_err(|error| IntakeError::Bug(format!("a push was not read: {error}")))??;
        Ok(Read {
            lane,
            reader,
            rows,
            at,
            remembered: id.map(|id| Remembered { id, digest }),
            moved: None,
            room: Some(room),
        })
    }

    /// Has what was read written behind all that was enqueued for its source before. It is, whether or not anybody
    /// waits for the answer.
    pub fn enqueue(
        &self,
        read: Read,
    ) -> impl Future<Output = Result<PushAnswer, IntakeError>> + Send + use<S> {
        let lane = Arc::clone(&read.lane);
        let (answer, answered) = oneshot::channel();
        lane.lock_queue().push(Waiting { read, answer });
        // On its own: a caller that goes away leaves nothing half done, for others neither.
        let inner = Arc::clone(&self.inner);
        tokio::spawn(async move { inner.write(&lane).await });
        async {
            let gone = |_| IntakeError::Bug("the writer of pushes is gone".into());
            answered.await.map_err(gone)?
        }
    }

    /// Room for so many bytes among what is under way.
    async fn room(
        &self,
        bytes: usize,
        patience: Option<Duration>,
    ) -> Result<OwnedSemaphorePermit, IntakeError> {
        let Inner { room, limits, .. } = &*self.inner;
        let wanted = u32::try_from(units(bytes).min(units(limits.under_way))).unwrap_or(u32::MAX);
        let room = Arc::clone(room).acquire_many_owned(wanted);
        let overloaded = || {
            IntakeError::Overloaded(format!(
                "more is being pushed than is written: {} bytes are under way; try again later",
                limits.under_way
            ))
        };
        let room = match patience {
            Some(patience) => tokio::time::timeout(patience, room).await.ok(),
            None => Some(room.await),
        };
        room.and_then(Result::ok).ok_or_else(overloaded)
    }

    /// That not too much waits to be appended to the table of a lane.
    fn check_log(&self, lane: &Lane) -> Result<(), IntakeError> {
        let waiting = lane.waiting.load(Ordering::Relaxed);
        if waiting <= self.inner.limits.log {
            return Ok(());
        }
        Err(IntakeError::Overloaded(format!(
            "{waiting} bytes of rows of source {} wait to be appended to its table, which fails or is too slow \
             (the server's log says why): try again later",
            lane.address.source
        )))
    }

    /// Lets nothing be accepted for a source until the guard is dropped, and appends to its table what was: whoever
    /// reads the table then has all of it, and what is accepted later has greater seqs.
    pub async fn hold(&self, source: &Source, at: Timestamp) -> Result<Held, IntakeError> {
        let lane = self.lane(&source.name)?;
        let mut numbers = Arc::clone(&lane.numbers).lock_owned().await;
        numbers.reserved = None;
        self.inner.flush_lane(&lane, source, at).await?;
        Ok(Held { _numbers: numbers })
    }

    /// Lets nothing be accepted for a source until the guard is dropped.
    pub(crate) async fn pause(&self, source: &Source) -> Result<Held, IntakeError> {
        let lane = self.lane(&source.name)?;
        let numbers = Arc::clone(&lane.numbers).lock_owned().await;
        Ok(Held { _numbers: numbers })
    }

    fn lane(&self, source: &SourceName) -> Result<Arc<Lane>, IntakeError> {
        self.inner.lane(source)
    }

    /// How pushes are read under a version of the registry.
    async fn reader(
        &self,
        lane: &Lane,
        version: &Version,
        source: &Source,
    ) -> Result<Arc<Reader>, IntakeError> {
        let mut known = lane.reader.lock().await;
        if let Some((number, reader)) = &*known
            && *number == version.number
        {
            return Ok(Arc::clone(reader));
        }
        let views = version.definitions.views.values();
        let views = views.filter_map(|view| version.definitions.bound_view(view.name.as_str()));
        let views: Vec<BoundView> = views.filter(|bound| bound.source.name == source.name).collect();
        let bound: Vec<&BoundView> = views.iter().collect();
        let engine = &self.inner.engine;
        let reader = engine.push_reader(source, &bound).await?;
        let messages = match source.stream() {
            Some(stream) => Some(Streamed::of(engine, source, stream).await),
            None => None,
        };
        let reader = Arc::new(Reader {
            source: source.clone(),
            reader,
            views,
            messages,
        });
        *known = Some((version.number, Arc::clone(&reader)));
        Ok(reader)
    }
}

impl<S: OnlineStore> Inner<S> {
    /// What there is of a source, or of the dead letters of one.
    fn lane(&self, source: &SourceName) -> Result<Arc<Lane>, IntakeError> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = lanes.get(source) {
            return Ok(Arc::clone(lane));
        }
        let address = SourceAddress {
            project: self.project.clone(),
            source: source.clone(),
        };
        let lane = Arc::new(Lane {
            waiting: AtomicU64::new(self.store.waiting(&address)?),
            address,
            reader: tokio::sync::Mutex::new(None),
            queue: Mutex::new(Vec::new()),
            numbers: Arc::default(),
            flushing: tokio::sync::Mutex::new(()),
        });
        lanes.insert(source.clone(), Arc::clone(&lane));
        Ok(lane)
    }
}

/// Keeps rows of a source from being accepted, until it is dropped.
pub struct Held {
    _numbers: OwnedMutexGuard<Numbers>,
}

impl Lane {
    fn lock_queue(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A source by its name.
pub(crate) fn source_of<'a>(definitions: &'a Definitions, name: &str) -> Result<&'a Source, IntakeError> {
    let sources = &definitions.sources;
    let found = SourceName::parse(name).ok().and_then(|name| sources.get(&name));
    found.ok_or_else(|| IntakeError::unknown(name, nearest(name, sources.keys())))
}

/// Bytes as permits of a semaphore: of a kibibyte each.
fn units(bytes: usize) -> usize {
    bytes.div_ceil(1 << 10).max(1)
}
