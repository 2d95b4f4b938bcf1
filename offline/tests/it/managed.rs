//! Managed tables: what goes in, once, and comes out as it was.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, FixedSizeListArray, Int32Array, Int64Array, ListBuilder,
    MapBuilder, RecordBatch, StringArray, StringBuilder, StructArray, TimestampMicrosecondArray,
};
use arrow::array::{Float64Builder, Int64Builder};
use arrow::compute::cast;
use arrow::datatypes::{Float32Type, Int64Type};
use asof_core::data_type::DataType;
use asof_core::definition::Location;
use asof_core::time::Zone;
use asof_offline::{OfflineError, Strategy};

use crate::project::{Ask, Project, batch, column, ingest, managed, read, same, write_csv, write_parquet};

const SCHEMA: [(&str, &str); 3] = [("user", "int64"), ("at", "timestamp"), ("amount", "float64")];

/// Users, times in microseconds and amounts.
pub(crate) fn clicks(rows: &[(i64, i64, f64)]) -> RecordBatch {
    let users: Int64Array = rows.iter().map(|row| Some(row.0)).collect();
    let amounts: arrow::array::Float64Array = rows.iter().map(|row| Some(row.2)).collect();
    batch(vec![
        ("user", Arc::new(users)),
        ("at", times(rows.iter().map(|row| row.1))),
        ("amount", Arc::new(amounts)),
    ])
}

pub(crate) fn times(micros: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(
        micros
            .map(Some)
            .collect::<TimestampMicrosecondArray>()
            .with_timezone("UTC"),
    )
}

pub(crate) fn shop() -> Project {
    let mut project = Project::new();
    project
        .entity("user", &[("user", "int64")])
        .source(managed("clicks", &SCHEMA, None))
        .view("last_click", "user", "clicks", None, &[("amount", "float64")]);
    project
}

pub(crate) fn parquet(project: &Project, name: &str, rows: &[(i64, i64, f64)]) -> PathBuf {
    let path = project.path(name);
    write_parquet(&path, &clicks(rows));
    path
}

/// The amount that each (user, time) finds.
pub(crate) async fn amounts(project: &Project, asked: &[(i64, i64)]) -> Vec<Option<f64>> {
    let spine = project.path("spine.parquet");
    let users: Int64Array = asked.iter().map(|row| Some(row.0)).collect();
    write_parquet(
        &spine,
        &batch(vec![
            ("user", Arc::new(users)),
            ("event_timestamp", times(asked.iter().map(|row| row.1))),
        ]),
    );
    let out = project.path("out.parquet");
    let ask = Ask {
        overwrite: true,
        ..Ask::default()
    };
    project
        .extract(&project.plan(&["last_click:amount"]), &spine, &out, &ask)
        .await
        .unwrap();
    column(&read(&out), "last_click__amount")
        .as_primitive::<arrow::datatypes::Float64Type>()
        .iter()
        .collect()
}

#[tokio::test]
async fn ingested_rows_are_found_in_their_order() {
    let project = shop();
    // Equal key and times: the later arrival wins, in the same file and in a later one.
    let first = parquet(
        &project,
        "first.parquet",
        &[(1, 10, 1.0), (1, 10, 2.0), (2, 10, 3.0)],
    );
    let done = project.ingest("clicks", &[first], None).await.unwrap();
    assert_eq!((done.rows, done.repeated), (3, false));
    assert_eq!(
        amounts(&project, &[(1, 10), (1, 9), (2, 10)]).await,
        [Some(2.0), None, Some(3.0)]
    );
    let second = parquet(&project, "second.parquet", &[(1, 10, 4.0)]);
    project.ingest("clicks", &[second], None).await.unwrap();
    assert_eq!(
        amounts(&project, &[(1, 10), (2, 11)]).await,
        [Some(4.0), Some(3.0)]
    );
}

