//! Sources read in place: what their paths mean, what fits, and what is wrong with them in exact words.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{Int64Type, Schema};
use asof_core::time::{DateInstant, Zone};
use asof_offline::{Engine, OfflineError};

use crate::project::{Ask, Project, batch, column, extract, in_place, read, write_csv, write_parquet};
use crate::random::{Random, each_seed};

fn instants(micros: &[i64]) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(micros.to_vec()).with_timezone("UTC"))
}

fn int64(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

/// Keys, times in microseconds and values.
fn rows(rows: &[(i64, i64, i64)]) -> RecordBatch {
    let of = |place: fn(&(i64, i64, i64)) -> i64| rows.iter().map(place).collect::<Vec<_>>();
    batch(vec![
        ("k", int64(&of(|row| row.0))),
        ("at", instants(&of(|row| row.1))),
        ("x", int64(&of(|row| row.2))),
    ])
}

/// A view `v` with the feature `x` of an entity by `k`, from a source at `path`.
fn over(path: &str) -> Project {
    let mut project = Project::new();
    project
        .entity("thing", &[("k", "int64")])
        .source(in_place("s", path))
        .view("v", "thing", "s", None, &[("x", "int64")]);
    write_parquet(
        &project.path("spine.parquet"),
        &batch(vec![
            ("k", int64(&[1, 2])),
            ("event_timestamp", instants(&[100, 100])),
        ]),
    );
    project
}

/// What the keys 1 and 2 find at 100.
async fn found_by(engine: &Engine, project: &Project) -> Result<Vec<Option<i64>>, OfflineError> {
    let ask = Ask {
        overwrite: true,
        ..Ask::default()
    };
    let out = project.path("out.parquet");
    extract(
        engine,
        &project.plan(&["v:*"]),
        &project.path("spine.parquet"),
        &out,
        &ask,
    )
    .await?;
    Ok(column(&read(&out), "v__x")
        .as_primitive::<Int64Type>()
        .iter()
        .collect())
}

async fn found(project: &Project) -> Vec<Option<i64>> {
    found_by(&project.engine(), project).await.unwrap()
}

/// The error, in which `DIR` stands for the project's directory.
async fn refused(project: &Project) -> String {
    let error = found_by(&project.engine(), project).await.unwrap_err();
    let directory = project.path("").canonicalize().unwrap();
    assert!(!project.path("out.parquet").exists());
    error.to_string().replace(directory.to_str().unwrap(), "DIR")
}

#[tokio::test]
async fn a_path_is_a_file_a_directory_or_a_glob() {
    for path in [
        "d/a.parquet",
        "d",
        "d/*.parquet",
        "d/**/*.parquet",
        "d/[a-b]*.parquet",
        "./d/../d",
    ] {
        let project = over(path);
        write_parquet(&project.path("d/a.parquet"), &rows(&[(1, 10, 11), (2, 10, 21)]));
        assert_eq!(found(&project).await, [Some(11), Some(21)], "{path}");
    }
    // The last in byte order of the paths wins a tie; other files and hidden ones are none of the source's.
    let project = over("d");
    write_parquet(&project.path("d/b.parquet"), &rows(&[(1, 10, 12)]));
    write_parquet(&project.path("d/a.parquet"), &rows(&[(1, 10, 11), (2, 10, 21)]));
    write_parquet(&project.path("d/B.parquet"), &rows(&[(1, 10, 13), (2, 10, 22)]));
    write_parquet(&project.path("d/.c.parquet"), &rows(&[(1, 10, 14)]));
    write_parquet(&project.path("d/_temporary/c.parquet"), &rows(&[(1, 10, 15)]));
    std::fs::write(project.path("d/README.md"), "no data").unwrap();
    assert_eq!(found(&project).await, [Some(12), Some(21)]);
}

#[tokio::test]
async fn names_that_mean_something_elsewhere_are_plain_file_names() {
    for name in [
        "a*b.parquet",
        "a?b.parquet",
        "a[1].parquet",
        "a b%20c#d.parquet",
        "k=v/ä.parquet",
    ] {
        let project = over("d");
        write_parquet(&project.path("d").join(name), &rows(&[(1, 10, 11)]));
        assert_eq!(found(&project).await, [Some(11), None], "{name}");
    }
}

#[tokio::test]
async fn sql_projects_and_filters() {
    let mut project = over("a.parquet");
    write_parquet(
        &project.path("a.parquet"),
        &rows(&[(1, 10, 5), (1, 20, -1), (2, 10, -1)]),
    );
    project.change_source("s", |source| {
        source.sql = Some("select k, at, x * 2 as x from source where x > 0".into());
    });
    assert_eq!(found(&project).await, [Some(10), None]);
    project.change_source("s", |source| source.sql = Some("select k, x from source".into()));
    assert_eq!(
        refused_out(&project).await,
        "source s: there is no column \"at\" (event_time); the columns are k, x"
    );
}

/// Spreadsheets write a byte-order mark before the header.
#[tokio::test]
async fn a_byte_order_mark_is_no_part_of_a_name() {
    for header in ["k,at,x", "\"k\",\"at\",x"] {
        let project = over("a.csv");
        let rows = format!("\u{feff}{header}\n1,1970-01-01T00:00:00.000010Z,5\n");
        std::fs::write(project.path("a.csv"), rows).unwrap();
        assert_eq!(found(&project).await, [Some(5), None], "{header}");
        let spine = "\u{feff}k,event_timestamp\n1,1970-01-01T00:00:01Z\n";
        std::fs::write(project.path("spine.csv"), spine).unwrap();
        let out = project.path("out.csv");
        let plan = project.plan(&["v:*"]);
        extract(
            &project.engine(),
            &plan,
            &project.path("spine.csv"),
            &out,
            &Ask::default(),
        )
        .await
        .unwrap();
        let written = std::fs::read_to_string(out).unwrap();
        assert!(written.starts_with("k,event_timestamp,v__x\n1,"), "{written}");
    }
}

/// Some writers say so where a file happens to have no nulls.
#[tokio::test]
async fn a_column_may_have_nulls_in_another_file() {
    let mut project = over("days");
    std::fs::create_dir(project.path("days")).unwrap();
    let first = rows(&[(1, 10, 5)]);
    let required = first
        .schema()
        .fields()
        .iter()
        .map(|field| field.as_ref().clone().with_nullable(false))
        .collect::<Vec<_>>();
    let first = RecordBatch::try_new(Arc::new(Schema::new(required)), first.columns().to_vec()).unwrap();
    write_parquet(&project.path("days/a.parquet"), &first);
    let second = batch(vec![
        ("k", int64(&[2, 2])),
        ("at", instants(&[10, 20])),
        ("x", Arc::new(Int64Array::from(vec![Some(7), None]))),
    ]);
    write_parquet(&project.path("days/b.parquet"), &second);
    for sql in [
        None,
        Some("select * from source"),
        Some("select k, at, x from source where k > 0"),
    ] {
        project.change_source("s", |source| source.sql = sql.map(Into::into));
        assert_eq!(found(&project).await, [Some(5), None], "{sql:?}");
        std::fs::remove_file(project.path("out.parquet")).unwrap();
    }
}

/// As [`refused`], where an earlier output stands.
async fn refused_out(project: &Project) -> String {
    std::fs::remove_file(project.path("out.parquet")).unwrap();
    refused(project).await
}

/// The seq of a row of a file with a filter is its place in the file, not among the rows that pass.
#[tokio::test]
async fn a_filter_does_not_change_who_wins() {
    let mut project = over("d");
    write_parquet(
        &project.path("d/a.parquet"),
        &rows(&[(1, 10, 1), (1, 10, 0), (1, 10, 2), (2, 10, 3)]),
    );
    write_parquet(&project.path("d/b.parquet"), &rows(&[(2, 10, 4), (2, 10, 0)]));
    project.change_source("s", |source| {
        source.sql = Some("select * from source where x <> 0".into())
    });
    assert_eq!(found(&project).await, [Some(2), Some(4)]);
}

#[tokio::test]
async fn dates_and_local_times_are_read_as_the_source_says() {
    const DAY: i64 = 86_400_000_000;
    let mut project = over("a.csv");
    std::fs::write(
        project.path("a.csv"),
        "k,at,x\n1,2013-11-03 01:30:00,7\n2,2013-07-01 12:00:00,8\n",
    )
    .unwrap();
    let new_york = Zone::parse("America/New_York").unwrap();
    project.change_source("s", |source| source.timezone = Some(new_york));
    // 01:30 came twice on 2013-11-03, at 05:30 and 06:30 UTC: a source is read late.
    let late = 1_383_460_200_000_000;
    let ask_at = |at: i64| {
        let spine = batch(vec![
            ("k", int64(&[1, 2])),
            ("event_timestamp", instants(&[at, at])),
        ]);
        write_parquet(&project.path("spine.parquet"), &spine);
    };
    ask_at(late - 1);
    assert_eq!(found(&project).await, [None, Some(8)]);
    ask_at(late);
    assert_eq!(found(&project).await, [Some(7), Some(8)]);
    std::fs::write(
        project.path("a.csv"),
        "k,at,x\n1,2013-01-01 00:00:00,7\n2,2013-03-10 02:30:00,8\n",
    )
    .unwrap();
    assert_eq!(
        refused_out(&project).await,
        "source s: a.csv: column \"at\" cannot be read: the local time 2013-03-10 02:30:00 does not exist in \
         America/New_York: the clocks were put forward past it (row 1 of the file)"
    );
    // Dates.
    let dates: ArrayRef = Arc::new(arrow::array::Date32Array::from(vec![1, 2]));
    let columns = batch(vec![("k", int64(&[1, 2])), ("at", dates), ("x", int64(&[5, 6]))]);
    let mut project = over("d.parquet");
    write_parquet(&project.path("d.parquet"), &columns);
    let spine = batch(vec![
        ("k", int64(&[1, 2])),
        ("event_timestamp", instants(&[2 * DAY - 1, 2 * DAY])),
    ]);
    write_parquet(&project.path("spine.parquet"), &spine);
    assert_eq!(
        refused(&project).await,
        "source s: column \"at\" holds dates: say with dates = \"start\" or dates = \"end\" in the source's \
         definition which instant of the day they mean"
    );
    project.change_source("s", |source| {
        source.dates = Some(DateInstant::End);
        source.timezone = Some(Zone::UTC);
    });
    assert_eq!(found(&project).await, [Some(5), None]);
    project.change_source("s", |source| source.dates = Some(DateInstant::Start));
    assert_eq!(found(&project).await, [Some(5), Some(6)]);
}

#[tokio::test]
async fn paths_that_mean_nothing_usable_are_refused() {
    let check = async |path: &str, expect: &str| {
        let project = over(path);
        std::fs::create_dir(project.path("empty")).unwrap();
        std::fs::write(project.path("notes.txt"), "no data").unwrap();
        write_parquet(&project.path("both/a.parquet"), &rows(&[(1, 10, 1)]));
        write_csv(&project.path("both/b.csv"), &rows(&[(1, 10, 1)]));
        std::os::unix::fs::symlink("/no/such/target", project.path("dangling.parquet")).unwrap();
        std::os::unix::fs::symlink("/etc", project.path("outside")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", project.path("passwd.parquet")).unwrap();
        assert_eq!(refused(&project).await, expect, "{path}");
    };
    let outside = "list that directory under [offline] allow in asof.toml if it is meant";
    check(
        "none/*.parquet",
        "source s: the glob \"none/*.parquet\" matches no file",
    )
    .await;
    check("none.parquet", "source s: none.parquet does not exist").await;
    check(
        "empty",
        "source s: the directory empty has no .parquet or .csv file",
    )
    .await;
    check("notes.txt", "source s: notes.txt is not a .parquet or .csv file").await;
    check(
        "both",
        "source s: \"both\" means both Parquet and CSV files: use one source for each",
    )
    .await;
    check(
        "dangling.parquet",
        "source s: dangling.parquet is a link to nothing",
    )
    .await;
    check(
        "/etc/passwd",
        &format!("source s: /etc/passwd leads outside the project, to /etc/passwd: {outside}"),
    )
    .await;
    check(
        "outside",
        &format!("source s: outside leads outside the project, to /etc: {outside}"),
    )
    .await;
    check(
        "passwd.*",
        &format!("source s: passwd.parquet leads outside the project, to /etc/passwd: {outside}"),
    )
    .await;
    check(
        "http://169.254.169.254/latest.parquet",
        "source s: path \"http://169.254.169.254/latest.parquet\" is a URL: this version reads files and directories only",
    )
    .await;
}

#[tokio::test]
async fn files_that_cannot_be_read_are_named() {
    let check = async |content: &[u8], expect: &str| {
        let project = over("d");
        write_parquet(&project.path("d/a.parquet"), &rows(&[(1, 10, 1)]));
        std::fs::write(project.path("d/b.parquet"), content).unwrap();
        assert_eq!(refused(&project).await, expect);
    };
    check(
        b"",
        "source s: d/b.parquet: not a Parquet file: it has only 0 bytes",
    )
    .await;
    check(
        b"k,at,x\n1,2,3\n4,5,6\n",
        "source s: d/b.parquet: not a whole Parquet file: its last bytes are not PAR1 (cut short, or of another format)",
    )
    .await;
    let project = over("d");
    write_parquet(&project.path("d/a.parquet"), &rows(&[(1, 10, 1)]));
    let whole = std::fs::read(project.path("d/a.parquet")).unwrap();
    check(
        &whole[..whole.len() - 10],
        "source s: d/b.parquet: not a whole Parquet file: its last bytes are not PAR1 (cut short, or of another format)",
    )
    .await;
    let project = over("a.csv");
    std::fs::write(project.path("a.csv"), "").unwrap();
    assert_eq!(
        refused(&project).await,
        "source s: a.csv: the file is empty, without a header line"
    );
}

/// What a header of a data page is where it claims 2 GiB, in Thrift's compact protocol.
const PAGE_OF_2_GIB: [u8; 23] = [
    0x15, 0x00, // its type: a data page
    0x15, 0xfe, 0xff, 0xff, 0xff, 0x0f, // its size: 2^31 - 1 bytes
    0x15, 0xfe, 0xff, 0xff, 0xff, 0x0f, // as much compressed
    0x2c, // of a data page:
    0x15, 0x02, 0x15, 0x00, 0x15, 0x06, 0x15, 0x06, // one value, plain; levels in run lengths
];

#[tokio::test]
async fn pages_that_cannot_be_read_are_named() {
    let check = async |header: &[u8], expect: &str| {
        let project = over("a.parquet");
        let path = project.path("a.parquet");
        let many: Vec<(i64, i64, i64)> = (0..200).map(|row| (row, row, row)).collect();
        write_parquet(&path, &rows(&many));
        let file = std::fs::File::open(&path).unwrap();
        let reader = parquet::file::serialized_reader::SerializedFileReader::new(file).unwrap();
        let group = parquet::file::reader::FileReader::metadata(&reader).row_group(0);
        let (start, _) = group.column(0).byte_range();
        let start = usize::try_from(start).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[start..start + header.len()].copy_from_slice(header);
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(refused(&project).await, expect);
    };
    check(
        &[0xff; 20],
        "source s: a.parquet: row group 0 cannot be read: Parquet argument error: Parquet error: Unexpected struct field type 15",
    )
    .await;
    check(
        &PAGE_OF_2_GIB,
        "source s: a.parquet: row group 0 cannot be read: Parquet argument error: EOF: unexpected end of file whilst decoding \
         definition levels rle value",
    )
    .await;
}

#[tokio::test]
async fn ten_thousand_columns_are_fine() {
    let project = over("a.parquet");
    let names: Vec<String> = (0..10_000).map(|place| format!("c{place}")).collect();
    let mut columns = vec![("k", int64(&[1])), ("at", instants(&[10])), ("x", int64(&[7]))];
    columns.extend(names.iter().map(|name| (name.as_str(), int64(&[0]))));
    write_parquet(&project.path("a.parquet"), &batch(columns));
    assert_eq!(found(&project).await, [Some(7), None]);
}

#[tokio::test]
async fn files_of_different_schemas_are_refused() {
    let check = async |other: RecordBatch, expect: &str| {
        let project = over("d");
        write_parquet(&project.path("d/a.parquet"), &rows(&[(1, 10, 1)]));
        write_parquet(&project.path("d/b.parquet"), &other);
        let expect =
            format!("source s: the files d/a.parquet and d/b.parquet have different schemas: {expect}");
        assert_eq!(refused(&project).await, expect);
    };
    let text: ArrayRef = Arc::new(StringArray::from(vec!["1"]));
    check(
        batch(vec![("k", int64(&[1])), ("at", instants(&[10])), ("x", text)]),
        "column \"x\" is int64 in one and string in the other",
    )
    .await;
    check(
        batch(vec![("k", int64(&[1])), ("at", instants(&[10]))]),
        "column \"x\" is only in d/a.parquet",
    )
    .await;
    check(
        batch(vec![
            ("k", int64(&[1])),
            ("at", instants(&[10])),
            ("x", int64(&[1])),
            ("y", int64(&[1])),
        ]),
        "column \"y\" is only in d/b.parquet",
    )
    .await;
    // Another order of columns is the same schema in Parquet, which knows columns by name.
    let project = over("d");
    write_parquet(&project.path("d/a.parquet"), &rows(&[(1, 10, 1)]));
    let turned = batch(vec![
        ("x", int64(&[7])),
        ("k", int64(&[2])),
        ("at", instants(&[10])),
    ]);
    write_parquet(&project.path("d/b.parquet"), &turned);
    assert_eq!(found(&project).await, [Some(1), Some(7)]);
    let project = over("d");
    write_csv(&project.path("d/a.csv"), &rows(&[(1, 10, 1)]));
    write_csv(&project.path("d/b.csv"), &turned);
    assert_eq!(
        refused(&project).await,
        "source s: the files d/a.csv and d/b.csv have different schemas: column \"k\" of one stands where \"x\" \
         stands in the other: CSV files of one source have the same columns in the same order"
    );
}

#[tokio::test]
async fn columns_that_do_not_fit_are_refused() {
    let check = async |columns: RecordBatch, expect: &str| {
        let project = over("a.parquet");
        write_parquet(&project.path("a.parquet"), &columns);
        assert_eq!(refused(&project).await, format!("source s: {expect}"));
    };
    let loss = "without loss: declare it as another type, or cast it in the source's sql";
    let text = || -> ArrayRef { Arc::new(StringArray::from(vec!["1"])) };
    let naive = || -> ArrayRef { Arc::new(TimestampMicrosecondArray::from(vec![10])) };
    let float = |value: f64| -> ArrayRef { Arc::new(arrow::array::Float64Array::from(vec![value])) };
    check(
        batch(vec![("k", int64(&[1])), ("x", int64(&[1]))]),
        "there is no column \"at\" (event_time); the columns are k, x",
    )
    .await;
    check(
        batch(vec![
            ("k", int64(&[1])),
            ("At", instants(&[1])),
            ("x", int64(&[1])),
        ]),
        "there is no column \"at\" (event_time); did you mean \"At\"?; the columns are k, At, x",
    )
    .await;
    check(
        batch(vec![("k", int64(&[1])), ("at", int64(&[1])), ("x", int64(&[1]))]),
        "column \"at\" is int64, not a time: expected timestamps, dates, or text such as 2013-06-01T12:00:00Z",
    )
    .await;
    check(
        batch(vec![("k", int64(&[1])), ("at", naive()), ("x", int64(&[1]))]),
        "column \"at\" holds times without a zone: name it with timezone = \"…\" in the source's definition",
    )
    .await;
    check(
        batch(vec![("k", int64(&[1])), ("at", text()), ("x", int64(&[1]))]),
        "a.parquet: column \"at\" cannot be read: \"1\" is not a time: write it as 2013-06-01T12:00:00Z (row 0 of the file)",
    )
    .await;
    check(
        batch(vec![("k", text()), ("at", instants(&[1])), ("x", int64(&[1]))]),
        &format!("column \"k\" is string, which cannot be taken as int64 {loss}"),
    )
    .await;
    check(
        batch(vec![("k", int64(&[1])), ("at", instants(&[1])), ("x", text())]),
        &format!("column \"x\" is string, which cannot be taken as int64 {loss}"),
    )
    .await;
    check(
        batch(vec![
            ("k", int64(&[1])),
            ("at", instants(&[1])),
            ("x", float(1.5)),
        ]),
        "a.parquet: column \"x\" has a value that is not exactly int64 (row 0 of the file)",
    )
    .await;
    let project = over("a.parquet");
    write_parquet(
        &project.path("a.parquet"),
        &batch(vec![("k", float(1.0)), ("at", instants(&[1])), ("x", float(3.0))]),
    );
    assert_eq!(found(&project).await, [Some(3), None]);
}

#[tokio::test]
async fn rows_without_key_or_event_time_are_skipped_and_counted() {
    let project = over("a.parquet");
    let nulls: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(2), Some(2)]));
    let times: ArrayRef =
        Arc::new(TimestampMicrosecondArray::from(vec![Some(1), Some(1), None, Some(2)]).with_timezone("UTC"));
    write_parquet(
        &project.path("a.parquet"),
        &batch(vec![("k", nulls), ("at", times), ("x", int64(&[1, 2, 3, 4]))]),
    );
    let out = project.path("out.parquet");
    let plan = project.plan(&["v:*"]);
    let spine = project.path("spine.parquet");
    let summary = project
        .extract(&plan, &spine, &out, &Ask::default())
        .await
        .unwrap();
    assert_eq!(
        (summary.views[0].source_rows, summary.views[0].skipped_rows),
        (2, 2)
    );
    // Event times that are all null, in a column without a type.
    let nothing: ArrayRef = Arc::new(arrow::array::NullArray::new(2));
    write_parquet(
        &project.path("a.parquet"),
        &batch(vec![
            ("k", int64(&[1, 2])),
            ("at", nothing),
            ("x", int64(&[1, 2])),
        ]),
    );
    let ask = Ask {
        overwrite: true,
        ..Ask::default()
    };
    let error = project.extract(&plan, &spine, &out, &ask).await.unwrap_err();
    assert!(matches!(error, OfflineError::Data(_)), "{error:?}");
    assert_eq!(error.to_string(), ALL_NULL);
}

