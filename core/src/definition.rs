//! What a project defines: entities, sources, views and services.
//!
//! These are the meanings; the shapes in which files, the registry and the wire write them are
//! kept apart, in `asof-registry` and `asof-proto`.

mod aggregate;
mod aggregates;
mod on_demand;
mod stream;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use aggregate::{Aggregate, AggregateError, Input, InputText, NamedWindow};
pub use aggregates::{Aggregates, Windowed};
pub use on_demand::{OnDemand, OnDemandFeature, OnDemandInput, RequestColumn};
pub use stream::{AvroFraming, Broker, MessageFormat, Servers, Stream, StreamStart};

use crate::aggregate::tiles::TileLayout;
use crate::data_type::{DataType, KeyType};
use crate::duration::Duration;
use crate::name::{EntityName, FeatureName, Prefix, ProjectName, ServiceName, SourceName, ViewName};
use crate::time::{DateInstant, Zone};

/// Text for people, which changes nothing about what is computed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes {
    /// What it is, in a sentence.
    pub description: Option<String>,
    /// Whom to ask.
    pub owner: Option<String>,
    /// Labels for search.
    pub tags: BTreeMap<String, String>,
}

/// One column of an entity's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyColumn {
    /// The column's name in sources, and in spines unless a service maps it.
    pub name: String,
    /// The type of its values.
    pub key_type: KeyType,
}

/// A thing that features describe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entity {
    /// Its name.
    pub name: EntityName,
    /// Its key columns, at least one, in key order.
    pub keys: Vec<KeyColumn>,
    /// Text for people.
    pub notes: Notes,
}

/// Where the rows of a source are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// Files or a foreign Delta table, read in place: a file, a directory, a glob.
    InPlace {
        /// As written, relative to the project.
        path: String,
    },
    /// A Delta table of ours, filled by ingest and push.
    Managed {
        /// Its columns, in order.
        schema: Vec<(String, DataType)>,
        /// The column that identifies an event: of one id the lowest seq counts.
        event_id: Option<String>,
        /// The stream that fills it, where one does.
        stream: Option<Stream>,
    },
}

/// Where rows come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its name.
    pub name: SourceName,
    /// Where its rows are.
    pub location: Location,
    /// The column that says when a row was true.
    pub event_time: String,
    /// The column that says when a row became known.
    pub created_time: Option<String>,
    /// The zone of time columns that carry none.
    pub timezone: Option<Zone>,
    /// Which instant a date means where a time is wanted.
    pub dates: Option<DateInstant>,
    /// A boolean column: true in a winning row means "nothing".
    pub deleted: Option<String>,
    /// A projection and filter over the rows, which it calls `source`.
    pub sql: Option<String>,
    /// Text for people.
    pub notes: Notes,
}

/// One stored feature of a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feature {
    /// Its name within the view.
    pub name: FeatureName,
    /// The type of its values.
    pub data_type: DataType,
    /// Its column in the source, where that has another name.
    pub column: Option<String>,
    /// What it is, in a sentence.
    pub description: Option<String>,
}

impl Feature {
    /// The column of the source that it is read from.
    pub fn source_column(&self) -> &str {
        self.column.as_deref().unwrap_or(self.name.as_str())
    }

    /// All on which its stored values depend, as text.
    fn shape(&self) -> String {
        format!("{} {} {:?}", self.name, self.data_type, self.source_column())
    }
}

/// What the features of a view are computed from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ViewKind {
    /// Columns of the row that wins (whole rows, as they are).
    Features(Vec<Feature>),
    /// What is computed of the events of windows.
    Aggregates(Aggregates),
}

/// A named set of features of one entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Its name.
    pub name: ViewName,
    /// Whose features they are.
    pub entity: EntityName,
    /// Where their rows come from.
    pub source: SourceName,
    /// How long a row stays valid; absent means for ever.
    pub ttl: Option<Duration>,
    /// What its features are.
    pub kind: ViewKind,
    /// Text for people.
    pub notes: Notes,
}

impl View {
    /// Its features, in the order of their definition.
    pub fn features(&self) -> &[Feature] {
        match &self.kind {
            ViewKind::Features(features) => features,
            ViewKind::Aggregates(aggregates) => aggregates.features(),
        }
    }

    /// What is read of each row of the source: the features, or the values that aggregates are computed of.
    pub fn stored(&self) -> &[Feature] {
        match &self.kind {
            ViewKind::Features(features) => features,
            ViewKind::Aggregates(aggregates) => aggregates.stored(),
        }
    }

    /// Its aggregates, where it has such.
    pub fn aggregates(&self) -> Option<&Aggregates> {
        match &self.kind {
            ViewKind::Features(_) => None,
            ViewKind::Aggregates(aggregates) => Some(aggregates),
        }
    }

    /// The view with some of its features only, in the given order.
    #[must_use]
    pub fn narrowed(&self, features: &[Feature]) -> Self {
        let kind = match &self.kind {
            ViewKind::Features(_) => ViewKind::Features(features.to_vec()),
            ViewKind::Aggregates(aggregates) => ViewKind::Aggregates(aggregates.narrowed(features)),
        };
        Self { kind, ..self.clone() }
    }

    /// The feature of that name.
    pub fn feature(&self, name: &str) -> Option<&Feature> {
        self.features()
            .iter()
            .find(|feature| feature.name.as_str() == name)
    }
}

