//! `lint` on spines whose columns are a feature's next value, its present one, or neither.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, ListArray, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::Int32Type;
use asof_core::duration::Duration;
use asof_offline::{Finding, Leak, LintReport, LintRequest, Silent};

use crate::project::{Project, batch, in_place, write_parquet};
use crate::random::Random;

const HOUR: i64 = 3_600_000_000;
const KEYS: i64 = 8;
const HOURS: i64 = 24;

fn times(micros: impl IntoIterator<Item = i64>) -> ArrayRef {
    let micros: TimestampMicrosecondArray = micros.into_iter().map(Some).collect();
    Arc::new(micros.with_timezone("UTC"))
}

/// The values of the source: an hour's row of a key.
struct Hourly {
    temp: Vec<f64>,
    sky: Vec<&'static str>,
    open: Vec<bool>,
}

impl Hourly {
    fn new(random: &mut Random) -> Self {
        let rows = (KEYS * HOURS) as usize;
        Self {
            temp: (0..rows).map(|_| random.below(10_000) as f64 / 7.0).collect(),
            sky: (0..rows)
                .map(|_| random.pick(&["clear", "rain", "snow", "fog"]))
                .collect(),
            open: (0..rows).map(|_| random.chance(50)).collect(),
        }
    }

    fn row(key: i64, hour: i64) -> usize {
        (key * HOURS + hour) as usize
    }

    /// A row of each key at each full hour, in shuffled order.
    fn batch(&self, random: &mut Random) -> RecordBatch {
        let mut rows: Vec<(i64, i64)> = (0..KEYS)
            .flat_map(|key| (0..HOURS).map(move |hour| (key, hour)))
            .collect();
        random.shuffle(&mut rows);
        let place = |(key, hour): &(i64, i64)| Self::row(*key, *hour);
        batch(vec![
            (
                "k",
                Arc::new(rows.iter().map(|(key, _)| Some(*key)).collect::<Int64Array>()) as ArrayRef,
            ),
            ("at", times(rows.iter().map(|(_, hour)| hour * HOUR))),
            (
                "temp",
                Arc::new(
                    rows.iter()
                        .map(|row| Some(self.temp[place(row)]))
                        .collect::<Float64Array>(),
                ),
            ),
            (
                "sky",
                Arc::new(
                    rows.iter()
                        .map(|row| Some(self.sky[place(row)]))
                        .collect::<StringArray>(),
                ),
            ),
            (
                "open",
                Arc::new(
                    rows.iter()
                        .map(|row| Some(self.open[place(row)]))
                        .collect::<BooleanArray>(),
                ),
            ),
        ])
    }

    /// A project with the rows as a source, and a view with the ttl on it.
    fn project(&self, ttl: Option<&str>, random: &mut Random) -> Project {
        let mut project = Project::new();
        write_parquet(&project.path("hourly.parquet"), &self.batch(random));
        let ttl = ttl.map(|ttl| Duration::parse(ttl).unwrap());
        let features = [("temp", "float64"), ("sky", "string"), ("open", "bool")];
        project
            .entity("thing", &[("k", "int64")])
            .source(in_place("hourly", "hourly.parquet"))
            .view("weather", "thing", "hourly", ttl, &features);
        project
    }
}

/// A spine that asks about every key half past every hour, with one column of its own.
fn spine(project: &Project, name: &str, column: ArrayRef) -> PathBuf {
    let rows = || (0..KEYS).flat_map(|key| (0..HOURS).map(move |hour| (key, hour)));
    let path = project.path(&format!("{name}.parquet"));
    let rows = batch(vec![
        (
            "k",
            Arc::new(rows().map(|(key, _)| Some(key)).collect::<Int64Array>()) as ArrayRef,
        ),
        (
            "event_timestamp",
            times(rows().map(|(_, hour)| hour * HOUR + HOUR / 2)),
        ),
        (name, column),
    ]);
    write_parquet(&path, &rows);
    path
}

/// What a spine row is given: by the hour of its key that is so much later.
fn of_hour<T>(later: i64, value: impl Fn(usize) -> T) -> Vec<Option<T>> {
    let rows = (0..KEYS).flat_map(|key| (0..HOURS).map(move |hour| (key, hour + later)));
    rows.map(|(key, hour)| (hour < HOURS).then(|| value(Hourly::row(key, hour))))
        .collect()
}

async fn lint(project: &Project, name: &str, column: ArrayRef, sample: u64) -> LintReport {
    lint_file(project, &spine(project, name, column), sample).await
}

async fn lint_file(project: &Project, path: &Path, sample: u64) -> LintReport {
    let request = LintRequest {
        plan: &project.plan(&["weather:*"]),
        spine: path,
        time_column: "event_timestamp",
        timezone: None,
        sample,
        progress: Arc::new(Silent),
    };
    project.engine().lint(request).await.unwrap()
}

async fn findings(project: &Project, column: ArrayRef) -> Vec<Finding> {
    lint(project, "label", column, 1_000_000).await.findings
}

fn floats(values: Vec<Option<f64>>) -> ArrayRef {
    Arc::new(Float64Array::from(values))
}

