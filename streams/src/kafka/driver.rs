//! The consumer, on a thread of its own: whatever of it waits makes nobody else wait.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use asof_core::definition::StreamStart;
use asof_core::time::Timestamp;
use bytes::Bytes;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;
use tokio::sync::oneshot;

use super::lanes::{Lane, Lanes};
use crate::{Mark, Marks, Message, StreamError};

/// How long brokers may take to answer at first.
const PATIENCE: Duration = Duration::from_secs(5);
/// After how long a silence they are asked whether they are there, and for how long.
const SILENCE: Duration = Duration::from_secs(5);
const SIGN_OF_LIFE: Duration = Duration::from_secs(4);
/// How long offsets may take that are asked for.
const OFFSETS: Duration = Duration::from_secs(5);
/// How soon it is seen that nobody takes any more.
const POLL: Duration = Duration::from_millis(100);
/// How often marks are committed.
const COMMIT: Duration = Duration::from_secs(1);
/// How often partitions are begun anew at most before something comes, beyond once for each.
const MORE: usize = 8;
/// How many messages change hands at once, of those that are there.
const AT_ONCE: usize = 256;

/// What is read, and for whom.
pub(super) struct Reading {
    pub(super) topic: String,
    pub(super) group: String,
    pub(super) start: StreamStart,
    pub(super) marks: Arc<dyn Marks>,
    pub(super) lanes: Arc<Lanes>,
}

/// Reads until nobody takes any more, or it cannot go on. `opened` is told how it begins.
pub(super) fn run(
    config: &ClientConfig,
    reading: Reading,
    opened: oneshot::Sender<Result<Weak<BaseConsumer<Reading>>, StreamError>>,
) {
    // However this thread ends, whoever waits for messages hears of it.
    let lanes = EndsWithThread(Arc::clone(&reading.lanes));
    match subscribed(config, reading) {
        Ok(consumer) => {
            // Where nobody is there to hear it, the lanes were left.
            let _ = opened.send(Ok(Arc::downgrade(&consumer)));
            if let Err(why) = Driver::new(&consumer).run() {
                lanes.0.end(why);
            }
        }
        Err(why) => {
            let _ = opened.send(Err(why));
        }
    }
}

/// The error of a subscription that is over.
pub(super) fn ended() -> StreamError {
    StreamError::Unavailable("Kafka is not read any more".to_owned())
}

/// How many offsets there are from those that were returned to the ends of their partitions.
pub(super) fn pending(
    consumer: &BaseConsumer<Reading>,
    topic: &str,
    returned: Vec<(i32, Arc<str>, Option<u64>)>,
) -> Result<Vec<(Arc<str>, u64)>, StreamError> {
    let all = returned.iter().map(|(partition, ..)| *partition);
    let last = offsets(consumer, topic, all, Offset::End)?;
    let unread = returned
        .iter()
        .filter(|(_, _, next)| next.is_none())
        .map(|(partition, ..)| *partition);
    let first = offsets(consumer, topic, unread, Offset::Beginning)?;
    let count = |(partition, name, next): (i32, Arc<str>, Option<u64>)| {
        let next = next.or_else(|| first.get(&partition).copied())?;
        Some((name, last.get(&partition)?.saturating_sub(next)))
    };
    Ok(returned.into_iter().filter_map(count).collect())
}

struct EndsWithThread(Arc<Lanes>);

impl Drop for EndsWithThread {
    fn drop(&mut self) {
        self.0.end(ended());
    }
}

/// A consumer of a topic that there is.
fn subscribed(config: &ClientConfig, reading: Reading) -> Result<Arc<BaseConsumer<Reading>>, StreamError> {
    let topic = reading.topic.clone();
    let consumer: BaseConsumer<Reading> = config.create_with_context(reading).map_err(refused)?;
    answered(&consumer, &topic)?;
    consumer.subscribe(&[&topic]).map_err(refused)?;
    Ok(Arc::new(consumer))
}

