//! Rows that break off on their way are never taken as whole, and calls end in time.

use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use asof_client::{Client, Code, Error, Extract, batches};
use asof_core::time::Clock;
use asof_server::clock::SystemClock;
use futures::{StreamExt, stream};

use crate::calls::{payments, spine_of};
use crate::harness::Server;

/// How many rows the table has.
async fn rows_in_the_table(client: &Client) -> u64 {
    let now = SystemClock.now().micros();
    let spine = spine_of(&[1, 2], now);
    let extract = Extract::of_features(["last_payment:place"]).as_corrected(true);
    let whole = stream::iter([Ok(spine.clone())]);
    let mut dataset = client.extract(&extract, spine.schema(), whole).await.unwrap();
    while dataset.next().await.unwrap().is_some() {}
    let views = &dataset.told().unwrap().summary["views"];
    views[0]["source_rows"].as_u64().unwrap()
}

fn broken(rows: &RecordBatch) -> impl stream::Stream<Item = Result<RecordBatch, String>> + Send + use<> {
    stream::iter([Ok(rows.slice(0, 2)), Err("the disk is gone".to_owned())])
}

#[tokio::test]
async fn an_ingest_that_breaks_off_appends_nothing() {
    let server = Server::start().await;
    let (client, rows) = (&server.client, payments(SystemClock.now().micros()));
    for id in [None, Some("monday")] {
        let told = client.ingest("payments", id, rows.schema(), broken(&rows)).await;
        let error = told.unwrap_err();
        assert!(matches!(error, Error::Rows(_)), "{error:?}");
    }
    assert_eq!(rows_in_the_table(client).await, 0);
    // The id is free.
    let whole = stream::iter([Ok(rows.clone())]);
    let told = client
        .ingest("payments", Some("monday"), rows.schema(), whole)
        .await;
    assert_eq!(told.unwrap().accepted, 3);
    assert_eq!(rows_in_the_table(client).await, 3);
}

#[tokio::test]
async fn a_reader_that_panics_does_not_end_its_rows() {
    let server = Server::start().await;
    let (client, rows) = (&server.client, payments(SystemClock.now().micros()));
    let mut parts = vec![rows.slice(0, 2)].into_iter();
    let panicking = std::iter::from_fn(move || Some(Ok(parts.next().expect("a damaged file"))));
    let told = client
        .ingest("payments", None, rows.schema(), batches(panicking))
        .await;
    let error = told.unwrap_err();
    assert!(matches!(error, Error::Rows(_)), "{error:?}");
    assert_eq!(rows_in_the_table(client).await, 0);
}

#[tokio::test]
async fn a_dataset_of_a_broken_spine_is_not_kept() {
    let server = Server::start().await;
    let (client, now) = (&server.client, SystemClock.now().micros());
    client.push("payments", &payments(now), "first").await.unwrap();
    let spine = spine_of(&[1, 2, 1], now);
    let extract = Extract::of_service("fraud_v1").save("cards");
    let result = client.extract(&extract, spine.schema(), broken(&spine)).await;
    assert!(matches!(result.err(), Some(Error::Rows(_))));
    // Whatever the server still does with it.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let kept = client.saved("cards").await.err().unwrap();
    assert_eq!(kept.code(), Some(Code::NotFound));
}

#[tokio::test]
async fn batches_have_the_columns_that_were_announced() {
    let server = Server::start().await;
    let (client, rows) = (&server.client, payments(SystemClock.now().micros()));
    let swapped = rows.project(&[0, 1, 3, 2]).unwrap();
    for wrong in [swapped, rows.project(&[0, 1, 2]).unwrap()] {
        let sent = stream::iter([Ok(rows.clone()), Ok(wrong)]);
        let error = client
            .ingest("payments", None, rows.schema(), sent)
            .await
            .unwrap_err();
        assert!(
            error
                .to_string()
                .contains("a batch has the columns card Int64, at"),
            "{error}"
        );
    }
    assert_eq!(rows_in_the_table(client).await, 0);
}

#[tokio::test]
async fn tables_have_the_deadline_of_their_client() {
    let server = Server::start().await;
    let rows = payments(SystemClock.now().micros());
    let client = server.client.clone().with_deadline(Duration::from_millis(300));
    let endless = || stream::iter([Ok(rows.clone())]).chain(stream::pending());
    let begun = Instant::now();
    let ingested = client.ingest("payments", None, rows.schema(), endless()).await;
    let pushed = client.push_table("payments", "a", rows.schema(), endless()).await;
    let extract = Extract::of_service("fraud_v1");
    let extracted = client.extract(&extract, rows.schema(), endless()).await;
    for error in [
        ingested.unwrap_err(),
        pushed.unwrap_err(),
        extracted.err().unwrap(),
    ] {
        assert_eq!(error.code(), Some(Code::DeadlineExceeded), "{error:?}");
    }
    assert!(begun.elapsed() < Duration::from_secs(10));
    // One that nobody can count does no harm.
    let client = server.client.clone().with_deadline(Duration::MAX);
    assert_eq!(client.runs("", 1).await.unwrap(), []);
}
