//! All rows of a source, file by file, several files at once.

use std::ops::Range;
use std::sync::Arc;

use futures::StreamExt;
use tokio::sync::OnceCell;

use crate::engine::Engine;
use crate::error::Result;
use crate::events::Repeats;
use crate::rows::{RowReader, SourceRows};
use crate::snapshot::Snapshot;
use crate::workers::{Finds, Workers};

/// The rows of a range of a snapshot's files, without those that repeat an event of any of its files.
///
/// Batches of one file come in its order, those of different files as they are read.
pub struct Scan(Workers<SourceRows>);

/// What the readers of a scan share.
struct Shared {
    engine: Engine,
    snapshot: Arc<Snapshot>,
    reader: Arc<RowReader>,
    /// Found by the first reader that needs them, for all.
    repeats: OnceCell<Option<Repeats>>,
}

impl Scan {
    /// Starts to read.
    pub fn start(
        engine: &Engine,
        snapshot: &Arc<Snapshot>,
        reader: &Arc<RowReader>,
        files: Range<usize>,
    ) -> Self {
        let shared = Arc::new(Shared {
            engine: engine.clone(),
            snapshot: Arc::clone(snapshot),
            reader: Arc::clone(reader),
            repeats: OnceCell::new(),
        });
        let jobs = files.map(|file| (snapshot.place_of(file), file)).collect();
        let run = move |file, finds| {
            let shared = Arc::clone(&shared);
            async move { shared.read(file, &finds).await }
        };
        Self(Workers::start(engine.options.readers, jobs, run))
    }

    /// The next batch.
    pub async fn next(&mut self) -> Result<Option<SourceRows>> {
        self.0.next().await
    }
}

impl Shared {
    /// Sends the batches of one file until its end, or until nobody listens any more.
    async fn read(&self, file: usize, finds: &Finds<SourceRows>) -> Result<()> {
        let Self {
            engine,
            snapshot,
            reader,
            repeats,
        } = self;
        let repeats = repeats
            .get_or_try_init(|| reader.repeats(engine, snapshot))
            .await?;
        let rows = reader.read_file(engine, snapshot, file, repeats.as_ref()).await?;
        let mut rows = std::pin::pin!(rows);
        while let Some(rows) = rows.next().await {
            if finds.send(Ok(rows?)).await.is_err() {
                return Ok(());
            }
        }
        engine.unchanged(snapshot, file)
    }
}
