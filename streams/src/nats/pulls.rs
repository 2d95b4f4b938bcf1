//! Messages of a consumer, asked for a part at a time.

use std::time::Duration;

use asof_core::time::Timestamp;
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::consumer::pull::BatchConfig;
use async_nats::jetstream::{self, Context};
use async_nats::{HeaderMap, StatusCode, Subject, Subscriber};
use futures::{FutureExt, StreamExt};
use tokio::task::unconstrained;

use crate::{Message, StreamError};

/// How many messages are asked for at a time. The next are asked for when half of them were taken, so that there are
/// at most three halves.
const MESSAGES: usize = 8192;

/// How many bytes the server may send for one request, unless a single message has more. There are at most three
/// requests at a time.
const BYTES: usize = 4 << 20;

/// How long a request stands.
const STANDS: Duration = Duration::from_secs(30);

/// How often the server tells that it has no messages.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// After how long without any word from the server it is taken for gone.
const SILENCE: Duration = Duration::from_secs(5);

/// The messages of one consumer that acknowledges nothing, in order and without a gap. An error ends them.
pub(super) struct Pulls {
    consumer: PullConsumer,
    context: Context,
    inbox: Subject,
    answers: Subscriber,
    /// Messages that were asked for and did not come yet.
    asked: usize,
    /// Whether the next message has more bytes than a request may have.
    large: bool,
    /// How many messages came.
    came: u64,
    /// The first position that may come.
    next: u64,
}

impl Pulls {
    /// Those of a new consumer, the first of them not before the position `next`.
    pub(super) async fn new(
        context: Context,
        consumer: PullConsumer,
        next: u64,
    ) -> Result<Self, StreamError> {
        let client = context.client();
        let inbox = Subject::from(client.new_inbox());
        let answers = client
            .subscribe(inbox.clone())
            .await
            .map_err(|error| unavailable(&error))?;
        Ok(Self {
            consumer,
            context,
            inbox,
            answers,
            asked: 0,
            large: false,
            came: 0,
            next,
        })
    }

    /// How many messages the consumer has given.
    pub(super) const fn came(&self) -> u64 {
        self.came
    }

    /// Waits for the next message.
    pub(super) async fn wait(&mut self) -> Result<Message, StreamError> {
        loop {
            let Ok(answer) = tokio::time::timeout(SILENCE, self.answer()).await else {
                return Err(StreamError::Unavailable(format!(
                    "NATS has been silent for {} s",
                    SILENCE.as_secs()
                )));
            };
            if let Some(message) = answer? {
                return Ok(message);
            }
        }
    }

    /// The next message, if it is there already.
    pub(super) fn ready(&mut self) -> Result<Option<Message>, StreamError> {
        loop {
            match unconstrained(self.answer()).now_or_never() {
                None => return Ok(None),
                Some(answer) => match answer? {
                    None => {}
                    message => return Ok(message),
                },
            }
        }
    }

    /// Waits for what the server says next, which may be something else than a message. Nothing is lost where it is
    /// dropped before.
    async fn answer(&mut self) -> Result<Option<Message>, StreamError> {
        if self.asked <= MESSAGES / 2 {
            self.ask().await?;
        }
        let Some(answer) = self.answers.next().await else {
            return Err(StreamError::Unavailable(
                "the connection to NATS was closed".to_owned(),
            ));
        };
        let said = answer.description.as_deref().unwrap_or_default();
        match answer.status {
            None | Some(StatusCode::OK) => self.message(answer).map(Some),
            Some(StatusCode::IDLE_HEARTBEAT) => Ok(None),
            Some(StatusCode::TIMEOUT) => Ok(self.ended(left(answer.headers.as_ref()))),
            Some(StatusCode::REQUEST_TERMINATED) if said == "Message Size Exceeds MaxBytes" => {
                let left = left(answer.headers.as_ref());
                self.large |= left == MESSAGES;
                Ok(self.ended(left))
            }
            Some(status) => Err(StreamError::Unavailable(format!(
                "NATS ended the reading of the stream: {status} {said}"
            ))),
        }
    }

    async fn ask(&mut self) -> Result<(), StreamError> {
        let (batch, max_bytes) = if self.large { (1, 0) } else { (MESSAGES, BYTES) };
        let request = BatchConfig {
            batch,
            max_bytes,
            expires: Some(STANDS),
            idle_heartbeat: HEARTBEAT,
            ..BatchConfig::default()
        };
        let asking = self.consumer.request_batch(request, self.inbox.clone());
        asking.await.map_err(|error| unavailable(&error))?;
        self.asked += batch;
        self.large = false;
        Ok(())
    }

    /// A request ended, `left` of its messages not sent.
    fn ended(&mut self, left: usize) -> Option<Message> {
        self.asked = self.asked.saturating_sub(left);
        None
    }

    fn message(&mut self, message: async_nats::Message) -> Result<Message, StreamError> {
        let message = jetstream::Message {
            message,
            context: self.context.clone(),
        };
        let info = message.info().map_err(|error| unavailable(&error))?;
        let (position, nth) = (info.stream_sequence, info.consumer_sequence);
        if nth != self.came + 1 || position < self.next {
            return Err(StreamError::Unavailable(format!(
                "NATS sent message {position} out of order: it was the consumer's {nth}, after {} others, and {} or \
                 one behind was to come",
                self.came, self.next,
            )));
        }
        let published = timestamp(info.published);
        self.asked = self.asked.saturating_sub(1);
        self.came = nth;
        self.next = position + 1;
        Ok(Message {
            position,
            payload: Some(message.message.payload),
            published,
        })
    }
}

/// An instant as NATS has it, its last three digits cut.
pub(super) fn timestamp(time: async_nats::datetime::DateTime) -> Option<Timestamp> {
    i64::try_from(time.unix_timestamp_nanos().div_euclid(1000))
        .ok()
        .map(Timestamp::from_micros)
}

/// How many messages of a request that ended were not sent.
fn left(headers: Option<&HeaderMap>) -> usize {
    let left = headers.and_then(|headers| headers.get("Nats-Pending-Messages"));
    left.and_then(|left| left.as_str().parse().ok())
        .unwrap_or(MESSAGES)
}

fn unavailable(error: &impl ToString) -> StreamError {
    StreamError::Unavailable(format!("NATS fails: {}", error.to_string()))
}
