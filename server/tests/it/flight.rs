//! Arrow Flight: tables in and out, and what is no table.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, DictionaryArray, Float64Array, Int64Array, RecordBatch, StringArray, StringViewArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{Float64Type, Int32Type, Schema};
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{Criteria, FlightData, FlightDescriptor, Ticket};
use asof_core::registry::{RegistryStore, RunKind, RunState};
use asof_server::Limits;
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::harness::{DEFINITIONS, Server, project, row};
use crate::materialize_project::write_batch;

const MANAGED: &str = r#"
[[source]]
name = "clicks"
schema = { origin = "string", at = "timestamp", clicks = "int64" }
event_time = "at"

[[view]]
name = "clicked"
entity = "airport"
source = "clicks"
[view.features]
clicks = "int64"
"#;

pub(crate) async fn server() -> Server {
    let server = Server::empty(Limits::default()).await;
    let origins: ArrayRef = Arc::new(StringArray::from(vec!["JFK", "JFK", "LGA"]));
    let temps: ArrayRef = Arc::new(Float64Array::from(vec![1.0, 2.0, 3.0]));
    let codes: ArrayRef = Arc::new(Int64Array::from(vec![10, 20, 30]));
    let batch = RecordBatch::try_from_iter([
        ("origin", origins),
        ("t", times(&[10, 20, 15])),
        // The second row became known at 40.
        ("c", times(&[10, 40, 15])),
        ("temp", temps),
        ("code", codes),
    ]);
    write_batch(&server.tables.path().join("weather.parquet"), &batch.unwrap());
    server.apply(&format!("{DEFINITIONS}{MANAGED}"), 0).await;
    server
}

pub(crate) fn times(micros: &[i64]) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(micros.to_vec()).with_timezone("UTC"))
}

pub(crate) async fn client(server: &Server) -> FlightServiceClient<Channel> {
    FlightServiceClient::new(server.channel().await)
}

pub(crate) fn messages(
    command: &Value,
    batches: Vec<RecordBatch>,
) -> impl stream::Stream<Item = FlightData> + 'static {
    let schema = batches[0].schema();
    let descriptor = FlightDescriptor::new_cmd(command.to_string());
    FlightDataEncoderBuilder::new()
        .with_schema(schema)
        .with_dictionary_handling(arrow_flight::encode::DictionaryHandling::Resend)
        .with_flight_descriptor(Some(descriptor))
        .build(stream::iter(batches.into_iter().map(Ok)))
        .map(Result::unwrap)
}

/// The rows of an answer, and what it says last.
async fn table(mut answer: tonic::Streaming<FlightData>) -> Result<(RecordBatch, Value), Status> {
    let (mut data, mut last) = (Vec::new(), Value::Null);
    while let Some(message) = answer.message().await? {
        if message.data_header.is_empty() {
            last = serde_json::from_slice(&message.app_metadata).unwrap();
        } else {
            data.push(message);
        }
    }
    let schema = Arc::new(Schema::try_from(&data[0]).unwrap());
    let batches = arrow_flight::utils::flight_data_to_batches(&data).unwrap();
    Ok((arrow::compute::concat_batches(&schema, &batches).unwrap(), last))
}

pub(crate) async fn exchange(
    server: &Server,
    command: &Value,
    batches: Vec<RecordBatch>,
) -> Result<(RecordBatch, Value), Status> {
    let answer = client(server)
        .await
        .do_exchange(messages(command, batches))
        .await?;
    table(answer.into_inner()).await
}

pub(crate) async fn get(server: &Server, ticket: &Value) -> Result<(RecordBatch, Value), Status> {
    let answer = client(server)
        .await
        .do_get(Ticket::new(ticket.to_string()))
        .await?;
    table(answer.into_inner()).await
}

pub(crate) async fn put(server: &Server, command: &Value, batch: RecordBatch) -> Result<Vec<Value>, Status> {
    let told = client(server)
        .await
        .do_put(messages(command, vec![batch]))
        .await?;
    let told: Vec<_> = told.into_inner().try_collect().await?;
    Ok(told
        .iter()
        .map(|told| serde_json::from_slice(&told.app_metadata).unwrap())
        .collect())
}

fn floats(batch: &RecordBatch, column: &str) -> Vec<Option<f64>> {
    let column = batch.column_by_name(column).unwrap();
    column.as_primitive::<Float64Type>().iter().collect()
}

