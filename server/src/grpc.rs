//! The gRPC services: each call checks its arguments, makes one call, and converts.

mod ingest;
mod jobs;
mod online;
mod registry;

use std::future::Future;
use std::sync::Arc;

use asof_core::online::OnlineStore;
use asof_core::registry::RegistryStore;
use asof_proto::v1::ingest_service_server::IngestServiceServer;
use asof_proto::v1::job_service_server::JobServiceServer;
use asof_proto::v1::online_service_server::OnlineServiceServer;
use asof_proto::v1::registry_service_server::RegistryServiceServer;
use tonic::service::Routes;
use tonic::{Code, Response, Status};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::app::App;
use crate::error::ServerError;
use crate::flight;
use crate::jobs::Jobs;

/// The most bytes of one request.
pub(crate) const MAX_REQUEST_BYTES: usize = 4 * 1024 * 1024;
/// The most bytes of the definition files of one request.
const MAX_DEFINITION_BYTES: usize = 16 * 1024 * 1024;
/// The most bytes of one answer.
const MAX_RESPONSE_BYTES: usize = 64 * 1024 * 1024;

/// The services, health and reflection, and the reporter of their health.
pub(crate) async fn routes<S, R, J>(app: &Arc<App<S, R, J>>) -> (axum::Router, HealthReporter)
where
    S: OnlineStore + 'static,
    R: RegistryStore + 'static,
    J: Jobs,
{
    let online = OnlineServiceServer::new(online::Online(app.clone()))
        .max_decoding_message_size(MAX_REQUEST_BYTES)
        .max_encoding_message_size(MAX_RESPONSE_BYTES);
    let registry = RegistryServiceServer::new(registry::Registry(app.clone()))
        .max_decoding_message_size(MAX_DEFINITION_BYTES)
        .max_encoding_message_size(MAX_RESPONSE_BYTES);
    let jobs = JobServiceServer::new(jobs::JobCalls(app.clone()))
        .max_decoding_message_size(MAX_REQUEST_BYTES)
        .max_encoding_message_size(MAX_RESPONSE_BYTES);
    let ingest = IngestServiceServer::new(ingest::IngestCalls(app.clone()))
        .max_decoding_message_size(MAX_REQUEST_BYTES)
        .max_encoding_message_size(MAX_RESPONSE_BYTES);
    let (health, health_service) = tonic_health::server::health_reporter();
    for service in SERVICES {
        health.set_service_status(service, ServingStatus::Serving).await;
    }
    let mut routes = Routes::new(online)
        .add_service(registry)
        .add_service(jobs)
        .add_service(ingest)
        .add_service(flight::service(app.clone()))
        .add_service(health_service);
    let descriptors = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(asof_proto::DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    // The descriptor set is built in; a test lists what it holds.
    if let (Ok(v1), Ok(v1alpha)) = (descriptors().build_v1(), descriptors().build_v1alpha()) {
        routes = routes.add_service(v1).add_service(v1alpha);
    }
    (routes.into_axum_router(), health)
}

/// The services whose health is told; the empty name stands for the server.
const SERVICES: [&str; 6] = [
    "",
    "asof.v1.OnlineService",
    "asof.v1.RegistryService",
    "asof.v1.JobService",
    "asof.v1.IngestService",
    "arrow.flight.protocol.FlightService",
];

/// Tells all who ask that the server stops.
pub(crate) async fn stop(health: &HealthReporter) {
    for service in SERVICES {
        health
            .set_service_status(service, ServingStatus::NotServing)
            .await;
    }
}

impl<S, R, J> App<S, R, J> {
    /// Runs a call that is work, and does not only wait, when there is room for it.
    async fn work<T>(
        &self,
        method: &'static str,
        call: impl Future<Output = Result<T, ServerError>> + Send,
    ) -> Result<Response<T>, Status> {
        self.call(method, self.overload.admit(call)).await
    }

    /// Runs a call, counted as `method`.
    async fn call<T>(
        &self,
        method: &'static str,
        call: impl Future<Output = Result<T, ServerError>> + Send,
    ) -> Result<Response<T>, Status> {
        let timing = self.metrics.start(method);
        let result = call.await;
        timing.ended(result.as_ref().err().map_or(Code::Ok, ServerError::code));
        result.map(Response::new).map_err(Status::from)
    }
}
