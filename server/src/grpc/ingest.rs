//! `asof.v1.IngestService`.

use std::sync::Arc;

use asof_core::name::{NameError, SourceName};
use asof_core::online::OnlineStore;
use asof_core::registry::RegistryStore;
use asof_proto::v1;
use asof_proto::v1::ingest_service_server::IngestService;
use tonic::{Request, Response, Status};

use crate::app::App;
use crate::error::ServerError;
use crate::intake::{push_of, response_of};
use crate::jobs::Jobs;

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
