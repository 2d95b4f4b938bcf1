//! Extracts over Flight: a spine comes, its dataset goes, neither ever whole in memory.

use std::sync::Arc;

use asof_core::definition::Location;
use asof_core::name::SourceName;
use asof_core::online::OnlineStore;
use asof_core::registry::{NewRun, RegistryStore, RunEnd, RunKind, RunState};
use asof_offline::{
    DatasetWriter, Engine, ExtractRequest, ExtractSummary, Grid, Origin, Provenance, Rows, Silent,
};
use bytes::Bytes;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::command::ExtractCommand;
use super::download::{Outlet, send};
use super::saved::Saved;
use super::upload::{Refused, Upload};
use crate::app::App;
use crate::error::ServerError;
use crate::features::Prepared;

/// How many extracts are made at once; each may use all of the engine's memory limit that others leave.
const AT_ONCE: usize = 2;
/// How many more may wait.
const WAITING: usize = 16;
/// The most memory of all extracts, in bytes, for what grows with the data.
const MEMORY: usize = 1 << 30;

/// The engine of extracts, and how much of it may be used.
pub(crate) struct Extracts {
    engine: Engine,
    turns: Arc<Semaphore>,
    places: Arc<Semaphore>,
}

/// The right to make an extract, until it is dropped.
struct Turn {
    _turn: OwnedSemaphorePermit,
    _place: OwnedSemaphorePermit,
}

impl Extracts {
    pub(crate) fn new(engine: &Engine) -> Result<Self, asof_offline::OfflineError> {
        Ok(Self {
            engine: engine.with_memory_limit(MEMORY)?,
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            places: Arc::new(Semaphore::new(AT_ONCE + WAITING)),
        })
    }

    async fn turn(&self) -> Result<Turn, ServerError> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            ServerError::Overloaded(format!(
                "{AT_ONCE} extracts are being made and {WAITING} wait: try again later"
            ))
        })?;
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        Ok(Turn {
            _turn: turn.map_err(|error| ServerError::Bug(error.to_string()))?,
            _place: place,
        })
    }
}

/// What is extracted.
struct Asked<'a> {
    prepared: &'a Prepared,
    rows: Rows<'a>,
    as_corrected: bool,
    status: bool,
    /// Where the server keeps the dataset as well.
    save: Option<Saved>,
}

/// The dataset of the rows that come.
pub(super) async fn exchange<S, R, J>(
    app: Arc<App<S, R, J>>,
    command: ExtractCommand,
    upload: Upload,
    outlet: Outlet,
) -> Result<(), Refused>
where
    S: OnlineStore + 'static,
    R: RegistryStore,
{
    app.watch.refresh().await?;
    let prepared = app.reader.prepare(command.selection()?)?;
    let timezone = command.timezone()?;
    let save = command.save.as_deref().map(|name| Saved::of(&app.config, name));
    let save = save.transpose()?;
    let spine = tokio::select! {
        spine = upload.spool("spine.arrow") => spine?,
        () = outlet.closed() => return Err(gone().into()),
    };
    let asked = Asked {
        prepared: &prepared,
        rows: Rows::Uploaded {
            path: spine.path(),
            time_column: &command.time_column,
            timezone,
        },
        as_corrected: command.as_corrected,
        status: command.status,
        save,
    };
    entered(&app, asked, &outlet).await
}

/// The features of every key that is known, at the times of a grid.
pub(super) async fn of_all_keys<S, R, J>(
    app: Arc<App<S, R, J>>,
    prepared: Arc<Prepared>,
    grid: Grid,
    as_corrected: bool,
    status: bool,
    outlet: Outlet,
) -> Result<(), Refused>
where
    S: OnlineStore + 'static,
    R: RegistryStore,
{
    let asked = Asked {
        prepared: &prepared,
        rows: Rows::Grid(grid),
        as_corrected,
        status,
        save: None,
    };
    entered(&app, asked, &outlet).await
}

