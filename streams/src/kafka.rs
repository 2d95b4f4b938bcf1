//! Kafka topics, read as a member of a consumer group.
//!
//! # Contract
//!
//! - A lane is a partition, `kafka/<group>/<topic>/<partition>`, and a position an offset. Offsets have gaps, where the
//!   topic is compacted or written in transactions; what aborted transactions wrote is not read.
//! - Members of a group share its partitions. One that is given a partition asks [`Marks`] where it begins, each time;
//!   one that has to give it up drops what it has of it.
//! - A mark has no epoch, as Kafka tells none that is never the same again. A topic that was deleted and made anew is
//!   noticed only while it is shorter than its mark, which is refused.
//! - Of a topic without marks that begins with the latest, an empty batch comes first, whose mark is where the
//!   partition ended. So what comes while nobody reads is read, once that mark was kept.
//! - Offsets are committed to the group as marks are kept, about once a second. They decide nothing.
//! - Brokers are spoken to in the clear, and told a user and a password (SASL PLAIN) in the clear where `servers` has
//!   them: `user:password@host:port,host:port`. There is no TLS. Neither has a comma, and the user no colon.
//!
//! [`driver`] has the consumer, on a thread of its own: it fills [`lanes`], from which [`Subscription::next`] takes.

mod driver;
mod lanes;
mod servers;

use std::sync::{Arc, Weak};
use std::thread;

use asof_core::definition::Broker;
use async_trait::async_trait;
use rdkafka::consumer::BaseConsumer;
use tokio::sync::oneshot;

use self::driver::Reading;
use self::lanes::{Lanes, Wanted};
use crate::{Batch, Mark, Marks, Place, StreamError, Subscription};

/// Begins to read a topic.
///
/// # Errors
///
/// [`StreamError::Refused`] where there is no such topic, the brokers refuse this client, or `servers` is no list of
/// servers; [`StreamError::Unavailable`] where no broker has answered in some five seconds.
pub(crate) async fn open(place: &Place, marks: Arc<dyn Marks>) -> Result<Arc<dyn Subscription>, StreamError> {
    let Broker::Kafka { topic, group } = &place.broker else {
        return Err(StreamError::Refused(format!("{} is not Kafka", place.broker)));
    };
    let config = servers::consumer(&place.servers, group)?;
    let lanes = Arc::new(Lanes::default());
    let reading = Reading {
        topic: topic.clone(),
        group: group.clone(),
        start: place.start,
        marks,
        lanes: Arc::clone(&lanes),
    };
    let (opened, answer) = oneshot::channel();
    // Whatever happens from here on, that the thread ends is up to `lanes`: they are left where this future is dropped.
    let topic = Topic {
        lanes,
        name: topic.clone(),
    };
    thread::Builder::new()
        .name("asof-kafka".to_owned())
        .spawn(move || driver::run(&config, reading, opened))
        .map_err(|error| StreamError::Unavailable(format!("no thread reads Kafka: {error}")))?;
    let consumer = answer.await.unwrap_or_else(|_| Err(driver::ended()))?;
    Ok(Arc::new(KafkaSubscription { topic, consumer }))
}

/// A topic that is being read.
struct KafkaSubscription {
    topic: Topic,
    /// Weak: it is dropped on its thread, as it says goodbye to the group and waits for the answer.
    consumer: Weak<BaseConsumer<Reading>>,
}

/// What is read. Dropped, it no longer is.
struct Topic {
    lanes: Arc<Lanes>,
    name: String,
}

impl Drop for Topic {
    fn drop(&mut self) {
        self.lanes.leave();
    }
}

#[async_trait]
impl Subscription for KafkaSubscription {
    async fn next(&self, most: usize, bytes: usize) -> Result<Batch, StreamError> {
        self.topic.lanes.next(Wanted { most, bytes }).await
    }

    fn kept(&self, lane: &str, mark: &Mark) {
        self.topic.lanes.kept(lane, mark);
    }

    /// Of the partitions that this member of the group has: their offsets up to the end that were not returned. That
    /// counts offsets without a message too, which transactions and compaction leave.
    async fn pending(&self) -> Result<Vec<(Arc<str>, u64)>, StreamError> {
        let consumer = self.consumer.clone();
        let topic = self.topic.name.clone();
        let returned = self.topic.lanes.returned();
        tokio::task::spawn_blocking(move || match consumer.upgrade() {
            Some(consumer) => driver::pending(&consumer, &topic, returned),
            None => Err(driver::ended()),
        })
        .await
        .unwrap_or_else(|_| Err(driver::ended()))
    }
}
