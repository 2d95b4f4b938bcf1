//! Windows: whatever the way and the order in which events come, what is served is what the events of each window give,
//! and what an extract gives, to the bit.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow_array::Array;
use asof_core::aggregate::{Aggregation, Function, Value};
use asof_core::data_type::DataType;
use asof_core::duration::Duration;
use asof_core::online::memory::MemoryStore;
use asof_core::online::{OnlineStore, StoreError, ViewState};
use asof_core::order::file_seq;
use asof_core::reference::{HistoryRow, in_window};
use asof_core::row::fields_of;
use asof_core::service::ReadPlan;
use asof_core::time::Timestamp;
use asof_core::window::Window;
use asof_offline::{ExtractRequest, Origin, Rows, Silent};
use asof_online::RocksStore;

use crate::materialize_failures::failing;
use crate::materialize_project::{
    FileRow, Key, Project, Random, VIEWS, Values, definitions, history, key_values, keys, rocks, run, seeds,
    write_spine,
};

/// How many schedules.
const SCHEDULES: u64 = 300;
/// How many steps each has.
const STEPS: u64 = 8;
/// In microseconds, with a hop of 2; the last one has all events.
const WINDOWS: [i64; 4] = [4, 10, 40, 0];

/// What is computed: as a definition has it, and of a row.
struct Computed {
    toml: &'static str,
    function: Function,
    data_type: DataType,
    of: fn(&Values) -> Option<Input>,
}

/// The value of a row.
enum Input {
    Number(f64),
    Whole(i64),
    Text(String),
    Event,
}

fn computed() -> Vec<Computed> {
    let of = |toml, function, data_type, of| Computed {
        toml,
        function,
        data_type,
        of,
    };
    vec![
        of("function = \"count\"", Function::Count, DataType::Bool, |_| {
            Some(Input::Event)
        }),
        of(
            "input = \"s\"\nfunction = \"count\"",
            Function::Count,
            DataType::Bool,
            |row| row.2.as_ref().map(|_| Input::Event),
        ),
        of(
            "input = \"x\"\nfunction = \"sum\"",
            Function::Sum,
            DataType::Float64,
            |row| row.0.map(Input::Number),
        ),
        of(
            "input = \"x\"\nfunction = \"stddev\"\nwhere = \"n > 500000\"",
            Function::Stddev,
            DataType::Float64,
            |row| {
                row.0
                    .filter(|_| row.1.is_some_and(|n| n > 500_000))
                    .map(Input::Number)
            },
        ),
        of(
            "expression = \"n - 5\"\nname = \"shifted\"\ntype = \"int64\"\nfunction = \"max\"",
            Function::Max,
            DataType::Int64,
            |row| row.1.map(|n| Input::Whole(n - 5)),
        ),
        of(
            "input = \"s\"\ntype = \"string\"\nfunction = \"last_n\"\nn = 2",
            Function::LastN(2),
            DataType::String,
            |row| row.2.clone().map(Input::Text),
        ),
        of(
            "input = \"s\"\ntype = \"string\"\nfunction = \"count_distinct\"",
            Function::CountDistinct,
            DataType::String,
            |row| row.2.clone().map(Input::Text),
        ),
        of(
            "input = \"x\"\nfunction = \"approx_quantile\"\nquantiles = [0.5]",
            Function::ApproxQuantile(500_000),
            DataType::Float64,
            |row| row.0.map(Input::Number),
        ),
    ]
}

/// The definitions with both views as views of aggregates.
fn windowed() -> String {
    let windows = WINDOWS.map(|length| match length {
        0 => "\"all\"".to_owned(),
        length => format!("\"{length}us\""),
    });
    let aggregates: String = computed()
        .iter()
        .map(|computed| {
            format!(
                "[[view.aggregate]]\n{}\nwindows = [{}]\n",
                computed.toml,
                windows.join(", ")
            )
        })
        .collect();
    let views =
        definitions([None, None], "").replace("[view.features]\n", &format!("hop = \"2us\"\n{aggregates}"));
    let on_demand = VIEWS.map(|view| {
        format!(
            r#"
[[on_demand]]
name = "more_{view}"
request = {{ number = "int64" }}
[on_demand.features]
rate = {{ type = "float64", expression = "{view}.x_sum_all / cast({view}.count_all as double)" }}
ratio = {{ type = "int64", expression = "{view}.shifted_all * {view}.count_all / ({view}.count_4us - number)" }}
label = {{ type = "string", expression = "concat(cast(ratio as string), '/', cast(number as string))" }}
busy = {{ type = "bool", expression = "rate > 1.5 or {view}.count_4us > 1" }}
"#
        )
    });
    views + &on_demand.concat()
}

