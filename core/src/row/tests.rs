use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use proptest::prelude::*;

use super::*;
use crate::time::Timestamp;

const ORDER: RowOrder = RowOrder {
    event_time: Timestamp::from_micros(-5),
    created_time: Timestamp::from_micros(7),
    seq: 9,
};

fn schema(fields: &[(&str, &str)]) -> RowSchema {
    RowSchema {
        fields: fields
            .iter()
            .map(|(name, data_type)| RowField {
                name: (*name).into(),
                data_type: DataType::parse(data_type).unwrap(),
            })
            .collect(),
    }
}

fn encode_all(schema: &RowSchema, arrays: &[ArrayRef]) -> Vec<Vec<u8>> {
    let encoder = RowEncoder::try_new(schema, 3, arrays).unwrap();
    (0..arrays[0].len())
        .map(|row| {
            let mut bytes = Vec::new();
            encoder.encode(row, ORDER, row % 2 == 1, &mut bytes);
            bytes
        })
        .collect()
}

fn decode_all(
    written: &RowSchema,
    wanted: &RowSchema,
    rows: &[Vec<u8>],
) -> Result<Vec<ArrayRef>, RowCorrupt> {
    let layout = Layout::of(wanted.fields.iter().map(|field| &field.data_type));
    let columns: Vec<_> = (0..wanted.fields.len()).collect();
    let decoder = RowDecoder::try_new(written, wanted, &layout, &columns).unwrap();
    let mut packer = Packer::new(&layout, rows.len());
    for (position, row) in rows.iter().enumerate() {
        decoder.decode(StoredRow::parse(row)?.body, position, &mut packer)?;
    }
    let mut packed = packer.finish()?;
    assert_eq!(packed.check(&layout), Ok(()));
    columns
        .into_iter()
        .map(|column| packed.array(&layout, column))
        .collect()
}

/// Every type, with values written by hand as JSON, which Arrow reads into its own arrays.
fn every_type() -> (RowSchema, Vec<ArrayRef>) {
    let columns: [(&str, &str, [&str; 3]); 17] = [
        ("b", "bool", ["true", "null", "false"]),
        ("i", "int32", ["-2147483648", "null", "7"]),
        ("l", "int64", ["-9007199254740993", "null", "7"]),
        ("f", "float32", ["1.5", "null", "-0.0"]),
        ("d", "float64", ["1e300", "null", "-0.0"]),
        ("s", "string", ["\"\"", "null", "\"Zürich\\u0000\""]),
        ("y", "bytes", ["\"00ff\"", "null", "\"\""]),
        ("day", "date", ["\"2013-01-01\"", "null", "\"1899-12-31\""]),
        (
            "t",
            "timestamp",
            [
                "\"2013-01-01T00:00:00.000001Z\"",
                "null",
                "\"1900-01-01T00:00:00Z\"",
            ],
        ),
        ("dec", "decimal(10,2)", ["\"-12345678.90\"", "null", "\"0.01\""]),
        ("ls", "list<string>", ["[\"a\", null, \"\"]", "null", "[]"]),
        (
            "ll",
            "list<list<int64>>",
            ["[[1], null, []]", "null", "[[2, null]]"],
        ),
        ("e", "embedding(2)", ["[1.5, -2.5]", "null", "[0, 1]"]),
        (
            "st",
            "struct<a: int64, b: list<bool>>",
            ["{\"a\": 1, \"b\": [true]}", "null", "{\"a\": null, \"b\": null}"],
        ),
        (
            "m",
            "map<string,float64>",
            ["{\"k\": 1.5, \"\": null}", "null", "{}"],
        ),
        (
            "ms",
            "map<string,struct<x: int32>>",
            ["{\"k\": {\"x\": 1}}", "null", "{\"k\": null}"],
        ),
        ("j", "json", ["\"{\\\"a\\\": 1}\"", "null", "\"[]\""]),
    ];
    let schema = schema(&columns.map(|(name, data_type, _)| (name, data_type)));
    let fields: arrow_schema::Fields = schema
        .fields
        .iter()
        .map(|field| arrow_schema::Field::new(&field.name, field.data_type.to_arrow(), true))
        .collect();
    let lines: Vec<String> = (0..3)
        .map(|row| {
            let cells: Vec<_> = columns
                .iter()
                .map(|(name, _, cells)| format!("\"{name}\": {}", cells[row]))
                .collect();
            format!("{{{}}}", cells.join(", "))
        })
        .collect();
    let arrow_schema = Arc::new(arrow_schema::Schema::new(fields));
    let batch: RecordBatch = arrow_json::ReaderBuilder::new(arrow_schema)
        .build(lines.join("\n").as_bytes())
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    (schema, batch.columns().to_vec())
}

