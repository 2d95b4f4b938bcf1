//! All rows of a source, file by file, several files at once.

use std::collections::HashSet;
use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::{FutureExt, StreamExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use asof_core::key::EntityKey;

use crate::engine::Engine;
use crate::error::{OfflineError, Result};
use crate::rows::{RowReader, SourceRows};
use crate::snapshot::{Snapshot, undecodable};

/// How many batches may wait for the consumer.
const WAITING: usize = 4;

/// The rows of a range of a snapshot's files.
///
/// Batches of one file come in its order; those of different files come as they are read, save for
/// sources with event ids, whose files come one after the other.
pub struct Scan {
    batches: mpsc::Receiver<Result<SourceRows>>,
    /// Ends the readers when the scan is dropped.
    _readers: JoinSet<()>,
    seen: HashSet<EntityKey>,
    repeated: u64,
}

impl Scan {
    /// Starts to read.
    pub fn start(
        engine: &Engine,
        snapshot: &Arc<Snapshot>,
        reader: &Arc<RowReader>,
        files: Range<usize>,
    ) -> Self {
        let (sender, batches) = mpsc::channel(WAITING);
        let at_once = if reader.needs_order() {
            1
        } else {
            engine.options.readers.max(1)
        };
        let queue = Arc::new(std::sync::Mutex::new(files));
        let mut readers = JoinSet::new();
        for _ in 0..at_once {
            let (engine, snapshot, reader) = (engine.clone(), Arc::clone(snapshot), Arc::clone(reader));
            let (queue, sender) = (Arc::clone(&queue), sender.clone());
            readers.spawn(async move {
                let next = || queue.lock().ok().and_then(|mut files| files.next());
                while let Some(file) = next() {
                    let read = read_file(&engine, &snapshot, &reader, file, &sender);
                    // A reader that is just gone would look like the end of the rows.
                    let read = AssertUnwindSafe(read).catch_unwind().await;
                    if let Err(error) = read.unwrap_or_else(|_| Err(panicked(&snapshot, file))) {
                        let _ = sender.send(Err(error)).await;
                        return;
                    }
                }
            });
        }
        Self {
            batches,
            _readers: readers,
            seen: HashSet::new(),
            repeated: 0,
        }
    }

    /// The next batch, without the rows whose event id was seen before.
    pub async fn next(&mut self) -> Result<Option<SourceRows>> {
        let Some(rows) = self.batches.recv().await.transpose()? else {
            return Ok(None);
        };
        Ok(Some(self.without_repeated(rows)))
    }

    /// How many rows were ignored because an earlier one has the same event id.
    pub fn repeated(&self) -> u64 {
        self.repeated
    }

    fn without_repeated(&mut self, mut rows: SourceRows) -> SourceRows {
        let Some(events) = rows.events.take() else {
            return rows;
        };
        let counts: Vec<bool> = events
            .ids
            .into_iter()
            .map(|id| id.is_none_or(|id| self.seen.insert(id)))
            .collect();
        let before = rows.heads.len();
        let mut event_rows = events.rows.into_iter();
        rows.heads.retain(|_| {
            let row = event_rows.next().and_then(|row| counts.get(row));
            row.copied().unwrap_or(false)
        });
        self.repeated += u64::try_from(before - rows.heads.len()).unwrap_or(0);
        rows
    }
}

/// Sends the batches of one file until its end, or until nobody listens any more.
async fn read_file(
    engine: &Engine,
    snapshot: &Snapshot,
    reader: &RowReader,
    file: usize,
    sender: &mpsc::Sender<Result<SourceRows>>,
) -> Result<()> {
    let mut stream = std::pin::pin!(reader.read_file(engine, snapshot, file).await?);
    while let Some(rows) = stream.next().await {
        if sender.send(Ok(rows?)).await.is_err() {
            return Ok(());
        }
    }
    engine.unchanged(snapshot, file)
}

fn panicked(snapshot: &Snapshot, file: usize) -> OfflineError {
    let path = snapshot.files.get(file).map_or("", |file| file.path.as_str());
    undecodable(&snapshot.source, path)
}
