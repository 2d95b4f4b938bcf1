//! `extract`: a spine in, the spine and its features out, by the point-in-time contract.

mod join;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{DataType as ArrowType, Field, Schema, SchemaRef};

use asof_core::data_type::DataType;
use asof_core::service::ReadPlan;
use asof_core::status::Status;
use asof_core::time::{Clock, Zone};

use crate::asof::RowAnswer;
use crate::digest::Digest;
use crate::engine::Engine;
use crate::error::{OfflineError, Result};
use crate::manifest::{self, Content, Origin, OutputRecord, RulesRecord, SpineRecord};
use crate::output::{Output, OutputFormat, check_target, write_text};
use crate::snapshot::Snapshot;
use crate::spine::Spine;
use crate::summary::{ExtractSummary, FeatureSummary, StatusCounts, ViewSummary};

use join::Joined;

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
    pub progress: &'a dyn Progress,
}

/// What an extract is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Reading the keys and times of the spine.
    Spine,
    /// Reading the rows of a view.
    View(String),
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
    /// The spine's keys and times and the values of winning rows are held in memory. Dropping the future
    /// ends the work and leaves no output.
    pub async fn extract(&self, request: ExtractRequest<'_>) -> Result<ExtractSummary> {
        let started_at = request.clock.now();
        let keys = &request.plan.caller_columns;
        let spine = Spine::open(request.spine, request.time_column, request.timezone, keys)?;
        let columns = Columns::plan(&request, &spine)?;
        check_target(request.out, request.overwrite)?;
        OutputFormat::of(request.out)?;
        let spine_digest = Digest::of_file(request.spine)?;

        let joined = join::join(self, &request, &spine).await?;
        not_an_input(&request, &joined.snapshots)?;
        let mut output = Output::create(request.out, request.overwrite, &columns.schema)?;
        let mut tally = Tally::new(&request, &joined);
        write_rows(&request, &spine, &columns, &joined, &mut tally, &mut output).await?;
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
            rows: joined.rows as u64,
            columns: columns.schema.fields().len(),
            bytes: written.bytes,
            digest: written.digest,
            views: tally.views,
            features: tally.features,
        };
        let content = content(&request, &spine, spine_digest, &joined.snapshots, &summary)?;
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

/// The columns of the dataset.
struct Columns {
    schema: SchemaRef,
}

impl Columns {
    fn plan(request: &ExtractRequest<'_>, spine: &Spine) -> Result<Self> {
        let mut fields: Vec<Arc<Field>> = spine.schema().fields().iter().cloned().collect();
        let mut add = |name: String, data_type: ArrowType, origin: &str| {
            if fields.iter().any(|field| *field.name() == name) {
                return Err(OfflineError::Data(format!(
                    "column {name:?} of the dataset would come twice: once from spine {} and once as {origin}: \
                     rename the spine's column, or give the service's entry another prefix",
                    spine.path().display()
                )));
            }
            fields.push(Arc::new(Field::new(name, data_type, true)));
            Ok(())
        };
        for column in &request.plan.columns {
            let Some((read, feature)) = request.plan.feature(column) else {
                continue;
            };
            let origin = format!("feature {}:{}", read.bound.view.name, feature.name);
            add(column.name.clone(), feature.data_type.to_arrow(), &origin)?;
            if request.status {
                add(
                    format!("{}__status", column.name),
                    ArrowType::Utf8,
                    &format!("the status of {origin}"),
                )?;
            }
        }
        if request.status {
            for read in &request.plan.reads {
                let origin = format!("the event time of view {}", read.bound.view.name);
                add(
                    format!("{}__event_time", read.label()),
                    DataType::Timestamp.to_arrow(),
                    &origin,
                )?;
            }
        }
        let metadata = spine.schema().metadata().clone();
        Ok(Self {
            schema: Arc::new(Schema::new_with_metadata(fields, metadata)),
        })
    }
}