#[tokio::test]
async fn csv_files_are_ingested_with_their_zone() {
    let mut project = shop();
    project.change_source("clicks", |source| {
        source.timezone = Some(Zone::parse("America/New_York").unwrap())
    });
    let path = project.path("clicks.csv");
    std::fs::write(
        &path,
        "amount,user,at\n1.5,7,2013-07-01 12:00:00\n,7,2013-07-01T17:00:00Z\n",
    )
    .unwrap();
    project.ingest("clicks", &[path], None).await.unwrap();
    // 12:00 in New York in July is 16:00 UTC.
    let noon = 1_372_694_400_000_000;
    assert_eq!(
        amounts(&project, &[(7, noon - 1), (7, noon), (7, noon + 3_600_000_000)]).await,
        [None, Some(1.5), None]
    );
}

#[tokio::test]
async fn an_ingest_of_the_same_id_or_content_changes_nothing() {
    let project = shop();
    let first = parquet(&project, "first.parquet", &[(1, 10, 1.0)]);
    let other = parquet(&project, "other.parquet", &[(1, 20, 2.0)]);
    let done = project
        .ingest("clicks", std::slice::from_ref(&first), None)
        .await
        .unwrap();
    let again = project
        .ingest("clicks", std::slice::from_ref(&first), None)
        .await
        .unwrap();
    assert_eq!(
        (again.repeated, again.rows, again.version),
        (true, 1, done.version)
    );
    assert_eq!(again.id, done.id);
    // The same content under another name is the same; under an id of its own it is not.
    let copy = project.path("copy.parquet");
    std::fs::copy(&first, &copy).unwrap();
    assert!(project.ingest("clicks", &[copy], None).await.unwrap().repeated);
    assert!(
        !project
            .ingest("clicks", std::slice::from_ref(&other), Some("monday"))
            .await
            .unwrap()
            .repeated
    );
    let last = project.ingest("clicks", &[other], Some("monday")).await.unwrap();
    assert_eq!((last.repeated, last.compared, last.rows), (true, true, 1));
    // An id stands for the files that it was used for.
    let error = project
        .ingest("clicks", &[first], Some("monday"))
        .await
        .unwrap_err();
    assert!(matches!(error, OfflineError::Data(_)));
    assert_eq!(
        error.to_string(),
        "id \"monday\" was used for other files, of 1 row, in an earlier ingest into clicks: nothing was changed; \
         give these another --id, or none"
    );
    assert_eq!(
        amounts(&project, &[(1, 15), (1, 20)]).await,
        [Some(1.0), Some(2.0)]
    );
    assert_eq!(seqs(&project), [1, 2]);
}

/// The seqs in the files of the table of clicks, sorted.
fn seqs(project: &Project) -> Vec<i64> {
    let mut seqs = Vec::new();
    for entry in project.path(".asof/offline/clicks").read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "parquet") {
            let numbers = column(&read(&path), "__asof_seq");
            seqs.extend(numbers.as_primitive::<Int64Type>().values());
        }
    }
    seqs.sort_unstable();
    seqs
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_ingests_all_land_with_seqs_of_their_own() {
    let project = shop();
    // Four at once, from the creation of the table on, through two engines.
    let engines = [project.engine(), project.engine()];
    let mut running = tokio::task::JoinSet::new();
    for user in 0..4_i64 {
        let file = parquet(
            &project,
            &format!("{user}.parquet"),
            &[(user, 1, 1.0), (user, 2, 2.0)],
        );
        let engine = engines[usize::try_from(user).unwrap() % 2].clone();
        let source = project.definitions.sources["clicks"].clone();
        running.spawn(async move { ingest(&engine, &source, &[file], None).await.unwrap() });
    }
    while let Some(done) = running.join_next().await {
        assert!(!done.unwrap().repeated);
    }
    assert_eq!(seqs(&project), (1..=8).collect::<Vec<_>>());
    assert_eq!(
        amounts(&project, &[(0, 5), (1, 5), (2, 5), (3, 5)]).await,
        [Some(2.0); 4]
    );
}

