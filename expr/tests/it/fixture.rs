//! One small table with the awkward values of every type.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array, RecordBatch,
    StringArray, TimestampMicrosecondArray, UInt8Array,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use asof_expr::{Evaluated, ExprError, SourceSql};

/// Four rows; the last is mostly null.
pub(crate) fn table() -> RecordBatch {
    let decimal = |values: [Option<i128>; 4], precision, scale| -> ArrayRef {
        let array = Decimal128Array::from_iter(values);
        Arc::new(array.with_precision_and_scale(precision, scale).unwrap())
    };
    let nines = 10_i128.pow(38) - 1;
    let times = [Some(0), Some(1_700_000_000_000_000), Some(i64::MAX), None];
    RecordBatch::try_from_iter_with_nullable([
        (
            "l",
            array(Int64Array::from(vec![
                Some(1),
                Some(i64::MAX),
                Some(i64::MIN),
                None,
            ])),
            true,
        ),
        ("m", array(Int64Array::from(vec![0, -1, -1, 2])), false),
        (
            "i",
            array(Int32Array::from(vec![Some(7), Some(i32::MAX), Some(-7), None])),
            true,
        ),
        (
            "u",
            array(UInt8Array::from(vec![Some(200), Some(0), Some(255), None])),
            true,
        ),
        (
            "f",
            array(Float64Array::from(vec![
                Some(1.5),
                Some(f64::NAN),
                Some(-0.0),
                None,
            ])),
            true,
        ),
        (
            "g",
            array(Float64Array::from(vec![0.0, f64::NAN, 0.0, 2.0])),
            true,
        ),
        (
            "s",
            array(StringArray::from(vec![Some("12"), Some("abc"), Some(""), None])),
            true,
        ),
        (
            "b",
            array(BooleanArray::from(vec![
                Some(true),
                Some(false),
                None,
                Some(true),
            ])),
            true,
        ),
        ("d", decimal([Some(nines), Some(5), Some(-7), None], 38, 0), true),
        (
            "e",
            decimal([Some(100), Some(0), Some(250), Some(100)], 10, 2),
            true,
        ),
        (
            "t",
            array(TimestampMicrosecondArray::from(times.to_vec()).with_timezone("UTC")),
            true,
        ),
        (
            "day",
            array(Date32Array::from(vec![Some(0), Some(19_675), None, Some(1)])),
            true,
        ),
        ("T", array(Int64Array::from(vec![42, 43, 44, 45])), true),
        ("a.b", array(Int64Array::from(vec![10, 20, 30, 40])), true),
        ("wörd \"x\"", array(Int64Array::from(vec![1, 2, 3, 4])), true),
    ])
    .unwrap()
}

fn array(array: impl arrow::array::Array + 'static) -> ArrayRef {
    Arc::new(array)
}

/// Parses, binds and evaluates over [`table`].
pub(crate) fn run(sql: &str) -> Result<Evaluated, ExprError> {
    run_on(sql, &table())
}

/// Parses, binds and evaluates over a batch.
pub(crate) fn run_on(sql: &str, batch: &RecordBatch) -> Result<Evaluated, ExprError> {
    let bound = SourceSql::parse(sql)?.bind(&batch.schema())?;
    bound.evaluate(&batch.project(bound.input_columns()).unwrap())
}

/// A column as text.
pub(crate) fn shown(column: &ArrayRef) -> Vec<String> {
    let options = FormatOptions::default().with_null("null");
    let formatter = ArrayFormatter::try_new(column, &options).unwrap();
    (0..column.len())
        .map(|row| formatter.value(row).to_string())
        .collect()
}
