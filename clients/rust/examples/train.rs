//! Extracts the dataset of a spine: its rows with the features as they were known at each row's time.

#![allow(clippy::print_stdout, reason = "a program tells what it finds")]

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
use asof_client::{Client, Extract};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1);
    let client = Client::connect(url.as_deref().unwrap_or("grpc://127.0.0.1:2763")).await?;

    let micros_since_1970 =
        TimestampMicrosecondArray::from(vec![1_767_225_600_000_000, 4_102_444_800_000_000]);
    let columns: [(&str, ArrayRef); 2] = [
        ("card", Arc::new(Int64Array::from(vec![7, 7]))),
        (
            "event_timestamp",
            Arc::new(micros_since_1970.with_timezone("UTC")),
        ),
    ];
    let spine = RecordBatch::try_from_iter(columns)?;

    // Batches go up and come down as they are made, so that neither side needs memory for all of them.
    let batches = asof_client::batches([Ok(spine.clone())].into_iter());
    let extract = Extract::of_service("fraud_v1");
    let mut dataset = client.extract(&extract, spine.schema(), batches).await?;
    let names: Vec<_> = dataset
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    println!("{}", names.join(", "));
    while let Some(batch) = dataset.next().await? {
        println!("{} rows", batch.num_rows());
    }
    if let Some(told) = dataset.told() {
        println!("run {}", told.run);
    }
    Ok(())
}
