//! Kafka, whose brokers are those that librdkafka brings for tests.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use asof_core::definition::{Broker, StreamStart};
use asof_streams::{Batch, Mark, Marks, Place, StreamError, Subscription};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use tokio::task::JoinHandle;
use tokio::time::timeout;

const TOPIC: &str = "clicks";
const PATIENCE: Duration = Duration::from_secs(60);

/// Brokers, and who writes to them.
struct Kafka {
    cluster: MockCluster<'static, DefaultProducerContext>,
    producer: BaseProducer,
}

impl Kafka {
    fn with(partitions: i32) -> Self {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic(TOPIC, partitions, 1).unwrap();
        let producer = ClientConfig::new()
            .set("bootstrap.servers", cluster.bootstrap_servers())
            .set("linger.ms", "0")
            .set("reconnect.backoff.max.ms", "500")
            .create()
            .unwrap();
        Self { cluster, producer }
    }

    fn place(&self, start: StreamStart) -> Place {
        place(&self.cluster.bootstrap_servers(), TOPIC, start)
    }

    async fn read(&self, marks: &Arc<Kept>) -> Arc<dyn Subscription> {
        self.read_from(marks, StreamStart::Earliest).await
    }

    async fn read_from(&self, marks: &Arc<Kept>, start: StreamStart) -> Arc<dyn Subscription> {
        asof_streams::open(&self.place(start), Arc::clone(marks) as Arc<dyn Marks>)
            .await
            .unwrap()
    }

    /// Writes messages, and waits until they are there.
    fn write<'a>(&self, partition: i32, payloads: impl IntoIterator<Item = Option<&'a [u8]>>) {
        for payload in payloads {
            self.send(partition, payload);
        }
        self.producer.flush(PATIENCE).unwrap();
    }

    /// Writes a message, and does not wait.
    fn send(&self, partition: i32, payload: Option<&[u8]>) {
        let mut record = BaseRecord::<[u8], [u8]>::to(TOPIC).partition(partition);
        record.payload = payload;
        while let Err((_, again)) = self.producer.send(record) {
            self.producer.poll(Duration::from_millis(10));
            record = again;
        }
    }

    /// Writes messages that say which they are.
    fn write_numbers(&self, partition: i32, numbers: std::ops::Range<u64>) {
        let texts: Vec<String> = numbers.map(|number| format!("{partition}/{number}")).collect();
        self.write(partition, texts.iter().map(|text| Some(text.as_bytes())));
    }

    /// The first offset of a partition, and that behind its last.
    fn ends(&self, partition: i32) -> (u64, u64) {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.cluster.bootstrap_servers())
            .create()
            .unwrap();
        let (low, high) = consumer.fetch_watermarks(TOPIC, partition, PATIENCE).unwrap();
        (low as u64, high as u64)
    }
}

fn place(servers: &str, topic: &str, start: StreamStart) -> Place {
    let broker = Broker::Kafka {
        topic: topic.to_owned(),
        group: "g".to_owned(),
    };
    Place {
        broker,
        servers: servers.to_owned(),
        start,
    }
}

fn lane(partition: i32) -> String {
    format!("kafka/g/{TOPIC}/{partition}")
}

fn mark(next: u64) -> Mark {
    Mark { next, epoch: None }
}

/// Marks as a store keeps them, with what was read up to them.
#[derive(Default)]
struct Kept {
    marks: Mutex<HashMap<String, Mark>>,
    read: Mutex<BTreeMap<String, Vec<u64>>>,
    unreadable: AtomicBool,
}

impl Kept {
    fn at(marks: impl IntoIterator<Item = (i32, u64)>) -> Arc<Self> {
        let marks = marks
            .into_iter()
            .map(|(partition, next)| (lane(partition), mark(next)))
            .collect();
        Arc::new(Self {
            marks: Mutex::new(marks),
            ..Self::default()
        })
    }

