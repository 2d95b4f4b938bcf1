//! Views of aggregates, case by case: the ends of windows, hot keys, bad definitions, and what is told of them.

use std::sync::Arc;
use std::time::{Duration as Elapsed, Instant};

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Float64Array, Int64Array, RecordBatch,
    StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Float64Type, Int64Type};
use asof_core::aggregate::Function;
use asof_core::definition::{Aggregate, InputText, Source};
use asof_core::key::{KeyValue, encode};
use asof_core::status::Status;
use asof_core::time::Timestamp;
use asof_offline::{
    EngineOptions, ExplainRequest, ExtractSummary, Grid, LintRequest, OfflineError, Rows, Silent, Standing,
    Strategy,
};

use crate::project::{
    Ask, Project, aggregate, batch, column, extract, extract_rows, in_place, managed, read, write_csv,
    write_parquet, write_parquet_groups,
};

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;

fn int64(values: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

fn times(micros: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone("UTC"))
}

/// A project of one key, `k`, whose source `s` has the given columns.
fn project(source: Source, columns: Vec<(&str, ArrayRef)>) -> Project {
    let mut project = Project::new();
    write_parquet_groups(&project.path("s.parquet"), &batch(columns), 3);
    project.entity("thing", &[("k", "int64")]).source(source);
    project
}

fn again() -> Ask {
    Ask {
        overwrite: true,
        ..Ask::default()
    }
}

async fn extracted(
    project: &Project,
    strategy: Strategy,
    questions: &[(i64, i64)],
    ask: &Ask,
) -> Result<(RecordBatch, ExtractSummary), OfflineError> {
    let options = EngineOptions {
        strategy,
        ..project.options
    };
    let spine = batch(vec![
        ("k", int64(questions.iter().map(|(key, _)| *key))),
        ("event_timestamp", times(questions.iter().map(|(_, at)| *at))),
    ]);
    let (path, out) = (project.path("spine.parquet"), project.path("out.parquet"));
    write_parquet(&path, &spine);
    let plan = project.plan(&["w:*"]);
    let summary = extract(&project.engine_with(options), &plan, &path, &out, ask).await?;
    Ok((read(&out), summary))
}

fn counts(found: &RecordBatch, name: &str) -> Vec<i64> {
    column(found, name).as_primitive::<Int64Type>().values().to_vec()
}

fn floats(found: &RecordBatch, name: &str) -> Vec<Option<f64>> {
    column(found, name).as_primitive::<Float64Type>().iter().collect()
}

const BOTH: [Strategy; 2] = [Strategy::Indexed, Strategy::Sorted];

/// An hour's tail moves by the minute: at 02:00:30.5 it covers what happened after 01:00:00.
#[tokio::test]
async fn a_window_begins_behind_its_hop_and_ends_at_the_instant() {
    let (hour, at) = (60 * MINUTE, 120 * MINUTE + 30 * SECOND + 500_000);
    let edges = [hour - 1, hour, hour + 1, at - 1, at, at + 1];
    let mut project = project(
        in_place("s", "s.parquet"),
        vec![("k", int64([1; 6])), ("at", times(edges)), ("x", int64(1..=6))],
    );
    let list = vec![
        aggregate(Some(("x", "int64")), &[Function::Sum], &["1h", "all"]),
        aggregate(Some(("x", "int64")), &[Function::First, Function::Last], &["1h"]),
        aggregate(None, &[Function::Count], &["1h"]),
    ];
    project.aggregates("w", "thing", "s", None, list);
    for strategy in BOTH {
        let asked = [
            (1, at),
            (1, at - 1),
            (1, at + 1),
            // The tail is where it was until the minute is over.
            (1, 120 * MINUTE),
            (1, 121 * MINUTE - 1),
            (1, 121 * MINUTE),
            (1, 0),
            (2, at),
        ];
        let (found, _) = extracted(&project, strategy, &asked, &again()).await.unwrap();
        assert_eq!(
            counts(&found, "w__count_1h"),
            [3, 2, 4, 1, 4, 3, 0, 0],
            "{strategy:?}"
        );
        assert_eq!(
            counts(&found, "w__x_sum_all")[..6],
            [15, 10, 21, 6, 21, 21],
            "{strategy:?}"
        );
        assert_eq!(counts(&found, "w__x_first_1h")[..6], [3, 3, 3, 3, 3, 4]);
        assert_eq!(counts(&found, "w__x_last_1h")[..6], [5, 4, 6, 3, 6, 6]);
        for name in ["w__x_sum_1h", "w__x_sum_all", "w__x_first_1h"] {
            let nulls = column(&found, name);
            assert!(
                nulls.is_null(6) && nulls.is_null(7) && nulls.null_count() == 2,
                "{name}"
            );
        }
    }
}