async fn project<S: OnlineStore + 'static>(store: Arc<S>) -> Project<S> {
    let mut project = Project::new("p", store, [None, None]).await;
    project.define(&windowed()).await;
    project
}

/// Each feature by the events of its window, one by one.
fn expected<S: OnlineStore + 'static>(
    project: &Project<S>,
    view: &str,
    key: &Key,
    at: i64,
) -> Vec<Option<Vec<u8>>> {
    let history: Vec<HistoryRow<Values>> = if view == VIEWS[0] {
        let files = project.files.values().enumerate();
        let rows = files.flat_map(|(file, rows)| {
            let numbered = rows.iter().enumerate();
            numbered.map(move |(at, row)| history(row, file_seq(file, at as u64).unwrap()))
        });
        rows.collect()
    } else {
        project
            .table
            .iter()
            .zip(1..)
            .map(|(row, seq)| history(row, seq))
            .collect()
    };
    let mut features = Vec::new();
    for computed in computed() {
        for length in WINDOWS {
            let micros = |micros| Duration::from_micros(micros).unwrap();
            let window = match length {
                0 => Window::All,
                length => Window::last(micros(length), Some(micros(2))).unwrap(),
            };
            let aggregation = Aggregation::new(computed.function, computed.data_type.clone()).unwrap();
            let mut partial = aggregation.state().init();
            let at = Timestamp::from_micros(at);
            for (order, row) in in_window(&history, &key_values(key), at, window, false) {
                let stored = |text: &str| [&(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
                match (computed.of)(&row.values) {
                    None => {}
                    Some(Input::Event) => partial.add(Value::Bool(true), order),
                    Some(Input::Number(number)) => partial.add(Value::Float(number), order),
                    Some(Input::Whole(number)) => partial.add(Value::Int(number), order),
                    Some(Input::Text(text)) => match computed.function {
                        Function::LastN(_) => partial.add(Value::Bytes(&stored(&text)), order),
                        _ => partial.add(Value::Bytes(text.as_bytes()), order),
                    },
                }
            }
            let mut bytes = Vec::new();
            let is_there = aggregation.finish(&partial, &mut bytes).unwrap();
            features.push(is_there.then_some(bytes));
        }
    }
    features
}

fn state<S: OnlineStore>(project: &Project<S>, view: &str) -> (asof_core::online::ViewSlot, ViewState) {
    let mut views = project.store.views().unwrap().into_iter();
    let (_, slot, state) = views
        .find(|(address, _, _)| address.view.as_str() == view)
        .unwrap();
    (slot, state)
}

/// Each feature as the store serves it.
fn served<S: OnlineStore>(
    project: &Project<S>,
    view: &str,
    key: &Key,
    at: i64,
) -> Option<Vec<Option<Vec<u8>>>> {
    let (slot, state) = state(project, view);
    let serving = state.serving.unwrap();
    let key = asof_core::key::encode(&key_values(key))?;
    let mut found = None;
    let views = [(slot.view, serving.generation)];
    let read = project.store.read(
        slot.entity,
        &key,
        &views,
        Timestamp::from_micros(at),
        &mut |_, answer| {
            let body = answer.windows.unwrap().body;
            let schema = &serving.answers()[0];
            let fields = fields_of(schema, body).unwrap();
            let bound = project.definitions.bound_view(view).unwrap();
            // What is stored is in an order of its own.
            let place = |name: &str| schema.fields.iter().position(|field| field.name == name);
            let features = bound.view.features().iter();
            let in_order =
                features.map(|feature| fields[place(feature.name.as_str()).unwrap()].map(<[u8]>::to_vec));
            found = Some(in_order.collect());
            Ok::<_, StoreError>(())
        },
    );
    read.unwrap();
    found
}

fn check<S: OnlineStore + 'static>(project: &Project<S>, view: &str, at: i64, seed: u64) {
    for key in keys() {
        if let Some(found) = served(project, view, &key, at) {
            let expected = expected(project, view, &key, at);
            for (number, (found, expected)) in found.iter().zip(&expected).enumerate() {
                assert_eq!(
                    found, expected,
                    "seed {seed}, {view}, feature {number} of {key:?} at {at}"
                );
            }
            assert_eq!(found.len(), expected.len());
        }
    }
}

/// What is served over the reader is what an extract gives, statuses and all.
async fn same_as_extract<S: OnlineStore + 'static>(project: &Project<S>, view: &str, at: i64, seed: u64) {
    let keys = keys();
    let features = [format!("{view}:*"), format!("more_{view}:*")];
    let features = features.each_ref().map(String::as_str);
    let answer = project.answer(&project.store, &features, &keys, at).await;
    let answer = answer.unwrap();
    let spine = project.directory.path().join("spine.parquet");
    write_spine(&spine, &keys, at);
    let plan = ReadPlan::of_features(&project.definitions, features).unwrap();
    let request = ExtractRequest {
        plan: &plan,
        origin: Origin {
            project: "p".into(),
            registry_version: 1,
            definitions_digest: String::new(),
            service: None,
        },
        rows: Rows::Spine {
            path: &spine,
            time_column: "event_timestamp",
            timezone: None,
        },
        as_corrected: false,
        status: true,
        clock: &*project.clock,
        progress: Arc::new(Silent),
    };
    let mut extracting = project.engine.begin_extract(request).await.unwrap();
    let batch = extracting.next().await.unwrap().unwrap();
    assert_eq!(batch.num_rows(), keys.len());
    for (number, column) in plan.columns.iter().enumerate() {
        let extracted = batch.column_by_name(&column.name).unwrap();
        let served = answer.array(number).unwrap();
        assert_eq!(
            extracted.to_data(),
            served.to_data(),
            "seed {seed}: {} at {at}",
            column.name
        );
        let statuses = batch.column_by_name(&format!("{}__status", column.name)).unwrap();
        let statuses: &arrow_array::StringArray = statuses.as_any().downcast_ref().unwrap();
        let told: Vec<&str> = answer.statuses(number).map(|status| status.as_str()).collect();
        assert_eq!(
            statuses.iter().flatten().collect::<Vec<_>>(),
            told,
            "{}",
            column.name
        );
    }
}

