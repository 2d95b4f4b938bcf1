use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, StringArray};
use asof_core::data_type::DataType;
use asof_core::status::Status;
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::v1;
use crate::v1::values::Kind;

/// A column of `data_type` from values written by hand as JSON, which Arrow reads into its own arrays.
fn column(data_type: &str, cells: &[&str]) -> (DataType, ArrayRef) {
    let data_type = DataType::parse(data_type).unwrap();
    let field = arrow_schema::Field::new("c", data_type.to_arrow(), true);
    let lines: Vec<_> = cells.iter().map(|cell| format!("{{\"c\": {cell}}}")).collect();
    let batch: RecordBatch = arrow_json::ReaderBuilder::new(Arc::new(arrow_schema::Schema::new(vec![field])))
        .build(lines.join("\n").as_bytes())
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    (data_type, batch.column(0).clone())
}

const EVERY_TYPE: [(&str, [&str; 4]); 18] = [
    ("bool", ["true", "null", "false", "true"]),
    ("int32", ["-2147483648", "null", "7", "0"]),
    ("int64", ["-9007199254740993", "null", "7", "9223372036854775807"]),
    ("float32", ["1.5", "null", "-0.0", "3"]),
    ("float64", ["1e300", "null", "-0.0", "3"]),
    ("string", ["\"\"", "null", "\"Zürich\\u0000\"", "\"a\""]),
    ("bytes", ["\"00ff\"", "null", "\"\"", "\"80\""]),
    (
        "date",
        ["\"2013-01-01\"", "null", "\"1899-12-31\"", "\"1970-01-01\""],
    ),
    (
        "timestamp",
        [
            "\"2013-01-01T00:00:00.000001Z\"",
            "null",
            "\"1900-01-01T00:00:00Z\"",
            "\"1970-01-01T00:00:00Z\"",
        ],
    ),
    (
        "decimal(10,2)",
        ["\"-12345678.90\"", "null", "\"0.01\"", "\"99999999.99\""],
    ),
    ("list<string>", ["[\"a\", null, \"\"]", "null", "[]", "[\"ü\"]"]),
    (
        "list<list<int64>>",
        ["[[1], null, []]", "null", "[[2, null]]", "[]"],
    ),
    ("list<embedding(2)>", ["[[1, 2], null]", "null", "[]", "[[3, 4]]"]),
    ("embedding(2)", ["[1.5, -2.5]", "null", "[0, 1]", "[7, 8]"]),
    (
        "struct<a: int64, b: list<bool>>",
        [
            "{\"a\": 1, \"b\": [true]}",
            "null",
            "{\"a\": null, \"b\": null}",
            "{\"a\": 2, \"b\": []}",
        ],
    ),
    (
        "map<string,float64>",
        ["{\"k\": 1.5, \"\": null}", "null", "{}", "{\"x\": 2}"],
    ),
    (
        "map<string,struct<x: int32>>",
        ["{\"k\": {\"x\": 1}}", "null", "{\"k\": null}", "{}"],
    ),
    ("json", ["\"{\\\"a\\\": 1}\"", "null", "\"[]\"", "\"1\""]),
];

/// Over the wire and back, through bytes.
fn sent(data_type: &DataType, array: &ArrayRef) -> Received {
    let bytes = to_proto(data_type, array).unwrap().encode_to_vec();
    from_proto(&v1::Values::decode(bytes.as_slice()).unwrap()).unwrap()
}

#[test]
fn every_type_round_trips_whole_and_in_slices() {
    for (text, cells) in EVERY_TYPE {
        let (data_type, array) = column(text, &cells);
        for (start, length) in [(0, 4), (0, 0), (1, 1), (1, 3), (2, 2)] {
            let slice = array.slice(start, length);
            let back = sent(&data_type, &slice);
            assert_eq!(back.data_type, data_type);
            assert_eq!(
                back.array.as_ref(),
                slice.as_ref(),
                "{text} from {start}, {length} long"
            );
        }
    }
}

#[test]
fn the_wire_is_as_documented() {
    let (data_type, array) = column("list<string>", &["[\"a\", null, \"bc\"]", "null", "[]"]);
    let expected = v1::Values {
        length: 3,
        nulls: vec![0b010],
        kind: Some(Kind::Lists(Box::new(v1::Lists {
            lengths: vec![3, 0, 0],
            items: Some(Box::new(v1::Values {
                length: 3,
                nulls: vec![0b010],
                kind: Some(Kind::Strings(v1::Blobs {
                    lengths: vec![1, 0, 2],
                    data: b"abc".to_vec(),
                })),
            })),
        }))),
    };
    assert_eq!(to_proto(&data_type, &array).unwrap(), expected);
}

