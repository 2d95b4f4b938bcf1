//! `asof.v1.RegistryService`.

mod report;

use std::sync::Arc;

use asof_core::definition::Definitions;
use asof_core::online::OnlineStore;
use asof_core::registry::{RegistryError, RegistryStore, Version};
use asof_core::time::Timestamp;
use asof_offline::RowReader;
use asof_proto::v1;
use asof_proto::v1::registry_service_server::RegistryService;
use asof_registry::{ApplyError, Authored, AuthoredFile, FrozenColumn, Object, ObjectKind, Plan};
use tonic::{Request, Response, Status};

use crate::app::App;
use crate::error::ServerError;
use crate::jobs::Jobs;
use report::report;

pub(crate) struct Registry<S, R, J>(pub(crate) Arc<App<S, R, J>>);

#[tonic::async_trait]
impl<S, R, J> RegistryService for Registry<S, R, J>
where
    S: OnlineStore + 'static,
    R: RegistryStore + 'static,
    J: Jobs,
{
    async fn plan(&self, request: Request<v1::PlanRequest>) -> Result<Response<v1::PlanResponse>, Status> {
        let call = async { Ok(plan_response(&self.0.plan(request.into_inner().files).await?)) };
        self.0.work("asof.v1.RegistryService/Plan", call).await
    }

    async fn apply(&self, request: Request<v1::ApplyRequest>) -> Result<Response<v1::ApplyResponse>, Status> {
        let call = self.0.apply(request.into_inner());
        self.0.work("asof.v1.RegistryService/Apply", call).await
    }

    async fn list(&self, request: Request<v1::ListRequest>) -> Result<Response<v1::ListResponse>, Status> {
        let call = async {
            let kind = kind_of(request.into_inner().kind)?;
            let version = self.0.watch.refresh().await?;
            let objects = asof_registry::list(&version.definitions, kind);
            Ok(list_response(&version, objects))
        };
        self.0.work("asof.v1.RegistryService/List", call).await
    }

    async fn get(&self, request: Request<v1::GetRequest>) -> Result<Response<v1::GetResponse>, Status> {
        let call = async {
            let v1::GetRequest { kind, name } = request.into_inner();
            let version = self.0.watch.refresh().await?;
            let object = find(&version.definitions, kind_of(kind)?, &name)?;
            Ok(v1::GetResponse {
                version: version.number,
                summary: Some(summary(&object)),
                toml: asof_registry::to_toml(&object),
                columns: columns(&version.definitions, &object),
            })
        };
        self.0.work("asof.v1.RegistryService/Get", call).await
    }

    async fn search(
        &self,
        request: Request<v1::SearchRequest>,
    ) -> Result<Response<v1::ListResponse>, Status> {
        let call = async {
            let version = self.0.watch.refresh().await?;
            let hits = asof_registry::search(&version.definitions, &request.into_inner().query);
            Ok(list_response(&version, hits.into_iter().map(|hit| hit.object)))
        };
        self.0.work("asof.v1.RegistryService/Search", call).await
    }

    async fn get_version(
        &self,
        request: Request<v1::GetVersionRequest>,
    ) -> Result<Response<v1::GetVersionResponse>, Status> {
        let call = async {
            let version = self.0.version(request.into_inner().number).await?;
            let objects = asof_registry::list(&version.definitions, None);
            let whole = objects
                .iter()
                .filter(|object| object.kind() != ObjectKind::Feature);
            let toml: Vec<String> = whole.map(asof_registry::to_toml).collect();
            Ok(v1::GetVersionResponse {
                version: Some(version_info(&version)),
                toml: toml.join("\n"),
            })
        };
        self.0.work("asof.v1.RegistryService/GetVersion", call).await
    }

    async fn history(
        &self,
        _request: Request<v1::HistoryRequest>,
    ) -> Result<Response<v1::HistoryResponse>, Status> {
        let call = async {
            let history = self.0.watch.registry().history(self.0.watch.project()).await?;
            let versions = history
                .into_iter()
                .map(|(number, at, digest)| info(number, at, digest));
            Ok(v1::HistoryResponse {
                versions: versions.collect(),
            })
        };
        self.0.work("asof.v1.RegistryService/History", call).await
    }
}

