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

pub mod keys;
mod read;
mod resolve;

use std::sync::Arc;

use arrow_array::ArrayRef;
use asof_core::data_type::DataType;
use asof_core::online::OnlineStore;
use asof_core::registry::{RegistryStore, Version};
use asof_core::service::ReadPlan;
use asof_core::status::Status;
use asof_core::time::{Clock, Timestamp};
use moka::sync::Cache;

use crate::error::ServerError;
use crate::registry_watch::RegistryWatch;
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
    resolver: Resolver,
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
        let resolver = Resolver::new(&definitions.project, &plan);
        Ok(Self {
            version,
            selection,
            plan,
            resolver,
        })
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
        let mut services = self.version.services.iter();
        services
            .find(|(name, _)| name.as_str() == self.service())
            .map_or(0, |(_, version)| *version)
    }
}

/// The features of some positions.
#[derive(Debug)]
pub struct Answer {
    /// How many positions.
    pub rows: usize,
    /// The instant as of which the answer holds.
    pub as_of: Timestamp,
    /// The features, in the order of the plan's columns.
    pub columns: Vec<AnswerColumn>,
    /// The views, in the order of the plan's reads.
    pub views: Vec<AnswerView>,
}

/// One feature: position `i` of each part belongs to position `i` of the keys.
#[derive(Debug)]
pub struct AnswerColumn {
    /// Its name.
    pub name: String,
    /// Its type.
    pub data_type: DataType,
    /// Its values, null unless the status is [`Status::Present`].
    pub values: ArrayRef,
    /// What there is to say of each.
    pub statuses: Vec<Status>,
}

/// One view that was read.
#[derive(Debug)]
pub struct AnswerView {
    /// Its name.
    pub view: String,
    /// The prefix of its columns.
    pub prefix: Option<String>,
    /// The event time of each winning row, expired ones included.
    pub event_times: Vec<Option<Timestamp>>,
    /// The instant up to which its rows are complete.
    pub materialized_to: Timestamp,
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
        if keys.rows().saturating_mul(prepared.plan.reads.len()) <= INLINE_ROWS {
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
