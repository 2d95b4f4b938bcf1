//! NATS JetStream.
//!
//! A subscription reads with a consumer of its own, which begins at the mark, acknowledges nothing, and is forgotten by
//! the server a while after nobody asks it for messages. Nothing is mended while it reads: where a message is missing
//! or comes twice, or the consumer or the connection is gone, the subscription ends. Whoever opens it anew has the
//! stream looked at anew as well, and so notices that it is another one.

mod pulls;
mod servers;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use asof_core::definition::{Broker, StreamStart};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::context::{GetStreamByNameErrorKind, GetStreamError, GetStreamErrorKind};
use async_nats::jetstream::stream::{ConsumerError, ConsumerErrorKind, Info, RetentionPolicy};
use async_nats::jetstream::{self, Context, ErrorCode};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Mutex;

use self::pulls::{Pulls, timestamp};
use self::servers::{Servers, Trouble};
use crate::{Batch, Mark, Marks, Place, StreamError, Subscription};

/// How long the server keeps a consumer that nobody asks for messages.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// Begins to read a stream: that of its name, or else the one that has the subject.
///
/// # Errors
///
/// [`StreamError::Refused`] where servers, credentials, stream or subject are not right, messages do not stay in the
/// stream once they were read, or the stream has not even come to the mark;
/// [`StreamError::Unavailable`] where no server answers. Neither says anything that is secret in the servers' URLs.
pub(crate) async fn open(place: &Place, marks: Arc<dyn Marks>) -> Result<Arc<dyn Subscription>, StreamError> {
    let Broker::Nats { subject, stream } = &place.broker else {
        return Err(StreamError::Refused(format!("{} is not of NATS", place.broker)));
    };
    let trouble = Trouble::none();
    let client = Servers::parse(&place.servers)?.connect(&trouble).await?;
    // Held until it is known what went wrong: the last one that is dropped closes the connection, which is no trouble.
    let context = jetstream::new(client.clone());
    let found = Found::find(context, stream.as_deref(), subject).await;
    let found = found.map_err(|error| trouble.or(error))?;
    let kept = marks.mark(&found.lane).map_err(StreamError::Unavailable)?;
    let start = found.start(kept, place.start)?;
    match found.read(subject, start, &trouble).await {
        Ok(subscription) => Ok(Arc::new(subscription)),
        Err(error) => Err(trouble.or(error)),
    }
}

/// A stream that is there.
struct Found {
    context: Context,
    lane: Arc<str>,
    epoch: String,
    info: Info,
}

/// Where reading begins.
struct Start {
    /// The mark that is kept.
    kept: Option<Mark>,
    /// The first position that is read.
    next: u64,
    /// Whether this position is kept before anything is read, so that it is the same when the stream is opened anew.
    noted: bool,
    /// How many positions behind the mark are gone.
    lost: u64,
}

impl Found {
    async fn find(context: Context, stream: Option<&str>, subject: &str) -> Result<Self, StreamError> {
        let name = match stream {
            Some(name) => name.to_owned(),
            None => stream_of(&context, subject).await?,
        };
        let stream = context
            .get_stream(&name)
            .await
            .map_err(|error| unread(&name, &error))?;
        let info = stream.cached_info().clone();
        limits_only(&name, info.config.retention)?;
        let epoch = timestamp(info.created)
            .map(|created| created.to_string())
            .unwrap_or_default();
        Ok(Self {
            context,
            lane: format!("nats/{name}/{subject}").into(),
            epoch,
            info,
        })
    }

    fn start(&self, kept: Option<Mark>, start: StreamStart) -> Result<Start, StreamError> {
        let (first, end) = (self.info.state.first_sequence, self.info.state.last_sequence + 1);
        let Some(mark) = kept else {
            return Ok(match start {
                StreamStart::Earliest => Start {
                    kept: None,
                    next: first,
                    noted: true,
                    lost: 0,
                },
                StreamStart::Latest => Start {
                    kept: None,
                    next: end,
                    noted: false,
                    lost: 0,
                },
            });
        };
        let name = &self.info.config.name;
        if mark.epoch.as_ref() != Some(&self.epoch) {
            // Another stream of the name: all of it is new.
            tracing::warn!(
                stream = name,
                made = self.epoch,
                "a stream was made anew, and is read from its beginning"
            );
            return Ok(Start {
                next: first,
                noted: true,
                lost: 0,
                kept: Some(mark),
            });
        }
        if mark.next > end {
            return Err(StreamError::Refused(format!(
                "the stream {name} was put back: it ends before position {end}, and was read up to {} before; its \
                 next messages would be taken for those that it had",
                mark.next,
            )));
        }
        Ok(Start {
            next: mark.next,
            noted: true,
            lost: first.saturating_sub(mark.next),
            kept: Some(mark),
        })
    }

    async fn read(self, subject: &str, start: Start, trouble: &Trouble) -> Result<Nats, StreamError> {
        let config = pull::Config {
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: start.next.max(1),
            },
            ack_policy: AckPolicy::None,
            max_deliver: 1,
            filter_subject: subject.to_owned(),
            inactive_threshold: FORGOTTEN,
            num_replicas: 1,
            memory_storage: true,
            ..pull::Config::default()
        };
        let name = &self.info.config.name;
        let consumer: PullConsumer = match self.context.create_consumer_on_stream(config, name).await {
            Ok(consumer) => consumer,
            Err(error) => return Err(not_consumed(name, subject, &error)),
        };
        let pulls = Pulls::new(self.context, consumer.clone(), start.next).await?;
        Ok(Nats {
            lane: self.lane,
            epoch: self.epoch,
            consumer,
            taken: AtomicU64::new(0),
            trouble: trouble.clone(),
            reading: Mutex::new(Reading { pulls, start }),
        })
    }
}

