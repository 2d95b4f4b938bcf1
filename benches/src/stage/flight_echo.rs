//! The floor of a download: a Flight server that sends batches which it has in memory.

use std::fs::File;
use std::future::Future;
use std::io::BufReader;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::Result;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::FileReader;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest,
    HandshakeResponse, PollInfo, PutResult, SchemaResult, Ticket,
};
use asof_server::{Limits, Listening, serve_routes};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

/// What is said behind the last row, as our server does.
const LAST: &str = "{\"manifest\":{}}";

/// Messages that are encoded ahead.
const AHEAD: usize = 4;

/// Batches, kept for the server that sends them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FlightEcho {
    /// An Arrow file.
    pub batches: PathBuf,
}

/// Serves the batches on a free port of the loopback, which `listening` is told, until `shutdown` is ready.
///
/// # Errors
///
/// Batches that cannot be read, or a port that cannot be opened.
pub async fn run(
    echo: &FlightEcho,
    listening: impl FnOnce(SocketAddr) -> Result<()>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<()> {
    let reader = FileReader::try_new(BufReader::new(File::open(&echo.batches)?), None)?;
    let same = Same {
        schema: reader.schema(),
        batches: reader.collect::<Result<_, _>>()?,
    };
    let port = Listening::bind((Ipv4Addr::LOCALHOST, 0).into()).await?;
    listening(port.address())?;
    let routes = Routes::new(FlightServiceServer::new(same)).into_axum_router();
    serve_routes(routes, port, Limits::default(), shutdown).await;
    Ok(())
}

struct Same {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

type Answer<T> = Result<Response<T>, Status>;
type Never<T> = BoxStream<'static, Result<T, Status>>;

fn nothing_else<T>() -> Answer<T> {
    Err(Status::unimplemented("an echo sends batches, and nothing else"))
}

#[tonic::async_trait]
impl FlightService for Same {
    type HandshakeStream = Never<HandshakeResponse>;
    type ListFlightsStream = Never<FlightInfo>;
    type DoGetStream = Never<FlightData>;
    type DoPutStream = Never<PutResult>;
    type DoActionStream = Never<arrow_flight::Result>;
    type ListActionsStream = Never<ActionType>;
    type DoExchangeStream = Never<FlightData>;

    async fn do_get(&self, _: Request<Ticket>) -> Answer<Self::DoGetStream> {
        let mut batches = FlightDataEncoderBuilder::new()
            .with_schema(self.schema.clone())
            .with_max_flight_data_size(usize::MAX)
            .build(stream::iter(self.batches.clone()).map(Ok));
        let (sender, encoded) = mpsc::channel(AHEAD);
        tokio::spawn(async move {
            while let Some(message) = batches.next().await {
                if sender.send(message).await.is_err() {
                    return;
                }
            }
        });
        let last = FlightData {
            app_metadata: LAST.into(),
            ..FlightData::default()
        };
        let encoded = stream::unfold(encoded, |mut encoded| async move {
            let message = encoded.recv().await?;
            Some((message, encoded))
        });
        let messages = encoded.map_err(Status::from).chain(stream::iter([Ok(last)]));
        Ok(Response::new(messages.boxed()))
    }

    async fn handshake(&self, _: Request<Streaming<HandshakeRequest>>) -> Answer<Self::HandshakeStream> {
        nothing_else()
    }

    async fn list_flights(&self, _: Request<Criteria>) -> Answer<Self::ListFlightsStream> {
        nothing_else()
    }

    async fn get_flight_info(&self, _: Request<FlightDescriptor>) -> Answer<FlightInfo> {
        nothing_else()
    }

    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> Answer<PollInfo> {
        nothing_else()
    }

    async fn get_schema(&self, _: Request<FlightDescriptor>) -> Answer<SchemaResult> {
        nothing_else()
    }

    async fn do_put(&self, _: Request<Streaming<FlightData>>) -> Answer<Self::DoPutStream> {
        nothing_else()
    }

    async fn do_exchange(&self, _: Request<Streaming<FlightData>>) -> Answer<Self::DoExchangeStream> {
        nothing_else()
    }

    async fn do_action(&self, _: Request<Action>) -> Answer<Self::DoActionStream> {
        nothing_else()
    }

    async fn list_actions(&self, _: Request<Empty>) -> Answer<Self::ListActionsStream> {
        nothing_else()
    }
}
