//! What an extract joins: the reads of its plan, bound to sources that are pinned.

use std::collections::BTreeMap;
use std::sync::Arc;

use asof_core::definition::{BoundView, View, ViewKind};
use asof_core::service::{CallerColumn, ReadPlan};

use super::given::Given;
use super::{ExtractRequest, Progress, Rows};
use crate::asof::SourceFiles;
use crate::column::width;
use crate::columns::SourceColumns;
use crate::digest::{KnownDigests, Stamp};
use crate::engine::Engine;
use crate::error::{OfflineError, Result};
use crate::grid::{self, KeySource};
use crate::places::ViewPlaces;
use crate::plan::{JoinRead, JoinSource, JoinSpec};
use crate::rows::RowReader;
use crate::snapshot::{Pin, Snapshot};
use crate::spine::Spine;

/// Sources pinned beforehand, by name.
pub(crate) type Pins = BTreeMap<String, Pin>;

/// The reads of a plan, and the snapshots that they read, by source.
pub(crate) struct Bound {
    reads: Vec<BoundRead>,
    pub(super) snapshots: BTreeMap<String, Arc<Snapshot>>,
}

struct BoundRead {
    label: String,
    bound: Arc<BoundView>,
    places: ViewPlaces,
    columns: SourceColumns,
    snapshot: Arc<Snapshot>,
    keys: Vec<CallerColumn>,
}

impl Bound {
    /// Binds the reads of a plan; what is wrong with a definition is found here, before any row is read. The
    /// sources are read as `pins` has them, or as they are now.
    pub(crate) async fn of(engine: &Engine, plan: &ReadPlan, pins: Option<&Pins>) -> Result<Self> {
        let mut snapshots = BTreeMap::new();
        let mut reads = Vec::new();
        for read in &plan.reads {
            let bound = Arc::new(read.narrowed());
            let snapshot = pinned(engine, &bound, pins, &mut snapshots).await?;
            let columns = SourceColumns::bind(&bound.source, &snapshot)?;
            let places = ViewPlaces::find(&bound, &snapshot, &columns.schema())?;
            let known = |name: &String| {
                let mut columns = plan.caller_columns.iter();
                columns.find(|column| column.name == *name).cloned()
            };
            reads.push(BoundRead {
                label: read.label(),
                keys: read.key_columns.iter().filter_map(known).collect(),
                bound,
                places,
                columns,
                snapshot,
            });
        }
        Ok(Self { reads, snapshots })
    }

    /// Refuses files of managed tables that have other bytes than were written.
    pub(super) fn check_files(&self, engine: &Engine, digests: &mut KnownDigests) -> Result<()> {
        let mut tables = self.snapshots.values().filter(|snapshot| snapshot.is_managed());
        tables.try_for_each(|snapshot| {
            let stamps: Vec<_> = snapshot
                .files
                .iter()
                .map(|file| Stamp::of(&file.location))
                .collect();
            snapshot.digests(digests, engine.options.readers)?;
            let whole = snapshot.files.iter().zip(stamps);
            whole.for_each(|(file, stamp)| engine.whole.add(&file.location, stamp));
            Ok(())
        })
    }

    /// A spine of all keys that the views know, at the times of the request's grid.
    pub(super) async fn known_keys(
        &self,
        engine: &Engine,
        request: &ExtractRequest<'_>,
        digests: &mut KnownDigests,
    ) -> Result<Given> {
        let Rows::Grid(grid) = &request.rows else {
            return Err(OfflineError::Internal("there is a spine already".into()));
        };
        let readers = self.reads.iter().map(|read| {
            let reader = RowReader::bind(&without_features(&read.bound), &read.snapshot)?;
            Ok(KeySource {
                reader: Arc::new(reader),
                snapshot: Arc::clone(&read.snapshot),
                of_events: read.bound.view.aggregates().is_some(),
            })
        });
        let readers = readers.collect::<Result<Vec<_>>>()?;
        let directory =
            tempfile::tempdir().map_err(|error| OfflineError::io(&std::env::temp_dir(), &error))?;
        let path = directory.path().join("spine.parquet");
        grid::write_spine(engine, request.plan, grid, request.as_corrected, &readers, &path).await?;
        let spine = Spine::open(&path, grid::TIME_COLUMN, None)?;
        Given::of(spine, Some(directory), digests)
    }

