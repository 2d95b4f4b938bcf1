//! Messages of streams, on the way that pushes take.
//!
//! How far a lane is read moves in the write that takes its messages in, and only from where they follow. So whatever
//! comes twice, from whom and in which order ever, counts once; and what cannot be taken in is written beside, to the
//! table of dead letters of the source.

use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, Int64Array, StringArray, TimestampMicrosecondArray};
use asof_core::online::OnlineStore;
use asof_core::registry::Version;
use asof_core::time::Timestamp;
use asof_offline::{PushInput, PushedMessages, PushedRows};
use asof_streams::{Batch, Mark, Message};

use super::marks::LastDeadLetter;
use super::{Intake, IntakeError, LaneState, PushAnswer, Read, Reader, source_of};

/// The most bytes of a payload that are kept of a dead letter.
const KEPT_BYTES: usize = 64 << 10;

/// Messages that arrived from a stream of a source.
#[derive(Debug, Clone)]
pub(crate) struct Arrived {
    pub(crate) source: String,
    pub(crate) batch: Batch,
}

/// Messages that are being taken in.
pub(crate) struct Taken<A> {
    /// Answers when they are.
    pub(crate) answer: A,
    pub(crate) after: Mark,
    pub(crate) messages: u64,
    /// Messages, or rows of such, that go to the table of dead letters.
    pub(crate) dead_letters: u64,
    /// About how many messages before them were gone.
    pub(crate) lost: u64,
    /// When the last of them was published.
    pub(crate) published: Option<Timestamp>,
}

/// How far a lane is read with what is written.
#[derive(Debug)]
pub(super) struct Moved {
    pub(super) lane: Arc<str>,
    pub(super) before: Option<Mark>,
    pub(super) after: Mark,
    messages: u64,
    lost: u64,
    published: Option<Timestamp>,
    pub(super) dead_letters: Option<DeadLetters>,
}

/// What could not be taken in.
#[derive(Debug)]
pub(super) struct DeadLetters {
    /// As rows of their table.
    pub(super) rows: PushedRows,
    last: LastDeadLetter,
}

impl<S: OnlineStore + 'static> Intake<S> {
    /// Reads messages that arrive at an instant, once there is room for them.
    ///
    /// # Errors
    ///
    /// Where it is not the messages that are wrong: these go to the dead letters.
    pub(crate) async fn read_messages(
        &self,
        version: &Version,
        arrived: Arrived,
        at: Timestamp,
    ) -> Result<Vec<Read>, IntakeError> {
        let source = source_of(&version.definitions, &arrived.source)?;
        let payloads = arrived
            .batch
            .messages
            .iter()
            .filter_map(|message| message.payload.as_ref());
        let bytes = payloads.map(|payload| payload.len()).sum();
        let mut room = Some(self.room(bytes, None).await?);
        let lane = self.lane(&source.name)?;
        self.check_log(&lane)?;
        self.check_log(&*self.lane(&source.name.dead_letters())?)?;
        let reader = self.reader(&lane, version, source).await?;
        let of = Arc::clone(&reader);
        let read = tokio::task::spawn_blocking(move || of.read(arrived.batch, at)).await;
        let read = read.map_err(|error| IntakeError::Bug(format!("messages were not read: {error}")))??;
        let reads = read.into_iter().rev().map(|(rows, moved)| Read {
            lane: Arc::clone(&lane),
            reader: Arc::clone(&reader),
            rows,
            at,
            remembered: None,
            moved: Some(moved),
            // Until the last of them is written.
            room: room.take(),
        });
        let mut reads: Vec<Read> = reads.collect();
        reads.reverse();
        Ok(reads)
    }

    /// Has messages that were read taken in behind all that was enqueued for their source before.
    pub(crate) fn take_in(
        &self,
        read: Read,
    ) -> Option<Taken<impl Future<Output = Result<PushAnswer, IntakeError>> + Send + use<S>>> {
        let moved = read.moved.as_ref()?;
        let (after, messages, published) = (moved.after.clone(), moved.messages, moved.published);
        let lost = moved.lost;
        let dead_letters = read.dead_letters();
        Some(Taken {
            answer: self.enqueue(read),
            after,
            messages,
            dead_letters,
            lost,
            published,
        })
    }

    /// What is known of the lanes of a source's streams.
    pub(crate) fn lane_states(&self, source: &str) -> Result<Vec<(String, LaneState)>, IntakeError> {
        let source = asof_core::name::SourceName::parse(source);
        let source = source.map_err(|error| IntakeError::Refused(error.to_string()))?;
        let kept = self.inner.store.marks(&self.lane(&source)?.address)?;
        let states = kept
            .into_iter()
            .map(|kept| Ok((kept.lane.clone(), LaneState::parse(&kept)?)));
        states.collect()
    }
}

