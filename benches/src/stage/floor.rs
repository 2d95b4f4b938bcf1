//! What no extract can do without: decoding the columns that it needs, and encoding its dataset.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use arrow::array::RecordBatch;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use serde::{Deserialize, Serialize};

/// Rows that are decoded at a time.
const BATCH: usize = 8192;

/// What to decode and to encode.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Floor {
    /// The files of the sources.
    pub files: Vec<PathBuf>,
    /// Their columns that the extract needs.
    pub columns: Vec<String>,
    /// The dataset of the extract, to be encoded once more.
    pub dataset: PathBuf,
    /// The folder that the encoded parts go to, one for each thread.
    pub out: PathBuf,
    /// How many threads do it.
    pub threads: usize,
}

/// How long it took.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Floored {
    /// Rows that were decoded.
    pub decoded: u64,
    /// Rows that were encoded.
    pub encoded: u64,
    /// Seconds for both, one after the other.
    pub seconds: f64,
}

/// Decodes, and then encodes. Reading the dataset is not part of the time.
///
/// # Errors
///
/// Files that cannot be read or written.
pub fn run(floor: &Floor) -> Result<Floored> {
    let batches = reader(&floor.dataset, None)?.collect::<Result<Vec<_>, _>>()?;
    let rows = batches.iter().map(|batch| batch.num_rows()).sum::<usize>();
    let start = Instant::now();
    let decoded = decode(floor)?;
    let share = batches.len().div_ceil(floor.threads.max(1)).max(1);
    thread::scope(|scope| {
        let parts = batches.chunks(share).enumerate();
        let parts = parts.map(|(part, batches)| {
            let path = floor.out.join(format!("floor-{part}.parquet"));
            scope.spawn(move || encode(&path, batches))
        });
        let parts: Vec<_> = parts.collect();
        parts.into_iter().try_for_each(|part| joined(part.join())?)
    })?;
    Ok(Floored {
        decoded,
        encoded: u64::try_from(rows)?,
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// Decodes all files, each thread the next one that none has begun; returns their rows.
fn decode(floor: &Floor) -> Result<u64> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<u64> {
        let mut rows = 0;
        while let Some(path) = floor.files.get(next.fetch_add(1, Ordering::Relaxed)) {
            for batch in reader(path, Some(&floor.columns))? {
                rows += u64::try_from(batch?.num_rows())?;
            }
        }
        Ok(rows)
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..floor.threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| joined(worker.join())?).sum()
    })
}

fn joined<T>(result: thread::Result<T>) -> Result<T> {
    result.map_err(|_| anyhow!("a thread of the floor panicked"))
}

fn reader(path: &Path, columns: Option<&[String]>) -> Result<ParquetRecordBatchReader> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut builder = ParquetRecordBatchReaderBuilder::try_new(file)?.with_batch_size(BATCH);
    if let Some(columns) = columns {
        let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().map(String::as_str));
        builder = builder.with_projection(mask);
    }
    Ok(builder.build()?)
}

fn encode(path: &Path, batches: &[RecordBatch]) -> Result<()> {
    let schema = batches.first().context("the dataset has no rows")?.schema();
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .build();
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut writer = ArrowWriter::try_new(file, schema, Some(properties))?;
    for batch in batches {
        writer.write(batch)?;
    }
    let written = writer.close()?.file_metadata().num_rows();
    ensure!(written > 0, "nothing was written to {}", path.display());
    Ok(())
}