#[tokio::test]
async fn any_schedule_of_events_serves_what_their_windows_have() {
    for seed in seeds(SCHEDULES) {
        println!("seed {seed}: run it alone with ASOF_SEED={seed}");
        // Tables take their time, and RocksDB does.
        match seed % 4 {
            0 => schedule(rocks().1, seed, VIEWS[1]).await,
            1 => schedule(Arc::new(MemoryStore::new()), seed, VIEWS[1]).await,
            _ => schedule(Arc::new(MemoryStore::new()), seed, VIEWS[0]).await,
        }
    }
}

async fn schedule<S: OnlineStore + 'static>(store: Arc<S>, seed: u64, view: &str) {
    let mut random = Random::new(seed ^ 0x71e5);
    let mut project = project(store).await;
    let files = view == VIEWS[0];
    let mut now = 100;
    // A table may begin with what is pushed, or with what is ingested.
    match (files, random.one_in(2)) {
        (true, _) => project.put_file("500.parquet", &random.rows(12, now)),
        (false, true) => project.ingest(&random.rows(12, now)).await,
        (false, false) => {
            project.push(&random.rows(5, now), now).await;
            check(&project, view, now, seed);
        }
    }
    project.run(view, now, false).await.unwrap();
    // Whether rows were ingested that no run has seen.
    let mut is_behind = false;
    for step in 1..=STEPS {
        match (files, random.below(6)) {
            (true, 0..3) => {
                let rows = random.rows(7, now);
                project.put_file(&format!("{}.parquet", 500 + step), &rows);
                is_behind = true;
            }
            (true, 3) => {
                let name = project.files.keys().next().unwrap().clone();
                let rows = random.rows(7, now);
                project.put_file(&name, &rows);
                is_behind = true;
            }
            (false, 0..3) => {
                let rows = random.rows(7, now);
                project.push(&rows, now).await;
            }
            (false, 3) => {
                let rows = random.rows(7, now);
                project.ingest(&rows).await;
                is_behind = true;
            }
            (false, 4) => {
                project.flush(now).await;
                if !project.table.is_empty() {
                    project.compact().await;
                }
            }
            _ => {
                // What is read is the same, whether it was merged or not.
                project
                    .intake
                    .merge_due(Timestamp::from_micros(now))
                    .await
                    .unwrap();
            }
        }
        if !is_behind {
            check(&project, view, now, seed);
        }
        now += i64::try_from(random.below(9)).unwrap();
        if random.one_in(3) {
            continue;
        }
        let full = random.one_in(5);
        project.run(view, now, full).await.unwrap();
        is_behind = false;
        assert_eq!(state(&project, view).1.building, None);
        check(&project, view, now, seed);
    }
    project.run(view, now, false).await.unwrap();
    same_as_extract(&project, view, now, seed).await;
    // Long after: what was pending has fallen due, and windows are empty.
    for later in [now + 5, now + 1_000] {
        check(&project, view, later, seed);
    }
}