#[tokio::test]
async fn the_next_value_is_found() {
    let random = &mut Random::new(1);
    let hourly = Hourly::new(random);
    let project = hourly.project(Some("2h"), random);
    let found = lint(
        &project,
        "label",
        floats(of_hour(1, |row| hourly.temp[row])),
        1_000_000,
    )
    .await;
    // Of the last hour of each key there is no next value; the temperatures of two hours are never equal.
    let rows = (KEYS * (HOURS - 1)) as u64;
    let equal = of_hour(0, |row| hourly.temp[row])
        .iter()
        .zip(of_hour(1, |row| hourly.temp[row]))
        .filter(|(now, next)| **now == *next)
        .count() as u64;
    assert_eq!(
        found.findings,
        [Finding {
            column: "label".into(),
            feature: "weather__temp".into(),
            leak: Leak::Equals { share: 1.0 },
            rows: rows - equal,
        }]
    );
    assert_eq!(
        (found.rows, found.looked_at, found.every),
        ((KEYS * HOURS) as u64, (KEYS * HOURS) as u64, 1)
    );
    assert_eq!(found.views[0].rows_with_later, rows);
    assert_eq!(found.views[0].horizon, Duration::parse("2h").unwrap());
    assert_eq!(found.columns, ["label"]);
}

/// Numbers that a CSV spine writes in a way of its own are text in a dataset, and numbers here.
#[tokio::test]
async fn the_next_value_is_found_in_a_csv_file() {
    let random = &mut Random::new(9);
    let hourly = Hourly::new(random);
    let project = hourly.project(Some("2h"), random);
    let next = of_hour(1, |row| hourly.temp[row]);
    let rows = (0..KEYS).flat_map(|key| (0..HOURS).map(move |hour| (key, hour)));
    let lines = rows.zip(&next).map(|((key, hour), next)| {
        let next = next.map_or(String::new(), |next| format!("{next:e}"));
        format!(
            "{key},1970-01-{:02}T{:02}:30:00Z,{next}\n",
            1 + hour / 24,
            hour % 24
        )
    });
    let path = project.path("spine.csv");
    std::fs::write(
        &path,
        format!("k,event_timestamp,label\n{}", lines.collect::<String>()),
    )
    .unwrap();
    let found = lint_file(&project, &path, 1_000_000).await;
    assert_eq!(found.columns, ["label"]);
    assert_eq!(found.findings.len(), 1);
    assert_eq!(found.findings[0].feature, "weather__temp");
    assert_eq!(found.findings[0].leak, Leak::Equals { share: 1.0 });
}

#[tokio::test]
async fn present_values_and_noise_are_not() {
    let random = &mut Random::new(2);
    let hourly = Hourly::new(random);
    let project = hourly.project(Some("2h"), random);
    let now = floats(of_hour(0, |row| hourly.temp[row]));
    assert_eq!(findings(&project, now).await, []);
    let noise = floats(
        (0..KEYS * HOURS)
            .map(|_| Some(random.below(10_000) as f64))
            .collect(),
    );
    assert_eq!(findings(&project, noise).await, []);
    let sky: StringArray = of_hour(0, |row| hourly.sky[row]).into_iter().collect();
    assert_eq!(findings(&project, Arc::new(sky)).await, []);
    // The opposite of a boolean's present value is its next one wherever it changes, and tells nothing.
    let closed: BooleanArray = of_hour(0, |row| !hourly.open[row]).into_iter().collect();
    assert_eq!(findings(&project, Arc::new(closed)).await, []);
    let constant = BooleanArray::from(vec![true; (KEYS * HOURS) as usize]);
    assert_eq!(findings(&project, Arc::new(constant)).await, []);
    // The value after the next one.
    let second = floats(of_hour(2, |row| hourly.temp[row]));
    assert_eq!(findings(&project, second).await, []);
}

/// A feature that hardly ever changes has its present value next, too.
#[tokio::test]
async fn the_present_value_of_what_hardly_changes_is_not() {
    let random = &mut Random::new(5);
    let mut hourly = Hourly::new(random);
    for key in 0..KEYS {
        // Some keys change once.
        let rain = if key % 2 == 0 { HOURS / 2 } else { HOURS };
        for hour in 0..HOURS {
            hourly.sky[Hourly::row(key, hour)] = if hour < rain { "clear" } else { "rain" };
        }
    }
    let project = hourly.project(Some("2h"), random);
    let now: StringArray = of_hour(0, |row| hourly.sky[row]).into_iter().collect();
    assert_eq!(findings(&project, Arc::new(now)).await, []);
}

