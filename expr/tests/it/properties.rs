//! What holds for all rows and all texts.

use std::sync::Arc;

use arrow::array::{Array, Float64Array, Int64Array, RecordBatch, StringArray, UInt32Array};
use arrow::compute::concat_batches;
use asof_expr::{Expression, SourceSql};
use proptest::prelude::*;

/// Rows of whole numbers `a` and `b`, floats `f` and texts `s`, the awkward ones among them.
pub(crate) fn rows() -> impl Strategy<Value = RecordBatch> {
    let integer = prop_oneof![
        Just(None),
        Just(Some(0)),
        Just(Some(i64::MAX)),
        Just(Some(i64::MIN)),
        (-5_i64..15).prop_map(Some)
    ];
    let float = prop_oneof![
        Just(None),
        Just(Some(f64::NAN)),
        Just(Some(-0.0)),
        Just(Some(f64::INFINITY)),
        (-3.0..3.0).prop_map(Some)
    ];
    let text = prop_oneof![Just(None), "[0-9a-zé]{0,4}".prop_map(Some)];
    proptest::collection::vec((integer.clone(), integer, float, text), 1..60).prop_map(|rows| {
        let column = |i: usize| {
            let values = rows.iter().map(|row| if i == 0 { row.0 } else { row.1 });
            Arc::new(Int64Array::from_iter(values)) as Arc<dyn Array>
        };
        RecordBatch::try_from_iter_with_nullable([
            ("a", column(0), true),
            ("b", column(1), true),
            (
                "f",
                Arc::new(rows.iter().map(|row| row.2).collect::<Float64Array>()) as _,
                true,
            ),
            (
                "s",
                Arc::new(rows.iter().map(|row| row.3.clone()).collect::<StringArray>()) as _,
                true,
            ),
        ])
        .unwrap()
    })
}

const SQL: &str = "select *, a + b as sum, a / b as quotient, a % 3 as rest, a * b as product, abs(a) as size, \
                   cast(s as bigint) as number, substr(s, 1, b) as part, f / 2 > 0.5 as large, power(a, b) as p, \
                   case when a > b then s when f between 0 and 1 then 'f' end as chosen, chr(a) as c, \
                   make_date(2026, a, b) as day, coalesce(a / b, b, 0) as first, round(f, a) as r, \
                   split_part(s, 'a', b) as sp, left(s, a) as le, right(s, b) as ri, f in (0.0, 1.5) as one_of \
                   from source where a / b > 0 or s like '%1%' or f <> 0";

