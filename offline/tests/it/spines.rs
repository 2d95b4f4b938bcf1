//! Spines and outputs: what is taken, what is refused in exact words, and what comes back untouched.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, TimestampNanosecondArray,
};
use arrow::datatypes::{Int32Type, Int64Type};
use asof_core::time::Zone;
use asof_offline::OfflineError;

use crate::project::{Ask, Project, batch, column, in_place, read, same, write_arrow, write_parquet};

fn instants(micros: &[i64]) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(micros.to_vec()).with_timezone("UTC"))
}

fn int64(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn texts(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

/// A view `v` with the feature `x` by `k`: of key 1, 11 from 10 µs and 12 from 20 µs.
fn project() -> Project {
    let mut project = Project::new();
    project
        .entity("thing", &[("k", "int64")])
        .source(in_place("s", "s.parquet"))
        .view("v", "thing", "s", None, &[("x", "int64")]);
    let rows = batch(vec![
        ("k", int64(&[1, 1])),
        ("at", instants(&[10, 20])),
        ("x", int64(&[11, 12])),
    ]);
    write_parquet(&project.path("s.parquet"), &rows);
    project
}

async fn extract(project: &Project, spine: &Path, ask: &Ask) -> Result<RecordBatch, OfflineError> {
    let out = project.path("out.parquet");
    let ask = Ask {
        overwrite: true,
        ..ask.clone()
    };
    project
        .extract(&project.plan(&["v:*"]), spine, &out, &ask)
        .await?;
    Ok(read(&out))
}

/// What each row of a spine of these columns finds.
async fn found(columns: Vec<(&str, ArrayRef)>, ask: &Ask) -> Result<Vec<Option<i64>>, String> {
    let project = project();
    let spine = project.path("spine.parquet");
    write_parquet(&spine, &batch(columns));
    match extract(&project, &spine, ask).await {
        Ok(found) => Ok(column(&found, "v__x")
            .as_primitive::<Int64Type>()
            .iter()
            .collect()),
        Err(error) => {
            assert!(!project.path("out.parquet").exists());
            assert!(matches!(error, OfflineError::Data(_)), "{error:?}");
            Err(error.to_string().replace(spine.to_str().unwrap(), "SPINE"))
        }
    }
}

async fn refused(columns: Vec<(&str, ArrayRef)>, expect: &str) {
    assert_eq!(found(columns, &Ask::default()).await.unwrap_err(), expect);
}

#[tokio::test]
async fn a_missing_column_is_named_with_what_there_is() {
    refused(
        vec![("k", int64(&[1])), ("event_time", instants(&[1]))],
        "spine SPINE has no time column \"event_timestamp\"; its columns are k, event_time: name the time column \
         with --time-column",
    )
    .await;
    refused(
        vec![("k", int64(&[1])), ("Event_timestamp", instants(&[1]))],
        "spine SPINE has no time column \"event_timestamp\"; did you mean \"Event_timestamp\"?; its columns are k, \
         Event_timestamp: name the time column with --time-column",
    )
    .await;
    refused(
        vec![("K", int64(&[1])), ("event_timestamp", instants(&[1]))],
        "spine SPINE has no column \"k\" (int64), which the features are looked up by; did you mean \"K\"?; its \
         columns are K, event_timestamp",
    )
    .await;
}

#[tokio::test]
async fn times_are_converted_exactly_or_the_first_bad_row_is_named() {
    let utc = Ask {
        timezone: Some(Zone::UTC),
        ..Ask::default()
    };
    let with = async |times: ArrayRef, ask: &Ask| {
        let keys = int64(&vec![1; times.len()]);
        found(vec![("k", keys), ("event_timestamp", times)], ask).await
    };
    // Text, with zones of all kinds in one column.
    let mixed = texts(&[
        "1970-01-01T00:00:00.000010Z",
        "1970-01-01T02:00:00.00002+02:00",
        "1969-12-31T19:00:00.000009-05:00",
    ]);
    assert_eq!(
        with(mixed, &Ask::default()).await,
        Ok(vec![Some(11), Some(12), None])
    );
    let local = texts(&["1970-01-01T00:00:00.000010Z", "1970-01-01 00:00:00.00001"]);
    assert_eq!(
        with(local.clone(), &Ask::default()).await.unwrap_err(),
        "spine SPINE: time column \"event_timestamp\" cannot be read: \"1970-01-01 00:00:00.00001\" has no time zone: \
         write it as 2013-06-01T12:00:00Z or with an offset such as +02:00 (row 1)"
    );
    assert_eq!(with(local, &utc).await, Ok(vec![Some(11), Some(11)]));
    assert_eq!(
        with(texts(&["yesterday"]), &utc).await.unwrap_err(),
        "spine SPINE: time column \"event_timestamp\" cannot be read: \"yesterday\" is not a time: write it as \
         2013-06-01T12:00:00Z (row 0)"
    );
    // Timestamps without a zone.
    let naive: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![10]));
    assert_eq!(
        with(naive.clone(), &Ask::default()).await.unwrap_err(),
        "spine SPINE: time column \"event_timestamp\" holds times without a zone: name it with --timezone"
    );
    assert_eq!(with(naive, &utc).await, Ok(vec![Some(11)]));
    // Nanoseconds are rounded down: 9.999 µs is before 10.
    let nanos: ArrayRef =
        Arc::new(TimestampNanosecondArray::from(vec![9_999, 10_000, 19_999]).with_timezone("UTC"));
    assert_eq!(
        with(nanos, &Ask::default()).await,
        Ok(vec![None, Some(11), Some(11)])
    );
    // A date asks at the start of its day.
    let dates: ArrayRef = Arc::new(arrow::array::Date32Array::from(vec![0, 1]));
    assert_eq!(with(dates, &utc).await, Ok(vec![None, Some(12)]));
    assert_eq!(
        with(int64(&[10]), &utc).await.unwrap_err(),
        "spine SPINE: time column \"event_timestamp\" is int64, not a time: expected timestamps, dates, or text such \
         as 2013-06-01T12:00:00Z"
    );
    let nulls: ArrayRef = Arc::new(
        TimestampMicrosecondArray::from(vec![Some(1), None, Some(2), None, None, None, None, None])
            .with_timezone("UTC"),
    );
    assert_eq!(
        with(nulls, &utc).await.unwrap_err(),
        "spine SPINE: time column \"event_timestamp\" is null in rows 1, 3, 4, 5, 6: every row needs a time; drop \
         those rows or fill it in"
    );
}

