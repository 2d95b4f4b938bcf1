//! NATS JetStream, with a server of its own for every test.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use asof_core::definition::{Broker, StreamStart};
use asof_streams::{Batch, Mark, Marks, Place, StreamError, Subscription};
use async_nats::jetstream::stream::{Config, RetentionPolicy};
use async_nats::jetstream::{self, Context};
use bytes::Bytes;
use tempfile::TempDir;
use tokio::time::timeout;

use crate::nats_server::Server;

const AT_MOST: Duration = Duration::from_secs(20);

/// The marks that were kept: a batch is checked against them as whoever keeps them does.
#[derive(Default)]
struct Kept(Mutex<HashMap<String, Mark>>);

impl Kept {
    fn at(lane: &str, mark: Mark) -> Arc<Self> {
        Arc::new(Self(Mutex::new(HashMap::from([(lane.to_owned(), mark)]))))
    }

    fn keep(&self, batch: &Batch) {
        let mut kept = self.0.lock().expect("the lock");
        assert_eq!(kept.get(&*batch.lane), batch.before.as_ref());
        kept.insert(batch.lane.to_string(), batch.after.clone());
    }

    fn one(&self) -> Mark {
        self.0
            .lock()
            .expect("the lock")
            .values()
            .next()
            .expect("a mark")
            .clone()
    }
}

impl Marks for Kept {
    fn mark(&self, lane: &str) -> Result<Option<Mark>, String> {
        Ok(self.0.lock().expect("the lock").get(lane).cloned())
    }
}

fn place(servers: &str, stream: Option<&str>, subject: &str, start: StreamStart) -> Place {
    let broker = Broker::Nats {
        subject: subject.into(),
        stream: stream.map(str::to_owned),
    };
    Place {
        broker,
        servers: servers.into(),
        start,
    }
}

fn rides(server: &Server) -> Place {
    place(&server.url, None, "rides", StreamStart::Earliest)
}

async fn open(place: &Place, kept: &Arc<Kept>) -> Result<Arc<dyn Subscription>, StreamError> {
    let kept: Arc<dyn Marks> = kept.clone();
    timeout(AT_MOST, asof_streams::open(place, kept))
        .await
        .expect("it opens in time")
}

async fn opened(place: &Place, kept: &Arc<Kept>) -> Arc<dyn Subscription> {
    open(place, kept).await.expect("it opens")
}

async fn refused(place: &Place, kept: &Arc<Kept>) -> String {
    match open(place, kept).await {
        Err(StreamError::Refused(what)) => what,
        Err(StreamError::Unavailable(what)) => panic!("unavailable: {what}"),
        Ok(_) => panic!("it opened"),
    }
}

async fn next(stream: &Arc<dyn Subscription>) -> Batch {
    timeout(AT_MOST, stream.next(1000, 1 << 20))
        .await
        .expect("a batch in time")
        .expect("a batch")
}

/// The payloads of `count` messages, each batch kept.
async fn read(stream: &Arc<dyn Subscription>, kept: &Kept, count: usize) -> Vec<String> {
    let mut payloads = Vec::new();
    while payloads.len() < count {
        let batch = next(stream).await;
        assert!(batch.messages.is_sorted_by_key(|message| message.position));
        assert_eq!(
            batch.messages.last().map(|message| message.position + 1),
            Some(batch.after.next)
        );
        assert_eq!(batch.lost, 0);
        kept.keep(&batch);
        payloads.extend(
            batch
                .messages
                .iter()
                .map(|message| text(message.payload.as_ref())),
        );
    }
    payloads
}

fn text(payload: Option<&Bytes>) -> String {
    String::from_utf8(payload.expect("a payload").to_vec()).expect("text")
}

fn numbers(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| number.to_string()).collect()
}

async fn stream(client: &Context, name: &str, subjects: &[&str]) {
    let subjects = subjects.iter().map(|&subject| subject.to_owned()).collect();
    let config = Config {
        name: name.to_owned(),
        subjects,
        ..Config::default()
    };
    client.create_stream(config).await.expect("a stream");
}

