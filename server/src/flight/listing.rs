//! What can be fetched and what takes rows, with the columns of each.

use arrow_flight::flight_descriptor::DescriptorType;
use arrow_flight::{FlightDescriptor, FlightEndpoint, FlightInfo, Ticket};
use arrow_schema::{Field, Schema};
use asof_core::definition::{Definitions, Location, Source};
use asof_core::service::ReadPlan;
use asof_registry::ProjectConfig;
use serde_json::json;

use super::saved;
use crate::error::ServerError;
use crate::intake::source_of;

/// The kinds of flights, which are the first part of their paths.
const SERVICE: &str = "service";
const VIEW: &str = "view";
const SOURCE: &str = "source";
const EXTRACT: &str = "extract";

/// Services, views and kept datasets, which can be fetched, and managed sources, which take rows.
pub(super) fn all(definitions: &Definitions, config: &ProjectConfig) -> Vec<FlightInfo> {
    let services = definitions
        .services
        .keys()
        .map(|name| (SERVICE, name.to_string()));
    let views = definitions.views.keys().chain(definitions.on_demand.keys());
    let views = views.map(|name| (VIEW, name.to_string()));
    let managed = |source: &&Source| matches!(source.location, Location::Managed { .. });
    let sources = definitions.sources.values().filter(managed);
    let sources = sources.map(|source| (SOURCE, source.name.to_string()));
    let all = services.chain(views).chain(sources);
    // All of them are defined.
    let defined = all.filter_map(|(kind, name)| flight(definitions, kind, &name).ok());
    defined
        .chain(saved::names(config).into_iter().map(extract))
        .collect()
}

/// The flight of a path such as `["service", "model_v1"]`.
pub(super) fn of(
    definitions: &Definitions,
    descriptor: &FlightDescriptor,
) -> Result<FlightInfo, ServerError> {
    match (descriptor.r#type(), descriptor.path.as_slice()) {
        (DescriptorType::Path, [kind, name]) => flight(definitions, kind, name),
        _ => Err(ServerError::argument(
            "descriptor",
            "is no path of a flight: give [\"service\", NAME], [\"view\", NAME] or [\"source\", NAME]",
        )),
    }
}

/// A dataset that the server keeps; its columns come with its rows.
fn extract(name: String) -> FlightInfo {
    let ticket = Ticket::new(json!({ EXTRACT: name }).to_string());
    FlightInfo::new()
        .with_descriptor(FlightDescriptor::new_path(vec![EXTRACT.to_owned(), name]))
        .with_endpoint(FlightEndpoint::new().with_ticket(ticket))
}

fn flight(definitions: &Definitions, kind: &str, name: &str) -> Result<FlightInfo, ServerError> {
    let (schema, ticket) = match kind {
        SERVICE => {
            let plan = ReadPlan::of_service(definitions, name)?;
            (columns(&plan), Some(json!({ SERVICE: name })))
        }
        VIEW => {
            let all = format!("{name}:*");
            let plan = ReadPlan::of_features(definitions, [all.as_str()])?;
            (columns(&plan), Some(json!({ VIEW: name })))
        }
        SOURCE => (rows_of(definitions, name)?, None),
        _ => {
            let problem = format!("{kind:?} is no kind of flight: give \"service\", \"view\" or \"source\"");
            return Err(ServerError::argument("descriptor.path[0]", problem));
        }
    };
    let mut info = FlightInfo::new()
        .try_with_schema(&schema)
        .map_err(|error| ServerError::Bug(error.to_string()))?
        .with_descriptor(FlightDescriptor::new_path(vec![kind.to_owned(), name.to_owned()]));
    if let Some(ticket) = ticket {
        let ticket = Ticket::new(ticket.to_string());
        info = info.with_endpoint(FlightEndpoint::new().with_ticket(ticket));
    }
    Ok(info)
}

/// The caller's columns and the features of a plan.
fn columns(plan: &ReadPlan) -> Schema {
    let keys = plan.caller_columns.iter();
    let mut fields: Vec<Field> = keys
        .map(|key| Field::new(&key.name, key.key_type.data_type().to_arrow(), true))
        .collect();
    let request = plan.request_columns.iter();
    fields.extend(request.map(|column| Field::new(&column.name, column.data_type.to_arrow(), true)));
    for column in &plan.columns {
        if let Some(returned) = plan.returned(column) {
            fields.push(Field::new(&column.name, returned.data_type.to_arrow(), true));
        }
    }
    Schema::new(fields)
}

/// The columns of the rows that a managed source takes.
fn rows_of(definitions: &Definitions, name: &str) -> Result<Schema, ServerError> {
    let source = source_of(definitions, name)?;
    let Location::Managed { schema, .. } = &source.location else {
        let problem =
            format!("source {name} is read in place from its path: only a managed source takes rows");
        return Err(ServerError::argument("descriptor.path[1]", problem));
    };
    let fields = schema
        .iter()
        .map(|(name, data_type)| Field::new(name.to_string(), data_type.to_arrow(), true));
    Ok(Schema::new(fields.collect::<Vec<_>>()))
}