/// 01:30 on 2013-11-03 came twice in New York, at 05:30 and 06:30 UTC: a spine asks early.
#[tokio::test]
async fn an_ambiguous_local_time_asks_early() {
    let project = project();
    let late = 1_383_460_200_000_000;
    let rows = batch(vec![
        ("k", int64(&[1, 1])),
        ("at", instants(&[10, late])),
        ("x", int64(&[11, 12])),
    ]);
    write_parquet(&project.path("s.parquet"), &rows);
    let spine = project.path("spine.csv");
    std::fs::write(
        &spine,
        "k,event_timestamp\n1,2013-11-03 01:30:00\n1,2013-11-03 02:00:00\n",
    )
    .unwrap();
    let ask = Ask {
        timezone: Some(Zone::parse("America/New_York").unwrap()),
        ..Ask::default()
    };
    let found = extract(&project, &spine, &ask).await.unwrap();
    let found: Vec<_> = column(&found, "v__x")
        .as_primitive::<Int64Type>()
        .iter()
        .collect();
    assert_eq!(found, [Some(11), Some(12)]);
}

#[tokio::test]
async fn keys_of_another_type_are_exact_or_refused() {
    let with = async |keys: ArrayRef| {
        let times = instants(&vec![50; keys.len()]);
        found(vec![("k", keys), ("event_timestamp", times)], &Ask::default()).await
    };
    assert_eq!(
        with(Arc::new(Float64Array::from(vec![1.0, 2.0]))).await,
        Ok(vec![Some(12), None])
    );
    assert_eq!(
        with(Arc::new(Float64Array::from(vec![Some(1.0), None, Some(1.5)])))
            .await
            .unwrap_err(),
        "spine SPINE: key column \"k\" has a value that is not exactly int64 (row 2)"
    );
    assert_eq!(
        with(Arc::new(Float64Array::from(vec![f64::NAN])))
            .await
            .unwrap_err(),
        "spine SPINE: key column \"k\" has a value that is not exactly int64 (row 0)"
    );
    assert_eq!(
        with(Arc::new(arrow::array::UInt64Array::from(vec![1, u64::MAX])))
            .await
            .unwrap_err(),
        "spine SPINE: key column \"k\" has a value that is not exactly int64 (row 1)"
    );
    assert_eq!(
        with(texts(&["1"])).await.unwrap_err(),
        "spine SPINE: key column \"k\" is string, which cannot be taken as int64 without loss: write it as int64 in \
         the spine"
    );
    // Past what float64 holds exactly: 2^53 + 1 became 2^53 long before it got here, which is a value.
    assert_eq!(
        with(Arc::new(Float64Array::from(vec![9_007_199_254_740_992.0]))).await,
        Ok(vec![None])
    );
    assert_eq!(
        with(Arc::new(Float64Array::from(vec![9.3e18])))
            .await
            .unwrap_err(),
        "spine SPINE: key column \"k\" has a value that is not exactly int64 (row 0)"
    );
}