/// Waits for brokers to say that there is the topic.
fn answered(consumer: &BaseConsumer<Reading>, topic: &str) -> Result<(), StreamError> {
    let begun = Instant::now();
    loop {
        let error = match consumer.fetch_metadata(Some(topic), Duration::from_millis(500)) {
            Ok(metadata) => return exists(topic, metadata.topics().first().and_then(|it| it.error())),
            Err(error) => error,
        };
        if error.rdkafka_error_code().is_none() {
            return Err(refused(error));
        }
        // Why they do not: that somebody may not read is said here.
        while let Some(event) = consumer.poll(Duration::ZERO) {
            event.map(drop).or_else(passes)?;
        }
        if begun.elapsed() > PATIENCE || consumer.context().lanes.is_over() {
            return Err(unavailable("no broker of Kafka answers", &error));
        }
    }
}

fn exists(topic: &str, error: Option<RDKafkaRespErr>) -> Result<(), StreamError> {
    match error.map(RDKafkaErrorCode::from) {
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::InvalidTopic) => {
            Err(StreamError::Refused(format!("there is no topic {topic:?}")))
        }
        Some(code) => passes(KafkaError::MetadataFetch(code)),
        None => Ok(()),
    }
}

/// A thread that reads.
struct Driver<'a> {
    consumer: &'a BaseConsumer<Reading>,
    reading: &'a Reading,
    /// When something came last.
    heard: Instant,
    /// When marks were committed last.
    committed: Instant,
    /// How often partitions were begun anew since something came.
    begun: u32,
}

impl<'a> Driver<'a> {
    fn new(consumer: &'a Arc<BaseConsumer<Reading>>) -> Self {
        let now = Instant::now();
        Self {
            consumer,
            reading: consumer.context(),
            heard: now,
            committed: now,
            begun: 0,
        }
    }

    fn run(mut self) -> Result<(), StreamError> {
        while !self.reading.lanes.is_over() {
            if self.reading.lanes.has_room(POLL) {
                self.read()?;
            }
            if self.committed.elapsed() >= COMMIT {
                self.committed = Instant::now();
                self.reading.commit(self.consumer);
            }
        }
        self.reading.commit(self.consumer);
        Ok(())
    }

    /// Waits for a message, and takes what is there.
    fn read(&mut self) -> Result<(), StreamError> {
        let mut messages = Vec::new();
        let mut patience = POLL;
        let mut failed = None;
        // No event of the group comes between these: it would have been `None`, and ended them.
        while messages.len() < AT_ONCE && failed.is_none() {
            match self.consumer.poll(patience) {
                Some(Ok(message)) => messages.push(message_of(&message)?),
                Some(Err(error)) => failed = Some(error),
                None => break,
            }
            patience = Duration::ZERO;
        }
        if messages.is_empty() {
            self.ask_for_life()?;
        } else {
            self.heard = Instant::now();
            self.begun = 0;
            self.reading.lanes.put(messages)?;
        }
        failed.map_or(Ok(()), |error| self.overcome(error))
    }

    /// Brokers that have nothing to say for long are asked whether they are there.
    fn ask_for_life(&mut self) -> Result<(), StreamError> {
        if self.heard.elapsed() < SILENCE {
            return Ok(());
        }
        let answer = self
            .consumer
            .fetch_metadata(Some(&self.reading.topic), SIGN_OF_LIFE);
        self.heard = Instant::now();
        answer
            .map(drop)
            .map_err(|error| unavailable("no broker of Kafka answers any more", &error))
    }