#[tokio::test]
async fn what_nearly_predicts_the_next_value_is_found() {
    let random = &mut Random::new(3);
    let hourly = Hourly::new(random);
    let project = hourly.project(None, random);
    let near = of_hour(1, |row| -2.0 * hourly.temp[row] + (row % 5) as f64);
    let found = findings(&project, floats(near)).await;
    let [finding] = found.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!(finding.feature, "weather__temp");
    let Leak::Correlates {
        later,
        now: Some(now),
    } = finding.leak
    else {
        panic!("{finding:?}")
    };
    assert!(later > 0.99 && now < 0.5, "{finding:?}");

    // Every 28th text is another, which is 3.6 % of them.
    let text = |row: usize| {
        if row.is_multiple_of(28) {
            "hail"
        } else {
            hourly.sky[row]
        }
    };
    let texts: StringArray = of_hour(1, text).into_iter().collect();
    let found = findings(&project, Arc::new(texts)).await;
    let [finding] = found.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!(finding.feature, "weather__sky");
    assert!(
        matches!(finding.leak, Leak::NearlyEquals { share } if share > 0.95 && share < 0.99),
        "{finding:?}"
    );

    let flags: BooleanArray = of_hour(1, |row| hourly.open[row]).into_iter().collect();
    let found = findings(&project, Arc::new(flags)).await;
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].feature.as_str(), found[0].leak),
        ("weather__open", Leak::Equals { share: 1.0 })
    );
}

#[tokio::test]
async fn a_later_value_lies_within_the_ttl() {
    let random = &mut Random::new(4);
    let hourly = Hourly::new(random);
    // The next row comes half an hour later: to the microsecond within the one, and just outside the other.
    for (ttl, rows) in [("30m", KEYS * (HOURS - 1)), ("1799999999us", 0)] {
        let project = hourly.project(Some(ttl), random);
        let next = floats(of_hour(1, |row| hourly.temp[row]));
        let found = lint(&project, "label", next, 1_000_000).await;
        assert_eq!(found.views[0].rows_with_later, rows as u64, "{ttl}");
        assert_eq!(found.findings.len(), usize::from(rows > 0), "{ttl}");
    }
}

#[tokio::test]
async fn a_large_spine_is_sampled_and_odd_columns_are_named() {
    let random = &mut Random::new(5);
    let hourly = Hourly::new(random);
    let project = hourly.project(None, random);
    let next = floats(of_hour(1, |row| hourly.temp[row]));
    let found = lint(&project, "label", next, 100).await;
    assert_eq!(found.every, 2);
    assert!((60..130).contains(&found.looked_at), "{}", found.looked_at);
    assert_eq!(found.findings.len(), 1);
    let lists = (0..KEYS * HOURS).map(|row| Some(vec![Some(row as i32)]));
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(lists);
    let found = lint(&project, "lists", Arc::new(lists), 1_000).await;
    assert_eq!(
        (found.columns.len(), found.columns_left_out),
        (0, vec!["lists".to_owned()])
    );
}

#[tokio::test]
async fn of_several_rows_at_the_next_event_time_the_last_is_the_value() {
    let mut project = Project::new();
    // Each key has a row now, and three rows at the next hour: a deletion and a correction among them.
    let keys = 0..40_i64;
    let rows = || {
        keys.clone()
            .flat_map(|key| (0..4).map(move |number| (key, number)))
    };
    let source = batch(vec![
        (
            "k",
            Arc::new(rows().map(|(key, _)| Some(key)).collect::<Int64Array>()) as ArrayRef,
        ),
        (
            "at",
            times(rows().map(|(_, number)| if number == 0 { 0 } else { HOUR })),
        ),
        (
            "made",
            times(rows().map(|(_, number)| [0, HOUR, 3 * HOUR, 2 * HOUR][number as usize])),
        ),
        (
            "gone",
            Arc::new(
                rows()
                    .map(|(key, number)| Some(number == 2 && key < 5))
                    .collect::<BooleanArray>(),
            ),
        ),
        (
            "n",
            Arc::new(
                rows()
                    .map(|(key, number)| Some(key * 100 + number))
                    .collect::<Int64Array>(),
            ),
        ),
    ]);
    write_parquet(&project.path("late.parquet"), &source);
    let mut late = in_place("late", "late.parquet");
    late.created_time = Some("made".into());
    late.deleted = Some("gone".into());
    project.entity("thing", &[("k", "int64")]).source(late).view(
        "weather",
        "thing",
        "late",
        None,
        &[("n", "int64")],
    );
    let path = project.path("spine.parquet");
    let spine = batch(vec![
        (
            "k",
            Arc::new(keys.clone().map(Some).collect::<Int64Array>()) as ArrayRef,
        ),
        ("event_timestamp", times(keys.clone().map(|_| HOUR / 2))),
        (
            "label",
            Arc::new(
                keys.clone()
                    .map(|key| Some(key * 100 + 2))
                    .collect::<Int64Array>(),
            ),
        ),
    ]);
    write_parquet(&path, &spine);
    let request = LintRequest {
        plan: &project.plan(&["weather:*"]),
        spine: &path,
        time_column: "event_timestamp",
        timezone: None,
        sample: 1_000,
        progress: Arc::new(Silent),
    };
    let found = project.engine().lint(request).await.unwrap();
    assert_eq!(found.views[0].rows_with_later, 35);
    assert_eq!(found.findings.len(), 1, "{found:?}");
    assert_eq!(
        (found.findings[0].leak, found.findings[0].rows),
        (Leak::Equals { share: 1.0 }, 35)
    );
}
