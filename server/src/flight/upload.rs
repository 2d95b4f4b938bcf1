//! Rows that a caller sends, read with care: what is sent is foreign, and no decoder's panic gets further.

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow_array::{Array, RecordBatch};
use arrow_flight::decode::{DecodedPayload, FlightDataDecoder};
use arrow_flight::error::FlightError;
use arrow_flight::{FlightData, FlightDescriptor};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use asof_offline::{OfflineError, Output};
use asof_proto::upload::{END, HEADER};
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use tempfile::TempDir;
use tonic::{Code, Request, Status, Streaming};

use crate::error::ServerError;

/// The most bytes of rows of one upload that are kept on disk.
const MAX_SPOOLED: u64 = 64 << 30;

/// Batches as they come.
pub(super) struct Upload {
    descriptor: FlightDescriptor,
    batches: FlightDataDecoder,
    schema: SchemaRef,
    /// Whether the sender says where its rows end.
    has_end: bool,
    /// Whether that came.
    ended: Arc<AtomicBool>,
}

/// Rows in a file of ours, which goes with this.
pub(super) struct Spooled {
    directory: TempDir,
    path: PathBuf,
    pub(super) rows: u64,
}

impl Upload {
    /// Waits for the first message, which has the descriptor, and for the schema.
    pub(super) async fn begin(request: Request<Streaming<FlightData>>) -> Result<Self, Refused> {
        let has_end = request.metadata().contains_key(HEADER);
        let mut messages = request.into_inner();
        let nothing = || ServerError::argument("rows", "nothing was sent: send a descriptor and a schema");
        let first = messages
            .message()
            .await
            .map_err(|status| Refused::Cut(Box::new(status)))?
            .ok_or_else(nothing)?;
        let missing = || ServerError::argument("descriptor", "is missing in the first message");
        let descriptor = first.flight_descriptor.clone().ok_or_else(missing)?;
        let messages = stream::iter([Ok(first)])
            .chain(messages)
            .map_err(FlightError::from);
        let ended = Arc::new(AtomicBool::new(false));
        let ending = Arc::clone(&ended);
        // A message may have a descriptor and nothing else.
        let messages = messages.try_filter(move |message| {
            let has_more = !message.data_header.is_empty();
            if !has_more && message.app_metadata == END {
                ending.store(true, Ordering::Relaxed);
            }
            futures::future::ready(has_more)
        });
        let mut upload = Self {
            descriptor,
            batches: FlightDataDecoder::new(messages),
            schema: Arc::new(Schema::empty()),
            has_end,
            ended,
        };
        match upload.payload().await? {
            Some(DecodedPayload::Schema(schema)) => upload.schema = plain_schema(&schema),
            Some(_) => return Err(malformed("a batch came before its schema").into()),
            None => return Err(malformed("the upload is empty: send a schema, and batches").into()),
        }
        Ok(upload)
    }

    pub(super) fn descriptor(&self) -> &FlightDescriptor {
        &self.descriptor
    }

    /// The next batch.
    pub(super) async fn next(&mut self) -> Result<Option<RecordBatch>, Refused> {
        loop {
            match self.payload().await? {
                None => return Ok(None),
                Some(DecodedPayload::RecordBatch(batch)) => return self.plain(&batch).map(Some),
                Some(DecodedPayload::Schema(_)) => return Err(malformed("a second schema came").into()),
                Some(DecodedPayload::None) => {}
            }
        }
    }

    async fn payload(&mut self) -> Result<Option<DecodedPayload>, Refused> {
        let next = AssertUnwindSafe(self.batches.next()).catch_unwind().await;
        let next = next.map_err(|_| malformed("the Arrow data is damaged: its decoder gave up"))?;
        match next.transpose() {
            Ok(None) if self.has_end && !self.ended.load(Ordering::Relaxed) => {
                let cut = Status::cancelled("the rows broke off before their end");
                Err(Refused::Cut(Box::new(cut)))
            }
            Ok(next) => Ok(next.map(|data| data.payload)),
            Err(FlightError::Tonic(status)) => Err(Refused::Cut(status)),
            Err(FlightError::ProtocolError(problem)) => Err(malformed(&problem).into()),
            Err(error) => Err(malformed(&format!("the Arrow data is damaged: {error}")).into()),
        }
    }

