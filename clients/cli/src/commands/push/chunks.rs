//! Files and standard input, cut into pushes.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read};
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::ipc::reader::{FileReader, StreamReader};
use arrow::ipc::writer::StreamWriter;
use asof_proto::v1::push_request::Rows;
use asof_server::intake::MAX_ROWS;
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::shown;
use crate::args::PushFormat;
use crate::exit::{Exit, Failure};

/// About how many bytes one push has: a server takes up to 4 MiB.
const MOST_BYTES: usize = 3 << 20;
/// How an Arrow IPC file begins, which a stream does not.
const ARROW_FILE: &[u8] = b"ARROW1";

/// Rows that are pushed together.
pub(super) struct Chunk {
    pub(super) rows: Rows,
    /// What places are of: lines or rows.
    pub(super) unit: &'static str,
    /// Per row where it stands in its file, counted from 1.
    places: Vec<u64>,
}

/// A file cut into chunks.
pub(super) struct Chunks {
    file: String,
    rows: Source,
}

enum Source {
    Lines {
        lines: Box<dyn BufRead>,
        read: u64,
        /// A line that did not go into the chunk before.
        left: Option<(u64, String)>,
    },
    Batches {
        batches: Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>>>,
        read: u64,
        left: Option<RecordBatch>,
    },
}

impl Chunk {
    /// Where its first row stands.
    pub(super) fn first(&self) -> Option<u64> {
        self.places.first().copied()
    }

    /// Where a row stands in its file.
    pub(super) fn place(&self, row: u32) -> u64 {
        let place = usize::try_from(row).ok().and_then(|row| self.places.get(row));
        place.copied().unwrap_or(0)
    }
}

impl Chunks {
    /// Opens a file, or standard input.
    pub(super) fn open(path: &Path, format: PushFormat) -> Result<Self, Failure> {
        let file = shown(path);
        let is_stdin = path == Path::new("-");
        let opened =
            || File::open(path).map_err(|error| Failure::new(Exit::Data, format!("{file}: {error}")));
        let bad = |error: &dyn std::fmt::Display| unreadable(&file, error);
        let rows = match format {
            PushFormat::Json => Source::Lines {
                lines: match is_stdin {
                    true => Box::new(BufReader::new(std::io::stdin())),
                    false => Box::new(BufReader::new(opened()?)),
                },
                read: 0,
                left: None,
            },
            PushFormat::Parquet if is_stdin => {
                let bytes = Bytes::from(all_of(std::io::stdin(), &file)?);
                let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(|error| bad(&error))?;
                Source::of(
                    builder
                        .with_batch_size(MAX_ROWS)
                        .build()
                        .map_err(|error| bad(&error))?,
                )
            }
            PushFormat::Parquet => {
                let builder =
                    ParquetRecordBatchReaderBuilder::try_new(opened()?).map_err(|error| bad(&error))?;
                Source::of(
                    builder
                        .with_batch_size(MAX_ROWS)
                        .build()
                        .map_err(|error| bad(&error))?,
                )
            }
            PushFormat::Arrow => {
                let mut reader: BufReader<Box<dyn Read>> = BufReader::new(match is_stdin {
                    true => Box::new(std::io::stdin()),
                    false => Box::new(opened()?),
                });
                let start = reader.fill_buf().map_err(|error| bad(&error))?;
                if start.starts_with(ARROW_FILE) {
                    let bytes = all_of(reader, &file)?;
                    Source::of(FileReader::try_new(Cursor::new(bytes), None).map_err(|error| bad(&error))?)
                } else {
                    Source::of(StreamReader::try_new(reader, None).map_err(|error| bad(&error))?)
                }
            }
        };
        Ok(Self { file, rows })
    }