#[test]
fn every_type_round_trips() {
    let (schema, arrays) = every_type();
    let back = decode_all(&schema, &schema, &encode_all(&schema, &arrays)).unwrap();
    for (field, (before, after)) in schema.fields.iter().zip(arrays.iter().zip(&back)) {
        assert_eq!(before.as_ref(), after.as_ref(), "{}", field.name);
    }
}

#[test]
fn what_is_assembled_is_what_is_packed_at_once() {
    let (schema, arrays) = every_type();
    let layout = Layout::of(schema.fields.iter().map(|field| &field.data_type));
    let pack = |arrays: &[ArrayRef]| {
        let rows = encode_all(&schema, arrays);
        let columns: Vec<_> = (0..schema.fields.len()).collect();
        let decoder = RowDecoder::try_new(&schema, &schema, &layout, &columns).unwrap();
        let mut packer = Packer::new(&layout, rows.len());
        for (position, row) in rows.iter().enumerate() {
            let body = StoredRow::parse(row).unwrap().body;
            decoder.decode(body, position, &mut packer).unwrap();
        }
        packer.finish().unwrap()
    };
    for sliced in [0, 1] {
        let arrays: Vec<ArrayRef> = arrays.iter().map(|array| array.slice(sliced, 2)).collect();
        let packed = pack(&arrays);
        // Backwards, each feature twice: as it is packed, and as an array.
        let features: Vec<usize> = (0..arrays.len())
            .rev()
            .flat_map(|feature| [feature, feature])
            .collect();
        let to = Layout::of(features.iter().map(|feature| &schema.fields[*feature].data_type));
        for which in [0, 1] {
            let parts: Vec<Part<'_>> = features
                .iter()
                .enumerate()
                .map(|(at, feature)| match at % 2 == which {
                    true => Part::Packed(*feature),
                    false => Part::Array(&arrays[*feature]),
                })
                .collect();
            let mut new = packed.assemble(&layout, &to, &parts).unwrap();
            assert_eq!(new.check(&to), Ok(()));
            for (column, feature) in features.iter().enumerate() {
                let array = new.array(&to, column).unwrap();
                assert_eq!(
                    array.as_ref(),
                    arrays[*feature].as_ref(),
                    "{}",
                    schema.fields[*feature].name
                );
                assert_eq!(new.codes_of(column), packed.codes_of(*feature));
            }
        }
    }
    // Other types, other lengths, fewer parts.
    let packed = pack(&arrays);
    let refused = [
        vec![Part::Packed(0), Part::Packed(0)],
        vec![Part::Array(&arrays[1]), Part::Packed(1)],
        vec![Part::Packed(0)],
        vec![Part::Packed(0), Part::Packed(99)],
    ];
    let to = Layout::of([&DataType::Bool, &DataType::Int32]);
    for parts in refused {
        assert_eq!(
            packed.assemble(&layout, &to, &parts).err(),
            Some(RowCorrupt::Body),
            "{parts:?}"
        );
    }
    let short = arrays[0].slice(0, 2);
    let parts = [Part::Array(&short), Part::Packed(1)];
    assert_eq!(
        packed.assemble(&layout, &to, &parts).err(),
        Some(RowCorrupt::Body)
    );
}

