//! What a store holds, whatever its bytes are (I22): an answer or an error, and no answer that is written back as
//! something else.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests fail by panicking"
)]

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray};
use asof_core::aggregate::tiles::{FoldedEvents, TileLayout, TiledFeature, check_chunk, merge_chunks};
use asof_core::aggregate::{Aggregation, Function};
use asof_core::data_type::{DataType, KeyType};
use asof_core::duration::Duration;
use asof_core::fuzz;
use asof_core::key::{EntityKey, KeyValue, decode, encode};
use asof_core::order::RowOrder;
use asof_core::row::{Layout, Packer, RowDecoder, RowEncoder, RowField, RowSchema, StoredRow, fields_of};
use asof_core::time::Timestamp;
use asof_core::window::Window;

fn data_type(text: &str) -> DataType {
    DataType::parse(text).unwrap()
}

#[test]
fn fuzz_keys() {
    let types = [
        "bool",
        "int32",
        "int64",
        "string",
        "bytes",
        "date",
        "timestamp",
        "decimal(20,3)",
    ];
    let types: Vec<KeyType> = types.iter().map(|text| KeyType::parse(text).unwrap()).collect();
    let values = [
        KeyValue::Bool(true),
        KeyValue::Int32(-1),
        KeyValue::Int64(i64::MIN),
        KeyValue::String("a\0é".into()),
        KeyValue::Bytes(vec![0, 255, 0, 1]),
        KeyValue::Date(-1),
        KeyValue::Timestamp(Timestamp::EPOCH),
        KeyValue::Decimal(-5),
    ];
    // The first byte says where the types of the key begin and how many there are.
    let of = |first: u8| -> Vec<usize> {
        let (begin, count) = (usize::from(first & 7), usize::from(first >> 3 & 3) + 1);
        (begin..begin + count).map(|at| at % types.len()).collect()
    };
    let corpus = (0..32).map(|first| {
        let values: Vec<_> = of(first).iter().map(|at| Some(values[*at].clone())).collect();
        [&[first], encode(&values).unwrap().as_bytes()].concat()
    });
    fuzz::run("keys", corpus, &["\0", "\0\u{1}", "\u{7f}"], |input| {
        let Some((first, bytes)) = input.split_first() else {
            return (0, None);
        };
        let types: Vec<_> = of(*first).into_iter().map(|at| types[at].clone()).collect();
        let key = EntityKey::from_encoded(bytes);
        let decoded = decode(&key, &types).ok();
        if let Some(values) = &decoded {
            let values: Vec<_> = values.iter().cloned().map(Some).collect();
            assert_eq!(encode(&values), Some(key), "a key has one form");
        }
        (*first, decoded.map(|values| values.len()))
    });
}

fn schema() -> RowSchema {
    let field = |(name, of): (&str, &str)| RowField {
        name: name.into(),
        data_type: data_type(of),
    };
    let fields = [
        ("n", "int64"),
        ("x", "float64"),
        ("t", "string"),
        ("b", "bool"),
        ("l", "list<string>"),
        ("e", "embedding(2)"),
        ("s", "struct<a: int32, b: list<float64>>"),
        ("d", "decimal(30,2)"),
        ("m", "map<string, int64>"),
        ("j", "json"),
    ];
    RowSchema {
        fields: fields.map(field).into(),
    }
}