const ALL_NULL: &str = "source s: column \"at\" (event_time) is null in every row, and a row without an event time is \
                        never found: name the column that holds the times, or correct the data";

/// One time in any of the files is enough, and a source without rows has nothing that is wrong.
#[tokio::test]
async fn a_source_without_event_times_is_refused() {
    let null_times: ArrayRef =
        Arc::new(TimestampMicrosecondArray::from(vec![None, None]).with_timezone("UTC"));
    let nulls = batch(vec![
        ("k", int64(&[1, 2])),
        ("at", null_times),
        ("x", int64(&[1, 2])),
    ]);
    for path in ["d/a.parquet", "d/a.csv"] {
        let mut project = over("d");
        let write = |path: &str, rows: &RecordBatch| match path.ends_with("csv") {
            true => {
                std::fs::create_dir_all(project.path("d")).unwrap();
                write_csv(&project.path(path), rows);
            }
            false => write_parquet(&project.path(path), rows),
        };
        write(path, &nulls);
        assert_eq!(refused(&project).await, ALL_NULL, "{path}");
        let second = path.replace("a.", "b.");
        write(&second, &nulls.slice(0, 1));
        assert_eq!(refused(&project).await, ALL_NULL, "{path}");
        write(&second, &rows(&[(1, 10, 11)]));
        assert_eq!(found(&project).await, [Some(11), None], "{path}");
        // Of the rows that sql leaves over, none has a time; of none of them it is not asked.
        project.change_source("s", |source| {
            source.sql = Some("select * from source where x < 11".into())
        });
        assert_eq!(refused_out(&project).await, ALL_NULL, "{path}");
        project.change_source("s", |source| {
            source.sql = Some("select * from source where x > 11".into())
        });
        assert_eq!(found(&project).await, [None, None], "{path}");
    }
}

