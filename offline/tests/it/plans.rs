//! I3: readers, batch size, memory limit and the cut of files change nothing about the bytes.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray, TimestampMicrosecondArray};
use asof_core::definition::Location;
use asof_core::time::Zone;
use asof_offline::{EngineOptions, OfflineError, Strategy};
#[cfg(target_os = "linux")]
use rustix::fs::inotify;

use crate::contract::write_source;
use crate::history::{FEATURES, Held, History, Questions, World};
use crate::project::{Ask, Project, batch, extract, in_place, write_parquet, write_parquet_groups};
use crate::random::{Random, cases, each_seed};

const PLANS: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_plan_gives_the_same_bytes() {
    let projects = cases(200);
    let found = each_seed(projects, check_plans).await;
    let compared: usize = found.iter().map(|(same, _)| same).sum();
    let too_small: usize = found.iter().map(|(_, refused)| refused).sum();
    assert_eq!(compared + too_small, projects * (PLANS + 1));
    if projects > 50 {
        assert!(
            too_small > projects / 10 && compared > projects * PLANS / 2,
            "{compared} {too_small}"
        );
    }
}

/// How many extracts had the same bytes, and how many were refused for want of memory.
async fn check_plans(mut random: Random) -> (usize, usize) {
    let random = &mut random;
    let world = World::new(random);
    let history = History::new(&world, Held::Parquet, random);
    let mut project = Project::new();
    let keys: Vec<(String, String)> = world
        .key_types
        .iter()
        .enumerate()
        .map(|(place, key_type)| (format!("k{place}"), key_type.to_string()))
        .collect();
    let keys: Vec<(&str, &str)> = keys.iter().map(|(name, t)| (name.as_str(), t.as_str())).collect();
    let source = write_source(&project, "s0", &history, Held::Parquet, random);
    let other = write_source(&project, "cut", &history, Held::Parquet, random);
    let Location::InPlace { path: other_path } = other.location else {
        panic!("read in place");
    };
    project
        .entity("thing", &keys)
        .source(source)
        .view("v0", "thing", "s0", world.ttl(random), &FEATURES);
    let questions = Questions::new(&world, Held::Parquet, random);
    let spine = project.path("spine.parquet");
    write_parquet_groups(&spine, &questions.batch, 7);
    let ask = Ask {
        time_column: "when".into(),
        timezone: questions.form.is_naive().then_some(Zone::UTC),
        as_corrected: random.chance(30),
        status: true,
        overwrite: true,
    };
    let (mut compared, mut too_small) = (0, 0);
    let mut expected: Option<Vec<u8>> = None;
    for plan_number in 0..=PLANS {
        if plan_number == PLANS / 2 {
            let path = other_path.clone();
            project.change_source("s0", |source| source.location = Location::InPlace { path });
        }
        // The first has no limit: there is something to compare with.
        let options = match plan_number {
            0 => EngineOptions {
                memory_limit: None,
                readers: 1,
                batch_size: 8_192,
                strategy: Strategy::Indexed,
            },
            _ => EngineOptions {
                memory_limit: random.pick(&[
                    None,
                    None,
                    Some(32 << 20),
                    Some(32 << 20),
                    Some(1),
                    Some(2_000),
                ]),
                readers: 1 + random.below(8),
                batch_size: random.pick(&[1, 2, 3, 5, 16, 1_000, 8_192]),
                strategy: random.pick(&[Strategy::Auto, Strategy::Indexed, Strategy::Sorted]),
            },
        };
        let out = project.path("out.arrow");
        let plan = project.plan(&["v0:*"]);
        match extract(&project.engine_with(options), &plan, &spine, &out, &ask).await {
            Ok(_) => {
                let bytes = std::fs::read(&out).unwrap();
                let first = expected.get_or_insert_with(|| bytes.clone());
                assert!(*first == bytes, "other bytes by {options:?}");
                compared += 1;
            }
            Err(OfflineError::Memory(message)) => {
                assert!(
                    options.memory_limit.is_some_and(|limit| limit < 32 << 20),
                    "{options:?}: {message}"
                );
                assert!(
                    message.starts_with("the memory limit is too small to hold "),
                    "{message}"
                );
                too_small += 1;
            }
            Err(other) => panic!("{options:?}: {other}"),
        }
    }
    (compared, too_small)
}

