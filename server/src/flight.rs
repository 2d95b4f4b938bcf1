//! Arrow Flight: whole tables in and out, on the port of the other services.
//!
//! `DoExchange` takes a spine and returns its dataset, `DoPut` pushes or ingests rows, `DoGet` returns the features of
//! all keys or of some as of now; what is asked for is a JSON object in the descriptor's command, or in the ticket.
//! Rows that come are kept in a file until they are all there; rows that go are made as they are taken.

mod command;
mod download;
pub(crate) mod extract;
mod listing;
mod put;
mod read;
mod saved;
mod upload;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest,
    HandshakeResponse, PollInfo, PutResult, SchemaResult, Ticket,
};
use asof_core::online::OnlineStore;
use asof_core::registry::RegistryStore;
use asof_offline::Grid;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use http_body_util::BodyExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::service::{LayerExt, Layered};
use tonic::{Code, Request, Response, Status, Streaming};
use tower::util::{MapRequest, MapRequestLayer};

use crate::app::App;
use crate::deadline;
use crate::error::ServerError;
use crate::http::request;
use crate::jobs::Jobs;
use command::{ExtractCommand, GetTicket, PutCommand, of_descriptor};
use download::{Messages, Outlet, Until, messages, status_of};
use saved::Saved;
use upload::{Refused, Upload};

/// The most bytes of one message.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// The service.
pub(crate) fn service<S, R, J>(app: Arc<App<S, R, J>>) -> WholeUploads<FlightServiceServer<Flight<S, R, J>>>
where
    S: OnlineStore + 'static,
    R: RegistryStore + 'static,
    J: Jobs,
{
    let service = FlightServiceServer::new(Flight(app))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let told: fn(http::Request<Body>) -> http::Request<Body> = told_of_cancels;
    MapRequestLayer::new(told).named_layer(service)
}

type WholeUploads<S> = Layered<MapRequest<S, fn(http::Request<Body>) -> http::Request<Body>>, S>;

/// A call whose messages do not seem to end where its caller cancels it, as tonic has it of such an error.
fn told_of_cancels(request: http::Request<Body>) -> http::Request<Body> {
    let cut = |error| Status::unavailable(format!("the call was cut: {error}"));
    request.map(|body| Body::new(body.map_err(cut)))
}

pub(crate) struct Flight<S, R, J>(Arc<App<S, R, J>>);

impl<S, R, J> Flight<S, R, J>
where
    S: OnlineStore + 'static,
    R: RegistryStore + 'static,
    J: Jobs,
{
    fn until(&self, deadline: Option<Duration>) -> Until {
        Until {
            deadline,
            stopping: self.0.stopping.clone(),
        }
    }

    /// The messages of work that is counted as `method`.
    fn answer<F>(
        &self,
        method: &'static str,
        deadline: Option<Duration>,
        work: impl FnOnce(Outlet) -> F,
    ) -> Result<Response<Messages>, Status>
    where
        F: Future<Output = Result<(), Refused>> + Send + 'static,
    {
        let threads = self.0.background.threads();
        let threads =
            threads.map_err(|error| Status::unavailable(format!("no thread can be started: {error}")))?;
        let app = Arc::clone(&self.0);
        let work = |outlet| {
            let work = work(outlet);
            async move {
                let timing = app.metrics.start(method);
                let result = told_of_panics(work).await;
                timing.ended(result.as_ref().err().map_or(Code::Ok, Refused::code));
                result
            }
        };
        Ok(Response::new(messages(
            threads.idle(),
            self.until(deadline),
            work,
        )))
    }
}

/// Work whose panic is an error, to the caller as well: its messages would seem to end.
async fn told_of_panics(work: impl Future<Output = Result<(), Refused>>) -> Result<(), Refused> {
    let result = AssertUnwindSafe(work).catch_unwind().await;
    let panicked = || ServerError::Bug("the work of the call panicked".into());
    result.unwrap_or_else(|_| Err(panicked().into()))
}

