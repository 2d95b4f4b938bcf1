//! Reading features: a service and key columns in, columns with statuses and event times out.
//!
//! ```text
//! FeatureReader::prepare(selection) ──> Prepared (one registry version)
//!     keys::from_wire / http's JSON ──> Keys, in the order of the plan's caller columns
//! FeatureReader::read(prepared, keys) ──> Answer
//! ```
//!
//! Nothing here knows a transport. One [`Prepared`] belongs to one registry version, so one request
//! sees one version.

mod computing;
pub mod keys;
mod read;
mod resolve;

use std::sync::{Arc, OnceLock};

use arrow_array::ArrayRef;
use asof_core::online::OnlineStore;
use asof_core::registry::{RegistryStore, Version};
use asof_core::row::{Layout, Packed};
use asof_core::service::ReadPlan;
use asof_core::status::Status;
use asof_core::time::{Clock, Timestamp};
use asof_proto::v1;
use bytes::Bytes;
use moka::sync::Cache;

use crate::error::ServerError;
use crate::metrics::ValueCounters;
use crate::registry_watch::RegistryWatch;
use computing::Computing;
use keys::Keys;
use resolve::Resolver;

/// The most positions of one request.
pub const MAX_POSITIONS: usize = 10_000;
/// How many plans are kept.
const CACHED_PLANS: u64 = 1_000;
/// Requests of at most so many rows are read where they arrive: handing them to another thread would
/// take longer than the read.
const INLINE_ROWS: usize = 256;

/// Which features.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Selection {
    /// Those of a service.
    Service(String),
    /// These, each `view:feature` or `view:*`.
    Features(Vec<String>),
}

impl Selection {
    /// Exactly one of both must be given.
    pub fn of(service: String, features: Vec<String>) -> Result<Self, ServerError> {
        match (service.is_empty(), features.is_empty()) {
            (false, true) => Ok(Self::Service(service)),
            (true, false) => Ok(Self::Features(features)),
            (true, true) => Err(ServerError::argument(
                "service, features",
                "both are empty: name a service, or list features such as \"view:feature\"",
            )),
            (false, false) => Err(ServerError::argument(
                "features",
                "must be empty where a service is named: give one of both",
            )),
        }
    }
}

/// A selection worked out against one registry version.
#[derive(Debug)]
pub struct Prepared {
    /// The version.
    pub version: Arc<Version>,
    /// What was asked for.
    pub selection: Selection,
    /// What to read and to return.
    pub plan: ReadPlan,
    /// Where the plan's columns are in an answer.
    pub layout: Layout,
    /// What is read, and what is computed of it.
    computing: Computing,
    /// The encoded schema of answers.
    pub schema: Bytes,
    service_version: u64,
    resolver: Resolver,
    /// The counters of the values of each group of the plan, once they were asked for.
    counters: OnceLock<Vec<ValueCounters>>,
}

impl Prepared {
    fn new(version: Arc<Version>, selection: Selection) -> Result<Self, ServerError> {
        let definitions = &version.definitions;
        let plan = match &selection {
            Selection::Service(name) => ReadPlan::of_service(definitions, name)?,
            Selection::Features(features) => {
                ReadPlan::of_features(definitions, features.iter().map(String::as_str))?
            }
        };
        let features = plan.columns.iter().map(|column| {
            let bug = || ServerError::Bug(format!("column {} is of no read", column.name));
            plan.returned(column).ok_or_else(bug)
        });
        let features = features.collect::<Result<Vec<_>, _>>()?;
        let layout = Layout::of(features.into_iter().map(|feature| feature.data_type));
        let columns = plan
            .columns
            .iter()
            .map(|column| (column.name.as_str(), column.group));
        let views = plan.groups().map(|(view, prefix)| v1::ViewField {
            view: view.to_string(),
            prefix: prefix.map_or_else(String::new, ToString::to_string),
        });
        let schema = asof_proto::response::schema(&layout, columns, views);
        let computing = Computing::new(&plan)?;
        let resolver = Resolver::new(&definitions.project, &plan, computing.stored());
        let service_version = match &selection {
            Selection::Service(service) => {
                let mut services = version.services.iter();
                let of_service = services.find(|(name, _)| name.as_str() == service);
                of_service.map_or(0, |(_, version)| *version)
            }
            Selection::Features(_) => 0,
        };
        Ok(Self {
            version,
            selection,
            plan,
            layout,
            computing,
            schema,
            service_version,
            resolver,
            counters: OnceLock::new(),
        })
    }

    /// What it is called in the ledger of runs.
    pub fn subject(&self) -> String {
        match &self.selection {
            Selection::Service(name) => name.clone(),
            Selection::Features(features) => features.join(","),
        }
    }

