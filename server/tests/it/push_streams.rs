//! Pushes without end: answered in order, one refusal ends nothing, and who takes no answers is not read from.

use std::time::Duration;

use asof_proto::v1;
use asof_proto::v1::ingest_service_client::IngestServiceClient;
use asof_proto::v1::push_request::Rows;
use asof_proto::v1::push_stream_response::Result as Outcome;
use asof_server::Limits;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};

use crate::harness::Server;
use crate::json::http;

const DEFINITIONS: &str = r#"
[[entity]]
name = "card"
keys = { card = "int64" }

[[source]]
name = "payments"
schema = { card = "int64", at = "timestamp", amount = "float64" }
event_time = "at"

[[view]]
name = "last"
entity = "card"
source = "payments"
owner = "ops@example.com"
[view.features]
amount = "float64"
"#;

/// A call, and how requests are given to it.
struct Pushing {
    requests: mpsc::Sender<v1::PushRequest>,
    answers: Streaming<v1::PushStreamResponse>,
}

async fn server() -> Server {
    let server = Server::empty(Limits::default()).await;
    server.apply(DEFINITIONS, 0).await;
    server.clock.set(1_000_000_000);
    server
}

impl Pushing {
    async fn start(server: &Server) -> Self {
        let (requests, received) = mpsc::channel(1);
        let mut client = IngestServiceClient::new(server.channel().await);
        let answers = client.push_stream(ReceiverStream::new(received)).await.unwrap();
        Self {
            requests,
            answers: answers.into_inner(),
        }
    }

    async fn push(&self, source: &str, id: &str, lines: String) {
        let request = v1::PushRequest {
            source: source.into(),
            request_id: id.into(),
            rows: Some(Rows::JsonLines(lines.into_bytes())),
        };
        self.requests.send(request).await.unwrap();
    }

    async fn answer(&mut self) -> Outcome {
        self.answers.next().await.unwrap().unwrap().result.unwrap()
    }
}

fn payment(card: i64, amount: f64) -> String {
    format!("{{\"card\": {card}, \"at\": \"1970-01-01T00:00:01Z\", \"amount\": {amount:?}}}\n")
}

fn accepted(outcome: &Outcome) -> (u64, usize, bool) {
    match outcome {
        Outcome::Answer(answer) => (answer.accepted, answer.rejected.len(), answer.already_accepted),
        Outcome::Refusal(refusal) => panic!("{refusal:?}"),
    }
}

#[tokio::test]
async fn answers_come_in_order_and_a_refusal_ends_nothing() {
    let server = server().await;
    let mut pushing = Pushing::start(&server).await;
    // Larger and smaller ones, which are not read in the same time.
    for number in 0..40 {
        let rows = 1 + (number * 37) % 200;
        let lines = (0..rows).map(|row| payment(row % 7, f64::from(number as i32)));
        pushing
            .push("payments", &format!("id{number}"), lines.collect())
            .await;
        if number % 10 == 9 {
            for before in number - 9..=number {
                let rows = 1 + (before * 37) % 200;
                assert_eq!(accepted(&pushing.answer().await), (rows as u64, 0, false));
            }
        }
    }
    pushing.push("nothing", "", payment(1, 1.0)).await;
    pushing.push("payments", "id0", payment(1, 1.0)).await;
    pushing
        .push(
            "payments",
            "",
            payment(1, 1.0).replace("card", "cart") + &payment(2, 3.5),
        )
        .await;
    pushing.push("payments", "id0", payment(0, 0.0)).await;
    pushing.push("payments", "", String::new()).await;
    let refused = |outcome: Outcome| match outcome {
        Outcome::Refusal(refusal) => (Code::from(refusal.code), refusal.message),
        Outcome::Answer(answer) => panic!("{answer:?}"),
    };
    let unknown = (Code::NotFound, "unknown source \"nothing\"".to_owned());
    assert_eq!(refused(pushing.answer().await), unknown);
    let (code, message) = refused(pushing.answer().await);
    assert_eq!(code, Code::InvalidArgument);
    assert!(message.contains("\"id0\" was used for other rows"), "{message}");
    assert_eq!(accepted(&pushing.answer().await), (1, 1, false));
    assert_eq!(accepted(&pushing.answer().await), (1, 0, true));
    let (code, message) = refused(pushing.answer().await);
    assert_eq!(
        (code, message.as_str()),
        (
            Code::InvalidArgument,
            "0 rows were given, one push takes 1 to 10000"
        )
    );

    // The last amount of each card counts: the order of the requests is the order of the rows.
    let keys = r#"{"features": ["last:amount"], "keys": {"card": [0, 1, 2]}}"#;
    let (_, answer) = http(&server, "POST", "/v1/get-features", keys).await;
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(
        answer["columns"][0]["values"],
        serde_json::json!([39.0, 39.0, 3.5])
    );
    drop(pushing.requests);
    assert!(
        pushing.answers.next().await.is_none(),
        "it ends with the requests"
    );
}

