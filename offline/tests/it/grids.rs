//! Extracts without a spine: every key with a candidate under rules 1 and 2, at each time of a grid.
//!
//! ```text
//! micros      10      20      30   35   40
//! key 1   v:  100             101
//! key 2   v:          200 ············· known
//! key 3   w:                       300
//! ```

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, TimestampMicrosecondArray};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use asof_core::duration::Duration;
use asof_core::time::Timestamp;
use asof_offline::{Grid, OfflineError, Rows};

use crate::project::{Ask, Project, batch, column, extract, extract_rows, in_place, read, write_parquet};

fn int64(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn micros(values: &[i64]) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(values.to_vec()).with_timezone("UTC"))
}

fn project() -> Project {
    let mut project = Project::new();
    write_parquet(
        &project.path("a.parquet"),
        &batch(vec![
            ("k", int64(&[1, 1, 2])),
            ("at", micros(&[10, 30, 20])),
            ("made", micros(&[10, 30, 40])),
            ("x", int64(&[100, 101, 200])),
        ]),
    );
    write_parquet(
        &project.path("b.parquet"),
        &batch(vec![
            ("k", int64(&[3])),
            ("at", micros(&[35])),
            ("y", int64(&[300])),
        ]),
    );
    let mut late = in_place("a", "a.parquet");
    late.created_time = Some("made".into());
    project
        .entity("thing", &[("k", "int64")])
        .entity("other", &[("name", "string")])
        .source(late)
        .source(in_place("b", "b.parquet"))
        .view("v", "thing", "a", None, &[("x", "int64")])
        .view("w", "thing", "b", None, &[("y", "int64")]);
    project
}

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

/// The rows of an extract: key, time, and the features of both views.
type Row = (i64, i64, Option<i64>, Option<i64>);

async fn rows(project: &Project, grid: Grid, ask: &Ask) -> Vec<Row> {
    let out = project.path("out.parquet");
    let plan = project.plan(&["v:x", "w:y"]);
    extract_rows(&project.engine(), &plan, Rows::Grid(grid), &out, ask)
        .await
        .unwrap();
    let found = read(&out);
    let int64 = |name: &str| column(&found, name).as_primitive::<Int64Type>().clone();
    let (keys, x, y) = (int64("k"), int64("v__x"), int64("w__y"));
    let times = column(&found, "event_timestamp");
    let times = times.as_primitive::<TimestampMicrosecondType>().clone();
    let value = |array: &Int64Array, row: usize| (!array.is_null(row)).then(|| array.value(row));
    (0..found.num_rows())
        .map(|row| (keys.value(row), times.value(row), value(&x, row), value(&y, row)))
        .collect()
}

fn again() -> Ask {
    Ask {
        overwrite: true,
        ..Ask::default()
    }
}

#[tokio::test]
async fn every_key_that_is_known_is_there_once_a_time() {
    let project = project();
    let ask = again();
    let one = |moment| rows(&project, Grid::at(at(moment)), &ask);
    assert_eq!(one(9).await, []);
    assert_eq!(one(10).await, [(1, 10, Some(100), None)]);
    assert_eq!(
        one(39).await,
        [(1, 39, Some(101), None), (3, 39, None, Some(300))]
    );
    assert_eq!(
        one(40).await,
        [
            (1, 40, Some(101), None),
            (2, 40, Some(200), None),
            (3, 40, None, Some(300))
        ]
    );
    let grid = Grid::every(at(20), at(40), Duration::parse("10us").unwrap()).unwrap();
    assert_eq!(
        rows(&project, grid, &again()).await,
        [
            (1, 20, Some(100), None),
            (1, 30, Some(101), None),
            (1, 40, Some(101), None),
            (2, 40, Some(200), None),
            (3, 40, None, Some(300)),
        ]
    );
    let corrected = Ask {
        as_corrected: true,
        ..again()
    };
    assert_eq!(
        rows(&project, Grid::at(at(20)), &corrected).await,
        [(1, 20, Some(100), None), (2, 20, Some(200), None)]
    );
}

#[tokio::test]
async fn a_grid_is_a_spine_that_is_made() {
    let project = project();
    let made = rows(&project, Grid::at(at(40)), &again()).await;
    let keys: Vec<i64> = made.iter().map(|row| row.0).collect();
    let spine = batch(vec![("k", int64(&keys)), ("event_timestamp", micros(&[40; 3]))]);
    write_parquet(&project.path("spine.parquet"), &spine);
    let out = project.path("given.parquet");
    let plan = project.plan(&["v:x", "w:y"]);
    extract(
        &project.engine(),
        &plan,
        &project.path("spine.parquet"),
        &out,
        &again(),
    )
    .await
    .unwrap();
    assert_eq!(read(&out).columns(), read(&project.path("out.parquet")).columns());
}

#[tokio::test]
async fn views_of_several_keys_need_a_spine() {
    let mut project = project();
    write_parquet(
        &project.path("c.parquet"),
        &batch(vec![
            (
                "name",
                Arc::new(arrow::array::StringArray::from(vec!["n"])) as ArrayRef,
            ),
            ("at", micros(&[1])),
            ("z", int64(&[1])),
        ]),
    );
    project
        .source(in_place("c", "c.parquet"))
        .view("u", "other", "c", None, &[("z", "int64")]);
    let plan = project.plan(&["v:x", "u:z"]);
    let out = project.path("out.parquet");
    let refused = extract_rows(
        &project.engine(),
        &plan,
        Rows::Grid(Grid::at(at(40))),
        &out,
        &again(),
    )
    .await;
    let Err(OfflineError::Data(message)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(
        message,
        "without a spine all views must be asked by the same keys, and these are asked by (k), (name): give a spine"
    );
    assert!(!out.exists());
}
