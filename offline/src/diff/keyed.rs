//! Rows matched by their keys. The second dataset is held in memory, the first one streams past it.

use std::collections::{HashMap, VecDeque};

use arrow::compute::{interleave_record_batch, take_record_batch};
use arrow::row::{RowConverter, Rows, SortField};
use datafusion::arrow::array::{Array, ArrayRef, RecordBatch, UInt64Array, make_array};
use datafusion::arrow::datatypes::DataType;

use super::dataset::Dataset;
use super::values::{Comparison, is_text, one_nan, texts};
use super::{Difference, columns_at, lost, set};
use crate::error::Result;

/// A row in memory: its batch, its place in there, its number in the dataset.
type Place = (usize, usize, u64);

/// The rows of the second dataset by their keys; of equal keys the first row comes first.
struct Held {
    batches: Vec<RecordBatch>,
    rows: HashMap<Box<[u8]>, VecDeque<Place>>,
}

pub(super) fn by_key(
    mut a: Dataset,
    mut b: Dataset,
    mut comparison: Comparison,
    mut difference: Difference,
) -> Result<Difference> {
    let keys = Keys::of(&a, &b, &comparison)?;
    let (mut held, rows_of_b) = hold(&mut b, &keys)?;
    difference.repeated_keys = held.rows.values().filter(|rows| rows.len() > 1).count() as u64;
    let mut first = 0;
    while let Some(count) = a.waiting()? {
        let batch = a.take(count)?;
        let encoded = keys.encode(0, &batch)?;
        let (mut here, mut there, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
        for (place, key) in encoded.iter().enumerate() {
            let number = first + place as u64;
            match held.rows.get_mut(key.as_ref()).and_then(VecDeque::pop_front) {
                Some((of, row, other)) => {
                    here.push(place as u64);
                    there.push((of, row));
                    numbers.push([number, other]);
                }
                None => unmatched(&mut difference, &comparison, 0, (&batch, place, number))?,
            }
        }
        if !here.is_empty() {
            let left = take_record_batch(&batch, &UInt64Array::from(here))?;
            let batches: Vec<&RecordBatch> = held.batches.iter().collect();
            let right = interleave_record_batch(&batches, &there)?;
            let number = |place: usize| numbers.get(place).copied().unwrap_or_default();
            comparison.compare(&left, &right, number)?;
        }
        first += count as u64;
    }
    let mut left: Vec<Place> = held.rows.into_values().flatten().collect();
    left.sort_unstable_by_key(|(_, _, number)| *number);
    for (of, row, number) in left {
        let batch = held.batches.get(of).ok_or_else(|| lost("a batch"))?;
        unmatched(&mut difference, &comparison, 1, (batch, row, number))?;
    }
    set(&mut difference.rows, 0, first);
    set(&mut difference.rows, 1, rows_of_b);
    difference.compared = comparison.columns;
    Ok(difference)
}

fn hold(b: &mut Dataset, keys: &Keys) -> Result<(Held, u64)> {
    let mut held = Held {
        batches: Vec::new(),
        rows: HashMap::new(),
    };
    let mut next = 0;
    while let Some(count) = b.waiting()? {
        let batch = b.take(count)?;
        let encoded = keys.encode(1, &batch)?;
        for (place, key) in encoded.iter().enumerate() {
            let rows = held.rows.entry(key.as_ref().into()).or_default();
            rows.push_back((held.batches.len(), place, next + place as u64));
        }
        held.batches.push(batch);
        next += count as u64;
    }
    Ok((held, next))
}

/// Counts a row that only one dataset has, and shows the first of them.
fn unmatched(
    difference: &mut Difference,
    comparison: &Comparison,
    side: usize,
    (batch, row, number): (&RecordBatch, usize, u64),
) -> Result<()> {
    if let Some(count) = difference.unmatched.get_mut(side) {
        *count += 1;
    }
    let shown = difference.unmatched_rows.get_mut(side);
    if let Some(shown) = shown.filter(|shown| shown.len() < comparison.examples) {
        shown.push(comparison.labels.of_row(side, batch, row, number)?);
    }
    Ok(())
}

/// The key columns of both datasets in one form.
struct Keys {
    places: [Vec<usize>; 2],
    as_text: Vec<bool>,
    converter: RowConverter,
}

impl Keys {
    fn of(a: &Dataset, b: &Dataset, comparison: &Comparison) -> Result<Self> {
        let places = comparison.labels.places.clone();
        let [of_a, of_b] = &places;
        let pairs = || of_a.iter().zip(of_b);
        let as_text: Vec<bool> = pairs()
            .map(|(left, right)| is_text(a, b, *left, *right))
            .collect();
        let fields = of_a.iter().zip(&as_text).map(|(place, as_text)| {
            SortField::new(match as_text {
                true => DataType::Utf8,
                false => a.schema().field(*place).data_type().clone(),
            })
        });
        let converter = RowConverter::new(fields.collect())?;
        Ok(Self {
            places,
            as_text,
            converter,
        })
    }

    fn encode(&self, side: usize, batch: &RecordBatch) -> Result<Rows> {
        let places = self.places.get(side).ok_or_else(|| lost("a side"))?;
        let columns = columns_at(batch, places)?;
        let columns = columns.into_iter().zip(&self.as_text);
        let columns = columns.map(|(column, as_text)| {
            Ok(match as_text {
                true => texts(&column)? as ArrayRef,
                false => make_array(one_nan(column.to_data())?),
            })
        });
        Ok(self
            .converter
            .convert_columns(&columns.collect::<Result<Vec<_>>>()?)?)
    }
}
