//! The files of a source as the join reads them: row group by row group where they are Parquet, as streams
//! elsewhere.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, UInt64Array};
use datafusion::arrow::compute::take_record_batch;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use futures::StreamExt;

use crate::blocking::blocking;
use crate::engine::Engine;
use crate::error::{OfflineError, Result};
use crate::parquet_file::{ParquetFile, RowNumbers};
use crate::snapshot::Snapshot;
use crate::workers::Finds;

/// A pinned source whose files can be read.
#[derive(Clone)]
pub(crate) struct SourceFiles {
    engine: Engine,
    pub(crate) snapshot: Arc<Snapshot>,
    /// Its files, where they can be read directly.
    parquet: Option<Arc<[ParquetFile]>>,
}

/// A part of a source that is read at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) file: usize,
    /// The row group, `None` for the whole of a file that is read as a stream.
    pub(crate) group: Option<usize>,
    /// The rows to read, as numbers in the file, ascending and apart; `None` for all of them.
    pub(crate) ranges: Option<Vec<Range<u64>>>,
}

impl SourceFiles {
    /// Opens the files of a source.
    pub(crate) async fn open(engine: &Engine, snapshot: &Arc<Snapshot>) -> Result<Self> {
        let parquet = if snapshot.is_plain_parquet() {
            let snapshot = Arc::clone(snapshot);
            let opened = blocking(move || {
                let open = |file: &crate::files::SourceFile| {
                    ParquetFile::open(snapshot.place(file), file.location.clone())
                };
                snapshot.files.iter().map(open).collect::<Result<Vec<_>>>()
            });
            Some(opened.await?.into())
        } else {
            None
        };
        Ok(Self {
            engine: engine.clone(),
            snapshot: Arc::clone(snapshot),
            parquet,
        })
    }

    /// How messages name a file.
    pub(crate) fn place(&self, file: usize) -> String {
        self.snapshot.place_of(file)
    }

    /// The files, where they can be read directly.
    pub(crate) fn parquet(&self) -> Option<&[ParquetFile]> {
        self.parquet.as_deref()
    }

    /// All parts of the source, from the first row to the last.
    pub(crate) fn parts(&self) -> Vec<Part> {
        let whole = |file: usize, group: Option<usize>| Part {
            file,
            group,
            ranges: None,
        };
        match &self.parquet {
            None => (0..self.snapshot.files.len())
                .map(|file| whole(file, None))
                .collect(),
            Some(files) => files
                .iter()
                .enumerate()
                .flat_map(|(number, file)| {
                    (0..file.groups().count()).map(move |group| whole(number, Some(group)))
                })
                .collect(),
        }
    }

    /// How many rows parts have, as far as that is known without reading them.
    pub(crate) fn rows(&self, parts: &[Part]) -> u64 {
        let length = |range: &Range<u64>| range.end - range.start;
        let of = |part: &Part| match &part.ranges {
            Some(ranges) => ranges.iter().map(length).sum(),
            None => {
                let group = part
                    .group
                    .and_then(|group| self.parquet()?.get(part.file)?.groups().nth(group));
                group.as_ref().map_or(0, length)
            }
        };
        parts.iter().map(of).sum()
    }

    /// The parts that hold rows given by their files and numbers, ascending.
    pub(crate) fn parts_of(&self, rows: impl IntoIterator<Item = (usize, u64)>) -> Vec<Part> {
        let mut parts: Vec<Part> = Vec::new();
        let mut bounds = 0..0;
        for (file, row) in rows {
            let same = parts.last().is_some_and(|part| part.file == file) && bounds.contains(&row);
            if !same {
                let (group, range) = self.group_of(file, row);
                bounds = range;
                parts.push(Part {
                    file,
                    group,
                    ranges: Some(Vec::new()),
                });
            }
            let Some(ranges) = parts.last_mut().and_then(|part| part.ranges.as_mut()) else {
                continue;
            };
            match ranges.last_mut() {
                Some(last) if last.end == row => last.end = row + 1,
                _ => ranges.push(row..row + 1),
            }
        }
        parts
    }