#[tokio::test]
async fn whichever_call_fails_no_event_counts_twice_and_none_is_lost() {
    for (view, least) in [(VIEWS[0], 8), (VIEWS[1], 8)] {
        for after in [false, true] {
            let mut nth = 0;
            while cut_short(view, nth, after).await {
                nth += 1;
            }
            println!("{view}: {nth} calls failed, after: {after}");
            assert!(nth >= least, "only {nth} calls");
        }
    }
}

/// Whether the nth call was made, which failed.
async fn cut_short(view: &str, nth: i64, after: bool) -> bool {
    const NEVER: i64 = i64::MAX;
    let store = failing(NEVER, after);
    let left = |calls| store.around.left.store(calls, Ordering::SeqCst);
    let mut project = project(Arc::clone(&store)).await;
    let mut random = Random::new(77);
    let mut was_made = false;
    for (step, now) in [(0, 100), (1, 104), (2, 106)] {
        let (first, second) = (random.rows(14, now), random.rows(14, now));
        if view == VIEWS[0] {
            project.put_file(&format!("{step}.parquet"), &first);
            project.put_file(&format!("{step}b.parquet"), &second);
        } else {
            project.ingest(&first).await;
            if step > 0 {
                project.push(&second, now).await;
            }
        }
        left(if step == 1 { nth } else { NEVER });
        let failed = project.run(view, now, false).await;
        left(NEVER);
        if let Err(error) = failed {
            assert!(error.to_string().ends_with("a wire was cut"), "{error}");
            was_made = true;
            if view == VIEWS[1] {
                // Between the runs rows are pushed, appended and moved to other files.
                let rows = random.rows(6, now);
                project.push(&rows, now).await;
                project.compact().await;
            }
            // Later, so that some of what was pending is due.
            project.run(view, now + 1, false).await.unwrap();
            check(&project, view, now + 1, nth as u64);
        }
    }
    check(&project, view, 106, nth as u64);
    same_as_extract(&project, view, 120, nth as u64).await;
    was_made
}

#[tokio::test]
async fn what_is_pushed_while_a_generation_is_built_counts_once() {
    let (_directory, store) = rocks();
    let mut project = project(store).await;
    let view = VIEWS[1];
    let mut random = Random::new(3);
    project.ingest(&random.rows(40, 100)).await;
    project.run(view, 100, false).await.unwrap();
    for round in 0..6 {
        let now = 101 + round;
        let (before, during) = (random.rows(10, now), random.rows(9, now));
        project.push(&before, now).await;
        let materializer = project.materializer.clone();
        let definitions = Arc::clone(&project.definitions);
        let building = tokio::spawn(async move { run(&materializer, &definitions, view, now, true).await });
        for rows in during.chunks(3) {
            project.push(rows, now).await;
            tokio::task::yield_now().await;
        }
        building.await.unwrap().unwrap();
        check(&project, view, now, round as u64);
        let generation = state(&project, view).1.serving.unwrap().generation.0;
        assert_eq!(i64::from(generation), round + 2);
    }
    project.flush(120).await;
    same_as_extract(&project, view, 120, 0).await;
    // The run finds all of them in the table.
    project.run(view, 120, false).await.unwrap();
    check(&project, view, 120, 6);
}

#[tokio::test]
async fn pushed_rows_that_fall_due_are_merged_without_a_run() {
    let (_directory, store) = rocks();
    let mut project = project(store).await;
    let view = VIEWS[1];
    let row = |second: i64| FileRow {
        event: Some(100 + second),
        ..at_seconds(&[0]).remove(0)
    };
    let rows: Vec<FileRow> = (0..50).map(row).collect();
    project.push(&rows, 110).await;
    let pending = |project: &Project<RocksStore>| {
        let (slot, state) = state(project, view);
        project
            .store
            .count(slot, state.serving.unwrap().generation)
            .unwrap()
            .pending
    };
    assert_eq!(pending(&project), 39);
    for (now, merged, left) in [(110, 0, 39), (120, 10, 29), (120, 0, 29), (130, 10, 19)] {
        let found = project.intake.merge_due(Timestamp::from_micros(now)).await;
        assert_eq!((found.unwrap(), pending(&project)), (merged, left), "at {now}");
        check(&project, view, now, 0);
    }
    // What a run has seen before is merged as well, and a table's rows are left to runs.
    project.ingest(&[row(41), row(42)]).await;
    project.run(view, 131, false).await.unwrap();
    assert_eq!(pending(&project), 20);
    // The same run once more finds that some are no longer pending, and that nothing is amiss.
    let merged = project.intake.merge_due(Timestamp::from_micros(135)).await;
    assert_eq!((merged.unwrap(), pending(&project)), (4, 16));
    project.run(view, 131, false).await.unwrap();
    for (now, merged, left) in [(140, 5, 11), (200, 9, 2)] {
        let found = project.intake.merge_due(Timestamp::from_micros(now)).await;
        assert_eq!((found.unwrap(), pending(&project)), (merged, left), "at {now}");
        check(&project, view, now, 0);
    }
    project.run(view, 200, false).await.unwrap();
    assert_eq!(pending(&project), 0);
    check(&project, view, 200, 0);
    project.flush(200).await;
    same_as_extract(&project, view, 200, 0).await;
}