#[tokio::test]
async fn who_takes_no_answers_is_not_read_from() {
    let server = server().await;
    let pushing = Pushing::start(&server).await;
    // Each of them is answered with a reason for each of its rows.
    let bad = "{}\n".repeat(100);
    let mut sent = 0;
    let push = |_| pushing.push("payments", "", bad.clone());
    while tokio::time::timeout(Duration::from_secs(2), push(sent))
        .await
        .is_ok()
    {
        sent += 1;
        assert!(sent < 20_000, "there is no end");
    }
    // Another one is answered meanwhile.
    let mut other = Pushing::start(&server).await;
    other.push("payments", "", payment(1, 1.0)).await;
    assert_eq!(accepted(&other.answer().await), (1, 0, false));
    let read = || async {
        let (_, metrics) = http(&server, "GET", "/metrics", "").await;
        let line = "asof_requests_total{method=\"asof.v1.IngestService/PushStream\",code=\"OK\"} ";
        let count = metrics.lines().find_map(|found| found.strip_prefix(line));
        count.map_or(0, |count| count.parse::<u64>().unwrap())
    };
    let before = read().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(read().await, before, "nothing goes on");
    // It goes on when they are taken.
    let Pushing {
        requests,
        mut answers,
    } = pushing;
    let taking = tokio::spawn(async move {
        let mut taken = 0;
        while let Some(answer) = answers.next().await {
            answer.unwrap();
            taken += 1;
        }
        taken
    });
    drop(requests);
    let taken = tokio::time::timeout(Duration::from_secs(60), taking).await;
    assert!(taken.expect("in time").unwrap() >= sent);
}

#[tokio::test]
async fn it_ends_with_the_server_and_with_what_is_no_request() {
    let server = server().await;
    let mut pushing = Pushing::start(&server).await;
    pushing.push("payments", "", payment(1, 1.0)).await;
    assert_eq!(accepted(&pushing.answer().await), (1, 0, false));
    let mut large = Pushing::start(&server).await;
    large.push("payments", "", " ".repeat(5 << 20)).await;
    let error = large.answers.next().await.unwrap().unwrap_err();
    assert_eq!(error.code(), Code::OutOfRange, "{error}");
    assert!(large.answers.next().await.is_none());
    // One that went away: what it had pushed is there.
    let gone = Pushing::start(&server).await;
    gone.push("payments", "", payment(3, 4.0)).await;
    let keys = r#"{"features": ["last:amount"], "keys": {"card": [3]}}"#;
    for attempt in 0.. {
        let (_, answer) = http(&server, "POST", "/v1/get-features", keys).await;
        if answer.contains("[4]") || answer.contains("[4.0]") {
            break;
        }
        assert!(attempt < 500, "{answer}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(gone);
    let stopping = tokio::spawn(server.stop());
    let ended = tokio::time::timeout(Duration::from_secs(10), pushing.answers.next()).await;
    let error = ended.expect("in time").unwrap().unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    let drained = tokio::time::timeout(Duration::from_secs(10), stopping).await;
    assert_eq!(drained.expect("in time").unwrap().cut, 0);
}
