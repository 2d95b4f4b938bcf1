//! Pushes a payment, and reads the features of two cards, as a prediction service does.

#![allow(clippy::print_stdout, reason = "a program tells what it finds")]

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use asof_client::{Client, Selection};
use serde::Deserialize;

#[derive(Deserialize)]
struct Card {
    card: i64,
    #[serde(rename = "last_payment__amount")]
    amount: Option<f64>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1);
    let client = Client::connect(url.as_deref().unwrap_or("grpc://127.0.0.1:2763")).await?;

    // The columns of the source `payments`.
    let micros_since_1970 = TimestampMicrosecondArray::from(vec![1_767_225_600_000_000]);
    let columns: [(&str, ArrayRef); 4] = [
        ("card", Arc::new(Int64Array::from(vec![7]))),
        ("at", Arc::new(micros_since_1970.with_timezone("UTC"))),
        ("amount", Arc::new(Float64Array::from(vec![12.5]))),
        ("place", Arc::new(StringArray::from(vec!["Oslo"]))),
    ];
    let payment = RecordBatch::try_from_iter(columns)?;
    let pushed = client.push("payments", &payment, "payment 4711").await?;
    println!("{} accepted, {} rejected", pushed.accepted, pushed.rejected.len());

    let cards: ArrayRef = Arc::new(Int64Array::from(vec![7, 8]));
    let keys = RecordBatch::try_from_iter([("card", cards)])?;
    let features = client
        .get_features(&Selection::Service("fraud_v1".into()), &keys)
        .await?;
    for Card { card, amount } in features.rows()? {
        println!("card {card}: {amount:?}");
    }
    println!("{:?}", features.statuses("last_payment__amount"));
    Ok(())
}
