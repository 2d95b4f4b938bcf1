//! Messages of streams: every row of every one, and what is wrong with the others, however they are cut.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int32Array, Int64Array, NullArray, RecordBatch, StringArray,
    TimestampMillisecondArray,
};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow::ipc::writer::StreamWriter;
use asof_core::definition::{AvroFraming, MessageFormat};
use asof_core::time::Timestamp;
use asof_offline::{MessageReader, PushReader, PushedMessages};
use proptest::prelude::*;

use crate::project::{Project, batch, managed};

/// 2026-01-01T00:00:00Z.
pub(crate) const NOW: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

const SCHEMA: &str = r#"{ "type": "record", "name": "click", "fields": [
    { "name": "user", "type": "long" },
    { "name": "at", "type": { "type": "long", "logicalType": "timestamp-micros" } },
    { "name": "amount", "type": ["null", "double"] },
    { "name": "note", "type": ["null", "string"] } ] }"#;

/// The CRC-64-AVRO of the schema, as fastavro works it out.
const FINGERPRINT: [u8; 8] = [0x2e, 0x7a, 0x6a, 0x87, 0x0b, 0x76, 0xb0, 0x54];

/// A row: user, seconds before now, amount, note.
pub(crate) type Row = (i64, i64, Option<f64>, Option<&'static str>);

pub(crate) const ROWS: [Row; 4] = [
    (1, 10, Some(0.5), Some("a")),
    (-7, 20, None, None),
    (i64::MIN, 3_000, Some(-0.0), Some("")),
    (i64::MAX, 0, Some(f64::MAX), Some("ünïcode")),
];

pub(crate) async fn reader() -> PushReader {
    let source = managed(
        "clicks",
        &[
            ("user", "int64"),
            ("at", "timestamp"),
            ("amount", "float64"),
            ("note", "string"),
        ],
        None,
    );
    let mut project = Project::new();
    project.source(source.clone());
    project.engine().push_reader(&source, &[]).await.unwrap()
}

fn at(ago: i64) -> Timestamp {
    Timestamp::from_micros(NOW.micros() - ago * 1_000_000)
}

pub(crate) fn json((user, ago, amount, note): &Row) -> Vec<u8> {
    let amount = amount.map_or("null".into(), |amount| format!("{amount:?}"));
    let note = note.map_or("null".into(), |note| format!("{note:?}"));
    let at = at(*ago);
    format!("{{\"user\": {user}, \"at\": \"{at}\", \"amount\": {amount}, \"note\": {note}}}").into_bytes()
}

/// A number as Avro writes it: zigzag, seven bits a byte, the last byte without its highest bit.
fn long(number: i64, into: &mut Vec<u8>) {
    let mut left = ((number << 1) ^ (number >> 63)) as u64;
    while left >= 0x80 {
        into.push((left & 0x7f) as u8 | 0x80);
        left >>= 7;
    }
    into.push(left as u8);
}

/// A record as the specification of Avro says: a union is the number of its branch, and what that holds.
pub(crate) fn avro((user, ago, amount, note): &Row) -> Vec<u8> {
    let mut bytes = Vec::new();
    long(*user, &mut bytes);
    long(at(*ago).micros(), &mut bytes);
    long(i64::from(amount.is_some()), &mut bytes);
    bytes.extend(amount.iter().flat_map(|amount| amount.to_le_bytes()));
    long(i64::from(note.is_some()), &mut bytes);
    if let Some(note) = note {
        long(note.len() as i64, &mut bytes);
        bytes.extend_from_slice(note.as_bytes());
    }
    bytes
}

pub(crate) fn arrow(rows: &[Row], narrow: bool) -> Vec<u8> {
    let users: ArrayRef = match narrow {
        true => Arc::new(rows.iter().map(|row| row.0 as i32).collect::<Int32Array>()),
        false => Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>()),
    };
    let times = rows.iter().map(|row| at(row.1).micros() / 1_000);
    let columns: Vec<(&str, ArrayRef)> = vec![
        (
            "note",
            Arc::new(rows.iter().map(|row| row.3).collect::<StringArray>()),
        ),
        ("user", users),
        (
            "at",
            Arc::new(TimestampMillisecondArray::from_iter_values(times).with_timezone("UTC")),
        ),
        (
            "amount",
            Arc::new(rows.iter().map(|row| row.2).collect::<Float64Array>()),
        ),
    ];
    stream(&batch(columns))
}

fn stream(batch: &RecordBatch) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(batch).unwrap();
    writer.into_inner().unwrap()
}

