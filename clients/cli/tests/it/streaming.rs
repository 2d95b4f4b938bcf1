//! Streams of `asof serve`, and what counts of them when the server is killed (I11).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_nats::jetstream::stream::Config;
use rdkafka::config::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::nats_server::Server as Nats;
use crate::project::Project;
use crate::pushing::{CLICKS, PAGES, extracted, served_page};
use crate::server::Server;

/// How often the server is killed, of which `ASOF_CASES` per cent are done.
const KILLS: u64 = 10;
/// Each of so many messages cannot be read.
const BAD: u64 = 50;

fn project(stream: &str) -> Project {
    let project = Project::starter();
    let clicks = CLICKS.replace("event_time", &format!("stream = {{ {stream} }}\nevent_time"));
    project.write("features/clicks.toml", &(clicks + PAGES));
    project.done(&["apply", "--yes"]);
    project
}

/// The click of a number.
fn click(number: u64) -> String {
    if number.is_multiple_of(BAD) {
        return format!("click {number}");
    }
    let amount = number as f64 / 4.0;
    format!(
        "{{\"customer_id\": {number}, \"at\": \"2026-01-01T00:00:00Z\", \"amount\": {amount:?}, \"page\": \"p{}\"}}",
        number % 3
    )
}

/// What a server tells of its only stream, once that is as is wanted.
fn wait_for(project: &Project, wanted: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
    let began = Instant::now();
    loop {
        let status = project.done(&["status", "--json"]).json();
        let stream = status["streams"][0].clone();
        if wanted(&stream) {
            return stream;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{stream}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn sum_of(stream: &serde_json::Value, what: &str) -> u64 {
    let lanes = stream["lanes"].as_array().unwrap().iter();
    lanes.map(|lane| lane[what].as_u64().unwrap()).sum()
}

/// Kills the server again and again while messages come.
fn kill(project: &Project, kills: u64) {
    let percent: u64 = std::env::var("ASOF_CASES").map_or(100, |text| text.parse().unwrap());
    let mut random = 29_u64;
    for _ in 0..(kills * percent / 100).max(1) {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let mut server = Server::start(project, &[]);
        std::thread::sleep(Duration::from_millis(30 + (random >> 33) % 700));
        server.child.kill().unwrap();
        server.wait();
    }
}

/// What was published counts once, in windows, in the table and among the dead letters.
fn check(project: &Project, published: u64) {
    let mut server = Server::start(project, &[]);
    let stream = wait_for(project, |stream| {
        sum_of(stream, "messages") == published && stream["reading"] == true
    });
    let bad = published.div_ceil(BAD);
    assert_eq!(sum_of(&stream, "dead_letters"), bad, "{stream}");
    let good: BTreeMap<i64, f64> = (0..published)
        .filter(|number| !number.is_multiple_of(BAD))
        .map(|number| (number as i64, number as f64 / 4.0))
        .collect();
    for page in 0..3 {
        let of_page = good.iter().filter(|(number, _)| **number % 3 == page);
        let expected = of_page.fold((0, 0.0), |(count, sum), (_, amount)| (count + 1, sum + amount));
        assert_eq!(served_page(project, page), expected, "page {page}");
    }
    server.signal("-TERM");
    assert!(server.wait().success());
    assert_eq!(extracted(project), good);
    // Each row once: an empty store reads as many as were published.
    std::fs::remove_dir_all(project.path().join(".asof/online")).unwrap();
    let run = project.done(&["materialize", "last_click", "--json"]).json();
    assert_eq!(run["runs"][0]["rows_read"], good.len());
}

#[test]
fn messages_of_nats_count_once_though_the_server_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let nats = Nats::start(folder.path());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let client = runtime.block_on(nats.client());
    let stream = Config {
        name: "CLICKS".into(),
        subjects: vec!["clicks.>".into()],
        ..Config::default()
    };
    runtime.block_on(client.create_stream(stream)).unwrap();
    let project = project(&format!("nats = \"{}\", subject = \"clicks.>\"", nats.url));
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let publishing = runtime.spawn({
        let (stop, count) = (Arc::clone(&stop), Arc::clone(&count));
        async move {
            while !stop.load(Ordering::SeqCst) {
                let number = count.load(Ordering::SeqCst);
                let subject = format!("clicks.{}", number % 3);
                let published = client.publish(subject, click(number).into()).await.unwrap();
                published.await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    kill(&project, KILLS);
    stop.store(true, Ordering::SeqCst);
    runtime.block_on(publishing).unwrap();
    let published = count.load(Ordering::SeqCst);
    check(&project, published);
    println!("figure: servers killed while they read NATS: {published} messages count once each");
}

/// The mocked broker gives the partitions of a consumer that was killed to nobody for nine seconds.
#[test]
fn messages_of_kafka_count_once_though_the_server_is_killed() {
    let kafka = MockCluster::new(1).unwrap();
    kafka.create_topic("clicks", 3, 1).unwrap();
    let servers = kafka.bootstrap_servers();
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &servers)
        .set("compression.type", "lz4")
        .create()
        .unwrap();
    let publish = |numbers: std::ops::Range<u64>| {
        for number in numbers {
            let payload = click(number);
            let record = BaseRecord::<(), _>::to("clicks").partition((number % 3) as i32);
            producer.send(record.payload(&payload)).unwrap();
            producer.poll(Duration::ZERO);
        }
        producer.flush(Duration::from_secs(10)).unwrap();
    };
    let project = project(&format!("kafka = \"{servers}\", topic = \"clicks\""));
    publish(0..6_000);
    for (so_far, kept) in [(6_000, 1), (12_000, 6_001)] {
        let mut server = Server::start(&project, &[]);
        publish(so_far..so_far + 6_000);
        // In the middle of it.
        wait_for(&project, |stream| sum_of(stream, "messages") >= kept);
        server.child.kill().unwrap();
        server.wait();
    }
    check(&project, 18_000);
    println!("figure: servers killed while they read Kafka: 18000 messages count once each");
}

#[test]
fn a_stream_that_cannot_be_read_is_told_and_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let project = project("nats = \"nats://127.0.0.1:1\", subject = \"clicks\"");
    let status = project.done(&["status"]).stdout;
    assert!(
        status.contains("clicks          no server runs: asof serve"),
        "{status}"
    );
    let mut server = Server::start(&project, &[]);
    let stream = wait_for(&project, |stream| !stream["problem"].is_null());
    assert_eq!(stream["reading"], false);
    let status = project.done(&["status"]).stdout;
    assert!(status.contains("not read, see below"), "{status}");
    assert!(status.contains("\nclicks: "), "{status}");
    // Another definition is another stream, at once.
    let nats = Nats::start(folder.path());
    publish_one(&nats);
    let clicks = project
        .read("features/clicks.toml")
        .replace("nats://127.0.0.1:1", &nats.url);
    project.write("features/clicks.toml", &clicks);
    project.done(&["apply", "--yes"]);
    wait_for(&project, |stream| sum_of(stream, "messages") == 1);
    let status = project.done(&["status"]).stdout;
    assert!(status.contains("nats/CLICKS/clicks"), "{status}");
    assert!(
        status.contains("the last dead letter of nats/CLICKS/clicks was read at "),
        "{status}"
    );
    // Reads go on while the broker is away, and the stop is clean.
    drop(nats);
    wait_for(&project, |stream| {
        stream["reading"] == false && !stream["problem"].is_null()
    });
    server.signal("-TERM");
    assert!(server.wait().success());
}

fn publish_one(nats: &Nats) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = nats.client().await;
        let stream = Config {
            name: "CLICKS".into(),
            subjects: vec!["clicks".into()],
            ..Config::default()
        };
        client.create_stream(stream).await.unwrap();
        client
            .publish("clicks", click(0).into())
            .await
            .unwrap()
            .await
            .unwrap();
    });
}
