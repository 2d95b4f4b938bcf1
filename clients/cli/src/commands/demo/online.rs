//! The demo's prediction service: a server of its own, asked over gRPC.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use asof_core::data_type::DataType;
use asof_core::service::ReadPlan;
use asof_core::status::Status;
use asof_core::time::{Clock, Timestamp};
use asof_proto::convert::{Feature, to_proto};
use asof_proto::response::GetFeaturesResponse;
use asof_proto::v1;
use asof_proto::v1::online_service_client::OnlineServiceClient;
use asof_registry::SqliteRegistry;
use asof_server::clock::SystemClock;
use asof_server::materialize::Materializer;
use asof_server::project::Project;
use asof_server::{Limits, Listening, ServeParts, serve};

use super::agree::{KEYS, broken};
use super::frozen;
use crate::exit::{Exit, Failure};
use crate::output;

/// The features that the demo shows.
const SHOWN: [&str; 4] = [
    "airport_weather__temp",
    "plane_last_landing__arr_delay",
    "carrier_delays__arr_delay_mean_1d",
    "route_delays__landings_7d",
];
/// How many flights it shows.
const FLIGHTS: usize = 5;

/// What was served.
pub(super) struct Served {
    /// In the order of the service.
    pub(super) columns: Vec<ServedColumn>,
    /// How long the call took.
    pub(super) took: std::time::Duration,
}

/// One feature of what was served.
pub(super) struct ServedColumn {
    pub(super) name: String,
    pub(super) values: ArrayRef,
    pub(super) statuses: Vec<Status>,
}

/// Serves the project on a free port and asks about all flights, in one call for each service.
pub(super) async fn ask(
    project: &Project,
    registry: Arc<SqliteRegistry>,
    services: &[(&str, &ReadPlan)],
    moment: Timestamp,
    flights: &[ArrayRef],
) -> Result<Vec<Served>, Failure> {
    with_server(project, registry, frozen(moment), async |url| {
        let mut all = Vec::new();
        for (service, plan) in services {
            let (answer, took) = call(url, service, flights).await?;
            let features = answer.features().map_err(|error| broken(&error.to_string()))?;
            let columns = plan.columns.iter().zip(features);
            let columns = columns.map(|(wanted, column)| served_column(plan, wanted, column));
            all.push(Served {
                columns: columns.collect::<Result<_, _>>()?,
                took,
            });
        }
        Ok(all)
    })
    .await
}

/// Does something with a server of a project on a free port, which stops then.
pub(super) async fn with_server<T>(
    project: &Project,
    registry: Arc<SqliteRegistry>,
    clock: Arc<dyn Clock>,
    run: impl AsyncFnOnce(&str) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let store = project.store()?;
    let intake = project.intake_of(Arc::clone(&store))?;
    let jobs = Materializer::new(intake.clone(), Arc::clone(&registry), Arc::new(SystemClock));
    let listening = Listening::bind(([127, 0, 0, 1], 0).into()).await?;
    let url = format!("http://{}", listening.address());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let parts = ServeParts {
        config: project.config.clone(),
        store,
        registry,
        intake,
        jobs: Arc::new(jobs),
        // What is pushed comes at the demo's time, too.
        wall: Arc::clone(&clock),
        clock,
        brokers: None,
        backups: None,
        limits: Limits::default(),
    };
    let server = tokio::spawn(serve(parts, listening, async {
        let _ = stopped.await;
    }));
    let done = run(&url).await;
    drop(stop);
    server
        .await
        .map_err(|error| Failure::new(Exit::Bug, error.to_string()))??;
    done
}

async fn call(
    url: &str,
    service: &str,
    flights: &[ArrayRef],
) -> Result<(GetFeaturesResponse, std::time::Duration), Failure> {
    let unreachable = |error: tonic::transport::Error| Failure::unavailable(format!("{url}: {error}"));
    let mut client = OnlineServiceClient::connect(url.to_owned())
        .await
        .map_err(unreachable)?
        .max_decoding_message_size(64 << 20);
    let keys = KEYS
        .iter()
        .zip(flights)
        .map(|(name, values)| {
            let values = to_proto(&DataType::String, values).map_err(|error| broken(&error.to_string()))?;
            Ok(v1::Column {
                name: (*name).to_owned(),
                values: Some(values),
            })
        })
        .collect::<Result<Vec<_>, Failure>>()?;
    let request = v1::GetFeaturesRequest {
        service: service.to_owned(),
        features: Vec::new(),
        keys,
        request: Vec::new(),
    };
    let started = std::time::Instant::now();
    let answer = client.get_features(request).await?.into_inner();
    Ok((answer, started.elapsed()))
}

fn served_column(
    plan: &ReadPlan,
    wanted: &asof_core::service::OutputColumn,
    feature: Feature,
) -> Result<ServedColumn, Failure> {
    let bug = |what: &str| Failure::new(Exit::Bug, format!("column {}: {what}", wanted.name));
    if feature.name != wanted.name {
        return Err(bug(&format!("came as {}", feature.name)));
    }
    let planned = plan.returned(wanted).ok_or_else(|| bug("is not in the plan"))?;
    if feature.data_type != *planned.data_type {
        return Err(bug(&format!("came as {}", feature.data_type)));
    }
    Ok(ServedColumn {
        name: feature.name,
        values: feature.array,
        statuses: feature.statuses,
    })
}

/// Some of what was served, for people.
pub(super) fn print(served: &[Served], flights: &[ArrayRef]) {
    let rows = flights.first().map_or(0, |column| column.len());
    let columns = SHOWN.iter().filter_map(|name| {
        let mut all = served.iter().flat_map(|served| &served.columns);
        all.find(|column| column.name == *name)
    });
    let shown: Vec<&ServedColumn> = columns.collect();
    let headings: Vec<&str> = KEYS
        .into_iter()
        .chain(shown.iter().map(|column| column.name.as_str()))
        .collect();
    // Flights spread over the day show more than the first few.
    let step = (rows / FLIGHTS).max(1);
    let table = (0..rows).step_by(step).take(FLIGHTS).map(|row| {
        let keys = flights.iter().map(|column| key(column, row));
        keys.chain(shown.iter().map(|column| cell(column, row))).collect()
    });
    output::table(&headings, table.collect());
    let calls = served.iter().map(|served| {
        format!(
            "{} flights × {} features in one call of {:.1} ms",
            output::count(rows as u64),
            served.columns.len(),
            served.took.as_secs_f64() * 1_000.0
        )
    });
    let calls: Vec<String> = calls.collect();
    output::line(format!("\n{}.", calls.join("; ")));
}

fn key(column: &ArrayRef, row: usize) -> String {
    match column.as_string_opt::<i32>() {
        Some(texts) if !texts.is_null(row) => texts.value(row).to_owned(),
        _ => "null".to_owned(),
    }
}

fn cell(column: &ServedColumn, row: usize) -> String {
    let status = column.statuses.get(row).copied().unwrap_or(Status::NotFound);
    if status != Status::Present {
        return status.to_string();
    }
    ArrayFormatter::try_new(&column.values, &FormatOptions::default()).map_or_else(
        |error| error.to_string(),
        |formatter| formatter.value(row).to_string(),
    )
}