/// The rows that were taken, and of each that was not its message, its row and the reason.
#[derive(Debug, Default, PartialEq)]
struct Read {
    rows: Vec<(i64, i64, Option<u64>, Option<String>)>,
    refused: Vec<(usize, Option<usize>, String)>,
    pieces: usize,
}

fn read(reader: &PushReader, format: &MessageReader, payloads: &[Option<Vec<u8>>]) -> Read {
    let payloads: Vec<Option<&[u8]>> = payloads.iter().map(Option::as_deref).collect();
    let pieces = reader.read_messages(format, &payloads, NOW).unwrap();
    let mut read = Read {
        pieces: pieces.len(),
        ..Read::default()
    };
    let mut before = 0;
    for PushedMessages {
        messages,
        rows,
        refused,
    } in pieces
    {
        let batch = rows.numbered(0).unwrap();
        let users = batch.column(0).as_primitive::<Int64Type>();
        let times = batch.column(1).as_primitive::<TimestampMicrosecondType>();
        let amounts = batch.column(2).as_primitive::<Float64Type>();
        let notes = batch.column(3).as_string::<i32>();
        for row in 0..batch.num_rows() {
            let amount = amounts.is_valid(row).then(|| amounts.value(row).to_bits());
            let note = notes.is_valid(row).then(|| notes.value(row).to_owned());
            read.rows.push((users.value(row), times.value(row), amount, note));
        }
        read.refused.extend(
            refused
                .into_iter()
                .map(|refused| (before + refused.message, refused.row, refused.reason)),
        );
        before += messages;
    }
    assert_eq!(before, payloads.len(), "every message is in a piece");
    read
}

fn expected(rows: &[Row]) -> Vec<(i64, i64, Option<u64>, Option<String>)> {
    let row = |(user, ago, amount, note): &Row| {
        (
            *user,
            at(*ago).micros(),
            amount.map(f64::to_bits),
            note.map(str::to_owned),
        )
    };
    rows.iter().map(row).collect()
}

pub(crate) fn avro_of(framing: AvroFraming) -> MessageReader {
    let schema = SCHEMA.to_owned();
    MessageReader::new(&MessageFormat::Avro { schema, framing }).unwrap()
}

/// What every format refuses, and what is refused of it alone.
fn check_refusals(
    reader: &PushReader,
    format: &MessageReader,
    good: &[Vec<u8>],
    bad: &[(Option<Vec<u8>>, &str)],
) {
    let mut payloads: Vec<Option<Vec<u8>>> = Vec::new();
    for (place, (bad, _)) in bad.iter().enumerate() {
        payloads.push(Some(good[place % good.len()].clone()));
        payloads.push(bad.clone());
    }
    let read = read(reader, format, &payloads);
    let rows: Vec<Row> = (0..bad.len()).map(|place| ROWS[place % good.len()]).collect();
    assert_eq!(read.rows, expected(&rows), "{:?}", read.refused);
    assert_eq!(read.refused.len(), bad.len(), "{:?}", read.refused);
    for ((message, _, told), (place, (_, reason))) in read.refused.iter().zip(bad.iter().enumerate()) {
        assert_eq!(*message, place * 2 + 1);
        assert!(told.contains(reason), "{told:?} {reason:?}");
    }
}

#[tokio::test]
async fn json_objects_are_read_and_others_refused() {
    let reader = reader().await;
    let good: Vec<Vec<u8>> = ROWS.iter().map(json).collect();
    let many = [&good[0][..], b"\n\n ", &good[1], b"\n"].concat();
    let pretty = String::from_utf8(good[2].clone()).unwrap().replace(", ", ",\n  ");
    let payloads = [many, pretty.into_bytes(), good[3].clone()].map(Some);
    let several = read(&reader, &MessageReader::Json, &payloads);
    assert_eq!(several.rows, expected(&ROWS));
    let text = |text: &str| Some(text.as_bytes().to_vec());
    check_refusals(
        &reader,
        &MessageReader::Json,
        &good,
        &[
            (None, "has no payload"),
            (text(""), "holds no row"),
            (text(" \n\n"), "holds no row"),
            (text("[1]"), "is not one JSON object"),
            (text("{} {}"), "is not one JSON object"),
            (text("{\"user\":\n1"), "is not JSON: EOF while parsing"),
            (Some(vec![b'{', 0xff]), "is not UTF-8 at byte 1"),
            (
                text(&"[\n".repeat(10_000)),
                "is not JSON: EOF while parsing a list",
            ),
            (text("{\"user\": 1}"), "has no \"at\""),
            (
                Some(good[0].iter().chain(b"x").copied().collect()),
                "trailing characters",
            ),
        ],
    );
    // Of a message of several rows those that are bad are refused.
    let mixed = [&good[0][..], b"\n{}\n", &good[1], b"\n1"].concat();
    let mixed = read(&reader, &MessageReader::Json, &[Some(mixed)]);
    assert_eq!(mixed.rows, expected(&ROWS[..2]));
    let places: Vec<_> = mixed
        .refused
        .iter()
        .map(|refused| (refused.0, refused.1))
        .collect();
    assert_eq!(places, [(0, Some(1)), (0, Some(3))]);
}