#[tokio::test]
async fn column_names_may_differ_by_case_and_hold_dots_and_quotes() {
    for path in ["a.parquet", "a.csv"] {
        let mut project = Project::new();
        project
            .entity("thing", &[("K", "int64")])
            .source(in_place("s", path))
            .view(
                "v",
                "thing",
                "s",
                None,
                &[("x", "int64"), ("y", "int64"), ("z", "int64")],
            )
            .rename_feature("v", "x", "a.b")
            .rename_feature("v", "y", "\"q\"")
            .rename_feature("v", "z", "k");
        project.change_source("s", |source| source.event_time = "A.B at".into());
        let columns = batch(vec![
            ("k", int64(&[4])),
            ("K", int64(&[1])),
            ("a.b", int64(&[2])),
            ("A.B at", instants(&[1])),
            ("\"q\"", int64(&[3])),
        ]);
        match path {
            "a.csv" => write_csv(&project.path(path), &columns),
            _ => write_parquet(&project.path(path), &columns),
        }
        let spine = project.path("spine.parquet");
        let own = batch(vec![
            ("k", int64(&[9])),
            ("K", int64(&[1])),
            ("event.timestamp", instants(&[5])),
        ]);
        write_parquet(&spine, &own);
        let out = project.path("out.parquet");
        let ask = Ask {
            time_column: "event.timestamp".into(),
            ..Ask::default()
        };
        project
            .extract(&project.plan(&["v:*"]), &spine, &out, &ask)
            .await
            .unwrap();
        let found = read(&out);
        for (name, expect) in [("v__x", 2), ("v__y", 3), ("v__z", 4), ("k", 9), ("K", 1)] {
            assert_eq!(
                column(&found, name).as_primitive::<Int64Type>().value(0),
                expect,
                "{path}: {name}"
            );
        }
    }
}