#[tonic::async_trait]
impl<S, R, J> FlightService for Flight<S, R, J>
where
    S: OnlineStore + 'static,
    R: RegistryStore + 'static,
    J: Jobs,
{
    type HandshakeStream = BoxStream<'static, Result<HandshakeResponse, Status>>;
    type ListFlightsStream = BoxStream<'static, Result<FlightInfo, Status>>;
    type DoGetStream = Messages;
    type DoPutStream = BoxStream<'static, Result<PutResult, Status>>;
    type DoExchangeStream = Messages;
    type DoActionStream = BoxStream<'static, Result<arrow_flight::Result, Status>>;
    type ListActionsStream = BoxStream<'static, Result<ActionType, Status>>;

    async fn do_exchange(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Messages>, Status> {
        let deadline = deadline::asked(request.metadata().as_ref());
        let app = Arc::clone(&self.0);
        self.answer(
            "arrow.flight.protocol.FlightService/DoExchange",
            deadline,
            |outlet| async move {
                let upload = Upload::begin(request).await?;
                let command: ExtractCommand = of_descriptor(upload.descriptor())?;
                extract::exchange(app, command, upload, outlet).await
            },
        )
    }

    async fn do_get(&self, request: Request<Ticket>) -> Result<Response<Messages>, Status> {
        let deadline = deadline::asked(request.metadata().as_ref());
        let (app, ticket) = (Arc::clone(&self.0), request.into_inner().ticket);
        self.answer("arrow.flight.protocol.FlightService/DoGet", deadline, |outlet| async move {
            let ticket = match GetTicket::parse(&ticket)? {
                GetTicket::Read(ticket) => ticket,
                GetTicket::Extract(name) => return Saved::of(&app.config, &name)?.send(outlet).await,
            };
            app.watch.refresh().await?;
            let prepared = app.reader.prepare(ticket.selection()?)?;
            let (times, status) = (ticket.times()?, ticket.status);
            match (ticket.keys, times) {
                (Some(_), Some(_)) => Err(ServerError::argument(
                    "at",
                    "must not be given beside keys, which are read as of the server's clock: extract them instead",
                )
                .into()),
                (Some(keys), None) => {
                    let keys = request::keys(&prepared.plan, keys)?;
                    read::of_keys(app, prepared, keys, status, outlet).await
                }
                (None, times) => {
                    let grid = times.unwrap_or_else(|| Grid::at(app.clock.now()));
                    let as_corrected = ticket.as_corrected;
                    extract::of_all_keys(app, prepared, grid, as_corrected, status, outlet).await
                }
            }
        })
    }

    async fn do_put(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoPutStream>, Status> {
        let app = Arc::clone(&self.0);
        let (told, results) = mpsc::channel(16);
        // What was begun is brought to its end, whether the caller waits for it or not.
        tokio::spawn(async move {
            let timing = app.metrics.start("arrow.flight.protocol.FlightService/DoPut");
            let work = async {
                let upload = Upload::begin(request).await?;
                let command: PutCommand = of_descriptor(upload.descriptor())?;
                put::put(&app, command, upload, &told).await
            };
            let result = told_of_panics(work).await;
            timing.ended(result.as_ref().err().map_or(Code::Ok, Refused::code));
            if let Err(refused) = result {
                let _ = told.send(Err(status_of(refused))).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(results).boxed()))
    }

    async fn list_flights(
        &self,
        request: Request<Criteria>,
    ) -> Result<Response<Self::ListFlightsStream>, Status> {
        if !request.into_inner().expression.is_empty() {
            return Err(ServerError::argument("expression", "is not supported: leave it empty").into());
        }
        let version = self.0.watch.refresh().await.map_err(ServerError::from)?;
        let flights = listing::all(&version.definitions, &self.0.config)
            .into_iter()
            .map(Ok);
        Ok(Response::new(futures::stream::iter(flights).boxed()))
    }

    async fn get_flight_info(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let version = self.0.watch.refresh().await.map_err(ServerError::from)?;
        let found = listing::of(&version.definitions, &request.into_inner())?;
        Ok(Response::new(found))
    }

    async fn get_schema(&self, request: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        let version = self.0.watch.refresh().await.map_err(ServerError::from)?;
        let found = listing::of(&version.definitions, &request.into_inner())?;
        Ok(Response::new(SchemaResult { schema: found.schema }))
    }

    async fn handshake(
        &self,
        _request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        Err(Status::unimplemented(
            "there is nothing to log in to: call without a handshake",
        ))
    }

    async fn poll_flight_info(
        &self,
        _request: Request<FlightDescriptor>,
    ) -> Result<Response<PollInfo>, Status> {
        Err(Status::unimplemented(
            "no flight is prepared ahead: call GetFlightInfo",
        ))
    }

    async fn do_action(&self, _request: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        Err(Status::unimplemented("there are no actions"))
    }

    async fn list_actions(
        &self,
        _request: Request<Empty>,
    ) -> Result<Response<Self::ListActionsStream>, Status> {
        Ok(Response::new(futures::stream::empty().boxed()))
    }
}