#[tokio::test]
async fn avro_records_are_read_and_others_refused() {
    let reader = reader().await;
    let good: Vec<Vec<u8>> = ROWS.iter().map(avro).collect();
    let cut = |bytes: &[u8]| Some(bytes[..bytes.len() - 1].to_vec());
    let framed = |header: &[u8]| -> Vec<Vec<u8>> {
        let with = |record: &Vec<u8>| [header, record].concat();
        good.iter().map(with).collect()
    };
    check_refusals(
        &reader,
        &avro_of(AvroFraming::None),
        &good,
        &[
            (None, "has no payload"),
            (Some(Vec::new()), "ends before its record does"),
            (cut(&good[0]), "ends before its record does"),
            (Some(vec![0x80; 40]), "is no record of the schema"),
            (
                Some([&good[1][..], &[0]].concat()),
                "has 1 bytes behind its record",
            ),
            (Some([&good[1][..], &good[1]].concat()), "bytes behind its record"),
            // The third branch of a union of two.
            (
                Some([&good[1][..good[1].len() - 1], &[4]].concat()),
                "is no record of the schema",
            ),
            // A text of -1 bytes, and one of more than there are.
            (
                Some([&good[1][..good[1].len() - 1], &[2, 1]].concat()),
                "is no record of the schema",
            ),
            (
                Some([&good[1][..good[1].len() - 1], &[2, 0x7e]].concat()),
                "ends before its record does",
            ),
        ],
    );
    let plain = good[0].clone();
    check_refusals(
        &reader,
        &avro_of(AvroFraming::Confluent(7)),
        &framed(&[0, 0, 0, 0, 7]),
        &[
            (
                Some(plain.clone()),
                "does not begin with the 5 bytes that name its schema",
            ),
            (
                Some([&[0, 0, 0, 0, 8][..], &plain].concat()),
                "does not begin with the 5 bytes",
            ),
            (Some(vec![0, 0, 0]), "does not begin with the 5 bytes"),
        ],
    );
    let header = [&[0xc3, 0x01][..], &FINGERPRINT].concat();
    check_refusals(
        &reader,
        &avro_of(AvroFraming::SingleObject),
        &framed(&header),
        &[
            (Some(plain.clone()), "does not begin with the 10 bytes"),
            (
                Some([&[0xc3, 0x01, 1, 2, 3, 4, 5, 6, 7, 8][..], &plain].concat()),
                "does not begin with the 10 bytes",
            ),
        ],
    );
    let no_schema = MessageReader::new(&MessageFormat::Avro {
        schema: "{\"type\": \"nothing\"}".into(),
        framing: AvroFraming::None,
    });
    assert!(
        no_schema
            .unwrap_err()
            .to_string()
            .starts_with("the Avro schema: ")
    );
}

#[tokio::test]
async fn arrow_streams_are_read_and_others_refused() {
    let reader = reader().await;
    let good: Vec<Vec<u8>> = ROWS.iter().map(|row| arrow(&[*row], false)).collect();
    let garbage = b"garbage that is no stream".to_vec();
    check_refusals(
        &reader,
        &MessageReader::Arrow,
        &good,
        &[
            (None, "has no payload"),
            (Some(Vec::new()), "the Arrow IPC stream cannot be read"),
            (Some(garbage), "the Arrow IPC stream cannot be read"),
            (Some(arrow(&[], false)), "holds no row"),
            (
                Some(stream(&batch(vec![(
                    "user",
                    Arc::new(Int64Array::from(vec![1])) as ArrayRef,
                )]))),
                "column \"at\" of source clicks is missing",
            ),
        ],
    );
    // Columns of other types are another piece, in the same order.
    let rows = [ROWS[0], ROWS[1]];
    let mixed = [
        arrow(&rows, false),
        arrow(&rows[..1], true),
        arrow(&rows, true),
        arrow(&rows[1..], false),
    ];
    let mixed = read(&reader, &MessageReader::Arrow, &mixed.map(Some));
    assert_eq!(mixed.pieces, 3);
    assert_eq!(
        mixed.rows,
        expected(&[ROWS[0], ROWS[1], ROWS[0], ROWS[0], ROWS[1], ROWS[1]])
    );
    assert_eq!(mixed.refused, []);
}