/// Damage is an error that names the file, or goes unseen where it lies in values: never a panic, and
/// never fewer or more rows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flipped_bytes_never_panic() {
    let outcomes = each_seed(150, |mut random| async move { flipped(&mut random).await }).await;
    assert!(outcomes.len() < 150 || outcomes.iter().filter(|refused| **refused).count() > 10);
    // The Arrow schema in the footer is damaged so that its decoder panics.
    assert!(flipped(&mut Random::new(9_147_581_993_873_131_577)).await);
}

async fn flipped(random: &mut Random) -> bool {
    let project = over("a.parquet");
    let path = project.path("a.parquet");
    let many: Vec<(i64, i64, i64)> = (0..200).map(|row| (row % 5, row, row * 7)).collect();
    write_parquet(&path, &rows(&many));
    let mut bytes = std::fs::read(&path).unwrap();
    for _ in 0..1 + random.below(3) {
        let at = random.below(bytes.len() - 12) + 4;
        bytes[at] ^= 1 << random.below(8);
    }
    std::fs::write(&path, bytes).unwrap();
    match found_by(&project.engine(), &project).await {
        Ok(values) => {
            assert_eq!(values.len(), 2);
            false
        }
        Err(error) => {
            let text = error.to_string();
            assert!(!matches!(error, OfflineError::Internal(_)), "{text}");
            assert!(
                text.contains("a.parquet") || text.starts_with("source s: "),
                "{text}"
            );
            assert!(!text.contains('\n') && text.len() < 600, "{text}");
            true
        }
    }
}