/// The counts as they grow.
struct Tally {
    views: Vec<ViewSummary>,
    features: Vec<FeatureSummary>,
}

impl Tally {
    fn new(request: &ExtractRequest<'_>, joined: &Joined) -> Self {
        let features = request.plan.columns.iter().map(|column| FeatureSummary {
            column: column.name.clone(),
            data_type: request
                .plan
                .feature(column)
                .map_or(String::new(), |(_, feature)| feature.data_type.to_string()),
            counts: StatusCounts::default(),
        });
        Self {
            views: joined.views.clone(),
            features: features.collect(),
        }
    }
}

async fn write_rows(
    request: &ExtractRequest<'_>,
    spine: &Spine,
    columns: &Columns,
    joined: &Joined,
    tally: &mut Tally,
    output: &mut Output,
) -> Result<()> {
    let total = joined.rows as u64;
    let mut first_row = 0;
    for batch in spine.batches()? {
        let batch = batch.map_err(|error| spine.unreadable(&error.to_string()))?;
        let rows = batch.num_rows();
        let range = first_row..first_row + rows;
        let answers: Vec<Vec<RowAnswer>> = joined
            .answers
            .iter()
            .map(|read| range.clone().map(|row| read.answer(row)).collect())
            .collect();
        for (view, answers) in tally.views.iter_mut().zip(&answers) {
            let held_back = answers.iter().filter(|answer| answer.held_back_winner).count();
            view.held_back_winners += held_back as u64;
        }
        let mut arrays = batch.columns().to_vec();
        arrays.extend(feature_columns(request, joined, range, &answers, tally)?);
        if request.status {
            arrays.extend(answers.iter().map(|answers| event_times(answers)));
        }
        output.write(&RecordBatch::try_new(Arc::clone(&columns.schema), arrays)?)?;
        first_row += rows;
        request
            .progress
            .advance(&Phase::Write, first_row as u64, Some(total));
        // Lets whoever waits for an interrupt have its turn.
        tokio::task::yield_now().await;
    }
    if first_row == joined.rows {
        return Ok(());
    }
    Err(OfflineError::Data(format!(
        "spine {} had {} rows at first and {first_row} later: it was changed while it was read",
        spine.path().display(),
        joined.rows
    )))
}

fn feature_columns(
    request: &ExtractRequest<'_>,
    joined: &Joined,
    rows: std::ops::Range<usize>,
    answers: &[Vec<RowAnswer>],
    tally: &mut Tally,
) -> Result<Vec<ArrayRef>> {
    let per_read = joined
        .answers
        .iter()
        .map(|read| read.columns(rows.clone()))
        .collect::<Result<Vec<_>>>()?;
    let mut arrays = Vec::new();
    for (column, feature) in request.plan.columns.iter().zip(&mut tally.features) {
        let array = per_read
            .get(column.read)
            .and_then(|arrays| arrays.get(column.feature));
        let (Some(array), Some(answers)) = (array, answers.get(column.read)) else {
            return Err(OfflineError::Internal(format!(
                "column {} has no values",
                column.name
            )));
        };
        let statuses: Vec<Status> = answers
            .iter()
            .enumerate()
            .map(|(row, answer)| answer.verdict.status(array.is_null(row)))
            .collect();
        statuses.iter().for_each(|status| feature.counts.add(*status));
        arrays.push(Arc::clone(array));
        if request.status {
            arrays.push(Arc::new(StringArray::from_iter_values(
                statuses.iter().map(|status| status.as_str()),
            )));
        }
    }
    Ok(arrays)
}

/// The event times of the winners, expired ones included; a deleted one is nothing, and has none.
fn event_times(answers: &[RowAnswer]) -> ArrayRef {
    let times: TimestampMicrosecondArray = answers
        .iter()
        .map(|answer| {
            let shown = answer.winner.filter(|winner| !winner.deleted);
            shown.map(|winner| winner.order.event_time.micros())
        })
        .collect();
    Arc::new(times.with_timezone("UTC"))
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
