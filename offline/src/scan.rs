//! All rows of a source, file by file, several files at once.

use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::{FutureExt, StreamExt};
use tokio::sync::{OnceCell, mpsc};
use tokio::task::JoinSet;

use crate::engine::Engine;
use crate::error::{OfflineError, Result};
use crate::events::Repeats;
use crate::rows::{RowReader, SourceRows};
use crate::snapshot::{Snapshot, undecodable};

/// How many batches may wait for the consumer.
const WAITING: usize = 4;

/// The rows of a range of a snapshot's files, without those that repeat an event of any of its files.
///
/// Batches of one file come in its order, those of different files as they are read.
pub struct Scan {
    batches: mpsc::Receiver<Result<SourceRows>>,
    /// Ends the readers when the scan is dropped.
    _readers: JoinSet<()>,
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
        let queue = Arc::new(std::sync::Mutex::new(files));
        // Found by the first reader that needs them, for all.
        let repeats = Arc::new(OnceCell::new());
        let mut readers = JoinSet::new();
        for _ in 0..engine.options.readers.max(1) {
            let (engine, snapshot, reader) = (engine.clone(), Arc::clone(snapshot), Arc::clone(reader));
            let (queue, repeats, sender) = (Arc::clone(&queue), Arc::clone(&repeats), sender.clone());
            readers.spawn(async move {
                let next = || queue.lock().ok().and_then(|mut files| files.next());
                while let Some(file) = next() {
                    let read = async {
                        let find = || reader.repeats(&engine, &snapshot);
                        let repeats = repeats.get_or_try_init(find).await?;
                        read_file(&engine, &snapshot, &reader, file, repeats.as_ref(), &sender).await
                    };
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
        }
    }

    /// The next batch.
    pub async fn next(&mut self) -> Result<Option<SourceRows>> {
        self.batches.recv().await.transpose()
    }
}

/// Sends the batches of one file until its end, or until nobody listens any more.
async fn read_file(
    engine: &Engine,
    snapshot: &Snapshot,
    reader: &RowReader,
    file: usize,
    repeats: Option<&Repeats>,
    sender: &mpsc::Sender<Result<SourceRows>>,
) -> Result<()> {
    let mut stream = std::pin::pin!(reader.read_file(engine, snapshot, file, repeats).await?);
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