    /// Keeps a batch, if it is behind what was kept.
    fn keep(&self, batch: &Batch) -> bool {
        let mut marks = self.marks.lock().unwrap();
        if marks.get(&*batch.lane) != batch.before.as_ref() {
            return false;
        }
        marks.insert(batch.lane.to_string(), batch.after.clone());
        let mut read = self.read.lock().unwrap();
        let of_lane = read.entry(batch.lane.to_string()).or_default();
        of_lane.extend(batch.messages.iter().map(|message| message.position));
        true
    }

    fn count(&self) -> usize {
        self.read.lock().unwrap().values().map(Vec::len).sum()
    }

    fn of(&self, partition: i32) -> Vec<u64> {
        self.read
            .lock()
            .unwrap()
            .get(&lane(partition))
            .cloned()
            .unwrap_or_default()
    }
}

impl Marks for Kept {
    fn mark(&self, lane: &str) -> Result<Option<Mark>, String> {
        match self.unreadable.load(Ordering::SeqCst) {
            true => Err("the disk is gone".to_owned()),
            false => Ok(self.marks.lock().unwrap().get(lane).cloned()),
        }
    }
}

/// The next batch, whose form is as it has to be.
async fn next(stream: &dyn Subscription, most: usize, bytes: usize) -> Batch {
    let batch = timeout(PATIENCE, stream.next(most, bytes))
        .await
        .expect("a message")
        .unwrap();
    check(&batch, most, bytes);
    batch
}

fn check(batch: &Batch, most: usize, bytes: usize) {
    assert!(batch.messages.len() <= most);
    let sizes: Vec<usize> = batch
        .messages
        .iter()
        .map(|it| it.payload.as_ref().map_or(0, |it| it.len()))
        .collect();
    if let [but_last @ .., _] = sizes.as_slice() {
        assert!(but_last.is_empty() || but_last.iter().sum::<usize>() < bytes);
    }
    assert!(batch.messages.is_sorted_by(|a, b| a.position < b.position));
    if let (Some(first), Some(before)) = (batch.messages.first(), &batch.before) {
        assert!(first.position >= before.next);
    }
    if let Some(last) = batch.messages.last() {
        assert_eq!(batch.after, mark(last.position + 1));
    }
}

/// Reads and keeps until so many messages were kept in all.
async fn read_up_to(stream: &dyn Subscription, marks: &Kept, count: usize) {
    while marks.count() < count {
        let batch = next(stream, 1000, 1 << 20).await;
        assert!(marks.keep(&batch), "{batch:?}");
        stream.kept(&batch.lane, &batch.after);
    }
    assert_eq!(marks.count(), count);
}

