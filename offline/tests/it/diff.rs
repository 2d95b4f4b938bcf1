//! Two datasets compared: what differs, and what only looks as if it did.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, DictionaryArray, FixedSizeListArray, Float64Array, Int64Array, ListBuilder, RecordBatch,
    StringArray, StringBuilder, TimestampMicrosecondArray,
};
use arrow::datatypes::{Float32Type, Int32Type};
use asof_offline::{DiffRequest, Difference, Example, ManifestChange, Retyped, RowKey, diff};

use crate::project::{
    Ask, Project, batch, in_place, write_arrow, write_csv, write_parquet, write_parquet_groups,
};
use crate::random::{Random, cases};

fn write(path: &Path, rows: &RecordBatch) -> PathBuf {
    match path.extension().unwrap().to_str().unwrap() {
        "csv" => write_csv(path, rows),
        "arrow" => write_arrow(path, rows),
        _ => write_parquet(path, rows),
    }
    path.to_owned()
}

fn compare(a: &Path, b: &Path, keys: &[&str]) -> Difference {
    let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
    let request = DiffRequest {
        a,
        b,
        keys: &keys,
        examples: 2,
    };
    diff(&request).unwrap()
}

/// Each column that differs and in how many rows.
fn differing(difference: &Difference) -> Vec<(&str, u64)> {
    let columns = difference.compared.iter().filter(|column| column.rows > 0);
    columns
        .map(|column| (column.column.as_str(), column.rows))
        .collect()
}

fn ints(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn floats(values: &[Option<f64>]) -> ArrayRef {
    Arc::new(Float64Array::from(values.to_vec()))
}

fn texts(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// A case of rows of every plain type and places to keep them.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, columns: Vec<(&str, ArrayRef)>) -> PathBuf {
        write(&self.0.path().join(name), &batch(columns))
    }
}

fn sample(amounts: &[Option<f64>]) -> Vec<(&'static str, ArrayRef)> {
    let times = TimestampMicrosecondArray::from(vec![Some(0), None, Some(1_500_000)]);
    vec![
        ("id", ints(&[1, 2, 3])),
        ("amount", floats(amounts)),
        ("name", texts(&["a", "b, \"c\"", "ü"])),
        ("at", Arc::new(times.with_timezone("UTC"))),
    ]
}

#[test]
fn the_same_in_any_format() {
    let files = Files::new();
    let amounts = [Some(0.1), None, Some(-7.25e-12)];
    let names = ["a.parquet", "a.csv", "a.arrow"];
    let paths = names.map(|name| files.write(name, sample(&amounts)));
    for a in &paths {
        for b in &paths {
            for keys in [&[][..], &["id"][..]] {
                let difference = compare(a, b, keys);
                assert!(difference.is_same(), "{difference:?}");
                assert_eq!((difference.rows, difference.columns), ([3, 3], [4, 4]));
            }
        }
    }
    let other = [Some(0.1), None, Some(-7.250_000_000_000_001e-12)];
    for name in names {
        let other = files.write(&format!("other-{name}"), sample(&other));
        for a in &paths {
            for keys in [&[][..], &["id"][..]] {
                assert_eq!(differing(&compare(a, &other, keys)), [("amount", 1)]);
            }
        }
    }
}

