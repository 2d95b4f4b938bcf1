//! The columns of a source as views see them: those of its files, or what its `sql` makes of them.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use datafusion::arrow::datatypes::{Schema, SchemaRef};

use asof_core::definition::Source;
use asof_expr::{BoundSql, SourceSql};

use crate::error::{OfflineError, Result};
use crate::snapshot::Snapshot;

/// The columns of a pinned source.
#[derive(Debug, Clone)]
pub(crate) struct SourceColumns {
    /// The columns of the files.
    visible: SchemaRef,
    sql: Option<BoundSql>,
}

/// Some of the columns of a source, and what has to be read from its files to have them.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    sql: Option<BoundSql>,
    /// The columns to read from the files: those that `sql` reads or that are selected, then the hidden ones.
    read: Vec<String>,
    /// The schema of what `sql` reads.
    input: SchemaRef,
    /// Per selected column its place in the batch after `sql`.
    places: Vec<usize>,
    /// Per hidden column its place in the batch from the file.
    hidden: Vec<usize>,
}

/// A batch of selected columns.
#[derive(Debug)]
pub(crate) struct Selected {
    /// The selected columns, in the order in which they were asked for.
    pub(crate) columns: Vec<ArrayRef>,
    /// The columns that are read past `sql`, as they are in the file: of all of its rows.
    pub(crate) hidden: Vec<ArrayRef>,
    /// How many rows the selected columns have.
    pub(crate) rows: usize,
    /// Per row the row of the file's batch, where `sql` left some out.
    kept: Option<UInt32Array>,
}

impl SourceColumns {
    /// Binds the source's `sql` to the files' columns.
    pub(crate) fn bind(source: &Source, snapshot: &Snapshot) -> Result<Self> {
        let visible = snapshot.visible_schema();
        let sql = source
            .sql
            .as_deref()
            .map(|text| SourceSql::parse(text).and_then(|sql| sql.bind(&visible)))
            .transpose()
            .map_err(|error| OfflineError::Definition(format!("source {}: sql: {error}", source.name)))?;
        Ok(Self { visible, sql })
    }

    /// The columns that views can name.
    pub(crate) fn schema(&self) -> SchemaRef {
        self.sql
            .as_ref()
            .map_or_else(|| Arc::clone(&self.visible), BoundSql::schema)
    }

    /// Whether the columns are those of the files, and all rows count.
    pub(crate) fn is_plain(&self) -> bool {
        self.sql.is_none()
    }

    /// Selects columns by their places in [`SourceColumns::schema`], and hidden ones by their names.
    pub(crate) fn select(&self, places: &[usize], hidden: &[String]) -> Result<Selection> {
        let mut distinct = places.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        let sql = self
            .sql
            .as_ref()
            .map(|sql| sql.narrowed(&distinct))
            .transpose()
            .map_err(|error| OfflineError::Internal(error.to_string()))?;
        let inputs = sql.as_ref().map_or(distinct.as_slice(), BoundSql::input_columns);
        let input: SchemaRef = Arc::new(self.visible.project(inputs)?);
        let mut read: Vec<String> = input.fields().iter().map(|field| field.name().clone()).collect();
        let mut hidden_places = Vec::with_capacity(hidden.len());
        for name in hidden {
            let known = read.iter().position(|other| other == name);
            hidden_places.push(known.unwrap_or(read.len()));
            if known.is_none() {
                read.push(name.clone());
            }
        }
        Ok(Selection {
            sql,
            read,
            input,
            places: places
                .iter()
                .map(|place| distinct.binary_search(place).unwrap_or(0))
                .collect(),
            hidden: hidden_places,
        })
    }
}

impl Selection {
    /// The names of the columns to read from the files, in this order.
    pub(crate) fn read(&self) -> &[String] {
        &self.read
    }

    /// The selected columns of a batch that has exactly the columns to read; `place` is what errors name.
    pub(crate) fn evaluate(&self, batch: &RecordBatch, place: &str) -> Result<Selected> {
        let hidden = self
            .hidden
            .iter()
            .map(|at| Arc::clone(batch.column(*at)))
            .collect();
        let Some(sql) = &self.sql else {
            return Ok(Selected {
                columns: self
                    .places
                    .iter()
                    .map(|at| Arc::clone(batch.column(*at)))
                    .collect(),
                hidden,
                rows: batch.num_rows(),
                kept: None,
            });
        };
        let evaluated = sql
            .evaluate(&self.as_bound(batch)?)
            .map_err(|error| OfflineError::Data(format!("{place}: sql: {error}")))?;
        Ok(Selected {
            columns: self
                .places
                .iter()
                .map(|at| Arc::clone(evaluated.batch.column(*at)))
                .collect(),
            hidden,
            rows: evaluated.batch.num_rows(),
            kept: Some(evaluated.kept),
        })
    }

    /// The columns that `sql` reads, as the types to which it is bound.
    fn as_bound(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let columns = self
            .input
            .fields()
            .iter()
            .zip(batch.columns())
            .map(|(field, array)| match array.data_type() == field.data_type() {
                true => Ok(Arc::clone(array)),
                false => arrow::compute::cast(array, field.data_type()),
            })
            .collect::<std::result::Result<Vec<_>, _>>()?;
        let nullable: Vec<_> = self
            .input
            .fields()
            .iter()
            .map(|field| field.as_ref().clone().with_nullable(true))
            .collect();
        let options =
            datafusion::arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(
            Arc::new(Schema::new(nullable)),
            columns,
            &options,
        )?)
    }
}

impl Selected {
    /// The row of the file's batch from which a row comes.
    pub(crate) fn input_row(&self, row: usize) -> usize {
        let Some(kept) = &self.kept else {
            return row;
        };
        usize::try_from(kept.value(row)).unwrap_or(usize::MAX)
    }
}
