//! I1 and I2: extracts of random histories against the reference, row by row and status by status.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::take;
use asof_core::definition::Source;
use asof_core::duration::Duration;
use asof_core::reference::{Answer, Rules, as_of};
use asof_core::service::ReadPlan;
use asof_core::status::{Status, Verdict};
use asof_core::time::Zone;
use asof_offline::{ExtractSummary, StatusCounts, Strategy};

use crate::history::{FEATURES, Held, History, Questions, World, features_in};
use crate::project::{
    Ask, Entry, Project, batch, column, in_place, read, same, write_arrow, write_csv, write_parquet_groups,
};
use crate::random::{Random, cases, each_seed};

/// How many views one project has; each is read under two sets of keys.
const VIEWS: usize = 4;
/// How many spines are extracted from one project.
const SPINES: usize = 2;

/// A case is one history asked by one spine under one set of keys.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn extracts_equal_the_reference() {
    let projects = cases(2_000).div_ceil(2 * VIEWS * SPINES);
    let mut statuses = [0u64; Status::ALL.len()];
    for counted in each_seed(projects, check_project).await {
        for (total, count) in statuses.iter_mut().zip(counted) {
            *total += count;
        }
    }
    // Cases that never come to a status prove nothing about it.
    if projects > 50 {
        assert!(statuses.iter().all(|count| *count > 100), "{statuses:?}");
    }
}

/// Of rows that become known later than they happened, those that say what was known are no correction.
#[tokio::test]
async fn a_correction_that_changes_nothing_is_not_counted() {
    let int64 = |values: [i64; 5]| -> ArrayRef { Arc::new(Int64Array::from_iter_values(values)) };
    let times = |micros: &[i64]| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from(micros.to_vec()).with_timezone("UTC"))
    };
    let mut project = Project::new();
    let source = Source {
        created_time: Some("known".into()),
        ..in_place("s", "s.parquet")
    };
    project.entity("thing", &[("k", "int64")]).source(source).view(
        "v",
        "thing",
        "s",
        None,
        &[("x", "int64"), ("y", "int64")],
    );
    // Key 1 is corrected to what it was, key 2 in y, key 3 has nothing else.
    let rows = batch(vec![
        ("k", int64([1, 1, 2, 2, 3])),
        ("at", times(&[10, 20, 10, 20, 20])),
        ("known", times(&[10, 200, 10, 200, 200])),
        ("x", int64([5, 5, 5, 5, 5])),
        ("y", int64([7, 7, 7, 8, 7])),
    ]);
    write_parquet_groups(&project.path("s.parquet"), &rows, 2);
    let spine = batch(vec![
        ("k", int64([1, 1, 2, 3, 1])),
        ("event_timestamp", times(&[100, 200, 100, 100, 15])),
    ]);
    write_parquet_groups(&project.path("spine.parquet"), &spine, 5);
    for (strategy, out) in [
        (Strategy::Indexed, "indexed.parquet"),
        (Strategy::Sorted, "sorted.parquet"),
    ] {
        project.set_strategy(strategy);
        for (features, corrected) in [("v:*", 2), ("v:x", 1)] {
            let ask = Ask {
                overwrite: true,
                ..Ask::default()
            };
            let (spine, out) = (project.path("spine.parquet"), project.path(out));
            let summary = project
                .extract(&project.plan(&[features]), &spine, &out, &ask)
                .await
                .unwrap();
            let view = &summary.views[0];
            assert_eq!(
                (view.held_back_winners, view.corrected_rows),
                (3, corrected),
                "{out:?} {features}"
            );
        }
    }
}

async fn check_project(mut random: Random) -> [u64; Status::ALL.len()] {
    let mut statuses = [0; Status::ALL.len()];
    let world = World::new(&mut random);
    let (project, histories) = random_project(&world, &mut random);
    for spine in 0..SPINES {
        check_spine(&project, &histories, &world, spine, &mut random, &mut statuses).await;
    }
    statuses
}

/// A history in the files of a view's source.
struct Stored {
    history: History,
    held: Held,
    ttl: Option<Duration>,
}

fn random_project(world: &World, random: &mut Random) -> (Project, Vec<Stored>) {
    let mut project = Project::new();
    project.set_strategy(random.pick(&[Strategy::Indexed, Strategy::Sorted]));
    let keys = key_names(world, "k");
    let types: Vec<String> = world.key_types.iter().map(ToString::to_string).collect();
    let keys: Vec<(&str, &str)> = keys
        .iter()
        .map(String::as_str)
        .zip(types.iter().map(String::as_str))
        .collect();
    project.entity("thing", &keys);
    let stored = (0..VIEWS)
        .map(|place| {
            let held = if world.fits_csv() && random.chance(20) {
                Held::Csv
            } else {
                Held::Parquet
            };
            let history = History::new(world, held, random);
            let ttl = world.ttl(random);
            let source = write_source(&project, &format!("s{place}"), &history, held, random);
            project.source(source);
            project.view(
                &format!("v{place}"),
                "thing",
                &format!("s{place}"),
                ttl,
                &FEATURES[..features_in(held)],
            );
            Stored { history, held, ttl }
        })
        .collect();
    (project, stored)
}