    fn overcome(&mut self, error: KafkaError) -> Result<(), StreamError> {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AutoOffsetReset) => self.reposition(),
            _ => passes(error),
        }
    }

    /// Goes on where the partitions begin now whose next message is gone. Kafka says of an offset that it is out of
    /// range, and not which.
    fn reposition(&mut self) -> Result<(), StreamError> {
        let (topic, lanes) = (&self.reading.topic, &self.reading.lanes);
        let all = lanes.read();
        let partitions = || all.iter().map(|(partition, _)| *partition);
        let first = offsets(self.consumer, topic, partitions(), Offset::Beginning)?;
        let last = offsets(self.consumer, topic, partitions(), Offset::End)?;
        for (partition, next) in &all {
            let (Some(first), Some(last)) = (first.get(partition), last.get(partition)) else {
                continue;
            };
            let next = next.unwrap_or(*first);
            if next > *last {
                return Err(StreamError::Refused(format!(
                    "partition {partition} of topic {topic:?} was read up to offset {next}, and ends at {last}: \
                     it is not the one that was read"
                )));
            }
            if next < *first {
                lanes.skip(*partition, *first);
            }
        }
        // Each partition says so once, and the first to say so has set all of them right. But not for ever.
        self.begun += 1;
        if self.begun as usize > all.len() + MORE {
            return Err(StreamError::Unavailable(format!(
                "topic {topic:?} has no messages where it was read"
            )));
        }
        // All of them anew: they go on where they were.
        let positions = positions(topic, lanes.read())?;
        self.consumer
            .assign(&positions)
            .map_err(|error| unavailable("partitions are not read", &error))
    }
}

impl Reading {
    /// Begins the partitions that are given to this member at their marks.
    fn assign(&self, consumer: &BaseConsumer<Self>, given: &TopicPartitionList) -> Result<(), StreamError> {
        let mut lanes = BTreeMap::new();
        let mut unmarked = Vec::new();
        for partition in given.elements().iter().map(|it| it.partition()) {
            let mark = self.mark(partition)?;
            if mark.is_none() && self.start == StreamStart::Latest && !self.was_added(partition)? {
                unmarked.push(partition);
            } else {
                lanes.insert(partition, Lane::at(&self.name(partition), mark));
            }
        }
        for (partition, last) in offsets(consumer, &self.topic, unmarked, Offset::End)? {
            lanes.insert(partition, Lane::from(&self.name(partition), last));
        }
        let begin = positions(
            &self.topic,
            lanes.iter().map(|(partition, lane)| (*partition, lane.next())),
        )?;
        self.lanes.assign(lanes);
        consumer
            .assign(&begin)
            .map_err(|error| unavailable("partitions are not read", &error))
    }

    fn mark(&self, partition: i32) -> Result<Option<Mark>, StreamError> {
        let name = self.name(partition);
        self.marks.mark(&name).map_err(|what| {
            StreamError::Unavailable(format!("how far {name} was read cannot be told: {what}"))
        })
    }

    /// Whether a partition without a mark came to a topic that was read before: all of it is new.
    fn was_added(&self, partition: i32) -> Result<bool, StreamError> {
        for earlier in 0..partition {
            if self.mark(earlier)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn name(&self, partition: i32) -> String {
        format!("kafka/{}/{}/{partition}", self.group, self.topic)
    }

    /// Tells the group of marks that were kept. Nothing depends on it.
    fn commit(&self, consumer: &BaseConsumer<Self>) {
        let kept = self.lanes.to_commit();
        if kept.is_empty() {
            return;
        }
        let marks = kept.into_iter().map(|(partition, next)| (partition, Some(next)));
        match positions(&self.topic, marks).map(|marks| consumer.commit(&marks, CommitMode::Async)) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(topic = self.topic, %error, "marks are not committed"),
            Err(error) => tracing::debug!(topic = self.topic, %error, "marks are not committed"),
        }
    }
}

impl ConsumerContext for Reading {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        what: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let given = what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        let done = if given {
            self.assign(consumer, partitions)
        } else {
            Ok(())
        };
        if given && done.is_ok() {
            return;
        }
        self.commit(consumer);
        self.lanes.revoke();
        if let Err(error) = consumer.unassign() {
            tracing::debug!(topic = self.topic, %error, "partitions are not given up");
        }
        if let Err(why) = done {
            self.lanes.end(why);
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::debug!(topic = self.topic, %error, "marks are not committed");
        }
    }
}

