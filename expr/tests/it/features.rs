//! On-demand features: what they name, what type they have, and that the rows beside a row do not matter.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, StringArray, new_empty_array};
use arrow::compute::concat;
use arrow::datatypes::{Float64Type, Int64Type};
use asof_core::data_type::DataType;
use asof_core::definition::{
    Definitions, FrozenEntry, OnDemand, OnDemandFeature, OnDemandInput, RequestColumn, Select, ServiceEntry,
};
use asof_core::name::{FeatureName, ProjectName, ViewName};
use asof_core::service::ReadPlan;
use asof_expr::{ExprError, FeatureExpression, MAX_VALUE_BYTES, Program, Reference};
use proptest::prelude::*;

use crate::properties::rows;

fn data_type(text: &str) -> DataType {
    DataType::parse(text).unwrap()
}

fn references(text: &str) -> Vec<String> {
    let parsed = FeatureExpression::parse(text).unwrap();
    let shown = parsed.references().iter().map(|reference| match reference {
        Reference::Own(name) => name.clone(),
        Reference::Of { view, feature } => format!("{view}.{feature}"),
    });
    shown.collect()
}

#[test]
fn names_are_features_and_columns_of_the_caller() {
    let check = |text: &str, expect: &[&str]| assert_eq!(references(text), expect, "{text}");
    check("a.x + b.x - x", &["a.x", "b.x", "x"]);
    check("x + x * a.x - a.x", &["x", "a.x"]);
    check("\"my column\" + weather.\"temp\"", &["my column", "weather.temp"]);
    check(
        "case when d then c when b in (a, 1) then date_part('hour', t) end",
        &["d", "c", "b", "a", "t"],
    );
    // The places that stand for names are no names.
    check("\"0\" + \"1\" + a.\"0\"", &["0", "1", "a.0"]);
    check("source.x", &["source.x"]);
    check("1 + 2", &[]);
}

#[test]
fn what_is_no_expression_is_refused() {
    let check = |text: &str, expect: &str| {
        let error = FeatureExpression::parse(text).unwrap_err().to_string();
        assert!(error.contains(expect), "{text}: {error}");
    };
    check("a.b.c", "write `view.feature` or the name of a request column");
    check("select 1", "a statement is not allowed");
    check("(select x from y)", "subquery");
    check("nosuch(x)", "there is no function `nosuch`");
    check("now()", "now");
    check("read_parquet('/etc/passwd')", "it reads files");
    check("", "write an expression");
    check("x; drop table y", "behind the end");
    check(&"1+".repeat(5_000), "at most");
    check(&format!("x + {}", "y".repeat(1 << 20)), "at most");
}

fn bind(text: &str, inputs: &[&str], declared: &str) -> Result<(), ExprError> {
    let inputs: Vec<DataType> = inputs.iter().map(|input| data_type(input)).collect();
    let parsed = FeatureExpression::parse(text).unwrap();
    parsed.bind(&inputs, &data_type(declared)).map(drop)
}

#[test]
fn the_type_is_the_declared_one_or_has_only_values_of_it() {
    for (text, inputs, declared) in [
        ("x", &["int32"][..], "int64"),
        ("x", &["int32"], "float64"),
        ("x", &["float32"], "float64"),
        ("char_length(x)", &["string"], "int64"),
        ("x", &["decimal(5,2)"], "decimal(9,4)"),
        ("x", &["date"], "date"),
        ("to_timestamp_seconds(x)", &["int64"], "timestamp"),
        ("x", &["list<int32>"], "list<int64>"),
        ("x", &["embedding(3)"], "embedding(3)"),
        ("x > 1", &["int64"], "bool"),
    ] {
        assert_eq!(
            bind(text, inputs, declared),
            Ok(()),
            "{text} of {inputs:?} as {declared}"
        );
    }
    for (text, inputs, declared, expect) in [
        (
            "x",
            &["int64"][..],
            "float64",
            "`x` gives int64, and is declared as float64: cast it",
        ),
        ("x", &["int64"], "int32", "gives int64, and is declared as int32"),
        ("x", &["float64"], "float32", "gives float64"),
        ("x", &["decimal(5,2)"], "decimal(5,3)", "gives decimal(5, 2)"),
        ("x", &["string"], "bool", "gives string"),
        (
            "x",
            &["embedding(3)"],
            "embedding(4)",
            "`x` gives embedding(3), and is declared as embedding(4)",
        ),
        ("x", &["string"], "json", "an expression cannot give json"),
        (
            "x",
            &["map<string,int64>"],
            "map<string,int64>",
            "an expression cannot give map",
        ),
        ("null", &[], "bool", "always null"),
        (
            "x + y",
            &["int64", "string"],
            "int64",
            "`+` cannot be used with int64 and string",
        ),
    ] {
        let error = bind(text, inputs, declared).unwrap_err().to_string();
        assert!(error.contains(expect), "{text}: {error}");
    }
}

