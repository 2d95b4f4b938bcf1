//! Features that are computed when they are asked for: the same over every surface, position by position.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Float64Type, Int64Type};
use asof_proto::v1;
use serde_json::{Value, json};
use tonic::Code;

use crate::flight::{exchange, get, times};
use crate::harness::{DEFINITIONS, Server, column, of_service, row, text_column};
use crate::json::http;
use crate::materialize_project::write_batch;

const CONTEXT: &str = r#"
[[on_demand]]
name = "context"
request = { bearing = "float64", tag = "string", hours = "list<int64>", shape = "embedding(2)", number = "int32" }
[on_demand.features]
head = { type = "float64", expression = "lasting.temp * bearing" }
label = { type = "string", expression = "concat(tag, ':', cast(lasting.code as string))" }
ratio = { type = "int64", expression = "lasting.code / number" }
big = { type = "bool", expression = "context.ratio > 3 or head > 100.0" }
here = { type = "string", expression = "upper(origin)" }
shape = { type = "embedding(2)", expression = "context.shape_of" }
shape_of = { type = "embedding(2)", expression = "coalesce(shape_given, shape_given)" }
constant = { type = "int64", expression = "40 + 2" }

[[on_demand]]
name = "given"
request = { bearing = "float64" }
[on_demand.features]
twice = { type = "float64", expression = "bearing * 2" }

[[service]]
name = "context_v1"
features = [
  "context:head", "context:label", "context:ratio", "context:big", "lasting:temp",
  { view = "context", features = ["label"], keys = { origin = "dest" }, prefix = "dest" },
]
"#;

fn definitions() -> String {
    let context = CONTEXT
        .replace(
            "request = { bearing",
            "request = { origin = \"string\", shape_given = \"embedding(2)\", bearing",
        )
        .replace(", shape = \"embedding(2)\", number", ", number");
    format!("{DEFINITIONS}{context}")
}

/// A server whose view `lasting` has two rows.
async fn server() -> Server {
    let server = Server::empty(asof_server::Limits::default()).await;
    let origins: ArrayRef = Arc::new(StringArray::from(vec!["JFK", "LGA", "EWR"]));
    let codes: ArrayRef = Arc::new(Int64Array::from(vec![Some(10), Some(40), None]));
    let temps: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.5), Some(-0.5), Some(2.0)]));
    let batch = RecordBatch::try_from_iter_with_nullable([
        ("origin", origins, false),
        ("t", times(&[10, 20, 20]), false),
        ("c", times(&[10, 20, 20]), false),
        ("temp", temps, true),
        ("code", codes, true),
    ]);
    write_batch(&server.tables.path().join("weather.parquet"), &batch.unwrap());
    server.apply(&definitions(), 0).await;
    let mut rows = [row("JFK", 10, 10), row("LGA", 20, 40), row("EWR", 20, 0)];
    rows[0].temp = Some(1.5);
    rows[1].temp = Some(-0.5);
    rows[2].temp = Some(2.0);
    rows[2].code = None;
    server.load("lasting", 30, &rows, true).await;
    server.clock.set(50);
    server
}

async fn ask(server: &Server, body: &Value) -> (u16, Value) {
    let (status, text) = http(server, "POST", "/v1/get-features", &body.to_string()).await;
    (status, serde_json::from_str(&text).unwrap())
}

fn keys() -> Value {
    json!({ "origin": ["JFK", "SFO", null, "LGA", "EWR"], "dest": ["EWR", "JFK", "LGA", "XXX", "JFK"] })
}

fn request() -> Value {
    json!({
        "bearing": [2.0, 1.0, 3, null, 100.0],
        "tag": ["a", "b", "", "long tag", null],
        "number": [2, 1, 1, 0, 1],
    })
}

fn columns(answer: &Value) -> Vec<(String, Value, Value)> {
    let columns = answer["columns"].as_array().unwrap().iter();
    let told = columns.map(|column| {
        let name = column["name"].as_str().unwrap().to_owned();
        (name, column["values"].clone(), column["statuses"].clone())
    });
    told.collect()
}