/// What became known later counts from then on, and what says that there is nothing is no event.
#[tokio::test]
async fn late_events_and_deletions() {
    let source = Source {
        created_time: Some("known".into()),
        deleted: Some("gone".into()),
        ..in_place("s", "s.parquet")
    };
    let mut project = project(
        source,
        vec![
            ("k", int64([1, 1, 1, 1])),
            ("at", times([10, 20, 30, 40])),
            ("known", times([10, 35, 30, 90])),
            (
                "gone",
                Arc::new(BooleanArray::from(vec![
                    None,
                    Some(false),
                    Some(true),
                    Some(true),
                ])),
            ),
            ("x", int64([1, 0, 100, 100])),
        ],
    );
    let list = vec![
        aggregate(Some(("x", "int64")), &[Function::Sum], &["all"]),
        aggregate(None, &[Function::Count], &["all"]),
    ];
    project.aggregates("w", "thing", "s", None, list);
    for strategy in BOTH {
        let asked = [(1, 30), (1, 34), (1, 35), (1, 50)];
        let (found, summary) = extracted(&project, strategy, &asked, &again()).await.unwrap();
        assert_eq!(counts(&found, "w__count_all"), [1, 1, 2, 2]);
        assert_eq!(counts(&found, "w__x_sum_all"), [1, 1, 1, 1]);
        // The event of 20 was left out twice, and adds one to the count.
        let view = &summary.views[0];
        assert_eq!(
            (view.held_back_winners, view.corrected_rows),
            (2, 2),
            "{strategy:?}"
        );
        let ask = Ask {
            as_corrected: true,
            ..again()
        };
        let (found, summary) = extracted(&project, strategy, &asked, &ask).await.unwrap();
        assert_eq!(counts(&found, "w__count_all"), [2, 2, 2, 2]);
        assert_eq!(summary.views[0].held_back_winners, 0);
    }
    // A late event that changes no feature is no correction: the sum of a zero more is the same.
    let view = project.definitions.views.get_mut("w").unwrap();
    let features = [view.features()[0].clone()];
    *view = view.narrowed(&features);
    for strategy in BOTH {
        let (_, summary) = extracted(&project, strategy, &[(1, 30)], &again()).await.unwrap();
        let view = &summary.views[0];
        assert_eq!(
            (view.held_back_winners, view.corrected_rows),
            (1, 0),
            "{strategy:?}"
        );
    }
}

