//! `asof.v1.OnlineService`.

use std::sync::Arc;

use arrow_array::Array;
use asof_core::online::OnlineStore;
use asof_core::registry::RegistryStore;
use asof_core::time::Timestamp;
use asof_proto::convert::{bitmap, from_proto};
use asof_proto::response::GetFeaturesResponse;
use asof_proto::v1;
use asof_proto::v1::online_service_server::OnlineService;
use tonic::{Request, Response, Status};

use crate::app::App;
use crate::error::ServerError;
use crate::features::keys::{Given, Keys, from_wire};
use crate::features::{Answer, Prepared, Selection};
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
    ) -> Result<Response<GetFeaturesResponse>, Status> {
        self.0.get_features(request.into_inner()).await
    }
}

impl<S: OnlineStore + 'static, R: RegistryStore + 'static, J: Jobs> App<S, R, J> {
    /// The call, whoever makes it.
    pub(crate) async fn get_features(
        &self,
        request: v1::GetFeaturesRequest,
    ) -> Result<Response<GetFeaturesResponse>, Status> {
        let decode = || {
            let v1::GetFeaturesRequest {
                service,
                features,
                keys,
                request,
            } = request;
            let prepared = self.reader.prepare(Selection::of(service, features)?)?;
            let keys = keys_of(&prepared, keys, request)?;
            Ok((prepared, keys))
        };
        let call = self.read(decode, response);
        self.work("asof.v1.OnlineService/GetFeatures", call).await
    }
}

fn keys_of(
    prepared: &Prepared,
    keys: Vec<v1::Column>,
    request: Vec<v1::Column>,
) -> Result<Keys, ServerError> {
    let mut given = Vec::with_capacity(keys.len() + request.len());
    let keys = keys.into_iter().map(|column| ("keys", column));
    let request = request.into_iter().map(|column| ("request", column));
    for (field, column) in keys.chain(request) {
        let values = column.values.unwrap_or_default();
        let received = from_proto(&values).map_err(|error| {
            let name: String = column.name.chars().take(64).collect();
            let field = format!("{field}[{name:?}].{}", error.path);
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

fn response(answer: Answer) -> Result<GetFeaturesResponse, ServerError> {
    let Answer {
        prepared,
        as_of,
        packed,
        event_times,
        materialized_to,
        failed: _,
    } = answer;
    let times = event_times.iter();
    let micros = |time: &Timestamp| time.micros().to_le_bytes();
    Ok(GetFeaturesResponse {
        schema: prepared.schema.clone(),
        event_times_micros: times
            .clone()
            .flat_map(|time| time.as_ref().map_or([0; 8], micros))
            .collect(),
        absent: bitmap(times.map(Option::is_none)).into(),
        materialized_to_micros: materialized_to.iter().flat_map(micros).collect(),
        service: prepared.service().to_owned(),
        service_version: prepared.service_version(),
        registry_version: prepared.version.number,
        as_of_micros: as_of.micros(),
        ..GetFeaturesResponse::of(packed, &prepared.layout)?
    })
}