    /// The row group that has a row, with its rows.
    fn group_of(&self, file: usize, row: u64) -> (Option<usize>, Range<u64>) {
        let file = self.parquet.as_ref().and_then(|files| files.get(file));
        let Some(file) = file else {
            return (None, 0..u64::MAX);
        };
        let found = file.groups().enumerate().find(|(_, rows)| rows.contains(&row));
        match found {
            Some((group, rows)) => (Some(group), rows),
            None => (None, row..row + 1),
        }
    }

    /// Reads columns of a part, and sends on what `map` makes of each batch, until nobody listens any more.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        part: Part,
        columns: &[String],
        batch_size: usize,
        finds: Finds<T>,
        map: impl Fn(&RecordBatch, &RowNumbers) -> Result<Vec<T>> + Send + 'static,
    ) -> Result<()> {
        let Some(group) = part.group else {
            return self.stream(part, columns, finds, map).await;
        };
        let this = self.clone();
        let columns = self.typed(columns);
        blocking(move || {
            let lost = || OfflineError::Internal(format!("no file {} was opened", part.file));
            let file = this
                .parquet()
                .and_then(|files| files.get(part.file))
                .ok_or_else(lost)?;
            let all = || file.groups().nth(group).into_iter().collect();
            let ranges = part.ranges.unwrap_or_else(all);
            let mut reader = file.read(group, ranges, &columns, batch_size)?;
            while let Some((batch, rows)) = reader.next()? {
                for found in map(&batch, &rows)? {
                    if finds.blocking_send(Ok(found)).is_err() {
                        return Ok(());
                    }
                }
            }
            Ok(())
        })
        .await
    }

    async fn stream<T: Send>(
        &self,
        part: Part,
        columns: &[String],
        finds: Finds<T>,
        map: impl Fn(&RecordBatch, &RowNumbers) -> Result<Vec<T>> + Send,
    ) -> Result<()> {
        let lost = || OfflineError::Internal(format!("snapshot has no file {}", part.file));
        let file = self.snapshot.files.get(part.file).ok_or_else(lost)?;
        let place = self.snapshot.place(file);
        let mut stream = self.engine.open_file(&self.snapshot, file, columns).await?;
        let mut next: u64 = 0;
        while let Some(batch) = stream.next().await {
            let batch = batch.map_err(|error| OfflineError::engine(&place, &error))?;
            let rows = next..next + batch.num_rows() as u64;
            next = rows.end;
            let found = match &part.ranges {
                None => map(&batch, &RowNumbers::From(rows.start))?,
                Some(ranges) => match picked(&batch, rows, ranges)? {
                    Some((batch, numbers)) => map(&batch, &numbers)?,
                    None => Vec::new(),
                },
            };
            for found in found {
                if finds.send(Ok(found)).await.is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Columns with their types in the source.
    fn typed(&self, columns: &[String]) -> SchemaRef {
        let fields: Vec<_> = columns
            .iter()
            .filter_map(|name| self.snapshot.schema.field_with_name(name).ok().cloned())
            .collect();
        Arc::new(Schema::new(fields))
    }

    /// Refuses a source of which a file was replaced while it was read.
    pub(crate) fn unchanged(&self) -> Result<()> {
        (0..self.snapshot.files.len()).try_for_each(|file| self.engine.unchanged(&self.snapshot, file))
    }
}

/// The rows of a batch that lie in `ranges`.
fn picked(
    batch: &RecordBatch,
    rows: Range<u64>,
    ranges: &[Range<u64>],
) -> Result<Option<(RecordBatch, RowNumbers)>> {
    let first = ranges.partition_point(|range| range.end <= rows.start);
    let numbers: Vec<u64> = ranges
        .iter()
        .skip(first)
        .take_while(|range| range.start < rows.end)
        .flat_map(|range| range.start.max(rows.start)..range.end.min(rows.end))
        .collect();
    if numbers.is_empty() {
        return Ok(None);
    }
    let places: UInt64Array = numbers.iter().map(|number| number - rows.start).collect();
    Ok(Some((
        take_record_batch(batch, &places)?,
        RowNumbers::Listed(numbers),
    )))
}
