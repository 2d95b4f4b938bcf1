//! HTTP on the same port: features as JSON, health, and metrics.
//!
//! `POST /v1/get-features` takes
//!
//! ```json
//! { "service": "delay_model_v1", "keys": { "origin": ["JFK", null], "tailnum": ["N14228", "N24211"] } }
//! ```
//!
//! or `"features": ["view:feature", "view:*"]` instead of `"service"`. Key values are, by the key's type:
//! integers (also `1.0`, and text, `"9007199254740993"`), `true` and `false` (also as text), text, dates `"2013-01-31"`,
//! times `"2013-01-31T12:00:00Z"`, decimals as text or integers, bytes as base64; `null` finds nothing. What on-demand
//! features are computed of besides, `"request": { "bearing": [120.5, 90] }`, stands beside `keys` (or among them): floats
//! also as integers and as text, `"NaN"` and `"Infinity"` among it; lists and embeddings as lists. It answers
//!
//! ```json
//! { "service": "delay_model_v1", "service_version": 1, "registry_version": 3, "as_of": "2013-06-01T00:00:00Z",
//!   "rows": 2,
//!   "columns": [ { "name": "airport_weather__temp", "values": [39.02, null], "statuses": ["PRESENT", "NOT_FOUND"] } ],
//!   "views": [ { "view": "airport_weather", "prefix": null, "event_times": ["2013-05-31T23:00:00Z", null],
//!               "materialized_to": "2013-06-01T00:00:00Z" } ] }
//! ```
//!
//! where integers are JSON integers with all their digits, decimals and `json` documents are text, bytes are
//! base64, and `NaN`, `Infinity` and `-Infinity` are text. Errors are
//! `{ "error": { "code": "NOT_FOUND", "message": "…" } }` with the HTTP status that goes with the gRPC code.

pub(crate) mod request;
mod response;

use std::sync::Arc;

use arrow_array::ArrayRef;
use asof_core::data_type::DataType;
use asof_core::online::OnlineStore;
use asof_core::registry::RegistryStore;
use asof_core::service::ReadPlan;
use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, Method, StatusCode, Uri};
use serde::Serialize;
use tonic::Code;

use crate::app::App;
use crate::error::ServerError;
use crate::features::keys::Keys;
use crate::features::{FeatureReader, Prepared};
use crate::grpc::MAX_REQUEST_BYTES;
use crate::jobs::Jobs;
use crate::metrics::code_name;
use crate::status::reached;

const GET_FEATURES: &str = "/v1/get-features";
const JSON: &str = "application/json";
/// The text format of Prometheus, in the version that prometheus-client writes.
const METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The routes that are not gRPC.
pub(crate) fn routes<S, R, J>(app: Arc<App<S, R, J>>) -> Router
where
    S: OnlineStore + 'static,
    R: RegistryStore + 'static,
    J: Jobs,
{
    Router::new()
        .route(GET_FEATURES, post(get_features::<S, R, J>))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready::<S, R, J>))
        .route("/metrics", get(metrics::<S, R, J>))
        .method_not_allowed_fallback(other_method)
        .layer(from_fn(refuse_large))
        .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
        .with_state(app)
}

/// Answers what no route answers: in gRPC to gRPC clients, in HTTP to others.
pub(crate) fn with_fallback(router: Router) -> Router {
    router.reset_fallback().fallback(|request: Request| async move {
        let path: String = request.uri().path().chars().take(200).collect();
        if is_grpc(request.headers()) {
            return tonic::Status::unimplemented(format!("there is no call {path}")).into_http();
        }
        let message = format!(
            "there is no {path} here; there are POST /v1/get-features, /healthz, /readyz and /metrics"
        );
        refusal(Code::NotFound, message).into_response()
    })
}

/// Refuses what says that it is too large before it is read.
async fn refuse_large(request: Request, next: Next) -> Response {
    let length = request.headers().get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    match length {
        Some(length) if length > MAX_REQUEST_BYTES as u64 => too_large(),
        _ => next.run(request).await,
    }
}

fn too_large() -> Response {
    let message = format!("the request has more than {MAX_REQUEST_BYTES} bytes");
    refusal(Code::OutOfRange, message).into_response()
}

/// Answers a method that a path does not take; the router adds `Allow`.
async fn other_method(method: Method, uri: Uri) -> Response {
    let (path, method) = (uri.path(), method.as_str().chars().take(20).collect::<String>());
    let takes = if path == GET_FEATURES { "POST" } else { "GET" };
    let message = format!("{path} does not take the method {method}: use {takes}");
    refusal(Code::Unimplemented, message).into_response()
}

/// Whether a request is a gRPC call.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(http::HeaderValue::as_bytes);
    kind.is_some_and(|kind| kind.starts_with(b"application/grpc"))
}

/// An error as JSON, with the status that goes with its code.
pub(crate) fn refusal(code: Code, message: String) -> impl IntoResponse {
    #[derive(Serialize)]
    struct Refusal {
        error: Error,
    }
    #[derive(Serialize)]
    struct Error {
        code: &'static str,
        message: String,
    }
    let error = Error {
        code: code_name(code),
        message,
    };
    (http_status(code), axum::Json(Refusal { error }))
}