impl ClientContext for Reading {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                tracing::debug!(topic = self.topic, facility, "{message}");
            }
            _ => tracing::warn!(topic = self.topic, facility, "{message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(topic = self.topic, %error, "{reason}");
    }
}

/// Offsets of partitions: their first ones, or those behind their last.
fn offsets(
    consumer: &BaseConsumer<Reading>,
    topic: &str,
    partitions: impl IntoIterator<Item = i32>,
    which: Offset,
) -> Result<BTreeMap<i32, u64>, StreamError> {
    let mut asked = TopicPartitionList::new();
    for partition in partitions {
        asked
            .add_partition_offset(topic, partition, which)
            .map_err(refused)?;
    }
    if asked.count() == 0 {
        return Ok(BTreeMap::new());
    }
    let failed = |error: &KafkaError| unavailable("offsets of Kafka cannot be told", error);
    let answer = consumer
        .offsets_for_times(asked, OFFSETS)
        .map_err(|error| failed(&error))?;
    let offset = |it: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
        it.error().map_err(|error| failed(&error))?;
        match it.offset() {
            Offset::Offset(at) => Ok((it.partition(), u64::try_from(at).unwrap_or(0))),
            _ => Err(failed(&KafkaError::MetadataFetch(RDKafkaErrorCode::NoOffset))),
        }
    };
    answer.elements().iter().map(offset).collect()
}

/// Partitions and the offsets where they are read; absent means the first that there is.
fn positions(
    topic: &str,
    partitions: impl IntoIterator<Item = (i32, Option<u64>)>,
) -> Result<TopicPartitionList, StreamError> {
    let mut list = TopicPartitionList::new();
    for (partition, next) in partitions {
        let next = next.map_or(Some(Offset::Beginning), |next| {
            i64::try_from(next).ok().map(Offset::Offset)
        });
        let next = next.ok_or_else(|| StreamError::Refused(format!("no offset is beyond {}", i64::MAX)))?;
        list.add_partition_offset(topic, partition, next)
            .map_err(refused)?;
    }
    Ok(list)
}

fn message_of(message: &BorrowedMessage<'_>) -> Result<(i32, Message), StreamError> {
    let position = u64::try_from(message.offset())
        .map_err(|_| StreamError::Unavailable(format!("a message has the offset {}", message.offset())))?;
    let millis = message.timestamp().to_millis().filter(|millis| *millis >= 0);
    let published = millis
        .and_then(|millis| millis.checked_mul(1000))
        .map(Timestamp::from_micros);
    let payload = message.payload().map(Bytes::copy_from_slice);
    Ok((
        message.partition(),
        Message {
            position,
            payload,
            published,
        },
    ))
}

/// Nothing, where the client goes on by itself.
fn passes(error: KafkaError) -> Result<(), StreamError> {
    use RDKafkaErrorCode as Code;
    match error {
        KafkaError::MessageConsumptionFatal(_) => Err(unavailable("Kafka is not read any more", &error)),
        _ => match error.rdkafka_error_code() {
            Some(
                Code::Authentication
                | Code::SaslAuthenticationFailed
                | Code::TopicAuthorizationFailed
                | Code::GroupAuthorizationFailed
                | Code::ClusterAuthorizationFailed
                | Code::InconsistentGroupProtocol
                | Code::InvalidGroupId,
            ) => Err(refused(error)),
            // Whether there is the topic is found out when it is opened anew.
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition) => {
                Err(unavailable("Kafka is not read any more", &error))
            }
            _ => Ok(()),
        },
    }
}

/// What a client refuses to do. Of a setting it tells the name: the value may be a password.
fn refused(error: KafkaError) -> StreamError {
    StreamError::Refused(match error {
        KafkaError::ClientConfig(_, _, key, _) => format!("Kafka refuses the setting {key:?}"),
        error => format!("Kafka refuses: {error}"),
    })
}

fn unavailable(what: &str, error: &KafkaError) -> StreamError {
    StreamError::Unavailable(format!("{what}: {error}"))
}
