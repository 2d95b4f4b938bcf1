//! A feature store: a project that is open in this process, or a server.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use asof_client::v1::{self, DefinitionFile, DefinitionKind};
use asof_client::{Access, Client, Error, Features, Selection};
use asof_core::online::StoreError;
use asof_core::time::{Clock, FixedClock, Timestamp};
use asof_registry::SqliteRegistry;
use asof_server::ServeParts;
use asof_server::clock::SystemClock;
use asof_server::embedded::Embedded;
use asof_server::materialize::Materializer;
use asof_server::project::{Project, ProjectError, ProjectStore, Surroundings};
use pyo3::prelude::*;

use crate::dataset::NativeDataset;
use crate::describe;
use crate::failure::Failure;
use crate::features::NativeFeatures;
use crate::input::{self, Rows, Uploads};
use crate::run::give;

type Local = Embedded<ProjectStore, SqliteRegistry, Materializer<ProjectStore, SqliteRegistry>>;

/// How long the store of a project is waited for when it is closed.
const CLOSING: Duration = Duration::from_secs(9);

/// The longest deadline: a year.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3_600);

/// A store, for callers that wait or for those that await.
#[pyclass(frozen)]
pub(crate) struct Native {
    inner: Arc<Inner>,
    aio: bool,
}

pub(crate) struct Inner {
    /// Empty once closed.
    open: RwLock<Option<Open>>,
    process: u32,
    /// The project's directory, or the server's URL.
    place: String,
    is_local: bool,
    /// Ends what is sent for datasets, which are made while their rows are taken, once the store is closed.
    uploads: Arc<Uploads>,
}

#[derive(Clone)]
struct Open {
    client: Client,
    local: Option<Arc<Local>>,
}

/// Opens a project in this process, which has its online store for itself then.
#[pyfunction]
pub(crate) fn open<'py>(
    py: Python<'py>,
    path: PathBuf,
    now: Option<String>,
    aio: bool,
) -> PyResult<Bound<'py, PyAny>> {
    start_logging();
    give(py, aio, async move {
        let project = Project::open(&path, surroundings())?;
        let clock: Arc<dyn Clock> = match now.as_deref().map(Timestamp::parse).transpose() {
            Ok(Some(now)) => Arc::new(FixedClock(now)),
            Ok(None) => Arc::new(SystemClock),
            Err(error) => return Err(Failure::argument(format!("now: {error}"))),
        };
        let parts = ServeParts::of_this_process(&project, clock).await;
        let parts = parts.map_err(|error| opened_elsewhere(&project, error))?;
        let local = Arc::new(Local::start(parts).await?);
        let client = Client::over(local.channel());
        Ok(Native {
            inner: Arc::new(Inner {
                open: RwLock::new(Some(Open {
                    client,
                    local: Some(local),
                })),
                process: std::process::id(),
                place: project.config.directory.display().to_string(),
                is_local: true,
                uploads: Arc::default(),
            }),
            aio,
        })
    })
}

/// Who has the project's online store, and what to do about it.
fn opened_elsewhere(project: &Project, error: ProjectError) -> Failure {
    let ProjectError::Store(StoreError::Held { reason, .. }) = &error else {
        return error.into();
    };
    let place = project.config.directory.display();
    if reason.contains("this process") {
        return Failure::locked(format!(
            "the project in {place} is open in this process already: use that store, or close it first"
        ));
    }
    match project.running_server() {
        Some(server) => {
            let url = server.url.replacen("http", "grpc", 1);
            Failure::locked(format!(
                "the project in {place} is served at {url} by process {}: use asof.connect(\"{url}\")",
                server.pid
            ))
        }
        None => Failure::locked(format!(
            "the project in {place} is open in another process ({reason}): close it there, or let one process run \
             `asof serve` and use asof.connect(\"grpc://127.0.0.1:2763\") in the others"
        )),
    }
}

