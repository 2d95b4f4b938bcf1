//! All rows of a source, file by file, several files at once.

use std::sync::Arc;

use futures::StreamExt;
use tokio::sync::OnceCell;

use crate::engine::Engine;
use crate::error::{OfflineError, Result};
use crate::events::Repeats;
use crate::parquet_file::ParquetFile;
use crate::rows::{RowReader, SourceRows};
use crate::snapshot::Snapshot;
use crate::workers::{Finds, Workers};

/// The rows of some of a snapshot's files, without those that repeat an event of any of its files.
///
/// Batches of one file come in its order, those of different files as they are read.
pub struct Scan(Workers<Vec<SourceRows>>);

/// What the readers of a scan share.
struct Shared {
    engine: Engine,
    snapshot: Arc<Snapshot>,
    reader: Arc<RowReader>,
    /// Found by the first reader that needs them, for all.
    repeats: OnceCell<Option<Repeats>>,
}

impl Scan {
    /// Starts to read files, by their numbers in the snapshot.
    pub fn start(
        engine: &Engine,
        snapshot: &Arc<Snapshot>,
        reader: &Arc<RowReader>,
        files: impl IntoIterator<Item = usize>,
    ) -> Self {
        let from_the_first = files.into_iter().map(|file| (file, 0));
        Self::start_behind(engine, snapshot, reader, from_the_first)
    }

    /// Starts to read files, each behind so many of its first rows.
    pub fn start_behind(
        engine: &Engine,
        snapshot: &Arc<Snapshot>,
        reader: &Arc<RowReader>,
        files: impl IntoIterator<Item = (usize, u64)>,
    ) -> Self {
        let shared = Arc::new(Shared {
            engine: engine.clone(),
            snapshot: Arc::clone(snapshot),
            reader: Arc::clone(reader),
            repeats: OnceCell::new(),
        });
        let files = files.into_iter();
        let jobs = files.map(|job| (snapshot.place_of(job.0), job)).collect();
        let run = move |(file, behind), finds| {
            let shared = Arc::clone(&shared);
            async move { shared.read(file, behind, &finds).await }
        };
        Self(Workers::start(engine.options.readers, jobs, run))
    }

    /// The next batch, of a reader of one view.
    pub async fn next(&mut self) -> Result<Option<SourceRows>> {
        let Some(views) = self.next_of_each().await? else {
            return Ok(None);
        };
        let [rows] = <[SourceRows; 1]>::try_from(views)
            .map_err(|_| OfflineError::Internal("a scan of several views is read as one".into()))?;
        Ok(Some(rows))
    }

    /// The next batch, as each of the reader's views has it.
    pub(crate) async fn next_of_each(&mut self) -> Result<Option<Vec<SourceRows>>> {
        self.0.next().await
    }
}

impl Engine {
    /// How many rows a scan behind so many of the first rows of files will find, where the files' format tells; rows
    /// that are marked as deleted count.
    pub async fn rows_left(&self, snapshot: &Arc<Snapshot>, files: &[(usize, u64)]) -> Option<u64> {
        if snapshot.is_typed_by_view() {
            return None;
        }
        let (snapshot, files) = (Arc::clone(snapshot), files.to_vec());
        let count = move || {
            let rows = files.into_iter().map(|(file, behind)| {
                let location = snapshot.files.get(file)?.location.clone();
                let footer = ParquetFile::open(snapshot.place_of(file), location).ok()?;
                Some(footer.rows().saturating_sub(behind))
            });
            rows.sum()
        };
        tokio::task::spawn_blocking(count).await.ok()?
    }
}

impl Shared {
    /// Sends the batches of one file until its end, or until nobody listens any more.
    async fn read(&self, file: usize, behind: u64, finds: &Finds<Vec<SourceRows>>) -> Result<()> {
        let Self {
            engine,
            snapshot,
            reader,
            repeats,
        } = self;
        let repeats = repeats
            .get_or_try_init(|| reader.repeats(engine, snapshot))
            .await?;
        let batches = reader.read_file(engine, snapshot, file, repeats.as_ref()).await?;
        let mut batches = std::pin::pin!(batches);
        let mut last: Option<Vec<SourceRows>> = None;
        while let Some(views) = batches.next().await {
            let mut views = views?;
            views.iter_mut().for_each(|rows| rows.pass_over(behind));
            if let Some(before) = last.replace(views)
                && finds.send(Ok(before)).await.is_err()
            {
                return Ok(());
            }
        }
        if let Some(mut last) = last {
            last.iter_mut().for_each(|rows| rows.is_last = true);
            if finds.send(Ok(last)).await.is_err() {
                return Ok(());
            }
        }
        engine.unchanged(snapshot, file)
    }
}
