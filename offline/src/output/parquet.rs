//! Parquet out, its columns encoded side by side. The bytes do not depend on how many threads do it.

use std::io::Write;

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::datatypes::{FieldRef, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::Result;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;

use crate::column::width;
use crate::fan_out::fan_out;

/// How many rows a row group of a Parquet dataset holds at most.
const ROW_GROUP: usize = 1 << 20;
/// About how many bytes it holds, by the types of its columns, so that it is the same however the rows come. It is in
/// memory until it is whole.
const GROUP_BYTES: usize = 128 << 20;

/// How many bytes the distinct values of a column may take to be written once each: columns with more, as
/// measurements mostly have, are soon found out and written as they are.
const DICTIONARY: usize = 128 << 10;

/// How many rows a row group of these columns holds.
fn rows_of_group(schema: &SchemaRef) -> usize {
    const FEWEST: usize = 1 << 13;
    let width: usize = schema.fields().iter().map(|field| width(field.data_type())).sum();
    (GROUP_BYTES / width.max(1)).clamp(FEWEST, ROW_GROUP)
}

/// Writes a Parquet dataset.
pub(super) struct ParquetWriter<W: Write + Send> {
    writer: SerializedFileWriter<W>,
    factory: ArrowRowGroupWriterFactory,
    schema: SchemaRef,
    threads: usize,
    /// The row group under way, one writer a leaf column.
    columns: Vec<ArrowColumnWriter>,
    rows: usize,
    /// How many rows one holds.
    full: usize,
    groups: usize,
}

impl<W: Write + Send> ParquetWriter<W> {
    pub(super) fn try_new(sink: W, schema: &SchemaRef, threads: usize) -> Result<Self> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
            .set_dictionary_page_size_limit(DICTIONARY)
            .set_created_by(format!("asof {}", env!("CARGO_PKG_VERSION")))
            .build();
        let writer = ArrowWriter::try_new(sink, SchemaRef::clone(schema), Some(properties))?;
        let (writer, factory) = writer.into_serialized_writer()?;
        Ok(Self {
            writer,
            factory,
            schema: SchemaRef::clone(schema),
            threads,
            columns: Vec::new(),
            rows: 0,
            full: rows_of_group(schema),
            groups: 0,
        })
    }

    /// What was written so far goes here.
    pub(super) fn inner(&self) -> &W {
        self.writer.inner()
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut first = 0;
        while first < batch.num_rows() {
            let rows = (batch.num_rows() - first).min(self.full - self.rows);
            self.append(&batch.slice(first, rows))?;
            first += rows;
            if self.rows == self.full {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn append(&mut self, batch: &RecordBatch) -> Result<()> {
        if self.columns.is_empty() {
            self.columns = self.factory.create_column_writers(self.groups)?;
        }
        let descriptor = self.writer.schema_descr();
        let mut rest = self.columns.as_mut_slice();
        let mut jobs: Vec<(&FieldRef, &ArrayRef, &mut [ArrowColumnWriter])> = Vec::new();
        let mut next_leaf = 0;
        for (root, (field, array)) in self.schema.fields().iter().zip(batch.columns()).enumerate() {
            let leaves = (next_leaf..descriptor.num_columns())
                .take_while(|leaf| descriptor.get_column_root_idx(*leaf) == root)
                .count();
            next_leaf += leaves;
            let (writers, others) = rest.split_at_mut(leaves);
            rest = others;
            jobs.push((field, array, writers));
        }
        fan_out(self.threads, jobs, |(field, array, writers)| {
            let leaves = compute_leaves(field, array)?;
            writers
                .iter_mut()
                .zip(&leaves)
                .try_for_each(|(writer, leaf)| writer.write(leaf))
        })?;
        self.rows += batch.num_rows();
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if self.columns.is_empty() {
            return Ok(());
        }
        let columns = std::mem::take(&mut self.columns);
        let chunks = fan_out(self.threads, columns, ArrowColumnWriter::close)?;
        let mut group = self.writer.next_row_group()?;
        for chunk in chunks {
            chunk.append_to_row_group(&mut group)?;
        }
        group.close()?;
        self.groups += 1;
        self.rows = 0;
        Ok(())
    }

    /// Writes what is left, and gives the sink back.
    pub(super) fn into_inner(mut self) -> Result<W> {
        self.flush()?;
        self.writer.into_inner()
    }
}