/// Connects to a server.
#[pyfunction]
pub(crate) fn connect<'py>(
    py: Python<'py>,
    url: String,
    token: Option<String>,
    ca: Option<PathBuf>,
    deadline: Option<f64>,
    aio: bool,
) -> PyResult<Bound<'py, PyAny>> {
    start_logging();
    give(py, aio, async move {
        let deadline = deadline.map(|seconds| match Duration::try_from_secs_f64(seconds) {
            Ok(deadline) if !deadline.is_zero() && deadline <= LONGEST => Ok(deadline),
            _ => Err(Failure::argument(format!(
                "deadline: is {seconds} seconds, expected more than 0, and {} at most",
                LONGEST.as_secs()
            ))),
        });
        let deadline = deadline.transpose()?;
        let mut access = Access::default();
        if let Some(token) = token {
            access = access.token(&token)?;
        }
        if let Some(ca) = ca {
            access = access.authority(&ca)?;
        }
        let client = Client::connect_with(&url, &access)
            .await
            .map_err(|error| match error {
                Error::Unreachable { reason } => Failure::unavailable(format!(
                    "no server answers at {url} ({reason}): start one with `asof serve`"
                )),
                error => error.into(),
            })?;
        let client = match deadline {
            Some(deadline) => client.with_deadline(deadline),
            None => client,
        };
        // Whoever listens there: a server of ours answers this.
        client.history().await?;
        Ok(Native {
            inner: Arc::new(Inner {
                open: RwLock::new(Some(Open { client, local: None })),
                process: std::process::id(),
                place: url,
                is_local: false,
                uploads: Arc::default(),
            }),
            aio,
        })
    })
}

/// The definition files of a project's directory.
#[pyfunction]
pub(crate) fn definition_files(path: PathBuf) -> PyResult<Vec<(String, Vec<u8>)>> {
    let project = Project::open(&path, surroundings()).map_err(Failure::from)?;
    let files = project.files().map_err(Failure::from)?;
    Ok(files.into_iter().map(|file| (file.path, file.bytes)).collect())
}

impl Inner {
    /// Refuses a process that was forked, which has none of the threads.
    pub(crate) fn check_process(&self) -> Result<(), Failure> {
        if std::process::id() == self.process {
            return Ok(());
        }
        Err(Failure::argument(
            "the store was opened before this process was forked: open or connect in the process that uses it",
        ))
    }

    fn open(&self) -> Result<Open, Failure> {
        self.check_process()?;
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.clone()
            .ok_or_else(|| Failure::argument("the store is closed"))
    }
}

#[pymethods]
impl Native {
    /// The project's directory, or the server's URL.
    #[getter]
    fn place(&self) -> &str {
        &self.inner.place
    }

    /// Whether it is a project of this process.
    #[getter]
    fn is_local(&self) -> bool {
        self.inner.is_local
    }

    #[getter]
    fn is_closed(&self) -> bool {
        self.inner
            .open
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .is_none()
    }

