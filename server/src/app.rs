//! The wiring: what the parts of a server share, and how they are put on one port.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use asof_core::online::OnlineStore;
use asof_core::registry::RegistryStore;
use asof_core::time::Clock;
use asof_registry::{ProjectConfig, SqliteRegistry};
use tokio_util::sync::CancellationToken;
use tonic_health::server::HealthReporter;

use crate::background::Background;
use crate::backup::{Backups, ProjectBackups};
use crate::clock::SystemClock;
use crate::error::ServerError;
use crate::features::keys::Keys;
use crate::features::{Answer, FeatureReader, Prepared};
use crate::flight::extract::Extracts;
use crate::intake::Intake;
use crate::jobs::Jobs;
use crate::lifecycle::{Drained, Limits, Listening};
use crate::materialize::{Materializer, drop_undefined};
use crate::metrics::Metrics;
use crate::overload::Overload;
use crate::project::{Project, ProjectError, ProjectStore};
use crate::registry_watch::RegistryWatch;
use crate::streams::{Brokers, StreamStates, keep_reading};
use crate::{deadline, grpc, http};

/// What a server is made of.
pub struct ServeParts<S, R, J> {
    /// The project's configuration.
    pub config: ProjectConfig,
    /// Where features are read.
    pub store: Arc<S>,
    /// Where definitions and runs are kept.
    pub registry: Arc<R>,
    /// What takes the rows that are pushed.
    pub intake: Intake<S>,
    /// Who runs jobs.
    pub jobs: Arc<J>,
    /// What time it is; a [`FixedClock`](asof_core::time::FixedClock) for `--now`.
    pub clock: Arc<dyn Clock>,
    /// When rows arrive that are pushed, which no frozen clock tells.
    pub wall: Arc<dyn Clock>,
    /// Where the streams are that fill sources; nothing where none is to be read.
    pub brokers: Option<Arc<dyn Brokers>>,
    /// What takes backups; nothing where the parts are not of a project.
    pub backups: Option<Arc<dyn Backups>>,
    /// How much is allowed.
    pub limits: Limits,
}

/// What all services share.
pub(crate) struct App<S, R, J> {
    pub(crate) config: ProjectConfig,
    pub(crate) store: Arc<S>,
    pub(crate) watch: Arc<RegistryWatch<R>>,
    pub(crate) reader: FeatureReader<S, R>,
    pub(crate) intake: Intake<S>,
    pub(crate) jobs: Arc<J>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) wall: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) overload: Overload,
    /// How streams are being read.
    pub(crate) streams: Arc<StreamStates>,
    brokers: Option<Arc<dyn Brokers>>,
    pub(crate) backups: Option<Arc<dyn Backups>>,
    /// What makes datasets.
    pub(crate) extracts: Extracts,
    /// Threads of low priority.
    pub(crate) background: Background,
    /// Cancelled when the server starts to drain.
    pub(crate) stopping: CancellationToken,
}