#[tokio::test]
async fn files_of_other_columns_are_refused_and_nothing_is_ingested() {
    let project = shop();
    let check = async |name: &str, columns: Vec<(&str, ArrayRef)>, expect: &str| {
        let path = project.path(name);
        write_parquet(&path, &batch(columns));
        let error = project
            .ingest("clicks", std::slice::from_ref(&path), None)
            .await
            .unwrap_err();
        assert!(matches!(error, OfflineError::Data(_)), "{error:?}");
        assert_eq!(error.to_string(), format!("{}: {expect}", path.display()));
    };
    let user: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let amount: ArrayRef = Arc::new(arrow::array::Float64Array::from(vec![1.0]));
    let text: ArrayRef = Arc::new(StringArray::from(vec!["1.0"]));
    let at = times([5].into_iter());
    check(
        "more.parquet",
        vec![
            ("user", user.clone()),
            ("at", at.clone()),
            ("amount", amount.clone()),
            ("extra", user.clone()),
        ],
        "column \"extra\" is not in the schema of source clicks: declare it, or leave it out of the file",
    )
    .await;
    check(
        "less.parquet",
        vec![("user", user.clone()), ("at", at.clone())],
        "column \"amount\" of source clicks is missing: rows are taken whole, nothing is filled in",
    )
    .await;
    check(
        "text.parquet",
        vec![("user", user.clone()), ("at", at.clone()), ("amount", text)],
        "column \"amount\" is string, which cannot be taken as float64 without loss: write it as float64 in the file",
    )
    .await;
    let naive: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![5]));
    check(
        "naive.parquet",
        vec![("user", user), ("at", naive), ("amount", amount)],
        "column \"at\" holds times without a zone: name it with timezone = \"…\" in the source's definition",
    )
    .await;
    // One bad file among good ones: none of them is taken.
    let good = parquet(&project, "good.parquet", &[(1, 10, 1.0)]);
    let bad = project.path("less.parquet");
    project.ingest("clicks", &[good, bad], None).await.unwrap_err();
    assert_eq!(amounts(&project, &[(1, 100)]).await, [None]);
    assert_eq!(seqs(&project), Vec::<i64>::new());
}

#[tokio::test]
async fn only_managed_sources_take_rows() {
    let mut project = shop();
    project.source(crate::project::in_place("files", "files"));
    let file = parquet(&project, "f.parquet", &[(1, 10, 1.0)]);
    let error = project.ingest("files", &[file], None).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "source files is read in place from its path: only a managed source (one with a schema and no path) takes rows"
    );
    let error = project.ingest("clicks", &[], None).await.unwrap_err();
    assert_eq!(error.to_string(), "source clicks: no files to ingest were given");
    let error = project
        .ingest("clicks", &["no/such.parquet".into()], None)
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "no/such.parquet does not exist");
}

