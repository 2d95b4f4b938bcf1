//! What a Parquet file says of the values in its parts, without any of them being decoded.

use std::ops::Range;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::DataType;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;

use super::ParquetFile;

/// Bounds of a column: the least and the greatest value, or something below and above them, of each part;
/// null where nothing is said.
#[derive(Debug)]
pub(crate) struct Bounds {
    pub(crate) mins: ArrayRef,
    pub(crate) maxes: ArrayRef,
    /// The rows of the parts, as numbers in the file, ascending and without gaps.
    pub(crate) parts: Vec<Range<u64>>,
}

impl ParquetFile {
    /// The Arrow type of a column.
    pub(crate) fn column_type(&self, column: &str) -> Option<&DataType> {
        let field = self.schema().field_with_name(column).ok()?;
        Some(field.data_type())
    }

    /// The bounds of a column in each row group.
    pub(crate) fn group_bounds(&self, column: &str) -> Option<Bounds> {
        let converter = self.converter(column)?;
        let leaf = converter.parquet_column_index()?;
        let groups = self.metadata().row_groups();
        // Old writers compared text byte by byte as signed numbers.
        let deprecated = groups.iter().any(|group| {
            let statistics = group.columns().get(leaf).and_then(|column| column.statistics());
            statistics.is_some_and(|statistics| statistics.is_min_max_deprecated())
        });
        if deprecated {
            return None;
        }
        Some(Bounds {
            mins: converter.row_group_mins(groups).ok()?,
            maxes: converter.row_group_maxes(groups).ok()?,
            parts: self.groups().collect(),
        })
    }

    /// The bounds of a column in each page of a row group.
    pub(crate) fn page_bounds(&self, group: usize, column: &str) -> Option<Bounds> {
        let converter = self.converter(column)?;
        let metadata = self.metadata();
        let (pages, offsets) = (metadata.column_index()?, metadata.offset_index()?);
        let whole = self.groups().nth(group)?;
        let leaf = converter.parquet_column_index()?;
        let locations = offsets.get(group)?.get(leaf)?.page_locations().iter();
        // A damaged index may say anything of where its pages begin.
        let starts = locations.map(|page| whole.start.checked_add(u64::try_from(page.first_row_index).ok()?));
        let starts = starts.collect::<Option<Vec<u64>>>()?;
        let ends = starts.iter().skip(1).chain([&whole.end]);
        let parts = starts
            .iter()
            .zip(ends)
            .map(|(start, end)| (start < end).then_some(*start..*end));
        let parts = parts.collect::<Option<Vec<_>>>()?;
        let bounds = Bounds {
            mins: converter.data_page_mins(pages, offsets, [&group]).ok()?,
            maxes: converter.data_page_maxes(pages, offsets, [&group]).ok()?,
            parts,
        };
        (bounds.parts.first().map(|part| part.start) == Some(whole.start)
            && bounds.mins.len() == bounds.parts.len()
            && bounds.maxes.len() == bounds.parts.len())
        .then_some(bounds)
    }

    fn converter(&self, column: &str) -> Option<StatisticsConverter<'_>> {
        StatisticsConverter::try_new(column, self.schema(), self.metadata.parquet_schema()).ok()
    }
}