#[tokio::test]
async fn every_position_has_its_own_values() {
    let server = server().await;
    let body = json!({ "service": "context_v1", "keys": keys(), "request": request() });
    let (status, answer) = ask(&server, &body).await;
    assert_eq!(status, 200, "{answer}");
    let statuses =
        |present: [bool; 5]| json!(present.map(|present| if present { "PRESENT" } else { "NULL" }));
    let expect = [
        (
            "context__head",
            json!([3.0, null, null, null, 200.0]),
            statuses([true, false, false, false, true]),
        ),
        (
            "context__label",
            // To concat, a null is an empty text.
            json!(["a:10", "b:", ":", "long tag:40", ":"]),
            statuses([true; 5]),
        ),
        (
            "context__ratio",
            json!([5, null, null, null, null]),
            statuses([true, false, false, false, false]),
        ),
        (
            "context__big",
            json!([true, null, null, null, true]),
            statuses([true, false, false, false, true]),
        ),
        (
            "lasting__temp",
            json!([1.5, null, null, -0.5, 2.0]),
            json!(["PRESENT", "NOT_FOUND", "NOT_FOUND", "PRESENT", "PRESENT"]),
        ),
        (
            "dest_context__label",
            json!(["a:", "b:10", ":40", "long tag:", ":10"]),
            statuses([true; 5]),
        ),
    ];
    for (found, (name, values, statuses)) in columns(&answer).iter().zip(expect) {
        assert_eq!(*found, (name.to_owned(), values, statuses));
    }
    assert_eq!(
        answer["views"],
        json!([
            {
                "view": "lasting", "prefix": null, "materialized_to": "1970-01-01T00:00:00.000030Z",
                "event_times": ["1970-01-01T00:00:00.000010Z", null, null, "1970-01-01T00:00:00.000020Z", "1970-01-01T00:00:00.000020Z"],
            },
            { "view": "context", "prefix": null, "materialized_to": "1970-01-01T00:00:00.000030Z", "event_times": [null, null, null, null, null] },
            { "view": "context", "prefix": "dest", "materialized_to": "1970-01-01T00:00:00.000030Z", "event_times": [null, null, null, null, null] },
        ])
    );
    // All of it may stand among the keys.
    let mut all = keys();
    all.as_object_mut()
        .unwrap()
        .extend(request().as_object().unwrap().clone());
    let (status, again) = ask(&server, &json!({ "service": "context_v1", "keys": all })).await;
    assert_eq!((status, columns(&again)), (200, columns(&answer)));
    // One position has what it has among others.
    for at in 0..5 {
        let one = |all: &Value| {
            let columns = all.as_object().unwrap().iter();
            Value::Object(
                columns
                    .map(|(name, values)| (name.clone(), json!([values[at]])))
                    .collect(),
            )
        };
        let body = json!({ "service": "context_v1", "keys": one(&keys()), "request": one(&request()) });
        let (_, alone) = ask(&server, &body).await;
        for (one, all) in columns(&alone).iter().zip(columns(&answer)) {
            assert_eq!(
                (&one.1[0], &one.2[0]),
                (&all.1[at], &all.2[at]),
                "{} at {at}",
                all.0
            );
        }
    }
}