/// The cost goes with events and questions, not with their product: with it, this would take hours.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hot_key_is_no_more_than_its_events_and_questions() {
    const EVENTS: i64 = 100_000;
    const QUESTIONS: i64 = 20_000;
    let mut project = project(
        in_place("s", "s.parquet"),
        vec![
            ("k", int64([1])),
            ("at", times([0])),
            ("x", Arc::new(Float64Array::from(vec![0.0]))),
        ],
    );
    let x = (0..EVENTS).map(|event| (event % 7) as f64);
    let events = batch(vec![
        ("k", int64((0..EVENTS).map(|_| 1))),
        ("at", times((0..EVENTS).map(|event| event * SECOND))),
        ("x", Arc::new(Float64Array::from_iter_values(x))),
    ]);
    write_parquet(&project.path("s.parquet"), &events);
    let functions = [Function::Sum, Function::Mean, Function::Min, Function::Max];
    let list = vec![
        aggregate(Some(("x", "float64")), &functions, &["7s", "7h", "all"]),
        aggregate(None, &[Function::Count], &["7s", "7h", "all"]),
    ];
    project.aggregates("w", "thing", "s", None, list);
    let every = EVENTS / QUESTIONS;
    let asked: Vec<(i64, i64)> = (0..QUESTIONS)
        .map(|question| (1, question * every * SECOND))
        .collect();
    for strategy in BOTH {
        let started = Instant::now();
        let (found, _) = extracted(&project, strategy, &asked, &again()).await.unwrap();
        let took = started.elapsed();
        assert!(took < Elapsed::from_secs(60), "{strategy:?}: {took:?}");
        let all: Vec<i64> = (0..QUESTIONS).map(|question| question * every + 1).collect();
        assert_eq!(counts(&found, "w__count_all"), all);
        // Any seven that follow each other sum up to 21.
        let sums = floats(&found, "w__x_sum_7s");
        assert!(sums[10..].iter().all(|sum| *sum == Some(21.0)), "{strategy:?}");
        assert_eq!(floats(&found, "w__x_max_7h")[100], Some(6.0));
    }
}

/// What a definition gets wrong is said before any row is read.
#[tokio::test]
async fn bad_definitions_are_refused() {
    let columns = || {
        vec![
            ("k", int64([1])),
            ("at", times([0])),
            ("amount", int64([1])),
            ("name", Arc::new(StringArray::from(vec!["n"])) as ArrayRef),
        ]
    };
    let of = |input: InputText, data_type: &str, filter: Option<&str>| Aggregate {
        input: Some(input),
        filter: filter.map(str::to_owned),
        name: Some("x".into()),
        ..aggregate(Some(("", data_type)), &[Function::Max], &["1h"])
    };
    let column = |name: &str| InputText::Column(name.into());
    let expression = |text: &str| InputText::Expression(text.into());
    for (bad, expected) in [
        (
            of(column("amont"), "int64", None),
            "source s: there is no column \"amont\" (input of view w); did you mean \"amount\"?; the columns are k, at, \
             amount, name",
        ),
        (
            of(column("name"), "float64", None),
            "source s: view w: input name: is string, which cannot be taken as float64 without loss: declare it as \
             another type, or cast it in the source's sql",
        ),
        (
            of(expression("amount + name"), "float64", None),
            "source s: view w: input (amount + name): `+` cannot be used with int64 and string: cast to types that fit",
        ),
        (
            of(expression("amount + nothing"), "float64", None),
            "source s: view w: input (amount + nothing): there is no column `nothing`; there are: k, at, amount, name",
        ),
        (of(expression("amount / 2.0"), "int64", None), ""),
        (
            of(column("amount"), "int64", Some("amount + 1")),
            "source s: view w: input amount where amount + 1: where: `where` needs a condition, not int64: compare it \
             with something",
        ),
        (
            of(column("amount"), "int64", Some("amount >")),
            "source s: view w: input amount where amount >: where: not SQL: expected an expression, found `EOF`",
        ),
    ] {
        let mut project = project(in_place("s", "s.parquet"), columns());
        project.aggregates("w", "thing", "s", None, vec![bad]);
        for strategy in BOTH {
            match extracted(&project, strategy, &[(1, 0)], &again()).await {
                Err(OfflineError::Definition(message)) => assert_eq!(message, expected),
                // One half is no whole number, but others could be.
                Err(OfflineError::Data(message)) => {
                    assert_eq!((message.as_str(), expected), (HALF, ""));
                }
                other => panic!("{expected}: {other:?}"),
            }
        }
    }
}

const HALF: &str = "source s: s.parquet: column \"(amount / 2.0)\" has a value that is not exactly int64 (row 0 of the file)";