/// Publishes a message of each of `payloads`, and waits until they are stored.
async fn publish(client: &Context, subject: &str, payloads: Vec<String>) {
    let mut stored = Vec::new();
    for payload in payloads {
        stored.push(
            client
                .publish(subject.to_owned(), payload.into())
                .await
                .expect("it is sent"),
        );
        if stored.len() == 1000 {
            stored_all(&mut stored).await;
        }
    }
    stored_all(&mut stored).await;
}

async fn stored_all(stored: &mut Vec<jetstream::context::PublishAckFuture>) {
    for message in stored.drain(..) {
        message.await.expect("it is stored");
    }
}

#[tokio::test]
async fn every_message_comes_once_and_in_order() {
    let folder = TempDir::new().expect("a folder");
    let server = Server::start(folder.path());
    let client = server.client().await;
    stream(&client, "RIDES", &["rides"]).await;
    publish(&client, "rides", numbers(0..10_000)).await;

    let kept = Arc::new(Kept::default());
    let stream = opened(&rides(&server), &kept).await;
    assert_eq!(
        stream.pending().await,
        Ok(vec![(Arc::from("nats/RIDES/rides"), 10_000)])
    );
    let first = timeout(AT_MOST, stream.next(3, 1 << 20))
        .await
        .expect("in time")
        .expect("a batch");
    // Three at most: what has come by then.
    let came = first.messages.len();
    assert!((1..=3).contains(&came), "{came}");
    assert_eq!((first.before.clone(), first.after.next), (None, came as u64 + 1));
    let positions = first.messages.iter().map(|message| message.position);
    assert!(positions.eq(1..=came as u64));
    assert!(first.messages.is_sorted_by_key(|message| message.published));
    assert!(first.messages.iter().all(|message| message.published.is_some()));
    kept.keep(&first);
    assert_eq!(read(&stream, &kept, 10_000 - came).await, numbers(came..10_000));
    assert_eq!(kept.one().next, 10_001);
    assert_eq!(
        stream.pending().await,
        Ok(vec![(Arc::from("nats/RIDES/rides"), 0)])
    );
}

#[tokio::test]
async fn a_batch_ends_at_its_bytes_and_a_payload_may_be_empty() {
    let folder = TempDir::new().expect("a folder");
    let server = Server::start(folder.path());
    let client = server.client().await;
    stream(&client, "RIDES", &["rides"]).await;
    publish(
        &client,
        "rides",
        vec![String::new(), "1234".into(), "5678".into(), "9".into()],
    )
    .await;

    let kept = Arc::new(Kept::default());
    let stream = opened(&rides(&server), &kept).await;
    let mut batches = Vec::new();
    while batches.iter().map(Vec::len).sum::<usize>() < 4 {
        let batch = timeout(AT_MOST, stream.next(1000, 5))
            .await
            .expect("in time")
            .expect("a batch");
        batches.push(
            batch
                .messages
                .iter()
                .map(|message| text(message.payload.as_ref()))
                .collect(),
        );
    }
    assert!(
        batches
            .iter()
            .all(|batch: &Vec<String>| batch.concat().len() <= 8),
        "{batches:?}"
    );
    assert_eq!(batches.concat(), ["", "1234", "5678", "9"]);
}

#[tokio::test]
async fn it_goes_on_at_the_mark_wherever_that_is() {
    let folder = TempDir::new().expect("a folder");
    let server = Server::start(folder.path());
    let client = server.client().await;
    stream(&client, "RIDES", &["rides"]).await;
    publish(&client, "rides", numbers(0..5000)).await;

    let kept = Arc::new(Kept::default());
    let stream = opened(&rides(&server), &kept).await;
    let mut payloads = read(&stream, &kept, 1500).await;
    let middle = kept.one();
    drop(stream);
    let stream = opened(&rides(&server), &kept).await;
    payloads.extend(read(&stream, &kept, 5000 - payloads.len()).await);
    assert_eq!(payloads, numbers(0..5000));

    // Nothing is there yet, and what comes then is the next.
    let stream = opened(&rides(&server), &kept).await;
    publish(&client, "rides", numbers(5000..5001)).await;
    assert_eq!(read(&stream, &kept, 1).await, ["5000"]);

    // Whoever has kept less gets the same again.
    let again = Kept::at("nats/RIDES/rides", middle.clone());
    let stream = opened(&rides(&server), &again).await;
    let from = usize::try_from(middle.next).expect("small") - 1;
    assert_eq!(read(&stream, &again, 5001 - from).await, numbers(from..5001));
}

