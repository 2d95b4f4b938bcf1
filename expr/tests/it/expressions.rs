//! Single expressions and conditions: what is refused, and what they are.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions, StringArray};
use arrow::datatypes::{DataType, Int64Type, Schema};
use asof_expr::{BoundExpression, Expression};

use crate::fixture::table;

fn refused(text: &str) -> String {
    Expression::parse(text).unwrap_err().to_string()
}

fn evaluated(bound: &BoundExpression) -> ArrayRef {
    bound.evaluate(&input(bound)).unwrap()
}

/// The columns of [`table`] that an expression reads.
fn input(bound: &BoundExpression) -> RecordBatch {
    let table = table();
    let batch = match bound.input_columns() {
        [] => RecordBatch::try_new_with_options(
            Schema::empty().into(),
            Vec::new(),
            &RecordBatchOptions::new().with_row_count(Some(table.num_rows())),
        ),
        columns => table.project(columns),
    };
    batch.unwrap()
}

#[test]
fn what_is_not_one_allowed_expression_is_refused() {
    for (text, expected) in [
        ("", "not SQL: nothing is there: write an expression"),
        (
            "select l from source",
            "a statement is not allowed: write the expression alone, without `select` and `from`",
        ),
        (
            "l, m",
            "`,` at line 1, column 2 is behind the end of the expression: write one expression",
        ),
        (
            "1) , (2",
            "`)` at line 1, column 2 is behind the end of the expression: write one expression",
        ),
        (
            "l > 1; drop table source",
            "`;` at line 1, column 6 is behind the end of the expression: write one expression",
        ),
        (
            "l > 1;",
            "`;` at line 1, column 6 is behind the end of the expression: write one expression",
        ),
        (
            "l as x",
            "`as` at line 1, column 3 is behind the end of the expression: write one expression",
        ),
        (
            "l from source",
            "`from` at line 1, column 3 is behind the end of the expression: write one expression",
        ),
        (
            "(select 1)",
            "`(SELECT 1)` is not allowed: a subquery reads other rows; use columns of `source` only",
        ),
        ("random()", "the function `random` is not allowed"),
        ("nothing(l)", "there is no function `nothing`"),
        ("l + (m, 1)", "`(m, 1)` is not allowed"),
    ] {
        let found = refused(text);
        assert!(found.starts_with(expected), "{text:?}: {found}");
    }
    let started = Instant::now();
    let long = format!("1{}", " + 1".repeat(5_000));
    assert_eq!(
        refused(&long),
        "the SQL has 20001 bytes, at most 16384 are allowed: shorten it"
    );
    let many = format!("1{}", "+1".repeat(5_000));
    assert_eq!(
        refused(&many),
        "the SQL has 10001 tokens, at most 400 are allowed: shorten it"
    );
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_bound_expression_knows_its_columns_and_its_type() {
    let schema = table().schema();
    let bound = Expression::parse("m + l").unwrap().bind(&schema).unwrap();
    assert_eq!(bound.data_type(), &DataType::Int64);
    assert_eq!(bound.input_columns(), [0, 1]);
    let sums = evaluated(&bound);
    let sums = sums.as_primitive::<Int64Type>();
    // The largest number less one, and what cannot be taken from the least, or added to a null.
    assert_eq!(
        sums.iter().collect::<Vec<_>>(),
        [Some(1), Some(i64::MAX - 1), None, None]
    );
    let constant = Expression::parse("1 + 1").unwrap().bind(&schema).unwrap();
    assert_eq!(constant.input_columns(), [0; 0]);
    assert_eq!(
        evaluated(&constant).as_primitive::<Int64Type>().values()[..],
        [2; 4]
    );
}

#[test]
fn rows_are_counted_that_could_not_be_computed() {
    let schema = table().schema();
    for (text, failed) in [
        // A null that comes in is none that failed.
        ("l + m", 1),
        ("l / m", 2),
        ("i / 0", 3),
        ("-l", 1),
        ("cast(s as bigint)", 2),
        ("cast(f as bigint)", 1),
        ("d * 2", 1),
        ("e / 0", 4),
        ("chr(l)", 2),
        ("make_date(2026, i, 1)", 2),
        ("t + interval '1 day'", 1),
        // A float fails outside a domain alone.
        ("f / 0.0", 0),
        ("sqrt(f - 9.0)", 2),
        // Nor does what has a value all the same.
        ("coalesce(l / m, 0)", 0),
        ("coalesce(i / 0, l)", 0),
        ("case when m = 0 then 0 else l / m end", 1),
        ("l / m > 0 or m < 5", 0),
        ("nullif(1, m / m)", 0),
        ("cast(null as bigint) + l", 0),
    ] {
        let bound = Expression::parse(text).unwrap().bind(&schema).unwrap();
        let batch = input(&bound);
        let (values, counted) = bound.evaluate_counted(&batch).unwrap();
        assert_eq!(&values, &bound.evaluate(&batch).unwrap(), "{text}");
        let singly = (0..batch.num_rows()).map(|row| bound.evaluate_counted(&batch.slice(row, 1)).unwrap().1);
        assert_eq!(
            (counted, singly.sum::<u64>()),
            (failed, failed),
            "{text}: {values:?}"
        );
    }
}

#[test]
fn patterns_are_bounded() {
    let schema = table().schema();
    let long = "_".repeat(16_000);
    let refused = |text: &str| {
        let bound = Expression::parse(text).unwrap().bind(&schema);
        bound.unwrap_err().to_string()
    };
    assert_eq!(
        refused(&format!("s ilike '{long}'")),
        "the pattern of `like` is too long: shorten it"
    );
    assert_eq!(
        refused("s like 'x' escape '!'"),
        "`like` has no other escape character than the backslash: leave `escape` out"
    );
    // Of a column, the row alone is null.
    let texts = RecordBatch::try_from_iter_with_nullable([
        (
            "s",
            Arc::new(StringArray::from(vec!["ab", "ab", "xb"])) as ArrayRef,
            true,
        ),
        (
            "p",
            Arc::new(StringArray::from(vec!["a_", &long, "a_"])) as _,
            true,
        ),
    ])
    .unwrap();
    let bound = Expression::parse("s not ilike p")
        .unwrap()
        .bind(&texts.schema())
        .unwrap();
    let (found, failed) = bound.evaluate_counted(&texts).unwrap();
    let found: Vec<Option<bool>> = found.as_boolean().iter().collect();
    assert_eq!((found, failed), (vec![Some(false), None, Some(true)], 1));
}

#[test]
fn a_condition_is_true_false_or_null() {
    let schema = table().schema();
    let bound = Expression::parse("l > 0")
        .unwrap()
        .bind_condition(&schema)
        .unwrap();
    assert_eq!(bound.data_type(), &DataType::Boolean);
    let found = evaluated(&bound);
    let found: Vec<Option<bool>> = found.as_boolean().iter().collect();
    assert_eq!(found, [Some(true), Some(true), Some(false), None]);
}

#[test]
fn what_does_not_fit_the_columns_is_refused() {
    let schema = table().schema();
    let condition = |text: &str| {
        let refused = Expression::parse(text).unwrap().bind_condition(&schema);
        refused.unwrap_err().to_string()
    };
    assert_eq!(
        condition("l + 1"),
        "`where` needs a condition, not int64: compare it with something"
    );
    assert_eq!(
        condition("null"),
        "`where` needs a condition, not null: compare it with something"
    );
    let value = |text: &str| {
        let refused = Expression::parse(text).unwrap().bind(&schema);
        refused.unwrap_err().to_string()
    };
    assert_eq!(value("null"), "`null` is always null and has no type: cast it");
    assert!(value("nothing + 1").starts_with("there is no column `nothing`"));
    let bound = Expression::parse("l").unwrap().bind(&schema).unwrap();
    let wrong = bound.evaluate(&table()).unwrap_err().to_string();
    assert!(
        wrong.starts_with("cannot evaluate: the batch has the columns "),
        "{wrong}"
    );
}
