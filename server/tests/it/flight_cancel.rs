//! A call that its caller cancels is not one that ended.

use std::net::SocketAddr;
use std::time::Duration;

use arrow::array::RecordBatch;
use bytes::Bytes;
use futures::StreamExt;
use prost::Message;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::flight::{clicks, messages, put, server};

/// How the call ends.
enum End {
    Reset(h2::Reason),
    Gone,
}

/// Sends all rows of an ingest by hand, and does not say that they are all.
async fn ingest(address: SocketAddr, command: &Value, end: End) {
    let connection = TcpStream::connect(address).await.unwrap();
    let (send, connection) = h2::client::handshake(connection).await.unwrap();
    let carried = tokio::spawn(connection);
    let request = http::Request::post(format!(
        "http://{address}/arrow.flight.protocol.FlightService/DoPut"
    ))
    .header("content-type", "application/grpc")
    .header("te", "trailers")
    .body(())
    .unwrap();
    let (answer, mut body) = send.ready().await.unwrap().send_request(request, false).unwrap();
    let messages: Vec<_> = messages(command, vec![rows()]).collect().await;
    for message in messages {
        let message = message.encode_to_vec();
        let mut frame = vec![0];
        frame.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
        frame.extend_from_slice(&message);
        body.send_data(Bytes::from(frame), false).unwrap();
    }
    // The call has begun.
    let mut answer = answer.await.unwrap().into_body();
    tokio::time::sleep(Duration::from_millis(100)).await;
    match end {
        End::Reset(reason) => body.send_reset(reason),
        End::Gone => carried.abort(),
    }
    while let Some(Ok(_)) = answer.data().await {}
}

fn rows() -> RecordBatch {
    clicks(vec![Some("JFK"), Some("LGA")], 50)
}

#[tokio::test]
async fn an_ingest_that_is_cancelled_appends_nothing() {
    let server = server().await;
    let cut = [
        ("cancelled", End::Reset(h2::Reason::CANCEL)),
        ("broken", End::Reset(h2::Reason::INTERNAL_ERROR)),
        ("gone", End::Gone),
    ];
    for (id, end) in cut {
        let command = json!({ "ingest": { "source": "clicks", "id": id } });
        ingest(server.address, &command, end).await;
        // Whatever the server still does with them.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let told = put(&server, &command, rows()).await.unwrap();
        assert_eq!(
            (&told[0]["accepted"], &told[0]["already_accepted"]),
            (&json!(2), &json!(false)),
            "{id}"
        );
    }
}
