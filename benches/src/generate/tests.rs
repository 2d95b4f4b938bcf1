use std::collections::{BTreeMap, BTreeSet};

use arrow::array::AsArray;
use arrow::compute::concat_batches;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;

fn small() -> Spec {
    Spec {
        rows: 40_000,
        keys: 2_000,
        spine_rows: 5_000,
        files: 4,
        seed: 7,
        key: KeyKind::Int64,
        once: false,
    }
}

fn read(path: &Path) -> RecordBatch {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap())
        .unwrap()
        .build()
        .unwrap();
    let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    concat_batches(&batches[0].schema(), &batches).unwrap()
}

/// The event files in byte order of their names, as a source reads them.
fn events(project: &Path) -> Vec<RecordBatch> {
    files(project)
        .into_iter()
        .filter(|(path, _)| path.contains("part-"))
        .map(|(path, _)| read(&project.join(path)))
        .collect()
}

fn files(project: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![project.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(project).unwrap().to_str().unwrap().to_string();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    found
}

fn ints(batch: &RecordBatch, column: &str) -> Vec<i64> {
    let array = batch.column_by_name(column).unwrap();
    array.as_primitive::<Int64Type>().values().to_vec()
}

fn times(batch: &RecordBatch, column: &str) -> Vec<i64> {
    let array = batch.column_by_name(column).unwrap();
    array.as_primitive::<TimestampMicrosecondType>().values().to_vec()
}

#[test]
fn rows_are_cut_evenly_and_stand_in_event_order_across_files() {
    let dir = tempfile::tempdir().unwrap();
    generate(dir.path(), &small()).unwrap();
    let files = events(dir.path());
    assert_eq!(
        files.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(),
        [10_000; 4]
    );
    let all: Vec<i64> = files.iter().flat_map(|file| times(file, "event_time")).collect();
    assert!(all.is_sorted());
    // 2024-01-01T00:00:00Z and ninety days later.
    assert!(all[0] >= 1_704_067_200_000_000);
    assert!(all[39_999] < 1_711_843_200_000_000);
    assert!(all[39_999] > 1_711_843_200_000_000 - 86_400_000_000);
    assert_eq!(files[0].num_columns(), 12);
    let nulls = |column: &str| -> usize {
        files
            .iter()
            .map(|f| f.column_by_name(column).unwrap().null_count())
            .sum()
    };
    assert!((600..1_000).contains(&nulls("f7")), "2 % of 40,000");
    assert!((1_700..2_300).contains(&nulls("n1")), "5 % of 40,000");
    assert_eq!(nulls("f0") + nulls("n0"), 0);
}

#[test]
fn one_key_in_a_hundred_has_a_fifth_of_the_rows() {
    let dir = tempfile::tempdir().unwrap();
    generate(dir.path(), &small()).unwrap();
    let mut rows = BTreeMap::new();
    for key in events(dir.path()).iter().flat_map(|file| ints(file, "user_id")) {
        *rows.entry(key.cast_unsigned()).or_insert(0_u64) += 1;
    }
    assert_eq!(rows.len(), 2_000, "with 16 rows a cold key, none is left out");
    let hot: Vec<u64> = rows.keys().copied().filter(|key| keys::is_hot(*key)).collect();
    assert_eq!(hot.len(), 20);
    let share: u64 = hot.iter().map(|key| rows[key]).sum();
    // 8,000 expected, standard deviation 80.
    assert!((7_600..8_400).contains(&share), "{share} rows of hot keys");
}

#[test]
fn the_spine_asks_for_known_and_unknown_keys_when_there_is_history() {
    let dir = tempfile::tempdir().unwrap();
    let generated = generate(dir.path(), &small()).unwrap();
    let spine = read(&generated.spine);
    assert_eq!(ints(&spine, "row_id"), (0..5_000).collect::<Vec<i64>>());
    let unknown = ints(&spine, "user_id")
        .iter()
        .filter(|key| **key >= 2_000)
        .count();
    assert!((20..90).contains(&unknown), "{unknown} unknown keys, of about 50");
    let asked = times(&spine, "event_timestamp");
    assert!(!asked.is_sorted());
    // 2024-01-11T00:00:00Z to 2024-03-31T00:00:00Z.
    assert!(
        asked
            .iter()
            .all(|t| (1_704_931_200_000_000..1_711_843_200_000_000).contains(t))
    );
}

#[test]
fn a_spine_asks_for_few_keys_or_for_one_day() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spine.parquet");
    let asked = |asks| {
        write_spine(&path, &small(), asks).unwrap();
        let spine = read(&path);
        assert_eq!(ints(&spine, "row_id"), (0..5_000).collect::<Vec<i64>>());
        let keys: BTreeSet<i64> = ints(&spine, "user_id").into_iter().collect();
        (keys, times(&spine, "event_timestamp"))
    };
    let (few, any_time) = asked(Asks::Keys(10));
    assert!(
        (8..=10).contains(&few.len()),
        "{few:?}: ten, but that two may be the same"
    );
    assert!(few.iter().all(|key| *key < 2_000), "{few:?} are known");
    let (many, one_day) = asked(Asks::Day);
    assert!(many.len() > 1_000, "{} keys", many.len());
    // 2024-03-01T00:00:00Z, sixty days after the start of a leap year, and a day later.
    assert!(
        one_day
            .iter()
            .all(|t| (1_709_251_200_000_000..1_709_337_600_000_000).contains(t))
    );
    assert!(any_time.iter().any(|t| *t < 1_706_000_000_000_000));
}

