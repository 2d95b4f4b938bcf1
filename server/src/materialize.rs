//! Materialization: the rows of a view's source into the online store, up to an instant.
//!
//! A run from (what was accepted so far, t0) to (what is there now, t1) takes the rows that are new and
//! merges those that fell due after t0, so that late rows arrive and nothing is skipped. Rows that happen or
//! become known after t1 are stored as pending. All of it goes into the generation that serves, as
//! long as what is there only grew; otherwise everything is read into a new generation, which takes over
//! at once when it is whole.
//!
//! A run that goes on with a generation writes into a layer of it, which reads find when the run is complete and not
//! before; see `undo`. It may be killed anywhere: the next run goes on with the layer, or begins another, and the instant
//! up to which a generation is complete moves only with the last write of a run. The first one says what is coming, so
//! that no later run goes back behind what a run that was cut short has written.
//!
//! Rows are gathered into chunks, sorted, and written beside the reading of the next ones: large chunks by
//! a load, which also says how far it has come, so that the next run goes on behind it.

mod chunk;
mod error;
mod failures;
mod jobs;
mod loader;
mod progress;
mod reading;
mod resume;
mod rollback;
mod run;
mod tally;
mod undefined;
mod undo;
mod work;

pub use error::MaterializeError;
pub(crate) use progress::{NEVER, nothing_materialized, taken_before};
pub use rollback::RolledBack;
pub use undefined::drop_undefined;
pub(crate) use undo::held_back;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use asof_core::definition::Definitions;
use asof_core::name::ProjectName;
use asof_core::online::{Counts, OnlineStore};
use asof_core::registry::RegistryStore;
use asof_core::time::{Clock, Timestamp};
use asof_offline::Engine;

use self::failures::Failures;
use crate::background::{Background, Threads};
use crate::intake::Intake;

/// Moves rows from sources to the online store.
pub struct Materializer<S, R> {
    inner: Arc<Inner<S, R>>,
}

impl<S, R> Clone for Materializer<S, R> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

struct Inner<S, R> {
    engine: Engine,
    store: Arc<S>,
    intake: Intake<S>,
    registry: Arc<R>,
    project: ProjectName,
    clock: Arc<dyn Clock>,
    limits: Limits,
    /// Where runs go that are asked for over the network.
    background: Background,
    /// The views that are being materialized: one run at a time for each.
    busy: Mutex<HashSet<String>>,
    failures: Failures,
}

/// How rows are gathered before they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory that the rows of a chunk take; there are up to two at a time.
    pub chunk_bytes: usize,
    /// From how many rows on a chunk is loaded at once, and not written row by row.
    pub load_rows: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            chunk_bytes: 256 << 20,
            load_rows: 4_096,
        }
    }
}

/// Views to materialize.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The definitions in force.
    pub definitions: &'a Definitions,
    /// The views.
    pub views: &'a [String],
    /// As of which instant.
    pub as_of: Timestamp,
    /// Whether to read everything into new generations.
    pub full: bool,
    /// Whether to bring back first what is held back since it was rolled back.
    pub redo: bool,
}

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    /// Its number in the ledger.
    pub run: u64,
    /// The view.
    pub view: String,
    /// What it did.
    pub result: Result<Materialized, MaterializeError>,
}

/// What a run did to a view.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Materialized {
    /// Rows read from the source.
    pub rows_read: u64,
    /// Rows taken over: all that are new, also those that a newer row of their key overtakes.
    pub rows_written: u64,
    /// Rows skipped because their key or event time is null.
    pub rows_skipped: u64,
    /// Keys and pending rows that the generation holds, counted by reading all of it.
    pub counts: Counts,
    /// The runs that were rolled back and are not brought back: the view lacks what they brought.
    pub held_back: Vec<u64>,
}

/// Who is told of a view how many of its rows have been read, and of how many, where that is known.
pub type OnRows = Arc<dyn Fn(&str, u64, Option<u64>) + Send + Sync>;

impl<S: OnlineStore + 'static, R: RegistryStore> Materializer<S, R> {
    /// For the project and the store of an intake, which whoever pushes must use, too.
    pub fn new(intake: Intake<S>, registry: Arc<R>, clock: Arc<dyn Clock>) -> Self {
        Self::with_limits(intake, registry, clock, Limits::default())
    }

    /// The same with other limits.
    pub fn with_limits(intake: Intake<S>, registry: Arc<R>, clock: Arc<dyn Clock>, limits: Limits) -> Self {
        Self::of(intake, registry, clock, limits, Background::default())
    }

    /// For a process that has nothing else to do: its jobs give way to nobody.
    pub fn of_this_process(intake: Intake<S>, registry: Arc<R>, clock: Arc<dyn Clock>) -> Self {
        Self::of(intake, registry, clock, Limits::default(), Background::none())
    }

    fn of(
        intake: Intake<S>,
        registry: Arc<R>,
        clock: Arc<dyn Clock>,
        limits: Limits,
        background: Background,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                engine: intake.engine().clone(),
                store: Arc::clone(intake.store()),
                project: intake.project().clone(),
                intake,
                registry,
                clock,
                limits,
                background,
                busy: Mutex::new(HashSet::new()),
                failures: Failures::default(),
            }),
        }
    }

    /// Materializes views, one after the other, and enters a run for each in the ledger. One that fails is in
    /// the way of no other.
    pub async fn run(
        &self,
        request: Request<'_>,
        on_rows: Option<OnRows>,
    ) -> Result<Vec<Ended>, MaterializeError> {
        let threads = Threads::here();
        let started = self.inner.start(request).await?;
        Ok(self.inner.run(started, request, on_rows, &threads).await)
    }
}

/// The views to materialize: those named, or all.
pub fn views(definitions: &Definitions, named: &[String]) -> Result<Vec<String>, MaterializeError> {
    if definitions.views.is_empty() {
        return Err(MaterializeError::Nothing);
    }
    if named.is_empty() {
        return Ok(definitions.views.keys().map(ToString::to_string).collect());
    }
    let mut views: Vec<String> = Vec::new();
    for view in named {
        if !definitions.views.contains_key(view.as_str()) {
            return Err(MaterializeError::unknown(view, definitions));
        }
        if !views.contains(view) {
            views.push(view.clone());
        }
    }
    Ok(views)
}