/// Serves until `shutdown` is ready, then drains: nothing new is accepted, and open connections have
/// [`Limits::drain`] to end.
///
/// # Errors
///
/// The registry cannot be read at the start, or there is no room for an engine.
pub async fn serve<S, R, J>(
    parts: ServeParts<S, R, J>,
    listening: Listening,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<Drained, ServerError>
where
    S: OnlineStore + 'static,
    R: RegistryStore + 'static,
    J: Jobs,
{
    let limits = parts.limits;
    let app = App::of(parts, Background::default()).await?;
    let (router, health) = app.routes(&limits).await;
    let (metrics, stopping) = (app.metrics.clone(), app.stopping.clone());
    let shutdown = async {
        shutdown.await;
        stopping.cancel();
        grpc::stop(&health).await;
    };
    Ok(app
        .beside(listening.serve(router, limits, metrics, shutdown))
        .await)
}

impl<S, R, J> App<S, R, J>
where
    S: OnlineStore + 'static,
    R: RegistryStore + 'static,
    J: Jobs,
{
    pub(crate) async fn of(
        parts: ServeParts<S, R, J>,
        background: Background,
    ) -> Result<Arc<Self>, ServerError> {
        let ServeParts {
            config,
            store,
            registry,
            intake,
            jobs,
            clock,
            wall,
            brokers,
            backups,
            limits,
        } = parts;
        let watch = Arc::new(RegistryWatch::open(registry, config.project.clone()).await?);
        let metrics = Arc::new(Metrics::new());
        Ok(Arc::new(Self {
            reader: FeatureReader::new(store.clone(), watch.clone(), clock.clone()),
            config,
            store,
            watch,
            extracts: Extracts::new(intake.engine())?,
            intake,
            jobs,
            clock,
            wall,
            overload: Overload::new(limits.calls, metrics.calls_shed()),
            metrics,
            streams: Arc::default(),
            brokers,
            backups,
            background,
            stopping: CancellationToken::new(),
        }))
    }

    /// All services, and the reporter of their health.
    pub(crate) async fn routes(self: &Arc<Self>, limits: &Limits) -> (axum::Router, HealthReporter) {
        let (routes, health) = grpc::routes(self).await;
        let router = routes.merge(http::routes(self.clone()));
        (in_time(http::with_fallback(router), limits), health)
    }

    /// Reads features for a call: what comes is decoded, and the answer encoded, and how long each takes is noted.
    pub(crate) async fn read<T>(
        &self,
        decode: impl FnOnce() -> Result<(Arc<Prepared>, Keys), ServerError>,
        encode: impl FnOnce(Answer) -> Result<T, ServerError>,
    ) -> Result<T, ServerError> {
        let started = Instant::now();
        let (prepared, keys) = decode()?;
        let decoded = Instant::now();
        let answer = self.reader.read(prepared, keys).await?;
        let read = Instant::now();
        self.metrics.answered(&answer);
        let encoded = encode(answer)?;
        self.metrics.stages().observe(started, decoded, read);
        Ok(encoded)
    }

    /// How streams are being read, where this server reads any.
    pub(crate) fn stream_states(&self) -> Option<&StreamStates> {
        self.brokers.is_some().then_some(&*self.streams)
    }

    /// Does what goes on beside the calls until `serving` ends; then what was pushed goes to its tables.
    pub(crate) async fn beside<T: Default>(self: &Arc<Self>, serving: impl Future<Output = T>) -> T {
        let Self {
            store,
            watch,
            intake,
            clock,
            wall,
            brokers,
            overload,
            ..
        } = &**self;
        // By the earlier of both clocks: to reads, what is merged has happened.
        let due = || wall.now().min(clock.now());
        let flushing = intake.keep_flushing(|| watch.current(), || wall.now(), due);
        let reading = async {
            match brokers {
                Some(brokers) => keep_reading(self, brokers).await,
                None => std::future::pending().await,
            }
        };
        let served = tokio::select! {
            served = serving => served,
            () = reading => T::default(),
            () = keep_dropping(store, watch) => T::default(),
            () = watch.poll() => T::default(),
            () = flushing => T::default(),
            () = overload.keep_measuring() => T::default(),
        };
        let version = watch.current();
        if let Err(error) = intake.flush(&version.definitions, &[], wall.now()).await {
            tracing::error!(%error, "pushed rows stay in the intake log: they could not be appended to their table");
        }
        served
    }
}

/// The jobs of a project.
type ProjectJobs = Materializer<ProjectStore, SqliteRegistry>;
/// How they are made.
type MakeJobs = fn(Intake<ProjectStore>, Arc<SqliteRegistry>, Arc<dyn Clock>) -> ProjectJobs;

impl ServeParts<ProjectStore, SqliteRegistry, ProjectJobs> {
    /// Those of a project of this process, which has its online store for itself then.
    ///
    /// # Errors
    ///
    /// What keeps the project from being opened: see [`ProjectError`].
    pub async fn of_project(project: &Project, clock: Arc<dyn Clock>) -> Result<Self, ProjectError> {
        Self::with_jobs(project, clock, Materializer::new).await
    }

    /// The same for [`Embedded`](crate::embedded::Embedded), whose jobs give way to nobody.
    ///
    /// # Errors
    ///
    /// As of [`ServeParts::of_project`].
    pub async fn of_this_process(project: &Project, clock: Arc<dyn Clock>) -> Result<Self, ProjectError> {
        Self::with_jobs(project, clock, Materializer::of_this_process).await
    }

    async fn with_jobs(
        project: &Project,
        clock: Arc<dyn Clock>,
        jobs: MakeJobs,
    ) -> Result<Self, ProjectError> {
        let store = project.store()?;
        let registry = Arc::new(project.registry().await?);
        let intake = project.intake_of(Arc::clone(&store))?;
        let backups = ProjectBackups::new(project.config.clone(), Arc::clone(&store), Arc::clone(&registry));
        let jobs = jobs(intake.clone(), Arc::clone(&registry), Arc::new(SystemClock));
        Ok(Self {
            config: project.config.clone(),
            store,
            registry,
            intake,
            jobs: Arc::new(jobs),
            wall: Arc::new(SystemClock),
            clock,
            brokers: None,
            backups: Some(Arc::new(backups)),
            limits: Limits::default(),
        })
    }
}

/// Removes the rows of views that are defined no more, now and whenever the registry moves, for ever.
async fn keep_dropping<S: OnlineStore + 'static, R: RegistryStore>(store: &Arc<S>, watch: &RegistryWatch<R>) {
    loop {
        // The newest version there is: a view that was just added is not dropped.
        let version = watch.refresh().await.unwrap_or_else(|_| watch.current());
        if version.number > 0 {
            let (store, project, of) = (Arc::clone(store), watch.project().clone(), Arc::clone(&version));
            let drop = move || drop_undefined(&*store, &project, &of.definitions);
            match tokio::task::spawn_blocking(drop).await {
                Ok(Ok(views)) if views.is_empty() => {}
                Ok(Ok(views)) => tracing::info!(?views, "removed the rows of views that are defined no more"),
                Ok(Err(error)) => {
                    tracing::warn!(%error, "views that are defined no more could not be removed; the next run tries again");
                }
                Err(error) => tracing::error!(%error, "the removal of views ended early"),
            }
        }
        watch.moved_from(version.number).await;
    }
}

/// Serves other routes on the same terms, until `shutdown` is ready.
pub async fn serve_routes(
    routes: axum::Router,
    listening: Listening,
    limits: Limits,
    shutdown: impl Future<Output = ()> + Send,
) -> Drained {
    let metrics = Arc::new(Metrics::new());
    listening
        .serve(in_time(routes, &limits), limits, metrics, shutdown)
        .await
}

fn in_time(routes: axum::Router, limits: &Limits) -> axum::Router {
    routes.layer(axum::middleware::from_fn_with_state(
        limits.deadline,
        deadline::enforce,
    ))
}