/// Of one event id the lowest seq counts, also where its row has a null key or is filtered out.
#[tokio::test]
async fn an_event_counts_once() {
    let mut project = Project::new();
    let schema = [
        ("user", "int64"),
        ("at", "timestamp"),
        ("amount", "float64"),
        ("id", "string"),
    ];
    project
        .entity("user", &[("user", "int64")])
        .source(managed("clicks", &schema, Some("id")))
        .view("last_click", "user", "clicks", None, &[("amount", "float64")]);
    let file = |name: &str, rows: &[(Option<i64>, i64, f64, Option<&str>)]| {
        let path = project.path(name);
        let users: Int64Array = rows.iter().map(|row| row.0).collect();
        let amounts: arrow::array::Float64Array = rows.iter().map(|row| Some(row.2)).collect();
        let ids: StringArray = rows.iter().map(|row| row.3).collect();
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("user", Arc::new(users)),
            ("at", times(rows.iter().map(|row| row.1))),
            ("amount", Arc::new(amounts)),
            ("id", Arc::new(ids)),
        ];
        write_parquet(&path, &batch(columns));
        path
    };
    let first = file(
        "1.parquet",
        &[
            (Some(1), 10, 1.0, Some("a")),
            (Some(1), 11, 2.0, Some("a")),
            (Some(2), 10, 3.0, None),
            (Some(2), 11, 4.0, None),
            (None, 10, 5.0, Some("b")),
            (Some(4), 10, -1.0, Some("c")),
        ],
    );
    let second = file(
        "2.parquet",
        &[
            (Some(1), 12, 6.0, Some("a")),
            (Some(3), 12, 7.0, Some("b")),
            (Some(4), 12, 8.0, Some("c")),
        ],
    );
    project.ingest("clicks", &[first], None).await.unwrap();
    project.ingest("clicks", &[second], None).await.unwrap();
    let asked = [(1, 20), (2, 20), (3, 20), (4, 20)];
    for compacted in [false, true] {
        if compacted {
            let done = project.compact("clicks", &[&["user"]], 1 << 20).await.unwrap();
            assert_eq!((done.files_before, done.files_after, done.rows), (2, 1, 9));
        }
        for strategy in [Strategy::Indexed, Strategy::Sorted] {
            project.set_strategy(strategy);
            project.change_source("clicks", |source| source.sql = None);
            assert_eq!(
                amounts(&project, &asked).await,
                [Some(1.0), Some(4.0), None, Some(-1.0)],
                "{compacted} {strategy:?}"
            );
            project.change_source("clicks", |source| {
                source.sql = Some("select * from source where amount > 0.0".into())
            });
            assert_eq!(
                amounts(&project, &asked).await,
                [Some(1.0), Some(4.0), None, None],
                "{compacted} {strategy:?}"
            );
        }
    }
}

/// A column of each nested type, with its nulls.
fn nested() -> Vec<(&'static str, &'static str, ArrayRef)> {
    let embedding = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(
        [
            Some(vec![Some(0.5), Some(-0.0)]),
            None,
            Some(vec![Some(1.0), Some(f32::NAN)]),
        ],
        2,
    );
    let mut list = ListBuilder::new(StringBuilder::new());
    list.append_value([Some("a"), None]);
    list.append_null();
    list.append_value::<_, &str>([]);
    let list = list.finish();
    let fields = DataType::parse("struct<n: int64, \"odd name\": string>")
        .unwrap()
        .to_arrow();
    let arrow::datatypes::DataType::Struct(fields) = fields else {
        panic!("a struct");
    };
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, None]));
    let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("x"), None, Some("z")]));
    let structs = StructArray::new(fields, vec![numbers, texts], Some(vec![true, false, true].into()));
    let mut maps = MapBuilder::new(None, StringBuilder::new(), Float64Builder::new());
    maps.keys().append_value("k");
    maps.values().append_value(1.5);
    maps.append(true).unwrap();
    maps.append(false).unwrap();
    maps.append(true).unwrap();
    let maps = cast(
        &maps.finish(),
        &DataType::parse("map<string,float64>").unwrap().to_arrow(),
    )
    .unwrap();
    let mut lists = ListBuilder::new(ListBuilder::new(Int64Builder::new()));
    lists.values().append_value([Some(1), None]);
    lists.append(true);
    lists.append(false);
    lists.append(true);
    let lists = lists.finish();
    vec![
        ("vector", "embedding(2)", Arc::new(embedding)),
        ("words", "list<string>", Arc::new(list)),
        (
            "pair",
            "struct<n: int64, \"odd name\": string>",
            Arc::new(structs),
        ),
        ("weights", "map<string,float64>", maps),
        (
            "price",
            "decimal(20,3)",
            Arc::new(
                Decimal128Array::from(vec![Some(-123_456_789_012_345_678), None, Some(1)])
                    .with_precision_and_scale(20, 3)
                    .unwrap(),
            ),
        ),
        (
            "document",
            "json",
            Arc::new(StringArray::from(vec![Some("{\"a\": 1}"), None, Some("[]")])),
        ),
        ("lists", "list<list<int64>>", Arc::new(lists)),
        (
            "small",
            "int32",
            Arc::new(Int32Array::from(vec![Some(i32::MIN), None, Some(3)])),
        ),
        (
            "raw",
            "bytes",
            Arc::new(arrow::array::BinaryArray::from(vec![
                Some(&b"\0\xff"[..]),
                None,
                Some(&b""[..]),
            ])),
        ),
        (
            "day",
            "date",
            Arc::new(arrow::array::Date32Array::from(vec![
                Some(-1),
                None,
                Some(20_000),
            ])),
        ),
        (
            "seen",
            "timestamp",
            Arc::new(TimestampMicrosecondArray::from(vec![Some(-1), None, Some(1)]).with_timezone("UTC")),
        ),
        (
            "flag",
            "bool",
            Arc::new(arrow::array::BooleanArray::from(vec![
                Some(true),
                None,
                Some(false),
            ])),
        ),
        (
            "half",
            "float32",
            Arc::new(arrow::array::Float32Array::from(vec![
                Some(-0.0),
                None,
                Some(f32::INFINITY),
            ])),
        ),
    ]
}