/// A few rows of several views fit, whatever the limit: shares of the memory are never smaller than a batch.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tiny_inputs_fit_every_limit() {
    let random = &mut Random::new(29);
    let world = World::new(random);
    let history = History::new(&world, Held::Parquet, random);
    let mut project = Project::new();
    let keys: Vec<(String, String)> = world
        .key_types
        .iter()
        .enumerate()
        .map(|(place, key_type)| (format!("k{place}"), key_type.to_string()))
        .collect();
    let keys: Vec<(&str, &str)> = keys.iter().map(|(name, t)| (name.as_str(), t.as_str())).collect();
    let source = write_source(&project, "s0", &history, Held::Parquet, random);
    project.entity("thing", &keys).source(source);
    let views = ["v0", "v1", "v2", "v3", "v4", "v5"];
    for view in views {
        project.view(view, "thing", "s0", world.ttl(random), &FEATURES);
    }
    let questions = Questions::new(&world, Held::Parquet, random);
    let spine = project.path("spine.parquet");
    write_parquet_groups(&spine, &questions.batch, 7);
    let ask = Ask {
        time_column: "when".into(),
        timezone: questions.form.is_naive().then_some(Zone::UTC),
        overwrite: true,
        ..Ask::default()
    };
    let features = views.map(|view| format!("{view}:*"));
    let plan = project.plan(&features.each_ref().map(String::as_str));
    let out = project.path("out.arrow");
    let mut expected: Option<Vec<u8>> = None;
    let whole = (1..=40).map(|mib| (mib << 20, 2));
    // What is too small by little is missed in whole steps.
    let finer = (8..64).map(|eighths| (eighths << 17, 1));
    for (limit, readers) in whole.chain(finer) {
        for strategy in [Strategy::Sorted, Strategy::Indexed] {
            let options = EngineOptions {
                memory_limit: Some(limit),
                readers,
                batch_size: 8_192,
                strategy,
            };
            let done = extract(&project.engine_with(options), &plan, &spine, &out, &ask).await;
            done.unwrap_or_else(|error| panic!("{options:?}: {error}"));
            let bytes = std::fs::read(&out).unwrap();
            let first = expected.get_or_insert_with(|| bytes.clone());
            assert!(*first == bytes, "other bytes by {options:?}");
        }
    }
}

/// A spine of one batch as it is read, of keys of a kilobyte, and values of as many: neither is a batch that a small
/// limit has room to sort.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wide_rows_and_long_spines_fit_small_limits() {
    const ROWS: usize = 20_000;
    let wide = |row: usize| format!("{row:0>1000}");
    let times = |rows: std::ops::Range<i64>| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from_iter_values(rows).with_timezone("UTC"))
    };
    let text = |rows: &mut dyn Iterator<Item = usize>| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(rows.map(wide)))
    };
    let mut project = Project::new();
    project
        .entity("page", &[("url", "string")])
        .source(in_place("s", "s.parquet"))
        .view("v", "page", "s", None, &[("body", "string")]);
    let pages = batch(vec![
        ("url", text(&mut (0..2_000))),
        ("at", times(0..2_000)),
        ("body", text(&mut (7..2_007))),
    ]);
    write_parquet(&project.path("s.parquet"), &pages);
    let spine = batch(vec![
        ("url", text(&mut (0..ROWS).map(|row| row * 7 % 2_000))),
        ("event_timestamp", times(1_000..1_000 + ROWS as i64)),
    ]);
    write_parquet(&project.path("spine.parquet"), &spine);
    let ask = Ask {
        overwrite: true,
        ..Ask::default()
    };
    let mut expected: Option<Vec<u8>> = None;
    for (limit, strategy) in [
        (None, Strategy::Indexed),
        (Some(16 << 20), Strategy::Sorted),
        (Some(32 << 20), Strategy::Sorted),
    ] {
        let options = EngineOptions {
            memory_limit: limit,
            readers: 2,
            batch_size: 8_192,
            strategy,
        };
        let (plan, out) = (project.plan(&["v:*"]), project.path("out.arrow"));
        let spine = project.path("spine.parquet");
        let done = extract(&project.engine_with(options), &plan, &spine, &out, &ask).await;
        done.unwrap_or_else(|error| panic!("{options:?}: {error}"));
        let bytes = std::fs::read(&out).unwrap();
        assert!(
            *expected.get_or_insert_with(|| bytes.clone()) == bytes,
            "{options:?}"
        );
    }
}

