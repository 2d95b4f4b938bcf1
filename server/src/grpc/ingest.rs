//! `asof.v1.IngestService`.

use std::sync::Arc;

use asof_core::name::{NameError, SourceName};
use asof_core::online::OnlineStore;
use asof_core::registry::RegistryStore;
use asof_proto::v1;
use asof_proto::v1::ingest_service_server::IngestService;
use asof_proto::v1::push_stream_response::Result as Outcome;
use futures::future::{Either, ready};
use futures::{FutureExt, StreamExt};
use tonic::codegen::BoxStream;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::app::App;
use crate::error::ServerError;
use crate::intake::{Read, push_of, response_of};
use crate::jobs::Jobs;

/// How many requests of a stream are read at a time.
const READING: usize = 4;
/// How many of them wait for their answers.
const WAITING: usize = 32;

pub(crate) struct IngestCalls<S, R, J>(pub(crate) Arc<App<S, R, J>>);

#[tonic::async_trait]
impl<S, R, J> IngestService for IngestCalls<S, R, J>
where
    S: OnlineStore + 'static,
    R: RegistryStore + 'static,
    J: Jobs,
{
    async fn push(&self, request: Request<v1::PushRequest>) -> Result<Response<v1::PushResponse>, Status> {
        let app = &self.0;
        let call = async {
            let push = push_of(request.into_inner())?;
            let version = app.watch.current();
            let answer = app.intake.push(&version, push, app.wall.now()).await?;
            Ok(response_of(answer))
        };
        app.call("asof.v1.IngestService/Push", call).await
    }

    type PushStreamStream = BoxStream<v1::PushStreamResponse>;

    /// All of it goes on only as far as the answers are taken, so that a client which takes none is not read from. What
    /// was begun for one that went away is finished.
    async fn push_stream(
        &self,
        requests: Request<Streaming<v1::PushRequest>>,
    ) -> Result<Response<Self::PushStreamStream>, Status> {
        let (app, of, stopping) = (self.0.clone(), self.0.clone(), self.0.stopping.clone());
        let stopped = stopping.clone().cancelled_owned();
        let requests = requests.into_inner().take_until(stopped);
        let read = requests.map(move |request| read(Arc::clone(&app), request));
        let answers = read.buffered(READING).map(move |read| answer(&of, read));
        let last = futures::stream::once(async move {
            let gone = || Status::unavailable("the server stops: push the rest when it is back");
            stopping.is_cancelled().then(|| Err(gone()))
        });
        let answers = answers.buffered(WAITING).chain(last.filter_map(ready));
        Ok(Response::new(answers.boxed()))
    }

    async fn flush(&self, request: Request<v1::FlushRequest>) -> Result<Response<v1::FlushResponse>, Status> {
        let app = &self.0;
        let call = async {
            let sources = request.into_inner().sources.into_iter().enumerate();
            let sources = sources.map(|(place, name)| {
                let wrong =
                    |error: NameError| ServerError::argument(format!("sources[{place}]"), error.to_string());
                SourceName::parse(&name).map_err(wrong)
            });
            let sources = sources.collect::<Result<Vec<_>, _>>()?;
            let version = app.watch.refresh().await?;
            let rows = app
                .intake
                .flush(&version.definitions, &sources, app.wall.now())
                .await?;
            Ok(v1::FlushResponse { rows })
        };
        app.call("asof.v1.IngestService/Flush", call).await
    }
}

/// Reads a request of a stream: the stream ends where that is none, and goes on where it is refused.
async fn read<S, R, J>(
    app: Arc<App<S, R, J>>,
    request: Result<v1::PushRequest, Status>,
) -> Result<Result<Read, ServerError>, Status>
where
    S: OnlineStore + 'static,
    R: RegistryStore + 'static,
    J: Jobs,
{
    let request = request?;
    let read = async {
        let push = push_of(request)?;
        let version = app.watch.current();
        // It may take as long as it does: more is not read meanwhile.
        Ok(app.intake.read(&version, push, app.wall.now(), None).await?)
    };
    Ok(read.await)
}

/// Has what was read written behind what was read before, at once, and answers when it is.
fn answer<S, R, J>(
    app: &Arc<App<S, R, J>>,
    read: Result<Result<Read, ServerError>, Status>,
) -> impl Future<Output = Result<v1::PushStreamResponse, Status>> + Send + use<S, R, J>
where
    S: OnlineStore + 'static,
    R: RegistryStore + 'static,
    J: Jobs,
{
    let pushed = match read {
        Ok(Ok(read)) => Either::Left(app.intake.enqueue(read).map(|pushed| Ok(pushed?))),
        Ok(Err(error)) => Either::Right(ready(Err(error))),
        Err(status) => return Either::Right(ready(Err(status))),
    };
    let app = Arc::clone(app);
    Either::Left(async move {
        let timing = app.metrics.start("asof.v1.IngestService/PushStream");
        let pushed: Result<_, ServerError> = pushed.await;
        timing.ended(pushed.as_ref().err().map_or(Code::Ok, ServerError::code));
        let result = match pushed {
            Ok(answer) => Outcome::Answer(response_of(answer)),
            Err(error) => Outcome::Refusal(v1::PushRefusal {
                code: i32::from(error.code()),
                message: error.to_string(),
            }),
        };
        Ok(v1::PushStreamResponse { result: Some(result) })
    })
}