#[test]
fn what_cannot_be_computed_is_null_and_counted() {
    let check = |text: &str, declared: &str, expect: &[Option<i64>], failed: u64| {
        let x: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(0), None, Some(i64::MAX)]));
        let parsed = FeatureExpression::parse(text).unwrap();
        let bound = parsed.bind(&[DataType::Int64], &data_type(declared)).unwrap();
        let found = bound.evaluate(vec![x], 4).unwrap();
        let values: Vec<Option<i64>> = found.values.as_primitive::<Int64Type>().iter().collect();
        assert_eq!((values.as_slice(), found.failed), (expect, failed), "{text}");
        // Nothing lies beneath nulls.
        let beneath = found.values.as_primitive::<Int64Type>().values();
        for (row, value) in values.iter().enumerate() {
            assert!(value.is_some() || beneath[row] == 0, "{text}: {beneath:?}");
        }
    };
    check("x + 1", "int64", &[Some(2), Some(1), None, None], 1);
    check("10 / x", "int64", &[Some(10), None, None, Some(0)], 1);
    check(
        "coalesce(x + 1, x)",
        "int64",
        &[Some(2), Some(1), None, Some(i64::MAX)],
        0,
    );
    check(
        "cast(cast(x as int32) as int64)",
        "int64",
        &[Some(1), Some(0), None, None],
        1,
    );
}

#[test]
fn a_text_that_is_too_long_is_null_and_counted() {
    let text = "x".repeat(MAX_VALUE_BYTES / 2);
    let longer = format!("{text}y");
    let column: ArrayRef = Arc::new(StringArray::from(vec![
        Some(text.as_str()),
        None,
        Some(&longer),
        Some(""),
    ]));
    let parsed = FeatureExpression::parse("concat(s, s)").unwrap();
    let bound = parsed.bind(&[DataType::String], &DataType::String).unwrap();
    let found = bound.evaluate(vec![column], 4).unwrap();
    let lengths: Vec<Option<usize>> = found
        .values
        .as_string::<i32>()
        .iter()
        .map(|text| text.map(str::len))
        .collect();
    // To concat, null is an empty text.
    assert_eq!(lengths, [Some(MAX_VALUE_BYTES - 1), Some(0), None, Some(0)]);
    assert_eq!(found.failed, 1);
    assert_eq!(
        found.values.as_string::<i32>().value_data().len(),
        MAX_VALUE_BYTES - 1
    );
}

#[test]
fn many_long_texts_are_computed_in_parts() {
    // Written 100 times, more than a column of text holds.
    let text = "x".repeat(8_192);
    let column: ArrayRef = Arc::new(StringArray::from_iter_values((0..5_000).map(|_| &text)));
    let parsed =
        FeatureExpression::parse(&format!("char_length(concat({}))", vec!["s"; 100].join(", "))).unwrap();
    let bound = parsed.bind(&[DataType::String], &DataType::Int64).unwrap();
    let found = bound.evaluate(vec![column], 5_000).unwrap();
    let lengths = found.values.as_primitive::<Int64Type>();
    assert_eq!(lengths.null_count(), 0);
    assert!(lengths.values().iter().all(|length| *length == 819_200));
    // One that is too long by itself on its way is null.
    let long = "x".repeat(6 << 20);
    let column: ArrayRef = Arc::new(StringArray::from(vec![Some("short"), Some(&long), None]));
    let text = format!("char_length(concat_ws({}))", vec!["s"; 190].join(", "));
    let bound = FeatureExpression::parse(&text)
        .unwrap()
        .bind(&[DataType::String], &DataType::Int64)
        .unwrap();
    let found = bound.evaluate(vec![column], 3).unwrap();
    let lengths: Vec<Option<i64>> = found.values.as_primitive::<Int64Type>().iter().collect();
    assert_eq!((lengths, found.failed), (vec![Some(5 * 377), None, None], 1));
}