#[tokio::test]
async fn columns_of_every_type_survive() {
    let nested = nested();
    for (name, declared, array) in &nested {
        assert_eq!(
            *array.data_type(),
            DataType::parse(declared).unwrap().to_arrow(),
            "{name}"
        );
    }
    let mut project = Project::new();
    let features: Vec<(&str, &str)> = nested
        .iter()
        .map(|(name, declared, _)| (*name, *declared))
        .collect();
    let schema = [&[("user", "int64"), ("at", "timestamp")], features.as_slice()].concat();
    project
        .entity("user", &[("user", "int64")])
        .source(managed("things", &schema, None))
        .view("thing", "user", "things", None, &features);
    let users: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    let mut columns = vec![("user", users.clone()), ("at", times([1, 1, 1].into_iter()))];
    columns.extend(nested.iter().map(|(name, _, array)| (*name, array.clone())));
    let file = project.path("things.parquet");
    write_parquet(&file, &batch(columns));
    project.ingest("things", &[file], None).await.unwrap();
    let spine = project.path("spine.parquet");
    write_parquet(
        &spine,
        &batch(vec![
            ("user", users),
            ("event_timestamp", times([2, 2, 2].into_iter())),
        ]),
    );
    for out in ["out.parquet", "out.arrow", "compacted.parquet", "compacted.arrow"] {
        if out == "compacted.parquet" {
            let done = project.compact("things", &[&["user"]], 1 << 20).await.unwrap();
            assert_eq!((done.files_written, done.rows), (1, 3));
        }
        let out = project.path(out);
        project
            .extract(&project.plan(&["thing:*"]), &spine, &out, &Ask::default())
            .await
            .unwrap();
        let found = read(&out);
        for (name, _, array) in &nested {
            let found = column(&found, &format!("thing__{name}"));
            assert!(same(array, &found), "{name}: expected {array:?}, found {found:?}");
        }
    }
    let error = project
        .extract(
            &project.plan(&["thing:*"]),
            &spine,
            &project.path("out.csv"),
            &Ask::default(),
        )
        .await
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "column \"thing__vector\" is embedding(2), which CSV cannot hold: write .parquet or .arrow"
    );
}