pub(crate) fn key_names(world: &World, prefix: &str) -> Vec<String> {
    (0..world.key_types.len())
        .map(|place| format!("{prefix}{place}"))
        .collect()
}

/// Whether two answers have another status, or another value of a feature.
fn differs(now: &Answer<'_, usize>, then: &Answer<'_, usize>, features: &[ArrayRef]) -> bool {
    if now.verdict != then.verdict {
        return true;
    }
    let (Some(now), Some(then), Verdict::Fresh) = (now.winner, then.winner, now.verdict) else {
        return false;
    };
    let value = |array: &ArrayRef, row: usize| array.slice(row, 1);
    let mut arrays = features.iter();
    arrays.any(|array| !same(&value(array, now.values), &value(array, then.values)))
}

/// Writes a history into one to four files, whose names sort by bytes as the rows were accepted.
pub(crate) fn write_source(
    project: &Project,
    name: &str,
    history: &History,
    held: Held,
    random: &mut Random,
) -> Source {
    let mut names = vec!["Z", "a", "a10", "a2", "b b", "sub/a", "ä"];
    random.shuffle(&mut names);
    names.truncate(1 + random.below(4));
    names.sort_unstable();
    let extension = match held {
        Held::Parquet => "parquet",
        Held::Csv => "csv",
    };
    let mut files: Vec<(&str, RecordBatch)> = names
        .iter()
        .copied()
        .zip(history.cut(names.len(), random))
        .collect();
    // The order in which files are made has no say.
    random.shuffle(&mut files);
    for (file, rows) in &files {
        let path = project.path(&format!("{name}/{file}.{extension}"));
        match held {
            Held::Parquet => write_parquet_groups(&path, rows, 1 + random.below(8)),
            Held::Csv => write_csv(&path, rows),
        }
    }
    let path = match names.as_slice() {
        [file] if random.chance(50) => format!("{name}/{file}.{extension}"),
        _ if names.contains(&"sub/a") => random.pick(&[name.to_owned(), format!("{name}/**/*.{extension}")]),
        _ => random.pick(&[name.to_owned(), format!("{name}/*.{extension}")]),
    };
    let created_naive = history.has_created && history.created_form.is_naive();
    Source {
        created_time: history.has_created.then(|| "made".into()),
        deleted: history.has_deleted.then(|| "gone".into()),
        timezone: (history.event_form.is_naive() || created_naive).then_some(Zone::UTC),
        ..in_place(name, &path)
    }
}

async fn check_spine(
    project: &Project,
    histories: &[Stored],
    world: &World,
    number: usize,
    random: &mut Random,
    statuses: &mut [u64; Status::ALL.len()],
) {
    let held = if world.fits_csv() && random.chance(20) {
        Held::Csv
    } else {
        Held::Parquet
    };
    let questions = Questions::new(world, held, random);
    let spine = match held {
        Held::Csv => "spine.csv",
        Held::Parquet => random.pick(&["spine.parquet", "spine.arrow"]),
    };
    let spine = project.path(&format!("{number}{spine}"));
    match spine.extension().unwrap().to_str().unwrap() {
        "csv" => write_csv(&spine, &questions.batch),
        "arrow" => write_arrow(&spine, &questions.batch),
        _ => write_parquet_groups(&spine, &questions.batch, 1 + random.below(16)),
    }
    let out = project.path(&format!("{number}out.{}", random.pick(&["parquet", "arrow"])));
    let ask = Ask {
        time_column: "when".into(),
        timezone: questions.form.is_naive().then_some(Zone::UTC),
        as_corrected: random.chance(30),
        status: true,
        ..Ask::default()
    };
    let plan = both_keys(project, world);
    let summary = project.extract(&plan, &spine, &out, &ask).await.unwrap();
    let counted = check_extract(
        &plan,
        histories,
        &questions,
        ask.as_corrected,
        &read(&out),
        &summary,
    );
    for (total, count) in statuses.iter_mut().zip(counted) {
        *total += count;
    }
}

/// Every view twice: by the columns `k…`, and with a prefix by the columns `other…`.
fn both_keys(project: &Project, world: &World) -> ReadPlan {
    let views: Vec<String> = (0..project.definitions.views.len())
        .map(|place| format!("v{place}"))
        .collect();
    let others: BTreeMap<String, String> = key_names(world, "k")
        .into_iter()
        .zip(key_names(world, "other"))
        .collect();
    let entries: Vec<Entry<'_>> = views
        .iter()
        .flat_map(|view| {
            let plain = Entry {
                view,
                ..Entry::default()
            };
            let mapped = Entry {
                view,
                keys: others.clone(),
                prefix: Some("other"),
                features: &[],
            };
            [plain, mapped]
        })
        .collect();
    project.plan_of(&entries)
}