#[tokio::test]
async fn a_column_that_would_come_twice_is_refused() {
    refused(
        vec![("k", int64(&[1])), ("event_timestamp", instants(&[1])), ("v__x", int64(&[1]))],
        "column \"v__x\" of the dataset would come twice: once from spine SPINE and once as feature v:x: rename the \
         spine's column, or give the service's entry another prefix",
    )
    .await;
    let columns = vec![
        ("k", int64(&[1])),
        ("event_timestamp", instants(&[1])),
        ("v__event_time", int64(&[1])),
    ];
    let status = Ask {
        status: true,
        ..Ask::default()
    };
    assert_eq!(
        found(columns, &status).await.unwrap_err(),
        "column \"v__event_time\" of the dataset would come twice: once from spine SPINE and once as the event time of \
         view v: rename the spine's column, or give the service's entry another prefix"
    );
}

#[tokio::test]
async fn no_rows_give_no_rows_and_all_columns() {
    let project = project();
    let spine = project.path("spine.parquet");
    write_parquet(
        &spine,
        &batch(vec![
            ("k", int64(&[])),
            ("event_timestamp", instants(&[])),
            ("own", texts(&[])),
        ]),
    );
    for out in ["out.parquet", "out.arrow"] {
        let out = project.path(out);
        let ask = Ask {
            status: true,
            ..Ask::default()
        };
        let summary = project
            .extract(&project.plan(&["v:*"]), &spine, &out, &ask)
            .await
            .unwrap();
        let found = read(&out);
        let schema = found.schema();
        let names: Vec<&str> = schema
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        assert_eq!(
            names,
            [
                "k",
                "event_timestamp",
                "own",
                "v__x",
                "v__x__status",
                "v__event_time"
            ]
        );
        assert_eq!((found.num_rows(), summary.rows, summary.columns), (0, 0, 6));
        assert!(project.path("out.parquet.manifest.json").exists());
    }
    std::fs::write(project.path("spine.csv"), "k,event_timestamp\n").unwrap();
    let found = extract(&project, &project.path("spine.csv"), &Ask::default())
        .await
        .unwrap();
    assert_eq!((found.num_rows(), found.num_columns()), (0, 3));
}

