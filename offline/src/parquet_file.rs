//! Parquet files read directly: one row group at a time, chosen columns, chosen rows.

mod bounds;

pub(crate) use bounds::Bounds;

use std::collections::VecDeque;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
    RowSelection,
};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};

use crate::error::{OfflineError, Result, first_line};

/// A Parquet file whose footer was read.
#[derive(Debug, Clone)]
pub(crate) struct ParquetFile {
    place: String,
    location: PathBuf,
    metadata: ArrowReaderMetadata,
    /// The number in the file of the first row of each row group.
    first_rows: Vec<u64>,
}

/// The numbers in their file of the rows of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RowNumbers {
    /// One after the other, from this one on.
    From(u64),
    /// These.
    Listed(Vec<u64>),
}

impl RowNumbers {
    pub(crate) fn get(&self, row: usize) -> u64 {
        match self {
            Self::From(first) => first + row as u64,
            Self::Listed(rows) => rows.get(row).copied().unwrap_or(u64::MAX),
        }
    }
}

impl ParquetFile {
    /// Reads a file's footer; `place` is what errors name.
    pub(crate) fn open(place: String, location: PathBuf) -> Result<Self> {
        let file = open(&place, &location)?;
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
        // The decoder of the Arrow schema in a Parquet footer panics on some damage.
        let metadata = std::panic::catch_unwind(|| ArrowReaderMetadata::load(&file, options))
            .map_err(|_| OfflineError::undecodable(&place))?
            .map_err(|error| unreadable(&place, &error.to_string()))?;
        let mut first_rows = Vec::with_capacity(metadata.metadata().num_row_groups());
        let mut next = 0;
        for group in metadata.metadata().row_groups() {
            first_rows.push(next);
            next += u64::try_from(group.num_rows()).map_err(|_| OfflineError::undecodable(&place))?;
        }
        Ok(Self {
            place,
            location,
            metadata,
            first_rows,
        })
    }

    /// How many rows it has.
    pub(crate) fn rows(&self) -> u64 {
        self.metadata().file_metadata().num_rows().unsigned_abs()
    }

    pub(crate) fn metadata(&self) -> &ParquetMetaData {
        self.metadata.metadata()
    }

    /// The columns of the file.
    pub(crate) fn schema(&self) -> &SchemaRef {
        self.metadata.schema()
    }

    /// About how many bytes a value of a column takes, in the row group where it takes most.
    pub(crate) fn value_bytes(&self, column: &str) -> Option<usize> {
        let bytes = self.metadata().row_groups().iter().filter_map(|group| {
            let mut chunks = group.columns().iter();
            let chunk = chunks.find(|chunk| chunk.column_path().parts() == [column])?;
            // What is written with a dictionary is larger than it looks, where the writer does not say.
            let bytes = chunk.unencoded_byte_array_data_bytes();
            let bytes = bytes.unwrap_or_else(|| chunk.uncompressed_size()).max(0);
            usize::try_from(bytes / chunk.num_values().max(1)).ok()
        });
        bytes.max()
    }

    /// The rows of each row group, as numbers in the file.
    pub(crate) fn groups(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.first_rows
            .iter()
            .zip(self.metadata().row_groups())
            .map(|(first, group)| *first..first + group.num_rows().unsigned_abs())
    }