#[test]
fn floats_are_the_same_where_their_bits_are_and_nan_is_nan() {
    let files = Files::new();
    let quiet = f64::NAN;
    let other = f64::from_bits(quiet.to_bits() ^ 1 ^ (1 << 63));
    assert!(other.is_nan());
    let a = [Some(quiet), Some(0.0), None, Some(1.0), Some(quiet)];
    let b = [Some(other), Some(-0.0), Some(0.0), Some(1.0), Some(1.0)];
    let list = |values: [f32; 2]| -> ArrayRef {
        let list = [Some(values.map(Some).to_vec()), None, None, None, None];
        Arc::new(FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(
            list, 2,
        ))
    };
    let nan = f32::from_bits(f32::NAN.to_bits() ^ 1);
    let a = files.write("a.parquet", vec![("x", floats(&a)), ("v", list([f32::NAN, 2.0]))]);
    let b = files.write("b.arrow", vec![("x", floats(&b)), ("v", list([nan, 2.0]))]);
    let difference = compare(&a, &b, &[]);
    assert_eq!(differing(&difference), [("x", 3)]);
    let example = |row: u64, a: &str, b: Option<String>| Example {
        rows: [row, row],
        key: vec![],
        values: [Some(a.to_owned()).filter(|a| a != "null"), b],
    };
    // Two are shown, as was asked.
    assert_eq!(
        difference.compared[0].examples,
        [example(1, "0.0", some("-0.0")), example(2, "null", some("0.0"))]
    );
    // As keys, too.
    let amounts = |key: f64| {
        vec![
            ("k", floats(&[Some(key), Some(2.0)])),
            ("x", floats(&[Some(1.0), None])),
        ]
    };
    let (a, b) = (
        files.write("key-a.parquet", amounts(quiet)),
        files.write("key-b.parquet", amounts(other)),
    );
    assert!(compare(&a, &b, &["k"]).is_same());
}

#[test]
fn nested_values_and_dictionaries() {
    let files = Files::new();
    let tags = |second: &[Option<&str>]| -> ArrayRef {
        let mut list = ListBuilder::new(StringBuilder::new());
        list.append_value([Some("x"), None]);
        list.append_value(second.iter().copied());
        list.append_null();
        Arc::new(list.finish())
    };
    let kinds = |values: [&str; 3]| -> ArrayRef { Arc::new(DictionaryArray::<Int32Type>::from_iter(values)) };
    let a = vec![("tags", tags(&[Some("y")])), ("kind", kinds(["p", "q", "p"]))];
    let b = vec![
        ("tags", tags(&[Some("y"), None])),
        ("kind", kinds(["q", "q", "p"])),
    ];
    let (a, b) = (files.write("a.parquet", a), files.write("b.parquet", b));
    assert!(compare(&a, &a, &[]).is_same());
    let difference = compare(&a, &b, &[]);
    assert_eq!(differing(&difference), [("tags", 1), ("kind", 1)]);
    assert_eq!(
        difference.compared[0].examples[0].values,
        [some("[y]"), some("[y, ]")]
    );
}

#[test]
fn columns_of_one_of_them_and_of_another_type() {
    let files = Files::new();
    let a = files.write(
        "a.parquet",
        vec![("id", ints(&[1])), ("x", ints(&[5])), ("t", texts(&["5"]))],
    );
    let b = files.write(
        "b.parquet",
        vec![("t", ints(&[5])), ("y", ints(&[5])), ("id", ints(&[1]))],
    );
    let difference = compare(&a, &b, &[]);
    assert_eq!(difference.only, [vec!["x".to_owned()], vec!["y".to_owned()]]);
    let retyped = Retyped {
        column: "t".into(),
        types: ["Utf8".into(), "Int64".into()],
    };
    assert_eq!(difference.retyped, [retyped]);
    // The text of both is 5.
    assert_eq!(differing(&difference), []);
    assert!(difference.reordered && !difference.is_same());
    let c = files.write(
        "c.csv",
        vec![("id", ints(&[1])), ("x", ints(&[5])), ("t", ints(&[5]))],
    );
    assert!(compare(&a, &c, &[]).is_same());
}

