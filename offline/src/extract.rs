//! `extract`: a spine in, the spine and its features out, by the point-in-time contract.

mod columns;
mod given;
mod join;
mod joining;
mod tally;

pub(crate) use join::Bound;
pub(crate) use joining::Joining;

use std::path::Path;
use std::sync::Arc;

use asof_core::service::ReadPlan;
use asof_core::time::{Clock, Timestamp, Zone};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;

use crate::dataset::{Dataset, DatasetWriter, Target};
use crate::digest::KnownDigests;
use crate::engine::Engine;
use crate::error::{OfflineError, Result};
use crate::files::Roots;
use crate::grid::Grid;
use crate::manifest::{self, GridRecord, Origin, Provenance, RulesRecord, SourceRecord, SpineRecord};
use crate::plan::JoinSpec;
use crate::summary::ExtractSummary;

use columns::Columns;
use given::Given;
use tally::Tally;

pub(crate) use join::Pins;

/// What to extract.
pub struct ExtractRequest<'a> {
    /// What to read and which columns to return.
    pub plan: &'a ReadPlan,
    /// Where the plan comes from, for the manifest.
    pub origin: Origin,
    /// For which keys and times.
    pub rows: Rows<'a>,
    /// Whether rule 2 ("as known") is off.
    pub as_corrected: bool,
    /// Whether to add a status column per feature and an event-time column per view.
    pub status: bool,
    /// What the time is, for the manifest.
    pub clock: &'a dyn Clock,
    /// Who is told how far it is.
    pub progress: Arc<dyn Progress>,
}

/// The rows of an extract.
#[derive(Debug, Clone, Copy)]
pub enum Rows<'a> {
    /// The caller's.
    Spine {
        /// The spine.
        path: &'a Path,
        /// Its column of instants.
        time_column: &'a str,
        /// The zone of its times that carry none.
        timezone: Option<Zone>,
    },
    /// The caller's, in a file of ours that the caller does not know.
    Uploaded {
        /// The file.
        path: &'a Path,
        /// Its column of instants.
        time_column: &'a str,
        /// The zone of its times that carry none.
        timezone: Option<Zone>,
    },
    /// Every key that a view knows, at the times of a grid, sorted by key, then time.
    Grid(Grid),
}

/// What an extract is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Reading the keys and times of the spine.
    Spine,
    /// Reading the rows of the sources.
    Sources,
    /// Writing the dataset.
    Write,
}

/// Who is told how far an extract is.
pub trait Progress: Send + Sync {
    /// So many rows are done in this phase, of so many where that is known.
    fn advance(&self, phase: &Phase, done: u64, total: Option<u64>);
}

/// Nobody is told.
#[derive(Debug, Clone, Copy)]
pub struct Silent;

impl Progress for Silent {
    fn advance(&self, _phase: &Phase, _done: u64, _total: Option<u64>) {}
}

impl Engine {
    /// Writes a dataset and its manifest.
    ///
    /// Dropping the future ends the work and leaves no output.
    pub async fn extract(&self, request: ExtractRequest<'_>, target: Target<'_>) -> Result<Dataset> {
        self.extract_from(request, target, None).await
    }

    /// The same, from sources pinned beforehand.
    pub(crate) async fn extract_from(
        &self,
        request: ExtractRequest<'_>,
        target: Target<'_>,
        pins: Option<&Pins>,
    ) -> Result<Dataset> {
        target.check()?;
        let (clock, rows) = (request.clock, request.rows);
        let mut extracting = self
            .begin(request, pins, |bound| not_an_input(rows, target.path, bound))
            .await?;
        let mut writer = DatasetWriter::create(target, extracting.schema(), self.options.readers)?;
        while let Some(batch) = extracting.next().await? {
            writer.write(&batch)?;
            // Lets whoever waits for an interrupt have its turn.
            tokio::task::yield_now().await;
        }
        let (summary, provenance) = extracting.finish()?;
        writer.finish(summary, provenance, clock.now())
    }

    /// Begins an extract whose rows are taken one batch after the other.
    ///
    /// Dropping it ends the work.
    pub async fn begin_extract<'a>(&self, request: ExtractRequest<'a>) -> Result<Extracting<'a>> {
        self.begin(request, None, |_| Ok(())).await
    }

    async fn begin<'a>(
        &self,
        request: ExtractRequest<'a>,
        pins: Option<&Pins>,
        check: impl FnOnce(&Bound) -> Result<()>,
    ) -> Result<Extracting<'a>> {
        let started_at = request.clock.now();
        let mut digests = KnownDigests::load(&self.tables, started_at);
        let given = Given::open(&request, &mut digests)?;
        let bound = Bound::of(self, request.plan, pins).await?;
        bound.check_files(self, &mut digests)?;
        let given = match given {
            Some(given) => given,
            None => bound.known_keys(self, &request, &mut digests).await?,
        };
        let columns = Columns::plan(&request, &given.spine)?;
        check(&bound)?;
        let spine = given.spine.clone();
        let spec = bound
            .join(self, spine, request.as_corrected, &request.progress)
            .await?;
        Ok(Extracting {
            joining: Joining::start(&spec).await?,
            tally: Tally::new(&request),
            engine: self.clone(),
            request,
            started_at,
            digests,
            given,
            bound,
            columns,
            spec,
        })
    }
}