/// A CSV file has the types of the plain inputs; a decimal is summed exactly, and its mean is the nearest float64.
#[tokio::test]
async fn of_two_types_of_a_csv_column_neither_loses_what_the_other_has() {
    let found = async |aggregates: Vec<Aggregate>| {
        let mut project = Project::new();
        let text = "k,at,q\n1,1970-01-01T00:00:00Z,9007199254740993\n1,1970-01-01T00:00:01Z,5\n";
        std::fs::write(project.path("s.csv"), text).unwrap();
        project
            .entity("thing", &[("k", "int64")])
            .source(in_place("s", "s.csv"))
            .aggregates("w", "thing", "s", None, aggregates);
        let (plan, out) = (project.plan(&["w:*"]), project.path("grid.parquet"));
        let grid = Rows::Grid(Grid::at(Timestamp::from_micros(MINUTE)));
        extract_rows(&project.engine(), &plan, grid, &out, &again())
            .await
            .map(|_| read(&out))
    };
    let of = |data_type, function| aggregate(Some(("q", data_type)), &[function], &["all"]);
    let (min, max) = (Function::Min, Function::Max);
    // Whichever comes first: inputs go by the names of features.
    for both in [
        [of("float64", min), of("int64", max)],
        [of("int64", min), of("float64", max)],
    ] {
        let error = found(both.to_vec()).await.unwrap_err().to_string();
        assert!(
            error.contains("column \"q\" has a value that is not exactly float64"),
            "{error}"
        );
    }
    let alone = found(vec![of("int64", max)]).await.unwrap();
    assert_eq!(counts(&alone, "w__q_max_all"), [9_007_199_254_740_993]);
}

#[tokio::test]
async fn csv_files_and_decimals() {
    let mut project = Project::new();
    let rows = batch(vec![
        ("k", int64([1, 1, 1])),
        (
            "at",
            Arc::new(StringArray::from(vec![
                "1970-01-01T00:00:01Z",
                "1970-01-01T00:00:02Z",
                "1970-01-01T00:00:03Z",
            ])),
        ),
        (
            "price",
            Arc::new(StringArray::from(vec![Some("0.10"), Some("0.20"), None])),
        ),
    ]);
    write_csv(&project.path("s.csv"), &rows);
    let price = Some(("price", "decimal(9,2)"));
    let list = vec![aggregate(
        price,
        &[Function::Mean, Function::Sum, Function::Count],
        &["all"],
    )];
    project
        .entity("thing", &[("k", "int64")])
        .source(in_place("s", "s.csv"))
        .aggregates("w", "thing", "s", None, list);
    for strategy in BOTH {
        let (found, _) = extracted(&project, strategy, &[(1, 5 * SECOND)], &again())
            .await
            .unwrap();
        let sum = column(&found, "w__price_sum_all");
        let expected = Decimal128Array::from(vec![30])
            .with_precision_and_scale(38, 2)
            .unwrap();
        assert_eq!(sum.as_primitive::<arrow::datatypes::Decimal128Type>(), &expected);
        assert_eq!(floats(&found, "w__price_mean_all"), [Some((0.1 + 0.2) / 2.0)]);
        assert_eq!(counts(&found, "w__price_count_all"), [2]);
    }
}

/// In a managed table an event counts once, however often it is delivered.
#[tokio::test]
async fn repeated_events_count_once() {
    let mut project = Project::new();
    let columns = [
        ("k", "int64"),
        ("at", "timestamp"),
        ("x", "int64"),
        ("id", "string"),
    ];
    project
        .entity("thing", &[("k", "int64")])
        .source(managed("s", &columns, Some("id")))
        .aggregates(
            "w",
            "thing",
            "s",
            None,
            vec![aggregate(Some(("x", "int64")), &[Function::Sum], &["1h", "all"])],
        );
    let rows = batch(vec![
        ("k", int64([1, 1, 1])),
        ("at", times([1, 2, 3])),
        ("x", int64([1, 10, 100])),
        (
            "id",
            Arc::new(StringArray::from(vec![Some("a"), Some("a"), None])),
        ),
    ]);
    let file = project.path("in.parquet");
    write_parquet(&file, &rows);
    project
        .ingest("s", std::slice::from_ref(&file), Some("one"))
        .await
        .unwrap();
    project.ingest("s", &[file], Some("two")).await.unwrap();
    for strategy in BOTH {
        let (found, summary) = extracted(&project, strategy, &[(1, 5)], &again()).await.unwrap();
        assert_eq!(counts(&found, "w__x_sum_all"), [201], "{strategy:?}");
        assert_eq!(summary.views[0].repeated_rows, 3, "{strategy:?}");
    }
}