/// More rows than are handled at once, in all file formats, with a dictionary that grows on the way.
#[tokio::test]
async fn many_rows_keep_their_order_and_their_columns() {
    const ROWS: i64 = 150_000;
    let keys: Int64Array = (0..ROWS).map(|row| Some(row % 3)).collect();
    let words: DictionaryArray<Int32Type> = (0..ROWS)
        .map(|row| {
            (row % 7 != 0).then(|| ["a", "b", "c", "d"][usize::try_from(row / 50_000 + row % 2).unwrap()])
        })
        .collect();
    let columns = batch(vec![
        ("k", Arc::new(keys)),
        ("event_timestamp", instants(&(0..ROWS).collect::<Vec<_>>())),
        ("word", Arc::new(words)),
    ]);
    let project = project();
    let (parquet, arrow) = (project.path("spine.parquet"), project.path("spine.arrow"));
    crate::project::write_parquet_groups(&parquet, &columns, 40_000);
    write_arrow(&arrow, &columns);
    for (spine, outs) in [
        (&parquet, &["out.parquet"][..]),
        (&arrow, &["out.parquet", "out.arrow"]),
    ] {
        for out in outs {
            let out = project.path(out);
            let ask = Ask {
                overwrite: true,
                ..Ask::default()
            };
            project
                .extract(&project.plan(&["v:*"]), spine, &out, &ask)
                .await
                .unwrap();
            let found = read(&out);
            for name in ["k", "event_timestamp"] {
                assert!(same(&column(&columns, name), &column(&found, name)), "{name}");
            }
            let plain = |batch: &RecordBatch| {
                arrow::compute::cast(&column(batch, "word"), &arrow::datatypes::DataType::Utf8).unwrap()
            };
            assert_eq!(
                column(&found, "word").data_type(),
                column(&columns, "word").data_type()
            );
            assert!(same(&plain(&columns), &plain(&found)));
            let expected: Int64Array = (0..ROWS)
                .map(|row| (row % 3 == 1 && row >= 10).then_some(if row >= 20 { 12 } else { 11 }))
                .collect();
            let expected: ArrayRef = Arc::new(expected);
            assert!(same(&expected, &column(&found, "v__x")));
        }
    }
}

/// Row groups of Parquet have dictionaries of their own, of which an Arrow file holds one.
#[tokio::test]
async fn several_dictionaries_are_refused_in_an_arrow_file() {
    let project = project();
    let spine = project.path("spine.parquet");
    let words: DictionaryArray<Int32Type> = (0..70_000)
        .map(|row| Some(if row < 66_000 { "a" } else { "b" }))
        .collect();
    let columns = batch(vec![
        ("k", int64(&[1; 70_000])),
        ("event_timestamp", instants(&[1; 70_000])),
        ("word", Arc::new(words)),
    ]);
    crate::project::write_parquet_groups(&spine, &columns, 33_000);
    let out = project.path("out.arrow");
    let error = project
        .extract(&project.plan(&["v:*"]), &spine, &out, &Ask::default())
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "output {}: an Arrow file holds one dictionary per column, and a dictionary column of the spine comes with \
             several: write .parquet, or give the spine plain text",
            out.display()
        )
    );
    assert!(!out.exists());
}

#[tokio::test]
async fn spines_that_cannot_be_opened_are_refused() {
    let project = project();
    let check = async |name: &str, content: Option<&[u8]>, expect: &str| {
        let spine = project.path(name);
        if let Some(content) = content {
            std::fs::write(&spine, content).unwrap();
        }
        let error = extract(&project, &spine, &Ask::default()).await.unwrap_err();
        let shown = error.to_string().replace(spine.to_str().unwrap(), "SPINE");
        assert_eq!(shown, expect, "{name}");
    };
    std::fs::create_dir(project.path("directory.parquet")).unwrap();
    std::os::unix::fs::symlink("nowhere", project.path("link.parquet")).unwrap();
    check("none.parquet", None, "spine SPINE does not exist").await;
    check("link.parquet", None, "spine SPINE is a link to nothing").await;
    check(
        "directory.parquet",
        None,
        "spine SPINE is a directory: give one file",
    )
    .await;
    check(
        "spine.txt",
        Some(b"k\n"),
        "spine SPINE has an unknown format: its name should end in .parquet, .csv or .arrow",
    )
    .await;
    check(
        "bad.parquet",
        Some(b"nothing of the kind"),
        "spine SPINE is not a readable Parquet file: Parquet error: Invalid Parquet file. Corrupt footer",
    )
    .await;
    check(
        "empty.parquet",
        Some(b""),
        "spine SPINE is not a readable Parquet file: EOF: Parquet file too small. Size is 0 but need 8",
    )
    .await;
    check(
        "bad.arrow",
        Some(b"nothing of the kind"),
        "spine SPINE is not a readable Arrow file: Parser error: Arrow file does not contain correct footer",
    )
    .await;
    check(
        "empty.csv",
        Some(b""),
        "spine SPINE is not a readable CSV file: it is empty, without a header line",
    )
    .await;
    check(
        "bad.csv",
        Some(b"k,event_timestamp\n1\n"),
        "spine SPINE is not a readable CSV file: Csv error: incorrect number of fields for line 2, expected 2 got 1",
    )
    .await;
    check(
        "word.csv",
        Some(b"k,event_timestamp\none,2000-01-01T00:00:00Z\n"),
        "spine SPINE: key column \"k\" has \"one\", which is not exactly int64: correct it in the spine (row 0)",
    )
    .await;
}

