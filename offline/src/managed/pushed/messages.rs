//! Messages of a stream to rows of its source.
//!
//! A message that cannot be read, and a row that cannot be taken, is refused with the reason and keeps no other from
//! being taken in.

use std::ops::Range;

use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::arrow::compute::concat;
use serde_json::value::RawValue;

use asof_core::definition::MessageFormat;
use asof_core::time::Timestamp;

use super::avro::AvroReader;
use super::{MOST_REJECTED, PushReader, PushedRows, Rejected, entry, json, same_length};
use crate::error::{OfflineError, Result, first_line};

/// The most rows of one message, and of messages that are taken in at once.
const MOST_ROWS: usize = 10_000;
/// The longest reason that is kept, in bytes: names of columns may have any length.
const MOST_REASON: usize = 500;
const NO_PAYLOAD: &str = "has no payload";
const NO_ROWS: &str = "holds no row";

/// What reads the messages of a stream.
#[derive(Debug)]
pub enum MessageReader {
    /// JSON objects, one or more a message.
    Json,
    /// An Avro record a message.
    Avro(AvroReader),
    /// An Arrow IPC stream a message.
    Arrow,
}

/// Messages that were read, one behind the other.
#[derive(Debug)]
pub struct PushedMessages {
    /// How many they are.
    pub messages: usize,
    /// The rows of theirs that are good.
    pub rows: PushedRows,
    /// What is not, in the order of the messages.
    pub refused: Vec<Refused>,
}

/// A message, or a row of one, that is not taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The place of the message among those of its [`PushedMessages`].
    pub message: usize,
    /// The row of the message, counted from 0; none where it is all of the message.
    pub row: Option<usize>,
    /// What is wrong with it.
    pub reason: String,
}

/// What messages hold, by the names of columns, or what is wrong with them: of several of them each holds a row.
pub(super) type Content = (Range<usize>, std::result::Result<Vec<(String, ArrayRef)>, String>);

/// Rows of messages, before they are checked.
struct Decoded {
    messages: usize,
    /// In the order of the schema.
    columns: Vec<ArrayRef>,
    /// Per row its message, and its place there.
    owners: Vec<(usize, usize)>,
    refused: Vec<Refused>,
    rejected: Rejected,
}

/// Messages whose columns have the same types.
#[derive(Default)]
struct Run {
    messages: Range<usize>,
    /// Per part its columns, in the order of the schema.
    parts: Vec<Vec<ArrayRef>>,
    owners: Vec<(usize, usize)>,
    refused: Vec<Refused>,
}

impl MessageReader {
    /// Reads what a stream is defined to hold.
    ///
    /// # Errors
    ///
    /// [`OfflineError::Definition`] where its Avro schema cannot be read by.
    pub fn new(format: &MessageFormat) -> Result<Self> {
        Ok(match format {
            MessageFormat::Json => Self::Json,
            MessageFormat::Arrow => Self::Arrow,
            MessageFormat::Avro { schema, framing } => Self::Avro(AvroReader::new(schema, *framing)?),
        })
    }
}

impl PushReader {
    /// Reads messages that arrive at an instant, in one piece where that can be.
    ///
    /// # Errors
    ///
    /// Where it is not the messages that are wrong.
    pub fn read_messages(
        &self,
        reader: &MessageReader,
        payloads: &[Option<&[u8]>],
        at: Timestamp,
    ) -> Result<Vec<PushedMessages>> {
        match self.read_pieces(reader, payloads, at) {
            Err(OfflineError::Data(reason)) if payloads.len() == 1 => Ok(vec![self.refuse(reason, at)?]),
            // Too much is wrong for one piece, or something with all rows of a message.
            Err(OfflineError::Data(_)) if payloads.len() > 1 => {
                let mut pieces = Vec::new();
                let fewer = payloads.len().div_ceil(2).min(MOST_REJECTED);
                for fewer in payloads.chunks(fewer) {
                    pieces.extend(self.read_messages(reader, fewer, at)?);
                }
                Ok(pieces)
            }
            read => read,
        }
    }

    fn read_pieces(
        &self,
        reader: &MessageReader,
        payloads: &[Option<&[u8]>],
        at: Timestamp,
    ) -> Result<Vec<PushedMessages>> {
        let decoded = match reader {
            MessageReader::Json => vec![self.objects(payloads)?],
            MessageReader::Arrow => self.runs(payloads.iter().enumerate().map(|(message, payload)| {
                let columns = payload
                    .ok_or_else(|| NO_PAYLOAD.to_owned())
                    .and_then(|payload| entry::columns_of(payload).map_err(|error| error.to_string()));
                (message..message + 1, columns)
            }))?,
            MessageReader::Avro(avro) => self.runs(avro.read(payloads).into_iter())?,
        };
        decoded
            .into_iter()
            .map(|decoded| self.take_in(decoded, at))
            .collect()
    }

    fn take_in(&self, decoded: Decoded, at: Timestamp) -> Result<PushedMessages> {
        let Decoded {
            messages,
            columns,
            owners,
            mut refused,
            rejected,
        } = decoded;
        let mut rows = self.accept(columns, rejected, at)?;
        let rejected = std::mem::take(&mut rows.rejected).into_iter();
        refused.extend(rejected.filter_map(|rejected| {
            let (message, row) = *owners.get(rejected.row)?;
            Some(Refused {
                message,
                row: Some(row),
                reason: shortened(rejected.reason),
            })
        }));
        refused.sort_by_key(|refused| (refused.message, refused.row));
        Ok(PushedMessages {
            messages,
            rows,
            refused,
        })
    }