#[test]
fn rows_by_position_and_by_key() {
    let files = Files::new();
    let rows =
        |ids: &[i64], days: &[&str], x: &[i64]| vec![("id", ints(ids)), ("day", texts(days)), ("x", ints(x))];
    let a = rows(
        &[1, 1, 2, 3, 3],
        &["m", "t", "m", "m", "m"],
        &[10, 11, 12, 13, 14],
    );
    let b = rows(
        &[2, 1, 3, 3, 4, 4],
        &["m", "m", "m", "m", "m", "t"],
        &[12, 99, 13, 77, 15, 16],
    );
    let (a, b) = (files.write("a.parquet", a), files.write("b.csv", b));
    let difference = compare(&a, &b, &["id", "day"]);
    assert_eq!((difference.rows, difference.unmatched), ([5, 6], [1, 2]));
    assert_eq!(difference.repeated_keys, 1);
    assert_eq!(differing(&difference), [("x", 2)]);
    let key = |id: &str, day: &str| vec![("id".to_owned(), some(id)), ("day".to_owned(), some(day))];
    let examples = [
        ([0, 1], key("1", "m"), "10", "99"),
        ([4, 3], key("3", "m"), "14", "77"),
    ];
    let examples = examples.map(|(rows, key, a, b)| Example {
        rows,
        key,
        values: [some(a), some(b)],
    });
    assert_eq!(difference.compared[2].examples, examples);
    let only = |row: u64, id: &str, day: &str| RowKey {
        row,
        key: key(id, day),
    };
    assert_eq!(
        difference.unmatched_rows,
        [
            vec![only(1, "1", "t")],
            vec![only(4, "4", "m"), only(5, "4", "t")]
        ]
    );
    let difference = compare(&a, &b, &[]);
    assert_eq!((difference.rows, difference.unmatched), ([5, 6], [0, 1]));
    // 1m|2m, 1t|1m, 2m|3m, 3m|3m, 3m|4m
    assert_eq!(differing(&difference), [("id", 3), ("day", 1), ("x", 5)]);
}

/// Cut into other batches and row groups, two datasets differ in exactly the rows that were changed.
#[test]
fn random_changes_are_found_where_they_were_made() {
    for seed in 0..cases(8) as u64 {
        let mut random = Random::new(seed);
        let files = Files::new();
        let count = 1 + random.below(150_000);
        let values: Vec<i64> = (0..count).map(|_| random.below(5) as i64).collect();
        let mut changed = values.clone();
        let mut expected: Vec<u64> = Vec::new();
        for _ in 0..random.below(4) {
            let row = random.below(count);
            if !expected.contains(&(row as u64)) {
                expected.push(row as u64);
                changed[row] += 1;
            }
        }
        expected.sort_unstable();
        let ids: Vec<i64> = (0..count as i64).collect();
        let table = |values: &[i64]| batch(vec![("id", ints(&ids)), ("x", ints(values))]);
        let (a, b) = (files.0.path().join("a.parquet"), files.0.path().join("b.arrow"));
        write_parquet_groups(&a, &table(&values), 1 + random.below(100_000));
        write_arrow(&b, &table(&changed));
        for keys in [&[][..], &["id".to_owned()][..]] {
            let request = DiffRequest {
                a: &a,
                b: &b,
                keys,
                examples: 10,
            };
            let difference = diff(&request).unwrap();
            let examples = difference.compared[1].examples.iter();
            let rows: Vec<[u64; 2]> = examples.map(|example| example.rows).collect();
            let wanted: Vec<[u64; 2]> = expected.iter().map(|row| [*row, *row]).collect();
            assert_eq!(rows, wanted, "seed {seed}");
            assert_eq!(difference.compared[1].rows, expected.len() as u64, "seed {seed}");
            assert_eq!(
                (difference.rows, difference.compared[0].rows),
                ([count as u64; 2], 0)
            );
        }
    }
}

