use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::{
    ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use asof_client::{Code, Error, Extract, Pushed, Read, Selection, v1};
use asof_core::status::Status;
use asof_core::time::{Clock, Timestamp};
use asof_server::clock::SystemClock;
use futures::stream;
use serde::Deserialize;

use crate::harness::Server;

const HOUR: i64 = 3_600_000_000;

fn times(micros: Vec<i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(micros).with_timezone("UTC"))
}

pub(crate) fn payments(now: i64) -> RecordBatch {
    let columns: [(&str, ArrayRef); 4] = [
        ("card", Arc::new(Int64Array::from(vec![1, 1, 2]))),
        ("at", times(vec![now - 3 * HOUR, now - HOUR, now - 2 * HOUR])),
        (
            "amount",
            Arc::new(Float64Array::from(vec![Some(5.0), Some(7.5), None])),
        ),
        ("place", Arc::new(StringArray::from(vec!["Rome", "Oslo", "Bern"]))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

/// A spine of cards, an hour from now.
pub(crate) fn spine_of(cards: &[i64], now: i64) -> RecordBatch {
    spine_at(cards, vec![now + HOUR; cards.len()])
}

fn spine_at(cards: &[i64], at: Vec<i64>) -> RecordBatch {
    let cards: ArrayRef = Arc::new(Int64Array::from(cards.to_vec()));
    RecordBatch::try_from_iter([("card", cards), ("event_timestamp", times(at))]).unwrap()
}

fn cards(cards: Vec<i32>) -> RecordBatch {
    // Of another width than the key's.
    let cards: ArrayRef = Arc::new(Int32Array::from(cards));
    RecordBatch::try_from_iter([("card", cards)]).unwrap()
}

#[derive(Debug, PartialEq, Deserialize)]
struct Payment {
    card: i64,
    #[serde(rename = "last_payment__amount")]
    amount: Option<f64>,
    #[serde(rename = "last_payment__place")]
    place: Option<String>,
}

#[tokio::test]
async fn what_is_pushed_is_served_as_rows_and_columns() {
    let server = Server::start().await;
    let (client, now) = (&server.client, SystemClock.now().micros());
    let pushed = client.push("payments", &payments(now), "first").await.unwrap();
    let told = |already_accepted| Pushed {
        accepted: 3,
        rejected: Vec::new(),
        already_accepted,
    };
    assert_eq!(pushed, told(false));
    assert_eq!(
        client.push("payments", &payments(now), "first").await.unwrap(),
        told(true)
    );

    let service = Selection::Service("fraud_v1".into());
    let features = client
        .get_features(&service, &cards(vec![2, 9, 1]))
        .await
        .unwrap();
    assert_eq!(features.len(), 3);
    let rows: Vec<Payment> = features.rows().unwrap();
    let row = |card, amount, place: Option<&str>| Payment {
        card,
        amount,
        place: place.map(Into::into),
    };
    let expected = [
        row(2, None, Some("Bern")),
        row(9, None, None),
        row(1, Some(7.5), Some("Oslo")),
    ];
    assert_eq!(rows, expected);
    let statuses = features.statuses("last_payment__amount").unwrap();
    assert_eq!(statuses, [Status::Null, Status::NotFound, Status::Present]);
    let at = features.event_times("last_payment__amount").unwrap();
    assert_eq!(at[2], Some(Timestamp::from_micros(now - HOUR)));
    assert!(features.as_of().micros() >= now);
    assert_eq!(features.values("nothing"), None);

    let unknown = client
        .get_features(&Selection::Service("fraud_v2".into()), &cards(vec![1]))
        .await;
    let unknown = unknown.unwrap_err();
    assert_eq!(unknown.code(), Some(tonic::Code::NotFound));
    assert!(
        unknown.to_string().contains("did you mean \"fraud_v1\"?"),
        "{unknown}"
    );
}

#[tokio::test]
async fn datasets_come_as_streams() {
    let server = Server::start().await;
    let (client, now) = (&server.client, SystemClock.now().micros());
    client.push("payments", &payments(now), "first").await.unwrap();
    let spine = spine_at(&[1, 2, 1], vec![now + HOUR, now + HOUR, now - 4 * HOUR]);
    let extract = Extract::of_service("fraud_v1").as_corrected(true);
    let batches = stream::iter([Ok(spine.slice(0, 1)), Ok(spine.slice(1, 2))]);
    let mut dataset = client.extract(&extract, spine.schema(), batches).await.unwrap();
    assert_eq!(dataset.schema().fields().len(), 4);
    let mut amounts = Vec::new();
    while let Some(batch) = dataset.next().await.unwrap() {
        amounts.extend(batch.column(2).as_primitive::<Float64Type>().iter());
    }
    assert_eq!(amounts, [Some(7.5), None, None]);
    assert_eq!(dataset.told().unwrap().summary["rows"], 3);

    let kept = extract.clone().save("cards");
    let mut sent = client
        .extract(&kept, spine.schema(), stream::iter([Ok(spine.clone())]))
        .await
        .unwrap();
    while sent.next().await.unwrap().is_some() {}
    let mut kept = client.saved("cards").await.unwrap();
    let batch = kept.next().await.unwrap().unwrap();
    assert_eq!(batch.num_rows(), 3);
    assert_eq!(kept.manifest(), None);
    assert!(kept.next().await.unwrap().is_none());
    let manifest = kept.manifest().unwrap();
    assert_eq!(manifest["content"]["output"]["rows"], 3, "{manifest}");
    let unknown = client.saved("other").await.err().unwrap();
    assert_eq!(unknown.code(), Some(tonic::Code::NotFound));

    let mut all = client
        .read(&Read::now(Extract::of_features(["last_payment:place"])))
        .await
        .unwrap();
    let batch = all.next().await.unwrap().unwrap();
    assert_eq!(batch.num_rows(), 2);

    // A spine that breaks off has no dataset, however much of it was sent.
    let broken = stream::iter([Ok(spine.clone()), Err("the disk is gone".to_owned())]);
    let error = match client.extract(&extract, spine.schema(), broken).await {
        Ok(mut dataset) => loop {
            match dataset.next().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("a dataset of a part of a spine"),
                Err(error) => break error,
            }
        },
        Err(error) => error,
    };
    assert!(matches!(error, Error::Rows(_)), "{error:?}");
    assert!(error.to_string().contains("the disk is gone"), "{error}");
}

#[tokio::test]
async fn what_is_no_server_is_told_of() {
    let nobody = asof_client::Client::connect("grpc://127.0.0.1:1")
        .await
        .unwrap_err();
    assert!(matches!(nobody, Error::Unreachable { .. }), "{nobody:?}");
    for wrong in ["not a url", "127.0.0.1:2763", "ftp://127.0.0.1:2763"] {
        let wrong = asof_client::Client::connect(wrong).await.unwrap_err();
        assert!(matches!(wrong, Error::Url(_)), "{wrong:?}");
    }
}

#[tokio::test]
async fn a_call_ends_where_connections_are_closed_at_once() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("grpc://{}", listener.local_addr().unwrap());
    let closes = tokio::spawn(async move {
        loop {
            drop(listener.accept().await);
        }
    });
    // The first connection may be seen closed before a call is made.
    let failed = match asof_client::Client::connect(&url).await {
        Ok(client) => client.list(v1::DefinitionKind::Unspecified).await.unwrap_err(),
        Err(error) => error,
    };
    closes.abort();
    assert_eq!(failed.code(), Some(Code::Unavailable), "{failed:?}");
}

#[tokio::test]
async fn rows_have_no_form_for_numbers_without_end() {
    let server = Server::start().await;
    let (client, now) = (&server.client, SystemClock.now().micros());
    let columns: [(&str, ArrayRef); 4] = [
        ("card", Arc::new(Int64Array::from(vec![1]))),
        ("at", times(vec![now - HOUR])),
        ("amount", Arc::new(Float64Array::from(vec![f64::NAN]))),
        ("place", Arc::new(StringArray::from(vec!["Rome"]))),
    ];
    let rows = RecordBatch::try_from_iter(columns).unwrap();
    client.push("payments", &rows, "first").await.unwrap();
    let features = client
        .get_features(&Selection::Service("fraud_v1".into()), &cards(vec![1]))
        .await
        .unwrap();
    assert_eq!(
        features.statuses("last_payment__amount"),
        Some([Status::Present].as_slice())
    );
    let error = features.rows::<Payment>().unwrap_err();
    assert!(matches!(error, Error::Unfit(_)), "{error:?}");
    assert!(
        error
            .to_string()
            .contains("\"last_payment__amount\" has a number that is NaN"),
        "{error}"
    );
}
