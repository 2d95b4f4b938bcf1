//! A server that is too busy at first.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrow_schema::Schema;
use asof_client::{Client, Selection};
use asof_proto::response::GetFeaturesResponse;
use asof_proto::v1;
use asof_proto::v1::ingest_service_server::{IngestService, IngestServiceServer};
use asof_proto::v1::online_service_server::{OnlineService, OnlineServiceServer};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::codegen::BoxStream;
use tonic::transport::Server;
use tonic::transport::server::{Router, TcpIncoming};
use tonic::{Code, Request, Response, Status, Streaming};

struct Busy {
    calls: Arc<AtomicU32>,
    /// How often it says so.
    times: u32,
    status: Status,
}

#[tonic::async_trait]
impl OnlineService for Busy {
    async fn get_features(
        &self,
        request: Request<v1::GetFeaturesRequest>,
    ) -> Result<Response<GetFeaturesResponse>, Status> {
        assert!(request.metadata().contains_key("grpc-timeout"));
        if self.calls.fetch_add(1, Ordering::SeqCst) < self.times {
            return Err(self.status.clone());
        }
        Ok(Response::new(GetFeaturesResponse::default()))
    }
}

/// A client of a server.
async fn client_of(server: Router, deadline: Duration) -> (Client, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("grpc://{}", listener.local_addr().unwrap());
    let incoming = TcpIncoming::from(listener);
    let serving = tokio::spawn(async move { server.serve_with_incoming(incoming).await.unwrap() });
    let client = Client::connect(&url).await.unwrap().with_deadline(deadline);
    (client, serving)
}

/// How a call ends, and how many attempts it took.
async fn tried(times: u32, code: Code, deadline: Duration) -> (Option<Code>, u32) {
    tried_with(times, Status::new(code, "come again"), deadline).await
}

async fn tried_with(times: u32, status: Status, deadline: Duration) -> (Option<Code>, u32) {
    let calls = Arc::new(AtomicU32::new(0));
    let busy = Busy {
        calls: Arc::clone(&calls),
        times,
        status,
    };
    let server = Server::builder().add_service(OnlineServiceServer::new(busy));
    let (client, serving) = client_of(server, deadline).await;
    let keys: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let keys = RecordBatch::try_from_iter([("card", keys)]).unwrap();
    let answer = client.get_features(&Selection::Service("s".into()), &keys).await;
    serving.abort();
    (
        answer.err().and_then(|error| error.code()),
        calls.load(Ordering::SeqCst),
    )
}

#[tonic::async_trait]
impl IngestService for Busy {
    async fn push(&self, _: Request<v1::PushRequest>) -> Result<Response<v1::PushResponse>, Status> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        Err(self.status.clone())
    }

    type PushStreamStream = BoxStream<v1::PushStreamResponse>;

    async fn push_stream(
        &self,
        _: Request<Streaming<v1::PushRequest>>,
    ) -> Result<Response<Self::PushStreamStream>, Status> {
        Err(self.status.clone())
    }

    async fn flush(&self, _: Request<v1::FlushRequest>) -> Result<Response<v1::FlushResponse>, Status> {
        Err(Status::unimplemented("nothing to flush"))
    }
}

#[tokio::test]
async fn a_push_without_an_id_is_made_once() {
    let deadline = Duration::from_millis(300);
    for (id, once) in [("", true), ("a", false)] {
        let calls = Arc::new(AtomicU32::new(0));
        let busy = Busy {
            calls: Arc::clone(&calls),
            times: u32::MAX,
            status: Status::unavailable("come again"),
        };
        let server = Server::builder().add_service(IngestServiceServer::new(busy));
        let (client, serving) = client_of(server, deadline).await;
        let rows = RecordBatch::new_empty(Arc::new(Schema::empty()));
        let error = client.push("payments", &rows, id).await.unwrap_err();
        serving.abort();
        assert_eq!(error.code(), Some(Code::Unavailable));
        assert_eq!(calls.load(Ordering::SeqCst) == 1, once, "id {id:?}");
    }
}

#[tokio::test]
async fn a_call_is_made_again_within_its_deadline() {
    let long = Duration::from_secs(20);
    assert_eq!(tried(3, Code::Unavailable, long).await, (None, 4));
    assert_eq!(tried(1, Code::ResourceExhausted, long).await, (None, 2));
    let mut full = Status::resource_exhausted("the disk is full");
    full.metadata_mut()
        .insert("grpc-retry-pushback-ms", "-1".parse().unwrap());
    let exhausted = Some(Code::ResourceExhausted);
    assert_eq!(tried_with(u32::MAX, full, long).await, (exhausted, 1));
    let mut busy = Status::resource_exhausted("too much to do");
    busy.metadata_mut()
        .insert("grpc-retry-pushback-ms", "300".parse().unwrap());
    let started = Instant::now();
    assert_eq!(tried_with(1, busy, long).await, (None, 2));
    assert!(
        started.elapsed() >= Duration::from_millis(300),
        "{:?}",
        started.elapsed()
    );
    // What is wrong stays wrong.
    assert_eq!(tried(1, Code::NotFound, long).await, (Some(Code::NotFound), 1));
    let started = Instant::now();
    let (code, attempts) = tried(u32::MAX, Code::Unavailable, Duration::from_millis(300)).await;
    assert_eq!(code, Some(Code::Unavailable));
    assert!(attempts > 2, "{attempts} attempts");
    assert!(started.elapsed() < Duration::from_secs(5));
}