#[tokio::test]
async fn outputs_in_the_way_are_refused_and_left_alone() {
    let project = project();
    let spine = project.path("spine.csv");
    std::fs::write(&spine, "k,event_timestamp\n1,2000-01-01T00:00:00Z\n").unwrap();
    let plan = project.plan(&["v:*"]);
    let refused = async |name: &str| {
        let out = project.path(name);
        let error = project
            .extract(&plan, &spine, &out, &Ask::default())
            .await
            .unwrap_err();
        error
            .to_string()
            .replace(project.path("").to_str().unwrap(), "DIR/")
    };
    std::fs::write(project.path("there.csv"), "mine").unwrap();
    std::fs::create_dir(project.path("directory.csv")).unwrap();
    assert_eq!(
        refused("there.csv").await,
        "DIR/there.csv exists: give --overwrite to replace it, or another --out"
    );
    assert_eq!(
        std::fs::read_to_string(project.path("there.csv")).unwrap(),
        "mine"
    );
    assert_eq!(
        refused("directory.csv").await,
        "output DIR/directory.csv is a directory: give a file's name"
    );
    assert_eq!(
        refused("none/out.csv").await,
        "output DIR/none/out.csv: the directory DIR/none does not exist"
    );
    assert_eq!(
        refused("out.xlsx").await,
        "output DIR/out.xlsx has an unknown format: its name should end in .parquet, .csv or .arrow"
    );
    let ask = Ask {
        overwrite: true,
        ..Ask::default()
    };
    project
        .extract(&plan, &spine, &project.path("there.csv"), &ask)
        .await
        .unwrap();
    assert_eq!(
        std::fs::read_to_string(project.path("there.csv")).unwrap(),
        "k,event_timestamp,v__x\n1,2000-01-01T00:00:00Z,12\n"
    );
    // Nothing half-made is left behind.
    let left = project.path("").read_dir().unwrap();
    let left = left.filter(|entry| {
        entry
            .as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .contains(".tmp")
    });
    assert_eq!(left.count(), 0);
}

/// The dataset of a CSV spine, as a file of this ending.
async fn of_csv(
    project: &Project,
    content: &str,
    out: &str,
    ask: &Ask,
) -> Result<std::path::PathBuf, String> {
    let (spine, out) = (project.path("own.csv"), project.path(out));
    std::fs::write(&spine, content).unwrap();
    let ask = Ask {
        overwrite: true,
        ..ask.clone()
    };
    match project.extract(&project.plan(&["v:*"]), &spine, &out, &ask).await {
        Ok(_) => Ok(out),
        Err(error) => Err(error.to_string().replace(spine.to_str().unwrap(), "SPINE")),
    }
}