/// Compares a dataset with what the reference says; returns how often each status was expected.
fn check_extract(
    plan: &ReadPlan,
    histories: &[Stored],
    questions: &Questions,
    as_corrected: bool,
    found: &RecordBatch,
    summary: &ExtractSummary,
) -> [u64; Status::ALL.len()] {
    assert_eq!(found.num_rows(), questions.times.len());
    assert_eq!(summary.rows, questions.times.len() as u64);
    for (name, own) in questions
        .batch
        .schema()
        .fields()
        .iter()
        .zip(questions.batch.columns())
    {
        let kept = column(found, name.name());
        assert!(
            questions.is_kept(own, &kept),
            "column {}: {own:?} became {kept:?}",
            name.name()
        );
    }
    let mut names: Vec<String> = questions
        .batch
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    for column in &plan.columns {
        names.extend([column.name.clone(), format!("{}__status", column.name)]);
    }
    names.extend(
        plan.reads
            .iter()
            .map(|read| format!("{}__event_time", read.label())),
    );
    let found_names: Vec<String> = found
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    assert_eq!(found_names, names);

    let mut totals = [0; Status::ALL.len()];
    for (place, read) in plan.reads.iter().enumerate() {
        let view: usize = read.bound.view.name.as_str()[1..].parse().unwrap();
        let stored = &histories[view];
        let keys = if read.prefix.is_some() {
            &questions.others
        } else {
            &questions.keys
        };
        let rules = Rules {
            ttl: stored.ttl,
            as_corrected,
        };
        let answers: Vec<Answer<'_, usize>> = keys
            .iter()
            .zip(&questions.times)
            .map(|(key, at)| as_of(&stored.history.rows, key, *at, rules))
            .collect();
        let label = read.label();
        let held_back = answers.iter().filter(|answer| answer.held_back_winner).count() as u64;
        assert_eq!(summary.views[place].label, label);
        assert_eq!(summary.views[place].held_back_winners, held_back, "{label}");
        let corrected: Vec<Answer<'_, usize>> = keys
            .iter()
            .zip(&questions.times)
            .map(|(key, at)| {
                let as_corrected = true;
                as_of(
                    &stored.history.rows,
                    key,
                    *at,
                    Rules {
                        as_corrected,
                        ..rules
                    },
                )
            })
            .collect();
        let features = &stored.history.features[..features_in(stored.held)];
        let pairs = answers.iter().zip(&corrected);
        let differ = pairs.filter(|(now, then)| differs(now, then, features)).count() as u64;
        assert_eq!(summary.views[place].corrected_rows, differ, "{label}");
        let view = &summary.views[place];
        let unfindable = stored.history.unfindable();
        assert!(view.skipped_rows <= unfindable, "{label}");
        if view.unread_rows == 0 {
            assert_eq!(view.skipped_rows, unfindable, "{label}");
        }
        let all = stored.history.rows.len() as u64;
        assert_eq!(
            view.source_rows + view.skipped_rows + view.unread_rows,
            all,
            "{label}"
        );
        check_event_times(&answers, &column(found, &format!("{label}__event_time")));
        for (feature, (name, _)) in FEATURES[..features_in(stored.held)].iter().enumerate() {
            let name = format!("{label}__{name}");
            let counts = check_feature(&stored.history.features[feature], &answers, found, &name);
            let counted = summary
                .features
                .iter()
                .find(|feature| feature.column == name)
                .unwrap();
            assert_eq!(counted.counts, counts, "{name}");
            for (total, status) in totals.iter_mut().zip(Status::ALL) {
                *total += counts.get(status);
            }
        }
    }
    totals
}

pub(crate) fn check_event_times(answers: &[Answer<'_, usize>], found: &ArrayRef) {
    let expected: TimestampMicrosecondArray = answers
        .iter()
        .map(|answer| {
            // A deleted winner is "nothing": it has no event time to show, as online.
            let shown = answer.winner.filter(|row| !row.deleted);
            shown.and_then(|row| row.event_time).map(|at| at.micros())
        })
        .collect();
    let expected: ArrayRef = Arc::new(expected.with_timezone("UTC"));
    assert!(same(&expected, found), "expected {expected:?}, found {found:?}");
}

pub(crate) fn check_feature(
    values: &ArrayRef,
    answers: &[Answer<'_, usize>],
    found: &RecordBatch,
    name: &str,
) -> StatusCounts {
    let mut counts = StatusCounts::default();
    let mut served = Vec::new();
    let mut statuses = Vec::new();
    for answer in answers {
        let row = answer.winner.map(|row| row.values);
        let is_null = row.is_none_or(|row| values.is_null(row));
        let status = answer.verdict.status(is_null);
        counts.add(status, 1);
        statuses.push(status.as_str());
        served.push(row.filter(|_| status == Status::Present).map(|row| row as u32));
    }
    let expected = take(values, &UInt32Array::from(served), None).unwrap();
    let column_found = column(found, name);
    assert!(
        same(&expected, &column_found),
        "{name}: expected {expected:?}, found {column_found:?}"
    );
    let statuses: ArrayRef = Arc::new(StringArray::from(statuses));
    let found = column(found, &format!("{name}__status"));
    assert!(
        same(&statuses, &found),
        "{name}: expected {statuses:?}, found {found:?}"
    );
    counts
}
