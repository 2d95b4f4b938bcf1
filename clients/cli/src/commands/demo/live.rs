//! The demo's reports: landings that are pushed while a server serves, hour by hour, and the windows that move with them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use asof_client::{Client, Selection};
use asof_core::time::{Clock, Timestamp};
use asof_offline::Spine;
use asof_server::project::Project;

use super::agree::broken;
use super::online::with_server;
use super::{Told, apply};
use crate::exit::Failure;
use crate::output;
use crate::project;

const SOURCE: &str = "reports";
const FEATURES: &str = "carrier_reports:*";
/// What is pushed of a landing.
const COLUMNS: [&str; 4] = ["flight_id", "carrier", "arrived_at", "arr_delay"];
/// The carriers that are asked about.
const CARRIERS: [&str; 2] = ["B6", "UA"];
const HOURS: i64 = 4;
const HOUR: i64 = 3_600_000_000;

/// What was served of a carrier at the end of an hour.
pub(super) struct Moved {
    at: Timestamp,
    reported: usize,
    carrier: &'static str,
    landings: [i64; 2],
    mean: Option<f64>,
}

/// A clock that the demo moves on.
struct Moving(AtomicI64);

impl Clock for Moving {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

/// Reports the landings of the hours after `moment` to a project of its own, and asks about carriers after each.
pub(super) async fn run(example: &Path, work: &Path, moment: Timestamp) -> Result<Vec<Moved>, Failure> {
    let project = fresh(example, work)?;
    let registry = Arc::new(project.registry().await?);
    apply(&project, &registry, &Told { json: true }).await?;
    let clock = Arc::new(Moving(AtomicI64::new(moment.micros())));
    let landings = landings(&example.join("data/arrivals.parquet"))?;
    let moving = Arc::clone(&clock);
    with_server(&project, registry, clock, async |url| {
        let client = Client::connect(url).await?;
        let mut moved = Vec::new();
        for hour in 1..=HOURS {
            let at = moment.micros() + hour * HOUR;
            let new = between(&landings, at - HOUR, at)?;
            moving.0.store(at, Ordering::SeqCst);
            // Under an id, as whoever reports would do it: a push of which no answer came is made again.
            client.push(SOURCE, &new, &format!("until {at}")).await?;
            moved.extend(ask(&client, at, new.num_rows()).await?);
        }
        Ok(moved)
    })
    .await
}

/// A project that has the example's definitions and no rows yet.
fn fresh(example: &Path, work: &Path) -> Result<Project, Failure> {
    let directory = work.join("live");
    let copy = || -> std::io::Result<()> {
        if directory.exists() {
            fs::remove_dir_all(&directory)?;
        }
        fs::create_dir_all(directory.join("features"))?;
        fs::copy(example.join("asof.toml"), directory.join("asof.toml"))?;
        for entry in fs::read_dir(example.join("features"))? {
            let from: PathBuf = entry?.path();
            if let Some(name) = from.file_name() {
                fs::copy(&from, directory.join("features").join(name))?;
            }
        }
        Ok(())
    };
    copy()
        .map_err(|error| Failure::unavailable(format!("{} cannot be made: {error}", directory.display())))?;
    project::open(&directory)
}

/// The columns that are reported of all landings.
fn landings(path: &Path) -> Result<RecordBatch, Failure> {
    let file = Spine::open(path, "arrived_at", None)?;
    let unreadable = |error: String| Failure::from(file.unreadable(&error));
    let batches = file.batches(None)?.collect::<Result<Vec<_>, _>>();
    let batches = batches.map_err(|error| unreadable(error.to_string()))?;
    let first = batches.first().ok_or_else(|| broken("there are no landings"))?;
    let all = concat_batches(&first.schema(), &batches).map_err(|error| unreadable(error.to_string()))?;
    let places = COLUMNS.iter().map(|name| all.schema().index_of(name));
    let places = places.collect::<Result<Vec<_>, _>>();
    let places = places.map_err(|error| unreadable(error.to_string()))?;
    all.project(&places)
        .map_err(|error| unreadable(error.to_string()))
}

/// Those behind one instant, up to another.
fn between(landings: &RecordBatch, after: i64, until: i64) -> Result<RecordBatch, Failure> {
    let times = landings
        .column_by_name("arrived_at")
        .and_then(|times| times.as_primitive_opt::<TimestampMicrosecondType>())
        .ok_or_else(|| broken("arrived_at is not in microseconds"))?;
    let within = times
        .iter()
        .map(|time| Some(time.is_some_and(|time| after < time && time <= until)));
    filter_record_batch(landings, &within.collect()).map_err(|error| broken(&error.to_string()))
}

async fn ask(client: &Client, at: i64, reported: usize) -> Result<Vec<Moved>, Failure> {
    let carriers: ArrayRef = Arc::new(StringArray::from(CARRIERS.to_vec()));
    let keys =
        RecordBatch::try_from_iter([("carrier", carriers)]).map_err(|error| broken(&error.to_string()))?;
    let features = client
        .get_features(&Selection::Features(vec![FEATURES.into()]), &keys)
        .await?;
    let lost = |name: &str| broken(&format!("column {name} did not come"));
    let count = |name: &str, row: usize| {
        let values = features
            .values(name)
            .and_then(|values| values.as_primitive_opt::<Int64Type>());
        values.map(|values| values.value(row)).ok_or_else(|| lost(name))
    };
    let means = features
        .values("carrier_reports__arr_delay_mean_1h")
        .and_then(|values| values.as_primitive_opt::<Float64Type>())
        .ok_or_else(|| lost("arr_delay_mean_1h"))?;
    let rows = CARRIERS.iter().enumerate().map(|(row, carrier)| {
        Ok(Moved {
            at: Timestamp::from_micros(at),
            reported,
            carrier,
            landings: [
                count("carrier_reports__landings_1h", row)?,
                count("carrier_reports__landings_6h", row)?,
            ],
            mean: means.is_valid(row).then(|| means.value(row)),
        })
    });
    rows.collect()
}

/// What moved, for people.
pub(super) fn print(moved: &[Moved]) {
    let headings = [
        "at",
        "reported",
        "carrier",
        "landings_1h",
        "landings_6h",
        "arr_delay_mean_1h",
    ];
    let rows = moved.iter().map(|moved| {
        vec![
            moved.at.to_string(),
            moved.reported.to_string(),
            moved.carrier.to_owned(),
            moved.landings[0].to_string(),
            moved.landings[1].to_string(),
            moved
                .mean
                .map_or_else(|| "NULL".to_owned(), |mean| format!("{mean:.2}")),
        ]
    });
    output::table(&headings, rows.collect());
}