/// Every column of a CSV spine keeps its text; in Parquet it has a type only where that loses nothing.
#[tokio::test]
async fn the_columns_of_a_csv_spine_come_out_as_they_are_written() {
    let project = project();
    let spine = "k,event_timestamp,appver,amount,zip,whole,flag,score,zero,none\n\
                 001,2020-01-01T00:00:00Z,1.10,1e5,007,7,true,0.5,-0,\n\
                 +1,2020-01-01T00:00:00.000000001Z,1.1,100000.0,12,-8,false,-1.0,0,\n\
                 2.0,2020-01-01 00:00:00+00:00,1.2,\"1,5\",,,,,,\n";
    let found = ["12", "12", ""];
    let expect: Vec<String> = std::iter::once("v__x")
        .chain(found)
        .zip(spine.lines())
        .map(|(found, line)| format!("{line},{found}\n"))
        .collect();
    let out = of_csv(&project, spine, "out.csv", &Ask::default()).await.unwrap();
    assert_eq!(std::fs::read_to_string(out).unwrap(), expect.concat());
    let out = of_csv(&project, spine, "out.parquet", &Ask::default())
        .await
        .unwrap();
    let rows = read(&out);
    let schema = rows.schema();
    let typed = |name: &str| schema.field_with_name(name).unwrap().data_type().to_string();
    for (name, expect) in [
        ("k", "Utf8"),
        ("event_timestamp", "Utf8"),
        ("appver", "Utf8"),
        ("amount", "Utf8"),
        ("zip", "Utf8"),
        ("whole", "Int64"),
        ("flag", "Boolean"),
        ("score", "Float64"),
        ("zero", "Utf8"),
        ("none", "Utf8"),
    ] {
        assert_eq!(typed(name), expect, "{name}");
    }
    let texts = |name: &str| -> Vec<Option<String>> {
        let column = column(&rows, name);
        column
            .as_string::<i32>()
            .iter()
            .map(|text| text.map(str::to_owned))
            .collect()
    };
    let some = |texts: [&str; 3]| texts.map(|text| Some(text.to_owned())).to_vec();
    assert_eq!(texts("k"), some(["001", "+1", "2.0"]));
    assert_eq!(texts("appver"), some(["1.10", "1.1", "1.2"]));
    assert_eq!(texts("amount"), some(["1e5", "100000.0", "1,5"]));
    assert_eq!(
        column(&rows, "whole")
            .as_primitive::<Int64Type>()
            .iter()
            .collect::<Vec<_>>(),
        [Some(7), Some(-8), None]
    );
}

/// A key is looked up by what its text means as the declared type, whatever type its column is guessed to be.
#[tokio::test]
async fn keys_of_a_csv_spine_are_read_as_their_declared_type() {
    let check = async |key_type: &str, stored: ArrayRef, written: &[&str], expect: &[&str]| {
        let mut project = project();
        project.entity("thing", &[("k", key_type)]);
        let rows = batch(vec![("k", stored), ("at", instants(&[10])), ("x", int64(&[11]))]);
        write_parquet(&project.path("s.parquet"), &rows);
        let lines = |rows: &[&str]| rows.iter().map(|row| format!("{row}\n")).collect::<String>();
        let spine: Vec<String> = written
            .iter()
            .map(|key| format!("{key},2020-01-01T00:00:00Z"))
            .collect();
        let spine = spine.iter().map(String::as_str).collect::<Vec<_>>();
        let content = format!("k,event_timestamp\n{}", lines(&spine));
        let ask = Ask {
            timezone: Some(Zone::parse("Europe/Paris").unwrap()),
            ..Ask::default()
        };
        let out = of_csv(&project, &content, "out.csv", &ask).await.unwrap();
        let found: Vec<String> = spine
            .iter()
            .zip(expect)
            .map(|(row, found)| format!("{row},{found}"))
            .collect();
        let found = found.iter().map(String::as_str).collect::<Vec<_>>();
        assert_eq!(
            std::fs::read_to_string(out).unwrap(),
            format!("k,event_timestamp,v__x\n{}", lines(&found)),
            "{key_type}"
        );
    };
    let decimal = arrow::array::Decimal128Array::from(vec![150]);
    let decimal: ArrayRef = Arc::new(decimal.with_precision_and_scale(6, 2).unwrap());
    check(
        "decimal(6,2)",
        decimal.clone(),
        &["1.5", "1.50", "1.6"],
        &["11", "11", ""],
    )
    .await;
    check("decimal(6,2)", decimal, &["1.5", "2.5"], &["11", ""]).await;
    check("string", texts(&["7"]), &["7", "8"], &["11", ""]).await;
    check("string", texts(&["1.5"]), &["1.5", "2.0"], &["11", ""]).await;
    check("string", texts(&["007"]), &["007", "7"], &["11", ""]).await;
    check("string", texts(&["true"]), &["true", "false"], &["11", ""]).await;
    check(
        "int32",
        Arc::new(arrow::array::Int32Array::from(vec![7])),
        &["7", "8"],
        &["11", ""],
    )
    .await;
    check("int64", int64(&[7]), &["7.0", "8.0"], &["11", ""]).await;
    check(
        "bool",
        Arc::new(arrow::array::BooleanArray::from(vec![true])),
        &["True", "false"],
        &["11", ""],
    )
    .await;
    let day: ArrayRef = Arc::new(arrow::array::Date32Array::from(vec![1]));
    check("date", day, &["1970-01-02", "1970-01-03"], &["11", ""]).await;
    // Midnight in Paris was at 23:00 UTC.
    let instant = instants(&[82_800_000_000]);
    check(
        "timestamp",
        instant,
        &["1970-01-02 00:00:00", "1970-01-02T00:00:00Z"],
        &["11", ""],
    )
    .await;
}