/// Rows of the first four fields, and what is decoded of them.
#[test]
fn fuzz_rows() {
    let schema = schema();
    let simple = RowSchema {
        fields: schema.fields[..4].to_vec(),
    };
    let arrays: [ArrayRef; 4] = [
        Arc::new(Int64Array::from(vec![Some(7), None])),
        Arc::new(Float64Array::from(vec![Some(-0.5), None])),
        Arc::new(StringArray::from(vec![Some("text"), None])),
        Arc::new(BooleanArray::from(vec![Some(true), None])),
    ];
    let encoder = RowEncoder::try_new(&simple, 0, &arrays).unwrap();
    let order = RowOrder {
        event_time: Timestamp::from_micros(5),
        created_time: Timestamp::from_micros(6),
        seq: 7,
    };
    let mut corpus = vec![Vec::new(); 2];
    for (row, bytes) in corpus.iter_mut().enumerate() {
        encoder.encode(row, order, row == 1, bytes);
    }
    let layouts: Vec<_> = [&schema, &simple]
        .into_iter()
        .map(|schema| {
            let layout = Layout::of(schema.fields.iter().map(|field| &field.data_type));
            let columns: Vec<_> = (0..schema.fields.len()).collect();
            let decoder = RowDecoder::try_new(schema, schema, &layout, &columns).unwrap();
            (schema, layout, decoder)
        })
        .collect();
    fuzz::run("rows", corpus, &["text", "\0\0\0\0", "{\"a\":1}"], |input| {
        // As it is, and as what its checksum was found right of.
        let whole = StoredRow::parse(input).is_ok();
        let Ok(row) = StoredRow::parse_checked(input) else {
            return (whole, Vec::new());
        };
        let decoded = layouts.iter().map(|(schema, layout, decoder)| {
            let fields = fields_of(schema, row.body).is_ok();
            let mut packer = Packer::new(layout, 1);
            (fields, decoder.decode(row.body, 0, &mut packer).is_ok())
        });
        (whole, decoded.collect())
    });
}

#[test]
fn fuzz_tiles() {
    let hour = Duration::parse("1h").unwrap();
    let day = Duration::parse("1d").unwrap();
    let windows = [Window::last(day, Some(hour)).unwrap(), Window::All];
    let functions = [
        Function::Count,
        Function::Sum,
        Function::Stddev,
        Function::LastN(3),
        Function::CountDistinct,
        Function::ApproxQuantile(500_000),
    ];
    let schema = RowSchema {
        fields: schema().fields[1..3].to_vec(),
    };
    let (functions, inputs) = (&functions, &schema);
    let features = windows.iter().flat_map(|window| {
        functions.iter().map(move |function| {
            let input = usize::from(matches!(function, Function::CountDistinct | Function::LastN(_)));
            TiledFeature {
                name: format!("{function}_{window}"),
                input,
                aggregation: Aggregation::new(*function, inputs.fields[input].data_type.clone()).unwrap(),
                window: *window,
            }
        })
    });
    let layout = Arc::new(TileLayout::new(schema.clone(), features.collect()));
    let arrays: [ArrayRef; 2] = [
        Arc::new(Float64Array::from(vec![Some(1.5), None, Some(f64::NAN)])),
        Arc::new(StringArray::from(vec![Some("a"), Some("b"), None])),
    ];
    let encoder = RowEncoder::try_new(&schema, 0, &arrays).unwrap();
    let mut folded = FoldedEvents::default();
    for row in 0..3 {
        let mut bytes = Vec::new();
        let at = Timestamp::from_micros(row as i64 * 3_600_000_000);
        encoder.encode(
            row,
            RowOrder {
                event_time: at,
                created_time: at,
                seq: 1,
            },
            false,
            &mut bytes,
        );
        folded
            .add(&layout, b"k", &StoredRow::parse(&bytes).unwrap())
            .unwrap();
    }
    let chunks: Vec<_> = folded.chunks(&layout).collect();
    let (ids, corpus): (Vec<_>, Vec<_>) = chunks.into_iter().map(|chunk| (chunk.id, chunk.bytes)).unzip();
    let read = layout.at(Timestamp::from_micros(3 * 3_600_000_000));
    fuzz::run("tiles", corpus.clone(), &["a", "\0\0\0\0\0\0\0\0"], |input| {
        // With a checksum that is right, so that what is behind it is tried.
        let end = input.len().saturating_sub(4);
        let sum = crc32c::crc32c(&input[..end]).to_le_bytes();
        let chunk = [&input[..end], &sum].concat();
        let is_chunk = check_chunk(&chunk).is_ok();
        let merged = corpus
            .iter()
            .map(|other| merge_chunks([&chunk[..], other]).is_ok());
        let read = ids.iter().map(|id| {
            let mut sums = read.begin();
            let added = read.add_chunk(&mut sums, *id, &chunk).is_ok();
            (added, read.finish(&sums, &mut Vec::new()).is_ok())
        });
        (is_chunk, merged.collect::<Vec<_>>(), read.collect::<Vec<_>>())
    });
}
