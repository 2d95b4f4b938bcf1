//! What an extract joins: the reads of its plan, bound to sources that are pinned.

use std::collections::BTreeMap;
use std::sync::Arc;

use asof_core::definition::{BoundView, View, ViewKind};
use asof_core::service::{CallerColumn, ViewRead};

use super::ExtractRequest;
use crate::asof::SourceFiles;
use crate::columns::SourceColumns;
use crate::engine::Engine;
use crate::error::{OfflineError, Result};
use crate::places::ViewPlaces;
use crate::plan::{JoinRead, JoinSource, JoinSpec};
use crate::snapshot::Snapshot;
use crate::spine::Spine;

/// A join, and the snapshots that it reads, by source.
pub(super) struct Bound {
    pub(super) spec: Arc<JoinSpec>,
    pub(super) snapshots: BTreeMap<String, Arc<Snapshot>>,
}

/// Binds the reads of a plan; what is wrong with a definition is found here, before any row is read.
pub(super) async fn bind(engine: &Engine, request: &ExtractRequest<'_>, spine: Spine) -> Result<Bound> {
    let mut snapshots = BTreeMap::new();
    let mut sources: Vec<JoinSource> = Vec::new();
    let mut reads = Vec::new();
    for read in &request.plan.reads {
        let bound = Arc::new(narrowed(read));
        let snapshot = pinned(engine, &bound, &mut snapshots).await?;
        let columns = SourceColumns::bind(&bound.source, &snapshot)?;
        let places = ViewPlaces::find(&bound, &snapshot, &columns.schema())?;
        let same = |source: &JoinSource| Arc::ptr_eq(&source.files.snapshot, &snapshot);
        let source = match sources.iter().position(same) {
            Some(source) => source,
            None => {
                let files = SourceFiles::open(engine, &snapshot).await?;
                sources.push(JoinSource { files, columns });
                sources.len() - 1
            }
        };
        let known = |name: &String| {
            let mut columns = request.plan.caller_columns.iter();
            columns.find(|column| column.name == *name).cloned()
        };
        let keys: Vec<CallerColumn> = read.key_columns.iter().filter_map(known).collect();
        spine.asking_columns(&keys)?;
        reads.push(JoinRead::new(read.label(), bound, places, keys, source));
    }
    let spec = JoinSpec {
        engine: engine.clone(),
        spine,
        sources,
        reads,
        as_corrected: request.as_corrected,
        progress: Arc::clone(&request.progress),
    };
    Ok(Bound {
        spec: Arc::new(spec),
        snapshots,
    })
}

/// The view with only the features that are asked for: no other column is read.
fn narrowed(read: &ViewRead) -> BoundView {
    let view = View {
        kind: ViewKind::Features(read.features.clone()),
        ..read.bound.view.clone()
    };
    BoundView {
        view,
        ..read.bound.clone()
    }
}

/// Pins each source once, so that all views of it see the same rows.
async fn pinned(
    engine: &Engine,
    bound: &BoundView,
    snapshots: &mut BTreeMap<String, Arc<Snapshot>>,
) -> Result<Arc<Snapshot>> {
    let first = snapshots.get(bound.source.name.as_str());
    if let Some(first) = first.filter(|first| !first.is_typed_by_view()) {
        return Ok(Arc::clone(first));
    }
    let fresh = engine.snapshot(bound).await?;
    let first = snapshots
        .entry(bound.source.name.to_string())
        .or_insert_with(|| Arc::new(fresh.clone()));
    if first.files != fresh.files || first.version != fresh.version {
        return Err(OfflineError::Data(format!(
            "source {} was changed while the extract began: run it again when its writer is done",
            bound.source.name
        )));
    }
    Ok(if first.schema == fresh.schema {
        Arc::clone(first)
    } else {
        Arc::new(fresh)
    })
}