    /// One message, of which nothing is taken.
    fn refuse(&self, reason: String, at: Timestamp) -> Result<PushedMessages> {
        let mut nothing = self.objects(&[])?;
        nothing.messages = 1;
        nothing.refused.push(Refused::whole(0, reason));
        self.take_in(nothing, at)
    }

    /// Messages of JSON objects.
    fn objects(&self, payloads: &[Option<&[u8]>]) -> Result<Decoded> {
        let mut objects: Vec<&str> = Vec::with_capacity(payloads.len());
        let (mut owners, mut refused) = (Vec::with_capacity(payloads.len()), Vec::new());
        for (message, payload) in payloads.iter().enumerate() {
            match payload.ok_or_else(|| NO_PAYLOAD.to_owned()).and_then(objects_of) {
                Ok(found) if found.len() > MOST_ROWS => {
                    refused.push(Refused::whole(message, too_many(found.len())));
                }
                Ok(found) => {
                    owners.extend((0..found.len()).map(|row| (message, row)));
                    objects.extend(found);
                }
                Err(reason) => refused.push(Refused::whole(message, reason)),
            }
        }
        few_enough(objects.len())?;
        let mut rejected = Rejected::new(objects.len());
        Ok(Decoded {
            messages: payloads.len(),
            columns: json::columns(&objects, &self.source, &self.columns, &mut rejected)?,
            owners,
            refused,
            rejected,
        })
    }

    /// Messages of columns, in pieces of the same types.
    fn runs(&self, contents: impl Iterator<Item = Content>) -> Result<Vec<Decoded>> {
        let mut runs = vec![Run::default()];
        for (messages, columns) in contents {
            let columns = columns.and_then(|columns| {
                let named = || Ok((same_length(&columns)?, self.in_order(&columns)?));
                named().map_err(|error: OfflineError| error.to_string())
            });
            let columns = columns.and_then(|(rows, columns)| match rows {
                0 => Err(NO_ROWS.to_owned()),
                rows if rows > MOST_ROWS => Err(too_many(rows)),
                _ => Ok(columns),
            });
            let starts = runs.last().zip(columns.as_ref().ok());
            if starts.is_some_and(|(run, columns)| !run.takes(columns)) {
                runs.push(Run {
                    messages: messages.start..messages.start,
                    ..Run::default()
                });
            }
            if let Some(run) = runs.last_mut() {
                run.add(messages, columns);
            }
        }
        few_enough(runs.iter().map(|run| run.owners.len()).sum())?;
        runs.into_iter().map(|run| self.whole(run)).collect()
    }

    fn whole(&self, run: Run) -> Result<Decoded> {
        let columns = (0..self.columns.len()).map(|place| {
            let arrays = run.parts.iter().filter_map(|part| part.get(place));
            let arrays: Vec<&dyn Array> = arrays.map(AsRef::as_ref).collect();
            Ok(concat(&arrays)?)
        });
        let mut rejected = Rejected::new(run.owners.len());
        let columns = match run.parts.is_empty() {
            true => json::columns(&[], &self.source, &self.columns, &mut rejected)?,
            false => columns.collect::<Result<_>>()?,
        };
        Ok(Decoded {
            messages: run.messages.len(),
            columns,
            owners: run.owners,
            refused: run.refused,
            rejected,
        })
    }
}

impl Run {
    fn takes(&self, columns: &[ArrayRef]) -> bool {
        let first = self.parts.first().into_iter().flatten();
        first
            .zip(columns)
            .all(|(known, new)| known.data_type() == new.data_type())
    }

    fn add(&mut self, messages: Range<usize>, columns: std::result::Result<Vec<ArrayRef>, String>) {
        let start = self.messages.start;
        self.messages.end = messages.end;
        match columns {
            Ok(columns) => {
                let rows = columns.first().map_or(0, |column| column.len());
                let alone = messages.len() == 1;
                self.owners.extend((0..rows).map(|row| match alone {
                    true => (messages.start - start, row),
                    false => (messages.start - start + row, 0),
                }));
                self.parts.push(columns);
            }
            Err(reason) => {
                let all = messages.map(|message| Refused::whole(message - start, reason.clone()));
                self.refused.extend(all);
            }
        }
    }
}

impl Refused {
    fn whole(message: usize, reason: String) -> Self {
        Self {
            message,
            row: None,
            reason: shortened(reason),
        }
    }
}

fn too_many(rows: usize) -> String {
    format!("holds {rows} rows, a message has at most {MOST_ROWS}")
}

/// That messages with so many rows can be taken in at once: else fewer are.
fn few_enough(rows: usize) -> Result<()> {
    match rows {
        ..=MOST_ROWS => Ok(()),
        _ => Err(OfflineError::Data(format!("{rows} rows are too many at once"))),
    }
}

fn shortened(mut reason: String) -> String {
    if reason.len() > MOST_REASON {
        let end = (0..=MOST_REASON).rev().find(|end| reason.is_char_boundary(*end));
        reason.truncate(end.unwrap_or(0));
        reason.push('…');
    }
    reason
}

/// The texts of the objects of a message. Of one without line breaks, which is one object, it is not looked into.
fn objects_of(payload: &[u8]) -> std::result::Result<Vec<&str>, String> {
    let text = std::str::from_utf8(payload)
        .map_err(|error| format!("is not UTF-8 at byte {}", error.valid_up_to()))?
        .trim();
    if text.is_empty() {
        return Err(NO_ROWS.into());
    }
    if !text.contains('\n') {
        return Ok(vec![text]);
    }
    let objects = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    let objects = objects.map(|object| object.map(RawValue::get));
    objects
        .collect::<std::result::Result<_, _>>()
        .map_err(|error| format!("is not JSON: {}", first_line(&error.to_string())))
}