#[tokio::test]
async fn the_latest_begin_behind_what_is_there_also_when_opened_anew() {
    let folder = TempDir::new().expect("a folder");
    let server = Server::start(folder.path());
    let client = server.client().await;
    stream(&client, "RIDES", &["rides"]).await;
    publish(&client, "rides", numbers(0..10)).await;

    let kept = Arc::new(Kept::default());
    let place = place(&server.url, Some("RIDES"), "rides", StreamStart::Latest);
    let stream = opened(&place, &kept).await;
    publish(&client, "rides", numbers(10..20)).await;
    let first = next(&stream).await;
    assert_eq!(
        (first.before.clone(), first.messages.len(), first.after.next),
        (None, 0, 11)
    );
    kept.keep(&first);
    drop(stream);

    let stream = opened(&place, &kept).await;
    assert_eq!(read(&stream, &kept, 10).await, numbers(10..20));
    publish(&client, "rides", numbers(20..30)).await;
    assert_eq!(read(&stream, &kept, 10).await, numbers(20..30));
}

#[tokio::test]
async fn what_was_purged_before_it_was_read_is_counted() {
    let folder = TempDir::new().expect("a folder");
    let server = Server::start(folder.path());
    let client = server.client().await;
    stream(&client, "RIDES", &["rides"]).await;
    publish(&client, "rides", numbers(0..100)).await;
    let kept = Arc::new(Kept::default());
    let stream = opened(&rides(&server), &kept).await;
    let mut seen = 0;
    while seen < 40 {
        let batch = timeout(AT_MOST, stream.next(40 - seen, 1 << 20))
            .await
            .expect("in time")
            .expect("one");
        seen += batch.messages.len();
        kept.keep(&batch);
    }
    drop(stream);

    let purged = client.get_stream("RIDES").await.expect("the stream");
    purged.purge().sequence(91).await.expect("it is purged");
    let stream = opened(&rides(&server), &kept).await;
    let first = next(&stream).await;
    assert_eq!(
        (first.lost, first.messages[0].position, first.before.clone()),
        (50, 91, Some(kept.one()))
    );
    kept.keep(&first);
    publish(&client, "rides", numbers(100..101)).await;
    let left = 11 - first.messages.len();
    assert_eq!(read(&stream, &kept, left).await, numbers(101 - left..101));
}

#[tokio::test]
async fn a_stream_that_was_made_anew_is_read_from_its_beginning() {
    let folder = TempDir::new().expect("a folder");
    let server = Server::start(folder.path());
    let client = server.client().await;
    stream(&client, "RIDES", &["rides"]).await;
    publish(&client, "rides", numbers(0..10)).await;
    let kept = Arc::new(Kept::default());
    let reading = opened(&rides(&server), &kept).await;
    read(&reading, &kept, 10).await;

    client.delete_stream("RIDES").await.expect("it is deleted");
    stream(&client, "RIDES", &["rides"]).await;
    publish(&client, "rides", numbers(0..20)).await;
    let ended = timeout(AT_MOST, reading.next(1000, 1 << 20))
        .await
        .expect("in time");
    assert!(matches!(ended, Err(StreamError::Unavailable(_))), "{ended:?}");
    let before = kept.one();
    let reading = opened(&rides(&server), &kept).await;
    assert_eq!(read(&reading, &kept, 20).await, numbers(0..20));
    assert_eq!((before.next, kept.one().next), (11, 21));
    assert_ne!(before.epoch, kept.one().epoch);
    let ahead = Mark {
        next: 22,
        ..kept.one()
    };
    let what = refused(&rides(&server), &Kept::at("nats/RIDES/rides", ahead)).await;
    assert!(
        what.contains("ends before position 21") && what.contains("up to 22"),
        "{what}"
    );
}

