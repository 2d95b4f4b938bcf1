//! What is left unread answers nothing: few keys, asked of many rows in small row groups and pages, against the
//! reference.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
use asof_core::data_type::{DataType, KeyType};
use asof_core::duration::Duration;
use asof_core::key::KeyValue;
use asof_core::reference::{HistoryRow, Rules, as_of};
use asof_core::time::Timestamp;
use asof_offline::Strategy;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use crate::contract::{check_event_times, check_feature};
use crate::history::{Key, key_array};
use crate::project::{Ask, Project, batch, in_place, read};
use crate::random::{Random, cases, each_seed};

const ROWS: usize = 400;
/// Distinct values of a key column, at most.
const VALUES: usize = 60;
/// Instants, in microseconds.
const INSTANTS: usize = 300;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_unread_answers_nothing() {
    let projects = cases(300);
    let unread: u64 = each_seed(projects, check).await.into_iter().sum();
    // Where nothing is left unread, this proves nothing.
    if projects > 50 {
        assert!(
            unread > (projects * ROWS / 8) as u64,
            "{unread} of {projects} × {ROWS}"
        );
    }
}

/// How many rows were left unread.
async fn check(mut random: Random) -> u64 {
    let random = &mut random;
    let key_types = key_types(random);
    let rows = rows(&key_types, random);
    let mut project = Project::new();
    project.set_strategy(Strategy::Indexed);
    let names: Vec<String> = (0..key_types.len()).map(|place| format!("k{place}")).collect();
    let types: Vec<String> = key_types.iter().map(ToString::to_string).collect();
    let keys: Vec<(&str, &str)> = names
        .iter()
        .zip(&types)
        .map(|(name, text)| (&**name, &**text))
        .collect();
    let cut = random.below(ROWS);
    for (file, rows) in [("a", &rows[..cut]), ("b", &rows[cut..])] {
        let path = project.path(&format!("s/{file}.parquet"));
        write(&path, &arrays(&key_types, rows, "at", true), random);
    }
    let ttl = random.pick(&[None, Some(1), Some(40)]);
    let ttl = ttl.map(|micros| Duration::from_micros(micros).unwrap());
    project.entity("thing", &keys).source(in_place("s", "s")).view(
        "v",
        "thing",
        "s",
        ttl,
        &[("stamp", "int64")],
    );

    let questions: Vec<HistoryRow<usize>> = questions(&rows, &key_types, random);
    let (spine, out) = (project.path("spine.parquet"), project.path("out.parquet"));
    write(
        &spine,
        &arrays(&key_types, &questions, "event_timestamp", false),
        random,
    );
    let ask = Ask {
        status: true,
        ..Ask::default()
    };
    let summary = project
        .extract(&project.plan(&["v:stamp"]), &spine, &out, &ask)
        .await
        .unwrap();
    let rules = Rules {
        ttl,
        as_corrected: false,
    };
    let answers: Vec<_> = questions
        .iter()
        .map(|question| as_of(&rows, &question.keys, question.event_time.unwrap(), rules))
        .collect();
    let found = read(&out);
    let stamps: ArrayRef = Arc::new((0..ROWS as i64).collect::<Int64Array>());
    check_feature(&stamps, &answers, &found, "v__stamp");
    check_event_times(&answers, found.column_by_name("v__event_time").unwrap());
    let view = &summary.views[0];
    assert_eq!(
        view.source_rows + view.skipped_rows + view.unread_rows,
        ROWS as u64
    );
    view.unread_rows
}

fn key_types(random: &mut Random) -> Vec<KeyType> {
    let kinds: [&[&str]; 8] = [
        &["string"],
        &["string", "int64"],
        &["int64", "string"],
        &["int64"],
        &["int32", "date"],
        &["bytes"],
        &["timestamp"],
        &["decimal(12,2)"],
    ];
    let texts = random.pick(&kinds);
    texts.iter().map(|text| KeyType::parse(text).unwrap()).collect()
}