/// A Delta table that somebody else writes: its live rows count, its partition columns are columns.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delta_table_of_somebody_else_is_read_in_place() {
    let mut project = over("table");
    let directory = project.path("table");
    std::fs::create_dir(&directory).unwrap();
    let url = url::Url::from_directory_path(directory.canonicalize().unwrap()).unwrap();
    let day = |day: &str, rows: RecordBatch| {
        let days: ArrayRef = Arc::new(StringArray::from(vec![day; rows.num_rows()]));
        let mut columns: Vec<(&str, ArrayRef)> = vec![("day", days)];
        let names = ["k", "at", "x"];
        columns.extend(names.into_iter().map(|name| (name, column(&rows, name))));
        batch(columns)
    };
    let table = deltalake::DeltaTable::try_from_url(url).await.unwrap();
    let table = table
        .write(vec![
            day("a b", rows(&[(1, 10, 11), (2, 10, 21)])),
            day("c=d", rows(&[(1, 20, 12)])),
        ])
        .with_partition_columns(["day"])
        .await
        .unwrap();
    assert_eq!(found(&project).await, [Some(12), Some(21)]);
    let (table, _) = table.delete().with_predicate("x = 12").await.unwrap();
    assert_eq!(found(&project).await, [Some(11), Some(21)]);
    table.write(vec![day("e", rows(&[(2, 30, 22)]))]).await.unwrap();
    assert_eq!(found(&project).await, [Some(11), Some(22)]);
    project.view("days", "thing", "s", None, &[("day", "string")]);
    let out = project.path("days.parquet");
    project
        .extract(
            &project.plan(&["days:*"]),
            &project.path("spine.parquet"),
            &out,
            &Ask::default(),
        )
        .await
        .unwrap();
    let days = column(&read(&out), "days__day");
    assert_eq!(
        days.as_string::<i32>().iter().collect::<Vec<_>>(),
        [Some("a b"), Some("e")]
    );
}

