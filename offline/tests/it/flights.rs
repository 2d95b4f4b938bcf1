//! The flights example: every departure of 2013, against digests that DuckDB's as-of join and its windows wrote.

use std::path::Path;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use asof_core::aggregate::Function;
use asof_core::definition::{Aggregate, InputText, Source};
use asof_core::duration::Duration;
use asof_core::service::ReadPlan;
use asof_core::status::Status;
use asof_offline::{Engine, EngineOptions};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::project::{Ask, Entry, Project, aggregate, column, extract, in_place, read, same};

fn flights() -> &'static Path {
    // Cargo runs tests in the folder of their crate.
    Path::new("../examples/flights")
}

/// The definitions of the example's files, and its service `delay_model_v1`.
fn plan(project: &mut Project) -> ReadPlan {
    let source = |name: &str, path: &str, at: &str| Source {
        event_time: at.into(),
        ..in_place(name, path)
    };
    project
        .entity("airport", &[("origin", "string")])
        .entity("plane", &[("tailnum", "string")])
        .entity("carrier", &[("carrier", "string")])
        .source(source("weather_hourly", "data/weather.parquet", "time_hour"))
        .source(source("planes", "data/planes.parquet", "registered_at"))
        .source(source("arrivals", "data/arrivals.parquet", "arrived_at"));
    let floats = [
        "temp",
        "dewp",
        "humid",
        "wind_dir",
        "wind_speed",
        "gust",
        "precip",
        "pressure",
        "visib",
    ];
    let weather: Vec<(&str, &str)> = floats.iter().map(|name| (*name, "float64")).collect();
    let ttl = |text| Some(Duration::parse(text).unwrap());
    project.view(
        "airport_weather",
        "airport",
        "weather_hourly",
        ttl("3h"),
        &weather,
    );
    project.rename_feature("airport_weather", "gust", "wind_gust");
    let specs = [
        ("built", "int64"),
        ("seats", "int64"),
        ("engines", "int64"),
        ("manufacturer", "string"),
        ("model", "string"),
    ];
    project.view("plane_specs", "plane", "planes", None, &specs);
    let delays = [("arr_delay", "float64"), ("dep_delay", "float64")];
    let landing = [&delays[..], &[("origin", "string"), ("dest", "string")]].concat();
    project.view("plane_last_landing", "plane", "arrivals", ttl("2d"), &landing);
    let landing = [&delays[..], &[("dest", "string")]].concat();
    project.view("carrier_last_landing", "carrier", "arrivals", None, &landing);
    let view = |view| Entry {
        view,
        ..Entry::default()
    };
    project.plan_of(&[
        view("airport_weather"),
        Entry {
            keys: [("origin".to_owned(), "dest".to_owned())].into(),
            prefix: Some("dest"),
            features: &["temp", "wind_speed", "precip", "visib"],
            ..view("airport_weather")
        },
        view("plane_specs"),
        view("plane_last_landing"),
        view("carrier_last_landing"),
    ])
}