impl Reader {
    /// The rows of messages, in pieces that follow each other.
    fn read(&self, batch: Batch, at: Timestamp) -> Result<Vec<(PushedRows, Moved)>, IntakeError> {
        let streamed = match &self.messages {
            Some(Ok(streamed)) => streamed,
            Some(Err(error)) => return Err(error.clone()),
            None => {
                let source = &self.source.name;
                return Err(IntakeError::Refused(format!("source {source} has no stream")));
            }
        };
        let Batch {
            lane,
            mut before,
            messages,
            after,
            mut lost,
        } = batch;
        let payloads: Vec<Option<&[u8]>> = messages
            .iter()
            .map(|message| message.payload.as_deref())
            .collect();
        let pieces = self.reader.read_messages(&streamed.reader, &payloads, at)?;
        let mut rest = messages.as_slice();
        let mut read = Vec::new();
        for piece in pieces {
            let (these, behind) = rest.split_at_checked(piece.messages).unwrap_or((rest, &[]));
            rest = behind;
            let reached = match (rest, these.last()) {
                ([_, ..], Some(last)) => Mark {
                    next: last.position + 1,
                    epoch: after.epoch.clone(),
                },
                _ => after.clone(),
            };
            let moved = Moved {
                dead_letters: self.dead_letters(streamed, &lane, these, &piece, at)?,
                lane: Arc::clone(&lane),
                before: before.replace(reached.clone()),
                after: reached,
                messages: these.len() as u64,
                lost: std::mem::take(&mut lost),
                published: these.last().and_then(|last| last.published),
            };
            read.push((piece.rows, moved));
        }
        Ok(read)
    }

    fn dead_letters(
        &self,
        streamed: &super::Streamed,
        lane: &str,
        messages: &[Message],
        piece: &PushedMessages,
        at: Timestamp,
    ) -> Result<Option<DeadLetters>, IntakeError> {
        let dead = piece
            .refused
            .iter()
            .filter_map(|refused| Some((refused, messages.get(refused.message)?)));
        let dead: Vec<_> = dead.collect();
        let Some((last, of)) = dead.last() else {
            return Ok(None);
        };
        let number = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let payload = |message: &&Message| message.payload.clone();
        let arrived = TimestampMicrosecondArray::from(vec![at.micros(); dead.len()]).with_timezone("UTC");
        let positions = dead
            .iter()
            .map(|(_, message)| i64::try_from(message.position).unwrap_or(i64::MAX));
        let reasons = dead.iter().map(|(refused, _)| Some(refused.reason.as_str()));
        let starts = dead.iter().scan(None, |before, (refused, _)| {
            Some(before.replace(refused.message) != Some(refused.message))
        });
        // Once a message, however many rows of it are bad.
        let payloads: Vec<_> = dead
            .iter()
            .zip(starts)
            .map(|((_, message), starts)| payload(message).filter(|_| starts))
            .collect();
        let kept = payloads.iter().map(|payload| {
            let payload = payload.as_ref()?;
            Some(payload.get(..KEPT_BYTES).unwrap_or(payload))
        });
        let bytes = payloads
            .iter()
            .map(|payload| payload.as_ref().map(|payload| number(payload.len())));
        let columns: [(&str, ArrayRef); 7] = [
            ("arrived_at", Arc::new(arrived)),
            ("lane", Arc::new(StringArray::from(vec![lane; dead.len()]))),
            ("position", Arc::new(Int64Array::from_iter_values(positions))),
            (
                "row",
                Arc::new(
                    dead.iter()
                        .map(|(refused, _)| refused.row.map(number))
                        .collect::<Int64Array>(),
                ),
            ),
            ("reason", Arc::new(reasons.collect::<StringArray>())),
            ("payload", Arc::new(kept.collect::<BinaryArray>())),
            ("payload_bytes", Arc::new(bytes.collect::<Int64Array>())),
        ];
        let columns = columns.map(|(name, values)| (name.to_owned(), values));
        let rows = streamed
            .dead_letters
            .read(&PushInput::Columns(columns.to_vec()), usize::MAX, at)?;
        Ok(Some(DeadLetters {
            rows,
            last: LastDeadLetter {
                position: of.position,
                at_micros: at.micros(),
                reason: last.reason.clone(),
            },
        }))
    }
}

impl DeadLetters {
    pub(super) fn len(&self) -> u64 {
        self.rows.len() as u64
    }
}

impl Moved {
    /// What is known of the lane with these messages, where they follow what is known of it by now.
    pub(super) fn follow(&self, known: Option<&LaneState>) -> Result<LaneState, IntakeError> {
        if known.map(LaneState::mark) != self.before {
            return Err(IntakeError::Moved);
        }
        let mut state = known.cloned().unwrap_or_default();
        state.move_to(&self.after);
        state.messages += self.messages;
        state.lost += self.lost;
        if let Some(dead) = &self.dead_letters {
            state.dead_letters += dead.len();
            state.last = Some(dead.last.clone());
        }
        Ok(state)
    }
}