/// A Delta table of which somebody removed files by hand.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delta_table_with_holes_is_refused() {
    let project = over("table");
    let directory = project.path("table");
    std::fs::create_dir(&directory).unwrap();
    let url = url::Url::from_directory_path(directory.canonicalize().unwrap()).unwrap();
    let table = deltalake::DeltaTable::try_from_url(url).await.unwrap();
    table.write(vec![rows(&[(1, 10, 11)])]).await.unwrap();
    assert_eq!(found(&project).await, [Some(11), None]);
    let data = directory
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "parquet"))
        .unwrap();
    let name = data.file_name().unwrap().to_str().unwrap();
    std::fs::remove_file(&data).unwrap();
    assert_eq!(
        refused_out(&project).await.replace(name, "FILE"),
        "source s: FILE is gone, and the source names it: restore it, or run this again where its writer replaced it"
    );
    std::fs::remove_file(directory.join("_delta_log/00000000000000000000.json")).unwrap();
    assert_eq!(
        refused(&project).await,
        "source s: the Delta table in DIR/table cannot be opened: Not a Delta table: Generic delta kernel error: No files in \
         log segment"
    );
}

/// A view `v` of one feature `x` of a type, from `a.csv` with this content, by a spine of the key 1 at noon of
/// 2020-01-01 UTC.
fn csv_feature(data_type: &str, content: &str) -> Project {
    let mut project = Project::new();
    project
        .entity("thing", &[("k", "int64")])
        .source(in_place("s", "a.csv"))
        .view("v", "thing", "s", None, &[("x", data_type)]);
    std::fs::write(project.path("a.csv"), content).unwrap();
    std::fs::write(
        project.path("spine.csv"),
        "k,event_timestamp\n1,2020-01-01T12:00:00Z\n",
    )
    .unwrap();
    project
}

/// What the one row of the spine finds, as text: the third field of the dataset's second line.
async fn one_found(project: &Project) -> Result<String, String> {
    let out = project.path("out.csv");
    let ask = Ask {
        overwrite: true,
        ..Ask::default()
    };
    let spine = project.path("spine.csv");
    match project.extract(&project.plan(&["v:*"]), &spine, &out, &ask).await {
        Ok(_) => {
            let text = std::fs::read_to_string(&out).unwrap();
            Ok(text
                .lines()
                .nth(1)
                .unwrap()
                .splitn(3, ',')
                .nth(2)
                .unwrap()
                .to_owned())
        }
        Err(error) => {
            assert!(
                matches!(error, OfflineError::Data(_) | OfflineError::Definition(_)),
                "{error:?}"
            );
            Err(error.to_string())
        }
    }
}

