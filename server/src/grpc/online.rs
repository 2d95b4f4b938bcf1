//! `asof.v1.OnlineService`.

use std::sync::Arc;

use arrow_array::Array;
use asof_core::online::OnlineStore;
use asof_core::registry::RegistryStore;
use asof_proto::convert::{bitmap, from_proto, to_proto};
use asof_proto::v1;
use asof_proto::v1::online_service_server::OnlineService;
use tonic::{Request, Response, Status};

use crate::app::App;
use crate::error::ServerError;
use crate::features::keys::{Given, Keys, from_wire};
use crate::features::{Answer, AnswerColumn, AnswerView, Prepared, Selection};
use crate::jobs::Jobs;

pub(crate) struct Online<S, R, J>(pub(crate) Arc<App<S, R, J>>);

#[tonic::async_trait]
impl<S, R, J> OnlineService for Online<S, R, J>
where
    S: OnlineStore + 'static,
    R: RegistryStore + 'static,
    J: Jobs,
{
    async fn get_features(
        &self,
        request: Request<v1::GetFeaturesRequest>,
    ) -> Result<Response<v1::GetFeaturesResponse>, Status> {
        let app = &self.0;
        let call = async {
            let v1::GetFeaturesRequest {
                service,
                features,
                keys,
            } = request.into_inner();
            let prepared = app.reader.prepare(Selection::of(service, features)?)?;
            let keys = keys_of(&prepared, keys)?;
            let answer = app.reader.read(prepared.clone(), keys).await?;
            let reads = prepared.plan.columns.iter().map(|column| column.read);
            app.metrics.answered(&answer, reads);
            response(&prepared, answer)
        };
        app.call("asof.v1.OnlineService/GetFeatures", call).await
    }
}

fn keys_of(prepared: &Prepared, columns: Vec<v1::Column>) -> Result<Keys, ServerError> {
    let mut given = Vec::with_capacity(columns.len());
    for column in columns {
        let values = column.values.unwrap_or_default();
        let received = from_proto(&values).map_err(|error| {
            let name: String = column.name.chars().take(64).collect();
            let field = format!("keys[{name:?}].{}", error.path);
            ServerError::argument(field, error.problem.to_string())
        })?;
        given.push(Given {
            name: column.name,
            length: received.array.len(),
            values: received,
        });
    }
    Keys::collect(&prepared.plan, given, from_wire)
}

fn response(prepared: &Prepared, answer: Answer) -> Result<v1::GetFeaturesResponse, ServerError> {
    let columns = answer.columns.into_iter().map(feature_column);
    Ok(v1::GetFeaturesResponse {
        rows: u32::try_from(answer.rows).unwrap_or(u32::MAX),
        columns: columns.collect::<Result<_, _>>()?,
        views: answer.views.into_iter().map(view_read).collect(),
        service: prepared.service().to_owned(),
        service_version: prepared.service_version(),
        registry_version: prepared.version.number,
        as_of_micros: answer.as_of.micros(),
    })
}

fn feature_column(column: AnswerColumn) -> Result<v1::FeatureColumn, ServerError> {
    Ok(v1::FeatureColumn {
        values: Some(to_proto(&column.data_type, &column.values)?),
        name: column.name,
        statuses: column.statuses.iter().map(|status| status.code()).collect(),
    })
}

fn view_read(view: AnswerView) -> v1::ViewRead {
    let times = view.event_times.iter();
    v1::ViewRead {
        view: view.view,
        prefix: view.prefix.unwrap_or_default(),
        event_times_micros: times
            .clone()
            .map(|time| time.map_or(0, |time| time.micros()))
            .collect(),
        absent: bitmap(times.map(Option::is_none)),
        materialized_to_micros: view.materialized_to.micros(),
    }
}