    /// The next rows.
    pub(super) fn next(&mut self) -> Result<Option<Chunk>, Failure> {
        let file = self.file.clone();
        match &mut self.rows {
            Source::Lines { lines, read, left } => next_lines(&file, lines, read, left),
            Source::Batches { batches, read, left } => {
                let mut next = || loop {
                    match left.take().map(Ok).or_else(|| batches.next()) {
                        Some(Ok(batch)) if batch.num_rows() == 0 => {}
                        other => return other,
                    }
                };
                let Some(batch) = next().transpose().map_err(|error| unreadable(&file, &error))? else {
                    return Ok(None);
                };
                let batch = plain(&batch).map_err(|error| unreadable(&file, &error))?;
                // Rows are of different sizes: half of them, until they fit.
                let mut rows = batch.num_rows().min(MAX_ROWS);
                let stream = loop {
                    let stream =
                        stream_of(&batch.slice(0, rows)).map_err(|error| unreadable(&file, &error))?;
                    if stream.len() <= MOST_BYTES || rows == 1 {
                        break stream;
                    }
                    rows = rows.div_ceil(2);
                };
                let first = *read + 1;
                *read += rows as u64;
                if rows < batch.num_rows() {
                    *left = Some(batch.slice(rows, batch.num_rows() - rows));
                }
                Ok(Some(Chunk {
                    rows: Rows::ArrowStream(stream),
                    unit: "row",
                    places: (first..).take(rows).collect(),
                }))
            }
        }
    }
}

impl Source {
    fn of(batches: impl Iterator<Item = Result<RecordBatch, ArrowError>> + 'static) -> Self {
        Self::Batches {
            batches: Box::new(batches),
            read: 0,
            left: None,
        }
    }
}

fn next_lines(
    file: &str,
    lines: &mut dyn BufRead,
    read: &mut u64,
    left: &mut Option<(u64, String)>,
) -> Result<Option<Chunk>, Failure> {
    let (mut text, mut places) = (String::new(), Vec::new());
    while places.len() < MAX_ROWS {
        let (place, line) = match left.take() {
            Some(left) => left,
            None => {
                let mut line = Vec::new();
                let most = MOST_BYTES as u64 + 1;
                let taken = lines.take(most).read_until(b'\n', &mut line);
                *read += 1;
                if taken.map_err(|error| unreadable(file, &error))? == 0 {
                    break;
                }
                if line.len() > MOST_BYTES {
                    return Err(unreadable(
                        file,
                        &format!("line {read} has more than {MOST_BYTES} bytes"),
                    ));
                }
                let line = String::from_utf8(line);
                (
                    *read,
                    line.map_err(|_| unreadable(file, &format!("line {read} is not UTF-8")))?,
                )
            }
        };
        if line.trim().is_empty() {
            continue;
        }
        if !places.is_empty() && text.len() + line.len() > MOST_BYTES {
            *left = Some((place, line));
            break;
        }
        text.push_str(line.trim_end());
        text.push('\n');
        places.push(place);
    }
    Ok((!places.is_empty()).then(|| Chunk {
        rows: Rows::JsonLines(text.into_bytes()),
        unit: "line",
        places,
    }))
}

/// The same rows without dictionaries and views, which say one value once for many rows.
fn plain(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().map(|column| match column.data_type() {
        DataType::Dictionary(_, values) => cast(column, values),
        DataType::Utf8View => cast(column, &DataType::Utf8),
        DataType::BinaryView => cast(column, &DataType::Binary),
        _ => Ok(Arc::clone(column)),
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let schema = batch.schema();
    let named = schema.fields().iter().zip(columns);
    RecordBatch::try_from_iter_with_nullable(named.map(|(field, column)| (field.name(), column, true)))
}

fn stream_of(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema())?;
    writer.write(batch)?;
    writer.into_inner()
}

fn all_of(mut reader: impl Read, file: &str) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    reader
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(file, &error))?;
    Ok(bytes)
}

fn unreadable(file: &str, error: &dyn std::fmt::Display) -> Failure {
    let first = error.to_string();
    let first = first.lines().next().unwrap_or_default();
    Failure::new(Exit::Data, format!("{file}: cannot be read: {first}"))
}