/// Makes an extract, with an entry in the ledger of runs.
async fn entered<S, R, J>(app: &App<S, R, J>, asked: Asked<'_>, outlet: &Outlet) -> Result<(), Refused>
where
    S: OnlineStore + 'static,
    R: RegistryStore,
{
    let _turn = app.extracts.turn().await?;
    let (registry, project) = (app.watch.registry(), app.watch.project());
    let run = NewRun {
        kind: RunKind::Extract,
        subject: asked.prepared.subject(),
        started_at: app.wall.now(),
        pid: std::process::id(),
        as_of: None,
    };
    let run = registry.start_run(project, run).await?;
    let ended = Ended(std::sync::OnceLock::new());
    let result = tokio::select! {
        result = made(app, run, asked, outlet, &ended) => result,
        () = outlet.closed() => Err(gone().into()),
    };
    let state = match &result {
        Ok(()) => RunState::Done,
        Err(Refused::Error(error)) => RunState::Failed {
            error: error.to_string(),
        },
        Err(Refused::Cut(status)) => RunState::Failed {
            error: status.message().to_owned(),
        },
    };
    let (read, written, skipped) = ended.0.get().copied().unwrap_or_default();
    let end = RunEnd {
        finished_at: app.wall.now(),
        state,
        rows_read: read,
        rows_written: written,
        rows_skipped: skipped,
    };
    registry.end_run(project, run, end).await?;
    result
}

fn gone() -> ServerError {
    ServerError::Unavailable("the caller went away, or its time was over".into())
}

/// The rows read, written and skipped of an extract that was made to its end.
struct Ended(std::sync::OnceLock<(u64, u64, u64)>);

async fn made<S, R, J>(
    app: &App<S, R, J>,
    run: u64,
    asked: Asked<'_>,
    outlet: &Outlet,
    ended: &Ended,
) -> Result<(), Refused>
where
    S: OnlineStore + 'static,
    R: RegistryStore,
{
    let prepared = asked.prepared;
    flush(app, prepared).await?;
    let request = ExtractRequest {
        plan: &prepared.plan,
        origin: Origin {
            project: app.watch.project().to_string(),
            registry_version: prepared.version.number,
            definitions_digest: prepared.version.digest.clone(),
            service: Some(prepared.service().to_owned()).filter(|name| !name.is_empty()),
        },
        rows: asked.rows,
        as_corrected: asked.as_corrected,
        status: asked.status,
        clock: &*app.wall,
        progress: Arc::new(Silent),
    };
    let mut extracting = app.extracts.engine.begin_extract(request).await?;
    let schema = Arc::clone(extracting.schema());
    let keeping = asked.save.as_ref().map(|saved| {
        let writer = DatasetWriter::create(saved.target()?, &schema, 1)?;
        Ok::<_, ServerError>(writer)
    });
    let mut keeping = keeping.transpose()?;
    send(outlet, schema, |batches| async move {
        while let Some(batch) = extracting.next().await? {
            if let Some(writer) = &mut keeping {
                writer.write(&batch)?;
            }
            if batches.send(Ok(batch)).await.is_err() {
                return Err(gone());
            }
        }
        drop(batches);
        let (summary, provenance) = extracting.finish()?;
        if let Some(writer) = keeping {
            writer.finish(summary.clone(), provenance.clone(), app.wall.now())?;
        }
        let sum = |rows: fn(&asof_offline::ViewSummary) -> u64| summary.views.iter().map(rows).sum();
        let counts = (
            sum(|view| view.source_rows),
            summary.rows,
            sum(|view| view.skipped_rows),
        );
        // Set once.
        let _ = ended.0.set(counts);
        told(run, &summary, &provenance)
    })
    .await
}

/// Appends what was pushed to the sources of a plan to their tables.
async fn flush<S: OnlineStore + 'static, R: RegistryStore, J>(
    app: &App<S, R, J>,
    prepared: &Prepared,
) -> Result<(), ServerError> {
    let sources = prepared.plan.reads.iter().map(|read| &read.bound.source);
    let managed = sources.filter(|source| matches!(source.location, Location::Managed { .. }));
    let sources: Vec<SourceName> = managed.map(|source| source.name.clone()).collect();
    if !sources.is_empty() {
        let definitions = &prepared.version.definitions;
        app.intake.flush(definitions, &sources, app.wall.now()).await?;
    }
    Ok(())
}

/// What is said of an extract behind its last row.
fn told(run: u64, summary: &ExtractSummary, provenance: &Provenance) -> Result<Bytes, ServerError> {
    let told = json!({ "run": run, "summary": summary, "provenance": provenance });
    let text = serde_json::to_vec(&told).map_err(|error| ServerError::Bug(error.to_string()))?;
    Ok(text.into())
}