    /// The service's name; empty for a list of features.
    pub fn service(&self) -> &str {
        match &self.selection {
            Selection::Service(name) => name,
            Selection::Features(_) => "",
        }
    }

    /// The version that last changed the service's columns; 0 for a list of features.
    pub fn service_version(&self) -> u64 {
        self.service_version
    }

    /// The counters of the values of each group of the plan, made by `make` for a view.
    pub(crate) fn counters(&self, make: impl Fn(&str) -> ValueCounters) -> &[ValueCounters] {
        self.counters.get_or_init(|| {
            let groups = self.plan.groups();
            groups.map(|(view, _)| make(view.as_str())).collect()
        })
    }
}

/// The features of some positions.
#[derive(Debug)]
pub struct Answer {
    /// What was asked for.
    pub prepared: Arc<Prepared>,
    /// The instant as of which the answer holds.
    pub as_of: Timestamp,
    /// The features, at the places of the plan's layout.
    pub packed: Packed,
    /// The event time of each winning row, expired ones included, for each group of the plan and each position; what is
    /// computed has none.
    pub event_times: Vec<Option<Timestamp>>,
    /// The instant up to which the rows of each group are complete: of what is computed, all that it is computed of.
    pub materialized_to: Vec<Timestamp>,
    /// For each computed feature of the plan how many of its values are null because something could not be computed.
    pub failed: Vec<u64>,
}

impl Answer {
    /// How many positions.
    pub fn rows(&self) -> usize {
        self.packed.positions
    }

    /// The values of a column of the plan, null unless the status is PRESENT.
    ///
    /// # Errors
    ///
    /// Stored values that are not of its type.
    pub fn array(&self, column: usize) -> Result<ArrayRef, ServerError> {
        let array = self.packed.array(&self.prepared.layout, column);
        array.map_err(|corrupt| ServerError::Bug(corrupt.to_string()))
    }

    /// What there is to say of each of the values of a column.
    pub fn statuses(&self, column: usize) -> impl Iterator<Item = Status> {
        self.packed.statuses_of(column)
    }

    /// The event times of a group of the plan.
    pub fn event_times_of(&self, group: usize) -> &[Option<Timestamp>] {
        let start = group.saturating_mul(self.rows());
        let times = self.event_times.get(start..).unwrap_or_default();
        times.get(..self.rows()).unwrap_or_default()
    }
}

/// Reads features from a store, by the definitions of a registry, as of a clock.
pub struct FeatureReader<S, R> {
    store: Arc<S>,
    watch: Arc<RegistryWatch<R>>,
    clock: Arc<dyn Clock>,
    plans: Cache<(u64, Selection), Arc<Prepared>>,
}

impl<S: OnlineStore + 'static, R: RegistryStore> FeatureReader<S, R> {
    /// A reader of `store`.
    pub fn new(store: Arc<S>, watch: Arc<RegistryWatch<R>>, clock: Arc<dyn Clock>) -> Self {
        Self {
            store,
            watch,
            clock,
            plans: Cache::new(CACHED_PLANS),
        }
    }

    /// Works a selection out against the registry version in force.
    ///
    /// # Errors
    ///
    /// An unknown service or feature, or a list of features that does not go together.
    pub fn prepare(&self, selection: Selection) -> Result<Arc<Prepared>, ServerError> {
        let version = self.watch.current();
        let key = (version.number, selection);
        if let Some(prepared) = self.plans.get(&key) {
            return Ok(prepared);
        }
        let prepared = Arc::new(Prepared::new(version, key.1.clone())?);
        self.plans.insert(key, prepared.clone());
        Ok(prepared)
    }

    /// Reads the features of `keys`, as of the clock.
    ///
    /// # Errors
    ///
    /// A view that cannot answer now, or a failure of the store: never a wrong answer.
    pub async fn read(&self, prepared: Arc<Prepared>, keys: Keys) -> Result<Answer, ServerError> {
        let (store, clock) = (self.store.clone(), self.clock.clone());
        let is_short = keys.rows().saturating_mul(prepared.plan.reads.len().max(1)) <= INLINE_ROWS;
        if is_short && !store.is_remote() {
            return read::read(&*store, &prepared, &keys, &*clock, &read::Interest::new());
        }
        let interest = read::Interest::new();
        // Dropped with this future, when the caller goes away or its time is over: the read stops.
        let _guard = interest.guard();
        tokio::task::spawn_blocking(move || read::read(&*store, &prepared, &keys, &*clock, &interest))
            .await
            .map_err(|error| ServerError::Bug(format!("a read ended early: {error}")))?
    }
}