#[test]
fn the_same_spec_gives_the_same_bytes_and_another_seed_others() {
    let bytes = |spec: &Spec| {
        let dir = tempfile::tempdir().unwrap();
        generate(dir.path(), spec).unwrap();
        files(dir.path())
    };
    let first = bytes(&small());
    assert_eq!(first.len(), 4 + 1 + 3);
    assert_eq!(first, bytes(&small()));
    let other = bytes(&Spec { seed: 8, ..small() });
    assert_ne!(first["data/spine.parquet"], other["data/spine.parquet"]);
    assert_ne!(
        first["data/events/part-00000.parquet"],
        other["data/events/part-00000.parquet"]
    );
}

#[test]
fn the_rows_do_not_depend_on_the_number_of_files() {
    let rows = |files: u64| {
        let dir = tempfile::tempdir().unwrap();
        generate(dir.path(), &Spec { files, ..small() }).unwrap();
        let batches = events(dir.path());
        concat_batches(&batches[0].schema(), &batches).unwrap()
    };
    assert_eq!(rows(4), rows(7));
}

#[test]
fn keys_of_every_kind_tell_the_same_entities_apart() {
    let distinct = |key: KeyKind| {
        let dir = tempfile::tempdir().unwrap();
        generate(dir.path(), &Spec { key, ..small() }).unwrap();
        let count = key.columns().len();
        let tuples: BTreeSet<String> = events(dir.path())
            .iter()
            .flat_map(|file| {
                let keys = file.project(&(0..count).collect::<Vec<_>>()).unwrap();
                let text = arrow::util::pretty::pretty_format_batches(&[keys])
                    .unwrap()
                    .to_string();
                text.lines().skip(3).map(String::from).collect::<Vec<_>>()
            })
            .filter(|line| line.starts_with('|'))
            .collect();
        tuples.len()
    };
    assert_eq!(distinct(KeyKind::Int64), 2_000);
    assert_eq!(distinct(KeyKind::String), 2_000);
    assert_eq!(distinct(KeyKind::Composite), 2_000);
}

#[test]
fn a_set_that_is_there_is_used_again_and_another_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let project = dir.path().join("set");
    assert!(!generate(&project, &small()).unwrap().reused);
    let before = files(&project);
    assert!(generate(&project, &small()).unwrap().reused);
    let error = generate(&project, &Spec { seed: 8, ..small() }).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{} is not empty and holds another set, or half of one: name another directory",
            project.display()
        )
    );
    assert_eq!(files(&project), before);
}

#[test]
fn specs_that_make_no_sense_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let check = |spec: Spec, expect: &str| {
        let error = generate(dir.path(), &spec).unwrap_err();
        assert_eq!(error.to_string(), expect);
    };
    check(
        Spec { keys: 150, ..small() },
        "keys must be a multiple of 100, since one in a hundred is hot; got 150",
    );
    check(
        Spec { files: 0, ..small() },
        "files must be at least 1 and at most as many as the 40000 rows; got 0",
    );
    check(
        Spec {
            files: 2,
            rows: 1,
            ..small()
        },
        "files must be at least 1 and at most as many as the 1 rows; got 2",
    );
    check(
        Spec {
            once: true,
            ..small()
        },
        "for every key once there must be as many rows, and no multiple of 7919; got 40000 rows of 2000 keys",
    );
    check(
        Spec {
            rows: 7_776_000_000_001,
            ..small()
        },
        "rows must be at most 7776000000000, one a microsecond; got 7776000000001",
    );
}
