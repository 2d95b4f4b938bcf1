//! `extract`: a spine in, the spine and its features out, by the point-in-time contract.

mod columns;
mod given;
mod join;
mod joining;
mod tally;

pub(crate) use join::Bound;
pub(crate) use joining::Joining;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use asof_core::service::ReadPlan;
use asof_core::time::{Clock, Zone};

use crate::digest::KnownDigests;
use crate::engine::Engine;
use crate::error::{OfflineError, Result};
use crate::files::Roots;
use crate::grid::Grid;
use crate::manifest::{
    self, Content, GridRecord, Origin, OutputRecord, RulesRecord, SourceRecord, SpineRecord,
};
use crate::output::{Output, OutputFormat, check_target, write_text};
use crate::snapshot::Snapshot;
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
    /// The dataset to write.
    pub out: &'a Path,
    /// Whether it may replace one that exists.
    pub overwrite: bool,
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
    pub async fn extract(&self, request: ExtractRequest<'_>) -> Result<ExtractSummary> {
        self.extract_from(request, None).await
    }

    /// The same, from sources pinned beforehand.
    pub(crate) async fn extract_from(
        &self,
        request: ExtractRequest<'_>,
        pins: Option<&Pins>,
    ) -> Result<ExtractSummary> {
        let started_at = request.clock.now();
        check_target(request.out, request.overwrite)?;
        OutputFormat::of(request.out)?;
        let mut digests = KnownDigests::load(&self.tables, started_at);
        let given = Given::open(&request, &mut digests)?;
        let bound = Bound::of(self, request.plan, pins).await?;
        let given = match given {
            Some(given) => given,
            None => bound.known_keys(self, &request, &mut digests).await?,
        };
        let columns = Columns::plan(&request, &given.spine)?;
        not_an_input(&request, &bound.snapshots)?;
        let spine = given.spine.clone();
        let spec = bound
            .join(self, spine, request.as_corrected, &request.progress)
            .await?;
        let mut joining = Joining::start(&spec).await?;
        let threads = self.options.readers;
        let mut output = Output::create(request.out, request.overwrite, &columns.schema, threads)?;
        let mut tally = Tally::new(&request);
        while let Some(batch) = joining.next().await? {
            output.write(&columns.finish(&request, &batch, &mut tally)?)?;
            request.progress.advance(&Phase::Write, tally.rows, None);
            // Lets whoever waits for an interrupt have its turn.
            tokio::task::yield_now().await;
        }
        given.unchanged(&digests)?;
        let written = output.finish()?;
        let summary = ExtractSummary {
            output: request.out.to_owned(),
            manifest: manifest::path_of(request.out),
            rows: tally.rows,
            columns: columns.schema.fields().len(),
            bytes: written.bytes,
            digest: written.digest,
            views: tally.views(&spec),
            features: tally.features,
            plan: joining.explain(),
        };
        let sources = bound
            .snapshots
            .values()
            .map(|snapshot| manifest::source_record(&self.roots, snapshot, &mut digests, threads))
            .collect::<Result<_>>()?;
        digests.keep();
        let content = content(&self.roots, &request, &given, sources, &summary)?;
        write_text(&summary.manifest, &content.seal(started_at, request.clock.now())?)?;
        Ok(summary)
    }
}

/// Refuses an output that would take the place of what it is made from.
fn not_an_input(request: &ExtractRequest<'_>, snapshots: &BTreeMap<String, Arc<Snapshot>>) -> Result<()> {
    let Ok(out) = request.out.canonicalize() else {
        return Ok(());
    };
    let refuse = |what: String| {
        Err(OfflineError::OutputIsInput {
            path: request.out.display().to_string(),
            what,
        })
    };
    if let Rows::Spine { path, .. } = request.rows
        && path.canonicalize().is_ok_and(|spine| spine == out)
    {
        return refuse("the spine".into());
    }
    for snapshot in snapshots.values() {
        let mut locations = snapshot
            .files
            .iter()
            .filter_map(|file| file.location.canonicalize().ok());
        if locations.any(|location| location == out) {
            return refuse(format!("a file of source {}", snapshot.source));
        }
    }
    Ok(())
}

fn content(
    roots: &Roots,
    request: &ExtractRequest<'_>,
    given: &Given,
    sources: Vec<SourceRecord>,
    summary: &ExtractSummary,
) -> Result<Content> {
    let (views, features) = Content::counts(request.plan, summary);
    let (path, timezone, grid) = match &request.rows {
        Rows::Spine { path, timezone, .. } => {
            let canonical = path
                .canonicalize()
                .map_err(|error| OfflineError::io(path, &error))?;
            let timezone = timezone.map(|zone| zone.name().to_owned());
            (Some(roots.shown(&canonical)), timezone, None)
        }
        Rows::Grid(grid) => (None, None, Some(GridRecord::of(grid))),
    };
    let keys = request.plan.caller_columns.iter();
    Ok(Content {
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
        output: OutputRecord {
            format: OutputFormat::of(request.out)?.as_str().to_owned(),
            rows: summary.rows,
            columns: summary.columns,
            bytes: summary.bytes,
            digest: summary.digest.clone(),
        },
        views,
        features,
    })
}