/// Waits until nothing of a subscription is left that was dropped: all it was made of has its marks.
async fn gone(marks: &Arc<Kept>) {
    let begun = Instant::now();
    while Arc::strong_count(marks) > 1 {
        assert!(
            begun.elapsed() < Duration::from_secs(8),
            "the consumer is still there"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn refusal(error: &StreamError) -> &str {
    match error {
        StreamError::Refused(what) => what,
        StreamError::Unavailable(what) => panic!("not refused: {what}"),
    }
}

fn outage(error: &StreamError) -> &str {
    match error {
        StreamError::Unavailable(what) => what,
        StreamError::Refused(what) => panic!("refused: {what}"),
    }
}

async fn fails(stream: &dyn Subscription, patience: Duration) -> StreamError {
    let all = async {
        loop {
            if let Err(error) = stream.next(1000, 1 << 20).await {
                return error;
            }
        }
    };
    timeout(patience, all).await.expect("an error")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_message_comes_once_and_in_order() {
    const EACH: u64 = 5000;
    let kafka = Kafka::with(3);
    for partition in 0..3 {
        kafka.write_numbers(partition, 0..EACH);
    }
    let marks = Kept::at([]);
    let stream = kafka.read(&marks).await;
    while marks.count() < 3 * EACH as usize {
        let batch = next(&*stream, 700, 1 << 20).await;
        let partition = batch.lane.rsplit('/').next().unwrap();
        for message in &batch.messages {
            let text = format!("{partition}/{}", message.position);
            assert_eq!(message.payload.as_deref(), Some(text.as_bytes()));
            assert!(
                message
                    .published
                    .is_some_and(|at| at.micros() > 1_577_836_800_000_000)
            );
        }
        assert_eq!(batch.lost, 0);
        assert!(
            marks.keep(&batch),
            "the batch is behind the one before: {batch:?}"
        );
        stream.kept(&batch.lane, &batch.after);
    }
    for partition in 0..3 {
        assert_eq!(marks.of(partition), (0..EACH).collect::<Vec<_>>());
    }
    let pending = stream.pending().await.unwrap();
    assert_eq!(
        pending,
        (0..3)
            .map(|partition| (lane(partition).into(), 0))
            .collect::<Vec<_>>()
    );
    drop(stream);
    gone(&marks).await;

    // Anew, from the middle, from the end, and where no mark is.
    let marks = Kept::at([(0, 2500), (1, EACH)]);
    let stream = kafka.read(&marks).await;
    let first = next(&*stream, 7, 20).await;
    assert!(
        !first.messages.is_empty() && first.messages.len() < 7,
        "20 bytes are few messages: {first:?}"
    );
    assert!(marks.keep(&first));
    let pending: u64 = stream
        .pending()
        .await
        .unwrap()
        .iter()
        .map(|(_, count)| count)
        .sum();
    assert_eq!(pending, 2500 + EACH - first.messages.len() as u64);
    read_up_to(&*stream, &marks, 7500).await;
    assert_eq!(marks.of(0), (2500..EACH).collect::<Vec<_>>());
    assert_eq!(marks.of(1), Vec::<u64>::new());
    assert_eq!(marks.of(2), (0..EACH).collect::<Vec<_>>());
    kafka.write_numbers(1, EACH..EACH + 1);
    read_up_to(&*stream, &marks, 7501).await;
    assert_eq!(marks.of(1), [EACH]);
}

#[tokio::test(flavor = "multi_thread")]
async fn from_the_latest_on_nothing_is_left_out() {
    let kafka = Kafka::with(2);
    kafka.write_numbers(0, 0..10);
    let marks = Kept::at([]);
    let stream = kafka.read_from(&marks, StreamStart::Latest).await;
    let mut begun = BTreeMap::new();
    for _ in 0..2 {
        let batch = next(&*stream, 10, 10).await;
        assert_eq!((&batch.before, batch.messages.len(), batch.lost), (&None, 0, 0));
        assert!(marks.keep(&batch));
        begun.insert(batch.lane.to_string(), batch.after.next);
    }
    assert_eq!(begun, BTreeMap::from([(lane(0), 10), (lane(1), 0)]));
    let mut delays = Vec::new();
    for number in 10..60 {
        let written = Instant::now();
        kafka.send(0, Some(b"now"));
        read_up_to(&*stream, &marks, number as usize - 9).await;
        delays.push(written.elapsed());
    }
    delays.sort();
    assert!(delays[delays.len() / 2] < Duration::from_millis(50), "{delays:?}");
    drop(stream);

    // What comes while nobody reads is read.
    kafka.write_numbers(0, 60..63);
    kafka.write_numbers(1, 0..2);
    let stream = kafka.read_from(&marks, StreamStart::Latest).await;
    read_up_to(&*stream, &marks, 55).await;
    assert_eq!(marks.of(0), (10..63).collect::<Vec<_>>());
    assert_eq!(marks.of(1), [0, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn payloads_that_are_not_there_and_payloads_that_are_empty() {
    let kafka = Kafka::with(1);
    kafka.write(0, [Some(&b"a"[..]), None, Some(&b""[..])]);
    let marks = Kept::at([]);
    let stream = kafka.read(&marks).await;
    let mut payloads = Vec::new();
    while payloads.len() < 3 {
        let batch = next(&*stream, 10, 1 << 20).await;
        payloads.extend(batch.messages.into_iter().map(|message| message.payload));
    }
    assert_eq!(payloads, [Some("a".into()), None, Some("".into())]);
}

/// Reads as a member of a group does: what is not behind what was kept was read by another, and it begins anew.
fn member(place: Place, marks: Arc<Kept>) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            let stream = asof_streams::open(&place, Arc::clone(&marks) as Arc<dyn Marks>)
                .await
                .unwrap();
            loop {
                let batch = stream.next(50, 1 << 20).await.unwrap();
                check(&batch, 50, 1 << 20);
                if !marks.keep(&batch) {
                    break;
                }
                stream.kept(&batch.lane, &batch.after);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_a_group_share_partitions_and_take_over() {
    const PARTITIONS: i32 = 4;
    let kafka = Kafka::with(PARTITIONS);
    let marks = Kept::at([]);
    let write =
        |from: u64| (0..PARTITIONS).for_each(|partition| kafka.write_numbers(partition, from..from + 500));
    write(0);
    let first = member(kafka.place(StreamStart::Earliest), Arc::clone(&marks));
    until(|| marks.count() == 2000).await;
    write(500);
    let second = kafka.read(&marks).await;
    // The second is given its part, and the first keeps the rest.
    let shared = Instant::now();
    while second.pending().await.unwrap().len() != 2 {
        assert!(shared.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    write(1000);
    for _ in 0..3 {
        let batch = next(&*second, 50, 1 << 20).await;
        if marks.keep(&batch) {
            second.kept(&batch.lane, &batch.after);
        }
    }
    // It goes, and the first has everything again. The group would have missed it only after ten seconds, and these
    // brokers wait for nine more then and now.
    let left = Instant::now();
    drop(second);
    until(|| marks.count() == 6000).await;
    assert!(left.elapsed() < Duration::from_secs(15), "{:?}", left.elapsed());
    write(1500);
    until(|| marks.count() == 8000).await;
    first.abort();
    for partition in 0..PARTITIONS {
        assert_eq!(marks.of(partition), (0..2000).collect::<Vec<_>>());
    }
}

async fn until(done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "it takes too long");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_are_away_for_a_while_and_for_long() {
    let kafka = Kafka::with(1);
    let marks = Kept::at([]);
    kafka.write_numbers(0, 0..100);
    let stream = kafka.read(&marks).await;
    read_up_to(&*stream, &marks, 100).await;
    let waiting = tokio::spawn({
        let (stream, marks) = (Arc::clone(&stream), Arc::clone(&marks));
        async move { read_up_to(&*stream, &marks, 200).await }
    });
    kafka.cluster.broker_down(-1).unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    kafka.cluster.broker_up(-1).unwrap();
    kafka.write_numbers(0, 100..200);
    waiting.await.unwrap();

    kafka.cluster.broker_down(-1).unwrap();
    let down = Instant::now();
    let error = fails(&*stream, Duration::from_secs(20)).await;
    assert!(
        outage(&error).contains("no broker of Kafka answers any more"),
        "{error}"
    );
    assert!(
        down.elapsed() > Duration::from_secs(4),
        "a moment is no outage: {:?}",
        down.elapsed()
    );
    assert_eq!(stream.next(1, 1).await, Err(error), "it has ended");
    drop(stream);
    kafka.cluster.broker_up(-1).unwrap();
    kafka.write_numbers(0, 200..300);
    let stream = kafka.read(&marks).await;
    read_up_to(&*stream, &marks, 300).await;
    assert_eq!(marks.of(0), (0..300).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_not_there_is_refused() {
    let kafka = Kafka::with(1);
    let servers = kafka.cluster.bootstrap_servers();
    for topic in ["nope", "^clicks", "a\0b", ""] {
        let place = place(&servers, topic, StreamStart::Earliest);
        let error = asof_streams::open(&place, Kept::at([])).await.err().unwrap();
        assert!(!refusal(&error).is_empty());
        if topic == "nope" {
            assert_eq!(refusal(&error), "there is no topic \"nope\"");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_answers_it_is_said_in_time_and_without_the_password() {
    let kafka = Kafka::with(1);
    let up = kafka.cluster.bootstrap_servers();
    for servers in [
        "127.0.0.1:1".to_owned(),
        "me:s3cret@127.0.0.1:1,127.0.0.1:2".to_owned(),
        format!("me:s3cret@{up}"),
    ] {
        let begun = Instant::now();
        let marks = Kept::at([]);
        let place = place(&servers, TOPIC, StreamStart::Earliest);
        let error = asof_streams::open(&place, Arc::clone(&marks) as Arc<dyn Marks>)
            .await
            .err()
            .unwrap();
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
        gone(&marks).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_behind_the_end_is_refused() {
    let kafka = Kafka::with(1);
    kafka.write_numbers(0, 0..10);
    let marks = Kept::at([(0, 50)]);
    let stream = kafka.read(&marks).await;
    let error = fails(&*stream, PATIENCE).await;
    let what = refusal(&error);
    assert!(
        what.contains("offset 50") && what.contains("ends at 10"),
        "{what}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn marks_that_cannot_be_read_end_it() {
    let kafka = Kafka::with(1);
    let marks = Kept::at([]);
    marks.unreadable.store(true, Ordering::SeqCst);
    let stream = kafka.read(&marks).await;
    let error = fails(&*stream, PATIENCE).await;
    assert!(outage(&error).contains("the disk is gone"), "{error}");
    drop(stream);
    gone(&marks).await;
}

/// The brokers keep 5 MiB of a partition.
#[tokio::test(flavor = "multi_thread")]
async fn what_expired_is_counted() {
    const LARGE: &[u8] = &[7; 100_000];
    let kafka = Kafka::with(3);
    kafka.write(0, std::iter::repeat_n(Some(LARGE), 120));
    kafka.write(1, std::iter::repeat_n(Some(LARGE), 150));
    kafka.write_numbers(2, 0..1000);
    let lows = [kafka.ends(0).0, kafka.ends(1).0];
    assert!(lows[0] > 50 && lows[1] > 80, "{lows:?}");
    let marks = Kept::at([(0, 3), (1, 7)]);
    let stream = kafka.read(&marks).await;
    let mut lost = BTreeMap::new();
    while marks.count() < 1000 + (120 - lows[0] as usize) + (150 - lows[1] as usize) {
        let batch = next(&*stream, 1000, 1 << 20).await;
        assert!(marks.keep(&batch));
        if batch.lost > 0 {
            assert!(
                lost.insert(batch.lane.to_string(), (batch.lost, batch.messages[0].position))
                    .is_none()
            );
        }
    }
    assert_eq!(
        lost,
        BTreeMap::from([
            (lane(0), (lows[0] - 3, lows[0])),
            (lane(1), (lows[1] - 7, lows[1]))
        ])
    );
    assert_eq!(marks.of(2), (0..1000).collect::<Vec<_>>());
}

/// Who does not read is not sent more than so much: the rest expires, which tells how much was held.
#[tokio::test(flavor = "multi_thread")]
async fn who_reads_slowly_holds_little() {
    const TOTAL: u64 = 901;
    const LARGE: &[u8] = &[7; 100_000];
    let kafka = Kafka::with(1);
    kafka.write(0, [Some(LARGE)]);
    let marks = Kept::at([]);
    let stream = kafka.read(&marks).await;
    read_up_to(&*stream, &marks, 1).await;
    for _ in 0..(TOTAL - 1) / 20 {
        kafka.write(0, [Some(LARGE); 20]);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (mut lost, mut at_last) = (0, 0);
    while at_last < TOTAL {
        let batch = next(&*stream, 1000, 1 << 20).await;
        assert!(marks.keep(&batch));
        lost += batch.lost;
        at_last = batch.after.next;
    }
    let read = marks.count() as u64;
    assert_eq!(read + lost, TOTAL);
    // 16 MiB held, 5 MiB with the brokers, and what comes in one answer.
    assert!(read * 100_000 < (16 + 5 + 5) << 20, "{read} messages were held");
    assert!(read * 100_000 > 16 << 20, "{read} messages were held");
}