/// The same for `delay_windows_v1`.
fn windows(project: &mut Project) -> ReadPlan {
    let delay = Some(("arr_delay", "float64"));
    let named = |name: &str, aggregate: Aggregate| Aggregate {
        name: Some(name.into()),
        ..aggregate
    };
    let of_all = |more: Vec<Aggregate>| {
        let all = ["1h", "1d", "7d", "30d"];
        let mut list = vec![
            aggregate(delay, &[Function::Mean], &all),
            aggregate(delay, &[Function::Max], &all),
            named("landings", aggregate(None, &[Function::Count], &all)),
        ];
        list.extend(more);
        list
    };
    let late = Aggregate {
        filter: Some("arr_delay > 15".into()),
        ..named("late", aggregate(None, &[Function::Count], &["1d"]))
    };
    let made_up = Aggregate {
        input: Some(InputText::Expression("dep_delay - arr_delay".into())),
        ..named("made_up", aggregate(delay, &[Function::Sum], &["7d"]))
    };
    let of_plane = vec![
        aggregate(delay, &[Function::Mean], &["1d", "7d"]),
        made_up,
        aggregate(Some(("dest", "string")), &[Function::LastN(3)], &["7d"]),
    ];
    project
        .entity("carrier", &[("carrier", "string")])
        .entity("route", &[("origin", "string"), ("dest", "string")])
        .entity("plane", &[("tailnum", "string")])
        .source(Source {
            event_time: "arrived_at".into(),
            ..in_place("arrivals", "data/arrivals.parquet")
        })
        .aggregates("carrier_delays", "carrier", "arrivals", None, of_all(vec![late]))
        .aggregates("route_delays", "route", "arrivals", None, of_all(Vec::new()))
        .aggregates("plane_delays", "plane", "arrivals", None, of_plane);
    let view = |view| Entry {
        view,
        ..Entry::default()
    };
    project.plan_of(&[view("carrier_delays"), view("route_delays"), view("plane_delays")])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_flights_extract_has_the_digests_that_another_engine_wrote() {
    has_digests(plan, "expected_digests.json").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_windows_of_flights_have_the_digests_that_another_engine_wrote() {
    has_digests(windows, "expected_window_digests.json").await;
}

async fn has_digests(plan: fn(&mut Project) -> ReadPlan, file: &str) {
    let expected = std::fs::read_to_string(flights().join(file)).unwrap();
    let expected: Value = serde_json::from_str(&expected).unwrap();
    let mut project = Project::new();
    let plan = plan(&mut project);
    let engine = Engine::open(
        flights(),
        Path::new(".asof/offline"),
        &[],
        EngineOptions::default(),
    )
    .unwrap();
    let spine = flights().join("data/departures.parquet");
    let out = project.path("training.parquet");
    let summary = extract(&engine, &plan, &spine, &out, &Ask::default())
        .await
        .unwrap();

    let (spine, found) = (read(&spine), read(&out));
    assert_eq!(Value::from(found.num_rows()), expected["rows"]);
    for (field, own) in spine.schema().fields().iter().zip(spine.columns()) {
        assert!(
            same(own, &column(&found, field.name())),
            "spine column {}",
            field.name()
        );
    }
    let columns = expected["columns"].as_array().unwrap();
    assert_eq!(found.num_columns(), spine.num_columns() + columns.len());
    for (place, digests) in columns.iter().enumerate() {
        let name = digests["name"].as_str().unwrap();
        assert_eq!(found.schema().field(spine.num_columns() + place).name(), name);
        let array = column(&found, name);
        assert_eq!(Value::from(array.null_count()), digests["nulls"], "{name}");
        assert_eq!(Value::from(digest(&found, name)), digests["sha256"], "{name}");
    }
    for (label, counts) in expected["views"].as_object().unwrap() {
        let of = |status| {
            let column = summary
                .features
                .iter()
                .find(|f| f.column.starts_with(&format!("{label}__")));
            column.unwrap().counts.get(status)
        };
        assert_eq!(
            Value::from(of(Status::Present) + of(Status::Null)),
            counts["found"],
            "{label}"
        );
        assert_eq!(Value::from(of(Status::Expired)), counts["expired"], "{label}");
        assert_eq!(Value::from(of(Status::NotFound)), counts["not_found"], "{label}");
    }
}

/// SHA-256 over the rows: 0 for a null; 1 and the value, texts and lists after their length in four bytes.
fn digest(batch: &RecordBatch, name: &str) -> String {
    let array = column(batch, name);
    let mut digest = Sha256::new();
    for row in 0..array.len() {
        if array.is_null(row) {
            digest.update([0]);
            continue;
        }
        digest.update([1]);
        match array.data_type() {
            DataType::Float64 => digest.update(array.as_primitive::<Float64Type>().value(row).to_le_bytes()),
            DataType::Int64 => digest.update(array.as_primitive::<Int64Type>().value(row).to_le_bytes()),
            DataType::Utf8 => {
                let text = array.as_string::<i32>().value(row);
                digest.update(u32::try_from(text.len()).unwrap().to_le_bytes());
                digest.update(text);
            }
            DataType::List(_) => {
                let items = array.as_list::<i32>().value(row);
                digest.update(u32::try_from(items.len()).unwrap().to_le_bytes());
                for item in items.as_string::<i32>().iter().flatten() {
                    digest.update(u32::try_from(item.len()).unwrap().to_le_bytes());
                    digest.update(item);
                }
            }
            other => panic!("{other}"),
        }
    }
    digest
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