#[tokio::test]
async fn a_column_may_be_added_but_not_retyped() {
    let mut project = shop();
    let first = parquet(&project, "first.parquet", &[(1, 10, 1.0)]);
    project.ingest("clicks", &[first], None).await.unwrap();
    let retype = |project: &mut Project, column: (&str, &str)| {
        let column = (column.0.to_owned(), DataType::parse(column.1).unwrap());
        project.change_source("clicks", |source| {
            let Location::Managed { schema, .. } = &mut source.location else {
                panic!("managed");
            };
            schema.retain(|(name, _)| *name != column.0);
            schema.push(column);
        });
    };
    retype(&mut project, ("note", "string"));
    project.view(
        "noted",
        "user",
        "clicks",
        None,
        &[("amount", "float64"), ("note", "string")],
    );
    let path = project.path("second.csv");
    std::fs::write(&path, "user,at,amount,note\n2,1970-01-01T00:00:00Z,2.5,hello\n").unwrap();
    project.ingest("clicks", &[path], None).await.unwrap();
    let spine = project.path("s.csv");
    std::fs::write(
        &spine,
        "user,event_timestamp\n1,2000-01-01T00:00:00Z\n2,2000-01-01T00:00:00Z\n",
    )
    .unwrap();
    let out = project.path("noted.csv");
    project
        .extract(&project.plan(&["noted:*"]), &spine, &out, &Ask::default())
        .await
        .unwrap();
    assert_eq!(
        std::fs::read_to_string(&out).unwrap(),
        "user,event_timestamp,noted__amount,noted__note\n\
         1,2000-01-01T00:00:00Z,1.0,\n2,2000-01-01T00:00:00Z,2.5,hello\n"
    );
    retype(&mut project, ("amount", "string"));
    let file = project.path("third.csv");
    std::fs::write(&file, "user,at,note,amount\n1,2000-01-01T00:00:00Z,n,1\n").unwrap();
    let error = project.ingest("clicks", &[file], None).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "managed table clicks: column \"amount\" is stored as double and declared as string: a column of a managed \
         table keeps its type; declare another column"
    );
}

#[tokio::test]
async fn a_table_without_rows_finds_nothing() {
    let project = shop();
    assert_eq!(amounts(&project, &[(1, 10)]).await, [None]);
    let path = project.path("none.csv");
    write_csv(&path, &clicks(&[]));
    let done = project.ingest("clicks", &[path], None).await.unwrap();
    assert_eq!((done.rows, done.repeated), (0, false));
    assert_eq!(amounts(&project, &[(1, 10)]).await, [None]);
}

