//! The engine: a project's directory and a DataFusion session with its limits.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::execution::SessionStateBuilder;
use datafusion::execution::memory_pool::{MemoryPool, UnboundedMemoryPool};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::blocking::blocking;
use crate::error::{OfflineError, Result};
use crate::files::{Roots, SourceFile};
use crate::managed::WholeFiles;
use crate::memory_pool::{Expected, KEPT_ONE_IN, SharePool};
use crate::plan::Strategy;

/// What an engine may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineOptions {
    /// The most memory, in bytes, for what grows with the data; `None` for no limit.
    pub memory_limit: Option<usize>,
    /// How many files are read at once.
    pub readers: usize,
    /// How many rows are read at once.
    pub batch_size: usize,
    /// How extracts are joined.
    pub strategy: Strategy,
}

impl Default for EngineOptions {
    fn default() -> Self {
        let readers = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            memory_limit: None,
            readers,
            batch_size: 8192,
            strategy: Strategy::Auto,
        }
    }
}

/// Reads sources, writes datasets and keeps managed tables, for one project.
#[derive(Clone)]
pub struct Engine {
    pub(crate) roots: Arc<Roots>,
    pub(crate) tables: PathBuf,
    pub(crate) context: SessionContext,
    pub(crate) options: EngineOptions,
    pub(crate) whole: Arc<WholeFiles>,
    /// What its limit of memory is shared by, where it has one.
    pool: Option<Arc<SharePool>>,
    /// Those who spill in the join that it is for.
    _expected: Option<Arc<Expected>>,
}

impl Engine {
    /// An engine for the project in `project`, whose managed tables lie under `tables` (relative to
    /// it) and whose sources may also lie under the roots `allow`.
    pub fn open(project: &Path, tables: &Path, allow: &[PathBuf], options: EngineOptions) -> Result<Self> {
        let roots = Roots::new(project, allow)?;
        let tables = roots.project().join(tables);
        if tables
            .ancestors()
            .find(|path| path.exists())
            .is_some_and(|path| !path.is_dir())
        {
            return Err(OfflineError::Unavailable {
                place: tables.display().to_string(),
                reason: "it is no directory, as managed tables need one: name another in [offline] root"
                    .into(),
            });
        }
        let pool = options.memory_limit.map(|bytes| Arc::new(SharePool::new(bytes)));
        Ok(Self {
            roots: Arc::new(roots),
            tables,
            context: session(options, pool.as_ref())?,
            options,
            whole: Arc::default(),
            pool,
            _expected: None,
        })
    }
}

impl Engine {
    /// The same with a memory limit of its own, in bytes, which all that it does shares.
    pub fn with_memory_limit(&self, bytes: usize) -> Result<Self> {
        let options = EngineOptions {
            memory_limit: Some(bytes),
            ..self.options
        };
        let pool = Arc::new(SharePool::new(bytes));
        Ok(Self {
            context: session(options, Some(&pool))?,
            options,
            pool: Some(pool),
            _expected: None,
            ..self.clone()
        })
    }
}

/// How many sorts there are in each partition of a read: of questions, of rows, and of answers.
const SORTS: usize = 3;
/// What spills in each partition of a read: its sorts, and what divides questions and rows into partitions.
const SPILLING: usize = SORTS + 2;

/// How many spilled files a sort merges at once under a memory limit. Left to itself, the first sort that is
/// done takes all the memory there is to merge as many as it can, and those that are to come have none.
const MERGED: usize = 8;

impl Engine {
    /// Refuses a file of a managed table that has other bytes than were written; `place` is what errors name.
    pub(crate) async fn check_whole(&self, place: String, file: SourceFile) -> Result<()> {
        let whole = Arc::clone(&self.whole);
        blocking(move || whole.check(&place, &file)).await
    }