#[tokio::test]
async fn keys_of_a_csv_spine_that_do_not_fit_are_refused() {
    let check = async |key_type: &str, key: &str, expect: &str| {
        let mut project = project();
        project.entity("thing", &[("k", key_type)]);
        let key_type = asof_core::data_type::DataType::parse(key_type)
            .unwrap()
            .to_arrow();
        let none = arrow::array::new_empty_array(&key_type);
        let rows = batch(vec![("k", none), ("at", instants(&[])), ("x", int64(&[]))]);
        write_parquet(&project.path("s.parquet"), &rows);
        let spine = format!("k,event_timestamp\n,2020-01-01T00:00:00Z\n{key},2020-01-01T00:00:00Z\n");
        let error = of_csv(&project, &spine, "out.csv", &Ask::default())
            .await
            .unwrap_err();
        assert_eq!(error, format!("spine SPINE: key column \"k\" {expect}"));
    };
    let exactly = |text: &str, key_type: &str| {
        format!("has \"{text}\", which is not exactly {key_type}: correct it in the spine (row 1)")
    };
    check("int64", "1.5", &exactly("1.5", "int64")).await;
    check("int64", "abc", &exactly("abc", "int64")).await;
    check("int32", "2147483648", &exactly("2147483648", "int32")).await;
    check("decimal(6,2)", "1.555", &exactly("1.555", "decimal(6,2)")).await;
    check("bool", "1", &exactly("1", "bool (true or false)")).await;
    let nanos = "2020-01-01T00:00:00.000000001Z";
    check("timestamp", nanos, &exactly(nanos, "timestamp (in microseconds)")).await;
    check(
        "timestamp",
        "2020-01-01 00:00:00",
        "cannot be read: \"2020-01-01 00:00:00\" has no time zone: write it as 2013-06-01T12:00:00Z or with an offset \
         such as +02:00 (row 1)",
    )
    .await;
    check(
        "timestamp",
        "2020-01-01",
        "cannot be read: \"2020-01-01\" is not a time: write it as 2013-06-01T12:00:00Z (row 1)",
    )
    .await;
    check(
        "bytes",
        "ab",
        "is string, which cannot be taken as bytes without loss: write it as bytes in the spine",
    )
    .await;
}

/// Days as text ask at the start of the day, as days do that have a type.
#[tokio::test]
async fn days_in_a_csv_spine_ask_at_their_start() {
    let project = project();
    let spine = "k,event_timestamp\n1,1970-01-01\n1,1970-01-02\n";
    let utc = Ask {
        timezone: Some(Zone::UTC),
        ..Ask::default()
    };
    let out = of_csv(&project, spine, "out.csv", &utc).await.unwrap();
    assert_eq!(
        std::fs::read_to_string(out).unwrap(),
        "k,event_timestamp,v__x\n1,1970-01-01,\n1,1970-01-02,12\n"
    );
    assert_eq!(
        of_csv(&project, spine, "out.csv", &Ask::default())
            .await
            .unwrap_err(),
        "spine SPINE: time column \"event_timestamp\" cannot be read: \"1970-01-01\" has no time zone: write it as \
         2013-06-01T12:00:00Z or with an offset such as +02:00 (row 0)"
    );
}
