//! The rows of a generated set, drawn one by one from the seed and their number.

use std::ops::Range;
use std::sync::Arc;

use anyhow::Result;
use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use super::Spec;
use super::keys::{self, KeyKind};
use crate::random::SplitMix64;

/// 2024-01-01T00:00:00Z, when the set begins.
pub(super) const START: u64 = 1_704_067_200_000_000;
const DAY: u64 = 86_400_000_000;
/// How long it lasts, in microseconds.
pub(super) const SPAN: u64 = 90 * DAY;
/// The spine begins when there is some history.
const SPINE_AFTER: u64 = 10 * DAY;
/// Rows have an interval of time each.
pub(super) const MAX_ROWS: u64 = SPAN;

/// The names of the features with their types: amounts in hundredths, numbers without any pattern
/// (one with nulls), counts (one with nulls).
pub(super) const FEATURES: [(&str, &str); 10] = [
    ("f0", "float64"),
    ("f1", "float64"),
    ("f2", "float64"),
    ("f3", "float64"),
    ("f4", "float64"),
    ("f5", "float64"),
    ("f6", "float64"),
    ("f7", "float64"),
    ("n0", "int64"),
    ("n1", "int64"),
];
const AMOUNTS: usize = 2;
const FLOATS: usize = 8;

const EVENTS: u64 = 1;
const SPINE: u64 = 2;
const CHOSEN: u64 = 3;

/// What a spine asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// Any key, one in a hundred of which no row has, at any time when there is some history.
    Everything,
    /// So many keys, drawn as those of the rows are.
    Keys(u64),
    /// Any key, within one day.
    Day,
}

impl Asks {
    fn key(self, random: &mut SplitMix64, spec: &Spec, row: u64) -> u64 {
        if spec.once {
            return keys::once(row, spec.keys);
        }
        if let Self::Keys(count) = self {
            let chosen = random.below(count);
            return keys::pick(&mut SplitMix64::of_row(spec.seed, CHOSEN, chosen), spec.keys);
        }
        let unknown = random.percent(1);
        let known = keys::pick(random, spec.keys);
        if unknown { spec.keys + known } else { known }
    }

    /// Within which time of the set.
    fn time(self) -> Range<u64> {
        match self {
            Self::Everything | Self::Keys(_) => SPINE_AFTER..SPAN,
            Self::Day => 60 * DAY..61 * DAY,
        }
    }
}

pub(super) fn event_schema(key: KeyKind) -> SchemaRef {
    let mut fields = key.fields();
    fields.push(Field::new("event_time", utc(), false));
    for (name, data_type) in FEATURES {
        let data_type = match data_type {
            "int64" => DataType::Int64,
            _ => DataType::Float64,
        };
        fields.push(Field::new(name, data_type, true));
    }
    Arc::new(Schema::new(fields))
}

pub(super) fn spine_schema(key: KeyKind) -> SchemaRef {
    let mut fields = vec![Field::new("row_id", DataType::Int64, false)];
    fields.extend(key.fields());
    fields.push(Field::new("event_timestamp", utc(), false));
    fields.push(Field::new("label", DataType::Float64, false));
    Arc::new(Schema::new(fields))
}

pub(super) fn utc() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// Feature rows by number. Row `i` of `n` happens within the `i`-th of `n` intervals of the span: no two
/// happen at the same time.
pub(super) fn events(spec: &Spec, rows: Range<u64>) -> Result<RecordBatch> {
    let capacity = usize::try_from(rows.end - rows.start)?;
    let interval = SPAN / spec.rows;
    let mut numbers = Vec::with_capacity(capacity);
    let mut times = Vec::with_capacity(capacity);
    let mut floats: [Vec<Option<f64>>; FLOATS] = Default::default();
    let (mut n0, mut n1) = (Vec::with_capacity(capacity), Vec::with_capacity(capacity));
    for row in rows {
        let mut random = SplitMix64::of_row(spec.seed, EVENTS, row);
        let drawn = keys::pick(&mut random, spec.keys);
        numbers.push(if spec.once {
            keys::once(row, spec.keys)
        } else {
            drawn
        });
        times.push((START + row * interval + random.below(interval)).cast_signed());
        for (column, values) in floats.iter_mut().enumerate() {
            values.push(float(&mut random, column));
        }
        n0.push(Some(random.below(1_000).cast_signed()));
        n1.push((!random.percent(5)).then(|| random.next().cast_signed() >> 24));
    }
    let mut columns = spec.key.arrays(&numbers);
    columns.push(timestamps(times));
    columns.extend(
        floats
            .into_iter()
            .map(|values| Arc::new(Float64Array::from(values)) as ArrayRef),
    );
    columns.push(Arc::new(Int64Array::from(n0)));
    columns.push(Arc::new(Int64Array::from(n1)));
    Ok(RecordBatch::try_new(event_schema(spec.key), columns)?)
}

/// Some hundredths.
pub(super) fn amount(random: &mut SplitMix64) -> f64 {
    random.below(10_000) as f64 / 100.0
}

fn float(random: &mut SplitMix64, column: usize) -> Option<f64> {
    if column < AMOUNTS {
        return Some(amount(random));
    }
    let value = random.unit() * 2.0 - 1.0;
    let null = column + 1 == FLOATS && random.percent(2);
    (!null).then_some(value)
}

/// Rows of the spine by number, in no order of time.
pub(super) fn spine(spec: &Spec, asks: Asks, rows: Range<u64>) -> Result<RecordBatch> {
    let time = asks.time();
    let ids: Vec<i64> = rows.clone().map(u64::cast_signed).collect();
    let mut numbers = Vec::with_capacity(ids.len());
    let mut times = Vec::with_capacity(ids.len());
    let mut labels = Vec::with_capacity(ids.len());
    for row in rows {
        let mut random = SplitMix64::of_row(spec.seed, SPINE, row);
        numbers.push(asks.key(&mut random, spec, row));
        times.push((START + time.start + random.below(time.end - time.start)).cast_signed());
        labels.push(random.unit());
    }
    let mut columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(ids))];
    columns.extend(spec.key.arrays(&numbers));
    columns.push(timestamps(times));
    columns.push(Arc::new(Float64Array::from(labels)));
    Ok(RecordBatch::try_new(spine_schema(spec.key), columns)?)
}

pub(super) fn timestamps(micros: Vec<i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(micros).with_timezone("UTC"))
}
