//! The floor of serving: the same call on the same server, which answers each request with the same answer,
//! made beforehand. What is left is the cost of the RPC that carries it.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use asof_proto::response::GetFeaturesResponse;
use asof_proto::v1::GetFeaturesRequest;
use asof_proto::v1::online_service_server::{OnlineService, OnlineServiceServer};
use asof_server::{Limits, Listening, serve_routes};
use prost::Message;
use serde::{Deserialize, Serialize};
use tonic::service::Routes;
use tonic::{Request, Response, Status};

/// An answer, kept for the server that gives it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Echo {
    answer: PathBuf,
}

impl Echo {
    /// Keeps an answer in a file.
    ///
    /// # Errors
    ///
    /// A file that cannot be written.
    pub fn keep(answer: &GetFeaturesResponse, path: &Path) -> Result<Self> {
        let written = std::fs::write(path, answer.encode_to_vec());
        written.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self {
            answer: path.to_owned(),
        })
    }
}

struct Same(GetFeaturesResponse);

#[tonic::async_trait]
impl OnlineService for Same {
    async fn get_features(
        &self,
        _: Request<GetFeaturesRequest>,
    ) -> Result<Response<GetFeaturesResponse>, Status> {
        Ok(Response::new(self.0.clone()))
    }
}

/// Serves the answer on a free port of the loopback, which `listening` is told, until `shutdown` is ready.
///
/// # Errors
///
/// An answer that cannot be read, or a port that cannot be opened.
pub async fn run(
    echo: &Echo,
    listening: impl FnOnce(SocketAddr) -> Result<()>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<()> {
    let answer = GetFeaturesResponse::decode(std::fs::read(&echo.answer)?.as_slice())?;
    let port = Listening::bind((Ipv4Addr::LOCALHOST, 0).into()).await?;
    listening(port.address())?;
    let routes = Routes::new(OnlineServiceServer::new(Same(answer))).into_axum_router();
    serve_routes(routes, port, Limits::default(), shutdown).await;
    Ok(())
}