#[test]
fn one_row_of_250_numbers_costs_about_their_size() {
    let array: ArrayRef = Arc::new(arrow_array::Float64Array::from(vec![1.5]));
    let values = to_proto(&DataType::Float64, &array).unwrap();
    // Eight bytes of number; the rest is tags and lengths.
    assert!(values.encoded_len() <= 8 + 6, "{}", values.encoded_len());
}

#[test]
fn another_type_is_refused() {
    let array: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
    let error = to_proto(&DataType::Int64, &array).unwrap_err();
    assert_eq!(error.to_string(), "column 0 has the Arrow type Utf8, not Int64");
}

#[test]
fn a_null_list_hides_what_is_under_it() {
    let list = arrow_array::ListArray::new(
        Arc::new(arrow_schema::Field::new(
            "item",
            arrow_schema::DataType::Int64,
            true,
        )),
        arrow_buffer::OffsetBuffer::from_lengths([1, 2, 1]),
        Arc::new(arrow_array::Int64Array::from(vec![1, 2, 3, 4])),
        Some(vec![true, false, true].into()),
    );
    let back = sent(
        &DataType::parse("list<int64>").unwrap(),
        &(Arc::new(list) as ArrayRef),
    );
    let items = back.array.as_list::<i32>().values().clone();
    assert_eq!(items.as_primitive::<Int64Type>().values(), &[1, 4]);
}

fn strings(lengths: &[u32], data: &[u8]) -> v1::Values {
    v1::Values {
        length: lengths.len() as u32,
        nulls: Vec::new(),
        kind: Some(Kind::Strings(v1::Blobs {
            lengths: lengths.to_vec(),
            data: data.to_vec(),
        })),
    }
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let check = |values: &v1::Values, expect: &str| {
        assert_eq!(from_proto(values).unwrap_err().to_string(), expect);
    };
    check(&v1::Values::default(), "values.kind: is missing");
    check(
        &strings(&[2, 2], b"abc"),
        "values.strings.data: has 3 elements or bytes where 4 are expected",
    );
    check(
        &strings(&[1, 1], "ü".as_bytes()),
        "values.strings.data: has text at position 0 that is not UTF-8",
    );
    check(
        &strings(&[1, 1], b"a\xff"),
        "values.strings.data: has text at position 1 that is not UTF-8",
    );
    check(
        &strings(&[u32::MAX, 1], b"a"),
        "values.strings.lengths: has more than 2147483647 elements or bytes",
    );
    let mut null = strings(&[1, 1], b"ab");
    null.nulls = vec![0b10];
    check(
        &null,
        "values.strings.lengths: has a length at position 1, which is null: it must be 0",
    );
    null.nulls = vec![0, 0];
    check(
        &null,
        "values.nulls: has 2 elements or bytes where 1 are expected",
    );
    let decimal = |precision, scale, number: i128| v1::Values {
        length: 1,
        nulls: Vec::new(),
        kind: Some(Kind::Decimals(v1::Decimals {
            precision,
            scale,
            data: number.to_le_bytes().to_vec(),
        })),
    };
    let out_of_range = "values.decimals: needs 1 <= precision <= 38, scale <= precision and values of at most so many digits";
    check(&decimal(39, 0, 1), out_of_range);
    check(&decimal(3, 4, 1), out_of_range);
    check(&decimal(3, 1, 1000), out_of_range);
    check(&decimal(3, 1, i128::MIN), out_of_range);
    assert!(from_proto(&decimal(3, 1, -999)).is_ok());
}

#[test]
fn nesting_is_as_deep_as_types_and_no_deeper() {
    let nested = |depth: usize| {
        let mut values = strings(&[], b"");
        for _ in 0..depth {
            values = v1::Values {
                length: 0,
                nulls: Vec::new(),
                kind: Some(Kind::Lists(Box::new(v1::Lists {
                    lengths: Vec::new(),
                    items: Some(Box::new(values)),
                }))),
            };
        }
        from_proto(&values)
    };
    let deepest = nested(asof_core::data_type::MAX_DEPTH).unwrap();
    assert_eq!(
        DataType::parse(&deepest.data_type.to_string()).unwrap(),
        deepest.data_type
    );
    let error = nested(asof_core::data_type::MAX_DEPTH + 1).unwrap_err();
    assert_eq!(error.problem, Problem::TooDeep);
}

