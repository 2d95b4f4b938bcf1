//! Events of keys at one rate, for as long as the widest window and a day, and each key once.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use arrow::array::{ArrayRef, Float64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};

use super::rows::{amount, timestamps, utc};
use super::{AGGREGATED, END_MICROS, KeyKind, write_parquet};
use crate::random::SplitMix64;

/// The instant until which there are events: on no edge of any window's step, 10:22:38.5 before the end of a day.
pub const EVEN_UNTIL_MICROS: i64 = END_MICROS - 37_358_500_000;
/// How many days there are events of.
pub const EVEN_DAYS: u64 = 8;

const DAY: u64 = 86_400_000_000;
const EVEN: u64 = 4;

/// Events of `keys` keys, each of which has so many a day, with the [`AGGREGATED`] column alone.
///
/// # Errors
/// Whatever writing meets.
pub fn write_even(path: &Path, seed: u64, keys: u64, a_day: u64) -> Result<()> {
    let rows = keys * a_day * EVEN_DAYS;
    let interval = EVEN_DAYS * DAY / rows.max(1);
    let first = EVEN_UNTIL_MICROS.cast_unsigned() - EVEN_DAYS * DAY;
    let fields = [
        Field::new("event_time", utc(), false),
        Field::new(AGGREGATED, DataType::Float64, true),
    ];
    let fields = KeyKind::Int64.fields().into_iter().chain(fields);
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    write_parquet(path, Arc::clone(&schema), 0..rows, |range| {
        let (mut numbers, mut times, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for row in range {
            let mut random = SplitMix64::of_row(seed, EVEN, row);
            numbers.push(row % keys);
            times.push((first + row * interval + random.below(interval)).cast_signed());
            values.push(amount(&mut random));
        }
        let mut columns = KeyKind::Int64.arrays(&numbers);
        columns.push(timestamps(times));
        columns.push(Arc::new(Float64Array::from(values)) as ArrayRef);
        Ok(RecordBatch::try_new(Arc::clone(&schema), columns)?)
    })
}

/// A spine with each of `keys` keys once, without instants: it is only asked for online.
///
/// # Errors
/// Whatever writing meets.
pub fn write_keys(path: &Path, keys: u64) -> Result<()> {
    let schema = Arc::new(Schema::new(KeyKind::Int64.fields()));
    write_parquet(path, Arc::clone(&schema), 0..keys, |range: Range<u64>| {
        let numbers: Vec<u64> = range.collect();
        Ok(RecordBatch::try_new(
            Arc::clone(&schema),
            KeyKind::Int64.arrays(&numbers),
        )?)
    })
}