    /// The join of a spine to the reads.
    pub(crate) async fn join(
        &self,
        engine: &Engine,
        spine: Spine,
        as_corrected: bool,
        progress: &Arc<dyn Progress>,
    ) -> Result<Arc<JoinSpec>> {
        let mut sources: Vec<JoinSource> = Vec::new();
        let mut reads = Vec::with_capacity(self.reads.len());
        for read in &self.reads {
            let same = |source: &JoinSource| Arc::ptr_eq(&source.files.snapshot, &read.snapshot);
            let source = match sources.iter().position(same) {
                Some(source) => source,
                None => {
                    sources.push(JoinSource {
                        files: SourceFiles::open(engine, &read.snapshot).await?,
                        columns: read.columns.clone(),
                    });
                    sources.len() - 1
                }
            };
            spine.asking_columns(&read.keys)?;
            let (label, bound) = (read.label.clone(), Arc::clone(&read.bound));
            reads.push(JoinRead::new(
                label,
                bound,
                read.places.clone(),
                read.keys.clone(),
                source,
            ));
        }
        let row_bytes = self.reads.iter().zip(&reads).map(|(read, joined)| {
            let files = sources.get(joined.source).map(|source| &source.files);
            row_bytes(read, files)
        });
        let row_bytes = row_bytes.max().unwrap_or(0);
        Ok(Arc::new(JoinSpec {
            engine: engine.for_join(reads.len(), row_bytes),
            spine,
            sources,
            reads,
            as_corrected,
            progress: Arc::clone(progress),
        }))
    }
}

/// About how many bytes a row of a view takes on its way through a join, with its key, its times and its
/// numbers.
fn row_bytes(read: &BoundRead, files: Option<&SourceFiles>) -> usize {
    const BESIDE_FEATURES: usize = 96;
    let schema = read.columns.schema();
    let files = files.and_then(SourceFiles::parquet).unwrap_or_default();
    let written = |place: &usize| {
        let column = schema.fields().get(*place).map_or("", |field| field.name());
        files.iter().filter_map(|file| file.value_bytes(column)).max()
    };
    let keys = read.places.keys.iter().filter_map(written);
    let stored = read.bound.view.stored().iter();
    let stored = stored.map(|value| width(&value.data_type.to_arrow()));
    // Columns are as wide as they are written, but for those that are of one width.
    let columns = read.places.values.plain();
    let written = columns.map(|(place, data_type)| {
        written(&place)
            .unwrap_or(0)
            .saturating_sub(width(&data_type.to_arrow()))
    });
    BESIDE_FEATURES + keys.sum::<usize>() + stored.sum::<usize>() + written.sum::<usize>()
}

/// The view with its keys and times only.
fn without_features(bound: &BoundView) -> BoundView {
    let view = View {
        kind: ViewKind::Features(Vec::new()),
        ..bound.view.clone()
    };
    BoundView {
        view,
        ..bound.clone()
    }
}

/// Pins each source once, so that all views of it see the same rows.
async fn pinned(
    engine: &Engine,
    bound: &BoundView,
    pins: Option<&Pins>,
    snapshots: &mut BTreeMap<String, Arc<Snapshot>>,
) -> Result<Arc<Snapshot>> {
    let first = snapshots.get(bound.source.name.as_str());
    if let Some(first) = first.filter(|first| !first.is_typed_by_view()) {
        return Ok(Arc::clone(first));
    }
    let name = bound.source.name.as_str();
    let fresh = match pins.map(|pins| pins.get(name)) {
        None => engine.snapshot(bound).await?,
        Some(Some(pin)) => engine.snapshot_at(bound, pin).await?,
        Some(None) => return Err(OfflineError::Internal(format!("source {name} was not pinned"))),
    };
    let first = snapshots
        .entry(bound.source.name.to_string())
        .or_insert_with(|| Arc::new(fresh.clone()));
    if first.files != fresh.files || first.version != fresh.version {
        return Err(OfflineError::Data(format!(
            "source {} was changed while the reading began: run it again when its writer is done",
            bound.source.name
        )));
    }
    Ok(if first.schema == fresh.schema {
        Arc::clone(first)
    } else {
        Arc::new(fresh)
    })
}
