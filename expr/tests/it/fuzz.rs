//! No text of an expression or of a source's SQL ends the process (I22): an error, or values.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float64Array, Int64Array, ListArray, RecordBatch, StringArray};
use arrow::datatypes::Float64Type;
use asof_core::data_type::DataType;
use asof_core::fuzz;
use asof_expr::{ExprError, Expression, FeatureExpression, SourceSql, functions};

fn batch() -> RecordBatch {
    let lists = [
        Some(vec![Some(1.5), None]),
        None,
        Some(vec![]),
        Some(vec![Some(f64::NAN)]),
    ];
    let columns: [(&str, ArrayRef); 5] = [
        (
            "a",
            Arc::new(Int64Array::from(vec![
                Some(i64::MIN),
                Some(i64::MAX),
                None,
                Some(3),
            ])),
        ),
        ("b", Arc::new(Int64Array::from(vec![-1, 0, 1, 1_000_000]))),
        (
            "f",
            Arc::new(Float64Array::from(vec![f64::NAN, f64::MIN, 0.0, 1e300])),
        ),
        (
            "s",
            Arc::new(StringArray::from(vec![Some("é"), Some(""), None, Some("12")])),
        ),
        (
            "l",
            Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(lists)),
        ),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
}

const KEYWORDS: [&str; 60] = [
    "a",
    "b",
    "f",
    "s",
    "l",
    "view.feature",
    "1",
    "2.5",
    "'t'",
    "'2026-01-01'",
    "null",
    "true",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ".",
    " + ",
    " - ",
    " * ",
    " / ",
    " % ",
    " = ",
    " <> ",
    " < ",
    " || ",
    "::",
    ";",
    "\"",
    "'",
    "$1",
    "?",
    " and ",
    " or ",
    "not ",
    " is ",
    " in (",
    " between ",
    " like ",
    "case when ",
    " then ",
    " else ",
    " end",
    "cast(",
    " as bigint)",
    " as decimal(38, 10))",
    " as varchar)",
    "interval '1 day'",
    "date '2026-01-01'",
    "select ",
    " from source",
    " where ",
    " as x",
    "9223372036854775808",
    "1e400",
    "extract(year from ",
    "trim(",
];

fn kind(error: &ExprError) -> String {
    fuzz::kind_of(&error.to_string())
}

#[test]
fn expressions() {
    let batch = batch();
    let calls: Vec<String> = functions().iter().map(|(name, _)| format!("{name}(")).collect();
    let words: Vec<&str> = KEYWORDS
        .into_iter()
        .chain(calls.iter().map(String::as_str))
        .collect();
    let corpus = [
        "a / b + 1",
        "case when f > 0.5 then s else 'x' end",
        "cast(s as bigint) between a and b",
        "cosine_distance(l, l)",
        "select *, a + b as sum from source where f <> 0",
        "coalesce(substr(s, 1, b), date_trunc('day', timestamp '2026-01-01'))",
    ];
    let types = [
        DataType::Int64,
        DataType::Int64,
        DataType::Float64,
        DataType::String,
        DataType::List(Box::new(DataType::Float64)),
    ];
    fuzz::run("expressions", corpus, &words, |input| {
        let text = String::from_utf8_lossy(input);
        let sql = SourceSql::parse(&text)
            .and_then(|sql| sql.bind(&batch.schema()))
            .map(|bound| {
                let evaluated = bound
                    .evaluate(&batch.project(bound.input_columns()).unwrap())
                    .unwrap();
                evaluated.batch.num_columns()
            });
        let expression = Expression::parse(&text)
            .and_then(|text| text.bind(&batch.schema()))
            .map(|bound| {
                let evaluated = bound.evaluate_counted(&batch.project(bound.input_columns()).unwrap());
                let (values, failed) = evaluated.unwrap();
                assert_eq!(values.len(), batch.num_rows());
                assert!(failed <= values.null_count() as u64);
                values.null_count()
            });
        let feature = FeatureExpression::parse(&text).and_then(|feature| {
            let inputs: Vec<_> = (0..feature.references().len())
                .map(|at| at % types.len())
                .collect();
            let given: Vec<DataType> = inputs.iter().map(|at| types[*at].clone()).collect();
            let bound = feature.bind(&given, &DataType::Float64)?;
            let columns = inputs.iter().map(|at| Arc::clone(batch.column(*at))).collect();
            let values = bound.evaluate(columns, batch.num_rows()).unwrap();
            assert_eq!(values.values.len(), batch.num_rows());
            Ok(values.failed)
        });
        (
            sql.map_err(|error| kind(&error)),
            expression.map_err(|error| kind(&error)),
            feature.map_err(|error| kind(&error)),
        )
    });
}