/// The features of one view that a service lists, as its definition says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceEntry {
    /// The view.
    pub view: ViewName,
    /// Which of its features.
    pub select: Select,
    /// Entity key column -> the caller's column that holds it, where the names differ.
    pub keys: BTreeMap<String, String>,
    /// What goes before the columns' names.
    pub prefix: Option<Prefix>,
}

/// Which features of a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Select {
    /// `*`: all that the view had when the service was first applied.
    All,
    /// These, in this order.
    Named(Vec<FeatureName>),
}

/// The features of one view that a service has, once frozen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrozenEntry {
    /// What the definition says.
    pub entry: ServiceEntry,
    /// The features it stands for, in order; later additions to the view do not change it.
    pub features: Vec<FeatureName>,
}

/// The named, frozen list of features that a model uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// Its features, in column order.
    pub entries: Vec<FrozenEntry>,
    /// Text for people.
    pub notes: Notes,
}

/// The name of a feature's column: `view__feature`, or `prefix_view__feature`.
pub fn column_name(prefix: Option<&Prefix>, view: &ViewName, feature: &FeatureName) -> String {
    match prefix {
        Some(prefix) => format!("{prefix}_{view}__{feature}"),
        None => format!("{view}__{feature}"),
    }
}

/// All that a project defines at one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definitions {
    /// The project.
    pub project: ProjectName,
    /// Its entities by name.
    pub entities: BTreeMap<EntityName, Entity>,
    /// Its sources by name.
    pub sources: BTreeMap<SourceName, Source>,
    /// Its views by name.
    pub views: BTreeMap<ViewName, View>,
    /// Its sets of on-demand features by name; none is the name of a view.
    pub on_demand: BTreeMap<ViewName, OnDemand>,
    /// Its services by name.
    pub services: BTreeMap<ServiceName, Service>,
}

impl Definitions {
    /// A project that defines nothing yet.
    pub fn empty(project: ProjectName) -> Self {
        Self {
            project,
            entities: BTreeMap::new(),
            sources: BTreeMap::new(),
            views: BTreeMap::new(),
            on_demand: BTreeMap::new(),
            services: BTreeMap::new(),
        }
    }

    /// The names of the features of a view, or of a set of on-demand features, in the order of their definition.
    pub fn feature_names(&self, view: &ViewName) -> Option<Vec<&FeatureName>> {
        let on_demand = || {
            let features = self.on_demand.get(view)?.features.iter();
            Some(features.map(|feature| &feature.name).collect())
        };
        match self.views.get(view) {
            Some(view) => Some(view.features().iter().map(|feature| &feature.name).collect()),
            None => on_demand(),
        }
    }

    /// The view with its entity and source, or `None` where any of them is missing.
    pub fn bound_view(&self, name: &str) -> Option<BoundView> {
        let view = self.views.get(name)?;
        Some(BoundView {
            entity: self.entities.get(&view.entity)?.clone(),
            source: self.sources.get(&view.source)?.clone(),
            view: view.clone(),
        })
    }
}

/// A view together with what it refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundView {
    /// The view.
    pub view: View,
    /// Its entity.
    pub entity: Entity,
    /// Its source.
    pub source: Source,
}

impl BoundView {
    /// All on which the view's stored rows depend, as text: where it changes, what is stored must be
    /// built anew. A feature that is dropped, and text for people, do not change it.
    pub fn stored_shape(&self) -> StoredShape {
        let source = &self.source;
        let mut rows = format!("entity {}", self.entity.name);
        for key in &self.entity.keys {
            rows.push_str(&format!("\nkey {:?} {}", key.name, key.key_type));
        }
        rows.push_str(&format!("\nsource {}", source.name));
        match &source.location {
            Location::InPlace { path } => rows.push_str(&format!("\npath {path:?}")),
            Location::Managed { event_id, .. } => rows.push_str(&format!("\nmanaged event_id {event_id:?}")),
        }
        rows.push_str(&format!(
            "\nevent_time {:?}\ncreated_time {:?}\ntimezone {:?}\ndates {:?}\ndeleted {:?}\nsql {:?}",
            source.event_time,
            source.created_time,
            source.timezone.map(Zone::name),
            source.dates,
            source.deleted,
            source.sql,
        ));
        let features = match &self.view.kind {
            ViewKind::Features(features) => features.iter().map(Feature::shape).collect(),
            ViewKind::Aggregates(aggregates) => aggregates.shapes().collect(),
        };
        StoredShape {
            rows,
            features,
            tiles: self
                .view
                .aggregates()
                .map(|aggregates| Arc::new(TileLayout::of(aggregates))),
        }
    }
}

/// See [`BoundView::stored_shape`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredShape {
    /// What decides which rows there are.
    pub rows: String,
    /// What decides the value of each feature.
    pub features: Vec<String>,
    /// What rows are folded into, where they are events that are aggregated; of others the newest stays.
    pub tiles: Option<Arc<TileLayout>>,
}

impl StoredShape {
    /// Whether rows of a view of shape `wanted` can be written beside those stored under `self`, where these serve it:
    /// tiles are merged with tiles of the very same kind only.
    pub fn takes(&self, wanted: &Self) -> bool {
        self.serves(wanted) && self.tiles == wanted.tiles
    }

    /// Whether rows stored under `self` can serve a view of shape `wanted`: the same rows, and every
    /// wanted feature among the stored ones.
    pub fn serves(&self, wanted: &Self) -> bool {
        self.rows == wanted.rows
            && wanted
                .features
                .iter()
                .all(|feature| self.features.contains(feature))
    }
}
