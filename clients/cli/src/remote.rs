//! A running server, as the command's other half.

use std::time::Duration;

use asof_client::{Access, Client, Error};
use asof_proto::v1;
use asof_registry::{AuthoredFile, masked};
use asof_server::project::RunningServer;
use http_body_util::{BodyExt, Full};
use tonic::client::GrpcService;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::exit::{Failure, of_code, told_of};

/// How long a server has for its first answer.
const FIRST_ANSWER: Duration = Duration::from_secs(5);
/// A service that every server has.
const SERVICE: &str = "asof.v1.RegistryService";

/// A connection to a server.
pub struct Remote {
    client: Client,
}

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreached {
    /// Nobody listens there.
    Nobody,
    /// Whoever listens there says nothing.
    Silent,
    /// Whoever listens there is no server of ours.
    Foreign,
    /// No TLS was agreed on with whoever listens there: why.
    Untrusted(String),
}

impl Unreached {
    /// What to tell the user who named the server; `pid` is its process, where that is known.
    pub fn failure(self, url: &str, pid: Option<u32>) -> Failure {
        let url = masked(url);
        Failure::unavailable(match (self, pid) {
            (Self::Nobody, _) => format!("no server answers at {url}: start one with `asof serve`"),
            (Self::Silent, Some(pid)) => silent(&format!("the server at {url} (process {pid})"), Some(pid)),
            (Self::Silent, None) => silent(&format!("the server at {url}"), None),
            (Self::Foreign, _) => format!(
                "{url} does not speak gRPC: is it an asof server? One that speaks TLS is reached at https://…"
            ),
            (Self::Untrusted(reason), _) => untrusted(&url, &reason),
        })
    }

    /// What to tell the user of a project whose online store a server holds.
    pub fn failure_of_holder(self, server: &RunningServer) -> Failure {
        let RunningServer { pid, url } = server;
        let holder = format!("process {pid} holds the online store as a server");
        Failure::unavailable(match self {
            Self::Nobody | Self::Foreign => format!(
                "{holder}, and does not answer at {url}: wait for it to start or stop, or end it with `kill {pid}`"
            ),
            Self::Silent => silent(&format!("{holder} at {url}, and"), Some(*pid)),
            Self::Untrusted(reason) => untrusted(url, &reason),
        })
    }
}

fn untrusted(url: &str, reason: &str) -> String {
    format!(
        "no TLS can be agreed on with {url}: {reason}; name the authority that signed its certificate with --ca, or write \
         http:// where the server speaks no TLS"
    )
}

fn silent(who: &str, pid: Option<u32>) -> String {
    let advice = match pid {
        Some(pid) => format!("resume it with `kill -CONT {pid}`, or end it with `kill -9 {pid}`"),
        None => "resume it, or end it and start another with `asof serve`".to_owned(),
    };
    format!(
        "{who} took the connection and said nothing for {} s: it is stopped or overloaded; {advice}",
        FIRST_ANSWER.as_secs()
    )
}

/// The address of a server as a URL.
pub fn url_of(text: &str) -> String {
    let url = match text.contains("://") {
        true => text.to_owned(),
        false => format!("http://{text}"),
    };
    url.replacen("grpc://", "http://", 1)
}

impl Remote {
    /// Connects to `url`, such as `http://127.0.0.1:2763`, and hears that an asof server is there.
    pub async fn connect(url: &str, access: &Access) -> Result<Result<Self, Unreached>, Failure> {
        let greeted = tokio::time::timeout(FIRST_ANSWER, async {
            match Client::connect_with(url, access).await {
                Ok(client) => Ok(greet(client).await),
                Err(Error::Unreachable { .. }) => Ok(Err(Unreached::Nobody)),
                Err(Error::Tls { reason }) => Ok(Err(Unreached::Untrusted(reason))),
                Err(Error::Url(_)) => Err(Failure::usage(format!(
                    "{:?} is not a URL: write it as http://127.0.0.1:2763",
                    masked(url)
                ))),
                Err(error) => Err(error.into()),
            }
        });
        greeted.await.unwrap_or(Ok(Err(Unreached::Silent)))
    }

    /// Its calls.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Reads features by the JSON call.
    pub async fn get_features(&self, request: &serde_json::Value) -> Result<serde_json::Value, Failure> {
        let broken = |error: &dyn std::fmt::Display| Failure::broken(error);
        let request = http::Request::post("/v1/get-features")
            .header("content-type", "application/json")
            .body(tonic::body::Body::new(Full::new(bytes::Bytes::from(
                request.to_string(),
            ))))
            .map_err(|error| broken(&error))?;
        let mut transport = self.client.transport();
        std::future::poll_fn(|context| GrpcService::poll_ready(&mut transport, context))
            .await
            .map_err(|error| broken(&error))?;
        let response = GrpcService::call(&mut transport, request)
            .await
            .map_err(|error| broken(&error))?;
        let body = response.into_body().collect().await;
        let body = body.map_err(|error| broken(&error))?.to_bytes();
        let answer: serde_json::Value = serde_json::from_slice(&body).map_err(|error| broken(&error))?;
        match answer.get("error") {
            None => Ok(answer),
            Some(error) => Err(refusal(error)),
        }
    }
}

/// Asks for the health of a service that every server has.
async fn greet(client: Client) -> Result<Remote, Unreached> {
    let request = HealthCheckRequest {
        service: SERVICE.to_owned(),
    };
    match HealthClient::new(client.transport()).check(request).await {
        Ok(_) => Ok(Remote { client }),
        Err(_) => Err(Unreached::Foreign),
    }
}

fn refusal(error: &serde_json::Value) -> Failure {
    let text = |name: &str| {
        error
            .get(name)
            .and_then(|value| value.as_str())
            .unwrap_or_default()
    };
    let code = (0..=16)
        .map(tonic::Code::from_i32)
        .find(|code| format!("{code:?}").eq_ignore_ascii_case(&text("code").replace('_', "")))
        .unwrap_or(tonic::Code::Unknown);
    Failure::new(of_code(code), told_of(code, text("message")))
}

/// Definition files on the wire.
pub fn to_wire(files: Vec<AuthoredFile>) -> Vec<v1::DefinitionFile> {
    files
        .into_iter()
        .map(|file| v1::DefinitionFile {
            path: file.path,
            content: file.bytes,
        })
        .collect()
}