struct Nats {
    lane: Arc<str>,
    epoch: String,
    consumer: PullConsumer,
    /// How many messages of the consumer were returned.
    taken: AtomicU64,
    trouble: Trouble,
    reading: Mutex<Reading>,
}

struct Reading {
    pulls: Pulls,
    /// What is read next. What it says of a loss holds for the next batch only.
    start: Start,
}

impl Nats {
    async fn batch(&self, most: usize, bytes: usize) -> Result<Batch, StreamError> {
        let Reading { pulls, start } = &mut *self.reading.lock().await;
        let mut messages = Vec::new();
        if start.noted {
            let mut held = 0;
            let mut next = Some(pulls.wait().await?);
            while let Some(message) = next {
                held += message.payload.as_ref().map_or(0, Bytes::len);
                start.next = message.position + 1;
                messages.push(message);
                next = if messages.len() < most && held < bytes {
                    pulls.ready()?
                } else {
                    None
                };
            }
        }
        self.taken.store(pulls.came(), Ordering::Relaxed);
        let after = Mark {
            next: start.next,
            epoch: Some(self.epoch.clone()),
        };
        let before = start.kept.replace(after.clone());
        start.noted = true;
        Ok(Batch {
            lane: self.lane.clone(),
            before,
            messages,
            after,
            lost: std::mem::take(&mut start.lost),
        })
    }
}

#[async_trait]
impl Subscription for Nats {
    async fn next(&self, most: usize, bytes: usize) -> Result<Batch, StreamError> {
        tokio::select! {
            biased;
            trouble = self.trouble.comes() => Err(trouble),
            batch = self.batch(most, bytes) => batch,
        }
    }

    /// Nothing is told: the consumer acknowledges nothing.
    fn kept(&self, _lane: &str, _mark: &Mark) {}

    /// Messages with the subject, both those that the server did not send yet and those that wait here.
    async fn pending(&self) -> Result<Vec<(Arc<str>, u64)>, StreamError> {
        let info = self.consumer.get_info().await.map_err(|error| {
            self.trouble.or(StreamError::Unavailable(format!(
                "NATS does not tell what is pending: {error}"
            )))
        })?;
        let here = info
            .delivered
            .consumer_sequence
            .saturating_sub(self.taken.load(Ordering::Relaxed));
        Ok(vec![(self.lane.clone(), info.num_pending + here)])
    }
}

async fn stream_of(context: &Context, subject: &str) -> Result<String, StreamError> {
    context
        .stream_by_subject(subject)
        .await
        .map_err(|error| match error.kind() {
            GetStreamByNameErrorKind::NotFound => {
                StreamError::Refused(format!("no JetStream stream has the subject {subject}"))
            }
            GetStreamByNameErrorKind::InvalidSubject => {
                StreamError::Refused(format!("{subject:?} is not a subject"))
            }
            GetStreamByNameErrorKind::JetStream(said) => said_no(&said, subject),
            GetStreamByNameErrorKind::Request => no_answer(&error),
        })
}

fn unread(name: &str, error: &GetStreamError) -> StreamError {
    match error.kind() {
        GetStreamErrorKind::JetStream(said) if said.error_code() == ErrorCode::STREAM_NOT_FOUND => {
            StreamError::Refused(format!("there is no JetStream stream {name}"))
        }
        GetStreamErrorKind::JetStream(said) => said_no(&said, name),
        GetStreamErrorKind::EmptyName | GetStreamErrorKind::InvalidStreamName => {
            StreamError::Refused(format!("{name:?} is not a name of a JetStream stream"))
        }
        GetStreamErrorKind::Request => no_answer(error),
    }
}

fn limits_only(name: &str, retention: RetentionPolicy) -> Result<(), StreamError> {
    let kind = match retention {
        RetentionPolicy::Limits => return Ok(()),
        RetentionPolicy::WorkQueue => "workqueue",
        RetentionPolicy::Interest => "interest",
    };
    Err(StreamError::Refused(format!(
        "the stream {name} has the retention {kind:?}, so that messages are gone once somebody read them: one with \
         the retention \"limits\" is needed, which may have {name} as its source"
    )))
}

fn not_consumed(name: &str, subject: &str, error: &ConsumerError) -> StreamError {
    match error.kind() {
        ConsumerErrorKind::JetStream(said) => said_no(&said, &format!("{subject} of the stream {name}")),
        ConsumerErrorKind::InvalidName | ConsumerErrorKind::InvalidConsumerType => {
            StreamError::Refused(format!("the stream {name} takes no such consumer: {error}"))
        }
        ConsumerErrorKind::TimedOut | ConsumerErrorKind::Request | ConsumerErrorKind::Other => {
            no_answer(error)
        }
    }
}

/// What JetStream answered about `what` where it did not do as it was asked.
fn said_no(said: &jetstream::Error, what: &str) -> StreamError {
    let off = [
        ErrorCode::JETSTREAM_NOT_ENABLED,
        ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT,
    ];
    if said.code() < 500 || off.contains(&said.error_code()) {
        StreamError::Refused(format!("JetStream does not give {what}: {said}"))
    } else {
        StreamError::Unavailable(format!("JetStream does not give {what} now: {said}"))
    }
}

fn no_answer(error: &impl fmt::Display) -> StreamError {
    StreamError::Unavailable(format!(
        "JetStream does not answer, or the server runs without it: {error}"
    ))
}