#[tokio::test]
async fn manifests_beside_the_datasets() {
    let mut project = Project::new();
    project
        .entity("user", &[("user", "int64")])
        .source(in_place("files", "files"))
        .view("f", "user", "files", None, &[("x", "int64")]);
    std::fs::create_dir(project.path("files")).unwrap();
    let text = |name: &str, text: &str| std::fs::write(project.path(name), text).unwrap();
    text("files/a.csv", "user,at,x\n1,2020-01-01T00:00:00Z,10\n");
    text("spine.csv", "user,event_timestamp\n1,2021-01-01T00:00:00Z\n");
    let (a, b) = (project.path("a.parquet"), project.path("b.csv"));
    let plan = project.plan(&["f:x"]);
    let extract = async |out: &Path, as_corrected: bool| {
        let ask = Ask {
            as_corrected,
            ..Ask::default()
        };
        let spine = project.path("spine.csv");
        project.extract(&plan, &spine, out, &ask).await.unwrap();
    };
    extract(&a, false).await;
    text("files/b.csv", "user,at,x\n1,2020-06-01T00:00:00Z,11\n");
    extract(&b, true).await;
    let difference = compare(&a, &b, &[]);
    let change = |what: &str, a: &str, b: &str| ManifestChange {
        what: what.into(),
        a: a.into(),
        b: b.into(),
    };
    assert_eq!(
        difference.manifests.as_deref().unwrap(),
        [
            change("known", "as known", "as corrected"),
            change("source files", "1 file", "2 files (1 new)"),
        ]
    );
    // The manifest tells what a row is known by.
    let at = "2021-01-01T00:00:00Z";
    assert_eq!(
        difference.compared[2].examples,
        [Example {
            rows: [0, 0],
            key: vec![("user".into(), some("1")), ("event_timestamp".into(), some(at))],
            values: [some("10"), some("11")],
        }]
    );
    text(
        "other.csv",
        "user,event_timestamp,f__x\n2,2021-01-01T00:00:00Z,10\n",
    );
    let difference = compare(&a, &project.path("other.csv"), &[]);
    assert_eq!(difference.misaligned, ["user"]);
    assert_eq!(difference.manifests, None);
    text("b.csv.manifest.json", "{}");
    let errors = compare(&a, &b, &[]).manifest_errors;
    assert_eq!(errors.len(), 1);
    assert!(
        errors[0].contains("b.csv.manifest.json is no manifest of an extract"),
        "{errors:?}"
    );
}

#[test]
fn datasets_that_cannot_be_compared() {
    let files = Files::new();
    let directory = files.0.path();
    let good = files.write("a.csv", vec![("id", ints(&[1])), ("x", ints(&[1]))]);
    let refused = |name: &str, keys: &[String]| {
        let request = DiffRequest {
            a: &good,
            b: &directory.join(name),
            keys,
            examples: 1,
        };
        let error = diff(&request).unwrap_err().to_string();
        error.replace(&format!("{}/", directory.display()), "")
    };
    let check = |name: &str, error: &str| assert_eq!(refused(name, &[]), error);
    check("none.csv", "dataset none.csv does not exist");
    std::fs::create_dir(directory.join("d.csv")).unwrap();
    check("d.csv", "dataset d.csv is not a file");
    std::fs::write(directory.join("a.xlsx"), "").unwrap();
    check(
        "a.xlsx",
        "dataset a.xlsx has an unknown format: its name should end in .parquet, .csv or .arrow",
    );
    std::fs::write(directory.join("e.csv"), "").unwrap();
    check(
        "e.csv",
        "dataset e.csv cannot be read: it is empty, without a header line",
    );
    std::fs::write(directory.join("t.csv"), "id,x,id\n").unwrap();
    check(
        "t.csv",
        "dataset t.csv has two columns named \"id\": which of them to compare cannot be told",
    );
    std::fs::write(directory.join("b.parquet"), "not a footer, by far").unwrap();
    let error = refused("b.parquet", &[]);
    assert!(error.starts_with("dataset b.parquet cannot be read: "), "{error}");
    std::fs::write(directory.join("r.csv"), "id,x\n1\n").unwrap();
    let error = refused("r.csv", &[]);
    assert!(error.starts_with("dataset r.csv cannot be read: "), "{error}");
    assert_eq!(
        refused("a.csv", &["ids".to_owned()]),
        "dataset a.csv has no column \"ids\" to match rows by; did you mean \"id\"?; its columns are id, x"
    );
}
