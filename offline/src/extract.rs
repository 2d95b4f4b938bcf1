//! `extract`: a spine in, the spine and its features out, by the point-in-time contract.

mod columns;
mod join;
mod joining;
mod tally;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use asof_core::service::ReadPlan;
use asof_core::time::{Clock, Zone};

use crate::digest::Digest;
use crate::engine::Engine;
use crate::error::{OfflineError, Result};
use crate::manifest::{self, Content, Origin, OutputRecord, RulesRecord, SpineRecord};
use crate::output::{Output, OutputFormat, check_target, write_text};
use crate::snapshot::Snapshot;
use crate::spine::Spine;
use crate::summary::ExtractSummary;

use columns::Columns;
use joining::Joining;
use tally::Tally;

/// What to extract.
pub struct ExtractRequest<'a> {
    /// What to read and which columns to return.
    pub plan: &'a ReadPlan,
    /// Where the plan comes from, for the manifest.
    pub origin: Origin,
    /// The caller's rows.
    pub spine: &'a Path,
    /// The spine's column of instants.
    pub time_column: &'a str,
    /// The zone of spine times that carry none.
    pub timezone: Option<Zone>,
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
        let started_at = request.clock.now();
        let keys = &request.plan.caller_columns;
        let spine = Spine::open(request.spine, request.time_column, request.timezone, keys)?;
        let columns = Columns::plan(&request, &spine)?;
        check_target(request.out, request.overwrite)?;
        OutputFormat::of(request.out)?;
        let spine_digest = Digest::of_file(request.spine)?;

        let bound = join::bind(self, &request, spine).await?;
        not_an_input(&request, &bound.snapshots)?;
        let mut joining = Joining::start(&bound.spec).await?;
        let threads = self.options.readers;
        let mut output = Output::create(request.out, request.overwrite, &columns.schema, threads)?;
        let mut tally = Tally::new(&request);
        while let Some(batch) = joining.next().await? {
            output.write(&columns.finish(&request, &batch, &mut tally)?)?;
            request.progress.advance(&Phase::Write, tally.rows, None);
        }
        if Digest::of_file(request.spine)? != spine_digest {
            return Err(OfflineError::Data(format!(
                "spine {} was changed while it was read: run this again when its writer is done",
                request.spine.display()
            )));
        }
        let written = output.finish()?;
        let summary = ExtractSummary {
            output: request.out.to_owned(),
            manifest: manifest::path_of(request.out),
            rows: tally.rows,
            columns: columns.schema.fields().len(),
            bytes: written.bytes,
            digest: written.digest,
            views: tally.views(&bound.spec),
            features: tally.features,
            plan: joining.explain(),
        };
        let content = content(
            &request,
            &bound.spec.spine,
            spine_digest,
            &bound.snapshots,
            &summary,
        )?;
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
    if request.spine.canonicalize().is_ok_and(|spine| spine == out) {
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
    request: &ExtractRequest<'_>,
    spine: &Spine,
    spine_digest: String,
    snapshots: &BTreeMap<String, Arc<Snapshot>>,
    summary: &ExtractSummary,
) -> Result<Content> {
    let (format, engine) = Content::HEAD;
    let (views, features) = Content::counts(summary);
    let size = request
        .spine
        .metadata()
        .map_err(|error| OfflineError::io(request.spine, &error))?
        .len();
    Ok(Content {
        format,
        engine,
        project: request.origin.project.clone(),
        registry_version: request.origin.registry_version,
        definitions_digest: request.origin.definitions_digest.clone(),
        service: request.origin.service.clone(),
        rules: RulesRecord {
            as_corrected: request.as_corrected,
            time_column: spine.time_column().to_owned(),
            timezone: request.timezone.map(|zone| zone.name().to_owned()),
            status_columns: request.status,
        },
        spine: SpineRecord {
            path: request.spine.display().to_string(),
            bytes: size,
            digest: spine_digest,
            rows: summary.rows,
        },
        sources: snapshots
            .values()
            .map(|snapshot| manifest::source_record(snapshot))
            .collect::<Result<_>>()?,
        output: OutputRecord {
            format: OutputFormat::of(request.out)?.as_str(),
            rows: summary.rows,
            columns: summary.columns,
            bytes: summary.bytes,
            digest: summary.digest.clone(),
        },
        views,
        features,
    })
}
