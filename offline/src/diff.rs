//! `diff`: two datasets compared, row by row and column by column.
//!
//! Rows are matched by their position, in bounded memory, or by key columns, with the second dataset in
//! memory. Values of one type are the same where their bits are, and any NaN is any other. CSV files have
//! text and no types: a column of which one side comes from a CSV file, or which has two types, is compared
//! as CSV files write it.

mod dataset;
mod keyed;
mod label;
mod values;

use std::path::Path;

use datafusion::arrow::array::RecordBatch;

use crate::error::{OfflineError, Result};
use crate::manifest::{Content, Manifest, ManifestChange, changes, path_of};

use dataset::Dataset;
use label::Labels;
use values::Comparison;

/// What to compare.
#[derive(Debug, Clone, Copy)]
pub struct DiffRequest<'a> {
    /// The first dataset: Parquet, CSV or Arrow by the ending of its name.
    pub a: &'a Path,
    /// The second.
    pub b: &'a Path,
    /// The columns by which rows are matched; by position where there are none.
    pub keys: &'a [String],
    /// How many rows that differ are shown for each column.
    pub examples: usize,
}

/// What differs between two datasets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Difference {
    /// The rows of each.
    pub rows: [u64; 2],
    /// How many columns each has.
    pub columns: [usize; 2],
    /// The columns that only one has.
    pub only: [Vec<String>; 2],
    /// Columns of both that have another type in the second. CSV files have no types.
    pub retyped: Vec<Retyped>,
    /// Every column that both have, in the order of the first.
    pub compared: Vec<ColumnDifference>,
    /// How many rows of each have no counterpart in the other.
    pub unmatched: [u64; 2],
    /// The first of these.
    pub unmatched_rows: [Vec<RowKey>; 2],
    /// Keys that more than one row of the second has: such rows are matched in their order.
    pub repeated_keys: u64,
    /// Where rows were matched by position: the columns of the spine's keys and times that differ, so that the
    /// rows probably do not line up.
    pub misaligned: Vec<String>,
    /// Whether the columns of both stand in another order.
    pub reordered: bool,
    /// What the manifests beside the datasets say differently; `None` where one of them is not there.
    pub manifests: Option<Vec<ManifestChange>>,
    /// Why a manifest that is there could not be compared.
    pub manifest_errors: Vec<String>,
}

/// A column with two types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retyped {
    /// The column.
    pub column: String,
    /// Its type in each.
    pub types: [String; 2],
}

/// A column compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnDifference {
    /// The column.
    pub column: String,
    /// In how many rows it differs.
    pub rows: u64,
    /// The first of these.
    pub examples: Vec<Example>,
}

/// A value that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// The row in each, counted from 0.
    pub rows: [u64; 2],
    /// What tells the row from others.
    pub key: Vec<(String, Option<String>)>,
    /// The value in each as text, cut short where it is long; `None` for null.
    pub values: [Option<String>; 2],
}

/// A row and what tells it from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowKey {
    /// The row, counted from 0.
    pub row: u64,
    /// Names and values of the key columns; `None` for null.
    pub key: Vec<(String, Option<String>)>,
}

impl Difference {
    /// Whether both have the same columns, of the same types, and the same rows.
    pub fn is_same(&self) -> bool {
        self.only.iter().all(Vec::is_empty)
            && self.retyped.is_empty()
            && self.unmatched == [0, 0]
            && self.compared.iter().all(|column| column.rows == 0)
    }
}

/// Compares two datasets, blocking on their files.
pub fn diff(request: &DiffRequest<'_>) -> Result<Difference> {
    let (a, b) = (Dataset::open(request.a)?, Dataset::open(request.b)?);
    let mut difference = shape(&a, &b);
    let manifests = [beside(request.a), beside(request.b)].map(|read| {
        read.unwrap_or_else(|error| {
            difference.manifest_errors.push(error.to_string());
            None
        })
    });
    if let [Some(a), Some(b)] = &manifests {
        difference.manifests = Some(changes(a, b));
    }
    let known = manifests.iter().flatten().next();
    let labels = Labels::choose(&a, &b, request.keys, known)?;
    let comparison = Comparison::new(&a, &b, labels, request.examples)?;
    match request.keys.is_empty() {
        true => by_position(a, b, comparison, difference),
        false => keyed::by_key(a, b, comparison, difference),
    }
}

/// What can be told without a look at the rows.
fn shape(a: &Dataset, b: &Dataset) -> Difference {
    let names = |dataset: &Dataset, other: &Dataset, shared: bool| -> Vec<String> {
        let names = dataset.schema().fields().iter().map(|field| field.name().clone());
        names
            .filter(|name| other.column(name).is_some() == shared)
            .collect()
    };
    let retyped = a.schema().fields().iter().filter_map(|field| {
        let other = b.schema().field(b.column(field.name())?);
        let typed = a.is_typed() && b.is_typed() && field.data_type() != other.data_type();
        typed.then(|| Retyped {
            column: field.name().clone(),
            types: [field.data_type().to_string(), other.data_type().to_string()],
        })
    });
    Difference {
        columns: [a.schema().fields().len(), b.schema().fields().len()],
        only: [names(a, b, false), names(b, a, false)],
        retyped: retyped.collect(),
        reordered: names(a, b, true) != names(b, a, true),
        ..Difference::default()
    }
}

/// The manifest beside a dataset, where there is one.
fn beside(path: &Path) -> Result<Option<Content>> {
    let manifest = path_of(path);
    match manifest.exists() {
        true => Ok(Some(Manifest::read(&manifest)?.content)),
        false => Ok(None),
    }
}

fn by_position(
    mut a: Dataset,
    mut b: Dataset,
    mut comparison: Comparison,
    mut difference: Difference,
) -> Result<Difference> {
    let mut row = 0;
    while let (Some(left), Some(right)) = (a.waiting()?, b.waiting()?) {
        let rows = left.min(right);
        let (left, right) = (a.take(rows)?, b.take(rows)?);
        let numbers = |place: usize| [row + place as u64; 2];
        comparison.compare(&left, &right, numbers)?;
        row += rows as u64;
    }
    for (side, dataset) in [&mut a, &mut b].into_iter().enumerate() {
        let mut rest = 0;
        while let Some(rows) = dataset.waiting()? {
            let batch = dataset.take(rows)?;
            let examples = difference.unmatched_rows.get_mut(side);
            if let Some(examples) = examples.filter(|examples| examples.is_empty()) {
                examples.push(comparison.labels.of_row(side, &batch, 0, row)?);
            }
            rest += rows as u64;
        }
        set(&mut difference.unmatched, side, rest);
        set(&mut difference.rows, side, row + rest);
    }
    difference.misaligned = comparison.labels_that_differ();
    difference.compared = comparison.columns;
    Ok(difference)
}

fn set(counts: &mut [u64; 2], side: usize, count: u64) {
    if let Some(place) = counts.get_mut(side) {
        *place = count;
    }
}

/// An error of something that was lost on the way.
fn lost(what: &str) -> OfflineError {
    OfflineError::Internal(format!("{what} was lost while datasets were compared"))
}

/// The columns of a batch at these places.
fn columns_at(batch: &RecordBatch, places: &[usize]) -> Result<Vec<datafusion::arrow::array::ArrayRef>> {
    let column = |place: &usize| {
        batch
            .columns()
            .get(*place)
            .cloned()
            .ok_or_else(|| lost("a column"))
    };
    places.iter().map(column).collect()
}