fn words(batch: &RecordBatch, column: &str) -> Vec<String> {
    let column = batch.column_by_name(column).unwrap().as_string::<i32>();
    column.iter().map(|word| word.unwrap_or("-").to_owned()).collect()
}

pub(crate) fn spine() -> RecordBatch {
    let places: DictionaryArray<Int32Type> = vec!["JFK", "JFK", "LGA", "SFO"].into_iter().collect();
    let notes = StringViewArray::from(vec![
        "one",
        "two, which is longer than a view has room for",
        "",
        "four",
    ]);
    let columns: [(&str, ArrayRef); 3] = [
        ("note", Arc::new(notes)),
        ("origin", Arc::new(places)),
        ("event_timestamp", times(&[30, 40, 30, 30])),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

#[tokio::test]
async fn a_spine_goes_up_and_its_dataset_comes_down() {
    let server = server().await;
    let command = json!({ "features": ["lasting:temp"], "status": true });
    // In two batches, of which the second has another dictionary.
    let batches = vec![spine(), spine().slice(2, 2)];
    let (dataset, last) = exchange(&server, &command, batches).await.unwrap();
    let names: Vec<_> = dataset
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    assert_eq!(
        names,
        [
            "note",
            "origin",
            "event_timestamp",
            "lasting__temp",
            "lasting__temp__status",
            "lasting__event_time"
        ]
    );
    assert_eq!(
        words(&dataset, "origin"),
        ["JFK", "JFK", "LGA", "SFO", "LGA", "SFO"]
    );
    let notes = dataset.column(0).as_string_view();
    assert_eq!(notes.value(1), "two, which is longer than a view has room for");
    let expected = [Some(1.0), Some(2.0), Some(3.0), None, Some(3.0), None];
    assert_eq!(floats(&dataset, "lasting__temp"), expected);
    assert_eq!(
        words(&dataset, "lasting__temp__status"),
        [
            "PRESENT",
            "PRESENT",
            "PRESENT",
            "NOT_FOUND",
            "PRESENT",
            "NOT_FOUND"
        ]
    );
    let summary = &last["summary"];
    assert_eq!((&summary["rows"], &summary["columns"]), (&json!(6), &json!(6)));
    assert_eq!(summary["views"][0]["held_back_winners"], 1);
    assert_eq!(last["provenance"]["spine"]["path"], Value::Null);
    let runs = server.registry.runs(&project(), None, 10).await.unwrap();
    assert_eq!(
        (runs[0].kind, &runs[0].state, runs[0].rows_written),
        (RunKind::Extract, &RunState::Done, 6)
    );

    let (none, _) = exchange(&server, &command, vec![spine().slice(0, 0)])
        .await
        .unwrap();
    assert_eq!((none.num_rows(), none.num_columns()), (0, 6));
}

#[tokio::test]
async fn a_dataset_is_kept_under_a_name() {
    let server = server().await;
    let command = json!({ "features": ["lasting:temp"], "save": "weather_2026" });
    let (sent, _) = exchange(&server, &command, vec![spine()]).await.unwrap();
    let (kept, last) = get(&server, &json!({ "extract": "weather_2026" })).await.unwrap();
    assert_eq!(kept, sent);
    assert_eq!(last["manifest"]["content"]["output"]["rows"], 4);
    let flights = client(&server)
        .await
        .list_flights(Criteria::default())
        .await
        .unwrap();
    let flights: Vec<_> = flights.into_inner().try_collect().await.unwrap();
    let ticket = flights.iter().find_map(|info| {
        let is_kept = info.flight_descriptor.as_ref()?.path == ["extract", "weather_2026"];
        is_kept.then(|| info.endpoint[0].ticket.clone())?
    });
    let answer = client(&server).await.do_get(ticket.unwrap()).await.unwrap();
    assert_eq!(table(answer.into_inner()).await.unwrap().0, sent);

    // One that fails keeps what there was.
    let wrong = json!({ "features": ["lasting:temp"], "save": "weather_2026", "time_column": "note" });
    exchange(&server, &wrong, vec![spine()]).await.unwrap_err();
    assert_eq!(
        get(&server, &json!({ "extract": "weather_2026" }))
            .await
            .unwrap()
            .0,
        sent
    );
    for (ticket, code) in [
        (json!({ "extract": "weather" }), Code::NotFound),
        (json!({ "extract": "../weather" }), Code::InvalidArgument),
    ] {
        assert_eq!(get(&server, &ticket).await.unwrap_err().code(), code, "{ticket}");
    }
    let escaping = json!({ "features": ["lasting:temp"], "save": "../weather" });
    let refused = exchange(&server, &escaping, vec![spine()]).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
}

#[tokio::test]
async fn the_features_of_all_keys_or_of_some() {
    let server = server().await;
    server.clock.set(50);
    let (all, last) = get(&server, &json!({ "view": "lasting" })).await.unwrap();
    assert_eq!(words(&all, "origin"), ["JFK", "LGA"]);
    assert_eq!(floats(&all, "lasting__temp"), [Some(2.0), Some(3.0)]);
    assert_eq!(last["summary"]["rows"], 2);
    let (before, _) = get(
        &server,
        &json!({ "view": "lasting", "at": "1970-01-01T00:00:00.000012Z" }),
    )
    .await
    .unwrap();
    assert_eq!(floats(&before, "lasting__temp"), [Some(1.0)]);

    server.load("lasting", 50, &[row("JFK", 20, 2)], true).await;
    let keys = json!({ "origin": ["SFO", "JFK"] });
    let ticket = json!({ "features": ["lasting:temp"], "keys": keys, "status": true });
    let (some, last) = get(&server, &ticket).await.unwrap();
    assert_eq!(words(&some, "origin"), ["SFO", "JFK"]);
    assert_eq!(words(&some, "lasting__temp__status"), ["NOT_FOUND", "PRESENT"]);
    assert_eq!(last, json!({ "as_of": "1970-01-01T00:00:00.000050Z", "rows": 2 }));
}

pub(crate) fn clicks(origins: Vec<Option<&str>>, at: i64) -> RecordBatch {
    let rows = origins.len() as i64;
    let columns: [(&str, ArrayRef); 3] = [
        ("origin", Arc::new(StringArray::from(origins))),
        ("at", times(&vec![at; rows as usize])),
        ("clicks", Arc::new(Int64Array::from_iter_values(0..rows))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

#[tokio::test]
async fn rows_are_ingested_and_pushed() {
    let server = server().await;
    server.clock.set(100);
    let ingest = json!({ "ingest": { "source": "clicks", "id": "first" } });
    let told = put(&server, &ingest, clicks(vec![Some("JFK"), Some("LGA")], 50))
        .await
        .unwrap();
    assert_eq!(
        (&told[0]["accepted"], &told[0]["already_accepted"]),
        (&json!(2), &json!(false))
    );
    let told = put(&server, &ingest, clicks(vec![Some("JFK"), Some("LGA")], 50))
        .await
        .unwrap();
    assert_eq!(told[0]["already_accepted"], true);

    // In parts of 10,000 rows, each under an id of its own.
    let push = json!({ "push": { "source": "clicks", "request_id": "r" } });
    let many = || {
        clicks(
            (0..12_000)
                .map(|row| Some(if row % 2 == 0 { "JFK" } else { "SFO" }))
                .collect(),
            60,
        )
    };
    let told = put(&server, &push, many()).await.unwrap();
    let accepted: Vec<_> = told
        .iter()
        .map(|told| (&told["first_row"], &told["accepted"]))
        .collect();
    assert_eq!(
        accepted,
        [(&json!(0), &json!(10_000)), (&json!(10_000), &json!(2_000))]
    );
    let again = put(&server, &push, many()).await.unwrap();
    assert!(
        again.iter().all(|told| told["already_accepted"] == true),
        "{again:?}"
    );

    // What was pushed is in the next extract.
    let (all, _) = get(&server, &json!({ "view": "clicked" })).await.unwrap();
    assert_eq!(words(&all, "origin"), ["JFK", "LGA", "SFO"]);
}

#[tokio::test]
async fn flights_are_listed_with_their_columns() {
    let server = server().await;
    let mut client = client(&server).await;
    let flights = client
        .list_flights(Criteria::default())
        .await
        .unwrap()
        .into_inner();
    let flights: Vec<_> = flights.try_collect().await.unwrap();
    let paths: Vec<String> = flights
        .iter()
        .map(|info| info.flight_descriptor.as_ref().unwrap().path.join("/"))
        .collect();
    assert!(paths.contains(&"view/lasting".to_owned()), "{paths:?}");
    assert!(paths.contains(&"source/clicks".to_owned()), "{paths:?}");
    let path = FlightDescriptor::new_path(vec!["view".into(), "lasting".into()]);
    let info = client.get_flight_info(path).await.unwrap().into_inner();
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let schema = info.try_decode_schema().unwrap();
    let names: Vec<_> = schema
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    assert_eq!(names, ["origin", "lasting__temp", "lasting__code"]);
    let answer = client.do_get(ticket).await.unwrap().into_inner();
    table(answer).await.unwrap();
    for (path, code) in [
        (vec!["view", "lastin"], Code::NotFound),
        (vec!["source", "weather"], Code::InvalidArgument),
        (vec!["cloud", "x"], Code::InvalidArgument),
        (vec!["view"], Code::InvalidArgument),
    ] {
        let path = FlightDescriptor::new_path(path.into_iter().map(Into::into).collect());
        assert_eq!(client.get_flight_info(path).await.unwrap_err().code(), code);
    }
}

#[tokio::test]
async fn what_is_no_request_is_refused_with_words() {
    let server = server().await;
    let lasting = json!({ "features": ["lasting:temp"] });
    let without = |column: &str| {
        let columns = spine()
            .schema()
            .fields()
            .iter()
            .position(|field| field.name() == column);
        let mut batch = spine();
        batch.remove_column(columns.unwrap());
        batch
    };
    let null_time = {
        let nulls = TimestampMicrosecondArray::from(vec![None, Some(1)]).with_timezone("UTC");
        let origins: ArrayRef = Arc::new(StringArray::from(vec!["JFK", "LGA"]));
        RecordBatch::try_from_iter([
            ("origin", origins),
            ("event_timestamp", Arc::new(nulls) as ArrayRef),
        ])
        .unwrap()
    };
    let cases = [
        (
            json!({ "service": "nobody" }),
            spine(),
            Code::NotFound,
            "unknown service \"nobody\"",
        ),
        (
            json!({ "features": ["lasting:tmp"] }),
            spine(),
            Code::NotFound,
            "tmp",
        ),
        (json!({}), spine(), Code::InvalidArgument, "both are empty"),
        (
            json!({ "serice": "x" }),
            spine(),
            Code::InvalidArgument,
            "unknown field `serice`",
        ),
        (
            json!({ "features": ["lasting:temp"], "timezone": "Mars" }),
            spine(),
            Code::InvalidArgument,
            "timezone",
        ),
        (
            lasting.clone(),
            without("event_timestamp"),
            Code::InvalidArgument,
            "the spine has no time column \"event_timestamp\"",
        ),
        (
            lasting.clone(),
            without("origin"),
            Code::InvalidArgument,
            "the spine has no column \"origin\"",
        ),
        (
            lasting.clone(),
            null_time,
            Code::InvalidArgument,
            "is null in row 0",
        ),
    ];
    for (command, batch, code, text) in cases {
        let refused = exchange(&server, &command, vec![batch]).await.unwrap_err();
        assert_eq!(refused.code(), code, "{refused:?}");
        assert!(refused.message().contains(text), "{refused:?}");
    }
}

#[tokio::test]
async fn what_is_no_arrow_is_refused_with_words() {
    let server = server().await;
    let command = json!({ "features": ["lasting:temp"] });
    let good: Vec<FlightData> = messages(&command, vec![spine()]).collect().await;
    let descriptor = good[0].flight_descriptor.clone();
    let with_descriptor = |mut data: FlightData| {
        data.flight_descriptor = descriptor.clone();
        data
    };
    let changed = |place: usize, change: fn(&mut FlightData)| {
        let mut messages = good.clone();
        change(&mut messages[place]);
        messages
    };
    let rows = good.len() - 1;
    let cases: Vec<(&str, Vec<FlightData>)> = vec![
        ("nothing was sent", vec![]),
        (
            "descriptor: is missing",
            changed(0, |data| data.flight_descriptor = None),
        ),
        (
            "the upload is empty",
            vec![with_descriptor(FlightData::default())],
        ),
        (
            "Received RecordBatch prior to Schema",
            vec![with_descriptor(good[rows].clone())],
        ),
        (
            "damaged",
            changed(0, |data| data.data_header = vec![7; 40].into()),
        ),
        (
            "damaged",
            changed(0, |data| data.data_header = data.data_header.slice(..9)),
        ),
        (
            "damaged",
            changed(1, |data| data.data_header = vec![255; 64].into()),
        ),
        ("", changed(1, |data| data.data_body = data.data_body.slice(..8))),
    ];
    for (text, messages) in cases {
        let mut client = client(&server).await;
        let answer = client
            .do_exchange(stream::iter(messages))
            .await
            .unwrap()
            .into_inner();
        let refused = table(answer).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{text}: {refused:?}");
        assert!(refused.message().contains(text), "{refused:?}");
    }
    // Every byte of the schema and of the batch's header in turn, and of its offsets: never more than an error.
    for place in [0, 1, rows] {
        let length = good[place].data_header.len();
        for at in (0..length).step_by(3) {
            let mut messages = good.clone();
            let mut header = messages[place].data_header.to_vec();
            header[at] ^= 0xff;
            messages[place].data_header = header.into();
            let mut client = client(&server).await;
            let answer = client
                .do_exchange(stream::iter(messages))
                .await
                .unwrap()
                .into_inner();
            if let Err(refused) = table_or_nothing(answer).await {
                let code = refused.code();
                assert!(code == Code::InvalidArgument, "{place} {at}: {refused:?}");
            }
        }
    }
    exchange(&server, &command, vec![spine()]).await.unwrap();
}

/// Whether an answer ends well, whatever it holds.
pub(crate) async fn table_or_nothing(mut answer: tonic::Streaming<FlightData>) -> Result<(), Status> {
    while answer.message().await?.is_some() {}
    Ok(())
}

/// A view is sent without the text beside it: a message has about a mebibyte, however large the batch is that it is of.
#[tokio::test]
async fn messages_hold_their_own_rows() {
    let server = server().await;
    let rows = 60_000;
    let notes = StringViewArray::from_iter_values((0..rows).map(|row| format!("{row:0100}")));
    let columns: [(&str, ArrayRef); 3] = [
        ("origin", Arc::new(StringArray::from(vec!["JFK"; rows]))),
        ("note", Arc::new(notes)),
        ("event_timestamp", times(&vec![30; rows])),
    ];
    let large = RecordBatch::try_from_iter(columns).unwrap();
    // What sends them here splits the rows, and sends all of the text with each part.
    let command = json!({ "features": ["lasting:temp"] });
    let answer = client(&server)
        .await
        .do_exchange(messages(&command, vec![large]))
        .await;
    let sent: Vec<FlightData> = answer.unwrap().into_inner().try_collect().await.unwrap();
    let sizes = sent.iter().map(|message| message.data_body.len());
    assert!(
        sizes.clone().all(|size| size < 3 << 20),
        "{:?}",
        sizes.collect::<Vec<_>>()
    );
    assert!(sizes.sum::<usize>() < rows * 200);
}

#[tokio::test]
async fn a_call_ends_when_its_caller_goes_or_its_time_is_over() {
    let server = server().await;
    let command = json!({ "features": ["lasting:temp"] });
    // So many rows that they do not fit into what is sent ahead.
    let rows = 400_000;
    let origins: ArrayRef = Arc::new(StringArray::from(vec!["JFK"; rows]));
    let notes: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(40); rows]));
    let columns = [
        ("origin", origins),
        ("note", notes),
        ("event_timestamp", times(&vec![30; rows])),
    ];
    let large = RecordBatch::try_from_iter(columns).unwrap();
    let call = messages(&command, vec![large.clone()]);
    let mut answer = client(&server)
        .await
        .do_exchange(call)
        .await
        .unwrap()
        .into_inner();
    answer.message().await.unwrap().unwrap();
    drop(answer);
    let gone = RunState::Failed {
        error: "the caller went away, or its time was over".into(),
    };
    for _ in 0..500 {
        let runs = server.registry.runs(&project(), None, 1).await.unwrap();
        if runs.first().is_some_and(|run| run.state == gone) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let runs = server.registry.runs(&project(), None, 1).await.unwrap();
    assert_eq!(runs[0].state, gone);

    let mut call = Request::new(messages(&command, vec![large]));
    call.metadata_mut()
        .insert("grpc-timeout", "150m".parse().unwrap());
    let refused = match client(&server).await.do_exchange(call).await {
        Ok(answer) => {
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            table_or_nothing(answer.into_inner()).await.unwrap_err()
        }
        Err(refused) => refused,
    };
    assert_eq!(refused.code(), Code::DeadlineExceeded, "{refused:?}");
}