#[tokio::test]
async fn every_surface_gives_the_same() {
    let server = server().await;
    let body = json!({ "service": "context_v1", "keys": keys(), "request": request() });
    let (_, answer) = ask(&server, &body).await;
    // gRPC, in the fields that are meant for it.
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![
        Some(2.0),
        Some(1.0),
        Some(3.0),
        None,
        Some(100.0),
    ]));
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![2, 1, 1, 0, 1]));
    let origins = [Some("JFK"), Some("SFO"), None, Some("LGA"), Some("EWR")];
    let dests = [Some("EWR"), Some("JFK"), Some("LGA"), Some("XXX"), Some("JFK")];
    let call = v1::GetFeaturesRequest {
        request: vec![
            // Whole numbers of another width are taken as they are.
            column("number", "int64", &numbers),
            text_column("tag", &[Some("a"), Some("b"), Some(""), Some("long tag"), None]),
            column("bearing", "float64", &floats),
        ],
        ..of_service(
            "context_v1",
            vec![text_column("origin", &origins), text_column("dest", &dests)],
        )
    };
    let mut client = server.online().await;
    let wire = client.get_features(call).await.unwrap().into_inner();
    let wire = wire.features().unwrap();
    for (feature, (name, values, statuses)) in wire.iter().zip(columns(&answer)) {
        assert_eq!(feature.name, name);
        let told: Vec<_> = feature.statuses.iter().map(|status| status.as_str()).collect();
        assert_eq!(json!(told), statuses, "{name}");
        assert_eq!(cells(&feature.array), *values.as_array().unwrap(), "{name}");
    }
    // Arrow Flight, of keys as of now, and for a spine with the same columns at the same instant.
    let mut given = keys();
    given
        .as_object_mut()
        .unwrap()
        .extend(request().as_object().unwrap().clone());
    let (served, _) = get(
        &server,
        &json!({ "service": "context_v1", "keys": given, "status": true }),
    )
    .await
    .unwrap();
    let spine = RecordBatch::try_from_iter_with_nullable([
        (
            "origin",
            Arc::new(StringArray::from(origins.to_vec())) as ArrayRef,
            true,
        ),
        ("dest", Arc::new(StringArray::from(dests.to_vec())) as _, true),
        ("event_timestamp", times(&[50; 5]), false),
        ("bearing", floats, true),
        (
            "tag",
            Arc::new(StringArray::from(vec![
                Some("a"),
                Some("b"),
                Some(""),
                Some("long tag"),
                None,
            ])) as _,
            true,
        ),
        ("number", numbers, true),
    ])
    .unwrap();
    let command = json!({ "service": "context_v1", "status": true });
    let (extracted, told) = exchange(&server, &command, vec![spine]).await.unwrap();
    for (name, values, statuses) in columns(&answer) {
        for batch in [&served, &extracted] {
            let found = batch.column_by_name(&name).unwrap();
            assert_eq!(cells(found), *values.as_array().unwrap(), "{name}");
            let words = batch.column_by_name(&format!("{name}__status")).unwrap();
            assert_eq!(cells(words), *statuses.as_array().unwrap(), "{name}");
        }
        assert_eq!(
            served.column_by_name(&name).unwrap().to_data(),
            extracted.column_by_name(&name).unwrap().to_data(),
            "{name}, bit for bit"
        );
    }
    assert!(served.column_by_name("lasting__event_time").is_some());
    assert!(served.column_by_name("context__event_time").is_none());
    let (_, metrics) = http(&server, "GET", "/metrics", "").await;
    let counted = "asof_expression_failures_total{view=\"context\",feature=\"ratio\"} 3";
    assert!(metrics.contains(counted), "{metrics}");
    // 40 / 0 failed once; what is null because an input is null did not.
    assert_eq!(
        told["summary"]["failures"],
        json!([{ "feature": "context:ratio", "failed": 1 }])
    );
}

fn cells(array: &ArrayRef) -> Vec<Value> {
    let cell = |at: usize| {
        if array.is_null(at) {
            return Value::Null;
        }
        if let Some(text) = array.as_string_opt::<i32>() {
            return json!(text.value(at));
        }
        if let Some(number) = array.as_primitive_opt::<Int64Type>() {
            return json!(number.value(at));
        }
        if let Some(number) = array.as_primitive_opt::<Float64Type>() {
            return json!(number.value(at));
        }
        json!(array.as_boolean().value(at))
    };
    (0..array.len()).map(cell).collect()
}

#[tokio::test]
async fn keys_lists_and_embeddings_are_computed_with() {
    let server = server().await;
    let ask = async |features: &[&str], request: Value| {
        let body = json!({ "features": features, "request": request });
        let (status, answer) = ask(&server, &body).await;
        match status {
            200 => Ok(columns(&answer)
                .into_iter()
                .map(|(_, values, _)| values)
                .collect::<Vec<_>>()),
            _ => Err(answer["error"]["message"].as_str().unwrap().to_owned()),
        }
    };
    let shapes = json!([[1.5, -2.0], null, [0, 1e9]]);
    let found = ask(
        &["context:shape", "given:twice"],
        json!({ "shape_given": shapes, "bearing": [1, 2, "NaN"] }),
    )
    .await;
    assert_eq!(
        found.unwrap(),
        [json!([[1.5, -2.0], null, [0.0, 1e9]]), json!([2.0, 4.0, "NaN"])]
    );
    let refused = ask(&["context:shape"], json!({ "shape_given": [[1.0, 2.0], [1.0]] })).await;
    assert_eq!(
        refused.unwrap_err(),
        "request[\"shape_given\"][1]: has 1 numbers, the column is embedding(2)"
    );
    let refused = ask(&["context:shape"], json!({ "shape_given": [[1.0, "x"]] })).await;
    assert!(
        refused
            .unwrap_err()
            .starts_with("request[\"shape_given\"][0][1]: is no number")
    );
    let refused = ask(&["context:shape"], json!({ "shape_given": [[[1.0], 2.0]] })).await;
    assert!(refused.unwrap_err().contains("expected a value"));
    let found = ask(
        &["context:here", "context:constant"],
        json!({ "origin": ["jfk", null] }),
    )
    .await;
    assert_eq!(found.unwrap(), [json!(["JFK", null]), json!([42, 42])]);
}