    /// The same engine for the join of so many reads with rows of `row_bytes`: under a memory limit its
    /// batches are small enough that each of what shares the memory may hold several.
    ///
    /// A batch that is divided into partitions takes the memory of a full one however few rows it has, and a
    /// sort whose share does not hold one cannot spill its way out.
    pub(crate) fn for_join(&self, reads: usize, row_bytes: usize) -> Self {
        let Some(limit) = self.options.memory_limit else {
            return self.clone();
        };
        const FEWEST: usize = 16;
        // A merge reads two batches ahead of each of its files, and each is counted twice.
        const BATCHES: usize = 3 * MERGED;
        let readers = self.options.readers.max(1);
        let spilling = SPILLING * reads.max(1) * readers;
        let share = limit / spilling;
        let fitting = share / (BATCHES * row_bytes.max(1));
        let options = EngineOptions {
            batch_size: self.options.batch_size.min(fitting.max(FEWEST)),
            ..self.options
        };
        let state = self.context.state();
        let mut config = state.config().clone().with_batch_size(options.batch_size.max(1));
        keep_back(&mut config, options, reads);
        let state = SessionStateBuilder::new_from_existing(state).with_config(config);
        let expected = self.pool.as_ref().map(|pool| Expected::new(pool, spilling));
        Self {
            context: SessionContext::new_with_state(state.build()),
            options,
            _expected: expected.map(Arc::new),
            ..self.clone()
        }
    }
}

/// Sets what every sort keeps back for its merge: all together half of what those who spill do not get.
fn keep_back(config: &mut SessionConfig, options: EngineOptions, reads: usize) {
    if let Some(limit) = options.memory_limit {
        let sorts = SORTS * reads.max(1) * options.readers.max(1);
        let kept_back = &mut config.options_mut().execution.sort_spill_reservation_bytes;
        *kept_back = (*kept_back).min(limit / (2 * KEPT_ONE_IN * sorts));
    }
}

/// A session in which one file is read by one partition, from its first row to its last: the place of
/// a row in its file is part of its order.
fn session(options: EngineOptions, pool: Option<&Arc<SharePool>>) -> Result<SessionContext> {
    let runtime = match pool {
        Some(pool) => RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::clone(pool) as Arc<dyn MemoryPool>)
            .with_max_spill_merge_fan_in(MERGED),
        None => RuntimeEnvBuilder::new().with_memory_pool(Arc::new(UnboundedMemoryPool::default())),
    };
    let runtime = runtime
        .build_arc()
        .map_err(|error| OfflineError::Internal(error.to_string()))?;
    let mut config = SessionConfig::new()
        .with_target_partitions(1)
        .with_batch_size(options.batch_size.max(1))
        .with_repartition_file_scans(false)
        .with_collect_statistics(false);
    keep_back(&mut config, options, 1);
    let parquet = &mut config.options_mut().execution.parquet;
    parquet.schema_force_view_types = false;
    parquet.skip_metadata = true;
    config.options_mut().sql_parser.map_string_types_to_utf8view = false;
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_default_features()
        .build();
    Ok(SessionContext::new_with_state(state))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sort counts a batch twice while it takes it in.
    #[test]
    fn every_share_of_a_small_limit_holds_a_batch() {
        let directory = tempfile::tempdir().unwrap();
        for (mib, readers, reads, row_bytes) in [
            (1, 2, 1, 96),
            (8, 2, 3, 120),
            (8, 8, 6, 136),
            (40, 2, 12, 600),
            (64, 16, 6, 200),
        ] {
            let limit: usize = mib << 20;
            let options = EngineOptions {
                memory_limit: Some(limit),
                readers,
                ..EngineOptions::default()
            };
            let engine = Engine::open(directory.path(), Path::new("tables"), &[], options).unwrap();
            let engine = engine.for_join(reads, row_bytes);
            let state = engine.context.state();
            let consumers = readers * reads;
            let kept_back = state.config().options().execution.sort_spill_reservation_bytes;
            assert!(3 * consumers * kept_back <= limit / 6);
            let share = (limit - limit / 3) / (5 * consumers);
            let batch = state.config().batch_size() * row_bytes;
            assert!(2 * batch <= share, "{mib} {readers} {reads}: {batch} in {share}");
            assert_eq!(engine.options.batch_size, state.config().batch_size());
        }
    }

    #[test]
    fn batches_are_whole_where_memory_is_not_short() {
        let directory = tempfile::tempdir().unwrap();
        for memory_limit in [None, Some(4 << 30)] {
            let options = EngineOptions {
                memory_limit,
                readers: 2,
                ..EngineOptions::default()
            };
            let engine = Engine::open(directory.path(), Path::new("tables"), &[], options).unwrap();
            assert_eq!(engine.for_join(6, 200).options.batch_size, 8192);
        }
    }
}
