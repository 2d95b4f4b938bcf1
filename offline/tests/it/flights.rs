//! The flights example: every departure of 2013, against digests that DuckDB's as-of join wrote.

use std::path::Path;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use asof_core::definition::Source;
use asof_core::duration::Duration;
use asof_core::service::ReadPlan;
use asof_core::status::Status;
use asof_offline::{Engine, EngineOptions};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::project::{Ask, Entry, Project, column, extract, in_place, read, same};

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_flights_extract_has_the_digests_that_another_engine_wrote() {
    let expected = std::fs::read_to_string(flights().join("expected_digests.json")).unwrap();
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

/// SHA-256 over the rows: 0 for a null; 1 and the value, texts after their length in four bytes.
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
            other => panic!("{other}"),
        }
    }
    digest
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
