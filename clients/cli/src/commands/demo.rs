//! `asof demo`: the quickstart on the flights example, from definition files to a prediction request, and
//! the proof that training and serving agree.

mod agree;
mod live;
mod online;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use asof_core::service::ReadPlan;
use asof_core::time::{Clock, FixedClock, Timestamp};
use asof_offline::{Dataset, EngineOptions, ExtractRequest, Rows, Target};
use asof_registry::{Authored, SqliteRegistry};
use asof_server::clock::SystemClock;
use asof_server::project::Project;
use serde_json::json;

use crate::commands::{Global, extract, materialize};
use crate::exit::{Exit, Failure};
use crate::output;
use crate::progress::Line;
use crate::project;

const SERVICE: &str = "delay_model_v1";
const WINDOWS: &str = "delay_windows_v1";
/// The moment of which the demo tells: a summer Friday in New York, 10 in the morning.
const MOMENT: &str = "2013-07-12T14:00:00Z";
const EXAMPLE: &str = "examples/flights";

pub(super) async fn run(global: &Global) -> Result<(), Failure> {
    let started = Instant::now();
    let project = open(global)?;
    let moment = Timestamp::parse(MOMENT)?;
    let told = Told { json: global.json };
    let work = project.config.directory.join(".asof/demo");
    std::fs::create_dir_all(&work)
        .map_err(|error| Failure::unavailable(format!("{} cannot be made: {error}", work.display())))?;

    told.step("1. Definitions: entities, sources, views and a service, from files to the registry");
    let registry = Arc::new(project.registry().await?);
    let version = apply(&project, &registry, &told).await?;
    let plan = ReadPlan::of_service(&version.definitions, SERVICE)?;
    let windows = ReadPlan::of_service(&version.definitions, WINDOWS)?;

    told.step("2. Training data: every departure of 2013 with its features as of that departure");
    let departures = project.config.directory.join("data/departures.parquet");
    let train = dataset(
        &project,
        &version,
        (SERVICE, &plan),
        &departures,
        work.join("train.parquet"),
        false,
    )
    .await?;
    told.show(|| extract::print(&train));

    told.step(&format!("3. The online store: what was known at {moment}"));
    let done = materialize::locally(&project, &[], moment, materialize::Rows::default()).await?;
    told.show(|| materialize::print(&done));

    told.step(&format!(
        "4. Serving: GetFeatures over gRPC, the clock frozen at {moment}"
    ));
    let flights = agree::flights_around(&departures, moment)?;
    let services = [(SERVICE, &plan), (WINDOWS, &windows)];
    let served = online::ask(&project, Arc::clone(&registry), &services, moment, &flights).await?;
    told.show(|| online::print(&served, &flights));

    told.step("5. Training and serving agree: the same flights, extracted at the same instant");
    let spine = agree::write_spine(&work, moment, &flights)?;
    let mut agreed = agree::Agreement::default();
    for ((service, plan), served) in services.into_iter().zip(&served) {
        let out = work.join(format!("check_{service}.arrow"));
        let check = dataset(&project, &version, (service, plan), &spine, out, true).await?;
        agreed = agreed.and(agree::compare(&check, plan, served)?);
    }
    told.show(|| {
        output::line(format!(
            "{} flights × {} features, values and statuses: {} compared, {} differ.",
            output::count(agreed.rows),
            agreed.features,
            output::count(agreed.compared),
            output::count(agreed.different)
        ));
    });

    told.step("6. The morning goes on: landings are pushed as they are reported, and the windows move");
    let moved = live::run(&project.config.directory, &work, moment).await?;
    told.show(|| live::print(&moved));
    let seconds = started.elapsed().as_secs_f64();
    if global.json {
        output::json(&json!({
            "service": SERVICE, "as_of": moment.to_string(), "registry_version": version.number,
            "dataset": train.output, "dataset_rows": train.summary.rows, "dataset_digest": train.digest,
            "flights": agreed.rows, "features": agreed.features, "compared": agreed.compared,
            "different": agreed.different, "seconds": seconds,
        }));
    }
    if agreed.different > 0 {
        return Err(Failure::new(Exit::Bug, "online and offline answers differ"));
    }
    told.show(|| {
        output::line(format!("\nDone in {seconds:.1} s. The dataset is {}; try next:", train.output.display()));
        output::line(format!("  asof --project {} show {SERVICE}", project.config.directory.display()));
        output::line(format!(
            "  asof --project {} get --service {SERVICE} --now {moment} --key origin=JFK --key dest=LAX --key carrier=UA --key tailnum=N14228",
            project.config.directory.display()
        ));
    });
    Ok(())
}

/// What the demo tells a person; a program gets one JSON object at the end.
struct Told {
    json: bool,
}

impl Told {
    fn step(&self, text: &str) {
        self.show(|| {
            output::line(output::paint(
                &format!("\n{text}\n"),
                "1",
                output::color_of_stdout(),
            ))
        });
    }

    fn show(&self, print: impl FnOnce()) {
        if !self.json {
            print();
        }
    }
}

/// The flights example: the project that was named, or the one below this directory.
fn open(global: &Global) -> Result<Project, Failure> {
    let project = global.open();
    let below = PathBuf::from(EXAMPLE);
    let project = match project {
        Err(_) if global.project == Path::new(".") && below.join("asof.toml").exists() => {
            project::open(&below)?
        }
        other => other?,
    };
    if project.name().as_str() == "flights" {
        return Ok(project);
    }
    Err(Failure::usage(format!(
        "the demo runs on the project \"flights\", not on {:?}: name it with --project {EXAMPLE}",
        project.name().as_str()
    )))
}

async fn apply(
    project: &Project,
    registry: &SqliteRegistry,
    told: &Told,
) -> Result<asof_core::registry::Version, Failure> {
    use asof_core::registry::RegistryStore;
    let authored = Authored::parse(&project.config, &project.files()?)?;
    let head = registry.head(project.name()).await?;
    let plan = asof_registry::plan(head.as_ref(), authored)?;
    told.show(|| output::line(plan.to_string()));
    Ok(asof_registry::apply(registry, &plan, false, SystemClock.now()).await?)
}

async fn dataset(
    project: &Project,
    version: &asof_core::registry::Version,
    (service, plan): (&str, &ReadPlan),
    spine: &Path,
    out: PathBuf,
    status: bool,
) -> Result<Dataset, Failure> {
    let progress = Arc::new(Line::new());
    let request = ExtractRequest {
        plan,
        origin: project.origin(version, Some(service)),
        rows: Rows::Spine {
            path: spine,
            time_column: "event_timestamp",
            timezone: None,
        },
        as_corrected: false,
        status,
        clock: &SystemClock,
        progress: progress.clone(),
    };
    let target = Target {
        path: &out,
        overwrite: true,
    };
    Ok(project
        .engine(EngineOptions::default())?
        .extract(request, target)
        .await?)
}

/// The clock of the demo's server.
fn frozen(moment: Timestamp) -> Arc<dyn Clock> {
    Arc::new(FixedClock(moment))
}