const COUNTED: [&str; 14] = [
    "a / b",
    "a / b > 0 and b / a > 0",
    "a / b > 0 or b / a > 0",
    "f > 0.5 and a / b > 0",
    "case when f > 0.5 then a / b when b > 0 then a + b end",
    "case a / b when 0 then b * a else a * a end",
    "coalesce(a / b, b * a, cast(s as bigint))",
    "nullif(a / b, b * a)",
    "cast(s as bigint) between a / b and b",
    "a in (b / a, 3)",
    "make_date(2026, a, b)",
    "left(s, a * b)",
    "cast(a as decimal(38, 0)) * b / a",
    "s like chr(a)",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pieces_give_the_same_rows_as_the_whole(batch in rows(), cut in 1_usize..20) {
        let bound = SourceSql::parse(SQL).unwrap().bind(&batch.schema()).unwrap();
        let whole = bound.evaluate(&batch).unwrap();
        let mut pieces = Vec::new();
        let mut kept = Vec::new();
        for from in (0..batch.num_rows()).step_by(cut) {
            let piece = bound.evaluate(&batch.slice(from, cut.min(batch.num_rows() - from))).unwrap();
            let offset = u32::try_from(from).unwrap();
            kept.extend(piece.kept.values().iter().map(|row| row + offset));
            pieces.push(piece.batch);
        }
        let together = concat_batches(&bound.schema(), &pieces).unwrap();
        prop_assert_eq!(UInt32Array::from(kept), whole.kept);
        // Compared as bits: NaN is not equal to itself as a value.
        prop_assert_eq!(format!("{together:?}"), format!("{:?}", whole.batch));
    }

    #[test]
    fn as_many_rows_fail_in_pieces_as_in_the_whole(
        batch in rows(),
        cut in 1_usize..20,
        text in prop::sample::select(COUNTED.to_vec()),
    ) {
        let bound = Expression::parse(text).unwrap().bind(&batch.schema()).unwrap();
        let batch = batch.project(bound.input_columns()).unwrap();
        let (values, failed) = bound.evaluate_counted(&batch).unwrap();
        prop_assert!(failed <= values.null_count() as u64);
        let pieces = (0..batch.num_rows()).step_by(cut).map(|from| {
            let piece = batch.slice(from, cut.min(batch.num_rows() - from));
            bound.evaluate_counted(&piece).unwrap().1
        });
        prop_assert_eq!(pieces.sum::<u64>(), failed);
    }

    #[test]
    fn integer_arithmetic_is_that_of_wider_integers(batch in rows()) {
        let bound = SourceSql::parse("select a + b as s, a - b as d, a * b as p, a / b as q, -a as n from source")
            .unwrap()
            .bind(&batch.schema())
            .unwrap();
        let evaluated = bound.evaluate(&batch.project(bound.input_columns()).unwrap()).unwrap();
        let column = |batch: &RecordBatch, name: &str, row: usize| {
            let column = batch.column_by_name(name).unwrap();
            let column = column.as_any().downcast_ref::<Int64Array>().unwrap();
            column.is_valid(row).then(|| i128::from(column.value(row)))
        };
        let fits = |wide: i128| i64::try_from(wide).ok().map(i128::from);
        for row in 0..batch.num_rows() {
            let (a, b) = (column(&batch, "a", row), column(&batch, "b", row));
            let both = a.zip(b);
            prop_assert_eq!(column(&evaluated.batch, "s", row), both.and_then(|(a, b)| fits(a + b)));
            prop_assert_eq!(column(&evaluated.batch, "d", row), both.and_then(|(a, b)| fits(a - b)));
            prop_assert_eq!(column(&evaluated.batch, "p", row), both.and_then(|(a, b)| fits(a * b)));
            let quotient = both.filter(|(_, b)| *b != 0).and_then(|(a, b)| fits(a / b));
            prop_assert_eq!(column(&evaluated.batch, "q", row), quotient);
            prop_assert_eq!(column(&evaluated.batch, "n", row), a.and_then(|a| fits(-a)));
        }
    }
}

/// Texts made of the words and symbols that the grammar is about, so that many of them parse.
fn texts() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "select",
        "from",
        "source",
        "where",
        "as",
        "x",
        "a",
        "b",
        "f",
        "s",
        "*",
        "+",
        "-",
        "/",
        "%",
        "(",
        ")",
        ",",
        "case",
        "when",
        "then",
        "else",
        "end",
        "and",
        "or",
        "not",
        "is",
        "null",
        "in",
        "between",
        "like",
        "cast",
        "bigint",
        "varchar",
        "decimal(38, 10)",
        "1",
        "2.5",
        "'t'",
        "'2026-01-01'",
        "interval '1 day'",
        "date",
        "coalesce(",
        "abs(",
        "round(",
        "power(",
        "substr(",
        "left(",
        "chr(",
        "date_trunc('day',",
        "make_date(",
        "::",
        "=",
        "<",
        "||",
        ";",
        "\"",
        "'",
        "$1",
        "?",
        "[",
        "{",
        "\u{0}",
        "é",
        "9223372036854775808",
        "1e400",
        "limit",
        "group by",
        "join",
        "over",
        "trim(",
        "extract(year from",
        "values",
        "lateral",
        "to_timestamp_seconds(",
    ]);
    prop_oneof![
        ".{0,200}",
        proptest::collection::vec(word.clone(), 0..40).prop_map(|words| words.join(" ")),
        proptest::collection::vec(word, 1..16)
            .prop_map(|words| format!("select {} as x from source", words.join(" "))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_it_panic(text in texts()) {
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("a", Arc::new(Int64Array::from(vec![Some(i64::MIN), Some(i64::MAX), None, Some(3)])) as Arc<dyn Array>, true),
            ("b", Arc::new(Int64Array::from(vec![-1, 0, 1, 1_000_000])) as _, true),
            ("f", Arc::new(Float64Array::from(vec![f64::NAN, f64::MIN, 0.0, 1e300])) as _, true),
            ("s", Arc::new(StringArray::from(vec![Some("é"), Some(""), None, Some("12")])) as _, true),
        ])
        .unwrap();
        let Ok(parsed) = SourceSql::parse(&text) else { return Ok(()) };
        if let Ok(bound) = parsed.bind(&batch.schema()) {
            bound.evaluate(&batch.project(bound.input_columns()).unwrap()).unwrap();
        }
    }
}