/// A set of features over the request columns `a`, `b` (int64), `f` (float64) and `s` (string); each may read those before it.
fn plan(features: &[(&str, &str, &str)]) -> ReadPlan {
    let set = ViewName::parse("set").unwrap();
    let request = [("a", "int64"), ("b", "int64"), ("f", "float64"), ("s", "string")];
    let feature = |(name, declared, text): &(&str, &str, &str)| {
        let parsed = FeatureExpression::parse(text).unwrap();
        let inputs = parsed.references().iter().map(|reference| match reference {
            Reference::Own(name) => OnDemandInput::Request(name.clone()),
            Reference::Of { view, feature } => OnDemandInput::Feature {
                view: ViewName::parse(view).unwrap(),
                feature: FeatureName::parse(feature).unwrap(),
            },
        });
        OnDemandFeature {
            name: FeatureName::parse(name).unwrap(),
            data_type: data_type(declared),
            expression: (*text).to_owned(),
            inputs: inputs.collect(),
            description: None,
        }
    };
    let mut definitions = Definitions::empty(ProjectName::parse("p").unwrap());
    let column = |(name, declared): (&str, &str)| RequestColumn {
        name: name.into(),
        data_type: data_type(declared),
    };
    definitions.on_demand.insert(
        set.clone(),
        OnDemand {
            name: set.clone(),
            request: request.into_iter().map(column).collect(),
            features: features.iter().map(feature).collect(),
            notes: Default::default(),
        },
    );
    let names: Vec<FeatureName> = features
        .iter()
        .map(|(name, ..)| FeatureName::parse(name).unwrap())
        .collect();
    let entry = ServiceEntry {
        view: set,
        select: Select::All,
        keys: BTreeMap::new(),
        prefix: None,
    };
    ReadPlan::of_entries(
        &definitions,
        &[FrozenEntry {
            entry,
            features: names,
        }],
    )
    .unwrap()
}

const FEATURES: [(&str, &str, &str); 12] = [
    ("sum", "int64", "a + b"),
    ("ratio", "int64", "set.sum / b"),
    ("share", "float64", "f / cast(set.ratio as double)"),
    ("large", "bool", "set.share > 0.5 or a / b > 0 and f is not null"),
    ("words", "string", "concat(s, '-', cast(set.ratio as string))"),
    ("again", "string", "concat(set.words, set.words, upper(s))"),
    ("size", "int64", "char_length(set.again)"),
    (
        "chosen",
        "string",
        "case when set.large then set.words when s like chr(a) then s else set.again end",
    ),
    ("decimal", "decimal(38,2)", "cast(a as decimal(38, 2)) * 1"),
    ("at", "timestamp", "to_timestamp_seconds(a)"),
    ("day", "date", "make_date(2026, a, b)"),
    ("one", "int64", "1"),
];