#[tokio::test]
async fn features_in_csv_files_are_exactly_what_is_written_or_refused() {
    let fits = async |data_type: &str, text: &str, expect: &str| {
        let project = csv_feature(data_type, &format!("k,at,x\n1,2020-01-01T00:00:00Z,{text}\n"));
        assert_eq!(
            one_found(&project).await.as_deref(),
            Ok(expect),
            "{data_type} {text}"
        );
    };
    fits("int64", "007", "7").await;
    fits("int64", "+7", "7").await;
    fits("int32", "1.0", "1").await;
    fits("decimal(6,2)", "1.5", "1.50").await;
    fits("decimal(6,2)", "1.250", "1.25").await;
    fits("float64", "1.255", "1.255").await;
    fits("float64", "16777217", "16777217.0").await;
    fits("float32", "0.1", "0.1").await;
    fits("float32", "16777216", "16777216.0").await;
    fits("bool", "TRUE", "true").await;
    fits("bool", "", "").await;
    fits("string", "007", "007").await;
    fits("string", "\"a, \"\"b\"\"\"", "\"a, \"\"b\"\"\"").await;
    fits("date", "2020-02-29", "2020-02-29").await;
    fits(
        "timestamp",
        "2020-01-01 01:00:00.000001+01:00",
        "2020-01-01T00:00:00.000001Z",
    )
    .await;
    let differs = async |data_type: &str, text: &str, shown: &str, written: &str| {
        let rows = format!("k,at,x\n2,2020-01-01T00:00:00Z,\n1,2020-01-01T00:00:00Z,{text}\n");
        let project = csv_feature(data_type, &rows);
        assert_eq!(
            one_found(&project).await.unwrap_err(),
            format!(
                "source s: a.csv: column \"x\" has \"{shown}\", which is not exactly {data_type}{written}: correct it in \
                 the file, or declare the column as another type (row 1 of the file)"
            )
        );
    };
    for (data_type, text) in [
        ("int64", "abc"),
        ("int64", "1.5"),
        ("int64", "9223372036854775808"),
        ("int32", "2147483648"),
        ("decimal(6,2)", "1.255"),
        ("decimal(6,2)", "10000"),
        ("float64", "1e309"),
        ("float32", "1e39"),
        ("float32", "16777217"),
    ] {
        differs(data_type, text, text, "").await;
    }
    differs("bool", "1", "1", " (true or false)").await;
    differs(
        "date",
        "2020-01-01 10:00:00",
        "2020-01-01 10:00:00",
        " (a day such as 2013-06-01)",
    )
    .await;
    let nanos = "2020-01-01T00:00:00.0000001Z";
    differs("timestamp", nanos, nanos, " (in microseconds)").await;
    differs("int64", &"x".repeat(100), &"x".repeat(64), "").await;
    differs("int64", "\"a\nb\"", "a\\nb", "").await;
    // Nothing of the row is told.
    let project = csv_feature("int64", "k,at,secret,x\n1,2020-01-01T00:00:00Z,hush,abc\n");
    assert!(!one_found(&project).await.unwrap_err().contains("hush"));
    // What text cannot hold is refused before anything is read.
    let project = csv_feature("list<int64>", "k,at,x\n1,2020-01-01T00:00:00Z,[1]\n");
    assert_eq!(
        one_found(&project).await.unwrap_err(),
        "source s: column \"x\" is string, which cannot be taken as list<int64> without loss: declare it as another \
         type, or cast it in the source's sql"
    );
}

#[tokio::test]
async fn times_in_csv_features_are_in_the_zone_of_the_source() {
    let noon = "k,at,x\n1,2020-01-01 06:00:00,2020-01-01 05:00:00\n";
    let mut project = csv_feature("timestamp", &noon.replace(" 06:00:00", "T06:00:00Z"));
    assert_eq!(
        one_found(&project).await.unwrap_err(),
        "source s: a.csv: column \"x\" cannot be read: \"2020-01-01 05:00:00\" has no time zone: write it as \
         2013-06-01T12:00:00Z or with an offset such as +02:00 (row 0 of the file)"
    );
    project.change_source("s", |source| {
        source.timezone = Some(Zone::parse("America/New_York").unwrap())
    });
    // Five hours behind in January.
    assert_eq!(one_found(&project).await.as_deref(), Ok("2020-01-01T10:00:00Z"));
    // Days, as features and as event times.
    let days = "k,at,x\n1,2019-12-30,2019-12-31\n1,2020-01-01,2020-01-02\n";
    std::fs::write(
        project.path("a.csv"),
        days.replace(",2020-01-01,", ",2020-01-01T00:00:00Z,")
            .replace(",2019-12-30,", ",2019-12-30T00:00:00Z,"),
    )
    .unwrap();
    assert_eq!(
        one_found(&project).await.unwrap_err(),
        "source s: a.csv: column \"x\" holds dates: say with dates = \"start\" or dates = \"end\" in the source's \
         definition which instant of the day they mean"
    );
    std::fs::write(project.path("a.csv"), days).unwrap();
    assert_eq!(
        one_found(&project).await.unwrap_err(),
        "source s: a.csv: column \"at\" holds dates: say with dates = \"start\" or dates = \"end\" in the source's \
         definition which instant of the day they mean"
    );
    project.change_source("s", |source| source.dates = Some(DateInstant::End));
    // The first of January ends in New York long after noon UTC.
    assert_eq!(
        one_found(&project).await.as_deref(),
        Ok("2020-01-01T04:59:59.999999Z")
    );
    project.change_source("s", |source| source.dates = Some(DateInstant::Start));
    assert_eq!(one_found(&project).await.as_deref(), Ok("2020-01-02T05:00:00Z"));
}

