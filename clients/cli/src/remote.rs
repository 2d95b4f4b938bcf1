//! A running server, as the command's other half.

use asof_proto::v1;
use asof_proto::v1::job_service_client::JobServiceClient;
use asof_proto::v1::registry_service_client::RegistryServiceClient;
use asof_registry::AuthoredFile;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tonic::transport::Channel;

use crate::exit::{Failure, of_code};

/// The largest answer taken, in bytes.
const MAX_ANSWER: usize = 256 << 20;

/// A connection to a server.
pub struct Remote {
    url: String,
    channel: Channel,
}

impl Remote {
    /// Connects to `url`, such as `http://127.0.0.1:2763`.
    pub async fn connect(url: &str) -> Result<Self, Failure> {
        let url = if url.contains("://") {
            url.to_owned()
        } else {
            format!("http://{url}")
        };
        let url = url.replacen("grpc://", "http://", 1);
        let endpoint = Channel::from_shared(url.clone())
            .map_err(|_| Failure::usage(format!("{url:?} is not a URL: write it as http://127.0.0.1:2763")))?
            .connect_timeout(std::time::Duration::from_secs(5));
        let channel = endpoint.connect().await.map_err(|_| {
            Failure::unavailable(format!("no server answers at {url}: start one with `asof serve`"))
        })?;
        Ok(Self { url, channel })
    }

    /// The registry's calls.
    pub fn registry(&self) -> RegistryServiceClient<Channel> {
        RegistryServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER)
    }

    /// The jobs' calls.
    pub fn jobs(&self) -> JobServiceClient<Channel> {
        JobServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER)
    }

    /// Reads features by the JSON call.
    pub async fn get_features(&self, request: &serde_json::Value) -> Result<serde_json::Value, Failure> {
        let unreachable = |error: &dyn std::fmt::Display| {
            Failure::unavailable(format!("the server at {} did not answer: {error}", self.url))
        };
        let authority = self.url.trim_start_matches("http://").trim_end_matches('/');
        let stream = tokio::net::TcpStream::connect(authority)
            .await
            .map_err(|error| unreachable(&error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| unreachable(&error))?;
        let connection = tokio::spawn(connection);
        let request = http::Request::post("/v1/get-features")
            .header("host", authority)
            .header("content-type", "application/json")
            .body(Full::new(bytes::Bytes::from(request.to_string())))
            .map_err(|error| unreachable(&error))?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| unreachable(&error))?;
        let body = response
            .into_body()
            .collect()
            .await
            .map_err(|error| unreachable(&error))?
            .to_bytes();
        connection.abort();
        let answer: serde_json::Value = serde_json::from_slice(&body).map_err(|error| unreachable(&error))?;
        match answer.get("error") {
            None => Ok(answer),
            Some(error) => Err(refusal(error)),
        }
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
    Failure::new(of_code(code), text("message"))
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