#[tokio::test]
async fn what_is_missing_or_wrong_is_named() {
    let server = server().await;
    let check = async |features: Value, keys: Value, request: Value, message: &str| {
        let body = json!({ "features": features, "keys": keys, "request": request });
        let (status, answer) = ask(&server, &body).await;
        assert_eq!(
            (status, answer["error"]["message"].as_str().unwrap()),
            (400, message)
        );
    };
    let head = json!(["context:head"]);
    let jfk = json!({ "origin": ["JFK"] });
    check(
        head.clone(),
        jfk.clone(),
        json!({}),
        "request[\"bearing\"]: is missing: give a column of float64, for on-demand feature context:head",
    )
    .await;
    check(
        head.clone(),
        json!({}),
        json!({ "bearing": [1] }),
        "keys[\"origin\"]: is missing: give a column of string, the key of view lasting",
    )
    .await;
    check(
        head.clone(),
        jfk.clone(),
        json!({ "bearin": [1.0] }),
        "keys[\"bearin\"]: is not a key or request column here; expected \"origin\", \"bearing\"; did you mean \"bearing\"?",
    )
    .await;
    check(
        head.clone(),
        jfk.clone(),
        json!({ "bearing": [1, 2] }),
        "request[\"bearing\"]: has 2 values where the columns before it have 1",
    )
    .await;
    check(
        head.clone(),
        jfk.clone(),
        json!({ "bearing": [true] }),
        "request[\"bearing\"][0]: is true or false, the column is float64",
    )
    .await;
    check(
        head.clone(),
        json!({ "origin": ["JFK"], "bearing": [1] }),
        json!({ "bearing": [1] }),
        "request[\"bearing\"]: is given twice",
    )
    .await;
    check(
        json!(["context:ratio"]),
        jfk.clone(),
        json!({ "number": [1.5] }),
        "request[\"number\"][0]: is 1.5, not a value of int32",
    )
    .await;
    check(
        json!(["context:ratio"]),
        jfk.clone(),
        json!({ "number": [3e9] }),
        "request[\"number\"][0]: is 3000000000, out of range for int32",
    )
    .await;
    check(json!(["context:constant"]), json!({}), json!({}), "features: need no column of the caller's, so that there is no position: ask for one that has a key, too").await;
    check(
        head.clone(),
        jfk.clone(),
        json!({ "bearing": ["1e400"] }),
        "request[\"bearing\"][0]: is out of range, the column is float64",
    )
    .await;
    // What is computed of a view that was never built cannot be served; nothing else is in the way.
    let call = v1::GetFeaturesRequest {
        request: vec![column(
            "bearing",
            "string",
            &(Arc::new(StringArray::from(vec!["1"])) as ArrayRef),
        )],
        features: vec!["context:head".into()],
        ..of_service("", vec![text_column("origin", &[Some("JFK")])])
    };
    let refused = server.online().await.get_features(call).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (
            Code::InvalidArgument,
            "request[\"bearing\"]: has the type string, the column is float64"
        )
    );
}

#[tokio::test]
async fn a_spine_must_have_the_request_columns() {
    let server = server().await;
    let spine = |columns: Vec<(&str, ArrayRef)>| {
        let mut all = vec![
            ("origin", Arc::new(StringArray::from(vec!["JFK"])) as ArrayRef),
            ("event_timestamp", times(&[50])),
        ];
        all.extend(columns);
        RecordBatch::try_from_iter(all).unwrap()
    };
    let command = json!({ "features": ["context:head"] });
    let check = async |columns, message: &str| {
        let refused = exchange(&server, &command, vec![spine(columns)])
            .await
            .unwrap_err();
        assert!(refused.message().contains(message), "{}", refused.message());
    };
    check(vec![], "has no column \"bearing\" (float64), which on-demand features are computed of; its columns are origin, event_timestamp").await;
    check(
        vec![("bearing", Arc::new(StringArray::from(vec!["1"])) as ArrayRef)],
        "request column \"bearing\" is string, which cannot be taken as float64 without loss: write it as float64 in the spine",
    )
    .await;
    // Without a spine there is nobody who gives them.
    let refused = get(&server, &command).await.unwrap_err();
    assert!(
        refused.message().contains("without a spine there is nothing that has the request columns \"bearing\" (float64): give a spine that has them"),
        "{}",
        refused.message()
    );
}