/// What an array is made of.
fn bits(array: &ArrayRef) -> Vec<Vec<u8>> {
    let data = array.to_data();
    data.buffers()
        .iter()
        .map(|buffer| buffer.as_slice().to_vec())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_row_has_what_it_has_alone(batch in rows(), cut in 1_usize..20) {
        let plan = plan(&FEATURES);
        let program = Program::compile(&plan).unwrap();
        let given = |from: usize, rows: usize| {
            let inputs = program.inputs().iter().map(|input| match input {
                asof_core::service::Input::Request(column) => {
                    let name = plan.request_columns[*column].name.as_str();
                    batch.column_by_name(name).unwrap().slice(from, rows)
                }
                other => panic!("{other:?}"),
            });
            inputs.collect::<Vec<_>>()
        };
        let rows = batch.num_rows();
        let whole = program.evaluate(&given(0, rows), rows).unwrap();
        for pieces in [cut, 1] {
            let parts: Vec<_> = (0..rows).step_by(pieces).map(|from| {
                let length = pieces.min(rows - from);
                program.evaluate(&given(from, length), length).unwrap()
            }).collect();
            for (number, values) in whole.values.iter().enumerate() {
                let feature = &plan.computed[number].feature;
                let empty = new_empty_array(&feature.data_type.to_arrow());
                let joined = |arrays: Vec<&dyn Array>| {
                    let all: Vec<&dyn Array> = std::iter::once(empty.as_ref()).chain(arrays).collect();
                    concat(&all).unwrap()
                };
                let together = joined(parts.iter().map(|part| part.values[number].as_ref().unwrap().as_ref()).collect());
                let whole_again = joined(vec![values.as_ref().unwrap().as_ref()]);
                // Compared as bits, those beneath nulls included.
                prop_assert_eq!(bits(&together), bits(&whole_again), "{}", feature.name);
                prop_assert_eq!(together.logical_nulls(), whole_again.logical_nulls());
                let failed: u64 = parts.iter().map(|part| part.failed[number]).sum();
                prop_assert_eq!(failed, whole.failed[number], "{}", feature.name);
            }
        }
    }

    #[test]
    fn no_text_makes_a_feature_panic(text in "[-a-z0-9 .,()'\"+*/<>=|%_]{0,80}") {
        if let Ok(parsed) = FeatureExpression::parse(&text) {
            let types = vec![DataType::Float64; parsed.references().len()];
            for declared in [DataType::Float64, DataType::Bool, DataType::String] {
                if let Ok(bound) = parsed.bind(&types, &declared) {
                    let column: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.5), None, Some(f64::NAN)]));
                    bound.evaluate(vec![column; types.len()], 3).unwrap();
                }
            }
        }
    }
}

#[test]
fn a_program_reads_each_input_once_and_steps_in_order() {
    let plan = plan(&[
        ("x", "float64", "f + f"),
        ("y", "float64", "set.x * f"),
        ("z", "float64", "set.y - set.x"),
    ]);
    let program = Program::compile(&plan).unwrap();
    assert_eq!(program.inputs().len(), 1);
    let f: ArrayRef = Arc::new(Float64Array::from(vec![2.0, 3.0]));
    let found = program.evaluate(&[f], 2).unwrap();
    let floats = |values: &Option<ArrayRef>| {
        values
            .as_ref()
            .unwrap()
            .as_primitive::<Float64Type>()
            .values()
            .to_vec()
    };
    let values: Vec<Vec<f64>> = found.values.iter().map(floats).collect();
    assert_eq!(values, [[4.0, 6.0], [8.0, 18.0], [4.0, 12.0]]);
    // A constant has as many rows as are asked for.
    let plan = self::plan(&[("one", "int64", "1")]);
    let found = Program::compile(&plan).unwrap().evaluate(&[], 3).unwrap();
    let length = |found: asof_expr::ProgramValues| found.values[0].as_ref().unwrap().len();
    assert_eq!(length(found), 3);
    assert_eq!(
        length(Program::compile(&plan).unwrap().evaluate(&[], 0).unwrap()),
        0
    );
}

#[test]
fn what_is_computed_with_alone_is_not_kept() {
    // Of a text that is as long as one may be, 10,000 rows would be 330 MB.
    let all = plan(&[
        ("long", "string", &format!("concat({})", vec!["s"; 60].join(", "))),
        ("size", "int64", "char_length(set.long)"),
    ]);
    let mut size_alone = all.clone();
    size_alone.columns.remove(0);
    let program = Program::compile(&size_alone).unwrap();
    let s: ArrayRef = Arc::new(StringArray::from_iter_values(
        (0..10_000).map(|row| "x".repeat(500 + row % 47)),
    ));
    let found = program.evaluate(&[s], 10_000).unwrap();
    assert!(found.values[0].is_none());
    let sizes = found.values[1].as_ref().unwrap().as_primitive::<Int64Type>();
    assert_eq!(
        (sizes.len(), sizes.value(46), sizes.value(9_999)),
        (10_000, 60 * 546, 60 * (500 + 9_999 % 47))
    );
    assert_eq!(found.failed, [0, 0]);
}

#[test]
fn a_plan_that_names_other_inputs_is_not_computed() {
    let mut wrong = plan(&[("x", "int64", "a - b")]);
    wrong.computed[0].feature.inputs.reverse();
    let refused = Program::compile(&wrong).unwrap_err().to_string();
    assert_eq!(
        refused,
        "on-demand feature set:x: something that it reads is not there"
    );
}
