//! Messages of brokers, in order and each counted once.
//!
//! # Contract
//!
//! - A stream is read in lanes: the partitions of a Kafka topic, the one sequence of a JetStream stream. Within a lane
//!   messages come in order, each [`Batch`] behind the one before.
//! - How far a lane was read is a [`Mark`], which whoever takes the messages keeps together with their effects, in one
//!   atomic write that compares [`Batch::before`] with what is kept. So a message that comes again counts once, whoever
//!   reads it: after a crash, a rebalance, or from a second consumer.
//! - A [`Subscription`] begins each lane at the mark that [`Marks`] has for it then. What brokers are told of progress
//!   is for people who look there, and decides nothing.
//! - A subscription holds a bounded number of messages. Who does not ask for more is sent no more.
//! - An error ends it: it is opened anew, and begins at the marks.

mod kafka;
mod nats;

use std::fmt;
use std::sync::Arc;

use asof_core::definition::{Broker, StreamStart};
use asof_core::time::Timestamp;
use async_trait::async_trait;
use bytes::Bytes;

/// How far a lane was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The first position that was not read.
    pub next: u64,
    /// What tells the lane from another one of its name, where the broker says so: a stream that was deleted and made
    /// anew counts from the beginning.
    pub epoch: Option<String>,
}

/// The marks that are kept.
pub trait Marks: Send + Sync {
    /// That of a lane, where there is one.
    ///
    /// # Errors
    ///
    /// What keeps it from being read, for people.
    fn mark(&self, lane: &str) -> Result<Option<Mark>, String>;
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its place in its lane.
    pub position: u64,
    /// What it holds; nothing where it has no payload at all.
    pub payload: Option<Bytes>,
    /// When it was published, as the broker says.
    pub published: Option<Timestamp>,
}

/// Messages of one lane, one behind the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The lane: a short text that is the same whenever the stream is read.
    pub lane: Arc<str>,
    /// The mark that the first message is behind, as it is kept once all batches before have been.
    pub before: Option<Mark>,
    /// The messages, in order. None where only the mark moves.
    pub messages: Vec<Message>,
    /// The mark behind the last message.
    pub after: Mark,
    /// About how many messages there were between `before` and the first of these that the broker has no more: they
    /// expired or were purged before anybody read them.
    pub lost: u64,
}

/// A stream that is being read.
#[async_trait]
pub trait Subscription: Send + Sync {
    /// Waits for messages: at least one, unless only a mark moves, at most `most`, and no more once their payloads have
    /// `bytes`. It is called again after it has returned, by one caller at a time; dropped before, the subscription is of no
    /// more use.
    async fn next(&self, most: usize, bytes: usize) -> Result<Batch, StreamError>;

    /// Tells the broker that a lane's mark was kept. It does not wait, and a failure is of no consequence.
    fn kept(&self, lane: &str, mark: &Mark);

    /// Per lane how many messages there are that [`Subscription::next`] did not return yet.
    async fn pending(&self) -> Result<Vec<(Arc<str>, u64)>, StreamError>;
}

/// Why a stream is not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamError {
    /// It is not as it must be, and is not read before somebody changes it or its definition.
    Refused(String),
    /// The broker cannot be reached, or fails.
    Unavailable(String),
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(what) | Self::Unavailable(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for StreamError {}

/// Where a stream is, its servers resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The broker.
    pub broker: Broker,
    /// Its servers, as the broker's clients take them.
    pub servers: String,
    /// Where a lane begins that has no mark.
    pub start: StreamStart,
}

/// Begins to read a stream.
///
/// # Errors
///
/// [`StreamError::Refused`] where there is no such stream or topic, or it is of a kind that cannot be read so;
/// [`StreamError::Unavailable`] where no server answers.
pub async fn open(place: &Place, marks: Arc<dyn Marks>) -> Result<Arc<dyn Subscription>, StreamError> {
    match &place.broker {
        Broker::Nats { .. } => nats::open(place, marks).await,
        Broker::Kafka { .. } => kafka::open(place, marks).await,
    }
}