/// A value that compares with others of its column as their numbers do not always.
fn key_value(key_type: &KeyType, number: usize) -> KeyValue {
    let signed = number as i64 - VALUES as i64 / 2;
    match key_type.data_type() {
        DataType::Int32 => KeyValue::Int32(i32::try_from(signed).unwrap()),
        DataType::Int64 => KeyValue::Int64(signed * 1_000_003),
        DataType::Date => KeyValue::Date(i32::try_from(signed).unwrap()),
        DataType::Timestamp => KeyValue::Timestamp(Timestamp::from_micros(signed)),
        DataType::Decimal { .. } => KeyValue::Decimal(i128::from(signed)),
        DataType::Bytes => KeyValue::Bytes(match number {
            0 => Vec::new(),
            number => vec![255; number / 8].into_iter().chain([number as u8]).collect(),
        }),
        DataType::String => KeyValue::String(match number % 4 {
            // Beginnings of one another; longer than the bounds that a file keeps; empty.
            0 => "a".repeat(number / 4),
            1 => format!("{}{number}", "long ".repeat(20)),
            2 => format!("{number}"),
            _ => format!("é\0{number}"),
        }),
        other => panic!("{other} is no key"),
    }
}

/// Rows in the order of acceptance, which the files keep: sorted by key, by time, or not at all.
fn rows(key_types: &[KeyType], random: &mut Random) -> Vec<HistoryRow<usize>> {
    let values = 1 + random.below(VALUES);
    let mut drawn: Vec<(Vec<usize>, usize)> = (0..ROWS)
        .map(|_| {
            let key = key_types.iter().map(|_| random.below(values)).collect();
            (key, random.below(INSTANTS))
        })
        .collect();
    match random.below(3) {
        0 => drawn.sort(),
        1 => drawn.sort_by_key(|(_, at)| *at),
        _ => {}
    }
    let row = |(seq, (key, at)): (usize, (Vec<usize>, usize))| HistoryRow {
        keys: key_types
            .iter()
            .zip(key)
            .map(|(key_type, number)| (!random.chance(1)).then(|| key_value(key_type, number)))
            .collect(),
        event_time: (!random.chance(1)).then(|| Timestamp::from_micros(at as i64)),
        created_time: None,
        seq: seq as u64,
        deleted: false,
        values: seq,
    };
    drawn.into_iter().enumerate().map(row).collect()
}

/// Few rows, of few keys, at times around those of rows.
fn questions(
    rows: &[HistoryRow<usize>],
    key_types: &[KeyType],
    random: &mut Random,
) -> Vec<HistoryRow<usize>> {
    let keys: Vec<Key> = (0..1 + random.below(3))
        .map(|_| match random.chance(80) {
            true => rows[random.below(rows.len())].keys.clone(),
            false => key_types
                .iter()
                .map(|key_type| Some(key_value(key_type, VALUES)))
                .collect(),
        })
        .collect();
    let latest = random.below(INSTANTS);
    (0..1 + random.below(6))
        .map(|number| {
            let at = if number == 0 {
                latest
            } else {
                random.below(latest + 1)
            };
            HistoryRow {
                keys: random.pick(&keys),
                event_time: Some(Timestamp::from_micros(at as i64)),
                created_time: None,
                seq: 0,
                deleted: false,
                values: 0,
            }
        })
        .collect()
}

fn arrays(key_types: &[KeyType], rows: &[HistoryRow<usize>], time: &str, stamped: bool) -> RecordBatch {
    let names: Vec<String> = (0..key_types.len()).map(|place| format!("k{place}")).collect();
    let mut columns: Vec<(&str, ArrayRef)> = Vec::new();
    for (place, (name, key_type)) in names.iter().zip(key_types).enumerate() {
        let values: Vec<_> = rows.iter().map(|row| row.keys[place].clone()).collect();
        columns.push((name, key_array(key_type, &values)));
    }
    let times = rows.iter().map(|row| row.event_time.map(Timestamp::micros));
    let times: TimestampMicrosecondArray = times.collect();
    columns.push((time, Arc::new(times.with_timezone("UTC"))));
    if stamped {
        let stamps: Int64Array = rows.iter().map(|row| row.values as i64).collect();
        columns.push(("stamp", Arc::new(stamps)));
    }
    batch(columns)
}

/// Row groups and pages of few rows, with bounds of both, of row groups alone, or of neither.
fn write(path: &Path, batch: &RecordBatch, random: &mut Random) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let page = 1 + random.below(12);
    let statistics = random.pick(&[
        EnabledStatistics::Page,
        EnabledStatistics::Page,
        EnabledStatistics::Page,
        EnabledStatistics::Chunk,
        EnabledStatistics::None,
    ]);
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(8 + random.below(120)))
        .set_data_page_row_count_limit(page)
        .set_write_batch_size(page)
        .set_statistics_enabled(statistics)
        .build();
    let file = std::fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}
