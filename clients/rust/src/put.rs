//! Tables that are pushed or ingested whole.

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use futures::{Stream, TryStreamExt};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{Client, Error, upload};

/// What became of a part of the rows that were pushed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PushedPart {
    /// The place of the part's first row among all.
    pub first_row: usize,
    /// Its rows.
    pub rows: u64,
    /// Those that were accepted.
    pub accepted: u64,
    /// The others, by their places among all rows.
    pub rejected: Vec<RejectedRow>,
    /// Whether an earlier push of the same id had brought it already.
    pub already_accepted: bool,
}

/// A row that was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RejectedRow {
    /// Its place, from 0 on.
    pub row: usize,
    /// What is wrong with it.
    pub reason: String,
}

/// What became of rows that were ingested.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Ingested {
    /// The rows that were given.
    pub rows: u64,
    /// Those that this call appended to the table.
    pub accepted: u64,
    /// Whether an earlier ingest under the same id had brought them already.
    pub already_accepted: bool,
    /// The id under which they are known.
    pub id: String,
    /// The table's version with them.
    pub table_version: u64,
}

impl Client {
    /// Pushes any number of rows, in parts of up to 10,000 which are served one after the other. Each has an id of its
    /// own under `request_id`: the same rows that come again within 7 days have no effect.
    ///
    /// # Errors
    ///
    /// What the server refuses, and rows that broke off ([`Error::Rows`]). The parts before are accepted then: call
    /// again with the same rows and id.
    pub async fn push_table<S>(
        &self,
        source: &str,
        request_id: &str,
        schema: SchemaRef,
        rows: S,
    ) -> Result<Vec<PushedPart>, Error>
    where
        S: Stream<Item = Result<RecordBatch, String>> + Send + 'static,
    {
        let command = json!({ "push": { "source": source, "request_id": request_id } });
        self.put(command, schema, rows).await
    }

    /// Appends rows to a managed source in one commit, under an id, or under a digest of them where it is `None`: what
    /// comes again has no effect. They are served with the next materialization.
    ///
    /// # Errors
    ///
    /// What the server refuses, and rows that broke off ([`Error::Rows`]): nothing was appended then. After
    /// [`Error::Cut`] or a deadline that is over it is not known whether they were: call again with the same rows and id.
    pub async fn ingest<S>(
        &self,
        source: &str,
        id: Option<&str>,
        schema: SchemaRef,
        rows: S,
    ) -> Result<Ingested, Error>
    where
        S: Stream<Item = Result<RecordBatch, String>> + Send + 'static,
    {
        let command = match id {
            Some(id) => json!({ "ingest": { "source": source, "id": id } }),
            None => json!({ "ingest": { "source": source } }),
        };
        let told = self.put(command, schema, rows).await?;
        let none = || Error::Cut("it does not say what became of the rows".into());
        told.into_iter().next_back().ok_or_else(none)
    }

    async fn put<S, T: DeserializeOwned>(
        &self,
        command: Value,
        schema: SchemaRef,
        rows: S,
    ) -> Result<Vec<T>, Error>
    where
        S: Stream<Item = Result<RecordBatch, String>> + Send + 'static,
    {
        let (messages, failed) = upload::messages(command.to_string(), schema, rows);
        let told = self.end().in_time(async {
            let answer = self.flight().do_put(self.request_with_end(messages)).await?;
            let results = answer.into_inner().map_err(Error::from);
            let told = results.and_then(async |result| {
                serde_json::from_slice(&result.app_metadata).map_err(|error| Error::Cut(error.to_string()))
            });
            told.try_collect().await
        });
        let told = told.await.flatten();
        match failed.get() {
            Some(error) => Err(Error::Rows(error.clone())),
            None => told,
        }
    }
}