async fn get_features<S, R, J>(
    State(app): State<Arc<App<S, R, J>>>,
    body: Result<Bytes, BytesRejection>,
) -> Response
where
    S: OnlineStore + 'static,
    R: RegistryStore + 'static,
    J: Jobs,
{
    let body = match body {
        Ok(body) => body,
        Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => return too_large(),
        Err(rejection) => {
            let message = format!("the request could not be read: {}", rejection.body_text());
            return refusal(Code::InvalidArgument, message).into_response();
        }
    };
    let timing = app.metrics.start("POST /v1/get-features");
    let call = app.read(|| decode(&app.reader, &body), |answer| response::to_json(&answer));
    let result = app.overload.admit(call).await;
    timing.ended(result.as_ref().err().map_or(Code::Ok, ServerError::code));
    match result {
        Ok(text) => ([(CONTENT_TYPE, JSON)], text).into_response(),
        Err(error) => {
            let mut response = refusal(error.code(), error.to_string()).into_response();
            // In whole seconds, as HTTP has it.
            let wait = error.pushback().and_then(|millis| u64::try_from(millis).ok());
            if let Some(wait) = wait {
                response
                    .headers_mut()
                    .insert(RETRY_AFTER, wait.div_ceil(1_000).into());
            }
            response
        }
    }
}

/// Answers a request of `POST /v1/get-features` without a server: JSON in, JSON out.
///
/// # Errors
///
/// Those of the call.
pub async fn get_features_json<S, R>(
    reader: &FeatureReader<S, R>,
    body: &[u8],
) -> Result<Vec<u8>, ServerError>
where
    S: OnlineStore + 'static,
    R: RegistryStore + 'static,
{
    let (prepared, keys) = decode(reader, body)?;
    response::to_json(&reader.read(prepared, keys).await?)
}

/// The keys of one entity from values that are text, read as those of [`get_features_json`] are.
///
/// # Errors
///
/// A column that is missing or not one of the plan's; text that is no value of the key's type.
pub fn keys_of_text(
    plan: &ReadPlan,
    values: impl IntoIterator<Item = (String, String)>,
) -> Result<Keys, ServerError> {
    let plan = ReadPlan {
        request_columns: Vec::new(),
        ..plan.clone()
    };
    request::keys(&plan, request::Columns::of_text(values))
}

/// A column of some type from the list of its values, read as those of request columns are.
///
/// # Errors
///
/// What is no value of the type; `name` is what the message calls the column.
pub fn column_of_json(
    name: &str,
    data_type: &DataType,
    values: &serde_json::Value,
) -> Result<ArrayRef, ServerError> {
    request::column(name, data_type, values)
}

/// The value of a feature at a place of its column, as [`get_features_json`] gives it.
///
/// # Errors
///
/// A date beyond the calendar.
pub fn value_json(
    data_type: &DataType,
    array: &ArrayRef,
    at: usize,
) -> Result<serde_json::Value, ServerError> {
    response::value_to_json(data_type, array, at)
}

/// What a request asks for, and the keys.
fn decode<S, R>(reader: &FeatureReader<S, R>, body: &[u8]) -> Result<(Arc<Prepared>, Keys), ServerError>
where
    S: OnlineStore + 'static,
    R: RegistryStore + 'static,
{
    let (selection, keys) = request::parse(body)?;
    let prepared = reader.prepare(selection)?;
    let keys = request::keys(&prepared.plan, keys)?;
    Ok((prepared, keys))
}

async fn ready<S, R, J>(State(app): State<Arc<App<S, R, J>>>) -> Response
where
    S: OnlineStore + 'static,
    R: RegistryStore + 'static,
    J: Jobs,
{
    if app.stopping.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the server is stopping\n").into_response();
    }
    match tokio::task::spawn_blocking(move || reached(&*app.store)).await {
        Ok(Ok(_)) => "ready\n".into_response(),
        Ok(Err(error)) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn metrics<S, R, J>(State(app): State<Arc<App<S, R, J>>>) -> Response
where
    S: OnlineStore + 'static,
    R: RegistryStore + 'static,
    J: Jobs,
{
    app.metrics.load(app.overload.running(), app.overload.delay());
    let rendered = tokio::task::spawn_blocking(move || {
        let version = app.watch.current();
        app.metrics
            .render(&*app.store, &app.config, &version, app.clock.now())
    });
    match rendered.await {
        Ok(Ok(text)) => ([(CONTENT_TYPE, METRICS)], text).into_response(),
        Ok(Err(error)) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// The HTTP status that goes with a gRPC code.
fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::InvalidArgument | Code::FailedPrecondition => StatusCode::BAD_REQUEST,
        Code::OutOfRange => StatusCode::PAYLOAD_TOO_LARGE,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::METHOD_NOT_ALLOWED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Cancelled | Code::Unknown | Code::Internal | Code::DataLoss => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}
