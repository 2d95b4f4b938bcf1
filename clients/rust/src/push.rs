//! Rows that are pushed to a managed source.

use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::ArrowError;
use asof_proto::v1;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};

use crate::{Client, Error};

/// What became of rows that were pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// How many were accepted: they are served, and come to the source's table and so to every extract.
    pub accepted: u64,
    /// The rows that were not, by their places from 0 on, each with what is wrong with it.
    pub rejected: Vec<(u32, String)>,
    /// Whether an earlier push of the same id had brought them already; this is its answer.
    pub already_accepted: bool,
}

impl Client {
    /// Pushes up to 10,000 rows, which are served when the call returns. `request_id` tells this push from others:
    /// within 7 days, the same id has no further effect, so that a call of which no answer came is made again. With an
    /// empty one the call is made once.
    ///
    /// # Errors
    ///
    /// With `InvalidArgument`, `NotFound` and `FailedPrecondition` the server refused the rows. After anything else it is
    /// not known whether they were accepted: push the same rows under the same id.
    pub async fn push(&self, source: &str, rows: &RecordBatch, request_id: &str) -> Result<Pushed, Error> {
        let request = v1::PushRequest {
            source: source.to_owned(),
            request_id: request_id.to_owned(),
            rows: Some(v1::push_request::Rows::ArrowStream(stream(rows)?)),
        };
        let v1::PushResponse {
            accepted,
            rejected,
            already_accepted,
        } = self.push_request(&request).await?;
        Ok(Pushed {
            accepted,
            rejected: rejected.into_iter().map(|row| (row.row, row.reason)).collect(),
            already_accepted,
        })
    }

    /// The same for a request as it goes over the wire, whose rows may be lines of JSON.
    ///
    /// # Errors
    ///
    /// As of [`Self::push`].
    pub async fn push_request(&self, request: &v1::PushRequest) -> Result<v1::PushResponse, Error> {
        // Without an id every attempt is a push of its own.
        let again_for = match request.request_id.is_empty() {
            true => Duration::ZERO,
            false => self.again(),
        };
        self.repeated_for(
            again_for,
            self.again(),
            request,
            |mut clients, request| async move { clients.ingest.push(request).await },
        )
        .await
    }

    /// Pushes without end: of each request comes an answer, in their order, and one that is refused ends nothing. There is
    /// flow control both ways: who takes no answers cannot push more than some requests ahead.
    ///
    /// # Errors
    ///
    /// The server cannot be reached. The answers end with an error where the call ends early: of what was not answered
    /// it is not known whether it was accepted, so push it again under its id.
    pub async fn push_stream(
        &self,
        requests: impl Stream<Item = v1::PushRequest> + Send + 'static,
    ) -> Result<BoxStream<'static, Result<v1::PushStreamResponse, Error>>, Error> {
        // Without a deadline: it lasts as long as there are requests.
        let answers = self.clients().ingest.push_stream(requests).await?.into_inner();
        Ok(answers.map(|answer| Ok(answer?)).boxed())
    }

    /// Brings the rows that were pushed to some sources, or to all where none is named, to their tables; says how many
    /// that were. The server does so by itself within moments.
    ///
    /// # Errors
    ///
    /// A table that cannot be written.
    pub async fn flush(&self, sources: Vec<String>) -> Result<u64, Error> {
        let request = self.request(v1::FlushRequest { sources });
        Ok(self.clients().ingest.flush(request).await?.into_inner().rows)
    }
}

fn stream(rows: &RecordBatch) -> Result<Vec<u8>, Error> {
    let written = || {
        let mut writer = StreamWriter::try_new(Vec::new(), rows.schema_ref())?;
        writer.write(rows)?;
        writer.into_inner()
    };
    written().map_err(|error: ArrowError| Error::Rows(error.to_string()))
}