#[tokio::test]
async fn however_many_are_bad_the_good_ones_are_taken() {
    let reader = reader().await;
    let mut payloads = Vec::new();
    let mut good = Vec::new();
    for number in 0..2_500 {
        let row = ROWS[number % 4];
        if number % 3 == 0 {
            good.push(row);
            payloads.push(Some(json(&row)));
        } else {
            payloads.push(Some(
                b"{\"user\": 1, \"at\": null, \"amount\": 1, \"note\": null}".to_vec(),
            ));
        }
    }
    let read_them = read(&reader, &MessageReader::Json, &payloads);
    assert_eq!(read_them.rows, expected(&good));
    assert_eq!(read_them.refused.len(), 2_500 - good.len());
    // A message of more bad rows than are told one by one is refused whole.
    let lines = payloads
        .iter()
        .flatten()
        .map(|line| String::from_utf8_lossy(line).into_owned() + "\n");
    let whole = read(
        &reader,
        &MessageReader::Json,
        &[Some(lines.collect::<String>().into_bytes())],
    );
    assert_eq!((whole.rows.len(), whole.refused.len()), (0, 1));
    assert_eq!(whole.refused[0].1, None);
    assert!(
        whole.refused[0].2.starts_with("more than 100 rows are bad"),
        "{:?}",
        whole.refused
    );
    assert_eq!(read(&reader, &MessageReader::Json, &[]).rows, []);
}

/// A short message may say that it has any number of rows, and a row may have a reason of any length.
#[tokio::test]
async fn what_a_message_takes_is_bounded() {
    let reader = reader().await;
    let nulls = |rows: usize| {
        let columns =
            ["user", "at", "amount", "note"].map(|name| (name, Arc::new(NullArray::new(rows)) as ArrayRef));
        Some(stream(&batch(columns.to_vec())))
    };
    let many = read(
        &reader,
        &MessageReader::Arrow,
        &[nulls(2_000_000_000), Some(arrow(&ROWS, false))],
    );
    assert_eq!(many.rows, expected(&ROWS));
    let reason = "holds 2000000000 rows, a message has at most 10000".to_owned();
    assert_eq!(many.refused, [(0, None, reason)]);
    let line = String::from_utf8(json(&ROWS[0])).unwrap() + "\n";
    let lines = |rows: usize| Some(line.repeat(rows).into_bytes());
    let many = read(
        &reader,
        &MessageReader::Json,
        &[lines(10_001), lines(6_000), lines(10_000), lines(5_000)],
    );
    assert_eq!((many.rows.len(), many.refused.len()), (21_000, 1));
    assert!(many.pieces > 2, "they are too many for one piece");
    let long: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let long = stream(&batch(vec![("é".repeat(100_000).as_str(), long)]));
    let refused = read(&reader, &MessageReader::Arrow, &[Some(long)]).refused;
    assert!(
        refused[0].2.len() < 600 && refused[0].2.ends_with('…'),
        "{}",
        refused[0].2
    );
}

proptest! {
    /// Whatever bytes messages have: those that are read alone are what all of them give together, and nothing panics.
    #[test]
    fn messages_alone_are_what_they_are_together(
        kinds in prop::collection::vec((0..8_usize, prop::collection::vec(any::<u8>(), 0..24)), 1..24),
        framing in prop_oneof![Just(None), Just(Some(AvroFraming::None)), Just(Some(AvroFraming::Confluent(3)))],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let reader = runtime.block_on(reader());
        let format = framing.map_or(MessageReader::Json, avro_of);
        let payloads: Vec<Option<Vec<u8>>> = kinds.iter().map(|(kind, bytes)| {
            let good = match framing {
                None => json(&ROWS[kind % 4]),
                Some(AvroFraming::Confluent(_)) => [&[0, 0, 0, 0, 3][..], &avro(&ROWS[kind % 4])].concat(),
                Some(_) => avro(&ROWS[kind % 4]),
            };
            match kind {
                0..5 => Some(good),
                5 => Some(bytes.clone()),
                // A good one that was damaged.
                6 => Some(good.iter().zip(bytes.iter().chain(std::iter::repeat(&0))).map(|(a, b)| a ^ (b & 1)).collect()),
                _ => None,
            }
        }).collect();
        let together = read(&reader, &format, &payloads);
        let (mut rows, mut refused) = (Vec::new(), Vec::new());
        for (place, payload) in payloads.iter().enumerate() {
            let alone = read(&reader, &format, std::slice::from_ref(payload));
            rows.extend(alone.rows);
            refused.extend(alone.refused.into_iter().map(|(_, row, reason)| (place, row, reason)));
        }
        prop_assert_eq!(together.rows, rows);
        prop_assert_eq!(together.refused, refused);
    }
}