#[tokio::test]
async fn what_cannot_be_read_is_refused() {
    let folder = TempDir::new().expect("a folder");
    let server = Server::start(folder.path());
    let client = server.client().await;
    stream(&client, "RIDES", &["rides"]).await;
    for (retention, name) in [
        (RetentionPolicy::WorkQueue, "work"),
        (RetentionPolicy::Interest, "interest"),
    ] {
        let config = Config {
            name: name.into(),
            subjects: vec![name.into()],
            retention,
            ..Config::default()
        };
        client.create_stream(config).await.expect("a stream");
    }
    for (stream, subject, says) in [
        (None, "work", "the stream work has the retention \"workqueue\""),
        (
            None,
            "interest",
            "the stream interest has the retention \"interest\"",
        ),
        (None, "trips", "no JetStream stream has the subject trips"),
        (Some("TRIPS"), "rides", "there is no JetStream stream TRIPS"),
        (
            Some("RIDES"),
            "trips",
            "JetStream does not give trips of the stream RIDES",
        ),
        (Some("RI.DES"), "rides", "\"RI.DES\" is not a name"),
        (None, "ri des", "\"ri des\" is not a subject"),
    ] {
        let place = place(&server.url, stream, subject, StreamStart::Earliest);
        let what = refused(&place, &Arc::default()).await;
        assert!(what.contains(says), "{what}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable_soon() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent = free.local_addr().expect("its address");
    let began = Instant::now();
    for servers in [
        format!("nats://{silent}"),
        "nats://127.0.0.1:1,nats://localhost:1".to_owned(),
    ] {
        let place = place(&servers, None, "rides", StreamStart::Earliest);
        let Err(StreamError::Unavailable(what)) = open(&place, &Arc::default()).await else {
            panic!("it opened or is refused")
        };
        assert!(what.contains("127.0.0.1:"), "{what}");
    }
    assert!(began.elapsed() < Duration::from_secs(7), "{:?}", began.elapsed());
}

#[tokio::test]
async fn nothing_is_missing_after_the_server_was_killed() {
    let folder = TempDir::new().expect("a folder");
    let server = Server::start(folder.path());
    let port = server.port();
    let client = server.client().await;
    stream(&client, "RIDES", &["rides"]).await;
    publish(&client, "rides", numbers(0..3000)).await;
    let kept = Arc::new(Kept::default());
    let place = rides(&server);
    let reading = opened(&place, &kept).await;
    let mut payloads = read(&reading, &kept, 3000).await;

    drop(server);
    let began = Instant::now();
    let ended = timeout(AT_MOST, reading.next(1000, 1 << 20))
        .await
        .expect("in time");
    assert!(matches!(ended, Err(StreamError::Unavailable(_))), "{ended:?}");
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert!(matches!(
        reading.pending().await,
        Err(StreamError::Unavailable(_))
    ));
    assert!(matches!(
        open(&place, &kept).await,
        Err(StreamError::Unavailable(_))
    ));

    let server = Server::start_with(folder.path(), &["-p", &port]);
    publish(&server.client().await, "rides", numbers(3000..6000)).await;
    payloads.extend(read(&opened(&place, &kept).await, &kept, 3000).await);
    assert_eq!(payloads, numbers(0..6000));
}

#[tokio::test]
async fn what_is_dropped_leaves_no_task_and_no_connection() {
    let folder = TempDir::new().expect("a folder");
    let server = Server::start(folder.path());
    let client = server.client().await;
    stream(&client, "RIDES", &["rides"]).await;
    publish(&client, "rides", numbers(0..1000)).await;
    drop(client);
    tasks_end().await;

    let kept = Arc::new(Kept::default());
    let reading = opened(&rides(&server), &kept).await;
    read(&reading, &kept, 1).await;
    drop(reading);
    tasks_end().await;

    // Neither while the server is away.
    let place = rides(&server);
    let reading = opened(&place, &Arc::new(Kept::default())).await;
    next(&reading).await;
    drop(server);
    while timeout(AT_MOST, reading.next(1000, 1 << 20))
        .await
        .expect("in time")
        .is_ok()
    {}
    drop(reading);
    tasks_end().await;
}

async fn tasks_end() {
    let began = Instant::now();
    while tokio::runtime::Handle::current().metrics().num_alive_tasks() > 0 {
        assert!(began.elapsed() < AT_MOST, "tasks are left");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_quiet_stream_is_waited_for() {
    let folder = TempDir::new().expect("a folder");
    let server = Server::start(folder.path());
    let client = server.client().await;
    stream(&client, "RIDES", &["rides"]).await;
    let kept = Arc::new(Kept::default());
    let reading = opened(&rides(&server), &kept).await;
    let (payloads, ()) = tokio::join!(read(&reading, &kept, 1), async {
        tokio::time::sleep(Duration::from_secs(8)).await;
        publish(&client, "rides", numbers(0..1)).await;
    });
    assert_eq!(payloads, ["0"]);
}

#[tokio::test]
async fn who_does_not_read_is_sent_a_bounded_number_of_messages() {
    let folder = TempDir::new().expect("a folder");
    let server = Server::start(folder.path());
    let client = server.client().await;
    stream(&client, "RIDES", &["rides"]).await;
    let large = "x".repeat(10_000);
    publish(&client, "rides", vec![large.clone(); 10_000]).await;
    let kept = Arc::new(Kept::default());
    let reading = opened(&rides(&server), &kept).await;
    let one = timeout(AT_MOST, reading.next(1, 1))
        .await
        .expect("in time")
        .expect("a batch");
    kept.keep(&one);
    tokio::time::sleep(Duration::from_secs(1)).await;

    let consumers = client.get_stream("RIDES").await.expect("the stream");
    let unsent = futures::TryStreamExt::try_collect::<Vec<_>>(consumers.consumers())
        .await
        .expect("them");
    assert_eq!(unsent.len(), 1);
    assert!(
        unsent[0].num_pending > 10_000 - 1300,
        "{} were not sent",
        unsent[0].num_pending
    );
    assert_eq!(
        reading.pending().await,
        Ok(vec![(Arc::from("nats/RIDES/rides"), 9_999)])
    );
    assert_eq!(read(&reading, &kept, 9_999).await.len(), 9_999);
}

#[tokio::test]
async fn messages_larger_than_a_request_come_too() {
    let folder = TempDir::new().expect("a folder");
    let config = folder.path().join("config");
    std::fs::write(&config, "max_payload: 8MB").expect("it is written");
    let config = config.to_str().expect("a path");
    let server = Server::start_with(folder.path(), &["-p", "-1", "-c", config]);
    let client = server.client().await;
    stream(&client, "RIDES", &["rides"]).await;
    let mut payloads = numbers(0..100);
    for at in [0, 1, 50, 99] {
        payloads[at] = "x".repeat(6_000_000 + at);
    }
    publish(&client, "rides", payloads.clone()).await;
    let kept = Arc::new(Kept::default());
    let reading = opened(&rides(&server), &kept).await;
    assert!(read(&reading, &kept, 100).await == payloads);
}

#[tokio::test]
async fn other_subjects_of_the_stream_are_passed_over() {
    let folder = TempDir::new().expect("a folder");
    let server = Server::start(folder.path());
    let client = server.client().await;
    stream(&client, "ALL", &["rides.>", "trips"]).await;
    for number in 0..300 {
        let subject = ["rides.nyc.yellow", "trips", "rides.sf.yellow"][number % 3];
        publish(&client, subject, numbers(number..number + 1)).await;
    }
    for (subject, of) in [
        ("rides.nyc.yellow", vec![0]),
        ("trips", vec![1]),
        ("rides.*.yellow", vec![0, 2]),
        ("rides.>", vec![0, 2]),
    ] {
        let expected: Vec<_> = (0..300)
            .filter(|number| of.contains(&(number % 3)))
            .map(|number| number.to_string())
            .collect();
        let kept = Arc::new(Kept::default());
        let place = place(&server.url, None, subject, StreamStart::Earliest);
        let mut payloads = read(&opened(&place, &kept).await, &kept, 1).await;
        payloads.extend(
            read(
                &opened(&place, &kept).await,
                &kept,
                expected.len() - payloads.len(),
            )
            .await,
        );
        assert_eq!(payloads, expected);
        assert!(kept.one().next >= 299);
    }
}

#[tokio::test]
async fn two_readers_get_the_same() {
    let folder = TempDir::new().expect("a folder");
    let server = Server::start(folder.path());
    let client = server.client().await;
    stream(&client, "RIDES", &["rides"]).await;
    publish(&client, "rides", numbers(0..2000)).await;
    for _ in 0..2 {
        let kept = Arc::new(Kept::default());
        let reading = opened(&rides(&server), &kept).await;
        assert_eq!(read(&reading, &kept, 2000).await, numbers(0..2000));
    }
}

#[tokio::test]
async fn credentials_of_the_url_are_used_and_never_shown() {
    let folder = TempDir::new().expect("a folder");
    let config = folder.path().join("config");
    std::fs::write(&config, "authorization { user: u, password: \"p@ss/w\" }").expect("it is written");
    let server = Server::start_with(
        folder.path(),
        &["-p", "-1", "-c", config.to_str().expect("a path")],
    );
    let client = server.client().await;
    stream(&client, "RIDES", &["rides"]).await;
    publish(&client, "rides", numbers(0..1)).await;
    let port = server.port();
    let with = |credentials: &str| {
        place(
            &format!("nats://{credentials}127.0.0.1:{port}"),
            None,
            "rides",
            StreamStart::Earliest,
        )
    };
    let kept = Arc::new(Kept::default());
    assert_eq!(
        read(&opened(&with("u:p%40ss%2Fw@"), &kept).await, &kept, 1).await,
        ["0"]
    );

    let none = refused(&with(""), &kept).await;
    assert!(
        none.contains(&format!("NATS at 127.0.0.1:{port} refuses the credentials")),
        "{none}"
    );
    for servers in [
        format!("nats://u:secret@127.0.0.1:{port}"),
        format!("nats://secret@127.0.0.1:{port}"),
        format!("nats://127.0.0.1:1,nats://u:secret@127.0.0.1:{port}"),
        "nats://u:secret@127.0.0.1:1".to_owned(),
        "nats://u:secret@nowhere.invalid".to_owned(),
        "nats://u:se,cret:secret@host:secret".to_owned(),
        "u:secret@host:99999".to_owned(),
        "http://u:secret@host".to_owned(),
        "tls://u:secret@host".to_owned(),
        "nats://u:secret@".to_owned(),
    ] {
        let error = open(&place(&servers, None, "rides", StreamStart::Earliest), &kept).await;
        let what = error.err().expect("an error").to_string();
        assert!(!what.contains("secret") && !what.contains("cret:"), "{what}");
    }
}

#[tokio::test]
async fn a_token_is_taken_and_a_user_without_rights_is_refused() {
    let folder = TempDir::new().expect("a folder");
    let config = folder.path().join("config");
    std::fs::write(&config, "authorization { token: t }").expect("it is written");
    let server = Server::start_with(
        folder.path(),
        &["-p", "-1", "-c", config.to_str().expect("a path")],
    );
    let servers = format!("nats://t@127.0.0.1:{}", server.port());
    let what = refused(
        &place(&servers, None, "rides", StreamStart::Earliest),
        &Arc::default(),
    )
    .await;
    assert!(
        what.contains("no JetStream stream has the subject rides"),
        "{what}"
    );
    drop(server);

    let rights = "authorization { users: [{ user: u, password: p, permissions: { publish: rides } }] }";
    std::fs::write(&config, rights).expect("it is written");
    let server = Server::start_with(
        folder.path(),
        &["-p", "-1", "-c", config.to_str().expect("a path")],
    );
    let servers = format!("nats://u:p@127.0.0.1:{}", server.port());
    let what = refused(
        &place(&servers, None, "rides", StreamStart::Earliest),
        &Arc::default(),
    )
    .await;
    assert!(what.contains("does not let its user read"), "{what}");
}

#[tokio::test]
async fn tls_is_refused() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let at = listener.local_addr().expect("its address");
    let says = async {
        let (mut client, _) = listener.accept().await.expect("a client");
        let info =
            b"INFO {\"server_id\":\"X\",\"version\":\"2.9.10\",\"tls_required\":true,\"max_payload\":1}\r\n";
        tokio::io::AsyncWriteExt::write_all(&mut client, info)
            .await
            .expect("it is sent");
        client
    };
    let place_of = |servers: String| place(&servers, None, "rides", StreamStart::Earliest);
    let (place, kept) = (place_of(format!("nats://{at}")), Arc::default());
    let (what, _client) = tokio::join!(refused(&place, &kept), says);
    assert!(what.contains("wants TLS"), "{what}");
    let what = refused(&place_of("tls://localhost".to_owned()), &kept).await;
    assert!(what.contains("wants TLS"), "{what}");
}