    fn close<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let open = match std::process::id() == self.inner.process {
            true => self
                .inner
                .open
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
            false => None,
        };
        self.inner.uploads.end();
        give(py, self.aio, async move {
            if let Some(Open {
                client,
                local: Some(local),
            }) = open
            {
                drop(client);
                local.stop(CLOSING).await;
            }
            Ok(())
        })
    }

    fn plan<'py>(&self, py: Python<'py>, files: Vec<(String, Vec<u8>)>) -> PyResult<Bound<'py, PyAny>> {
        let Open { client, .. } = self.inner.open()?;
        give(py, self.aio, async move {
            Ok(describe::plan(&client.plan(wire(files)).await?))
        })
    }

    fn apply<'py>(
        &self,
        py: Python<'py>,
        files: Vec<(String, Vec<u8>)>,
        expected_version: u64,
        allow_breaking: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let Open { client, .. } = self.inner.open()?;
        let request = v1::ApplyRequest {
            files: wire(files),
            expected_version,
            allow_breaking,
        };
        give(py, self.aio, async move {
            Ok(describe::applied(&client.apply(request).await?))
        })
    }

    fn definitions<'py>(&self, py: Python<'py>, kind: &str) -> PyResult<Bound<'py, PyAny>> {
        let Open { client, .. } = self.inner.open()?;
        let kind = kind_of(kind)?;
        give(py, self.aio, async move {
            Ok(describe::list(&client.list(kind).await?))
        })
    }

    fn definition<'py>(&self, py: Python<'py>, kind: &str, name: String) -> PyResult<Bound<'py, PyAny>> {
        let Open { client, .. } = self.inner.open()?;
        let kind = kind_of(kind)?;
        give(py, self.aio, async move {
            Ok(describe::definition(&client.definition(kind, name).await?))
        })
    }

    fn search<'py>(&self, py: Python<'py>, query: String) -> PyResult<Bound<'py, PyAny>> {
        let Open { client, .. } = self.inner.open()?;
        give(py, self.aio, async move {
            Ok(describe::list(&client.search(query).await?))
        })
    }

    fn history<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let Open { client, .. } = self.inner.open()?;
        give(py, self.aio, async move {
            Ok(describe::history(&client.history().await?))
        })
    }

    fn materialize<'py>(
        &self,
        py: Python<'py>,
        views: Vec<String>,
        as_of_micros: Option<i64>,
        full: bool,
        redo: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let Open { client, .. } = self.inner.open()?;
        let request = v1::MaterializeRequest {
            views,
            as_of_micros,
            full,
            redo,
            wait: false,
        };
        give(py, self.aio, async move {
            Ok(describe::runs(&client.materialize(request).await?))
        })
    }

    fn rollback<'py>(&self, py: Python<'py>, run: u64) -> PyResult<Bound<'py, PyAny>> {
        let Open { client, .. } = self.inner.open()?;
        give(py, self.aio, async move {
            Ok(describe::rolled_back(&client.rollback(run).await?))
        })
    }

    fn runs<'py>(&self, py: Python<'py>, subject: String, limit: u32) -> PyResult<Bound<'py, PyAny>> {
        let Open { client, .. } = self.inner.open()?;
        give(py, self.aio, async move {
            Ok(describe::runs(&client.runs(subject, limit).await?))
        })
    }

    fn status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let Open { client, .. } = self.inner.open()?;
        give(py, self.aio, async move {
            Ok(describe::status(&client.status().await?))
        })
    }

    fn get_features<'py>(
        &self,
        py: Python<'py>,
        service: Option<String>,
        features: Vec<String>,
        keys: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let Open { client, local } = self.inner.open()?;
        let selection = match service {
            Some(service) => Selection::Service(service),
            None => Selection::Features(features),
        };
        let keys = input::keys(py, keys)?;
        give(py, self.aio, async move {
            let features = match local {
                Some(local) => {
                    let response = local.get_features(selection.request(&keys)?).await?;
                    Features::of(keys, &response)?
                }
                None => client.get_features(&selection, &keys).await?,
            };
            Ok(NativeFeatures::of(features))
        })
    }

    /// The dataset of a spine: of rows, or of a file with its time column and its zone.
    fn extract<'py>(
        &self,
        py: Python<'py>,
        what: &str,
        rows: Option<&Bound<'py, PyAny>>,
        path: Option<PathBuf>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let Open { client, .. } = self.inner.open()?;
        let what = describe::extract(what)?;
        let rows = rows.map(Rows::of).transpose()?;
        let (store, uploads) = (Arc::clone(&self.inner), Arc::clone(&self.inner.uploads));
        let aio = self.aio;
        give(py, aio, async move {
            let rows = match (rows, &path) {
                (Some(rows), _) => rows,
                (None, Some(path)) => Rows::of_spine(path.clone(), &what).await?,
                (None, None) => return Err(Failure::argument("spine: is missing")),
            };
            let (schema, batches, upload) = rows.stream(&uploads);
            let dataset = client.extract(&what.extract, schema, batches).await?;
            Ok(NativeDataset::of(dataset, path, (store, Some(upload)), aio))
        })
    }

    /// The dataset of every key that is known.
    fn read<'py>(&self, py: Python<'py>, what: &str) -> PyResult<Bound<'py, PyAny>> {
        let Open { client, .. } = self.inner.open()?;
        let read = describe::extract(what)?.read();
        let store = Arc::clone(&self.inner);
        let aio = self.aio;
        give(py, aio, async move {
            let dataset = client.read(&read).await?;
            Ok(NativeDataset::of(dataset, None, (store, None), aio))
        })
    }

    fn push<'py>(
        &self,
        py: Python<'py>,
        source: String,
        rows: &Bound<'py, PyAny>,
        request_id: String,
    ) -> PyResult<Bound<'py, PyAny>> {
        let Open { client, .. } = self.inner.open()?;
        let rows = Rows::of(rows)?;
        let uploads = Arc::clone(&self.inner.uploads);
        give(py, self.aio, async move {
            let (schema, batches, _upload) = rows.stream(&uploads);
            let parts = client.push_table(&source, &request_id, schema, batches).await?;
            Ok(describe::pushed(&parts))
        })
    }

    fn ingest<'py>(
        &self,
        py: Python<'py>,
        source: String,
        rows: &Bound<'py, PyAny>,
        id: Option<String>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let Open { client, .. } = self.inner.open()?;
        let rows = Rows::of(rows)?;
        let uploads = Arc::clone(&self.inner.uploads);
        give(py, self.aio, async move {
            let (schema, batches, _upload) = rows.stream(&uploads);
            let told = client.ingest(&source, id.as_deref(), schema, batches).await?;
            Ok(describe::ingested(&told))
        })
    }

    /// Waits a moment, as its callers do.
    fn sleep<'py>(&self, py: Python<'py>, seconds: f64) -> PyResult<Bound<'py, PyAny>> {
        give(py, self.aio, async move {
            tokio::time::sleep(Duration::from_secs_f64(seconds.clamp(0.0, 60.0))).await;
            Ok(())
        })
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The store of a project that nobody refers to any more, nor any dataset of it, is given back, once what was
        // pushed is in its tables.
        let open = self.open.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Open {
            local: Some(local), ..
        }) = open
            && std::process::id() == self.process
        {
            local.begin_to_stop();
        }
    }
}