/// The text of a CSV file is taken exactly as the schema says, or the file is not taken.
#[tokio::test]
async fn csv_files_are_ingested_exactly_or_not_at_all() {
    let mut project = Project::new();
    let schema = [
        ("user", "int64"),
        ("at", "timestamp"),
        ("price", "decimal(6,2)"),
        ("ratio", "float32"),
        ("seen", "timestamp"),
    ];
    project
        .entity("user", &[("user", "int64")])
        .source(managed("clicks", &schema, None))
        .view(
            "v",
            "user",
            "clicks",
            None,
            &[
                ("price", "decimal(6,2)"),
                ("ratio", "float32"),
                ("seen", "timestamp"),
            ],
        );
    let path = project.path("clicks.csv");
    let ingested = async |rows: &str| {
        std::fs::write(&path, format!("user,at,price,ratio,seen\n{rows}")).unwrap();
        let done = project.ingest("clicks", std::slice::from_ref(&path), None).await;
        done.map(|done| done.rows).map_err(|error| {
            assert!(matches!(error, OfflineError::Data(_)), "{error:?}");
            error.to_string()
        })
    };
    let good = "7,2020-01-01T00:00:00Z,,,\n";
    let refused = async |row: &str, expect: &str| {
        let told = ingested(&format!("{good}{row}\n")).await.unwrap_err();
        assert_eq!(told, format!("{}: {expect} (row 1 of the file)", path.display()));
    };
    refused(
        "7,2020-01-01T00:00:00Z,1.259,,",
        "column \"price\" has \"1.259\", which is not exactly decimal(6,2): correct it in the file",
    )
    .await;
    refused(
        "7.5,2020-01-01T00:00:00Z,,,",
        "column \"user\" has \"7.5\", which is not exactly int64: correct it in the file",
    )
    .await;
    for ratio in ["1e39", "16777217"] {
        refused(
            &format!("7,2020-01-01T00:00:00Z,,{ratio},"),
            &format!(
                "column \"ratio\" has \"{ratio}\", which is not exactly float32: correct it in the file"
            ),
        )
        .await;
    }
    refused(
        "7,2020-01-01T00:00:00Z,,,2020-01-01 00:00:00",
        "column \"seen\" cannot be read: \"2020-01-01 00:00:00\" has no time zone: write it as 2013-06-01T12:00:00Z or \
         with an offset such as +02:00",
    )
    .await;
    refused(
        "7,2020-01-01T00:00:00Z,,,2020-01-01T00:00:00.0000001Z",
        "column \"seen\" has \"2020-01-01T00:00:00.0000001Z\", which is not exactly timestamp (in microseconds): correct \
         it in the file",
    )
    .await;
    assert_eq!(seqs(&project), Vec::<i64>::new());
    // The time of a row is rounded up, so that nothing leaks.
    let rows = "007,2020-01-01T00:00:00.0000001Z,1.5,0.1,2020-01-01T01:00:00+01:00\n";
    assert_eq!(ingested(rows).await, Ok(1));
    let spine = project.path("spine.csv");
    let content = "user,event_timestamp\n7,2020-01-01T00:00:00Z\n7,2020-01-01T00:00:00.000001Z\n";
    std::fs::write(&spine, content).unwrap();
    let out = project.path("out.csv");
    project
        .extract(&project.plan(&["v:*"]), &spine, &out, &Ask::default())
        .await
        .unwrap();
    assert_eq!(
        std::fs::read_to_string(out).unwrap(),
        "user,event_timestamp,v__price,v__ratio,v__seen\n\
         7,2020-01-01T00:00:00Z,,,\n\
         7,2020-01-01T00:00:00.000001Z,1.50,0.1,2020-01-01T00:00:00Z\n"
    );
}

/// Parquet holds nanoseconds: those of a row's times are rounded, others are not.
#[tokio::test]
async fn nanoseconds_that_are_no_time_of_the_row_are_refused() {
    let mut project = Project::new();
    let schema = [("user", "int64"), ("at", "timestamp"), ("seen", "timestamp")];
    project
        .entity("user", &[("user", "int64")])
        .source(managed("clicks", &schema, None));
    let nanos = |value: i64| -> ArrayRef {
        Arc::new(arrow::array::TimestampNanosecondArray::from(vec![value]).with_timezone("UTC"))
    };
    let path = project.path("a.parquet");
    let user: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let of = |at: i64, seen: i64| {
        batch(vec![
            ("user", user.clone()),
            ("at", nanos(at)),
            ("seen", nanos(seen)),
        ])
    };
    write_parquet(&path, &of(1_000, 1_001));
    let error = project
        .ingest("clicks", std::slice::from_ref(&path), None)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{}: column \"seen\" has a value that is not exactly timestamp (row 0 of the file)",
            path.display()
        )
    );
    write_parquet(&path, &of(1_001, 1_000));
    project.ingest("clicks", &[path], None).await.unwrap();
}

#[tokio::test]
async fn a_managed_source_without_event_times_is_refused() {
    let project = shop();
    let path = project.path("clicks.csv");
    std::fs::write(&path, "user,at,amount\n7,,1.5\n").unwrap();
    project.ingest("clicks", &[path], None).await.unwrap();
    let spine = project.path("spine.csv");
    std::fs::write(&spine, "user,event_timestamp\n7,2020-01-01T00:00:00Z\n").unwrap();
    let error = project
        .extract(
            &project.plan(&["last_click:amount"]),
            &spine,
            &project.path("out.csv"),
            &Ask::default(),
        )
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "source clicks: column \"at\" (event_time) is null in every row, and a row without an event time is never \
         found: name the column that holds the times, or correct the data"
    );
}
