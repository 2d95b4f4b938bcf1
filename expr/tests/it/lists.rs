//! Functions of lists and embeddings.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, FixedSizeListArray, ListArray, StringArray};
use arrow::datatypes::{Float32Type, Float64Type, Int64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use asof_core::data_type::DataType;
use asof_expr::FeatureExpression;

/// Each with its type: `a` and `b` are lists of int64, `c` of float64, `v` and `w` embeddings of 2, `z` of 3, `t` of text.
fn columns() -> Vec<(&'static str, &'static str, ArrayRef)> {
    let list = |rows: Vec<Option<Vec<Option<i64>>>>| {
        Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(rows)) as ArrayRef
    };
    let embedding = |rows: Vec<Option<Vec<Option<f32>>>>, length| {
        Arc::new(FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(
            rows, length,
        )) as ArrayRef
    };
    let some = |row: &[i64]| Some(row.iter().copied().map(Some).collect::<Vec<_>>());
    let vector = |row: &[f32]| Some(row.iter().copied().map(Some).collect::<Vec<_>>());
    let columns = vec![
        (
            "a",
            "list<int64>",
            list(vec![some(&[3, 4]), some(&[]), None, Some(vec![Some(1), None])]),
        ),
        (
            "b",
            "list<int64>",
            list(vec![some(&[3, 4]), some(&[1]), some(&[1]), some(&[0, 0])]),
        ),
        (
            "c",
            "list<float64>",
            Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(vec![
                Some(vec![Some(0.5), Some(-1.5)]),
                Some(vec![]),
                None,
                Some(vec![Some(f64::NAN), Some(2.0)]),
            ])) as ArrayRef,
        ),
        (
            "v",
            "embedding(2)",
            embedding(
                vec![
                    vector(&[1.0, 0.0]),
                    vector(&[3.0, 4.0]),
                    None,
                    vector(&[0.0, 0.0]),
                ],
                2,
            ),
        ),
        (
            "w",
            "embedding(2)",
            embedding(
                vec![
                    vector(&[0.0, 2.0]),
                    vector(&[3.0, 4.0]),
                    vector(&[1.0, 1.0]),
                    vector(&[1.0, 1.0]),
                ],
                2,
            ),
        ),
        (
            "z",
            "embedding(3)",
            embedding(vec![vector(&[0.0, 0.0, 1.0]); 4], 3),
        ),
        (
            "t",
            "string",
            Arc::new(StringArray::from(vec!["x"; 4])) as ArrayRef,
        ),
    ];
    // As such columns come from the store and from spines.
    columns
        .into_iter()
        .map(|(name, declared, array)| {
            let to = DataType::parse(declared).unwrap().to_arrow();
            (name, declared, arrow::compute::cast(&array, &to).unwrap())
        })
        .collect()
}

fn evaluate(text: &str, declared: &str) -> Result<(Vec<String>, u64), String> {
    let parsed = FeatureExpression::parse(text).map_err(|error| error.to_string())?;
    let columns = columns();
    let named = parsed.references().iter().map(|reference| match reference {
        asof_expr::Reference::Own(name) => columns.iter().find(|column| column.0 == name).unwrap(),
        other => panic!("{other:?}"),
    });
    let named: Vec<_> = named.collect();
    let types: Vec<DataType> = named
        .iter()
        .map(|column| DataType::parse(column.1).unwrap())
        .collect();
    let bound = parsed.bind(&types, &DataType::parse(declared).unwrap());
    let bound = bound.map_err(|error| error.to_string())?;
    let given = |from: usize, rows: usize| named.iter().map(|column| column.2.slice(from, rows)).collect();
    let whole = bound.evaluate(given(0, 4), 4).unwrap();
    let options = FormatOptions::new().with_null("-");
    let shown = |array: &ArrayRef| {
        let formatter = ArrayFormatter::try_new(array, &options).unwrap();
        (0..array.len())
            .map(|row| formatter.value(row).to_string())
            .collect::<Vec<_>>()
    };
    // A row has what it has alone.
    let alone = (0..4).map(|row| bound.evaluate(given(row, 1), 1).unwrap());
    let alone: Vec<_> = alone.collect();
    let values: Vec<String> = alone.iter().flat_map(|values| shown(&values.values)).collect();
    assert_eq!(values, shown(&whole.values), "{text}");
    assert_eq!(
        alone.iter().map(|values| values.failed).sum::<u64>(),
        whole.failed,
        "{text}"
    );
    Ok((values, whole.failed))
}

#[test]
fn lists_are_looked_into() {
    let check = |text: &str, declared: &str, expect: [&str; 4]| {
        assert_eq!(
            evaluate(text, declared),
            Ok((expect.map(str::to_owned).to_vec(), 0)),
            "{text}"
        );
    };
    check("array_length(a)", "int64", ["2", "0", "-", "2"]);
    check("array_length(v)", "int64", ["2", "2", "-", "2"]);
    check("array_element(a, 1)", "int64", ["3", "-", "-", "1"]);
    check("array_element(a, -1)", "int64", ["4", "-", "-", "-"]);
    check("array_element(v, 2)", "float32", ["0.0", "4.0", "-", "0.0"]);
    check("array_element(a, array_length(b))", "int64", ["4", "-", "-", "-"]);
    check("array_has(a, 3)", "bool", ["true", "false", "-", "false"]);
    check("array_position(b, 1)", "int64", ["-", "1", "1", "-"]);
    check("array_max(a)", "int64", ["4", "-", "-", "1"]);
    check("array_min(b)", "int64", ["3", "1", "1", "0"]);
    check("coalesce(a, b)", "list<int64>", ["[3, 4]", "[]", "[1]", "[1, -]"]);
    check(
        "case when array_length(a) > 1 then a end",
        "list<int64>",
        ["[3, 4]", "-", "-", "[1, -]"],
    );
    check("a is null", "bool", ["false", "false", "true", "false"]);
}

#[test]
fn distances_are_of_lists_of_one_length() {
    let check = |text: &str, expect: [&str; 4], failed: u64| {
        let found = evaluate(text, "float64");
        assert_eq!(found, Ok((expect.map(str::to_owned).to_vec(), failed)), "{text}");
    };
    check(
        "l2_distance(v, w)",
        ["2.23606797749979", "0.0", "-", "1.4142135623730951"],
        0,
    );
    check("inner_product(v, w)", ["0.0", "25.0", "-", "0.0"], 0);
    // A vector without a direction has no angle.
    check("cosine_distance(v, w)", ["1.0", "0.0", "-", "-"], 1);
    check("l2_distance(a, b)", ["0.0", "-", "-", "-"], 1);
    check("inner_product(a, c)", ["-4.5", "0.0", "-", "-"], 0);
    check(
        "coalesce(l2_distance(a, b), -1.0)",
        ["0.0", "-1.0", "-1.0", "-1.0"],
        0,
    );
    check("l2_distance(b, v)", ["4.47213595499958", "-", "-", "0.0"], 1);
    for (text, expect) in [
        (
            "l2_distance(v, z)",
            "the function `l2_distance` cannot be used with embedding(2) and embedding(3)",
        ),
        ("l2_distance(v, t)", "cannot be used with embedding(2) and string"),
        ("cosine_distance(v)", "cannot be used with embedding(2)"),
        ("array_length(t)", "cannot be used with string"),
        ("array_has(a, t)", "cannot be used with list<int64> and string"),
        ("a + b", "`+` cannot be used with list<int64> and list<int64>"),
    ] {
        let error = evaluate(text, "float64").unwrap_err();
        assert!(error.contains(expect), "{text}: {error}");
    }
}
