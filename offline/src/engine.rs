//! The engine: a project's directory and a DataFusion session with its limits.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::execution::SessionStateBuilder;
use datafusion::execution::memory_pool::{
    FairSpillPool, MemoryPool, TrackConsumersPool, UnboundedMemoryPool,
};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::error::{OfflineError, Result};
use crate::files::Roots;
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
}

impl Engine {
    /// An engine for the project in `project`, whose managed tables lie under `tables` (relative to
    /// it) and whose sources may also lie under the roots `allow`.
    pub fn open(project: &Path, tables: &Path, allow: &[PathBuf], options: EngineOptions) -> Result<Self> {
        let roots = Roots::new(project, allow)?;
        let tables = roots.project().join(tables);
        Ok(Self {
            roots: Arc::new(roots),
            tables,
            context: session(options)?,
            options,
        })
    }
}

/// A session in which one file is read by one partition, from its first row to its last: the place of
/// a row in its file is part of its order.
fn session(options: EngineOptions) -> Result<SessionContext> {
    let pool: Arc<dyn MemoryPool> = match options.memory_limit {
        Some(bytes) => {
            let consumers = std::num::NonZeroUsize::MIN.saturating_add(4);
            Arc::new(TrackConsumersPool::new(FairSpillPool::new(bytes), consumers))
        }
        None => Arc::new(UnboundedMemoryPool::default()),
    };
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(pool)
        .build_arc()
        .map_err(|error| OfflineError::Internal(error.to_string()))?;
    let mut config = SessionConfig::new()
        .with_target_partitions(1)
        .with_batch_size(options.batch_size.max(1))
        .with_repartition_file_scans(false)
        .with_collect_statistics(false);
    if let Some(limit) = options.memory_limit {
        // What every sort keeps back for its merge must leave room for the sorts of all partitions.
        let kept_back = &mut config.options_mut().execution.sort_spill_reservation_bytes;
        *kept_back = (*kept_back).min(limit / (16 * options.readers.max(1)));
    }
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