    /// Reads columns of some rows of a row group: `ranges` of row numbers in the file, ascending and apart.
    ///
    /// A column of `columns` that the file lacks is null, of the type that it has there.
    pub(crate) fn read(
        &self,
        group: usize,
        ranges: Vec<Range<u64>>,
        columns: &SchemaRef,
        batch_size: usize,
    ) -> Result<GroupReader> {
        let file = open(&self.place, &self.location)?;
        let own = self.schema();
        let wanted: Vec<Option<usize>> = columns
            .fields()
            .iter()
            .map(|field| own.index_of(field.name()).ok())
            .collect();
        let mut roots: Vec<usize> = wanted.iter().flatten().copied().collect();
        roots.sort_unstable();
        let order = wanted
            .iter()
            .map(|wanted| wanted.and_then(|place| roots.binary_search(&place).ok()))
            .collect();
        let mask = ProjectionMask::roots(self.metadata.parquet_schema(), roots);
        let first = self.first_rows.get(group).copied().unwrap_or(0);
        let rows = self.metadata().row_group(group).num_rows().unsigned_abs();
        let all = ranges
            .first()
            .is_some_and(|range| range.end - range.start == rows);
        let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone())
            .with_batch_size(batch_size)
            .with_row_groups(vec![group])
            .with_projection(mask);
        if !all {
            let within = |number: u64| usize::try_from(number - first).unwrap_or(usize::MAX);
            builder = builder.with_row_selection(RowSelection::from_consecutive_ranges(
                ranges.iter().map(|range| within(range.start)..within(range.end)),
                usize::try_from(rows).unwrap_or(usize::MAX),
            ));
        }
        let reader = builder
            .build()
            .map_err(|error| unreadable(&self.place, &error.to_string()))?;
        Ok(GroupReader {
            place: self.place.clone(),
            group,
            reader,
            columns: Arc::clone(columns),
            order,
            ranges: ranges.into(),
        })
    }
}

fn open(place: &str, location: &Path) -> Result<File> {
    File::open(location).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => OfflineError::gone(place),
        _ => OfflineError::Unavailable {
            place: place.to_owned(),
            reason: error.to_string(),
        },
    })
}

fn unreadable(place: &str, reason: &str) -> OfflineError {
    OfflineError::Data(format!("{place}: cannot be read: {}", first_line(reason)))
}

/// Reads rows of a row group.
pub(crate) struct GroupReader {
    place: String,
    group: usize,
    reader: ParquetRecordBatchReader,
    columns: SchemaRef,
    /// Per column its place in what is read.
    order: Vec<Option<usize>>,
    /// What is still to come.
    ranges: VecDeque<Range<u64>>,
}

impl GroupReader {
    /// The next rows.
    pub(crate) fn next(&mut self) -> Result<Option<(RecordBatch, RowNumbers)>> {
        let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.reader.next()));
        let batch = match read {
            Err(_) => return Err(OfflineError::undecodable(&self.place)),
            Ok(None) if self.ranges.is_empty() => return Ok(None),
            Ok(None) => return Err(self.failed("it has fewer rows than its footer says")),
            Ok(Some(Err(error))) => return Err(self.failed(&error.to_string())),
            Ok(Some(Ok(batch))) => batch,
        };
        let rows = batch.num_rows();
        let numbers = self.numbers(rows as u64)?;
        let arrays: Vec<ArrayRef> = self
            .order
            .iter()
            .zip(self.columns.fields())
            .map(|(place, field)| match place {
                Some(place) => Arc::clone(batch.column(*place)),
                None => new_null_array(field.data_type(), rows),
            })
            .collect();
        let fields: Vec<_> = self
            .columns
            .fields()
            .iter()
            .zip(&arrays)
            .map(|(field, array)| {
                let field = field.as_ref().clone().with_nullable(true);
                field.with_data_type(array.data_type().clone())
            })
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)?;
        Ok(Some((batch, numbers)))
    }

    fn failed(&self, reason: &str) -> OfflineError {
        OfflineError::Data(format!(
            "{}: row group {} cannot be read: {}",
            self.place,
            self.group,
            first_line(reason)
        ))
    }

    /// The numbers of the next `rows` rows.
    fn numbers(&mut self, rows: u64) -> Result<RowNumbers> {
        let mut listed = Vec::new();
        let mut left = rows;
        while left > 0 {
            let Some(range) = self.ranges.front_mut() else {
                return Err(self.failed("it has more rows than its footer says"));
            };
            let taken = left.min(range.end - range.start);
            let from = range.start;
            range.start += taken;
            if range.start == range.end {
                self.ranges.pop_front();
            }
            if taken == rows {
                return Ok(RowNumbers::From(from));
            }
            listed.extend(from..from + taken);
            left -= taken;
        }
        Ok(RowNumbers::Listed(listed))
    }
}