impl<S: OnlineStore + 'static, R: RegistryStore, J> App<S, R, J> {
    /// The plan of files. Sources that can be read are looked at as well: what does not fit them is told here, and of the
    /// others when they are read.
    async fn plan(&self, files: Vec<v1::DefinitionFile>) -> Result<Plan, ServerError> {
        let files: Vec<AuthoredFile> = files
            .into_iter()
            .map(|file| AuthoredFile {
                path: file.path,
                bytes: file.content,
            })
            .collect();
        let authored = Authored::parse(&self.config, &files)?;
        let current = self.watch.refresh().await?;
        let applied = (current.number > 0).then_some(&*current);
        let plan = asof_registry::plan(applied, authored)?;
        let definitions = plan.definitions();
        for bound in definitions
            .views
            .keys()
            .filter_map(|name| definitions.bound_view(name.as_str()))
        {
            if let Ok(snapshot) = self.intake.engine().snapshot(&bound).await {
                RowReader::bind(&bound, &snapshot)?;
            }
        }
        Ok(plan)
    }

    async fn apply(&self, request: v1::ApplyRequest) -> Result<v1::ApplyResponse, ServerError> {
        let plan = self.plan(request.files).await?;
        if plan.base() != request.expected_version {
            let conflict = RegistryError::Conflict {
                expected: request.expected_version,
                found: plan.base(),
            };
            return Err(ApplyError::Registry(conflict).into());
        }
        let registry = self.watch.registry();
        let version = asof_registry::apply(registry, &plan, request.allow_breaking, self.clock.now()).await?;
        self.watch.advance(version.clone());
        Ok(v1::ApplyResponse {
            changed: version.number != plan.base(),
            version: Some(version_info(&version)),
            text: plan.to_string(),
            report: Some(report(&plan)),
        })
    }

    async fn version(&self, number: u64) -> Result<Arc<Version>, ServerError> {
        if number == 0 {
            return Ok(self.watch.refresh().await?);
        }
        let version = self
            .watch
            .registry()
            .version(self.watch.project(), number)
            .await?;
        version.map(Arc::new).ok_or(ServerError::NoVersion(number))
    }
}

fn find<'a>(
    definitions: &'a Definitions,
    kind: Option<ObjectKind>,
    name: &str,
) -> Result<Object<'a>, ServerError> {
    if let Some(kind) = kind {
        return Ok(asof_registry::find(definitions, kind, name)?);
    }
    let found = asof_registry::find_any(definitions, name)?;
    match found.as_slice() {
        [one] => Ok(*one),
        several => {
            let kinds: Vec<&str> = several.iter().map(|object| object.kind().singular()).collect();
            let problem = format!(
                "must be given, since {name} is more than one: {}",
                kinds.join(", ")
            );
            Err(ServerError::argument("kind", problem))
        }
    }
}

fn kind_of(kind: i32) -> Result<Option<ObjectKind>, ServerError> {
    let kind = v1::DefinitionKind::try_from(kind)
        .map_err(|_| ServerError::argument("kind", format!("is {kind}, which is no kind")))?;
    Ok(match kind {
        v1::DefinitionKind::Unspecified => None,
        v1::DefinitionKind::Entity => Some(ObjectKind::Entity),
        v1::DefinitionKind::Source => Some(ObjectKind::Source),
        v1::DefinitionKind::View => Some(ObjectKind::View),
        v1::DefinitionKind::OnDemand => Some(ObjectKind::OnDemand),
        v1::DefinitionKind::Feature => Some(ObjectKind::Feature),
        v1::DefinitionKind::Service => Some(ObjectKind::Service),
    })
}

fn plan_response(plan: &Plan) -> v1::PlanResponse {
    let mut broken: Vec<String> = plan
        .breaking()
        .iter()
        .map(|breaking| breaking.service.clone())
        .collect();
    broken.sort();
    broken.dedup();
    v1::PlanResponse {
        base_version: plan.base(),
        text: plan.to_string(),
        changes: !plan.is_empty(),
        broken_services: broken,
        report: Some(report(plan)),
    }
}

/// The columns that a service is frozen as; none of anything else.
fn columns(definitions: &Definitions, object: &Object<'_>) -> Vec<v1::FrozenColumn> {
    let Object::Service(service) = object else {
        return Vec::new();
    };
    let columns = asof_registry::frozen_columns(definitions, service).into_iter();
    let column = |column: FrozenColumn| v1::FrozenColumn {
        name: column.name,
        feature: column.feature,
        r#type: column.data_type.to_string(),
    };
    columns.map(column).collect()
}

fn list_response<'a>(version: &Version, objects: impl IntoIterator<Item = Object<'a>>) -> v1::ListResponse {
    v1::ListResponse {
        version: version.number,
        definitions: objects.into_iter().map(|object| summary(&object)).collect(),
    }
}

fn summary(object: &Object<'_>) -> v1::DefinitionSummary {
    let notes = object.notes();
    let kind = match object.kind() {
        ObjectKind::Entity => v1::DefinitionKind::Entity,
        ObjectKind::Source => v1::DefinitionKind::Source,
        ObjectKind::View => v1::DefinitionKind::View,
        ObjectKind::OnDemand => v1::DefinitionKind::OnDemand,
        ObjectKind::Feature => v1::DefinitionKind::Feature,
        ObjectKind::Service => v1::DefinitionKind::Service,
    };
    v1::DefinitionSummary {
        kind: kind.into(),
        name: object.name(),
        description: object.description().unwrap_or_default().to_owned(),
        owner: notes.owner.clone().unwrap_or_default(),
        tags: notes.tags.clone().into_iter().collect(),
    }
}

fn version_info(version: &Version) -> v1::VersionInfo {
    info(version.number, version.applied_at, version.digest.clone())
}

fn info(number: u64, applied_at: Timestamp, digest: String) -> v1::VersionInfo {
    v1::VersionInfo {
        number,
        applied_at_micros: applied_at.micros(),
        digest,
    }
}
