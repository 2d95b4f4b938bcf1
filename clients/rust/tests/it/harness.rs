//! A server of a project of its own.

use std::path::Path;
use std::sync::Arc;

use asof_client::Client;
use asof_core::name::ProjectName;
use asof_core::online::memory::MemoryStore;
use asof_offline::{Engine, EngineOptions};
use asof_proto::v1;
use asof_proto::v1::registry_service_client::RegistryServiceClient;
use asof_registry::{MemoryRegistry, ProjectConfig};
use asof_server::clock::SystemClock;
use asof_server::intake::{Intake, IntakeLimits};
use asof_server::materialize::Materializer;
use asof_server::{Limits, Listening, ServeParts, serve};
use tonic::transport::Channel;

/// What the examples are written for.
const DEFINITIONS: &str = include_str!("../../examples/payments.toml");

/// A server that serves until it is dropped.
pub(crate) struct Server {
    pub(crate) client: Client,
    pub(crate) url: String,
    serving: tokio::task::JoinHandle<()>,
    _directory: tempfile::TempDir,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let project = ProjectName::parse("shop").unwrap();
        let directory = tempfile::tempdir().unwrap();
        let tables = Path::new("tables");
        let engine = Engine::open(directory.path(), tables, &[], EngineOptions::default()).unwrap();
        let store = Arc::new(MemoryStore::new());
        let registry = Arc::new(MemoryRegistry::new());
        let intake = Intake::new(
            engine,
            Arc::clone(&store),
            project.clone(),
            IntakeLimits::default(),
        );
        let materializer = Materializer::new(intake.clone(), Arc::clone(&registry), Arc::new(SystemClock));
        let parts = ServeParts {
            config: ProjectConfig::new(directory.path(), project),
            store,
            registry,
            intake,
            jobs: Arc::new(materializer),
            clock: Arc::new(SystemClock),
            wall: Arc::new(SystemClock),
            brokers: None,
            backups: None,
            limits: Limits::default(),
        };
        let listening = Listening::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let url = format!("grpc://{}", listening.address());
        let serving = tokio::spawn(async move {
            serve(parts, listening, std::future::pending()).await.unwrap();
        });
        let client = Client::connect(&url).await.unwrap();
        let channel = Channel::from_shared(url.replacen("grpc", "http", 1)).unwrap();
        let mut registry = RegistryServiceClient::new(channel.connect().await.unwrap());
        let request = v1::ApplyRequest {
            files: vec![v1::DefinitionFile {
                path: "features/all.toml".into(),
                content: DEFINITIONS.into(),
            }],
            expected_version: 0,
            allow_breaking: false,
        };
        registry.apply(request).await.unwrap();
        Self {
            client,
            url,
            serving,
            _directory: directory,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