#[tokio::test]
async fn a_clock_that_stands_still_keeps_what_its_materialization_left_pending() {
    let (_directory, store) = rocks();
    let mut project = project(store).await;
    let view = VIEWS[1];
    let row = |second: i64| FileRow {
        event: Some(second),
        ..at_seconds(&[0]).remove(0)
    };
    project.ingest(&[row(90), row(95), row(150), row(160)]).await;
    project.run(view, 100, false).await.unwrap();
    // The wall clock is long past all of them.
    let merged = project.intake.merge_due(Timestamp::from_micros(1_000)).await;
    assert_eq!(merged.unwrap(), 0);
    let keys = [(Some("1".into()), Some(1))];
    for at in [100, 150, 100, 160] {
        let answer = project.answer(&project.store, &["of_table:count_all"], &keys, at);
        assert_eq!(answer.await.unwrap().rows(), 1, "at {at}");
        check(&project, view, at, 0);
    }
}

#[tokio::test]
async fn a_clock_that_is_set_back_is_told_and_not_served() {
    let mut project = project(Arc::new(MemoryStore::new())).await;
    let view = VIEWS[1];
    let mut row = at_seconds(&[0]).remove(0);
    row.event = Some(108);
    project.push(&[row], 110).await;
    let keys = [(Some("1".into()), Some(1))];
    let ask = |at| project.answer(&project.store, &["of_table:count_all"], &keys, at);
    assert_eq!(ask(108).await.unwrap().rows(), 1);
    let refused = ask(107).await.unwrap_err().to_string();
    assert!(refused.contains("1970-01-01T00:00:00.000108Z"), "{refused}");
    check(&project, view, 110, 0);
}

/// Rows of one key, each at its second.
fn at_seconds(seconds: &[i64]) -> Vec<FileRow> {
    let row = |second: &i64| FileRow {
        key: (Some("1".into()), Some(1)),
        event: Some(second * 1_000_000),
        created: None,
        deleted: false,
        values: (Some(1.0), None, None),
    };
    seconds.iter().map(row).collect()
}

#[tokio::test]
async fn tiles_that_no_window_needs_are_reclaimed_and_no_others() {
    const DAY: i64 = 86_400;
    let (_directory, store) = rocks();
    let mut project = Project::new("p", Arc::clone(&store), [None, None]).await;
    let text = definitions([None, None], "").replace(
        "[view.features]\n",
        "[[view.aggregate]]\nfunction = \"count\"\nwindows = [\"1h\", \"1d\"]\n",
    );
    project.define(&text).await;
    let seconds: Vec<i64> = (0..=200).map(|number| number * DAY / 8).collect();
    project.put_file("0.parquet", &at_seconds(&seconds));
    let view = VIEWS[0];
    let mut bytes = Vec::new();
    for (day, expected) in [(25, [1, 8]), (26, [0, 0]), (100, [0, 0])] {
        let at = day * DAY * 1_000_000;
        project.clock.set(at);
        project.run(view, at, false).await.unwrap();
        store.reclaim().unwrap();
        let counts = served(&project, view, &(Some("1".into()), Some(1)), at).unwrap();
        let counts: Vec<i64> = counts
            .iter()
            .map(|count| i64::from_le_bytes(count.as_deref().unwrap().try_into().unwrap()))
            .collect();
        assert_eq!(counts, expected, "on day {day}");
        let (slot, state) = state(&project, view);
        bytes.push(
            store
                .count(slot, state.serving.unwrap().generation)
                .unwrap()
                .bytes,
        );
    }
    // What a week's distance keeps goes in the end; a chunk of days has 64 of them.
    assert!(bytes[0] > bytes[1] && bytes[2] == 0, "{bytes:?}");
    // And a run that begins anew finds what there is.
    project.run(view, 101 * DAY * 1_000_000, true).await.unwrap();
}
