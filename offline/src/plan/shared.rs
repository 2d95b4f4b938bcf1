//! One scan of a source for all reads of it.

use std::fmt;
use std::sync::{Arc, Mutex};

use datafusion::common::runtime::SpawnedTask;
use tokio::sync::mpsc;

use super::spec::JoinSpec;
use crate::error::{OfflineError, Result};
use crate::rows::{RowReader, SourceRows};
use crate::scan::Scan;

/// How many batches may wait for a read. All reads of a plan take theirs in at the same time, as every sort
/// does that is asked once: a scan waits for the slowest, and never for one that waits for another.
const WAITING: usize = 2;

/// A scan that starts when the first of its reads begins, and goes on while any of them is there.
pub(super) struct SharedScan {
    spec: Arc<JoinSpec>,
    source: usize,
    reader: Arc<RowReader>,
    /// Per read, in their order, its rows until it takes them; nothing before the first does.
    rows: Mutex<Option<Vec<Option<ReadRows>>>>,
}

/// The rows of a source for one read.
pub(super) struct ReadRows {
    batches: mpsc::Receiver<Message>,
    /// Ends the scan when the last read is gone.
    _scan: Arc<SpawnedTask<()>>,
}

/// Rows, or the end of them: a scan that is just gone is not done.
type Message = Result<Option<SourceRows>>;

impl SharedScan {
    /// Binds all reads of a source.
    pub(super) fn try_new(spec: &Arc<JoinSpec>, source: usize) -> Result<Self> {
        let views: Vec<_> = spec
            .reads_of(source)
            .map(|(_, read)| read.bound.as_ref())
            .collect();
        let lost = || OfflineError::Internal("a read has no source".into());
        let snapshot = &spec.sources.get(source).ok_or_else(lost)?.files.snapshot;
        Ok(Self {
            reader: Arc::new(RowReader::bind_all(&views, snapshot)?),
            spec: Arc::clone(spec),
            source,
            rows: Mutex::new(None),
        })
    }

    /// The names of the reads.
    pub(super) fn labels(&self) -> Vec<&str> {
        let reads = self.spec.reads_of(self.source);
        reads.map(|(_, read)| read.label.as_str()).collect()
    }

    /// The rows for a read, given by its number. A plan is run once.
    pub(super) fn rows(&self, number: usize) -> Result<ReadRows> {
        let lost = || OfflineError::Internal("the rows of a read were taken before".into());
        let place = self
            .spec
            .reads_of(self.source)
            .position(|(other, _)| other == number);
        let mut started = self.rows.lock().map_err(|_| lost())?;
        if started.is_none() {
            *started = Some(self.start()?);
        }
        let rows = started.as_mut().and_then(|rows| rows.get_mut(place?));
        rows.and_then(Option::take).ok_or_else(lost)
    }

    fn start(&self) -> Result<Vec<Option<ReadRows>>> {
        let lost = || OfflineError::Internal("a read has no source".into());
        let snapshot = &self
            .spec
            .sources
            .get(self.source)
            .ok_or_else(lost)?
            .files
            .snapshot;
        let scan = Scan::start(&self.spec.engine, snapshot, &self.reader, 0..snapshot.files.len());
        let reads = self.spec.reads_of(self.source);
        let (senders, receivers): (Vec<_>, Vec<_>) = reads.map(|_| mpsc::channel(WAITING)).unzip();
        let scan = Arc::new(SpawnedTask::spawn(distribute(scan, senders)));
        let rows = receivers.into_iter().map(|batches| {
            Some(ReadRows {
                batches,
                _scan: Arc::clone(&scan),
            })
        });
        Ok(rows.collect())
    }
}

impl fmt::Debug for SharedScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedScan")
            .field("reads", &self.labels())
            .finish_non_exhaustive()
    }
}

impl ReadRows {
    /// The next batch.
    pub(super) async fn next(&mut self) -> Result<Option<SourceRows>> {
        let gone = || OfflineError::Internal("the scan of a source ended before its files did".into());
        self.batches.recv().await.ok_or_else(gone)?
    }
}

/// Gives each batch to every read that is still there; an error, and the end, too.
async fn distribute(mut scan: Scan, mut reads: Vec<mpsc::Sender<Message>>) {
    while !reads.iter().all(mpsc::Sender::is_closed) {
        let (messages, is_last): (Vec<Message>, bool) = match scan.next_of_each().await {
            Ok(Some(views)) => (views.into_iter().map(|rows| Ok(Some(rows))).collect(), false),
            Ok(None) => (reads.iter().map(|_| Ok(None)).collect(), true),
            Err(error) => (reads.iter().map(|_| Err(error.clone())).collect(), true),
        };
        for (read, message) in reads.iter_mut().zip(messages) {
            // A read that is gone has no use for it.
            let _ = read.send(message).await;
        }
        if is_last {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_scan_that_is_just_gone_is_not_done() {
        let (sender, batches) = mpsc::channel(WAITING);
        let mut rows = ReadRows {
            batches,
            _scan: Arc::new(SpawnedTask::spawn(async {})),
        };
        sender.send(Ok(None)).await.unwrap();
        drop(sender);
        assert!(rows.next().await.unwrap().is_none());
        let gone = rows.next().await.unwrap_err();
        assert!(matches!(gone, OfflineError::Internal(_)), "{gone}");
    }
}
