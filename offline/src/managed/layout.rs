//! How the files of a managed table are laid out.
//!
//! An ingest keeps its rows in the order in which they were accepted, which costs nothing. A compaction sorts
//! them by the keys that are asked for and by time, in small pages whose bounds stand in the file's page index:
//! an extract about some keys decodes the pages that may hold them. Only keys and times have bounds. Others are
//! never asked about, and those of floats leave out NaN.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType as ArrowType, Field, Schema};
use datafusion::common::Column;
use datafusion::logical_expr::{Expr, SortExpr};
use parquet::arrow::ArrowSchemaConverter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::{ColumnPath, SchemaDescriptor};

use super::SEQ;
use crate::error::{OfflineError, Result};
use crate::parquet_file::ParquetFile;

/// How many rows a row group holds.
const ROW_GROUP: usize = 131_072;
/// How many rows a page of a sorted file holds at most: the least that is decoded to find a row.
const PAGE: usize = 256;
/// How large a dictionary may grow, in bytes, before values are written as they are. To read one page is to read
/// the dictionary, too: in a sorted file only text has any.
const DICTIONARY: usize = 64 << 10;

/// The layout of a file as it is ingested.
pub(super) fn as_accepted() -> Result<WriterProperties> {
    Ok(compressed()?.build())
}

/// The layout of a file in which extracts find keys.
#[derive(Debug)]
pub(super) struct Layout {
    /// The columns by which rows are sorted, ascending with nulls first; the last one is the seq, so that every
    /// row has one place.
    order: Vec<String>,
    /// The columns of which bounds are kept.
    bounded: Vec<String>,
}

impl Layout {
    /// A layout for a table of a schema: by the first of the keys, then by time. The keys of other entities have
    /// bounds, too.
    pub(super) fn new(schema: &Schema, keys: &[Vec<String>], event_time: &str) -> Self {
        let event_time = event_time.to_owned();
        let first = keys.first().into_iter().flatten();
        let sorts = |name: &&String| {
            schema
                .field_with_name(name)
                .is_ok_and(|field| has_order(field.data_type()))
        };
        let order = first.chain([&event_time]).filter(sorts).cloned();
        let bounded = keys.iter().flatten().chain([&event_time]).filter(sorts).cloned();
        Self {
            order: distinct(order.chain([SEQ.to_owned()])),
            bounded: distinct(bounded.chain([SEQ.to_owned()])),
        }
    }

    /// The order of rows.
    pub(super) fn order(&self) -> Vec<SortExpr> {
        let columns = self.order.iter();
        columns
            .map(|name| Expr::Column(Column::from_name(name)).sort(true, true))
            .collect()
    }

    /// Whether a file says that it is sorted so.
    pub(super) fn is_of(&self, file: &ParquetFile) -> bool {
        let metadata = file.metadata();
        let schema = metadata.file_metadata().schema_descr();
        let sorted = self.sorting(schema);
        metadata
            .row_groups()
            .iter()
            .all(|group| group.sorting_columns() == Some(&sorted))
    }

    /// How a file of a schema is written.
    pub(super) fn properties(&self, schema: &Schema) -> Result<WriterProperties> {
        let parquet = ArrowSchemaConverter::new()
            .convert(schema)
            .map_err(|error| OfflineError::Internal(error.to_string()))?;
        let mut properties = compressed()?
            .set_data_page_row_count_limit(PAGE)
            .set_write_batch_size(PAGE)
            .set_sorting_columns(Some(self.sorting(&parquet)))
            .set_statistics_enabled(EnabledStatistics::None)
            .set_dictionary_enabled(false);
        let is_text = |field: &&Arc<Field>| !field.data_type().is_primitive();
        for field in schema.fields().iter().filter(is_text) {
            let column = ColumnPath::new(vec![field.name().clone()]);
            properties = properties.set_column_dictionary_enabled(column, true);
        }
        for name in &self.bounded {
            let column = ColumnPath::new(vec![name.clone()]);
            properties = properties.set_column_statistics_enabled(column, EnabledStatistics::Page);
        }
        Ok(properties.build())
    }

    fn sorting(&self, schema: &SchemaDescriptor) -> Vec<SortingColumn> {
        let leaf = |name: &String| {
            let mut columns = schema.columns().iter();
            let place = columns.position(|column| column.path().parts() == std::slice::from_ref(name));
            place.and_then(|place| i32::try_from(place).ok())
        };
        let sorting = |column_idx| SortingColumn {
            column_idx,
            descending: false,
            nulls_first: true,
        };
        self.order.iter().filter_map(leaf).map(sorting).collect()
    }
}

fn compressed() -> Result<WriterPropertiesBuilder> {
    let level = ZstdLevel::try_new(1).map_err(|error| OfflineError::Internal(error.to_string()))?;
    Ok(WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_dictionary_page_size_limit(DICTIONARY)
        .set_max_row_group_row_count(Some(ROW_GROUP)))
}

/// Whether values of a type have an order that the bounds in a file follow.
fn has_order(data_type: &ArrowType) -> bool {
    !data_type.is_nested() && !data_type.is_floating()
}

fn distinct(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut distinct = Vec::new();
    for name in names {
        if !distinct.contains(&name) {
            distinct.push(name);
        }
    }
    distinct
}