#[test]
fn every_subset_of_fields_skips_the_others() {
    let (schema, arrays) = every_type();
    let rows = encode_all(&schema, &arrays);
    for (at, field) in schema.fields.iter().enumerate() {
        let wanted = RowSchema {
            fields: vec![field.clone()],
        };
        let back = decode_all(&schema, &wanted, &rows).unwrap();
        assert_eq!(back[0].as_ref(), arrays[at].as_ref(), "{}", field.name);
    }
}

#[test]
fn sliced_arrays_are_written_by_their_own_rows() {
    let (schema, arrays) = every_type();
    let sliced: Vec<_> = arrays.iter().map(|array| array.slice(1, 2)).collect();
    let back = decode_all(&schema, &schema, &encode_all(&schema, &sliced)).unwrap();
    for (before, after) in sliced.iter().zip(&back) {
        assert_eq!(before.as_ref(), after.as_ref());
    }
}

#[test]
fn a_row_is_read_through_the_schema_that_wrote_it() {
    let written = schema(&[("a", "int64"), ("gone", "string"), ("b", "float64")]);
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![1])),
        Arc::new(StringArray::from(vec!["x"])),
        Arc::new(Float64Array::from(vec![2.5])),
    ];
    let rows = encode_all(&written, &arrays);
    let wanted = schema(&[("b", "float64"), ("new", "bool"), ("a", "int64")]);
    let back = decode_all(&written, &wanted, &rows).unwrap();
    assert_eq!(back[0].as_primitive::<Float64Type>().value(0), 2.5);
    assert!(back[1].is_null(0));
    assert_eq!(back[2].as_primitive::<Int64Type>().value(0), 1);

    let text = schema(&[("a", "string")]);
    let layout = Layout::of(text.fields.iter().map(|field| &field.data_type));
    let retyped = RowDecoder::try_new(&written, &text, &layout, &[0]).unwrap_err();
    assert_eq!(
        retyped.to_string(),
        "feature \"a\" is stored as int64 and asked for as string"
    );
}

#[test]
fn the_header_is_as_documented() {
    let schema = schema(&[("a", "bool")]);
    let arrays: Vec<ArrayRef> = vec![Arc::new(arrow_array::BooleanArray::from(vec![Some(true), None]))];
    let rows = encode_all(&schema, &arrays);
    let mut expected = Vec::new();
    expected.extend([0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfb]);
    expected.extend([0x80, 0, 0, 0, 0, 0, 0, 7]);
    expected.extend([0, 0, 0, 0, 0, 0, 0, 9]);
    expected.extend([3, 0, 0, 0]);
    expected.extend([0, 0, 1]);
    assert_eq!(rows[0][..31], expected);
    assert_eq!(rows[0].len(), 35);
    let second = StoredRow::parse(&rows[1]).unwrap();
    assert_eq!(
        (second.order, second.schema_version, second.deleted),
        (ORDER, 3, true)
    );
    assert_eq!(second.body, [1]);
}

#[test]
fn every_flipped_bit_and_every_cut_is_noticed() {
    let (schema, arrays) = every_type();
    let row = encode_all(&schema, &arrays).swap_remove(0);
    for at in 0..row.len() {
        for bit in 0..8 {
            let mut damaged = row.clone();
            damaged[at] ^= 1 << bit;
            assert_eq!(StoredRow::parse(&damaged), Err(RowCorrupt::Checksum));
        }
        assert!(StoredRow::parse(&row[..at]).is_err());
    }
}

proptest! {
    #[test]
    fn no_body_makes_the_decoder_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let (schema, _) = every_type();
        let layout = Layout::of(schema.fields.iter().map(|field| &field.data_type));
        let columns: Vec<_> = (0..schema.fields.len()).collect();
        let decoder = RowDecoder::try_new(&schema, &schema, &layout, &columns).unwrap();
        let mut packer = Packer::new(&layout, 1);
        let _ = decoder.decode(&body, 0, &mut packer);
        let nothing = RowDecoder::try_new(&schema, &RowSchema::default(), &Layout::default(), &[]).unwrap();
        let _ = nothing.decode(&body, 0, &mut Packer::new(&Layout::default(), 1));
    }
}