/// The event time is read by two rules: rounded where it is a time of the row, exact where it is a feature.
#[tokio::test]
async fn an_event_time_may_be_a_feature() {
    let rows = "k,at,made\n1,2020-01-01 01:00:00,2020-01-01T02:00:00Z\n";
    let mut project = csv_feature("timestamp", rows);
    project
        .rename_feature("v", "x", "at")
        .change_source("s", |source| {
            source.timezone = Some(Zone::parse("Europe/Paris").unwrap());
            source.created_time = Some("made".into());
        });
    assert_eq!(one_found(&project).await.as_deref(), Ok("2020-01-01T00:00:00Z"));
    project.rename_feature("v", "x", "made");
    assert_eq!(one_found(&project).await.as_deref(), Ok("2020-01-01T02:00:00Z"));
    std::fs::write(
        project.path("a.csv"),
        "k,at,made\n1,2020-01-01 01:00:00,2020-01-01T02:00:00.0000001Z\n",
    )
    .unwrap();
    assert_eq!(
        one_found(&project).await.unwrap_err(),
        "source s: a.csv: column \"made\" has \"2020-01-01T02:00:00.0000001Z\", which is not exactly timestamp (in \
         microseconds): correct it in the file, or declare the column as another type (row 0 of the file)"
    );
    // As text, and as the day that it is.
    let mut project = csv_feature("string", "k,at\n1,2020-01-01\n");
    project
        .rename_feature("v", "x", "at")
        .change_source("s", |source| {
            source.timezone = Some(Zone::UTC);
            source.dates = Some(DateInstant::Start);
        });
    assert_eq!(one_found(&project).await.as_deref(), Ok("2020-01-01"));
    let mut project = csv_feature("date", "k,at\n1,2020-01-01\n");
    project
        .rename_feature("v", "x", "at")
        .change_source("s", |source| {
            source.timezone = Some(Zone::UTC);
            source.dates = Some(DateInstant::Start);
        });
    assert_eq!(one_found(&project).await.as_deref(), Ok("2020-01-01"));
}

/// What nothing declares is text to `sql`, whatever it looks like.
#[tokio::test]
async fn columns_of_csv_files_that_only_sql_reads_are_text() {
    let rows = "k,at,code,price\n1,2020-01-01T00:00:00Z,0012,2.50\n";
    let mut project = csv_feature("string", rows);
    project.change_source("s", |source| {
        source.sql = Some("select k, at, code || '/' || price as x from source".into())
    });
    assert_eq!(one_found(&project).await.as_deref(), Ok("0012/2.50"));
    let mut project = csv_feature("float64", rows);
    project.change_source("s", |source| {
        source.sql = Some("select k, at, cast(price as double) * 2 as x from source".into())
    });
    assert_eq!(one_found(&project).await.as_deref(), Ok("5.0"));
    project.change_source("s", |source| {
        source.sql = Some("select k, at, price * 2 as x from source".into())
    });
    assert_eq!(
        one_found(&project).await.unwrap_err(),
        "source s: sql: `*` cannot be used with string and int64: cast to types that fit"
    );
}

#[tokio::test]
async fn a_key_of_decimals_is_matched_exactly() {
    let mut project = csv_feature("int64", "k,at,x\n1.555,2020-01-01T00:00:00Z,1\n");
    project.entity("thing", &[("k", "decimal(6,2)")]);
    std::fs::write(
        project.path("spine.csv"),
        "k,event_timestamp\n1.55,2020-01-01T12:00:00Z\n",
    )
    .unwrap();
    assert_eq!(
        one_found(&project).await.unwrap_err(),
        "source s: a.csv: column \"k\" has \"1.555\", which is not exactly decimal(6,2): correct it in the file, or \
         declare the column as another type (row 0 of the file)"
    );
    std::fs::write(
        project.path("a.csv"),
        "k,at,x\n1.54,2020-01-01T00:00:00Z,1\n1.550,2020-01-01T00:00:00Z,2\n1.56,2020-01-01T00:00:00Z,3\n",
    )
    .unwrap();
    assert_eq!(one_found(&project).await.as_deref(), Ok("2"));
}

#[tokio::test]
async fn a_whole_decimal_is_a_whole_number() {
    let decimal = |units: i128| -> ArrayRef {
        let array = arrow::array::Decimal128Array::from(vec![units]);
        Arc::new(array.with_precision_and_scale(5, 2).unwrap())
    };
    let project = over("a.parquet");
    let of = |key: i128, x: i128| {
        batch(vec![
            ("k", decimal(key)),
            ("at", instants(&[1])),
            ("x", decimal(x)),
        ])
    };
    write_parquet(&project.path("a.parquet"), &of(100, 700));
    assert_eq!(found(&project).await, [Some(7), None]);
    write_parquet(&project.path("a.parquet"), &of(150, 700));
    assert_eq!(
        refused_out(&project).await,
        "source s: a.parquet: column \"k\" has a value that is not exactly int64 (row 0 of the file)"
    );
}