/// Row groups from before the earliest tail are not read, but for windows without one.
#[tokio::test]
async fn what_no_window_reaches_is_not_read() {
    let rows = 30;
    let mut project = project(
        in_place("s", "s.parquet"),
        vec![
            ("k", int64((0..rows).map(|_| 1))),
            ("at", times((0..rows).map(|row| row * MINUTE))),
            ("x", int64(0..rows)),
        ],
    );
    let of = |window: &str| vec![aggregate(Some(("x", "int64")), &[Function::Sum], &[window])];
    project.aggregates("w", "thing", "s", None, of("2m"));
    // The window begins behind minute 20, which is in the row group of minutes 18 to 20.
    let asked = [(1, 22 * MINUTE)];
    let (found, summary) = extracted(&project, Strategy::Indexed, &asked, &again())
        .await
        .unwrap();
    assert_eq!(counts(&found, "w__x_sum_2m"), [21 + 22]);
    assert_eq!(
        (summary.views[0].source_rows, summary.views[0].unread_rows),
        (3, 27)
    );
    project.aggregates("w", "thing", "s", None, of("all"));
    let (found, summary) = extracted(&project, Strategy::Indexed, &asked, &again())
        .await
        .unwrap();
    assert_eq!(counts(&found, "w__x_sum_all"), [253]);
    assert_eq!(summary.views[0].unread_rows, 6);
}

/// A key with nothing but deletions has no event, and is not there.
#[tokio::test]
async fn a_grid_has_the_keys_with_events() {
    let source = Source {
        deleted: Some("gone".into()),
        ..in_place("s", "s.parquet")
    };
    let mut project = project(
        source,
        vec![
            ("k", int64([1, 2, 3])),
            ("at", times([10, 20, 40])),
            ("gone", Arc::new(BooleanArray::from(vec![false, true, false]))),
        ],
    );
    project.aggregates(
        "w",
        "thing",
        "s",
        None,
        vec![aggregate(None, &[Function::Count], &["5us"])],
    );
    let (plan, out) = (project.plan(&["w:*"]), project.path("grid.parquet"));
    let grid = Rows::Grid(Grid::at(Timestamp::from_micros(30)));
    extract_rows(&project.engine(), &plan, grid, &out, &again())
        .await
        .unwrap();
    let found = read(&out);
    assert_eq!(counts(&found, "k"), [1]);
    // Its event is out of the window by then.
    assert_eq!(counts(&found, "w__count_5us"), [0]);
}