#[test]
fn statuses_have_the_numbers_of_core() {
    for status in Status::ALL {
        let wire = v1::FeatureStatus::try_from(i32::from(status.code())).unwrap();
        assert_eq!(wire.as_str_name(), format!("FEATURE_STATUS_{status}"));
    }
    assert!(v1::FeatureStatus::try_from(Status::ALL.len() as i32 + 1).is_err());
}

#[test]
fn booleans_are_read_with_their_nulls() {
    let values = v1::Values {
        length: 3,
        nulls: vec![0b1111_1010],
        kind: Some(Kind::Bools(v1::Bools {
            values: vec![true, true, false],
        })),
    };
    let expected = BooleanArray::from(vec![Some(true), None, Some(false)]);
    assert_eq!(
        from_proto(&values).unwrap().array.as_ref(),
        &expected as &dyn Array
    );
}

/// Messages of every kind, near enough to valid ones that each check is reached.
fn any_values() -> impl Strategy<Value = v1::Values> {
    let lengths = || prop::collection::vec(prop_oneof![0u32..3, Just(u32::MAX)], 0..4);
    let blobs = move || {
        (lengths(), prop::collection::vec(any::<u8>(), 0..6))
            .prop_map(|(lengths, data)| v1::Blobs { lengths, data })
    };
    let leaf = prop_oneof![
        Just(None),
        prop::collection::vec(any::<bool>(), 0..4).prop_map(|values| Some(Kind::Bools(v1::Bools { values }))),
        prop::collection::vec(any::<i32>(), 0..4).prop_map(|values| Some(Kind::Dates(v1::Int32s { values }))),
        prop::collection::vec(any::<i64>(), 0..4)
            .prop_map(|values| Some(Kind::Timestamps(v1::Int64s { values }))),
        prop::collection::vec(any::<f64>(), 0..4)
            .prop_map(|values| Some(Kind::Float64s(v1::Float64s { values }))),
        blobs().prop_map(|blobs| Some(Kind::Strings(blobs))),
        blobs().prop_map(|blobs| Some(Kind::Bytes(blobs))),
        (0u32..40, 0u32..40, prop::collection::vec(any::<u8>(), 0..34)).prop_map(
            |(precision, scale, data)| Some(Kind::Decimals(v1::Decimals {
                precision,
                scale,
                data
            }))
        ),
        (
            prop_oneof![0u32..3, any::<u32>()],
            prop::collection::vec(any::<f32>(), 0..5)
        )
            .prop_map(|(dimension, values)| Some(Kind::Embeddings(v1::Embeddings { dimension, values }))),
    ];
    let with = |kind| {
        (
            prop_oneof![0u32..4, any::<u32>()],
            prop::collection::vec(any::<u8>(), 0..2),
            kind,
        )
            .prop_map(|(length, nulls, kind)| v1::Values { length, nulls, kind })
    };
    with(leaf.boxed()).prop_recursive(10, 24, 3, move |inner| {
        let kind = prop_oneof![
            (lengths(), inner.clone()).prop_map(|(lengths, items)| Some(Kind::Lists(Box::new(v1::Lists {
                lengths,
                items: Some(Box::new(items)),
            })))),
            prop::collection::vec(("[ab]", prop::option::of(inner.clone())), 0..3).prop_map(|fields| {
                let fields = fields
                    .into_iter()
                    .map(|(name, values)| v1::Column { name, values });
                Some(Kind::Structs(v1::Structs {
                    fields: fields.collect(),
                }))
            }),
            (lengths(), prop::option::of(blobs()), inner).prop_map(|(lengths, keys, values)| Some(
                Kind::Maps(Box::new(v1::Maps {
                    lengths,
                    keys,
                    values: Some(Box::new(values)),
                }))
            )),
        ];
        with(kind.boxed())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_message_is_read_or_refused(values in any_values()) {
        if let Ok(received) = from_proto(&values) {
            prop_assert_eq!(received.array.len(), values.length as usize);
            received.array.to_data().validate_full().unwrap();
            let again = from_proto(&to_proto(&received.data_type, &received.array).unwrap()).unwrap();
            prop_assert_eq!(again.data_type, received.data_type);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(values) = v1::Values::decode(bytes.as_slice()) {
            let _ = from_proto(&values);
        }
    }
}