    /// A batch without dictionaries: a file holds one of each column, and a stream may change it.
    fn plain(&self, batch: &RecordBatch) -> Result<RecordBatch, Refused> {
        let columns = batch.columns().iter().zip(self.schema.fields());
        let columns = columns.map(|(column, field)| {
            if column.data_type() == field.data_type() {
                return Ok(Arc::clone(column));
            }
            let plain =
                std::panic::catch_unwind(AssertUnwindSafe(|| arrow_cast::cast(column, field.data_type())));
            let plain = plain.map_err(|_| malformed("a dictionary is damaged"))?;
            plain.map_err(|error| malformed(&format!("column {:?}: {error}", field.name())))
        });
        let columns = columns.collect::<Result<Vec<_>, ServerError>>()?;
        let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options);
        batch.map_err(|error| malformed(&error.to_string()).into())
    }

    /// Puts all batches into a file of a name in a directory of its own: an Arrow file, which keeps every type as it is,
    /// or a Parquet file.
    pub(super) async fn spool(mut self, name: &str) -> Result<Spooled, Refused> {
        let directory = tempfile::tempdir().map_err(|error| unwritable(&error.to_string()))?;
        let path = directory.path().join(name);
        let mut output =
            Output::create(&path, false, &self.schema, 1).map_err(|error| unkept(error, &path))?;
        let (mut rows, mut bytes) = (0, 0);
        while let Some(batch) = self.next().await? {
            rows += batch.num_rows() as u64;
            bytes += batch.get_array_memory_size() as u64;
            if bytes > MAX_SPOOLED {
                let problem = format!("are more than {MAX_SPOOLED} bytes: send them in parts");
                return Err(ServerError::argument("rows", problem).into());
            }
            let written = std::panic::catch_unwind(AssertUnwindSafe(|| output.write(&batch)));
            let written = written.map_err(|_| malformed("a batch is damaged: its encoder gave up"))?;
            written.map_err(|error| unkept(error, &path))?;
        }
        output.finish().map_err(|error| unkept(error, &path))?;
        Ok(Spooled {
            directory,
            path,
            rows,
        })
    }
}

impl Spooled {
    pub(super) fn path(&self) -> &Path {
        debug_assert!(self.path.starts_with(self.directory.path()));
        &self.path
    }
}

/// Why rows were not taken.
#[derive(Debug)]
pub(super) enum Refused {
    /// They, or what is asked of them, are wrong, or they cannot be kept.
    Error(ServerError),
    /// The caller went away, or sent what is no gRPC.
    Cut(Box<Status>),
}

impl Refused {
    pub(super) fn code(&self) -> Code {
        match self {
            Self::Error(error) => error.code(),
            Self::Cut(status) => status.code(),
        }
    }
}

impl<E: Into<ServerError>> From<E> for Refused {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

fn malformed(problem: &str) -> ServerError {
    ServerError::argument("rows", problem)
}

/// A full disk, or rows that are not to be kept.
fn unkept(error: OfflineError, path: &Path) -> ServerError {
    match error {
        OfflineError::NoSpace { .. } => unwritable("no space is left"),
        error => {
            let named = format!("output {}", path.display());
            malformed(&error.to_string().replace(&named, "they"))
        }
    }
}

fn unwritable(reason: &str) -> ServerError {
    ServerError::Unavailable(format!("the rows cannot be kept for the call: {reason}"))
}

fn plain_schema(schema: &Schema) -> SchemaRef {
    let plain = |field: &Arc<Field>| match field.data_type() {
        DataType::Dictionary(_, values) => {
            let values = values.as_ref().clone();
            Arc::new(field.as_ref().clone().with_data_type(values))
        }
        _ => Arc::clone(field),
    };
    let fields: Vec<Arc<Field>> = schema.fields().iter().map(plain).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}