#[tokio::test]
async fn windows_are_explained() {
    let source = Source {
        created_time: Some("known".into()),
        ..in_place("s", "s.parquet")
    };
    let mut project = project(
        source,
        vec![
            ("k", int64([1, 1, 1, 1, 2])),
            ("at", times([0, MINUTE, 2 * MINUTE, 5 * MINUTE, MINUTE])),
            ("known", times([0, MINUTE, 4 * MINUTE, 5 * MINUTE, MINUTE])),
            ("x", int64([1, 2, 4, 8, 16])),
        ],
    );
    let x = Some(("x", "int64"));
    project.aggregates(
        "w",
        "thing",
        "s",
        None,
        vec![aggregate(x, &[Function::Sum], &["2m", "all"])],
    );
    let plan = project.plan(&["w:*"]);
    let explained = async |key: Option<KeyValue>| {
        let request = ExplainRequest {
            plan: &plan,
            keys: &[encode(&[key])],
            at: Timestamp::from_micros(3 * MINUTE),
            as_corrected: false,
        };
        project.engine().explain(request).await.unwrap().remove(0)
    };
    let view = explained(Some(KeyValue::Int64(1))).await;
    let [short, all] = view.windows.as_slice() else {
        panic!("two features");
    };
    assert_eq!(short.after, Some(Timestamp::from_micros(MINUTE)));
    assert_eq!((short.events, short.values, short.left_out), (0, 0, 1));
    assert_eq!(all.after, None);
    assert_eq!((all.events, all.values, all.left_out), (2, 2, 1));
    assert_eq!(all.value.as_primitive::<Int64Type>().value(0), 3);
    assert_eq!(view.statuses, [Status::Null, Status::Present]);
    let standings: Vec<&str> = view.rows.iter().map(|row| row.standing.as_str()).collect();
    assert_eq!(standings, ["counts", "counts", "not_known", "not_yet"]);
    assert_eq!(view.rows[1].standing, Standing::Counts(1));
    assert_eq!(view.around(0, 0), 1..2);
    assert_eq!(view.source_rows, 5);
    let nobody = explained(None).await;
    assert_eq!(nobody.statuses, [Status::NotFound, Status::NotFound]);
}

#[tokio::test]
async fn lint_leaves_windows_out() {
    let mut project = project(
        in_place("s", "s.parquet"),
        vec![("k", int64([1])), ("at", times([10])), ("x", int64([1]))],
    );
    let x = Some(("x", "int64"));
    project
        .view("v", "thing", "s", None, &[("x", "int64")])
        .aggregates(
            "w",
            "thing",
            "s",
            None,
            vec![aggregate(x, &[Function::Sum], &["all"])],
        );
    let spine = batch(vec![
        ("k", int64([1])),
        ("event_timestamp", times([10])),
        ("label", int64([1])),
    ]);
    write_parquet(&project.path("spine.parquet"), &spine);
    let request = LintRequest {
        plan: &project.plan(&["w:*", "v:*"]),
        spine: &project.path("spine.parquet"),
        time_column: "event_timestamp",
        timezone: None,
        sample: 1_000,
        progress: Arc::new(Silent),
    };
    let report = project.engine().lint(request).await.unwrap();
    assert_eq!(report.views_left_out, ["w"]);
    assert_eq!(report.views.len(), 1);
    assert_eq!(report.views[0].label, "v");
}

/// What does not fit is sorted instead, where the choice is free.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_do_not_fit_are_sorted() {
    const ROWS: i64 = 1_200_000;
    let mut project = project(
        in_place("s", "s.parquet"),
        vec![("k", int64([1])), ("at", times([0])), ("x", int64([1]))],
    );
    let events = batch(vec![
        ("k", int64((0..ROWS).map(|row| row % 1_000))),
        ("at", times(0..ROWS)),
        ("x", int64(0..ROWS)),
    ]);
    write_parquet(&project.path("s.parquet"), &events);
    let x = Some(("x", "int64"));
    project.aggregates(
        "w",
        "thing",
        "s",
        None,
        vec![aggregate(x, &[Function::Max], &["1d"])],
    );
    project.options.memory_limit = Some(32 << 20);
    let asked: Vec<(i64, i64)> = (0..1_000).map(|key| (key, ROWS)).collect();
    let refused = extracted(&project, Strategy::Indexed, &asked, &again())
        .await
        .unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("the memory limit is too small to hold the events of the spine's keys"),
        "{refused}"
    );
    let (found, _) = extracted(&project, Strategy::Auto, &asked, &again())
        .await
        .unwrap();
    let last: Vec<i64> = (0..1_000).map(|key| ROWS - 1_000 + key).collect();
    assert_eq!(counts(&found, "w__x_max_1d"), last);
}