fn wire(files: Vec<(String, Vec<u8>)>) -> Vec<DefinitionFile> {
    let files = files.into_iter();
    files
        .map(|(path, content)| DefinitionFile { path, content })
        .collect()
}

fn kind_of(kind: &str) -> Result<DefinitionKind, Failure> {
    Ok(match kind {
        "entity" => DefinitionKind::Entity,
        "source" => DefinitionKind::Source,
        "view" => DefinitionKind::View,
        "on_demand" => DefinitionKind::OnDemand,
        "service" => DefinitionKind::Service,
        "feature" => DefinitionKind::Feature,
        other => return Err(Failure::bug(format!("no kind of definitions: {other}"))),
    })
}

fn surroundings() -> Surroundings {
    Surroundings {
        environment,
        warn: |text| tracing::warn!("{text}"),
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "the package reads the environment for the libraries, as the command does"
)]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Warnings go to stderr, or as much as `ASOF_LOG` says.
fn start_logging() {
    use tracing_subscriber::EnvFilter;
    let filter = environment("ASOF_LOG").and_then(|filter| EnvFilter::try_new(filter).ok());
    let filter = filter.unwrap_or_else(|| EnvFilter::new("warn,buoyant_kernel=off,deltalake_core=off"));
    // Only the first call in a process counts.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .try_init();
}