/// An extract under way.
pub struct Extracting<'a> {
    engine: Engine,
    request: ExtractRequest<'a>,
    started_at: Timestamp,
    digests: KnownDigests,
    given: Given,
    bound: Bound,
    columns: Columns,
    spec: Arc<JoinSpec>,
    joining: Joining,
    tally: Tally,
}

impl Extracting<'_> {
    /// The columns of the dataset.
    pub fn schema(&self) -> &SchemaRef {
        &self.columns.schema
    }

    /// The next rows, in the order of the spine; `None` behind the last ones.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>> {
        let Some(batch) = self.joining.next().await? else {
            return Ok(None);
        };
        let batch = self
            .columns
            .finish(&self.request, &self.given.spine, &batch, &mut self.tally)?;
        self.request
            .progress
            .advance(&Phase::Write, self.tally.rows, None);
        Ok(Some(batch))
    }

    /// What was found, and from what, once there are no more rows.
    ///
    /// # Errors
    ///
    /// The spine was changed while it was read.
    pub fn finish(self) -> Result<(ExtractSummary, Provenance)> {
        let Self {
            engine,
            mut digests,
            given,
            ..
        } = self;
        given.unchanged(&digests)?;
        let summary = ExtractSummary {
            rows: self.tally.rows,
            columns: self.columns.schema.fields().len(),
            views: self.tally.views(&self.spec),
            failures: self.tally.failures(self.request.plan),
            features: self.tally.features,
            plan: self.joining.explain(),
        };
        let snapshots = self.bound.snapshots.values();
        let threads = engine.options.readers;
        let sources =
            snapshots.map(|snapshot| manifest::source_record(&engine.roots, snapshot, &mut digests, threads));
        let sources = sources.collect::<Result<_>>()?;
        digests.keep();
        let provenance = provenance(
            &engine.roots,
            &self.request,
            &given,
            sources,
            &summary,
            self.started_at,
        )?;
        Ok((summary, provenance))
    }
}

/// Refuses an output that would take the place of what it is made from.
fn not_an_input(rows: Rows<'_>, out: &Path, bound: &Bound) -> Result<()> {
    let Ok(there) = out.canonicalize() else {
        return Ok(());
    };
    let refuse = |what: String| {
        Err(OfflineError::OutputIsInput {
            path: out.display().to_string(),
            what,
        })
    };
    if let Rows::Spine { path, .. } = rows
        && path.canonicalize().is_ok_and(|spine| spine == there)
    {
        return refuse("the spine".into());
    }
    for snapshot in bound.snapshots.values() {
        let mut locations = snapshot
            .files
            .iter()
            .filter_map(|file| file.location.canonicalize().ok());
        if locations.any(|location| location == there) {
            return refuse(format!("a file of source {}", snapshot.source));
        }
    }
    Ok(())
}

fn provenance(
    roots: &Roots,
    request: &ExtractRequest<'_>,
    given: &Given,
    sources: Vec<SourceRecord>,
    summary: &ExtractSummary,
    started_at: Timestamp,
) -> Result<Provenance> {
    let (views, features) = manifest::counts(request.plan, summary);
    let named = |timezone: Option<Zone>| timezone.map(|zone| zone.name().to_owned());
    let (path, timezone, grid) = match request.rows {
        Rows::Spine { path, timezone, .. } => {
            let canonical = path
                .canonicalize()
                .map_err(|error| OfflineError::io(path, &error))?;
            (Some(roots.shown(&canonical)), named(timezone), None)
        }
        Rows::Uploaded { timezone, .. } => (None, named(timezone), None),
        Rows::Grid(grid) => (None, None, Some(GridRecord::of(&grid))),
    };
    let keys = request.plan.caller_columns.iter();
    Ok(Provenance {
        format: manifest::FORMAT,
        engine: manifest::ENGINE.to_owned(),
        project: request.origin.project.clone(),
        registry_version: request.origin.registry_version,
        definitions_digest: request.origin.definitions_digest.clone(),
        service: request.origin.service.clone(),
        rules: RulesRecord {
            as_corrected: request.as_corrected,
            time_column: given.spine.time_column().to_owned(),
            timezone,
            status_columns: request.status,
        },
        spine: SpineRecord {
            path,
            grid,
            bytes: given.bytes,
            digest: given.digest.clone(),
            rows: summary.rows,
            keys: keys.map(|column| column.name.clone()).collect(),
        },
        sources,
        views,
        features,
        started_at: started_at.to_string(),
    })
}