/// Views of several entities over one source, by sorting: its files are opened as often as for one of them, and the
/// bytes are those of the index.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_of_one_source_share_one_scan_where_rows_are_sorted() {
    const FILES: i64 = 6;
    const ROWS: i64 = 3_000;
    let times = |rows: std::ops::Range<i64>| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from_iter_values(rows).with_timezone("UTC"))
    };
    let numbers = |rows: std::ops::Range<i64>, of: &dyn Fn(i64) -> Option<i64>| -> ArrayRef {
        Arc::new(rows.map(of).collect::<Int64Array>())
    };
    let mut project = Project::new();
    project
        .entity("card", &[("card", "int64")])
        .entity("shop", &[("shop", "int64")])
        .entity("visit", &[("card", "int64"), ("shop", "int64")])
        .source(in_place("s", "s"))
        .view("of_card", "card", "s", None, &[("amount", "int64")])
        .view("of_shop", "shop", "s", None, &[("items", "int64")])
        .view(
            "of_both",
            "visit",
            "s",
            None,
            &[("items", "int64"), ("amount", "int64")],
        );
    std::fs::create_dir(project.path("s")).unwrap();
    for file in 0..FILES {
        let rows = file * ROWS..(file + 1) * ROWS;
        let batch = batch(vec![
            (
                "card",
                numbers(rows.clone(), &|row| (row % 11 != 0).then_some(row % 97)),
            ),
            (
                "shop",
                numbers(rows.clone(), &|row| (row % 7 != 0).then_some(row % 31)),
            ),
            ("at", times(rows.clone())),
            ("amount", numbers(rows.clone(), &|row| Some(row * 3))),
            ("items", numbers(rows, &|row| (row % 5 != 0).then_some(-row))),
        ]);
        write_parquet(&project.path(&format!("s/{file}.parquet")), &batch);
    }
    let asked = 0..2_000;
    let spine = batch(vec![
        ("card", numbers(asked.clone(), &|row| Some(row % 100))),
        ("shop", numbers(asked.clone(), &|row| Some(row % 30))),
        ("event_timestamp", times(5_000..7_000)),
    ]);
    let spine_path = project.path("spine.parquet");
    write_parquet(&spine_path, &spine);
    let ask = Ask {
        overwrite: true,
        ..Ask::default()
    };
    let opened = async |features: &[&str], strategy: Strategy| {
        let options = EngineOptions {
            memory_limit: None,
            readers: 1,
            batch_size: 512,
            strategy,
        };
        let (plan, out) = (project.plan(features), project.path("out.arrow"));
        let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
        inotify::add_watch(&watch, project.path("s"), inotify::WatchFlags::OPEN).unwrap();
        extract(&project.engine_with(options), &plan, &spine_path, &out, &ask)
            .await
            .unwrap();
        let mut buffer = vec![std::mem::MaybeUninit::uninit(); 1 << 20];
        let mut events = inotify::Reader::new(watch, &mut buffer);
        let opened = std::iter::from_fn(|| events.next().ok().map(|event| event.events()))
            .filter(|flags| !flags.contains(inotify::ReadFlags::ISDIR));
        (opened.count(), std::fs::read(&out).unwrap())
    };
    let all = ["of_card:*", "of_shop:*", "of_both:*"];
    // The first reads the files once more than the others, for their digests.
    let (_, expected) = opened(&all, Strategy::Indexed).await;
    let (of_one, _) = opened(&all[..1], Strategy::Sorted).await;
    assert!(of_one >= FILES as usize, "{of_one}");
    let (of_all, found) = opened(&all, Strategy::Sorted).await;
    assert!(found == expected);
    assert_eq!(of_all, of_one);
}
